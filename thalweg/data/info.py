"""Which worker process this is, for datasets that divide their samples among workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WorkerInfo:
    """`id` in [0, num_workers), the worker's own `seed`, and its copy of the `dataset`."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_current: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """The calling worker process, or None in the main process."""
    return _current


def set_worker_info(info: WorkerInfo) -> None:
    """Called once an epoch by the worker process itself."""
    global _current
    _current = info
