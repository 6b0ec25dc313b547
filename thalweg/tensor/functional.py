"""Public functions that take and return tensors, by name: the recorded registry as a module.

``thalweg.nn.functional``, ``thalweg.linalg`` and the top-level package re-export from here. By
attribute the module also gives the functions that are not public, for use inside the package.
"""

from __future__ import annotations

from typing import Any

from ..ops.function import FUNCTIONS
from .attach import RECORDED


def __getattr__(name: str) -> Any:
    found = RECORDED.get(name)
    if found is None:
        found = RECORDED.get("nn.functional." + name)
    if found is None:
        raise AttributeError(f"module 'thalweg' has no function {name!r}")
    return found


def is_public(name: str) -> bool:
    """Whether users are shown the recorded function of this full name."""
    function = FUNCTIONS.get(name)
    return name in RECORDED and (function is None or function.public)


def namespace(prefix: str) -> dict[str, Any]:
    """Functions whose public name is ``prefix`` followed by one word."""
    start = prefix + "." if prefix else ""
    return {
        name[len(start) :]: form
        for name, form in RECORDED.items()
        if name.startswith(start) and "." not in name[len(start) :] and is_public(name)
    }
