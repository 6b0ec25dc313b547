"""A linear layer and the cross entropy of its results, in one call."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..ir.node import Value
from .function import Call, function
from .link import ops
from .named import public
from .pointwise import expect_tensor


def _calls() -> Iterator[Call]:
    rng = np.random.default_rng(5)
    x, w, b = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)), rng.normal(size=5)
    target = np.array([0, 4, 2, -100])
    yield Call((x, w, target))
    yield Call((x, w, target), {"linear_bias": b, "reduction": "sum"})
    yield Call((x, w, np.array([1, 2, 3, 4])), {"ignore_index": 2, "label_smoothing": 0.1})
    yield Call((x, w, rng.uniform(size=(4, 5))), {"linear_bias": b})
    yield Call((x, w[:, :2], target), error=(RuntimeError, "in_features"))


@function("nn.functional.linear_cross_entropy", out=False, calls=_calls)
def linear_cross_entropy(
    input: Value,
    linear_weight: Value,
    target: Value,
    *,
    linear_bias: Value | None = None,
    weight: Value | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Value:
    """``cross_entropy(linear(input, linear_weight, linear_bias), target, ...)``.

    (n, in) or (in), weight (c, d..., in): the scores are (n, c, d...). ``options`` choose among
    PyTorch's ways of computing it in pieces and have no counterpart.
    """
    op = "linear_cross_entropy"
    x = expect_tensor(op, input, "input")
    w = expect_tensor(op, linear_weight, "linear_weight", 2)
    if w.ndim < 2 or not x.ndim or x.shape[-1] != w.shape[-1]:
        raise ShapeError(
            f"{op}: expected in_features of the input and of the weight to agree, got "
            f"{list(x.shape)} and {list(w.shape)}"
        )
    features = w.shape[:-1]
    if len(features) > 1 and x.ndim < 2:
        raise ShapeError(
            f"{op}: K-dimensional loss defined by linear_weight shape {list(w.shape)} requires "
            f"batched input, got unbatched input of shape {list(x.shape)}"
        )
    if x.ndim > 1 and target.ndim and target.shape[0] != x.shape[0]:
        raise ShapeError(
            f"{op}: Expected input batch_size ({x.shape[0]}) to match target batch_size "
            f"({target.shape[0]})."
        )
    flat = ops.reshape(w, shape=(math.prod(features), w.shape[-1]))
    bias = None if linear_bias is None else public.reshape(linear_bias, (flat.shape[0],))
    scores = getattr(public, "nn.functional.linear")(x, flat, bias)
    scores = ops.reshape(scores, shape=(*x.shape[:-1], *features))
    entropy = getattr(public, "nn.functional.cross_entropy")
    return entropy(  # type: ignore[no-any-return]
        scores, target, weight, reduction=reduction, label_smoothing=label_smoothing,
        ignore_index=-100 if ignore_index is None else ignore_index,
    )  # fmt: skip
