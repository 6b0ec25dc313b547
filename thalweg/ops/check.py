"""A condition on data, checked when the program runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import bool_
from ..core.errors import ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import B, Signature, Split
from ..ir.types import TensorType
from .contract import Array, Declined, Grads, Host, Primitive, Sample, all_broadcast, primitive
from .families import batch_up
from .link import ops
from .movement import ANY_PARTIAL, reducible


@primitive
class Check(Primitive):
    """The first operand, if the second (a 0-d bool) is true; else RuntimeError with ``message``
    and the line of the user's code."""

    name = "check"
    inputs = 2
    index = "..., -> ..."
    onnx = Declined("ONNX has no assertion")
    lower: Any = Host("raises an error with the line of the user's code")
    fixed_data = "a false condition raises"
    sbp_incomplete = Declined("the condition is always held whole, so that every rank agrees")

    def infer(self, x: TensorType, ok: TensorType, message: str) -> TensorType:
        if ok.dtype is not bool_ or ok.shape:
            raise ShapeError(f"check: expected a 0-d bool as the condition, got {ok}")
        return x

    def reference(self, x: Array, ok: Array, message: str) -> Array:
        if not bool(ok):
            raise RuntimeError(message)
        return x

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(8)
        yes = np.array(True)
        for shape in [(3, 4), (), (0, 2)]:
            yield Sample((rng.normal(size=shape), yes), {"message": "no"})
        yield Sample(
            (np.zeros(2), np.array(False)), {"message": "not so"}, error=(RuntimeError, "not so")
        )
        yield Sample(
            (np.zeros(2), np.array([True])), {"message": "no"}, error=(RuntimeError, "0-d bool")
        )

    def vjp(self, node: Node, g: Value) -> Grads:
        return g, None

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        splits = [Signature((Split(d), B), (Split(d),)) for d in range(node.inputs[0].ndim)]
        partials = [Signature((p, B), (p,)) for p in ANY_PARTIAL if reducible(node, p)]
        return [all_broadcast(node), *splits, *partials]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        x, ok = inputs
        if batched[1]:
            ok = ops.reduce_min(ok, dims=(0,))  # all of them
        return (self(batch_up((x,), batched[:1], size)[0], ok, **node.attrs),)


def require(value: Value, condition: Value, message: str) -> Value:
    """``value``, checked at run time to satisfy ``condition`` (bools of any shape) everywhere."""
    dims = tuple(range(condition.ndim))
    ok = ops.reduce_min(condition, dims=dims) if dims else condition
    return ops.check(value, ok, message=message)  # type: ignore[no-any-return]
