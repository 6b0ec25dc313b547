"""Public functions whose result's shape depends on data: NumPy in, NumPy out, no gradient.

The tensor layer computes what was recorded, calls these, and records on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import from_numpy
from ..core.errors import ArgumentError, DTypeError, ShapeError
from .contract import Array
from .dims import normalize_dim
from .function import Call, function

_MATRIX = np.array([[0.0, 1.5, 0.0], [2.0, 0.0, np.nan]])


def _nonzero_calls() -> Iterator[Call]:
    yield Call((_MATRIX,), grad=False)
    yield Call((np.array([True, False, True]),), grad=False)
    yield Call((np.array(3),), grad=False)
    yield Call((np.zeros((0, 2)),), grad=False)


def _nonzero_tuple_calls() -> Iterator[Call]:
    yield from _nonzero_calls()
    yield Call((_MATRIX,), {"as_tuple": True}, grad=False)


@function("nonzero", method=True, host=True, calls=_nonzero_tuple_calls)
def nonzero(input: Array, *, as_tuple: bool = False) -> Any:
    """[n, ndim] int64: positions of the elements that are not 0, in row-major order; with
    ``as_tuple`` one 1-d tensor per dimension (which index the tensor)."""
    if as_tuple:
        return tuple(np.nonzero(np.atleast_1d(input)))
    return np.argwhere(input).astype(np.int64, copy=False)


@function("argwhere", method=True, host=True, out=False, calls=_nonzero_calls)
def argwhere(input: Array) -> Array:
    """[n, ndim] int64: positions of the elements that are not 0."""
    return np.argwhere(input).astype(np.int64, copy=False)


def _select_calls() -> Iterator[Call]:
    x = np.arange(6.0).reshape(2, 3)
    yield Call((x, x > 2), grad=False)
    yield Call((x, np.array([True, False, True])), grad=False)
    yield Call((x, np.array([1, 0, 1])), error=(RuntimeError, "BoolTensor"))


@function("masked_select", method=True, host=True, calls=_select_calls)
def masked_select(input: Array, mask: Array) -> Array:
    """1-d: the elements of the broadcast ``input`` where the bool ``mask`` holds."""
    if mask.dtype != np.bool_:
        raise DTypeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype}")
    try:
        x, chosen = np.broadcast_arrays(input, mask)
    except ValueError:
        raise ShapeError(
            f"masked_select: The size of tensor a {list(input.shape)} must match the size of "
            f"tensor b {list(mask.shape)}"
        ) from None
    return np.asarray(x[chosen])


def _unique_calls() -> Iterator[Call]:
    x = np.array([[3, 1, 3], [2, 1, 0], [3, 1, 3]])
    yield Call((x,), grad=False)
    yield Call((x, True, True, True), grad=False)
    yield Call((x,), {"return_inverse": True, "dim": 0}, grad=False)
    yield Call((x,), {"return_counts": True, "dim": 1}, grad=False)
    yield Call((np.array([2.0, 1.0, 2.0]),), {"return_counts": True}, grad=False)
    yield Call((np.zeros(0),), grad=False)


def _several(results: list[Any]) -> Any:
    return results[0] if len(results) == 1 else tuple(results)


@function("unique", method=True, host=True, out=False, calls=_unique_calls)
def unique(
    input: Array,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements in order (or slices along ``dim``); then, where asked, of each
    element the position of its like, and how often each occurs (int64)."""
    axis = None if dim is None else normalize_dim(dim, input.ndim)
    values, inverse, counts = np.unique(
        input, return_inverse=True, return_counts=True, axis=axis, equal_nan=False
    )
    shape = input.shape if dim is None else (-1,)
    results: list[Any] = [values]
    if return_inverse:
        results.append(inverse.reshape(shape).astype(np.int64, copy=False))
    if return_counts:
        results.append(counts.astype(np.int64, copy=False))
    return _several(results)


def _consecutive_calls() -> Iterator[Call]:
    x = np.array([1, 1, 2, 2, 3, 1, 1, 2])
    yield Call((x,), grad=False)
    yield Call((x,), {"return_inverse": True, "return_counts": True}, grad=False)
    yield Call((np.array([[1, 2], [1, 2], [0, 2]]),), {"dim": 0, "return_counts": True}, False)
    yield Call((np.array([[1, 1], [1, 2]]),), {"return_inverse": True}, grad=False)
    yield Call((np.zeros(0),), grad=False)


@function("unique_consecutive", method=True, host=True, out=False, calls=_consecutive_calls)
def unique_consecutive(
    input: Array, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """As `unique`, but only runs of equal elements become one; the order stays."""
    axis = 0 if dim is None else normalize_dim(dim, input.ndim)
    lines = input.reshape(-1) if dim is None else np.moveaxis(input, axis, 0)
    count = lines.shape[0]
    rows = lines.reshape(count, -1) if count else lines.reshape(0, 1)
    starts = np.ones(count, bool)
    starts[1:] = (rows[1:] != rows[:-1]).any(1)
    at = np.flatnonzero(starts)
    results: list[Any] = [lines[at] if dim is None else np.moveaxis(lines[at], 0, axis)]
    if return_inverse:
        inverse = np.cumsum(starts) - 1
        results.append(inverse.reshape(input.shape if dim is None else (-1,)))
    if return_counts:
        results.append(np.diff(np.append(at, count)))
    return _several(results)


def _bincount_calls() -> Iterator[Call]:
    x = np.array([1, 3, 1, 0])
    yield Call((x,), grad=False)
    yield Call((x, np.array([0.5, 1.0, 2.0, 4.0])), grad=False)
    yield Call((x,), {"minlength": 6}, grad=False)
    yield Call((np.zeros(0, np.int64),), grad=False)
    yield Call((np.array([1, -1]),), error=(RuntimeError, "non-negative"))


@function("bincount", method=True, host=True, out=False, calls=_bincount_calls)
def bincount(input: Array, weights: Array | None = None, minlength: int = 0) -> Array:
    """How often each number 0, 1, ... occurs in a 1-d tensor of non-negative integers, or the sum
    of its ``weights``; at least ``minlength`` entries."""
    if input.ndim != 1 or input.dtype.kind not in "iu" or (input.size and input.min() < 0):
        raise ShapeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and weights.shape != input.shape:
        raise ShapeError("weights should be 1-d and have the same length as input")
    if minlength < 0:
        raise ShapeError(f"minlength should be >= 0, got {minlength}")
    counts = np.bincount(input, weights, minlength)
    single = weights is not None and weights.dtype == np.float32
    return counts.astype(np.float32) if single else counts


def _histc_calls() -> Iterator[Call]:
    x = np.array([1.0, 2.0, 1.0, 4.0, 2.5])
    yield Call((x,), {"bins": 4}, grad=False)
    yield Call((x, 3, 1, 3), grad=False)
    yield Call((np.ones(3), 2), grad=False)


@function("histc", method=True, host=True, calls=_histc_calls)
def histc(input: Array, bins: int = 100, min: float = 0, max: float = 0) -> Array:
    """How many elements fall in each of ``bins`` equal intervals of [min, max], of the input's
    dtype; equal limits mean the range of the data. Elements outside are not counted."""
    if from_numpy(input.dtype).category != "float":
        raise DTypeError(f'"histc" not implemented for {input.dtype}: expected a float dtype')
    if bins <= 0:
        raise ShapeError(f"bins must be > 0, got {bins}")
    low, high = float(min), float(max)
    if low == high and input.size:
        low, high = float(input.min()), float(input.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (np.isfinite(low) and np.isfinite(high)) or low > high:
        raise ShapeError(f"torch.histc: range of [{low}, {high}] is not finite or not increasing")
    return np.histogram(input, bins, (low, high))[0].astype(input.dtype)


def _histogram_calls() -> Iterator[Call]:
    x = np.array([1.0, 2.0, 1.0, 4.0, 2.5])
    yield Call((x, 4), grad=False)
    yield Call((x, 3), {"range": (1.0, 3.0), "density": True}, grad=False)
    yield Call((x, np.array([0.0, 1.5, 5.0])), {"weight": x}, grad=False)


def _histogram(
    op: str, rows: Array, bins: Any, range: Any, weight: Array | None, density: bool
) -> tuple[Array, list[Array]]:
    """Counts of the rows (n, d) by ``bins``, and the edges of each dimension."""
    if rows.dtype not in (np.float32, np.float64):
        raise DTypeError(f'"{op}" not implemented for {rows.dtype}: expected float32 or float64')
    pairs = None if range is None else list(zip(range[::2], range[1::2]))
    if pairs is not None and any(not low <= high for low, high in pairs):
        raise ShapeError(f"torch.{op}: min should not exceed max, got range {list(range)}")
    if pairs is None and not rows.size and not isinstance(bins[0], np.ndarray):
        pairs = [(0.0, 1.0)] * rows.shape[1]
    weights = None if weight is None else weight.reshape(-1)
    if weights is not None and weights.shape[0] != rows.shape[0]:
        raise ShapeError(
            f"torch.{op}: expected one weight for each of {rows.shape[0]} values, got "
            f"{weights.shape[0]}"
        )
    counts, edges = np.histogramdd(rows, bins, pairs, density, weights)
    return counts.astype(rows.dtype), [e.astype(rows.dtype) for e in edges]


@function("histogram", method=True, host=True, calls=_histogram_calls)
def histogram(
    input: Array, bins: Any = 100, *, range: Sequence[float] | None = None,
    weight: Array | None = None, density: bool = False,
) -> Any:  # fmt: skip
    """(hist, bin_edges): how many elements, or how much ``weight``, fall in each of ``bins`` equal
    intervals of ``range`` (default: of the data), or between the numbers of a tensor ``bins``."""
    rows = input.reshape(-1, 1)
    counts, edges = _histogram("histogram", rows, [bins], range, weight, density)
    return counts, edges[0]


def _histogramdd_calls() -> Iterator[Call]:
    points = np.random.default_rng(3).uniform(-1, 1, (9, 2))
    yield Call((points, [2, 3]), grad=False)
    yield Call((points, [3, 2]), {"density": True}, grad=False)


@function("histogramdd", host=True, out=False, calls=_histogramdd_calls)
def histogramdd(
    input: Array, bins: Any, *, range: Sequence[float] | None = None,
    weight: Array | None = None, density: bool = False,
) -> Any:  # fmt: skip
    """(hist, bin_edges) of the vectors in the last dimension of ``input``; see `histogram`."""
    if input.ndim < 2:
        raise ShapeError(
            f"torch.histogramdd: input must have at least 2 dimensions, got {input.ndim}"
        )
    rows = input.reshape(-1, input.shape[-1])
    given = [bins] * rows.shape[1] if isinstance(bins, int) else list(bins)
    if len(given) != rows.shape[1]:
        raise ShapeError(
            f"torch.histogramdd: expected {rows.shape[1]} sequences of bin edges for a "
            f"{rows.shape[1]}-dimensional histogram but got {len(given)}"
        )
    counts, edges = _histogram("histogramdd", rows, given, range, weight, density)
    return counts, tuple(edges)


def _static_calls() -> Iterator[Call]:
    yield Call((_MATRIX,), {"size": 2}, grad=False)
    yield Call((_MATRIX,), {"size": 5, "fill_value": 7}, grad=False)


@function("nonzero_static", method=True, host=True, calls=_static_calls)
def nonzero_static(input: Array, *, size: int, fill_value: int = -1) -> Array:
    """[size, ndim] int64: as `nonzero`, cut or filled up to ``size`` rows."""
    if size < 0:
        raise ShapeError(f"nonzero_static: 'size' must be an non-negative integer, got {size}")
    found = np.argwhere(input)[:size]
    result = np.full((size, input.ndim), fill_value, np.int64)
    result[: len(found)] = found
    return result


def largest_class(classes: Array) -> int:
    """How many classes `one_hot` needs when it is not told: one more than the largest."""
    if not classes.size:
        raise ShapeError("Can not infer total number of classes from empty tensor.")
    return int(classes.max()) + 1


def interleave_positions(repeats: Array, extent: int) -> Array:
    """Positions 0 .. extent - 1, each ``repeats`` times: `repeat_interleave` is `index_select` at
    them. ``repeats`` has one element, or ``extent``."""
    if repeats.dtype not in (np.int64, np.int32):
        raise ArgumentError("repeats has to be Long or Int tensor")
    if repeats.ndim > 1 or repeats.size not in (1, extent):
        raise ShapeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{repeats.size} and input.size(dim) = {extent}"
        )
    if (repeats < 0).any():
        raise ShapeError("repeats can not be negative")
    return np.repeat(np.arange(extent), np.broadcast_to(repeats.reshape(-1), (extent,)))
