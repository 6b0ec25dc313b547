"""`torch.fx`: symbolic tracing, which needs PyTorch's own dispatch; marks for it mean nothing."""

from __future__ import annotations

from typing import Any


def wrap(fn_or_name: Any) -> Any:
    """The function: one that a tracer should not look into."""
    return fn_or_name


def has_side_effect(fn: Any) -> Any:
    """The function: one whose calls a graph must keep."""
    return fn
