"""Primitives without operands: tensors full of one number, index ramps, small tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import DType, float32, float64, int64
from ..core.errors import ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import P, Signature, Split
from ..ir.types import TensorType
from .contract import (
    Array,
    Attrs,
    Declined,
    Host,
    Primitive,
    Rank,
    Sample,
    Types,
    all_broadcast,
    primitive,
)  # fmt: skip
from .families import expand_front
from .pointwise import loops
from .positions import constant_of

Shape = tuple[int, ...]


class Creation(Primitive):
    """Base: ``shape`` and ``dtype`` are attributes, so every split is legal."""

    inputs = 0
    differentiable = False
    vjp: Any = Declined("has no operands")

    def infer(self, shape: Shape, dtype: DType, **attrs: Any) -> TensorType:
        if any(n < 0 for n in shape):
            raise ShapeError(f"{self.name}: got a negative dimension in shape {list(shape)}")
        return TensorType(tuple(shape), dtype)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        splits = [Signature((), (Split(d),)) for d in range(len(node.attrs["shape"]))]
        return [all_broadcast(node), *splits]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (expand_front(node.out, size),)


@primitive
class Full(Creation):
    """Every element is ``value``."""

    name = "full"
    index = "-> ..."
    onnx = "ConstantOfShape"
    indexed = True

    def reference(self, shape: Shape, value: Any, dtype: DType) -> Array:
        return np.full(shape, value, dtype.np)

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        return constant_of(node.attrs["value"], node.types[0].dtype)

    def samples(self) -> Iterator[Sample]:
        for shape in [(), (2, 3), (0,)]:
            yield Sample((), {"shape": shape, "value": 2.5, "dtype": float32}, grad=False)
        yield Sample((), {"shape": (5,), "value": 0, "dtype": float64}, grad=False)
        wrong = (ShapeError, "negative dimension")
        yield Sample((), {"shape": (2, -1), "value": 0, "dtype": float64}, error=wrong)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        found = super().sbp(node, ranks)
        if node.attrs["value"] == 0:
            found.append(Signature((), (P,)))
        return found

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        return {**attrs, "shape": rank.local_shape(attrs["shape"], signature.outs[0])}


@primitive
class Iota(Creation):
    """Element i along ``dim`` is ``start + i``."""

    name = "iota"
    index = "-> ..."
    onnx = "Range"
    indexed = True

    def infer(self, shape: Shape, dtype: DType, **attrs: Any) -> TensorType:
        if not 0 <= attrs["dim"] < len(shape):
            raise ShapeError(
                f"iota: expected a dimension of a {len(shape)}-d shape, got {attrs['dim']}"
            )
        return super().infer(shape, dtype=dtype, **attrs)

    def reference(self, shape: Shape, dim: int, dtype: DType, start: int = 0) -> Array:
        ramp = np.arange(start, start + shape[dim]).astype(dtype.np)
        return np.broadcast_to(
            ramp.reshape([-1 if i == dim else 1 for i in range(len(shape))]), shape
        )

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        at = index[node.attrs["dim"]] + node.attrs.get("start", 0)
        dtype = node.types[0].dtype
        return at if dtype is int64 else loops.Cast(at, dtype)

    def samples(self) -> Iterator[Sample]:
        for shape, dim in [((4,), 0), ((2, 3), 1), ((2, 3), 0), ((0,), 0)]:
            yield Sample((), {"shape": shape, "dim": dim, "dtype": int64}, grad=False)
        wrong = (ShapeError, "expected a dimension of a 1-d shape")
        yield Sample((), {"shape": (3,), "dim": 1, "dtype": int64}, error=wrong)

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        out = signature.outs[0]
        local = {**attrs, "shape": rank.local_shape(attrs["shape"], out)}
        if isinstance(out, Split) and out.dim == attrs["dim"]:
            local["start"] = attrs.get("start", 0) + rank.bounds(attrs["shape"], out)[0]
        return local


@primitive
class Table(Creation):
    """A 1-d tensor of the numbers in ``values``: positions and weights known while recording."""

    name = "table"
    index = "-> a"
    onnx = "Constant"
    lower: Any = Host("made once: it has no operands, so every run gives the same buffer")

    def infer(self, values: tuple[Any, ...], dtype: DType) -> TensorType:  # type: ignore[override]
        return TensorType((len(values),), dtype)

    def reference(self, values: tuple[Any, ...], dtype: DType) -> Array:
        return np.array(values, np.float64 if dtype.is_floating_point else None).astype(dtype.np)

    def samples(self) -> Iterator[Sample]:
        for values, dtype in [
            ((1.5, -2.0, 0.25), float32),
            ((3, 1, 2, 5, 4), int64),
            ((), float64),
        ]:
            yield Sample((), {"values": values, "dtype": dtype}, grad=False)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        return [all_broadcast(node), Signature((), (Split(0),))]

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        out = signature.outs[0]
        if not isinstance(out, Split):
            return attrs
        start, stop = rank.bounds(types[-1].shape, out)
        return {**attrs, "values": attrs["values"][start:stop]}
