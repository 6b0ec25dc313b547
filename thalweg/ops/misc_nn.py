"""Embeddings beyond the plain lookup: bags, norms kept in bounds, gradients by frequency."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core.dtypes import DType, int32, int64
from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Node, Value
from .arithmetic import cast, constant
from .contract import Grads
from .function import Call, composite, function
from .link import ops
from .named import public
from .nn_shared import need_floating
from .reduce import lowest, spread
from .shape_functions import slice_dim, to_shape


def _indices(name: str, value: Value) -> Value:
    if value.dtype not in (int32, int64):
        raise DTypeError(
            f"embedding_bag: Expected {name} to have one of the following scalar types: Long, Int; "
            f"but got {value.dtype} instead"
        )
    return cast(value, int64)


def _counts(at: Value, total: int, dtype: DType) -> Value:
    """How often each of ``total`` positions occurs in a 1-d ``at``."""
    zeros, ones = constant(0, dtype, (total,)), constant(1, dtype, at.shape)
    return ops.index_put(zeros, at, ones, batch=0, combine="sum")  # type: ignore[no-any-return]


def _renorm_calls() -> Iterator[Call]:
    table = np.random.default_rng(12).normal(size=(6, 3)) * 2
    yield Call((table, np.array([[0, 2], [5, 2]]), 1.5), grad=False)
    yield Call((table, np.array([1]), 0.5, 1.0), grad=False)


_renorm_calls.no_twin = "PyTorch has it in place only"  # type: ignore[attr-defined]


@function("embedding_renorm", public=False, out=False, calls=_renorm_calls)
def embedding_renorm(
    weight: Value, indices: Value, max_norm: float, norm_type: float = 2.0
) -> Value:
    """The table (v, d), its rows at the positions ``indices`` scaled down to ``max_norm``."""
    at = _indices("indices", indices)
    flat = to_shape(at, (at.type.numel,))
    norm = getattr(public, "linalg.vector_norm")(weight, norm_type, 1)
    used = public.gt(_counts(flat, weight.shape[0], int64), 0)
    long = public.logical_and(used, public.gt(norm, max_norm))
    factor = public.where(long, max_norm / (norm + 1e-7), constant(1, norm.dtype))
    return weight * spread(factor, weight, (1,))


def _frequency_vjp(node: Node, g: Value) -> Grads:
    _, at = node.inputs
    count = _counts(at, node.attrs["total"], g.dtype)
    return g / spread(ops.take(count, at, batch=0), g, (1,)), None


def _frequency_calls() -> Iterator[Call]:
    rows = np.random.default_rng(12).normal(size=(4, 3))
    yield Call((rows, np.array([1, 0, 1, 1]), 2), grad=False)


_frequency_calls.no_twin = "scale_grad_by_freq of the embeddings"  # type: ignore[attr-defined]


@composite(
    "gradient_by_frequency", public=False, vjp=_frequency_vjp, out=False, calls=_frequency_calls
)
def gradient_by_frequency(rows: Value, at: Value, total: int) -> Value:
    """``rows`` (n, d), whose gradient is divided by how often the row's position occurs in ``at``
    (n), of ``total`` positions."""
    return ops.reshape(rows, shape=rows.shape)  # type: ignore[no-any-return]


gradient_by_frequency.surrogate = (  # type: ignore[attr-defined]
    "a gradient scaled on purpose: the function is the identity"
)


def _bag_calls() -> Iterator[Call]:
    rng = np.random.default_rng(12)
    table, at = rng.normal(size=(6, 3)), np.array([0, 2, 5, 1, 2])
    starts = np.array([0, 2, 2])
    for mode in ("sum", "mean", "max"):
        yield Call((at, table, starts), {"mode": mode})
        yield Call((at[:4].reshape(2, 2), table), {"mode": mode})
        yield Call((at, table, starts), {"mode": mode, "padding_idx": 2})
        option = {"mode": mode, "include_last_offset": True}
        yield Call((at, table, np.array([0, 2, 5])), option)
    # PyTorch divides by the frequency of a neighbouring position here: no gradients to compare.
    yield Call((at, table, starts), {"scale_grad_by_freq": True}, grad=False)
    weights = rng.normal(size=5)
    yield Call((at, table, starts), {"mode": "sum", "per_sample_weights": weights})
    yield Call((at.astype(np.int32), table, starts.astype(np.int32)))
    yield Call((at[:0], table, np.array([0, 0])))
    yield Call((at[:4].reshape(2, 2), table), {"padding_idx": -1})
    yield Call((at, table), error=(ValueError, "offsets has to be a 1D Tensor but got None"))
    yield Call((at, table, starts), {"mode": "min"}, error=(ValueError, "mode has to be one of"))
    yield Call((at * 1.0, table, starts), error=(RuntimeError, "Long, Int"))
    wrong = (RuntimeError, "padding_idx must be within the number of embeddings")
    yield Call((at, table, starts), {"padding_idx": 9}, error=wrong)
    refused = (NotImplementedError, "only supported for mode='sum'")
    yield Call((at, table, starts), {"per_sample_weights": weights}, error=refused)
    two = (ValueError, "offsets has to be None")
    yield Call((at[:4].reshape(2, 2), table, starts), error=two)


class PaddingError(ValueRangeError, RuntimeError):
    """A padding row outside the table (PyTorch raises RuntimeError)."""


@composite("nn.functional.embedding_bag", out=False, calls=_bag_calls)
def embedding_bag(
    input: Value,
    weight: Value,
    offsets: Value | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Value | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Value:
    """Rows of ``weight`` (v, d) summed, averaged or maximised per bag: (bags, d).

    Positions (bags, n), or (n) with the starts of the bags in ``offsets`` (bags), or with the end
    of the last too if ``include_last_offset``. Rows ``padding_idx`` do not take part; an empty bag
    gives 0. ``per_sample_weights``, shaped as ``input``, scales the rows of sums.
    NotImplementedError for ``sparse`` gradients.
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueRangeError("mode has to be one of sum, mean or max")
    if max_norm is not None or sparse:
        raise NotImplementedError(
            "embedding_bag: max_norm, which changes the table, and sparse gradients cannot be part "
            "of a graph"
        )
    if mode == "max" and scale_grad_by_freq:
        raise ValueRangeError("max mode does not support scaling the gradient by the frequency")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(
                "embedding_bag: per_sample_weights was not None. per_sample_weights is only "
                f"supported for mode='sum' (got mode='{mode}')."
            )
        if per_sample_weights.shape != input.shape:
            raise ValueRangeError(
                f"embedding_bag: If per_sample_weights ({list(per_sample_weights.shape)}) is not "
                f"None, then it must have the same shape as the input ({list(input.shape)})"
            )
    need_floating("embedding_bag", weight)
    at = _indices("indices", input)
    bag, count = _bags(at, offsets, include_last_offset)
    flat = to_shape(at, (at.type.numel,))
    rows = ops.take(weight, flat, batch=0)
    if scale_grad_by_freq:
        rows = gradient_by_frequency(rows, flat, weight.shape[0])
    present = _present(flat, weight, padding_idx, rows)
    if per_sample_weights is not None:
        scale = to_shape(per_sample_weights, flat.shape)
        rows = rows * spread(scale, rows, (1,))
    shape = (count, weight.shape[1])
    zero = constant(0, rows.dtype, shape)
    held = ops.index_put(zero, bag, present, batch=0, combine="sum")
    if mode == "max":
        bottom = lowest(rows.dtype)
        masked = ops.where(public.gt(present, 0), rows, constant(bottom, rows.dtype, rows.shape))
        low = constant(bottom, rows.dtype, shape)
        best = ops.index_put(low, bag, masked, batch=0, combine="max")
        return ops.where(public.gt(held, 0), best, zero)  # type: ignore[no-any-return]
    total = ops.index_put(zero, bag, rows * present, batch=0, combine="sum")
    if mode == "sum":
        return total  # type: ignore[no-any-return]
    return total / ops.maximum(held, constant(1, held.dtype, shape))  # type: ignore[no-any-return]


def _present(at: Value, weight: Value, padding_idx: int | None, rows: Value) -> Value:
    """1 for rows that take part, else 0, in the shape of ``rows``."""
    if padding_idx is None:
        return constant(1, rows.dtype, rows.shape)
    count = weight.shape[0]
    if not -count <= padding_idx < count:
        raise PaddingError(
            f"padding_idx must be within the number of embeddings, {-count} through {count - 1}, "
            f"but got {padding_idx}"
        )
    return spread(cast(public.ne(at, padding_idx % count), rows.dtype), rows, (1,))


def _bags(at: Value, offsets: Value | None, include_last: bool) -> tuple[Value, int]:
    """The bag of each (flattened) position, and how many bags there are."""
    if at.ndim == 2:
        if offsets is not None:
            raise ValueRangeError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                "of fixed length sequences."
            )
        bags = ops.iota(shape=at.shape, dim=0, dtype=int64)
        return to_shape(bags, (at.type.numel,)), at.shape[0]
    if at.ndim != 1:
        raise ValueRangeError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {at.ndim}"
        )
    if offsets is None or offsets.ndim != 1:
        got = "None" if offsets is None else f"{offsets.ndim}D"
        raise ValueRangeError(f"offsets has to be a 1D Tensor but got {got}")
    starts = _indices("offsets", offsets)
    if include_last:
        if starts.shape[0] < 1:
            raise ShapeError("include_last_offset: number of offsets should be at least 1")
        starts = slice_dim(starts, 0, 0, starts.shape[0] - 1)
    count = starts.shape[0]
    places = ops.iota(shape=(at.shape[0],), dim=0, dtype=int64)
    bag = public.searchsorted(starts, places, right=True) - 1
    return bag, count


__all__ = ["embedding_bag", "embedding_renorm", "gradient_by_frequency"]
