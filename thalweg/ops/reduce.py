"""Reduction primitives: chosen dimensions vanish from the result.

Reducing nothing gives the identity of the operation (0, 1, the smallest or largest value), so a
rank that holds no elements contributes nothing. `any` and `all` are the maximum and minimum of
bools. The public functions stand in `reductions` and `statistics`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import DType, iinfo, int64
from ..core.errors import DTypeError, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Partial, Signature, Split
from ..ir.types import TensorType
from .arithmetic import cast, conj
from .contract import Array, Declined, Grads, Primitive, Sample, all_broadcast, primitive
from .families import in_float32
from .kernels import kernel_from
from .link import ops
from .named import public
from .pointwise import loops

Dims = tuple[int, ...]


def kept_shape(shape: tuple[int, ...], dims: Dims) -> tuple[int, ...]:
    """``shape`` with the reduced dimensions as extents of one (to broadcast back)."""
    return tuple(1 if i in dims else n for i, n in enumerate(shape))


def spread(value: Value, like: Value, dims: Dims) -> Value:
    """A reduced value broadcast back to the shape that was reduced over ``dims``."""
    kept = ops.reshape(value, shape=kept_shape(like.shape, dims))
    return ops.expand(kept, shape=like.shape)  # type: ignore[no-any-return]


def without(shape: tuple[int, ...], dims: Dims) -> tuple[int, ...]:
    """``shape`` less the dimensions ``dims``."""
    return tuple(n for i, n in enumerate(shape) if i not in dims)


def lowest(dtype: DType) -> Any:
    """The identity of max: the least value of the dtype (-inf for floats, False for bool)."""
    if dtype.is_floating_point:
        return -np.inf
    return False if dtype.category == "bool" else iinfo(dtype).min


def highest(dtype: DType) -> Any:
    """The identity of min."""
    if dtype.is_floating_point:
        return np.inf
    return True if dtype.category == "bool" else iinfo(dtype).max


class Reduction(Primitive):
    """Base: ``dims`` are distinct, sorted, non-negative. ``combine`` is the Partial it yields."""

    index: ClassVar[Any] = "...k -> ..."
    combine: ClassVar[str] = "sum"
    accepts: ClassVar[tuple[str, ...]] = ("int", "float", "complex")

    def lower(self, dtype: DType) -> Any:
        """The identity of the operation, from which an accumulation in ``dtype`` starts."""
        start: Any = {"add": 0, "mul": 1}.get(self.reduces)
        if start is None:
            start = lowest(dtype) if self.reduces == "max" else highest(dtype)
        return loops.Const(start, dtype)

    def infer(self, x: TensorType, dims: Dims) -> TensorType:
        if list(dims) != sorted(set(dims)) or any(not 0 <= d < x.ndim for d in dims):
            raise ShapeError(
                f"{self.name}: expected sorted dimensions of a {x.ndim}-d tensor, got {dims}"
            )
        if x.dtype.category not in self.accepts:
            raise DTypeError(
                f'"{self.name}" not implemented for {x.dtype}: expected {" or ".join(self.accepts)}'
            )
        return x.with_shape(without(x.shape, dims))

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        dims = node.attrs["dims"]
        found = [all_broadcast(node), Signature((Partial(self.combine),), (Partial(self.combine),))]
        kept = [d for d in range(node.inputs[0].ndim) if d not in dims]
        found += [Signature((Split(d),), (Split(i),)) for i, d in enumerate(kept)]
        found += [Signature((Split(d),), (Partial(self.combine),)) for d in dims]
        return found

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(inputs[0], dims=tuple(d + 1 for d in node.attrs["dims"])),)


def reduction_samples() -> Iterator[Sample]:
    rng = np.random.default_rng(5)
    for shape, dims in [
        ((3, 4), (1,)),
        ((3, 4), (0, 1)),
        ((2, 3, 5), (1,)),
        ((), ()),
        ((7,), (0,)),
    ]:
        yield Sample((rng.normal(size=shape),), {"dims": dims})
    yield Sample((np.array([[1.0, np.nan], [np.inf, -np.inf]], np.float32),), {"dims": (1,)}, False)
    yield Sample((rng.integers(-9, 9, (3, 4)),), {"dims": (0,)}, grad=False)
    yield Sample((np.zeros((0, 3)),), {"dims": (0,)}, grad=False)
    yield Sample((np.zeros((3, 4)),), {"dims": (2,)}, error=(RuntimeError, "sorted dimensions"))


@primitive
class ReduceSum(Reduction):
    """Sum. Integers are summed in their own dtype; halves in float32."""

    name = "reduce_sum"
    reduces = "add"
    onnx = "ReduceSum"
    samples = staticmethod(reduction_samples)

    def reference(self, x: Array, dims: Dims) -> Array:
        return in_float32(np.sum, x, axis=dims).astype(x.dtype, copy=False)

    def vjp(self, node: Node, g: Value) -> Grads:
        return (spread(g, node.inputs[0], node.attrs["dims"]),)


@primitive
class ReduceProd(Reduction):
    """Product; halves in float32."""

    name = "reduce_prod"
    reduces = "mul"
    combine = "prod"
    onnx = "ReduceProd"

    def samples(self) -> Iterator[Sample]:
        yield from reduction_samples()
        yield Sample((np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 5.0]]),), {"dims": (1,)})

    def reference(self, x: Array, dims: Dims) -> Array:
        return in_float32(np.prod, x, axis=dims).astype(x.dtype, copy=False)

    def vjp(self, node: Node, g: Value) -> Grads:
        """Each element's factor is the product of the others, as the product of those before it
        and those after it: no division, so zeros need no special case."""
        x, dims = node.inputs[0], node.attrs["dims"]
        if not dims:
            return (g,)
        kept = tuple(d for d in range(x.ndim) if d not in dims)
        order = kept + dims
        moved = ops.permute(conj(x), dims=order)
        rows = ops.reshape(moved, shape=(*(x.shape[d] for d in kept), _size(x, dims)))
        others = _before(rows) * ops.flip(
            _before(ops.flip(rows, dims=(len(kept),))), dims=(len(kept),)
        )
        back = ops.reshape(others, shape=moved.shape)
        inverse = tuple(order.index(d) for d in range(x.ndim))
        return (ops.permute(back, dims=inverse) * spread(g, x, dims),)


def _size(x: Value, dims: Dims) -> int:
    return int(np.prod([x.shape[d] for d in dims]))


def _before(rows: Value) -> Value:
    """Products of the elements that precede each one along the last dimension."""
    last = rows.ndim - 1
    count = rows.shape[last]
    if count == 0:
        return rows
    full = ops.cumprod(rows, dim=last)
    head = ops.slice(
        full, starts=(0,) * rows.ndim, stops=(*rows.shape[:-1], count - 1), steps=(1,) * rows.ndim
    )
    return ops.pad(  # type: ignore[no-any-return]
        head, low=(0,) * last + (1,), high=(0,) * rows.ndim, interior=(0,) * rows.ndim, value=1
    )


class Extremum(Reduction):
    """Base of max and min: NaN wins; the gradient is shared evenly among equal elements."""

    accepts = ("bool", "int", "float")

    def samples(self) -> Iterator[Sample]:
        yield from reduction_samples()
        yield Sample((np.array([[True, False], [False, False]]),), {"dims": (1,)}, grad=False)
        yield Sample((np.arange(6, dtype=np.float16).reshape(2, 3),), {"dims": (0,)}, grad=False)

    def vjp(self, node: Node, g: Value) -> Grads:
        x, dims = node.inputs[0], node.attrs["dims"]
        chosen = cast(public.eq(x, spread(node.out, x, dims)), g.dtype)
        share = g / ops.reduce_sum(chosen, dims=dims)
        return (chosen * spread(share, x, dims),)


@primitive
class ReduceMax(Extremum):
    """Maximum; `any` for bools."""

    name = "reduce_max"
    reduces = "max"
    combine = "max"
    onnx = "ReduceMax"

    def reference(self, x: Array, dims: Dims) -> Array:
        return _extremum(np.maximum, x, dims, lowest)


@primitive
class ReduceMin(Extremum):
    """Minimum; `all` for bools."""

    name = "reduce_min"
    reduces = "min"
    combine = "min"
    onnx = "ReduceMin"

    def reference(self, x: Array, dims: Dims) -> Array:
        return _extremum(np.minimum, x, dims, highest)


def _extremum(ufunc: Any, x: Array, dims: Dims, identity: Any) -> Array:
    from ..core.dtypes import from_numpy

    start = np.asarray(identity(from_numpy(x.dtype))).astype(x.dtype)
    return np.asarray(in_float32(ufunc.reduce, x, axis=dims, initial=start[()])).astype(
        x.dtype, copy=False
    )


class ArgExtremum(Primitive):
    """Base of argmax and argmin: the first position of the extremum along ``dim``; NaN wins."""

    index: ClassVar[Any] = "...k -> ..."
    differentiable = False
    vjp: Any = Declined("positions are constant almost everywhere")
    lower: Any = kernel_from("extremum")
    largest: ClassVar[bool]

    def infer(self, x: TensorType, dim: int) -> TensorType:
        if not 0 <= dim < x.ndim:
            raise ShapeError(f"{self.name}: expected a dimension below {x.ndim}, got {dim}")
        if x.shape[dim] == 0:
            raise ShapeError(f"{self.name}: Expected reduction dim {dim} to have non-zero size.")
        if x.dtype.category == "complex":
            raise DTypeError(f'"{self.name}" not implemented for {x.dtype}: it has no order')
        return x.with_shape(without(x.shape, (dim,))).with_dtype(int64)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        kept = [d for d in range(node.inputs[0].ndim) if d != node.attrs["dim"]]
        splits = [Signature((Split(d),), (Split(i),)) for i, d in enumerate(kept)]
        return [all_broadcast(node), *splits]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(inputs[0], dim=node.attrs["dim"] + 1),)

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(5)
        for shape, dim in [((3, 4), 1), ((3, 4), 0), ((2, 3, 5), 1), ((1,), 0), ((0, 3), 1)]:
            yield Sample((rng.normal(size=shape),), {"dim": dim}, grad=False)
        yield Sample((np.array([[1, 3, 3], [2, 2, 0]]),), {"dim": 1}, grad=False, name="ties")
        yield Sample((np.array([1.0, np.nan, np.inf, np.nan]),), {"dim": 0}, grad=False)
        yield Sample((np.zeros((2, 0)),), {"dim": 1}, error=(RuntimeError, "non-zero size"))


@primitive
class ArgMax(ArgExtremum):
    name = "argmax"
    largest = True
    onnx = "ArgMax"

    def reference(self, x: Array, dim: int) -> Array:
        return _position(np.argmax, x, dim)


@primitive
class ArgMin(ArgExtremum):
    name = "argmin"
    largest = False
    onnx = "ArgMin"

    def reference(self, x: Array, dim: int) -> Array:
        return _position(np.argmin, x, dim)


def _position(function: Any, x: Array, dim: int) -> Array:
    if x.dtype.itemsize == 2 and x.dtype.kind not in "iub":
        x = x.astype(np.float32)
    return np.asarray(function(x, axis=dim), np.int64)
