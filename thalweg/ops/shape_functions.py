"""Public functions that change a shape and share storage: reshape, transpose, expand, narrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import DType, float64, int32, int64, uint8
from ..core.errors import ArgumentError, DimError, IndexOutOfRange, ShapeError
from ..ir.node import Value
from .arithmetic import broadcast_to as broadcast_value
from .arithmetic import conj
from .dims import distinct_dims, normalize_dim, sequence_of_ints
from .function import Call, function
from .link import ops
from .slicing import replaced

Shape = tuple[int, ...]


def resolve_shape(target: Shape, numel: int) -> Shape:
    """``target`` with its -1 (at most one) replaced by the extent that fits ``numel``."""
    if target.count(-1) > 1:
        raise ShapeError("only one dimension can be inferred")
    if any(n < -1 for n in target):
        raise ShapeError(f"invalid shape dimension {min(target)} in {list(target)}")
    known = int(np.prod([n for n in target if n != -1]))
    if -1 in target:
        if known == 0 and numel == 0:
            raise ShapeError(
                f"cannot reshape tensor of 0 elements into shape {list(target)} because the "
                "unspecified dimension size -1 can be any value and is ambiguous"
            )
        if known and numel % known == 0:
            return replaced(target, target.index(-1), numel // known)
    elif known == numel:
        return target
    raise ShapeError(f"shape '{list(target)}' is invalid for input of size {numel}")


def to_shape(input: Value, shape: Shape) -> Value:
    return input if input.shape == shape else ops.reshape(input, shape=shape)


def _example(*shape: int) -> Any:
    return np.random.default_rng(23).normal(size=shape)


def _reshape_calls() -> Iterator[Call]:
    x = _example(2, 6)
    yield Call((x, (3, 4)))
    yield Call((x, (-1,)))
    yield Call((x, (2, -1, 3)))
    yield Call((_example(), (1, 1)))
    yield Call((np.zeros((0, 3)), (3, 0)))
    yield Call((x, (5, 2)), error=(RuntimeError, "invalid for input of size 12"))
    yield Call((x, (-1, -1)), error=(RuntimeError, "only one dimension"))


@function("reshape", method=True, view=True, out=False, calls=_reshape_calls)
def reshape(input: Value, *args: Any, shape: Sequence[int] | None = None) -> Value:
    """The elements in row-major order under another shape; one extent may be -1."""
    return to_shape(
        input, resolve_shape(sequence_of_ints(args, shape, "reshape"), input.type.numel)
    )


def _view_calls() -> Iterator[Call]:
    yield from _reshape_calls()
    x = _example(2, 6).astype(np.float32)
    yield Call((x, int32))
    yield Call((x, uint8))
    yield Call((x, float64))
    yield Call((x,), {"dtype": int32})
    yield Call((x[:, :3], int64), error=(RuntimeError, "must be divisible by 2"))


@function("view", public=False, method=True, view=True, out=False, calls=_view_calls)
def view(
    input: Value, *args: Any, size: Sequence[int] | None = None, dtype: DType | None = None
) -> Value:
    """As `reshape`, for shapes that can share storage; ``view(dtype)``: a copy of the bytes as
    elements of ``dtype``, of which the last dimension has more or fewer if their size differs."""
    if dtype is None and len(args) == 1 and isinstance(args[0], DType):
        dtype, args = args[0], ()
    if dtype is not None:
        if args or size is not None:
            raise ArgumentError("view(): expected a shape or a dtype, got both")
        return input if dtype is input.dtype else ops.bitcast(input, dtype=dtype)
    return to_shape(input, resolve_shape(sequence_of_ints(args, size, "view"), input.type.numel))


def _as_calls() -> Iterator[Call]:
    yield Call((_example(2, 6), _example(3, 4)))


@function("view_as", public=False, method=True, view=True, out=False, calls=_as_calls)
def view_as(input: Value, other: Value) -> Value:
    """``view(other.shape)``."""
    return view(input, other.shape)  # type: ignore[no-any-return]


@function("reshape_as", public=False, method=True, view=True, out=False, calls=_as_calls)
def reshape_as(input: Value, other: Value) -> Value:
    """``reshape(other.shape)``."""
    return reshape(input, other.shape)  # type: ignore[no-any-return]


def _flatten_calls() -> Iterator[Call]:
    x = _example(2, 3, 4)
    yield Call((x,))
    yield Call((x, 1))
    yield Call((x, 0, -2))
    yield Call((_example(),))
    yield Call((x, 2, 1), error=(RuntimeError, "start_dim cannot come after end_dim"))


@function("flatten", method=True, view=True, out=False, calls=_flatten_calls)
def flatten(input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    """Dimensions ``start_dim`` to ``end_dim`` (included) merged into one."""
    start, end = (normalize_dim(d, input.ndim) for d in (start_dim, end_dim))
    if start > end:
        raise ShapeError("flatten() has invalid args: start_dim cannot come after end_dim")
    merged = int(np.prod(input.shape[start : end + 1]))
    return to_shape(input, (*input.shape[:start], merged, *input.shape[end + 1 :]))


def _ravel_calls() -> Iterator[Call]:
    yield Call((_example(2, 3),))
    yield Call((_example(),))


@function("ravel", method=True, view=True, out=False, calls=_ravel_calls)
def ravel(input: Value) -> Value:
    """All elements in one dimension."""
    return to_shape(input, (input.type.numel,))


def _unflatten_calls() -> Iterator[Call]:
    x = _example(2, 6)
    yield Call((x, 1, (2, 3)))
    yield Call((x, -1, (-1, 2)))
    yield Call((x, 1, (4, 2)), error=(RuntimeError, ""))


@function("unflatten", method=True, view=True, out=False, calls=_unflatten_calls)
def unflatten(input: Value, dim: int, sizes: Sequence[int]) -> Value:
    """Dimension ``dim`` cut into ``sizes``, one of which may be -1."""
    dim = normalize_dim(dim, input.ndim)
    if not sizes:
        raise ShapeError("unflatten: sizes must be non-empty")
    parts = resolve_shape(tuple(sizes), input.shape[dim])
    return to_shape(input, (*input.shape[:dim], *parts, *input.shape[dim + 1 :]))


def _squeeze_calls() -> Iterator[Call]:
    x = _example(1, 3, 1)
    yield Call((x,))
    yield Call((x, 0))
    yield Call((x, 1))
    yield Call((x, (0, -1)))
    yield Call((_example(), 0))
    yield Call((x, 3), error=(IndexError, "Dimension out of range"))


@function("squeeze", method=True, inplace=True, view=True, out=False, calls=_squeeze_calls)
def squeeze(input: Value, dim: int | Sequence[int] | None = None) -> Value:
    """Without the dimensions of one element (all, or those in ``dim``)."""
    dims = range(input.ndim) if dim is None else distinct_dims(dim, input.ndim)
    return to_shape(input, tuple(n for d, n in enumerate(input.shape) if n != 1 or d not in dims))


def _unsqueeze_calls() -> Iterator[Call]:
    x = _example(2, 3)
    for dim in (0, 2, -1, -3):
        yield Call((x, dim))
    yield Call((x, 3), error=(IndexError, "Dimension out of range"))


@function("unsqueeze", method=True, inplace=True, view=True, out=False, calls=_unsqueeze_calls)
def unsqueeze(input: Value, dim: int) -> Value:
    """With a dimension of one element at ``dim``."""
    dim = normalize_dim(dim, input.ndim + 1)
    return to_shape(input, (*input.shape[:dim], 1, *input.shape[dim:]))


def reorder(input: Value, dims: Shape) -> Value:
    return input if dims == tuple(range(input.ndim)) else ops.permute(input, dims=dims)


def _transpose_calls() -> Iterator[Call]:
    x = _example(2, 3, 4)
    yield Call((x, 0, 2))
    yield Call((x, -1, -2))
    yield Call((_example(), 0, -1))
    yield Call((x, 0, 3), error=(IndexError, "Dimension out of range"))


@function(
    "transpose", method=True, inplace=True, view=True, aliases=("swapaxes", "swapdims"),
    out=False, calls=_transpose_calls,
)  # fmt: skip
def transpose(input: Value, dim0: int, dim1: int) -> Value:
    """Dimensions ``dim0`` and ``dim1`` exchanged."""
    a, b = normalize_dim(dim0, input.ndim), normalize_dim(dim1, input.ndim)
    order = list(range(input.ndim))
    if order:
        order[a], order[b] = order[b], order[a]
    return reorder(input, tuple(order))


def _t_calls() -> Iterator[Call]:
    yield Call((_example(2, 3),))
    yield Call((_example(3),))
    yield Call((_example(2, 3, 4),), error=(RuntimeError, "t() expects a tensor with <= 2"))


@function("t", method=True, inplace=True, view=True, out=False, calls=_t_calls)
def t(input: Value) -> Value:
    """The transpose of a matrix; tensors of fewer dimensions as they are."""
    if input.ndim > 2:
        raise ShapeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return reorder(input, tuple(reversed(range(input.ndim))))


def _adjoint_calls() -> Iterator[Call]:
    yield Call((_example(2, 3),))
    yield Call((_example(2, 3, 4),))
    yield Call((_example(2, 3) * (1 + 2j),))
    yield Call((_example(3),), error=(RuntimeError, "only supported on matrices or batches"))


@function("adjoint", method=True, view=True, out=False, calls=_adjoint_calls)
def adjoint(input: Value) -> Value:
    """The conjugate transposes of matrices (..., m, n). RuntimeError below two dimensions."""
    n = input.ndim
    if n < 2:
        raise ShapeError(
            f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {n}-D "
            "tensor."
        )
    return conj(reorder(input, (*range(n - 2), n - 1, n - 2)))


def _permute_calls() -> Iterator[Call]:
    x = _example(2, 3, 4)
    yield Call((x, (2, 0, 1)))
    yield Call((x, (0, -1, 1)))
    yield Call((_example(), ()))
    yield Call((x, (0, 0, 1)), error=(RuntimeError, ""))
    yield Call((x, (0, 1)), error=(RuntimeError, "permute"))


@function("permute", method=True, view=True, out=False, calls=_permute_calls)
def permute(input: Value, *args: Any, dims: Sequence[int] | None = None) -> Value:
    """Result dimension i is dimension ``dims[i]``."""
    given = sequence_of_ints(args, dims, "permute")
    if len(given) != input.ndim:
        raise ShapeError(
            "permute: number of dimensions in the tensor input does not match the length of the "
            f"desired ordering of dimensions i.e. input.dim() = {input.ndim} is not equal to "
            f"len(dims) = {len(given)}"
        )
    return reorder(input, distinct_dims(given, input.ndim) if given else ())


def _movedim_calls() -> Iterator[Call]:
    x = _example(2, 3, 4)
    yield Call((x, 0, -1))
    yield Call((x, (0, 1), (2, 0)))


@function("movedim", method=True, view=True, aliases=("moveaxis",), out=False, calls=_movedim_calls)
def movedim(input: Value, source: int | Sequence[int], destination: int | Sequence[int]) -> Value:
    """Dimensions ``source`` moved to positions ``destination``; the others keep their order."""
    old, new = distinct_dims(source, input.ndim), distinct_dims(destination, input.ndim)
    if len(old) != len(new):
        raise ShapeError(
            f"movedim: Invalid source or destination dims: source ({list(old)} dims) should "
            f"contain the same number of dims as destination ({list(new)} dims)"
        )
    if not input.ndim:
        return reorder(input, ())  # whose one dimension, 0, may be named
    order = [d for d in range(input.ndim) if d not in old]
    for place, dim in sorted(zip(new, old)):
        order.insert(place, dim)
    return reorder(input, tuple(order))


def _expand_calls() -> Iterator[Call]:
    x = _example(3, 1)
    yield Call((x, (3, 4)))
    yield Call((x, (2, -1, 4)))
    yield Call((_example(), (2, 2)))
    yield Call((x, (2, 4)), error=(RuntimeError, "must match the existing size"))


@function("expand", public=False, method=True, view=True, out=False, calls=_expand_calls)
def expand(
    input: Value, *args: Any, size: Sequence[int] | None = None, implicit: bool = False
) -> Value:
    """Dimensions of one element repeated to the given sizes; -1 keeps a dimension."""
    return _expanded(input, sequence_of_ints(args, size, "expand"))


def _expanded(input: Value, sizes: Shape) -> Value:
    new = len(sizes) - input.ndim
    if new < 0:
        raise ShapeError(
            f"expand(Tensor{list(input.shape)}, size={list(sizes)}): the number of sizes provided "
            f"({len(sizes)}) must be greater or equal to the number of dimensions in the tensor "
            f"({input.ndim})"
        )
    target = list(sizes)
    for d, n in enumerate(sizes):
        old = input.shape[d - new] if d >= new else None
        if n == -1 and old is not None:
            target[d] = old
        elif n < 0:
            raise ShapeError(
                f"The expanded size of the tensor ({n}) isn't allowed in a leading, non-existing "
                f"dimension {d}"
            )
        elif old not in (None, 1, n):
            raise ShapeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({old}) at "
                f"non-singleton dimension {d}.  Target sizes: {list(sizes)}.  Tensor sizes: "
                f"{list(input.shape)}"
            )
    return broadcast_value(input, tuple(target))


@function("broadcast_to", method=True, view=True, out=False, calls=_expand_calls)
def broadcast_to(input: Value, size: Sequence[int]) -> Value:
    """As `expand`."""
    return _expanded(input, tuple(size))


def _expand_as_calls() -> Iterator[Call]:
    yield Call((_example(3, 1), _example(2, 3, 4)))


@function("expand_as", public=False, method=True, view=True, out=False, calls=_expand_as_calls)
def expand_as(input: Value, other: Value) -> Value:
    """``expand(other.shape)``."""
    return _expanded(input, other.shape)


def slice_dim(input: Value, dim: int, start: int, stop: int, step: int = 1) -> Value:
    """Elements ``range(start, stop, step)`` of one dimension; the operand if that is all."""
    if (start, stop, step) == (0, input.shape[dim], 1):
        return input
    return ops.slice(  # type: ignore[no-any-return]
        input,
        starts=replaced((0,) * input.ndim, dim, start),
        stops=replaced(input.shape, dim, stop),
        steps=replaced((1,) * input.ndim, dim, step),
    )


def _narrow_calls() -> Iterator[Call]:
    x = _example(3, 5)
    yield Call((x, 1, 1, 3))
    yield Call((x, -1, -2, 2))
    yield Call((x, 0, 3, 0))
    yield Call((x, 0, 1, 3), error=(RuntimeError, "exceeds dimension size"))


@function("narrow", method=True, view=True, out=False, calls=_narrow_calls)
def narrow(input: Value, dim: int, start: int, length: int) -> Value:
    """``length`` elements from ``start`` on along ``dim``."""
    if input.ndim == 0:
        raise ShapeError("narrow() cannot be applied to a 0-dim tensor.")
    dim = normalize_dim(dim, input.ndim)
    extent = input.shape[dim]
    if length < 0:
        raise ShapeError(f"narrow(): length must be non-negative, got {length}.")
    if not -extent <= start <= extent:
        raise DimError(
            f"start out of range (expected to be in range of [{-extent}, {extent}], but got "
            f"{start})"
        )
    begin = start + extent if start < 0 else start
    if begin + length > extent:
        raise ShapeError(f"start ({begin}) + length ({length}) exceeds dimension size ({extent}).")
    return slice_dim(input, dim, begin, begin + length)


def _select_calls() -> Iterator[Call]:
    x = _example(3, 5)
    yield Call((x, 0, 1))
    yield Call((x, -1, -5))
    yield Call((x, 0, 3), error=(IndexError, "out of range"))


@function("select", method=True, view=True, out=False, calls=_select_calls)
def select(input: Value, dim: int, index: int) -> Value:
    """The slice at ``index`` of dimension ``dim``, which vanishes."""
    if input.ndim == 0:
        raise DimError("select() cannot be applied to a 0-dim tensor.")
    dim = normalize_dim(dim, input.ndim)
    extent = input.shape[dim]
    if not -extent <= index < extent:
        raise IndexOutOfRange(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at "
            f"dimension {dim}"
        )
    index %= extent
    part = slice_dim(input, dim, index, index + 1)
    return to_shape(part, input.shape[:dim] + input.shape[dim + 1 :])


def _diagonal_calls() -> Iterator[Call]:
    yield Call((_example(3, 4),))
    yield Call((_example(3, 4), 1))
    yield Call((_example(2, 3, 4), -1, 2, 0))
    yield Call((_example(3, 3), 7))
    yield Call((_example(3, 3), 0, 1, 1), error=(RuntimeError, "identical"))


@function("diagonal", method=True, view=True, out=False, calls=_diagonal_calls)
def diagonal(input: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    """Elements (i, i + offset) of the plane of two dimensions, as a new last dimension."""
    dim1, dim2 = normalize_dim(dim1, input.ndim), normalize_dim(dim2, input.ndim)
    return ops.diagonal(input, offset=offset, dim1=dim1, dim2=dim2)  # type: ignore[no-any-return]


def _unfold_calls() -> Iterator[Call]:
    yield Call((_example(7), 0, 3, 2))
    yield Call((_example(3, 5), -1, 2, 1))
    yield Call((_example(4), 0, 5, 1), error=(RuntimeError, "maximum size for tensor"))


@function("unfold", public=False, method=True, view=True, out=False, calls=_unfold_calls)
def unfold(input: Value, dimension: int, size: int, step: int) -> Value:
    """Windows of ``size`` elements every ``step`` along a dimension, in a new last dimension."""
    dim = normalize_dim(dimension, input.ndim)
    whole = input if input.ndim else to_shape(input, (1,))
    windows = ops.windows(whole, dim=dim, size=size, step=step)
    return windows if input.ndim else to_shape(windows, (size,))


__all__ = ["reorder", "replaced", "resolve_shape", "slice_dim", "to_shape"]
