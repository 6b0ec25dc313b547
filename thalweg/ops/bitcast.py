"""The bytes of a tensor under another dtype: ``view(dtype)``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import (
    DType,
    bfloat16,
    float16,
    float64,
    from_numpy,
    int32,
    int64,
    uint8,
)
from ..core.errors import ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Signature, Split
from ..ir.types import TensorType
from .contract import Array, Declined, Host, Primitive, Sample, all_broadcast, primitive


@primitive
class Bitcast(Primitive):
    """The bytes of ``x``, in row-major order, as elements of ``dtype``. Where those have another
    size, the last dimension has more or fewer of them."""

    name = "bitcast"
    differentiable = False
    index = Declined("elements are made of parts of elements")
    vjp: Any = Declined("bits have no derivative")
    lower: Any = Host("a copy of memory, element by element of another size")
    onnx: Any = Declined("ONNX's BitCast came with opset 26 and keeps the size of elements")

    def infer(self, x: TensorType, dtype: DType) -> TensorType:
        given, wanted = x.dtype.itemsize, dtype.itemsize
        if given == wanted:
            return x.with_dtype(dtype)
        how = f"to view {x.dtype.name} as {dtype.name} (different element sizes)"
        if not x.shape:
            raise ShapeError(f"self.dim() cannot be 0 {how}")
        length, rest = divmod(x.shape[-1] * given, wanted)
        if rest:
            raise ShapeError(
                f"self.size(-1) must be divisible by {wanted // given} {how}, but got {x.shape[-1]}"
            )
        return x.with_shape((*x.shape[:-1], length)).with_dtype(dtype)

    def reference(self, x: Array, dtype: DType) -> Array:
        shape = self.infer(TensorType(x.shape, from_numpy(x.dtype)), dtype).shape
        flat = np.ascontiguousarray(x).reshape(-1)
        return flat.view(dtype.np).reshape(shape) if x.size else np.empty(shape, dtype.np)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        """The last dimension is cut where elements of both dtypes end, at equal parts."""
        x, target = node.inputs[0], node.types[0].dtype
        dims = list(range(x.ndim))
        if x.dtype.itemsize != target.itemsize:
            length = x.shape[-1] // ranks * x.dtype.itemsize
            if x.shape[-1] % ranks or length % target.itemsize:
                dims.pop()
        return [all_broadcast(node), *(Signature((Split(d),), (Split(d),)) for d in dims)]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(inputs[0], **node.attrs),)

    def samples(self) -> Iterator[Sample]:
        x = np.random.default_rng(17).normal(size=(3, 4)).astype(np.float32)
        for dtype in (int32, uint8, float16, float64, bfloat16, int64):
            yield Sample((x,), {"dtype": dtype}, grad=False)
        yield Sample((x[0, 0].reshape(()),), {"dtype": int32}, grad=False)
        yield Sample((x[:, :0],), {"dtype": int64}, grad=False)
        wrong = (ShapeError, "must be divisible by 2 to view float32 as int64")
        yield Sample((x[:, :3],), {"dtype": int64}, error=wrong)
        wrong = (ShapeError, "cannot be 0 to view float32 as uint8")
        yield Sample((x[0, 0].reshape(()),), {"dtype": uint8}, error=wrong)
