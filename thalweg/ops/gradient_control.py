"""Identities that steer differentiation, so that the graph alone says where gradients flow."""

from __future__ import annotations

from typing import Any

from ..ir.node import Node, Value
from ..ir.sbp import Signature, Split
from ..ir.types import TensorType
from .contract import Array, Declined, Grads, all_broadcast, primitive
from .families import floats, samples_of
from .link import ops
from .movement import Shape, View, arange_samples, pass_partial

_SAMPLES = samples_of(floats(special=False), arange_samples(((2, 3), {})))


class Identity(View):
    """Base of ops that return their operand."""

    index: Any = "... -> ..."
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
class ReplaceValue(Identity):
    """The second operand's value with the first operand's gradient path (writes to ``.data``)."""

    name = "replace_value"
    inputs = 2
    samples: Any = floats(count=2, special=False)
    index = "...,... -> ..."

    def infer(self, x: TensorType, value: TensorType) -> TensorType:  # type: ignore[override]
        return x

    def reference(self, x: Array, value: Array) -> Array:  # type: ignore[override]
        return value

    def vjp(self, node: Node, g: Value) -> Grads:
        return g, ops.stop_gradient(g) * 0

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        splits = [
            Signature((Split(d), Split(d)), (Split(d),)) for d in range(node.inputs[0].ndim)
        ]
        return [all_broadcast(node), *splits]

    def strides(self, shape: Shape, strides: Shape, /, **attrs: Any) -> Shape | None:
        return None
