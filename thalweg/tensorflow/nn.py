"""``tf.nn``: activations and losses, symbolic."""

from __future__ import annotations

from typing import Any

from ..ops.named import public
from .symbols import Symbol, apply


def _composite(name: str) -> Any:
    return getattr(public, "nn.functional." + name)


def relu(features: Any, name: str = "") -> Symbol:
    """max(x, 0)."""
    return apply("relu", lambda v: _composite("relu")(v), features, name=name)


def softmax(logits: Any, axis: int = -1, name: str = "") -> Symbol:
    """exp(x) / sum(exp(x)) along ``axis``."""
    return apply("softmax", lambda v: public.softmax(v, axis), logits, name=name)


def log_softmax(logits: Any, axis: int = -1, name: str = "") -> Symbol:
    """log(softmax(x)) along ``axis``."""
    return apply("log_softmax", lambda v: public.log_softmax(v, axis), logits, name=name)


def softmax_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str = ""
) -> Symbol:
    """``-sum(labels * log_softmax(logits))`` along the last axis; shape of the rest."""
    return apply(
        "softmax_cross_entropy_with_logits",
        lambda y, x: public.neg(public.sum(y * public.log_softmax(x, -1), (-1,))),
        labels, logits, name=name,
    )  # fmt: skip


softmax_cross_entropy_with_logits_v2 = softmax_cross_entropy_with_logits
