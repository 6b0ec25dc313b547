"""`torch.cuda` where there is no GPU: questions are answered, requests refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ..core.errors import DeviceError, OutOfMemoryError, located
from . import amp, nvtx


def is_available() -> bool:
    """Whether tensors can be on a GPU: not in this build."""
    return False


def device_count() -> int:
    """The number of GPUs: 0."""
    return 0


def is_initialized() -> bool:
    """Whether a GPU is in use: never."""
    return False


is_bf16_supported = is_tf32_supported = is_current_stream_capturing = is_available


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise located(
            DeviceError(f"cuda.{name}: this build of thalweg runs on 'cpu' only; no GPU is used")
        )

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = "RuntimeError: there is no GPU."
    return refuse


# What needs a GPU fails; what only waits for one, or frees its memory, has nothing to do.
for _name in ("current_device", "get_device_properties", "get_device_name", "mem_get_info",
              "get_device_capability", "init", "current_stream", "default_stream", "set_stream",
              "get_rng_state", "set_rng_state", "graph",
              "make_graphed_callables", "memory_summary", "memory_stats"):  # fmt: skip
    globals()[_name] = _refuse(_name)


def _refused_class(name: str) -> type:
    """A class, for annotations and isinstance, that has no instances."""
    return type(name, (), {"__new__": _refuse(name), "__module__": __name__,
                           "__doc__": "RuntimeError when made: there is no GPU."})  # fmt: skip


Stream, Event, ExternalStream = map(_refused_class, ("Stream", "Event", "ExternalStream"))
CUDAGraph, _CudaDeviceProperties = map(_refused_class, ("CUDAGraph", "_CudaDeviceProperties"))


def set_device(device: Any) -> None:
    """Nothing for a negative index, else RuntimeError: there is no GPU."""
    if not (isinstance(device, int) and device < 0):
        _refuse("set_device")()


class device:
    """A ``with`` block whose GPU would be ``device``; negative or None: nothing."""

    def __init__(self, device: Any) -> None:
        if device is not None and not (isinstance(device, int) and device < 0):
            _refuse("device")()

    def __enter__(self) -> device:
        return self

    def __exit__(self, *error: object) -> None:
        return None


class stream:
    """A ``with`` block on a stream; None: nothing."""

    def __init__(self, stream: Any) -> None:
        if stream is not None:
            _refuse("stream")()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        return None


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Nothing: there is no GPU whose work or memory this is about."""


def _zero(*args: Any, **kwargs: Any) -> int:
    """0: there is no GPU memory."""
    return 0


synchronize = empty_cache = ipc_collect = reset_peak_memory_stats = manual_seed = _nothing
manual_seed_all = seed = seed_all = reset_max_memory_allocated = _nothing
set_per_process_memory_fraction = reset_accumulated_memory_stats = _nothing
memory_allocated = max_memory_allocated = memory_reserved = max_memory_reserved = _zero
memory_cached = max_memory_cached = utilization = _zero


def get_arch_list() -> list[str]:
    """Architectures that kernels are compiled for: none."""
    return []


def get_rng_state_all() -> list[Any]:
    """Random states of all GPUs: none."""
    return []


def set_rng_state_all(states: Any) -> None:
    """Set the random states of all GPUs: an empty list."""
    if len(states):
        _refuse("set_rng_state_all")()
