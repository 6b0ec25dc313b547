"""Bags of embeddings: rows of a table looked up and combined, without the rows in between."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core.dtypes import int32, int64
from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import cast, constant
from .function import Call, composite
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
    NotImplementedError for ``max_norm``, ``scale_grad_by_freq`` and ``sparse`` gradients.
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueRangeError("mode has to be one of sum, mean or max")
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise NotImplementedError(
            "embedding_bag: max_norm, scale_grad_by_freq and sparse gradients are not supported"
        )
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


__all__ = ["embedding_bag"]
