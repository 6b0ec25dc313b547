"""`torch.cuda.nvtx`: marks for NVIDIA's profilers, which see nothing of a program without a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def range(message: str, *args: Any, **kwargs: Any) -> Iterator[None]:
    """A block under a name."""
    yield


def range_push(message: str) -> int:
    """Begin a range; its depth."""
    return -1


def range_pop() -> int:
    """End a range; its depth."""
    return -1


def mark(message: str) -> None:
    """Name a moment."""
