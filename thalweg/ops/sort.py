"""Order: the sort primitive, and everything that is a sort followed by a selection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import int32, int64
from ..core.errors import DimError, DTypeError, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Signature, Split
from ..ir.types import TensorType
from .arithmetic import Operand, broadcast_to, cast, coerce, constant
from .contract import Array, Declined, Grads, Primitive, Sample, all_broadcast, primitive
from .dims import normalize_dim
from .function import Call, function
from .kernels import kernel_from
from .link import ops
from .named import public


@primitive
class Sort(Primitive):
    """(values, positions) in order along ``dim``, the first ``keep`` of them (None: all). Equal
    elements keep their order; NaN is the greatest value of all."""

    name = "sort"
    outputs = 2
    differentiable: ClassVar[Any] = (True, False)
    index = Declined("a permutation that depends on data")
    lower: Any = kernel_from("order")
    onnx = "TopK"

    def infer(
        self, x: TensorType, dim: int, descending: bool, keep: int | None = None
    ) -> tuple[TensorType, TensorType]:
        if not 0 <= dim < x.ndim:
            raise ShapeError(f"sort: expected a dimension below {x.ndim}, got {dim}")
        if x.dtype.category == "complex":
            raise DTypeError(f'"sort" not implemented for {x.dtype}: it has no order')
        if keep is not None and not 0 <= keep <= x.shape[dim]:
            raise ShapeError(f"sort: expected to keep 0 to {x.shape[dim]} elements, got {keep}")
        if keep is not None:
            x = x.with_shape((*x.shape[:dim], keep, *x.shape[dim + 1 :]))
        return x, x.with_dtype(int64)

    def reference(
        self, x: Array, dim: int, descending: bool, keep: int | None = None
    ) -> tuple[Array, Array]:
        keys = x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iub" else x
        if descending:
            # Reversing twice keeps equal elements in order and puts NaN first.
            back = np.argsort(np.flip(keys, dim), axis=dim, kind="stable")
            order = np.flip(x.shape[dim] - 1 - back, dim)
        else:
            order = np.argsort(keys, axis=dim, kind="stable")
        if keep is not None:
            order = np.take(order, np.arange(keep), dim)
        return np.take_along_axis(x, order, dim), order.astype(np.int64, copy=False)

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(17)
        for shape, dim in [((3, 4), 1), ((5,), 0), ((2, 3, 4), 1), ((0, 2), 0), ((2, 1), 1)]:
            for descending in (False, True):
                yield Sample((rng.normal(size=shape),), {"dim": dim, "descending": descending})
        for descending in (False, True):
            attrs = {"dim": 0, "descending": descending}
            yield Sample((np.array([2, 1, 2, 3, 1, 2]),), attrs, grad=False, name="ties")
            special = np.array([1.0, np.nan, -np.inf, np.inf, np.nan, 0.0], np.float32)
            yield Sample((special,), attrs, grad=False)
        for keep in (0, 2, 5):
            attrs = {"dim": 1, "descending": keep == 2, "keep": keep}
            yield Sample((rng.normal(size=(2, 5, 3)),), attrs)
        bad = {"dim": 0, "descending": False}
        yield Sample((np.zeros(2),), {**bad, "keep": 3}, error=(ShapeError, "expected to keep"))
        yield Sample((np.zeros(2, np.complex64),), bad, error=(RuntimeError, "no order"))

    def vjp(self, node: Node, g: Any) -> Grads:
        if g[0] is None:
            return (None,)
        x, dim = node.inputs[0], node.attrs["dim"]
        zeros = constant(0, g[0].dtype, x.shape)
        return (public.scatter(zeros, dim, node.outputs[1], g[0]),)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        dims = [d for d in range(node.inputs[0].ndim) if d != node.attrs["dim"]]
        return [all_broadcast(node), *(Signature((Split(d),), (Split(d),) * 2) for d in dims)]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        result = self(inputs[0], **{**node.attrs, "dim": node.attrs["dim"] + 1})
        return result  # type: ignore[no-any-return]


def sorted_along(
    input: Value, dim: int, descending: bool = False, keep: int | None = None
) -> tuple[Value, Value]:
    """`Sort` with PyTorch's dimensions: negative ones, and 0-d tensors as one element."""
    dim = normalize_dim(dim, input.ndim)
    if input.ndim and keep is not None:
        return ops.sort(input, dim=dim, descending=descending, keep=keep)  # type: ignore[no-any-return]
    if input.ndim:
        return ops.sort(input, dim=dim, descending=descending)  # type: ignore[no-any-return]
    return input, constant(0, int64)


def _calls() -> Iterator[Call]:
    rng = np.random.default_rng(17)
    x = rng.normal(size=(3, 4))
    yield Call((x,))
    yield Call((x, 0, True))
    yield Call((x,), {"dim": -2, "descending": True})
    yield Call((rng.normal(size=()),))
    yield Call((np.zeros((0, 3)),))
    yield Call((np.array([np.nan, 1.0, np.inf, -1.0], np.float32),), {"descending": True}, False)
    yield Call((x, 2), error=(IndexError, "Dimension out of range"))


@function("sort", method=True, calls=_calls)
def sort(
    input: Value, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> tuple[Value, Value]:
    """(values, indices) in ascending (or descending) order along ``dim``; always stable."""
    return sorted_along(input, dim, descending)


@function("argsort", method=True, out=False, calls=_calls)
def argsort(
    input: Value, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> Value:
    """The positions (int64) that sort ``input`` along ``dim``; always stable."""
    return sorted_along(input, dim, descending)[1]


def _topk_calls() -> Iterator[Call]:
    rng = np.random.default_rng(17)
    x = rng.normal(size=(3, 5))
    yield Call((x, 2))
    yield Call((x, 2), {"dim": 0, "largest": False})
    yield Call((x, 0))
    yield Call((rng.normal(size=()), 1))
    yield Call((x, 6), error=(RuntimeError, "out of range"))


@function("topk", method=True, calls=_topk_calls)
def topk(
    input: Value, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Value, Value]:
    """(values, indices) of the ``k`` largest (or smallest) elements along ``dim``, in order."""
    dim = normalize_dim(dim, input.ndim)
    if not 0 <= k <= (input.shape[dim] if input.ndim else 1):
        raise ShapeError(
            f"topk: selected index k out of range (k = {k}, dimension {dim} of shape "
            f"{list(input.shape)})"
        )
    return sorted_along(input, dim, largest, k)


def pick(pair: tuple[Value, Value], dim: int, at: int, keepdim: bool) -> tuple[Value, Value]:
    """Values and positions at one place of a sorted dimension."""
    values, indices = pair
    if not values.ndim:
        return pair
    chosen = (public.narrow(values, dim, at, 1), public.narrow(indices, dim, at, 1))
    if keepdim:
        return chosen
    return public.squeeze(chosen[0], dim), public.squeeze(chosen[1], dim)


def _kth_calls() -> Iterator[Call]:
    rng = np.random.default_rng(17)
    x = rng.normal(size=(3, 5))
    yield Call((x, 2))
    yield Call((x, 1, 0, True))
    yield Call((x, 6), error=(RuntimeError, "out of range"))


@function("kthvalue", method=True, calls=_kth_calls)
def kthvalue(input: Value, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Value, Value]:
    """(values, indices) of the ``k``-th smallest element along ``dim``, counted from 1."""
    dim = normalize_dim(dim, input.ndim)
    if input.ndim and not input.shape[dim]:
        raise DimError(f"kthvalue(): Expected reduction dim {dim} to have non-zero size.")
    if not 1 <= k <= (input.shape[dim] if input.ndim else 1):
        raise ShapeError(
            f"kthvalue(): selected number k out of range for dimension {dim} (k = {k}, shape "
            f"{list(input.shape)})"
        )
    return pick(sorted_along(input, dim, keep=k), dim, k - 1, keepdim)


def _mode_calls() -> Iterator[Call]:
    x = np.array([[1, 2, 2, 3, 3], [5, 4, 4, 4, 0]])
    yield Call((x,), grad=False)
    yield Call((x.astype(np.float64), 1, True))
    yield Call((np.array([3.0, 1.0, 2.0]), 0))


@function("mode", method=True, calls=_mode_calls)
def mode(input: Value, dim: int = -1, keepdim: bool = False) -> tuple[Value, Value]:
    """(values, indices): the most frequent element along ``dim``, the least of several, and the
    position of its last occurrence."""
    dim = normalize_dim(dim, input.ndim)
    if not input.ndim:
        return input, constant(0, int64)
    values, indices = sorted_along(input, dim)
    count = values.shape[dim]
    if not count:
        raise DimError(f"mode(): Expected reduction dim {dim} to have non-zero size.")
    at = ops.iota(shape=values.shape, dim=dim, dtype=int64)
    changed = public.ne(
        public.narrow(values, dim, 1, count - 1), public.narrow(values, dim, 0, count - 1)
    )
    first = public.narrow(public.ones_like(changed), dim, 0, 1)
    begins = public.cat([first, changed], dim) if count > 1 else first
    start, _ = ops.cummax(public.where(begins, at, 0), dim=dim)
    best = public.argmax(at - start, dim, True)
    found = public.gather(values, dim, best), public.gather(indices, dim, best)
    if keepdim:
        return found
    return public.squeeze(found[0], dim), public.squeeze(found[1], dim)


def _search_calls() -> Iterator[Call]:
    rng = np.random.default_rng(17)
    edges = np.array([1.0, 3.0, 5.0, 7.0, 9.0])
    values = np.array([[3.0, 6.0, 9.0], [-1.0, 3.0, 99.0]])
    yield Call((edges, values), grad=False)
    yield Call((edges, values), {"right": True}, grad=False)
    yield Call((edges, values), {"side": "right", "out_int32": True}, grad=False)
    yield Call((edges, 3.0), grad=False)
    yield Call((np.sort(rng.normal(size=(2, 7)), 1), rng.normal(size=(2, 5))), grad=False)
    yield Call((edges, values), {"side": "up"}, error=(RuntimeError, "side"))


@function("searchsorted", method=False, calls=_search_calls)
def searchsorted(
    sorted_sequence: Value,
    input: Operand,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Value | None = None,
) -> Value:
    """How many elements along the last dimension of ``sorted_sequence`` lie before each value.

    Elements equal to the value count if ``right`` (or ``side="right"``). A 1-d sequence serves
    values of any shape; otherwise all dimensions but the last must agree. Result int64, or int32.
    """
    if side not in (None, "left", "right"):
        raise ShapeError(f"searchsorted(): side can only be 'left' or 'right' but got {side}")
    if right and side == "left":
        raise ShapeError("searchsorted(): side and right can't be set to opposites")
    right = right or side == "right"
    values = input if isinstance(input, Value) else coerce(input, op="searchsorted")[0]
    sequence = sorted_sequence
    if sorter is not None:
        sequence = public.gather(sequence, -1, sorter)
    batch = sequence.ndim - 1
    if batch and sequence.shape[:-1] != values.shape[:-1]:
        raise ShapeError(
            "searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions "
            f"of boundaries tensor and input value tensor must match, but we got boundaries tensor "
            f"{list(sequence.shape)} and input value tensor {list(values.shape)}"
        )
    count = sequence.shape[-1]
    found = constant(0, int64, values.shape)
    reach = 1
    while reach * 2 <= count:
        reach *= 2
    # Binary search on all values at once: extend the prefix that lies before the value by
    # `reach`, if its last element lies before the value too (a NaN value lies after all).
    while count and reach:
        further = found + reach
        probe = ops.take(sequence, public.clamp(further - 1, max=count - 1), batch=batch)
        before = public.le(probe, values) if right else public.lt(probe, values)
        if values.dtype.is_floating_point:
            before = public.logical_or(before, public.isnan(values))
        go = public.logical_and(public.le(further, count), before)
        found = public.where(go, further, found)
        reach //= 2
    return cast(found, int32) if out_int32 else found


def _bucket_calls() -> Iterator[Call]:
    edges = np.array([1.0, 3.0, 5.0])
    yield Call((np.array([[3.0, 6.0], [-1.0, 1.0]]), edges), grad=False)
    yield Call((np.array([3.0, 6.0]), edges), {"right": True, "out_int32": True}, grad=False)
    yield Call((np.array([3.0]), edges[None]), error=(RuntimeError, "1 dimension"))


@function("bucketize", calls=_bucket_calls)
def bucketize(
    input: Operand, boundaries: Value, *, out_int32: bool = False, right: bool = False
) -> Value:
    """The bucket of each value: how many of the sorted 1-d ``boundaries`` lie before it."""
    if boundaries.ndim != 1:
        raise ShapeError(
            f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})"
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)  # type: ignore[no-any-return]


def _isin_calls() -> Iterator[Call]:
    yield Call((np.array([[1, 2], [3, 4]]), np.array([2, 3, 9])), grad=False)
    yield Call((np.array([1.0, np.nan]), np.array([np.nan, 1.0])), grad=False)
    yield Call((np.array([1, 2]), np.array([2])), {"invert": True}, grad=False)
    yield Call((np.array([1, 2]), np.zeros(0, np.int64)), grad=False)
    yield Call((np.array([1, 2]), 2), grad=False)


@function("isin", calls=_isin_calls)
def isin(
    elements: Operand, test_elements: Operand, *, assume_unique: bool = False, invert: bool = False
) -> Value:
    """bool, the shape of ``elements``: whether each occurs among ``test_elements``."""
    (x,) = coerce(elements, op="isin")
    (tests,) = coerce(test_elements, op="isin")
    dtype = coerce(elements, constant(0, tests.dtype), op="isin")[0].dtype
    flat = ops.reshape(cast(tests, dtype), shape=(tests.type.numel,))
    if flat.shape[0]:
        ordered, _ = ops.sort(flat, dim=0, descending=False)
        at = searchsorted(ordered, cast(x, dtype))
        near = ops.take(ordered, public.clamp(at, max=flat.shape[0] - 1), batch=0)
        found = public.eq(near, cast(x, dtype))
    else:
        found = broadcast_to(constant(False, public.eq(x, x).dtype), x.shape)
    return public.logical_not(found) if invert else found  # type: ignore[no-any-return]
