"""`torch.utils._python_dispatch`: tensor classes that take over dispatch; there are none."""

from __future__ import annotations

from typing import Any


def is_traceable_wrapper_subclass(t: Any) -> bool:
    """Whether a tensor wraps others."""
    return False


def is_traceable_wrapper_subclass_type(t: type) -> bool:
    """Whether tensors of a class wrap others."""
    return False
