"""Identities that steer differentiation, so that the graph alone says where gradients flow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.device import META
from ..core.errors import ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import B, Signature, Split
from ..ir.types import TensorType
from .contract import Array, Declined, Grads, Sample, all_broadcast, primitive
from .families import batch_up, floats, samples_of
from .link import ops
from .movement import ANY_PARTIAL, Shape, View, arange_samples, pass_partial, reducible

_SAMPLES = samples_of(floats(special=False), arange_samples(((2, 3), {})))


class Identity(View):
    """Base of ops that return their operand."""

    index: ClassVar[str | Declined] = "... -> ..."
    onnx = "Identity"
    samples: Any = _SAMPLES
    lower: Any = Declined("removed before lowering: the value is its operand")

    def infer(self, x: TensorType) -> TensorType:
        return x

    def reference(self, x: Array) -> Array:
        return x

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        splits = [Signature((Split(d),), (Split(d),)) for d in range(node.inputs[0].ndim)]
        return [all_broadcast(node), *pass_partial(node), *splits]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(*inputs),)

    def strides(self, shape: Shape, strides: Shape, /, **attrs: Any) -> Shape | None:
        return strides

    def write(self, base: Value, new: Value, **attrs: Any) -> Value:
        return new


@primitive
class StopGradient(Identity):
    """The operand, through which no gradient flows (`detach`, and operands under `no_grad`)."""

    name = "stop_gradient"
    differentiable = False
    vjp = Declined("its purpose is to have none")


@primitive
class AsLeaf(Identity):
    """The operand as a fresh leaf that requires gradients (`requires_grad_` on a result)."""

    name = "as_leaf"
    differentiable = False
    vjp = Declined("a leaf: gradients end here")


@primitive
class OnMeta(Identity):
    """The shape and dtype of the operand on the meta device, where nothing has data."""

    name = "on_meta"

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(x.shape, x.dtype, META, x.placement)

    def vjp(self, node: Node, g: Value) -> Grads:
        return (ops.on_meta(g),)


@primitive
class ReplaceValue(Identity):
    """The second operand's value with the first operand's gradient path (writes to ``.data``)."""

    name = "replace_value"
    inputs = 2
    surrogate = "a write to .data changes the value but not the place in the graph of gradients"
    index = "...,... -> ..."

    def infer(self, x: TensorType, value: TensorType) -> TensorType:  # type: ignore[override]
        if x != value:
            raise ShapeError(f"replace_value: expected two operands of one type, got {x}, {value}")
        return x

    def samples(self) -> Iterator[Sample]:
        yield from floats(count=2, special=False)()
        wrong = (ShapeError, "expected two operands of one type")
        yield Sample((np.zeros(3), np.zeros(4)), error=wrong)

    def reference(self, x: Array, value: Array) -> Array:  # type: ignore[override]
        return value

    def vjp(self, node: Node, g: Value) -> Grads:
        return g, None

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        splits = [Signature((Split(d), Split(d)), (Split(d),)) for d in range(node.inputs[0].ndim)]
        # Every rank may hold any value of the operand that only gives the gradient path.
        value_only = [Signature((B, p), (p,)) for p in ANY_PARTIAL if reducible(node, p)]
        return [all_broadcast(node), *splits, *value_only]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(*batch_up(inputs, batched, size)),)

    def strides(self, shape: Shape, strides: Shape, /, **attrs: Any) -> Shape | None:
        return None
