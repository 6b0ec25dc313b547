"""Joining and repeating: concatenation, stacking, tiling, grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, ShapeError, ValueRangeError
from ..ir.node import Node, Value
from ..ir.sbp import Signature, Split
from ..ir.types import TensorType
from .arithmetic import broadcast_shapes, broadcast_to, cast, common_dtype
from .contract import Array, Declined, Grads, Primitive, Sample, all_broadcast, primitive
from .dims import normalize_dim, sequence_of_ints
from .families import batch_up
from .function import Call, function
from .link import ops
from .named import public
from .pointwise import loops
from .positions import clamped
from .slicing import movement_partials, replaced

Tensors = Sequence[Value]


@primitive
class Concat(Primitive):
    """The operands one after another along ``dim``."""

    name = "concat"
    inputs = None
    indexed = True
    index: ClassVar[Any] = Declined("pieces of one dimension; not a contraction")
    onnx = "Concat"

    def infer(self, *operands: TensorType, dim: int) -> TensorType:
        if not operands or not 0 <= dim < operands[0].ndim:
            raise ShapeError(f"concat: expected operands with more than {dim} dimensions")
        first = operands[0]
        for i, other in enumerate(operands[1:], 1):
            if other.dtype is not first.dtype:
                raise DTypeError(
                    f"concat: expected operands of one dtype, got {first.dtype} and {other.dtype}"
                )
            if _rest(other.shape, dim) != _rest(first.shape, dim) or other.ndim != first.ndim:
                raise ShapeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected "
                    f"{list(first.shape)} but got {list(other.shape)} for tensor number {i} in "
                    "the list."
                )
        total = sum(v.shape[dim] for v in operands)
        return first.with_shape((*first.shape[:dim], total, *first.shape[dim + 1 :]))

    def reference(self, *operands: Array, dim: int) -> Array:
        return np.concatenate(operands, dim)

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(19)
        for shapes, dim in [
            (((2, 3), (1, 3)), 0), (((2, 3), (2, 1), (2, 2)), 1), (((4,),), 0),
            (((0, 2), (3, 2)), 0),
        ]:  # fmt: skip
            yield Sample(tuple(rng.normal(size=s) for s in shapes), {"dim": dim})
        bad = (np.zeros((2, 3)), np.zeros((2, 4)))
        yield Sample(bad, {"dim": 0}, error=(RuntimeError, "must match except in dimension 0"))

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        dim = node.attrs["dim"]
        at, stop = index[dim], node.types[0].shape[dim]
        found: Any = None
        for k in reversed(range(len(node.inputs))):
            extent = node.inputs[k].shape[dim]
            stop -= extent
            if not extent:
                continue
            place = at - stop if found is None and not stop else clamped(at - stop, extent)
            element = loads[k](replaced(tuple(index), dim, place))
            found = element if found is None else loops.Select(at < stop + extent, element, found)
        return found

    def vjp(self, node: Node, g: Value) -> Grads:
        dim = node.attrs["dim"]
        grads: list[Value | None] = []
        start = 0
        for v in node.inputs:
            grads.append(public.narrow(g, dim, start, v.shape[dim]))
            start += v.shape[dim]
        return grads

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        count = len(node.inputs)
        dims = [d for d in range(node.inputs[0].ndim) if d != node.attrs["dim"]]
        if count == 1:
            dims.append(node.attrs["dim"])
        splits = [Signature((Split(d),) * count, (Split(d),)) for d in dims]
        return [all_broadcast(node), *movement_partials(node), *splits]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(*batch_up(inputs, batched, size), dim=node.attrs["dim"] + 1),)


def _rest(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return shape[:dim] + shape[dim + 1 :]


def promoted(op: str, tensors: Tensors) -> tuple[list[Value], DType]:
    """The tensors as values of their common dtype; an error unless a non-empty sequence."""
    if isinstance(tensors, Value) or not all(isinstance(v, Value) for v in tensors):
        raise ArgumentError(f"{op}(): argument 'tensors' must be tuple of Tensors")
    if not tensors:
        kind = ValueRangeError if op == "cat" else ShapeError
        raise kind(f"{op}(): expected a non-empty list of Tensors")
    dtype = common_dtype(list(tensors))
    return [cast(v, dtype) for v in tensors], dtype


def _cat_calls() -> Iterator[Call]:
    rng = np.random.default_rng(19)
    x, y = rng.normal(size=(2, 3)), rng.normal(size=(1, 3))
    yield Call(([x, y],))
    yield Call(([x, rng.normal(size=(2, 1)), x], -1))
    yield Call(([x.astype(np.float32), y],))
    yield Call(([x.astype(np.float32), np.ones((1, 3), np.int64)],), grad=False)
    yield Call(([np.zeros((0,)), x],), grad=False)
    yield Call(([x, y], 1), error=(RuntimeError, "Sizes of tensors must match"))
    yield Call(([rng.normal(size=()), x],), error=(RuntimeError, "zero-dimensional"))
    yield Call(([],), error=(ValueError, "expected a non-empty list"))
    yield Call(([x, y], 2), error=(IndexError, "Dimension out of range"))


@function("cat", aliases=("concat", "concatenate"), calls=_cat_calls)
def cat(tensors: Tensors, dim: int = 0) -> Value:
    """The tensors one after another along ``dim``; all other dimensions must agree.

    1-d tensors of no elements are left out whatever the others' rank, as PyTorch allows.
    """
    values, _ = promoted("cat", tensors)
    for i, v in enumerate(values):
        if v.ndim == 0:
            raise ShapeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    real = [v for v in values if v.shape != (0,)]
    if not real:
        return values[0]
    dim = normalize_dim(dim, real[0].ndim)
    for i, v in enumerate(real):
        if v.ndim != real[0].ndim:
            raise ShapeError(
                f"Tensors must have same number of dimensions: got {real[0].ndim} and {v.ndim} "
                f"(tensor number {i})"
            )
    return real[0] if len(real) == 1 else ops.concat(*real, dim=dim)


def _stack_calls() -> Iterator[Call]:
    rng = np.random.default_rng(19)
    x, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    yield Call(([x, y],))
    yield Call(([x, y], -1))
    yield Call(([rng.normal(size=()), rng.normal(size=())],))
    yield Call(([x, x.astype(np.float32)], 1))
    yield Call(([x, y[:1]],), error=(RuntimeError, "equal size"))
    yield Call(([x], 3), error=(IndexError, "Dimension out of range"))


@function("stack", calls=_stack_calls)
def stack(tensors: Tensors, dim: int = 0) -> Value:
    """Tensors of one shape along a new dimension ``dim``."""
    if not isinstance(tensors, Value) and not len(tensors):
        raise ShapeError("stack expects a non-empty TensorList")
    values, _ = promoted("stack", tensors)
    dim = normalize_dim(dim, values[0].ndim + 1)
    for i, v in enumerate(values):
        if v.shape != values[0].shape:
            raise ShapeError(
                f"stack expects each tensor to be equal size, but got {list(values[0].shape)} at "
                f"entry 0 and {list(v.shape)} at entry {i}"
            )
    return ops.concat(*(public.unsqueeze(v, dim) for v in values), dim=dim)  # type: ignore[no-any-return]


def at_least(value: Value, ndim: int) -> Value:
    """With dimensions of one element added: NumPy's atleast_1d, _2d and _3d."""
    shape = value.shape
    if ndim == 3 and len(shape) == 2:
        return ops.reshape(value, shape=(*shape, 1))  # type: ignore[no-any-return]
    if len(shape) >= ndim:
        return value
    if ndim == 3:
        return ops.reshape(value, shape=(1, *shape, 1) if shape else (1, 1, 1))  # type: ignore[no-any-return]
    return ops.reshape(value, shape=(1,) * (ndim - len(shape)) + shape)  # type: ignore[no-any-return]


def _rows_calls() -> Iterator[Call]:
    rng = np.random.default_rng(19)
    yield Call(([rng.normal(size=(3,)), rng.normal(size=(3,))],))
    yield Call(([rng.normal(size=(2, 3)), rng.normal(size=(2, 3))],))
    yield Call(([rng.normal(size=()), rng.normal(size=())],))


@function("hstack", calls=_rows_calls)
def hstack(tensors: Tensors) -> Value:
    """Joined along the second dimension, or the first of 1-d tensors."""
    values = [at_least(v, 1) for v in promoted("hstack", tensors)[0]]
    return cat(values, 0 if values[0].ndim == 1 else 1)  # type: ignore[no-any-return]


@function("vstack", aliases=("row_stack",), calls=_rows_calls)
def vstack(tensors: Tensors) -> Value:
    """Joined along the first dimension; 1-d tensors are rows."""
    return cat([at_least(v, 2) for v in promoted("vstack", tensors)[0]], 0)  # type: ignore[no-any-return]


@function("dstack", calls=_rows_calls)
def dstack(tensors: Tensors) -> Value:
    """Joined along the third dimension, which is added where missing."""
    return cat([at_least(v, 3) for v in promoted("dstack", tensors)[0]], 2)  # type: ignore[no-any-return]


@function("column_stack", calls=_rows_calls)
def column_stack(tensors: Tensors) -> Value:
    """Joined along the second dimension; 1-d tensors are columns."""
    columns = [
        ops.reshape(v, shape=(v.type.numel, 1)) if v.ndim <= 1 else v
        for v in promoted("column_stack", tensors)[0]
    ]
    return cat(columns, 1)  # type: ignore[no-any-return]


def _repeat_calls() -> Iterator[Call]:
    x = np.random.default_rng(19).normal(size=(2, 3))
    yield Call((x, (2, 2)))
    yield Call((x, (4, 1, 2)))
    yield Call((x, (0, 1)))
    yield Call((x, (2,)), error=(RuntimeError, "Number of dimensions of repeat dims"))


@function("repeat", public=False, method=True, out=False, calls=_repeat_calls)
def repeat(input: Value, *repeats: Any) -> Value:
    """The tensor laid side by side ``repeats`` times per dimension; leading ones may be added."""
    if not repeats:
        raise ArgumentError("repeat() missing 1 required positional argument: 'repeats'")
    counts = sequence_of_ints(repeats, None, "repeat")
    if len(counts) < input.ndim:
        raise ShapeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            f"tensor: got {list(counts)} for shape {list(input.shape)}"
        )
    if any(n < 0 for n in counts):
        raise ShapeError(f"repeat: expected non-negative repeats, got {list(counts)}")
    shape = (1,) * (len(counts) - input.ndim) + input.shape
    apart = tuple(n for extent in shape for n in (1, extent))
    wide = tuple(n for count, extent in zip(counts, shape) for n in (count, extent))
    spread = ops.expand(ops.reshape(input, shape=apart), shape=wide)
    return ops.reshape(spread, shape=tuple(c * n for c, n in zip(counts, shape)))  # type: ignore[no-any-return]


def _tile_calls() -> Iterator[Call]:
    x = np.random.default_rng(19).normal(size=(2, 3))
    yield Call((x, (2,)))
    yield Call((x, (2, 1, 2)))


@function("tile", method=True, out=False, calls=_tile_calls)
def tile(input: Value, *args: Any, dims: Sequence[int] | None = None) -> Value:
    """As `repeat`, but missing leading repeats are 1."""
    counts = sequence_of_ints(args, dims, "tile")
    return repeat(input, (1,) * (input.ndim - len(counts)) + counts)  # type: ignore[no-any-return]


def _grid_calls() -> Iterator[Call]:
    x, y = np.arange(3.0), np.arange(2.0)
    yield Call((x, y), {"indexing": "ij"})
    yield Call((x, y, x), {"indexing": "xy"})
    yield Call(([x, y],), {"indexing": "ij"})
    yield Call((x, y[None]), {"indexing": "ij"}, error=(RuntimeError, "0D or 1D"))


@function("meshgrid", out=False, calls=_grid_calls)
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Value, ...]:
    """One tensor per 1-d argument, each varying along its own dimension of the common grid.

    ``indexing`` "ij" (default) orders dimensions as the arguments, "xy" swaps the first two.
    """
    given = list(tensors[0]) if len(tensors) == 1 and not isinstance(tensors[0], Value) else tensors
    for v in given:
        if v.ndim > 1:
            raise ShapeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: "
                f"{list(v.shape)}"
            )
    if indexing not in (None, "ij", "xy"):
        raise ShapeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    count = len(given)
    order = list(range(count))
    if indexing == "xy" and count > 1:
        order[:2] = [1, 0]
    sizes = [v.type.numel for v in given]
    shape = tuple(sizes[i] for i in order)
    return tuple(
        broadcast_to(ops.reshape(v, shape=tuple(sizes[i] if j == i else 1 for j in order)), shape)
        for i, v in enumerate(given)
    )


def _product_calls() -> Iterator[Call]:
    yield Call((np.arange(3.0), np.arange(2.0)))
    yield Call((np.arange(3.0),))


@function("cartesian_prod", out=False, calls=_product_calls)
def cartesian_prod(*tensors: Any) -> Value:
    """All combinations of the elements of 1-d tensors, one per row; one tensor stays as it is."""
    if len(tensors) == 1:
        return tensors[0]  # type: ignore[no-any-return]
    grids = meshgrid(*tensors, indexing="ij")
    return stack([ops.reshape(v, shape=(v.type.numel,)) for v in grids], 1)  # type: ignore[no-any-return]


def _block_calls() -> Iterator[Call]:
    rng = np.random.default_rng(19)
    yield Call((rng.normal(size=(2, 3)), rng.normal(size=(1, 2)), rng.normal(size=(3,))))
    yield Call((rng.normal(size=()),))


@function("block_diag", out=False, calls=_block_calls)
def block_diag(*tensors: Any) -> Value:
    """A matrix of zeros with the given matrices (rows, numbers) along its diagonal."""
    blocks = [at_least(v, 2) for v in promoted("block_diag", tensors)[0]]
    columns = sum(v.shape[1] for v in blocks)
    rows, start = [], 0
    for v in blocks:
        if v.ndim > 2:
            raise ShapeError(
                f"block_diag: Input tensors must have 2 or fewer dimensions, got {v.ndim}"
            )
        low, high = (0, start), (0, columns - start - v.shape[1])
        rows.append(ops.pad(v, low=low, high=high, interior=(0, 0), value=0))
        start += v.shape[1]
    return cat(rows, 0)  # type: ignore[no-any-return]


def _atleast_calls() -> Iterator[Call]:
    rng = np.random.default_rng(19)
    for shape in [(), (2,), (2, 3), (2, 3, 4)]:
        yield Call((rng.normal(size=shape),))


def _register_atleast(ndim: int) -> None:
    def atleast(*tensors: Any) -> Any:
        """Each tensor with dimensions of one element added; a tuple if several are given."""
        given = tensors[0] if len(tensors) == 1 else tensors
        if isinstance(given, Value):
            return at_least(given, ndim)
        return tuple(at_least(v, ndim) for v in given)

    function(f"atleast_{ndim}d", out=False, calls=_atleast_calls)(atleast)


for _ndim in (1, 2, 3):
    _register_atleast(_ndim)


def _broadcast_calls() -> Iterator[Call]:
    rng = np.random.default_rng(19)
    yield Call((rng.normal(size=(3, 1)), rng.normal(size=(4,))))
    yield Call((np.zeros(3), np.zeros(4)), error=(RuntimeError, "must match the size"))


@function("broadcast_tensors", out=False, calls=_broadcast_calls)
def broadcast_tensors(*tensors: Any) -> tuple[Value, ...]:
    """The tensors as views of their common broadcast shape."""
    given = tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Value) else tensors
    shape = broadcast_shapes(*(v.shape for v in given), op="broadcast_tensors")
    return tuple(broadcast_to(v, shape) for v in given)
