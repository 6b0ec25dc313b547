"""Conversion between dtypes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import DType, bool_, float32, float64, int32
from ..ir.node import Node, Value
from ..ir.sbp import Partial, Signature
from ..ir.types import TensorType
from .contract import Array, Grads, Sample, primitive
from .families import Unary
from .link import ops


@primitive
class Cast(Unary):
    """The operand as ``dtype``: floats to integers truncate, anything non-zero is true, a
    complex number loses its imaginary part."""

    name = "cast"
    onnx = "Cast"

    def infer(self, x: TensorType, dtype: DType) -> TensorType:  # type: ignore[override]
        return x.with_dtype(dtype)

    def reference(self, x: Array, dtype: DType) -> Array:
        if x.dtype.kind == "c" and dtype.np.kind != "c":
            x = x != 0 if dtype is bool_ else x.real
        with np.errstate(invalid="ignore", over="ignore"):
            return x.astype(dtype.np)

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(2)
        yield Sample((rng.normal(size=(3, 4)),), {"dtype": float64})
        yield Sample((rng.normal(size=(3, 4)),), {"dtype": float32}, grad=False)
        yield Sample((rng.normal(size=(3,)) * 9,), {"dtype": int32}, grad=False)
        yield Sample((np.array([0.0, -0.0, 0.5, np.nan]),), {"dtype": bool_}, grad=False)
        yield Sample((np.array([True, False]),), {"dtype": float32}, grad=False)

    def vjp(self, node: Node, g: Value) -> Grads:
        x = node.inputs[0]
        if node.types[0].dtype.category not in ("float", "complex"):
            return (None,)
        if x.dtype.category not in ("float", "complex"):
            return (None,)
        return (ops.cast(g, dtype=x.dtype),)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        """Order is kept by every cast between real numbers; sums and products by those that do
        not drop a part of the value."""
        source, target = node.inputs[0].dtype.category, node.types[0].dtype.category
        kept: tuple[str, ...] = ()
        if (source, target) == ("float", "float") or (source, target) == ("int", "float"):
            kept = ("sum", "prod", "max", "min")
        elif (source, target) == ("float", "int") or source == "bool":
            kept = ("max", "min")
        return [
            *super().sbp(node, ranks), *(Signature((Partial(k),), (Partial(k),)) for k in kept),
        ]  # fmt: skip

    def lower(self, x: Any, dtype: DType) -> Any:
        from ..ir import loops

        return loops.Cast(x, dtype)
