"""`torch._C`: questions that Python sources put to PyTorch's compiled part, and its types."""

from __future__ import annotations

import contextlib
from typing import Any

import thalweg
from thalweg.tensor import Tensor as TensorBase

Generator, Size, dtype, device, layout = (
    thalweg.Generator, thalweg.Size, thalweg.dtype, thalweg.device, thalweg.layout,
)  # fmt: skip
Value, Node, Graph = (
    type(name, (), {"__module__": "torch._C"}) for name in ("Value", "Node", "Graph")
)
_TensorBase = TensorBase


def _log_api_usage_once(event: str) -> None:
    """PyTorch counts what is used; thalweg does not."""


def _get_tracing_state() -> None:
    """The program being traced: none."""


def _is_tracing() -> bool:
    """Whether a program is being traced."""
    return False


def _get_cudnn_enabled() -> bool:
    """Whether cuDNN is used."""
    return False


def _cuda_getDeviceCount() -> int:
    """The number of GPUs."""
    return 0


def _has_torch_function(args: Any) -> bool:
    """Whether some argument takes functions over."""
    return False


def _jit_set_profiling_executor(mode: bool) -> bool:
    """A setting of TorchScript, which is not here."""
    return False


_jit_set_profiling_mode = _jit_override_can_fuse_on_gpu = _jit_set_profiling_executor
_jit_set_texpr_fuser_enabled = _jit_override_can_fuse_on_cpu = _jit_set_profiling_executor
_jit_set_nvfuser_enabled = _jit_set_profiling_executor


def _jit_set_bailout_depth(depth: int) -> int:
    """A setting of TorchScript, which is not here."""
    return 0


def _get_privateuse1_backend_name() -> str:
    """The name of a device type of others: PyTorch's default for it."""
    return "privateuseone"


DisableTorchFunctionSubclass = DisableTorchFunction = contextlib.nullcontext
