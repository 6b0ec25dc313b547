"""Public functions that take and return tensors, by name: the recorded registry as a module.

``thalweg.nn.functional``, ``thalweg.linalg`` and the top-level package re-export from here.
"""

from __future__ import annotations

from typing import Any

from .attach import RECORDED


def __getattr__(name: str) -> Any:
    found = RECORDED.get(name)
    if found is None:
        found = RECORDED.get("nn.functional." + name)
    if found is None:
        raise AttributeError(f"module 'thalweg' has no function {name!r}")
    return found


def namespace(prefix: str) -> dict[str, Any]:
    """Functions whose public name is ``prefix`` followed by one word."""
    start = prefix + "." if prefix else ""
    return {
        name[len(start) :]: form
        for name, form in RECORDED.items()
        if name.startswith(start) and "." not in name[len(start) :]
    }
