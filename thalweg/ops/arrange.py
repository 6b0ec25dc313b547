"""Public functions that copy elements to other places: flips, triangles, diagonals, padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import DType, int64
from ..core.errors import ArgumentError, DimError, ShapeError
from ..ir.node import Value
from .arithmetic import Scalar, broadcast_shapes, cast, coerce, constant
from .check import require
from .dims import distinct_dims, normalize_dim, sequence_of_ints
from .function import Call, function
from .link import ops
from .named import public
from .shape_functions import reorder, slice_dim, to_shape
from .slicing import replaced
from .windows import on_diagonal, ramp


def _example(*shape: int) -> Any:
    return np.random.default_rng(29).normal(size=shape)


def _flip_calls() -> Iterator[Call]:
    x = _example(2, 3, 4)
    yield Call((x, (0,)))
    yield Call((x, (-1, 0)))
    yield Call((x, ()))
    yield Call((x, (0, 0)), error=(RuntimeError, "multiple times"))
    yield Call((x, (3,)), error=(IndexError, "Dimension out of range"))


def flipped(input: Value, dims: Sequence[int]) -> Value:
    chosen = tuple(sorted(distinct_dims(tuple(dims), input.ndim)))
    return ops.flip(input, dims=chosen) if chosen and input.ndim else input


@function("flip", method=True, out=False, calls=_flip_calls)
def flip(input: Value, *args: Any, dims: Sequence[int] | None = None) -> Value:
    """The order of the elements along ``dims`` reversed (a copy)."""
    return flipped(input, sequence_of_ints(args, dims, "flip"))


def _matrix_calls() -> Iterator[Call]:
    yield Call((_example(2, 3),))
    yield Call((_example(2, 3, 4),))
    yield Call((_example(),), error=(RuntimeError, "-d"))


@function("fliplr", method=True, out=False, calls=_matrix_calls)
def fliplr(input: Value) -> Value:
    """The order of the second dimension reversed."""
    if input.ndim < 2:
        raise ShapeError(f"Input must be >= 2-d. Got {input.ndim}-d.")
    return flipped(input, (1,))


@function("flipud", method=True, out=False, calls=_matrix_calls)
def flipud(input: Value) -> Value:
    """The order of the first dimension reversed."""
    if input.ndim < 1:
        raise ShapeError(f"Input must be >= 1-d. Got {input.ndim}-d.")
    return flipped(input, (0,))


def _roll_calls() -> Iterator[Call]:
    x = _example(3, 4)
    yield Call((x, 1))
    yield Call((x, 2, 0))
    yield Call((x, (1, -3), (0, 1)))
    yield Call((np.zeros((0, 2)), 1, 0))
    yield Call((x, (1, 2), (0,)), error=(RuntimeError, "shifts and dimensions"))


@function("roll", method=True, out=False, calls=_roll_calls)
def roll(
    input: Value, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None
) -> Value:
    """Elements moved ``shifts`` places along ``dims``, those pushed out entering at the front;
    without ``dims`` along the flattened tensor."""
    by = tuple(shifts) if isinstance(shifts, (tuple, list)) else (shifts,)
    if dims is None or (isinstance(dims, (tuple, list)) and not dims):
        if len(by) != 1:
            raise ShapeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:0")
        flat = to_shape(input, (input.type.numel,))
        return to_shape(_rolled(flat, by[0], 0), input.shape)
    chosen = tuple(dims) if isinstance(dims, (tuple, list)) else (dims,)
    if len(by) != len(chosen):
        raise ShapeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:{len(chosen)}")
    if not input.ndim:
        raise DimError(f"Dimension specified as {chosen[0]} but tensor has no dimensions")
    for shift, dim in zip(by, chosen):
        input = _rolled(input, shift, normalize_dim(dim, input.ndim))
    return input


def _rolled(x: Value, shift: int, dim: int) -> Value:
    extent = x.shape[dim]
    cut = -shift % extent if extent else 0
    if not cut:
        return x
    return ops.concat(slice_dim(x, dim, cut, extent), slice_dim(x, dim, 0, cut), dim=dim)  # type: ignore[no-any-return]


def _rot_calls() -> Iterator[Call]:
    x = _example(2, 3)
    for k in range(-1, 4):
        yield Call((x, k))
    yield Call((_example(2, 3, 4), 1, (1, 2)))


@function("rot90", method=True, out=False, calls=_rot_calls)
def rot90(input: Value, k: int = 1, dims: Sequence[int] = (0, 1)) -> Value:
    """The plane ``dims`` turned by ``k`` quarter turns from the first towards the second."""
    if len(dims) != 2:
        raise ShapeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise ShapeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = distinct_dims(tuple(dims), input.ndim)
    order = replaced(replaced(tuple(range(input.ndim)), a, b), b, a)
    turned = {
        0: lambda: input,
        1: lambda: reorder(flipped(input, (b,)), order),
        2: lambda: flipped(input, (a, b)),
        3: lambda: flipped(reorder(input, order), (b,)),
    }
    return turned[k % 4]()


def _triangle_calls() -> Iterator[Call]:
    x = _example(3, 4)
    yield Call((x,))
    yield Call((x, 1))
    yield Call((_example(2, 3, 3), -1))
    yield Call((np.arange(6).reshape(2, 3), 0), grad=False)
    yield Call((np.ones((3, 3), bool),), grad=False)
    yield Call((_example(3),), error=(RuntimeError, "at least 2 dimensions"))


def _triangle(name: str, input: Value, diagonal: int, lower: bool) -> Value:
    if input.ndim < 2:
        raise ShapeError(f"{name}: input tensor must have at least 2 dimensions")
    rows, cols = (ops.iota(shape=input.shape[-2:], dim=d, dtype=int64) for d in range(2))
    edge = rows + diagonal
    inside = public.le(cols, edge) if lower else public.ge(cols, edge)
    return public.where(inside, input, constant(0, input.dtype))  # type: ignore[no-any-return]


@function("tril", method=True, inplace=True, calls=_triangle_calls)
def tril(input: Value, diagonal: int = 0) -> Value:
    """Matrices with the elements above the given diagonal set to 0."""
    return _triangle("tril", input, diagonal, lower=True)


@function("triu", method=True, inplace=True, calls=_triangle_calls)
def triu(input: Value, diagonal: int = 0) -> Value:
    """Matrices with the elements below the given diagonal set to 0."""
    return _triangle("triu", input, diagonal, lower=False)


def _indices_calls() -> Iterator[Call]:
    yield Call((3, 4), grad=False)
    yield Call((3, 3, 1), grad=False)
    yield Call((4, 2, -1), grad=False)


def _positions(rows: int, cols: int, keep: Any, dtype: DType | None) -> Value:
    """Row and column numbers for which ``keep`` holds, found now: the sizes are known."""
    dtype = dtype or int64
    found = np.argwhere(keep(np.arange(rows)[:, None], np.arange(cols)[None, :])).T
    pieces = []
    for line in found:
        # Runs of consecutive numbers keep the graph small: rows repeat, columns count up.
        pieces.append(_spelled(line, dtype))
    return ops.concat(*(to_shape(p, (1, len(found[0]))) for p in pieces), dim=0)  # type: ignore[no-any-return]


def _spelled(numbers: Any, dtype: DType) -> Value:
    if not len(numbers):
        return constant(0, dtype, (0,))
    steps = np.flatnonzero(np.diff(numbers) != 1) + 1
    runs = np.split(numbers, steps)
    parts = [ops.iota(shape=(len(r),), dim=0, dtype=dtype, start=int(r[0])) for r in runs]
    return parts[0] if len(parts) == 1 else ops.concat(*parts, dim=0)  # type: ignore[no-any-return]


@function("tril_indices", out=False, calls=_indices_calls)
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: DType | None = None) -> Value:
    """[2, n]: row and column numbers of a lower triangle, in row-major order."""
    return _positions(row, col, lambda i, j: j <= i + offset, dtype)


@function("triu_indices", out=False, calls=_indices_calls)
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: DType | None = None) -> Value:
    """[2, n]: row and column numbers of an upper triangle, in row-major order."""
    return _positions(row, col, lambda i, j: j >= i + offset, dtype)


def _diag_calls() -> Iterator[Call]:
    yield Call((_example(3),))
    yield Call((_example(3), -1))
    yield Call((_example(3, 4), 1))
    yield Call((_example(2, 2, 2),), error=(RuntimeError, "1D or 2D"))


@function("diag", method=True, calls=_diag_calls)
def diag(input: Value, diagonal: int = 0) -> Value:
    """The matrix with a vector on its diagonal, or the diagonal of a matrix."""
    if input.ndim not in (1, 2):
        raise ShapeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    if input.ndim == 1:
        return diag_embed(input, diagonal)  # type: ignore[no-any-return]
    return ops.diagonal(input, offset=diagonal, dim1=0, dim2=1)  # type: ignore[no-any-return]


def _embed_calls() -> Iterator[Call]:
    yield Call((_example(2, 3),))
    yield Call((_example(2, 3), 1))
    yield Call((_example(2, 3), -1, 0, 2))
    yield Call((_example(2, 3), 0, 2, 0))


@function("diag_embed", method=True, out=False, calls=_embed_calls)
def diag_embed(input: Value, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Value:
    """Square matrices, in dimensions ``dim1`` and ``dim2``, with the last dimension on a
    diagonal and 0 elsewhere."""
    ndim = input.ndim + 1
    a, b = normalize_dim(dim1, ndim), normalize_dim(dim2, ndim)
    if a == b:
        raise ShapeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = input.shape[-1] + abs(offset)
    plane = on_diagonal(input, size, size, offset)
    order = list(range(ndim - 2))
    for place, source in sorted([(a, ndim - 2), (b, ndim - 1)]):
        order.insert(place, source)
    return reorder(plane, tuple(order))


def _flat_calls() -> Iterator[Call]:
    yield Call((_example(2, 2),))
    yield Call((_example(3), 1))
    yield Call((_example(),))


@function("diagflat", method=True, out=False, calls=_flat_calls)
def diagflat(input: Value, offset: int = 0) -> Value:
    """The square matrix with all elements on a diagonal."""
    return diag_embed(to_shape(input, (input.type.numel,)), offset)  # type: ignore[no-any-return]


def _trace_calls() -> Iterator[Call]:
    yield Call((_example(3, 4),))
    yield Call((np.arange(6).reshape(2, 3),), grad=False)
    yield Call((_example(3),), error=(RuntimeError, "matrix"))


@function("trace", method=True, out=False, calls=_trace_calls)
def trace(input: Value) -> Value:
    """The sum of a matrix's diagonal."""
    if input.ndim != 2:
        raise ShapeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return public.sum(ops.diagonal(input, offset=0, dim1=0, dim2=1))  # type: ignore[no-any-return]


def _interleave_calls() -> Iterator[Call]:
    x = _example(2, 3)
    yield Call((x, 2))
    yield Call((x, 3, 1))
    yield Call((x, 0, -1))


def interleaved(input: Value, repeats: int, dim: int | None = None) -> Value:
    """Each element ``repeats`` times in a row along ``dim`` (None: of the flattened tensor)."""
    if dim is None or not input.ndim:
        input, dim = to_shape(input, (input.type.numel,)), 0
    dim = normalize_dim(dim, input.ndim)
    if repeats < 0:
        raise ShapeError(f"repeats can not be negative, got {repeats}")
    lifted = to_shape(input, (*input.shape[: dim + 1], 1, *input.shape[dim + 1 :]))
    spread = ops.expand(lifted, shape=replaced(lifted.shape, dim + 1, repeats))
    return to_shape(spread, replaced(input.shape, dim, input.shape[dim] * repeats))


@function("repeat_interleave", method=True, out=False, calls=_interleave_calls)
def repeat_interleave(
    input: Value, repeats: int, dim: int | None = None, *, output_size: int | None = None
) -> Value:
    """Each element ``repeats`` times in a row along ``dim`` (None: of the flattened tensor).

    A tensor of repeats makes the shape depend on data: the tensor layer then reads it and takes
    `index_select` at `host.interleave_positions`.
    """
    if not isinstance(repeats, int):
        raise ArgumentError(
            f"repeat_interleave(): expected repeats to be an int here, got {type(repeats).__name__}"
        )
    return interleaved(input, repeats, dim)


def _kron_calls() -> Iterator[Call]:
    yield Call((_example(2, 3), _example(3, 2)))
    yield Call((_example(3), _example(2, 2)))


@function("kron", method=True, calls=_kron_calls)
def kron(input: Value, other: Value) -> Value:
    """The Kronecker product: every element of ``input`` times the whole of ``other``."""
    ndim = max(input.ndim, other.ndim)
    left = (1,) * (ndim - input.ndim) + input.shape
    right = (1,) * (ndim - other.ndim) + other.shape
    x = to_shape(input, tuple(n for e in left for n in (e, 1)))
    y = to_shape(other, tuple(n for e in right for n in (1, e)))
    return to_shape(x * y, tuple(m * n for m, n in zip(left, right)))


def _linalg_cross_calls() -> Iterator[Call]:
    yield Call((_example(4, 3), _example(4, 3)))
    yield Call((_example(3, 4), _example(3, 1)), {"dim": 0})
    yield Call((_example(2, 4), _example(2, 4)), error=(RuntimeError, "length 3"))


@function("linalg.cross", calls=_linalg_cross_calls)
def linalg_cross(input: Value, other: Value, *, dim: int = -1) -> Value:
    """The vector product along ``dim``, which must have 3 elements; other dimensions broadcast."""
    if input.ndim != other.ndim:
        raise ShapeError(
            f"linalg.cross: inputs must have the same number of dimensions, got {input.ndim} and "
            f"{other.ndim}"
        )
    x, y = coerce(input, other, op="linalg.cross")
    axis = normalize_dim(dim, x.ndim)
    if not input.shape[dim] == other.shape[dim] == 3:
        raise ShapeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[dim]} and "
            f"{other.shape[dim]}"
        )
    x1, y1 = (_rolled(v, -1, axis) for v in (x, y))
    x2, y2 = (_rolled(v, 1, axis) for v in (x, y))
    return x1 * y2 - x2 * y1


def _cross_calls() -> Iterator[Call]:
    yield Call((_example(4, 3), _example(4, 3), 1))
    yield Call((_example(3, 4), _example(3, 4)), {"dim": 0})


@function("cross", method=True, calls=_cross_calls)
def cross(input: Value, other: Value, dim: int | None = None) -> Value:
    """The vector product along ``dim``, or along the first dimension of 3 elements."""
    if dim is None:
        shape = broadcast_shapes(input.shape, other.shape, op="cross")
        if 3 not in shape:
            raise ShapeError(f"no dimension of size 3 in input: got {list(shape)}")
        dim = shape.index(3) - len(shape)
    return linalg_cross(input, other, dim=dim)  # type: ignore[no-any-return]


def _pad_calls() -> Iterator[Call]:
    x = _example(2, 3, 4)
    yield Call((x, (1, 2)))
    yield Call((x, (1, 2, 0, 1)), {"value": 2.5})
    yield Call((x, (-1, 2)))
    for mode in ("reflect", "replicate", "circular"):
        yield Call((x, (1, 2)), {"mode": mode})
        yield Call((x, (1, 2), mode, 0.0))
        yield Call((x, (1, 2), mode, 1.0), error=(RuntimeError, "doesn't take in value"))
        yield Call((_example(1, 2, 4, 4), (1, 0, 2, 3)), {"mode": mode})
    yield Call((np.arange(6).reshape(2, 3), (1, 1)), grad=False)
    yield Call((x, (1, 2, 3)), error=(RuntimeError, "must be divisible by 2"))
    yield Call((x, (1, 9)), {"mode": "reflect"}, error=(RuntimeError, "Padding size"))


@function("nn.functional.pad", out=False, calls=_pad_calls)
def pad(
    input: Value, pad: Sequence[int], mode: str = "constant", value: Scalar | None = None
) -> Value:
    """Elements added (or, if negative, removed) before and after, from the last dimension on.

    ``pad`` is (left, right, top, bottom, ...). Modes: "constant" (``value``, default 0),
    "reflect", "replicate" and "circular".
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ShapeError(
            f"Padding length must be divisible by 2 and at most twice the number of dimensions of "
            f"the input ({input.ndim}), got {len(pad)}"
        )
    widths = [(0, 0)] * (input.ndim - len(pad) // 2) + [
        (pad[i], pad[i + 1]) for i in reversed(range(0, len(pad), 2))
    ]
    if mode == "constant":
        return padded(input, widths, 0 if value is None else value)
    if mode not in _EDGES:
        raise ShapeError(f"Unrecognised padding mode {mode}")
    if value:
        raise ShapeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    for dim, (low, high) in enumerate(widths):
        if low or high:
            input = _EDGES[mode](input, dim, low, high)
    return input


def padded(input: Value, widths: Sequence[tuple[int, int]], value: Scalar) -> Value:
    """Constant padding by (before, after) per dimension; negative widths remove elements."""
    for dim, (low, high) in enumerate(widths):
        extent = input.shape[dim]
        if low + extent + high < 0:
            raise ShapeError(
                f"The input size {extent}, plus negative padding {low} and {high}, resulted in a "
                f"negative output size at dimension {dim}"
            )
        start, stop = max(-low, 0), extent - max(-high, 0)
        if start <= stop:
            input = slice_dim(input, dim, start, stop)
    lows, highs = (tuple(max(w[i], 0) for w in widths) for i in range(2))
    if not any(lows + highs):
        return input
    return ops.pad(input, low=lows, high=highs, interior=(0,) * input.ndim, value=value)  # type: ignore[no-any-return]


def _trimmed(x: Value, dim: int, low: int, high: int) -> tuple[Value, int, int]:
    kept = slice_dim(x, dim, max(-low, 0), x.shape[dim] - max(-high, 0))
    return kept, max(low, 0), max(high, 0)


def _reflect(x: Value, dim: int, low: int, high: int) -> Value:
    x, low, high = _trimmed(x, dim, low, high)
    extent = x.shape[dim]
    if max(low, high) >= extent:
        raise ShapeError(
            f"Padding size should be less than the corresponding input dimension, but got: padding "
            f"({low}, {high}) at dimension {dim} of input {list(x.shape)}"
        )
    before = flipped(slice_dim(x, dim, 1, 1 + low), (dim,))
    after = flipped(slice_dim(x, dim, extent - 1 - high, extent - 1), (dim,))
    return public.cat([before, x, after], dim)  # type: ignore[no-any-return]


def _replicate(x: Value, dim: int, low: int, high: int) -> Value:
    extent = x.shape[dim]
    before = slice_dim(x, dim, 0, 1)
    after = slice_dim(x, dim, extent - 1, extent)
    total = extent + low + high
    if min(extent, total) < 1:
        raise ShapeError(
            f"padding ({low}, {high}) leaves nothing at dimension {dim} of input {list(x.shape)}"
        )
    # A negative padding may cut more than there is: then it cuts the padding of the other side.
    start, lead = min(max(-low, 0), extent), min(max(low, 0), total)
    kept = min(extent - start, total - lead)
    parts = [
        ops.expand(before, shape=replaced(x.shape, dim, lead)),
        slice_dim(x, dim, start, start + kept),
        ops.expand(after, shape=replaced(x.shape, dim, total - lead - kept)),
    ]
    return ops.concat(*parts, dim=dim)  # type: ignore[no-any-return]


def _circular(x: Value, dim: int, low: int, high: int) -> Value:
    x, low, high = _trimmed(x, dim, low, high)
    extent = x.shape[dim]
    if max(low, high) > extent:
        raise ShapeError(
            f"Padding value causes wrapping around more than once: Padding size ({low}, {high}) "
            f"at dimension {dim} of input {list(x.shape)}"
        )
    parts = [slice_dim(x, dim, extent - low, extent), x, slice_dim(x, dim, 0, high)]
    return ops.concat(*parts, dim=dim)  # type: ignore[no-any-return]


_EDGES: dict[str, Any] = {
    "reflect": _reflect, "replicate": _replicate, "circular": _circular,
}  # fmt: skip


def _one_hot_calls() -> Iterator[Call]:
    yield Call((np.array([[0, 2], [1, 0]]), 3), grad=False)
    yield Call((np.array(1), 2), grad=False)


@function("nn.functional.one_hot", out=False, calls=_one_hot_calls)
def one_hot(tensor: Value, num_classes: int = -1) -> Value:
    """int64 ``[..., num_classes]``: 1 at each class number, 0 elsewhere.

    ``num_classes`` -1 (one more than the largest class) depends on data: the tensor layer reads
    it first. RuntimeError at execution for a class outside.
    """
    if tensor.dtype is not int64:
        raise ShapeError(
            f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}"
        )
    if num_classes < 1:
        raise ShapeError(f"num_classes should be positive, got {num_classes}")
    tensor = require(tensor, public.ge(tensor, 0), "Class values must be non-negative.")
    small = public.lt(tensor, num_classes)
    tensor = require(tensor, small, f"Class values must be smaller than num_classes {num_classes}.")
    return cast(public.eq(public.unsqueeze(tensor, -1), ramp(num_classes)), int64)
