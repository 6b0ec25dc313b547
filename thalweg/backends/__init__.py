"""`torch.backends`: settings of the libraries that PyTorch computes with, none of which is here.

Switches can be set and read, so that programs which set them run; they switch nothing.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def _backend(name: str, **settings: Any) -> ModuleType:
    """A module of settings for a library that is not there."""
    module = ModuleType(f"{__name__}.{name}", f"Settings of {name}, which is not used here.")
    vars(module).update({"is_available": lambda: False, "is_built": lambda: False, **settings})

    @contextlib.contextmanager
    def flags(**given: Any) -> Iterator[None]:
        """Other settings for a ``with`` block."""
        before = {key: getattr(module, key, None) for key in given}
        vars(module).update(given)
        try:
            yield
        finally:
            vars(module).update(before)

    vars(module).setdefault("flags", flags)
    module.__spec__ = ModuleSpec(module.__name__, None)
    sys.modules[module.__name__] = module
    return module


class _Switches:
    """Anything can be set; unset switches are off."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return False


@contextlib.contextmanager
def _sdp_kernel(*args: Any, **kwargs: Any) -> Iterator[None]:
    """A choice of attention kernels; there is one."""
    yield


cudnn = _backend(
    "cudnn", enabled=True, benchmark=False, deterministic=False, allow_tf32=True,
    benchmark_limit=10, version=lambda: None, rnn=_Switches(), conv=_Switches(),
)  # fmt: skip
cuda = _backend(
    "cuda", matmul=_Switches(), cufft_plan_cache=_Switches(), sdp_kernel=_sdp_kernel,
    flash_sdp_enabled=lambda: False, mem_efficient_sdp_enabled=lambda: False,
    math_sdp_enabled=lambda: True, cudnn_sdp_enabled=lambda: False,
    enable_flash_sdp=lambda enabled: None, enable_mem_efficient_sdp=lambda enabled: None,
    enable_math_sdp=lambda enabled: None, enable_cudnn_sdp=lambda enabled: None,
    preferred_linalg_library=lambda backend=None: None, is_flash_attention_available=lambda: False,
)  # fmt: skip
mps = _backend("mps", is_macos_or_newer=lambda *v: False, is_macos13_or_newer=lambda *v: False)
mkl = _backend("mkl", VERBOSE_OFF=0, VERBOSE_ON=1)
mkldnn = _backend("mkldnn", enabled=False, deterministic=False, allow_tf32=True, matmul=_Switches(),
                  conv=_Switches(), rnn=_Switches())  # fmt: skip
openmp = _backend("openmp")
opt_einsum = _backend("opt_einsum", enabled=True, strategy="auto", get_opt_einsum=lambda: None)
cpu = _backend("cpu", get_cpu_capability=lambda: "DEFAULT")
quantized = _backend("quantized", engine="none", supported_engines=["none"])
xnnpack = _backend("xnnpack", enabled=False)
nnpack = _backend("nnpack")
cusparselt = _backend("cusparselt", version=lambda: None)

fp32_precision = "none"


@contextlib.contextmanager
def disable_global_flags() -> Iterator[None]:
    """PyTorch's guard against settings by assignment."""
    yield
