"""Names of the root module ``torch`` that thalweg keeps elsewhere or does not need itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import thalweg
from thalweg import amp as _amp
from thalweg import torch_files as _files
from thalweg.serialization import replacing as _replacing
from thalweg.tensor import Tensor
from thalweg.tensor.autocast import get_autocast_dtype, is_autocast_enabled, set_autocast_dtype
from thalweg.tensor.autocast import set_autocast_enabled as _set_autocast

# ---- files


def save(
    obj: Any, f: str | os.PathLike[str] | BinaryIO, pickle_module: Any = None,
    pickle_protocol: int = 2, _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:  # fmt: skip
    """``torch.save``: a file that PyTorch reads. TypeError for what is no nest of plain values and
    tensors: whole modules are not pickled."""
    if isinstance(f, (str, os.PathLike)):
        with _replacing(os.path.realpath(os.fspath(f))) as file:
            _files.write(obj, file)
    else:
        _files.write(obj, f)


def load(
    f: str | os.PathLike[str] | BinaryIO, map_location: Any = None, pickle_module: Any = None, *,
    weights_only: bool | None = None, mmap: bool | None = None, **pickle_load_args: Any,
) -> Any:  # fmt: skip
    """``torch.load``. Whatever ``weights_only`` says, nothing in the file is executed."""
    return thalweg.load(f, map_location)


# ---- mixed precision


class autocast(_amp.autocast):
    """``torch.autocast``."""


def is_autocast_cpu_enabled() -> bool:
    """Whether functions choose their dtype now."""
    return is_autocast_enabled("cpu")


def get_autocast_cpu_dtype() -> Any:
    """The lower dtype of `autocast`."""
    return get_autocast_dtype("cpu")


def get_autocast_gpu_dtype() -> Any:
    """The lower dtype that a GPU would use."""
    return get_autocast_dtype("cuda")


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """Switch autocast on or off."""
    _set_autocast("cpu", enabled)


def set_autocast_cpu_dtype(dtype: Any) -> None:
    """The lower dtype that autocast uses by default."""
    set_autocast_dtype("cpu", dtype)


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """Switch autocast on or off, for a device; of a GPU, which is not there, nothing."""
    if enabled is not None:
        _set_autocast(device_type, enabled)


def clear_autocast_cache() -> None:
    """PyTorch's memory of casts; equal casts are computed once here anyway."""


def is_autocast_cache_enabled() -> bool:
    """Whether equal casts are computed once."""
    return True


def set_autocast_cache_enabled(enabled: bool) -> None:
    """PyTorch's memory of casts, which is not needed here."""


# ---- settings without a counterpart, and symbolic numbers, which are plain numbers here


def set_float32_matmul_precision(precision: str) -> None:
    """How PyTorch may round inside float32 products; here they are float32 throughout."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"Unknown matmul precision: {precision}")


def get_float32_matmul_precision() -> str:
    """``highest``."""
    return "highest"


def set_flush_denormal(mode: bool) -> bool:
    """Whether denormal numbers could be made zero: no."""
    return False


def set_num_interop_threads(n: int) -> None:
    """Threads that run whole ops side by side; there is one."""


def get_num_interop_threads() -> int:
    """Threads that run whole ops side by side."""
    return 1


def set_warn_always(mode: bool) -> None:
    """Whether PyTorch repeats its warnings."""


def compiled_with_cxx11_abi() -> bool:
    """How PyTorch's C++ part was built."""
    return True


def is_vulkan_available() -> bool:
    """Whether there is a Vulkan device: no."""
    return False


def is_storage(obj: Any) -> bool:
    """Whether ``obj`` is an untyped memory; nothing here is."""
    return False


def is_distributed(input: Any) -> bool:
    """Whether a tensor is one process's part of another."""
    return False


def typename(obj: Any) -> str:
    """The full name of ``obj``'s type."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    kind = obj if isinstance(obj, type) else type(obj)
    inner = kind.__module__ in ("builtins", "__builtin__")
    return kind.__qualname__ if inner else f"{kind.__module__}.{kind.__qualname__}"


class Stream:
    """A queue of work on a device. RuntimeError: the CPU has none to choose."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Stream:
        raise RuntimeError("Stream: this build of thalweg runs on 'cpu' only")


class Event:
    """A mark in a stream. RuntimeError: the CPU has no streams to choose."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Event:
        raise RuntimeError("Event: this build of thalweg runs on 'cpu' only")


class SymInt:
    """An integer that PyTorch's compiler does not know yet. Here every one is known."""


class SymFloat:
    """As `SymInt`, of floats."""


class SymBool:
    """As `SymInt`, of truth values."""


sym_int, sym_float, sym_max, sym_min = int, float, max, min


def sym_not(a: Any) -> bool:
    """``not a``."""
    return not a


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """``t if b else f``."""
    return t if b else f


def sym_sum(args: Any) -> Any:
    """The sum of numbers."""
    return sum(args)


def _shape_as_tensor(input: Tensor) -> Tensor:
    """The shape as a tensor of int64."""
    return thalweg.tensor(list(input.shape))  # type: ignore[attr-defined,no-any-return]


def _assert(condition: Any, message: Any = "") -> None:
    """AssertionError with the message unless the condition holds."""
    assert condition, message


def _check(condition: Any, message: Callable[[], str] | None = None) -> None:
    """RuntimeError with the message unless the condition holds."""
    if not condition:
        raise RuntimeError("Expected cond to be True" if message is None else message())


def _check_with(error: type[Exception], condition: Any, message: Any) -> None:
    """An error of the given class with the message unless the condition holds."""
    if not condition:
        raise error(message() if callable(message) else message)


def _check_is_size(i: Any, message: Any = None, **kwargs: Any) -> None:
    """RuntimeError unless a number can be an extent."""
    _check(i >= 0, message)


def _check_value(condition: Any, message: Callable[[], str] | None = None) -> None:
    """ValueError with the message unless the condition holds."""
    _check_with(ValueError, condition, message or "Expected cond to be True")


def _is_all_true(input: Tensor) -> Tensor:
    """Whether every element is true, as a tensor."""
    return input.all()  # type: ignore[attr-defined,no-any-return]


legacy_contiguous_format = thalweg.contiguous_format  # type: ignore[attr-defined]


@contextlib.contextmanager
def _disable_functionalization() -> Iterator[None]:
    yield


has_mkl = has_lapack = has_openmp = has_spectral = True
