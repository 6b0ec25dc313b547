"""Public gather, scatter and embedding: arrangements of `take` and `index_put`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import int32, int64
from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import Operand, Scalar, broadcast_shapes, broadcast_to, cast, constant
from .dims import normalize_dim
from .function import Call, function
from .link import ops
from .named import public
from .shape_functions import reorder, slice_dim, to_shape


def index_of(op: str, index: Value) -> Value:
    if index.dtype is int64 or index.dtype is int32:
        return index
    if index.dtype.category == "int" and not index.type.numel:
        return cast(index, int64)
    raise DTypeError(f"{op}(): Expected dtype int32/int64 for index, got {index.dtype.name}")


def _rng(seed: int = 31) -> Any:
    return np.random.default_rng(seed)


def lifted(value: Value) -> Value:
    return value if value.ndim else to_shape(value, (1,))


def _aligned(op: str, input: Value, dim: int, index: Value) -> tuple[Value, Value, int]:
    """Operand and index with at least one dimension, checked to be of one rank."""
    index = index_of(op, index)
    dim = normalize_dim(dim, input.ndim)
    input, index = lifted(input), lifted(index)
    if index.ndim != input.ndim:
        raise ShapeError(
            f"{op}(): Index tensor must have the same number of dimensions as input tensor, got "
            f"{index.ndim} and {input.ndim}"
        )
    for d, (n, m) in enumerate(zip(index.shape, input.shape)):
        if d != dim and n > m:
            raise ShapeError(
                f"Size does not match at dimension {d} expected index {list(index.shape)} to be no "
                f"larger than self {list(input.shape)} apart from dimension {dim}"
            )
    return input, index, dim


def _dim_last(value: Value, dim: int) -> tuple[Value, tuple[int, ...]]:
    """The value with ``dim`` last, and the order that undoes it."""
    order = (*(d for d in range(value.ndim) if d != dim), dim)
    return reorder(value, order), tuple(order.index(d) for d in range(value.ndim))


def _gather_calls() -> Iterator[Call]:
    x = _rng().normal(size=(3, 4))
    yield Call((x, 1, np.array([[0, 3], [1, 1], [2, 0]])))
    yield Call((x, 0, np.array([[2, 0, 1]])))
    yield Call((x, -1, np.zeros((3, 0), np.int64)))
    yield Call((_rng().normal(size=()), 0, np.array(0)))
    yield Call((x, 1, np.array([0])), error=(RuntimeError, "same number of dimensions"))
    yield Call((x, 1, np.zeros((4, 1), np.int64)), error=(RuntimeError, "Size does not match"))


@function("gather", method=True, calls=_gather_calls)
def gather(input: Value, dim: int, index: Value, *, sparse_grad: bool = False) -> Value:
    """``out[i][j] = input[i][index[i][j]]`` for dim 1, and so on; shaped like ``index``.

    ``index`` (int32 or int64) may be smaller than ``input`` in the other dimensions.
    """
    shape = index.shape
    if not index.type.numel:  # of any rank
        normalize_dim(dim, input.ndim)
        nothing = slice_dim(to_shape(input, (input.type.numel,)), 0, 0, 0)
        return to_shape(nothing, index_of("gather", index).shape)
    input, index, dim = _aligned("gather", input, dim, index)
    for d, n in enumerate(index.shape):
        if d != dim:
            input = slice_dim(input, d, 0, n)
    x, back = _dim_last(input, dim)
    at, _ = _dim_last(index, dim)
    return to_shape(reorder(ops.take(x, at, batch=input.ndim - 1), back), shape)


def _scattered(
    op: str, input: Value, dim: int, index: Value, src: Value | Scalar, combine: str
) -> Value:
    shape = input.shape
    input, index, dim = _aligned(op, input, dim, index)
    if isinstance(src, Value):
        src = lifted(src)
        if src.dtype is not input.dtype:
            raise DTypeError(
                f"{op}(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and "
                f"{src.dtype}"
            )
        if src.ndim != index.ndim or any(n > m for n, m in zip(index.shape, src.shape)):
            raise ShapeError(
                f"Expected index {list(index.shape)} to be no larger than src {list(src.shape)}"
            )
        for d, n in enumerate(index.shape):
            src = slice_dim(src, d, 0, n)
    else:
        src = constant(src, input.dtype, index.shape)
    if not index.type.numel:
        return to_shape(input, shape)
    others = [d for d in range(input.ndim) if d != dim]
    if all(index.shape[d] == input.shape[d] for d in others):
        x, back = _dim_last(input, dim)
        at, new = _dim_last(index, dim)[0], _dim_last(src, dim)[0]
        put = ops.index_put(x, at, new, batch=input.ndim - 1, combine=combine)
        return to_shape(reorder(put, back), shape)
    places = [
        index if d == dim else ops.iota(shape=index.shape, dim=d, dtype=index.dtype)
        for d in range(input.ndim)
    ]
    return to_shape(ops.index_put(input, *places, src, batch=0, combine=combine), shape)


def _scatter_calls() -> Iterator[Call]:
    x, src = _rng().normal(size=(3, 4)), _rng(32).normal(size=(3, 4))
    at = np.array([[0, 3], [1, 2], [2, 0]])
    yield Call((x, 1, at, src[:, :2]))
    yield Call((x, 1, at, src), grad=False)
    yield Call((x, 1, at, 2.5))
    yield Call((x, 0, np.array([[2, 0, 1]]), src[:1, :3]))
    yield Call((x, 0, np.array([[2, 0, 1]]), src), grad=False)
    yield Call((x, 1, at, src), {"reduce": "add"}, grad=False)
    yield Call((x, 1, at, src), {"reduce": "multiply"}, grad=False)
    yield Call((x, 1, at, src.astype(np.float32)), error=(RuntimeError, "src.dtype"))
    yield Call((x, 1, at, src[:2]), error=(RuntimeError, "no larger than"))


@function("scatter", method=True, inplace=True, calls=_scatter_calls)
def scatter(
    input: Value, dim: int, index: Value, src: Operand | None = None, *,
    value: Scalar | None = None, reduce: str | None = None,
) -> Value:  # fmt: skip
    """``input`` with ``src`` (a tensor or number) put where `gather` would read.

    ``reduce`` "add" or "multiply" accumulates. Which of several writes to one place stays is not
    promised.
    """
    given = value if src is None else src
    if given is None:
        raise ValueRangeError("scatter(): expected src or value")
    names = {None: "set", "add": "sum", "multiply": "prod"}
    if reduce not in names:
        raise ShapeError(f"reduce argument must be either add or multiply, got {reduce}")
    return _scattered("scatter", input, dim, index, given, names[reduce])


def _scatter_add_calls() -> Iterator[Call]:
    x, src = _rng().normal(size=(3, 4)), _rng(32).normal(size=(3, 4))
    yield Call((x, 1, np.array([[0, 3], [1, 1], [2, 2]]), src[:, :2]))
    yield Call((x, 0, np.array([[2, 2, 1]]), src[:1, :3]))
    yield Call((x[0], 0, np.array([1, 1]), src[0]), grad=False)


@function("scatter_add", method=True, inplace=True, calls=_scatter_add_calls)
def scatter_add(input: Value, dim: int, index: Value, src: Value) -> Value:
    """``input`` with ``src`` added where `gather` would read; repeated places accumulate."""
    return _scattered("scatter_add", input, dim, index, src, "sum")


REDUCTIONS = {"sum": "sum", "prod": "prod", "mean": "sum", "amax": "max", "amin": "min"}


def _neutral(name: str, like: Value) -> Scalar:
    from .reduce import highest, lowest

    extreme = {"amax": lowest, "amin": highest}
    if name in extreme:
        return extreme[name](like.dtype)  # type: ignore[no-any-return]
    return 1 if name == "prod" else 0


def combined(
    op: str, put: Any, input: Value, like_index: Value, reduce: str, include_self: bool
) -> Value:
    """The accumulation common to scatter_reduce and index_reduce; ``put(x, new, combine)``
    does one, ``new`` None meaning the given source."""
    if reduce not in REDUCTIONS:
        raise ShapeError(
            f"{op}: reduce argument must be one of {', '.join(REDUCTIONS)}, got {reduce}"
        )
    zeros, ones = (constant(n, input.dtype, input.shape) for n in (0, 1))
    touched = put(zeros, 1, "sum")
    start = input
    if not include_self:
        fresh = constant(_neutral(reduce, input), input.dtype, input.shape)
        start = public.where(public.gt(touched, 0), fresh, input)
    result = put(start, None, REDUCTIONS[reduce])
    if reduce != "mean":
        return result  # type: ignore[no-any-return]
    count = touched + 1 if include_self else public.maximum(touched, ones)
    if result.dtype.category == "int":
        return public.div(result, count, rounding_mode="floor")  # type: ignore[no-any-return]
    return result / count  # type: ignore[no-any-return]


def _scatter_reduce_calls() -> Iterator[Call]:
    x, src = _rng().uniform(0.5, 2, (3, 4)), _rng(32).uniform(0.5, 2, (3, 3))
    at = np.array([[0, 0, 3], [1, 1, 2], [2, 0, 2]])
    for reduce in REDUCTIONS:
        yield Call((x, 1, at, src, reduce))
        yield Call((x, 1, at, src, reduce), {"include_self": False})
    yield Call((x, 1, at, src, "median"), error=(RuntimeError, "reduce argument"))


@function("scatter_reduce", method=True, inplace=True, calls=_scatter_reduce_calls)
def scatter_reduce(
    input: Value, dim: int, index: Value, src: Value, reduce: str, *, include_self: bool = True
) -> Value:
    """``src`` accumulated into ``input`` where `gather` would read: "sum", "prod", "mean", "amax"
    or "amin". With ``include_self`` false the old elements there do not take part."""

    def put(x: Value, new: Scalar | None, combine: str) -> Value:
        source = src if new is None else new
        return _scattered("scatter_reduce", x, dim, index, source, combine)

    return combined("scatter_reduce", put, input, index, reduce, include_self)


def _along_calls() -> Iterator[Call]:
    x = _rng().normal(size=(3, 4))
    yield Call((x, np.array([[1], [0], [3]]), 1))
    yield Call((x, np.array([[2, 0, 1, 1]]), 0))
    yield Call((x, np.array([3, 0])))


@function("take_along_dim", method=True, calls=_along_calls)
def take_along_dim(input: Value, indices: Value, dim: int | None = None) -> Value:
    """`gather` with the other dimensions broadcast; without ``dim`` of the flattened tensors."""
    if dim is None:
        flat = to_shape(input, (input.type.numel,))
        return gather(flat, 0, to_shape(indices, (indices.type.numel,)))  # type: ignore[no-any-return]
    if input.ndim != indices.ndim:
        raise ShapeError(
            f"torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    axis = normalize_dim(dim, input.ndim)

    def without(shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:axis], 1, *shape[axis + 1 :])

    shape = broadcast_shapes(without(input.shape), without(indices.shape), op="take_along_dim")
    x = broadcast_to(input, (*shape[:axis], input.shape[axis], *shape[axis + 1 :]))
    index = index_of("take_along_dim", indices)
    extent = constant(input.shape[axis], index.dtype, index.shape)
    index = ops.where(ops.lt(index, constant(0, index.dtype, index.shape)), index + extent, index)
    at = broadcast_to(index, (*shape[:axis], index.shape[axis], *shape[axis + 1 :]))
    return gather(x, axis, at)  # type: ignore[no-any-return]


def _masked_calls() -> Iterator[Call]:
    x, mask = _rng().normal(size=(2, 3)), np.array([[True, False, True], [False, True, True]])
    yield Call((x, mask, _rng().normal(size=(5,))))
    yield Call((x, mask[:1], _rng().normal(size=(2, 3))))


@function("masked_scatter", method=True, inplace=True, out=False, calls=_masked_calls)
def masked_scatter(input: Value, mask: Value, source: Value) -> Value:
    """Elements where ``mask`` (bool, broadcast) holds replaced by ``source``'s, in order."""
    if mask.dtype.category != "bool":
        raise DTypeError(f"masked_scatter_ only supports boolean masks, but got {mask.dtype}")
    if source.dtype is not input.dtype:
        raise DTypeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} "
            f"and {source.dtype}"
        )
    shape = broadcast_shapes(input.shape, mask.shape, op="masked_scatter")
    x, chosen = broadcast_to(input, shape), broadcast_to(mask, shape)
    count = source.type.numel
    if not count or not x.type.numel:
        return x
    flat = to_shape(chosen, (x.type.numel,))
    order = ops.cumsum(cast(flat, int64), dim=0) - 1
    at = public.where(flat, order, 0)
    found = ops.take(to_shape(source, (count,)), at, batch=0)
    return public.where(chosen, to_shape(found, shape), x)  # type: ignore[no-any-return]


def _embedding_calls() -> Iterator[Call]:
    table = _rng().normal(size=(5, 3))
    yield Call((np.array([[0, 4], [1, 1]]), table))
    yield Call((np.array([1, 2, 1]), table), {"padding_idx": 1})
    yield Call((np.array([1, 2], np.int32), table), {"padding_idx": -1})
    yield Call((np.zeros((0,), np.int64), table))
    yield Call((np.array([0.5]), table), error=(RuntimeError, "Expected"))


@function("nn.functional.embedding", out=False, calls=_embedding_calls)
def embedding(
    input: Value,
    weight: Value,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Value:
    """Rows of ``weight`` [V, D] at the positions ``input`` [...]: [..., D].

    The row ``padding_idx`` gets no gradient. IndexError at execution for positions outside.
    ``max_norm`` (which changes the weight in place), ``scale_grad_by_freq`` and ``sparse``
    raise NotImplementedError.
    """
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise NotImplementedError(
            "embedding: max_norm, scale_grad_by_freq and sparse gradients are not supported"
        )
    if weight.ndim != 2:
        raise ShapeError(f"'weight' must be 2-D, got {list(weight.shape)}")
    at = index_of("embedding", input)
    rows = ops.take(weight, at, batch=0)
    if padding_idx is None:
        return rows  # type: ignore[no-any-return]
    count = weight.shape[0]
    if not -count <= padding_idx < count:
        raise ValueRangeError(
            f"Padding_idx must be within num_embeddings: got {padding_idx} for {count}"
        )
    keep = public.unsqueeze(public.ne(at, padding_idx % count), -1)
    return public.where(keep, rows, ops.stop_gradient(rows))  # type: ignore[no-any-return]
