"""`torch.nn.functional`: every registered function of that name, recorded."""

from __future__ import annotations

from typing import Any

from ..tensor import functional as _functional

globals().update(_functional.namespace("nn.functional"))

for _name in ("tanh", "sigmoid"):
    globals().setdefault(_name, getattr(_functional, _name))


def __getattr__(name: str) -> Any:
    return getattr(_functional, name)
