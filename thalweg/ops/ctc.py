"""Connectionist temporal classification: the forward recursion over time as one scan.

Letters: t steps, n examples, c classes, s labels, l = 2 s + 1 places (a blank around each label).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import bool_, int64
from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import broadcast_to, cast, constant
from .control_functions import scan
from .function import Call, composite
from .link import ops
from .losses import reduced_loss
from .losses_classes import pick_class
from .named import public
from .nn_shared import need_floating
from .reduce import spread
from .shape_functions import to_shape

Lengths = Value | Sequence[int]


def _lengths(name: str, given: Lengths, batch: int, most: int | None) -> Value:
    """Lengths as int64 (n); those known while recording are checked against ``most``."""
    if isinstance(given, Value):
        if given.dtype.category != "int":
            raise DTypeError(f"ctc_loss: {name} must be integral, got {given.dtype}")
        if given.type.numel != batch:
            raise ShapeError(
                f"ctc_loss: {name} must be of size batch_size, got {list(given.shape)} for {batch}"
            )
        return cast(to_shape(given, (batch,)), int64)
    numbers = tuple(given)
    if len(numbers) != batch:
        raise ShapeError(
            f"ctc_loss: {name} must be of size batch_size, got {len(numbers)} for {batch}"
        )
    if most is not None and numbers and max(numbers) > most:
        raise ShapeError(f"Expected {name} to have value at most {most}, but got {max(numbers)}")
    return ops.table(values=numbers, dtype=int64)  # type: ignore[no-any-return]


def _column(lengths: Value, shape: tuple[int, ...]) -> Value:
    """(n) repeated along the second of two dimensions."""
    return broadcast_to(to_shape(lengths, (shape[0], 1)), shape)


def _padded_targets(targets: Value, given: Lengths, lengths: Value) -> Value:
    """Targets (n, s) of rows that lie one after another in a 1-d tensor."""
    total, batch = targets.shape[0], lengths.shape[0]
    longest = total if isinstance(given, Value) else max(given, default=0)
    shape = (batch, min(longest, total))
    if not shape[1]:
        return constant(0, targets.dtype, shape)
    start = _column(ops.cumsum(lengths, dim=0) - lengths, shape)
    at = start + ops.iota(shape=shape, dim=1, dtype=int64)
    last = constant(total - 1, int64, shape)
    return ops.take(targets, ops.minimum(at, last), batch=0)  # type: ignore[no-any-return]


def _places(labels: Value, blank: int) -> tuple[Value, Value]:
    """Labels with blanks around them (n, l), and where a step may skip the place before."""
    n, s = labels.shape
    blanks = constant(blank, labels.dtype, (n, s, 1))
    pairs = ops.concat(blanks, to_shape(labels, (n, s, 1)), dim=2)
    end = constant(blank, labels.dtype, (n, 1))
    places = ops.concat(to_shape(pairs, (n, 2 * s)), end, dim=1)
    before = _shifted(places, 2, blank)
    return places, public.logical_and(public.ne(places, blank), public.ne(places, before))


def _shifted(x: Value, by: int, fill: float) -> Value:
    """Rows moved ``by`` places to the right."""
    n, count = x.shape
    wide = ops.pad(x, low=(0, by), high=(0, 0), interior=(0, 0), value=fill)
    return ops.slice(wide, starts=(0, 0), stops=(n, count), steps=(1, 1))  # type: ignore[no-any-return]


def _log_sum(terms: Sequence[Value]) -> Value:
    """log of the sum of exponentials; minus infinity, without gradient, where all terms are."""
    peak = terms[0]
    for term in terms[1:]:
        peak = ops.maximum(peak, term)
    peak = ops.stop_gradient(peak)
    lost = ops.eq(peak, constant(-np.inf, peak.dtype, peak.shape))
    zero, one = (constant(k, peak.dtype, peak.shape) for k in (0, 1))
    base = ops.where(lost, zero, peak)
    total: Any = zero
    for term in terms:
        total = total + ops.exp(term - base)
    return ops.where(lost, peak, ops.log(ops.where(lost, one, total)) + base)  # type: ignore[no-any-return]


def _log_likelihood(
    log_probs: Value, labels: Value, steps: Value, counts: Value, blank: int
) -> Value:
    """log of the probability of all paths that spell the labels, (n)."""
    t, n, _ = log_probs.shape
    places, may_skip = _places(labels, blank)
    size = places.shape[1]
    emitted = public.gather(
        log_probs, 2, broadcast_to(to_shape(places, (1, n, size)), (t, n, size))
    )
    live = ops.lt(
        ops.iota(shape=(t, n), dim=0, dtype=int64), broadcast_to(to_shape(steps, (1, n)), (t, n))
    )
    never = constant(-np.inf, log_probs.dtype, (n, size))
    first = ops.eq(ops.iota(shape=(n, size), dim=1, dtype=int64), constant(0, int64, (n, size)))

    def step(carry: tuple[Value, ...], x: tuple[Value, ...]) -> Any:
        (alpha,), (emission, going) = carry, x
        nothing = constant(-np.inf, alpha.dtype, alpha.shape)
        skipped = ops.where(may_skip, _shifted(alpha, 2, -np.inf), nothing)
        after = _log_sum((alpha, _shifted(alpha, 1, -np.inf), skipped)) + emission
        return (ops.where(spread(going, alpha, (1,)), after, alpha),), ()

    # Standing before the first step on the first blank leads to both ways of starting.
    start = ops.where(first, constant(0, never.dtype, never.shape), never)
    (alpha,), _ = scan(step, (start,), (emitted, live))
    last = counts + counts
    none = ops.eq(counts, constant(0, int64, counts.shape))
    on_label = pick_class(alpha, ops.where(none, last, last - 1), 1)
    on_label = ops.where(none, constant(-np.inf, alpha.dtype, (n,)), on_label)
    return _log_sum((pick_class(alpha, last, 1), on_label))


def _ctc_calls() -> Iterator[Call]:
    rng = np.random.default_rng(4)
    scores = rng.normal(size=(6, 3, 4))
    logs = scores - np.log(np.exp(scores).sum(2, keepdims=True))
    labels = np.array([[1, 2, 2], [3, 1, -9], [2, 0, 0]])
    steps, counts = np.array([6, 5, 4]), np.array([3, 2, 1])
    for reduction in ("mean", "sum", "none"):
        yield Call((logs, labels, steps, counts), {"reduction": reduction})
    packed = np.array([1, 2, 2, 3, 1, 2])
    yield Call((logs, packed, steps, counts))
    yield Call((logs, packed, (6, 5, 4), (3, 2, 1)))
    yield Call((logs, np.where(labels == 3, 0, labels), steps, counts), {"blank": 3})
    yield Call((logs[:, 0], labels[0], np.array(6), np.array(3)))
    yield Call((logs, labels, steps, np.array([3, 0, 1])), {"reduction": "none"})
    short = np.array([3, 5, 4])  # too short for the repeated label
    yield Call((logs, labels, short, counts), {"reduction": "none"}, grad=False)
    yield Call((logs, labels, short, counts), {"zero_infinity": True})
    yield Call((logs, labels, steps, counts, 4), error=(RuntimeError, "must be in label range"))
    wrong = (RuntimeError, "input_lengths must be of size batch_size")
    yield Call((logs, labels, steps[:2], counts), error=wrong)
    wrong = (RuntimeError, "Expected input_lengths to have value at most 6, but got 7")
    yield Call((logs, labels, (7, 5, 4), (3, 2, 1)), error=wrong)
    unknown = (ValueError, "not a valid value for reduction")
    yield Call((logs, labels, steps, counts), {"reduction": "big"}, error=unknown)


class LabelError(ValueRangeError, RuntimeError):
    """A class outside the range of classes (PyTorch raises RuntimeError)."""


@composite("nn.functional.ctc_loss", out=False, calls=_ctc_calls)
def ctc_loss(
    log_probs: Value,
    targets: Value,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Value:
    """-log of the probability of ``targets``, summed over alignments; (n), then reduced.

    Log-probabilities (t, n, c); targets (n, s), or all rows one after another; lengths (n), as
    tensors or integers. Without n throughout, the result is a number. "mean" divides each loss by
    its number of labels. Infinite losses, of targets too long to spell, are 0 with
    ``zero_infinity``. As in PyTorch the gradient is that of scores before `log_softmax`. Graves
    et al., "Connectionist temporal classification" (ICML 2006).
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueRangeError(f"{reduction} is not a valid value for reduction")
    if log_probs.ndim not in (2, 3):
        raise ShapeError(f"ctc_loss: expected log_probs of 2 or 3 dimensions, got {log_probs.ndim}")
    need_floating("ctc_loss", log_probs)
    if targets.dtype.category != "int":
        targets = cast(targets, int64)
    single = log_probs.ndim == 2
    if single:
        log_probs = to_shape(log_probs, (log_probs.shape[0], 1, log_probs.shape[1]))
        targets = to_shape(targets, (1, targets.type.numel))
    t, n, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise LabelError(f"blank must be in label range: got {blank} of {classes} classes")
    steps = _lengths("input_lengths", input_lengths, n, t)
    most = targets.shape[1] if targets.ndim == 2 else None
    counts = _lengths("target_lengths", target_lengths, n, most)
    labels = cast(targets, int64)
    if labels.ndim == 1:
        labels = _padded_targets(labels, target_lengths, counts)
    # What stands behind a row's labels is never read in PyTorch, so it may be any number.
    inside = ops.lt(ops.iota(shape=labels.shape, dim=1, dtype=int64), _column(counts, labels.shape))
    labels = ops.where(inside, labels, constant(blank, int64, labels.shape))
    losses = -_log_likelihood(log_probs, labels, steps, counts, blank)
    surplus = _probability_mass(log_probs, steps)
    losses = losses + (surplus - ops.stop_gradient(surplus))
    if zero_infinity:
        zero = constant(0, losses.dtype, losses.shape)
        losses = ops.where(cast(public.isinf(losses), bool_), zero, losses)
    if reduction == "mean":
        losses = losses / cast(ops.maximum(counts, constant(1, int64, (n,))), losses.dtype)
    return to_shape(losses, ()) if single else reduced_loss(losses, reduction)


def _probability_mass(log_probs: Value, steps: Value) -> Value:
    """The sum of the probabilities of each example's steps: its gradient is what PyTorch adds,
    so that no `log_softmax` before is needed to undo."""
    t, n, classes = log_probs.shape
    live = ops.lt(
        ops.iota(shape=(t, n, classes), dim=0, dtype=int64),
        broadcast_to(to_shape(steps, (1, n, 1)), (t, n, classes)),
    )
    mass = ops.where(live, ops.exp(log_probs), constant(0, log_probs.dtype, log_probs.shape))
    return ops.reduce_sum(mass, dims=(0, 2))  # type: ignore[no-any-return]


__all__ = ["ctc_loss"]
