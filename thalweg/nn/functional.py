"""`torch.nn.functional`: every registered function of that name, recorded."""

from collections.abc import Callable as _Callable
from typing import Any as _Any

from ..tensor import functional as _functional

globals().update(_functional.namespace("nn.functional"))

for _name in ("tanh", "sigmoid"):
    globals().setdefault(_name, getattr(_functional, _name))
del _name


def _expose(function: _Callable[..., _Any]) -> _Callable[..., _Any]:
    """Decorator that shows here a function written in terms of this module's others."""
    globals()[function.__name__] = function
    return function


def __getattr__(name: str) -> _Any:
    if _functional.is_public("nn.functional." + name) or _functional.is_public(name):
        return getattr(_functional, name)
    raise AttributeError(f"module 'thalweg.nn.functional' has no attribute {name!r}")
