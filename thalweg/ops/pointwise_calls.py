"""Calls of pointwise public functions that are worth comparing with PyTorch.

Each function here makes a source of `Call`s for one family: the usual shapes (matrix, vector,
0-d, empty), broadcasting, the dtypes the family takes, and NaN, infinities and signed zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from .contract import Array
from .function import Call

Calls: TypeAlias = Callable[[], Iterator[Call]]

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0], np.float32)
NOT_A_TENSOR = Call(("x",), error=(TypeError, "must be Tensor"))


def unary_calls(
    low: float = -3.0,
    high: float = 3.0,
    *,
    ints: bool = True,
    bools: bool = True,
    complexes: bool = False,
    special: bool = True,
    reject: bool = True,
    extra: tuple[Call, ...] = (),
) -> Calls:
    """One tensor drawn uniformly from [low, high), and what the flags allow; ``reject`` adds a
    call with something that is no tensor."""

    def make() -> Iterator[Call]:
        rng = np.random.default_rng(17)
        for shape in [(3, 4), (), (0, 3), (2, 1, 5)]:
            yield Call((rng.uniform(low, high, shape),))
        yield Call((rng.uniform(low, high, (17,)).astype(np.float32),))
        if special:
            yield Call((SPECIAL,), grad=False)
        if ints:
            yield Call((np.arange(-4, 5),), grad=False)
            yield Call((np.arange(4, dtype=np.uint8),), grad=False)
        if bools:
            yield Call((np.array([True, False]),), grad=False)
        if complexes:
            z = rng.uniform(low, high, (2, 3)) + 1j * rng.uniform(low, high, (2, 3))
            yield Call((z,), grad=False)
        yield from extra
        if reject:
            yield NOT_A_TENSOR

    return make


def binary_calls(
    low: float = -3.0,
    high: float = 3.0,
    *,
    ints: bool = True,
    bools: bool = False,
    numbers: bool = True,
    floats: bool = True,
    kwargs: dict[str, Any] | None = None,
    extra: tuple[Call, ...] = (),
) -> Calls:
    """Two operands: broadcasting, a Python number on the right, mixed dtypes, bad shapes."""
    options = kwargs or {}

    def make() -> Iterator[Call]:
        rng = np.random.default_rng(19)

        def draw(*shape: int) -> Array:
            return rng.uniform(low, high, shape)

        def whole(*shape: int) -> Array:
            return rng.integers(1, 9, shape)

        if floats:
            yield Call((draw(3, 4), draw(4)), options)
            yield Call((draw(2, 1, 3), draw(4, 1)), options)
            yield Call((draw(5).astype(np.float32), draw(5).astype(np.float32)), options)
            yield Call((draw(), draw(3)), options)
            yield Call((draw(0, 2), draw(2)), options)
            rows = [SPECIAL, np.roll(SPECIAL, 1), np.roll(SPECIAL, 2), np.roll(SPECIAL, 3)]
            yield Call((np.stack(rows), SPECIAL), options, grad=False)
            if numbers:
                yield Call((draw(3, 2), 1.5), options)
                yield Call((draw(3).astype(np.float32), 2), options)
        if ints:
            yield Call((whole(2, 3) - 5, whole(3)), options, grad=False)
            yield Call((whole(4).astype(np.int32), whole(4).astype(np.uint8)), options, grad=False)
            if numbers:
                yield Call((whole(4) - 5, 3), options, grad=False)
        if ints and floats:
            yield Call((whole(3), draw(2, 3).astype(np.float32)), options, grad=False)
        if bools:
            yield Call((np.array([True, False]), np.array([[True], [False]])), options, grad=False)
        yield from extra
        first, second = (draw(3, 4), draw(3)) if floats else (whole(3, 4), whole(3))
        yield Call((first, second), options, error=(RuntimeError, "must match the size"))

    return make


def calls(*several: Call) -> Calls:
    """A source of just these calls."""

    def make() -> Iterator[Call]:
        yield from several

    return make


def no_gradients(source: Calls) -> Calls:
    """The same calls, for functions whose results have no gradient."""

    def make() -> Iterator[Call]:
        for call in source():
            yield Call(call.args, call.kwargs, False, call.error)

    return make
