"""`torch.distributed` in a program of one process: questions are answered, groups refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def is_available() -> bool:
    """Whether processes can work together: not in this build."""
    return False


def is_initialized() -> bool:
    """Whether there is a process group: no."""
    return False


is_nccl_available = is_gloo_available = is_mpi_available = is_ucc_available = is_available
is_torchelastic_launched = is_xccl_available = is_available


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(
            f"distributed.{name}: this build of thalweg runs in one process; there is no process "
            "group (distributed.is_available() is False)"
        )

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = "RuntimeError: there is no process group."
    return refuse


for _name in ("init_process_group", "destroy_process_group", "new_group", "get_rank",
              "get_world_size", "get_backend", "barrier", "all_reduce", "all_gather", "reduce",
              "broadcast", "gather", "scatter", "reduce_scatter", "all_to_all", "send", "recv",
              "isend", "irecv", "all_gather_object", "broadcast_object_list", "gather_object",
              "scatter_object_list", "all_gather_into_tensor", "reduce_scatter_tensor",
              "all_to_all_single", "monitored_barrier", "get_process_group_ranks",
              "get_global_rank", "get_group_rank", "init_device_mesh"):  # fmt: skip
    globals()[_name] = _refuse(_name)


class ReduceOp:
    """How values of processes are combined."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR = range(8)


class ProcessGroup:
    """A group of processes: there are none to make one of."""

    def __init__(self, *args: Any) -> None:
        _refuse("ProcessGroup")()


class _Groups:
    WORLD: Any = None


group = _Groups
GroupMember = _Groups
