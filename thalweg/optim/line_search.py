"""A step length that satisfies the strong Wolfe conditions (Nocedal & Wright, Numerical
Optimization, 2nd ed., algorithms 3.5 and 3.6), by cubic interpolation (ibid., eq. 3.59)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from ..tensor import Tensor

_DECREASE = 1e-4  # c1: the least part of the decrease that the slope promises
_CURVATURE = 0.9  # c2: the largest part of the first slope that may be left


class Point(NamedTuple):
    """The function at ``step`` along the direction: its value, gradient and slope there."""

    step: float
    loss: float
    grad: Tensor
    slope: float


def strong_wolfe(
    evaluate: Callable[[float], Point], start: Point, step: float, width: float, limit: int
) -> tuple[Point, int]:
    """The accepted point and how often ``evaluate`` was called.

    ``step`` is tried first; an interval narrower than ``width`` is not searched any further, and
    after ``limit`` more trials the best end of the interval is taken.
    """
    before, current, trials = start, evaluate(step), 0
    while trials < limit:
        if _too_high(current, start) or (trials > 1 and current.loss >= before.loss):
            return _zoom(evaluate, start, before, current, width, limit, trials)
        if _is_flat(current, start):
            return current, trials + 1
        if current.slope >= 0:
            return _zoom(evaluate, start, before, current, width, limit, trials)
        reach = current.step - before.step
        next_step = _cubic_minimum(before, current, current.step + 0.01 * reach, current.step * 10)
        before, current = current, evaluate(next_step)
        trials += 1
    return min(start, current, key=lambda point: point.loss), trials + 1


def _zoom(
    evaluate: Callable[[float], Point], start: Point, one: Point, other: Point, width: float,
    limit: int, trials: int,
) -> tuple[Point, int]:  # fmt: skip
    """Narrow an interval that holds an acceptable step, keeping its lower end ``low``."""
    low, high = (one, other) if one.loss <= other.loss else (other, one)
    stuck = False
    while trials < limit:
        left, right = sorted((low.step, high.step))
        if right - left < width:
            break
        first, second = sorted((low, high), key=lambda point: point.step)
        step = _cubic_minimum(first, second, left, right)
        margin = 0.1 * (right - left)
        near_end = min(right - step, step - left) < margin
        if near_end and (stuck or not left < step < right):
            # Twice in a row close to an end, or on it: go inside by a tenth.
            step = right - margin if right - step < step - left else left + margin
            stuck = False
        else:
            stuck = near_end
        current = evaluate(step)
        trials += 1
        if _too_high(current, start) or current.loss >= low.loss:
            high = current
            if high.loss < low.loss:
                low, high = high, low
            continue
        if _is_flat(current, start):
            low = current
            break
        if current.slope * (high.step - low.step) >= 0:
            high = low
        low = current
    return low, trials + 1


def _too_high(point: Point, start: Point) -> bool:
    return point.loss > start.loss + _DECREASE * point.step * start.slope


def _is_flat(point: Point, start: Point) -> bool:
    return abs(point.slope) <= -_CURVATURE * start.slope


def _cubic_minimum(one: Point, two: Point, low: float, high: float) -> float:
    """Where the cubic through both points and slopes is least, clamped to the bounds; their middle
    where it has no minimum. ``one`` is left of ``two``."""
    length = two.step - one.step
    tilt = one.slope + two.slope - 3 * (one.loss - two.loss) / (one.step - two.step)
    square = tilt * tilt - one.slope * two.slope
    if not square >= 0:
        return (low + high) / 2
    root = math.sqrt(square)
    below = two.slope - one.slope + 2 * root
    if below == 0:
        return (low + high) / 2
    return min(max(two.step - length * (two.slope + root - tilt) / below, low), high)
