"""`torch.onnx`: the questions that models put to the exporter; there is none yet."""

from __future__ import annotations

from typing import Any


def is_in_onnx_export() -> bool:
    """Whether the caller is being exported: no."""
    return False


def is_onnxrt_backend_supported() -> bool:
    """Whether onnxruntime can run what PyTorch compiles: no."""
    return False


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Any, opset_version: int) -> None:
    """How PyTorch's exporter writes an operator of others, which thalweg's will not ask for."""


def unregister_custom_op_symbolic(symbolic_name: str, opset_version: int) -> None:
    """The opposite of `register_custom_op_symbolic`."""
