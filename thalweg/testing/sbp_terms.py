"""One mesh axis simulated with arrays: cut or spread a global value over ranks, and put it back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from ..ir.sbp import Broadcast, Partial, Sbp, Split, split_bounds
from ..ir.types import TensorType
from ..ops.contract import Array

_ALL = ("sum", "max", "min", "prod")
# For bool, 'max' is any and 'min' is all; complex numbers have no order.
PARTIAL_KINDS = {"bool": ("max", "min"), "complex": ("sum", "prod")}


def sbp_options(type: TensorType) -> list[Sbp]:
    """Every SBP that a tensor of this type may have on one mesh axis."""
    kinds = PARTIAL_KINDS.get(type.dtype.category, _ALL)
    return [Broadcast(), *map(Split, range(type.ndim)), *map(Partial, kinds)]


def exists(type: TensorType, sbp: Sbp) -> bool:
    """Whether a tensor of this type may have ``sbp``."""
    return sbp in sbp_options(type)


def spread(
    rng: np.random.Generator, array: Array, sbp: Sbp, ranks: int
) -> tuple[Array, list[Array]]:
    """What each rank holds of ``array``, and the global value these parts stand for.

    That value is ``array`` itself, except under P(prod) of integers, where it is the product of
    random small factors (an arbitrary integer has too few factors).
    """
    if isinstance(sbp, Broadcast):
        return array, [array] * ranks
    if isinstance(sbp, Split):
        cuts = [split_bounds(array.shape[sbp.dim], ranks, r)[1] for r in range(ranks - 1)]
        return array, np.split(array, cuts, axis=sbp.dim)
    if array.dtype.kind == "b":
        return array, _bools(rng, array, sbp.op, ranks)
    draw = {"sum": _terms, "prod": _factors}.get(sbp.op, _bounds)
    return draw(rng, array, sbp.op, ranks)


def combine(parts: Sequence[Array], sbp: Partial) -> Array:
    """The reduction over ranks that a Partial stands for."""
    kind: Any = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}[sbp.op]
    return reduce(kind, parts)  # type: ignore[no-any-return]


def assembles(parts: Sequence[Array], sbp: Sbp, whole: Array) -> bool:
    """Whether the parts that the ranks hold stand, under ``sbp``, for ``whole``."""
    if any(p.dtype != whole.dtype for p in parts):
        return False
    if isinstance(sbp, Split):
        ranks = len(parts)
        for r, part in enumerate(parts):
            start, stop = split_bounds(whole.shape[sbp.dim], ranks, r)
            expected = (*whole.shape[: sbp.dim], stop - start, *whole.shape[sbp.dim + 1 :])
            if part.shape != expected:
                return False
        return same(np.concatenate(parts, axis=sbp.dim), whole)
    if any(p.shape != whole.shape for p in parts):
        return False
    if isinstance(sbp, Broadcast):
        return all(same(p, whole) for p in parts)
    scale = max((float(np.abs(p).max()) for p in parts if p.size), default=1.0)
    return same(combine(parts, sbp), whole, scale)


def same(a: Array, b: Array, scale: float = 1.0) -> bool:
    """Equal up to rounding; NaN equals NaN. ``scale`` is the size of cancelled terms."""
    if a.dtype.kind in "iub":
        return np.array_equal(a, b)
    eps = 1e-9 if a.dtype.itemsize >= 8 and a.dtype != np.complex64 else 1e-4
    scale = max(scale, 1.0) if np.isfinite(scale) else 1.0
    return np.allclose(a, b, rtol=eps * 10, atol=eps * scale, equal_nan=True)


def _owner(rng: np.random.Generator, array: Array, ranks: int) -> Array:
    return np.asarray(rng.integers(ranks, size=array.shape))


def _bools(rng: np.random.Generator, array: Array, op: str, ranks: int) -> list[Array]:
    owner = _owner(rng, array, ranks)
    noise = [rng.random(array.shape) < 0.5 for _ in range(ranks)]
    if op == "max":
        return [np.where(owner == r, array, array & noise[r]) for r in range(ranks)]
    return [np.where(owner == r, array, array | noise[r]) for r in range(ranks)]


def _terms(
    rng: np.random.Generator, array: Array, op: str, ranks: int
) -> tuple[Array, list[Array]]:
    shape, dtype = array.shape, array.dtype
    if dtype.kind in "iu":
        rest = [rng.integers(0 if dtype.kind == "u" else -5, 6, shape).astype(dtype)
                for _ in range(ranks - 1)]  # fmt: skip
    else:
        rest = [_like(rng.normal(size=shape), rng, array) for _ in range(ranks - 1)]
    last = np.asarray(array - sum(rest), dtype=dtype)
    return array, _shuffled(rng, [*rest, last])


def _like(values: Any, rng: np.random.Generator, array: Array) -> Array:
    if array.dtype.kind == "c":
        values = values + 1j * rng.normal(size=array.shape)
    return np.asarray(values).astype(array.dtype)


def _factors(
    rng: np.random.Generator, array: Array, op: str, ranks: int
) -> tuple[Array, list[Array]]:
    shape, dtype = array.shape, array.dtype
    if dtype.kind in "iu":
        signs = 1 if dtype.kind == "u" else rng.choice([-1, 1], (ranks, *shape))
        parts = list((rng.integers(1, 4, (ranks, *shape)) * signs).astype(dtype))
        return combine(parts, Partial("prod")), parts
    rest = [
        _like(np.exp(rng.uniform(-0.7, 0.7, shape)) * rng.choice([-1, 1], shape), rng, array)
        for _ in range(ranks - 1)
    ]
    last = np.asarray(array / combine(rest, Partial("prod")), dtype=dtype)
    return array, _shuffled(rng, [*rest, last])


def _bounds(
    rng: np.random.Generator, array: Array, op: str, ranks: int
) -> tuple[Array, list[Array]]:
    """One rank, chosen per element, holds the value, the others something it outdoes."""
    sign = -1 if op == "max" else 1
    owner = _owner(rng, array, ranks)
    parts = []
    for r in range(ranks):
        if array.dtype.kind in "iu":
            limits = np.iinfo(array.dtype)
            away = array.astype(object) + sign * rng.integers(0, 5, array.shape).astype(object)
            other = np.clip(away, limits.min, limits.max).astype(array.dtype)
        else:
            other = (array + sign * rng.exponential(2.0, array.shape)).astype(array.dtype)
        parts.append(np.where(owner == r, array, other))
    return array, parts


def _shuffled(rng: np.random.Generator, parts: list[Array]) -> list[Array]:
    return [parts[i] for i in rng.permutation(len(parts))]
