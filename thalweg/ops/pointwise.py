"""Small things that the files of pointwise ops share.

`loops` is the module of the loop IR, imported when a ``lower`` rule first runs: recording and the
reference backend never need it, and its classes take a tenth of the package's import time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ..core.errors import ArgumentError
from ..ir.node import Node, Value
from .arithmetic import constant
from .contract import Declined, Grads
from .function import COMPOSITES, Composite


class _Loops:
    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("thalweg.ir.loops"), name)


loops: Any = _Loops()

BY_BODY = Declined("exported through its body")
RISING = ("P(max) -> P(max)", "P(min) -> P(min)")
FALLING = ("P(max) -> P(min)", "P(min) -> P(max)")


def expect_tensor(op: str, value: Any, argument: str = "input", position: int = 1) -> Value:
    """``value`` if it is a tensor; TypeError in PyTorch's words if not."""
    if isinstance(value, Value):
        return value
    raise ArgumentError(
        f"{op}(): argument '{argument}' (position {position}) must be Tensor, "
        f"not {type(value).__name__}"
    )


def expect_one_tensor(op: str, input: Any, other: Any) -> None:
    """TypeError if both operands are numbers."""
    if not isinstance(input, Value):
        expect_tensor(op, other, "other", 2)


def zeros_like(value: Value) -> Value:
    """Zeros of the type of ``value``: the gradient of a function of steps."""
    return constant(0, value.dtype, value.shape)


def internal_composite(
    name: str,
    *,
    vjp: Callable[[Node, Any], Grads] | None = None,
    onnx: Any = BY_BODY,
) -> Callable[[Callable[..., Any]], Composite]:
    """Register a composite op that is no public function itself: its operands are already of
    one shape and dtype, which leaves ``vjp`` free of broadcasting."""

    def register(body: Callable[..., Any]) -> Composite:
        if name in COMPOSITES:
            raise TypeError(f"composite {name!r} is already defined")
        made = Composite(name, body, vjp, onnx)
        COMPOSITES[name] = made
        return made

    return register
