"""`torch.accelerator`: devices beside the CPU, of which there are none."""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    """Whether there is one."""
    return False


def device_count() -> int:
    """How many there are."""
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """The one in use: none."""


def synchronize(device: Any = None) -> None:
    """Wait for it."""


def empty_cache() -> None:
    """Free its memory."""
