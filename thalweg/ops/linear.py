"""Layers that are one or two contractions: linear, bilinear, and pairwise distances."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core.errors import ShapeError
from ..ir.node import Value
from .function import Call, composite
from .link import ops
from .matmul import LETTERS, blend, cannot_multiply, contract
from .named import public


def _linear_calls() -> Iterator[Call]:
    rng = np.random.default_rng(9)
    w, b = rng.normal(size=(5, 4)), rng.normal(size=(5,))
    for shape in [(3, 4), (4,), (2, 3, 4), (0, 4), (2, 1, 3, 4)]:
        yield Call((rng.normal(size=shape), w, b))
    yield Call((rng.normal(size=(2, 4)), w))
    yield Call((rng.normal(size=(2, 4)), rng.normal(size=4)))
    yield Call((np.ones((2, 3)), w, b), error=(RuntimeError, "cannot be multiplied (2x3 and 4x5)"))
    yield Call((np.ones((2, 4), np.float32), w, b), error=(RuntimeError, "same dtype"))


@composite("nn.functional.linear", calls=_linear_calls)
def linear(input: Value, weight: Value, bias: Value | None = None) -> Value:
    """``input @ weight.T + bias``: (..., in), (out, in), (out) -> (..., out).

    A 1-D weight stands for one output feature, whose dimension is dropped.
    """
    out = "n" if weight.ndim == 2 else ""
    if input.ndim == 0 or weight.ndim not in (1, 2):
        raise ShapeError(
            f"linear: expected an input of at least 1-D and a weight of 1-D or 2-D, got shapes "
            f"{list(input.shape)} and {list(weight.shape)}"
        )
    if input.shape[-1] != weight.shape[-1]:
        rows = int(np.prod(input.shape[:-1]))
        raise cannot_multiply((rows, input.shape[-1]), weight.shape[::-1])
    batch = LETTERS[: input.ndim - 1]
    result = contract(input, weight, f"{batch}k,{out}k->{batch}{out}")
    return result if bias is None else blend("linear", bias, result, 1, 1)


def _bilinear_calls() -> Iterator[Call]:
    rng = np.random.default_rng(9)
    w, b = rng.normal(size=(5, 3, 4)), rng.normal(size=(5,))
    yield Call((rng.normal(size=(2, 3)), rng.normal(size=(2, 4)), w, b))
    yield Call((rng.normal(size=(2, 6, 3)), rng.normal(size=(2, 6, 4)), w))
    yield Call((np.ones((2, 3)), np.ones((3, 4)), w), error=(RuntimeError, "do not match"))


@composite("nn.functional.bilinear", calls=_bilinear_calls)
def bilinear(input1: Value, input2: Value, weight: Value, bias: Value | None = None) -> Value:
    """``x1[i] W[o, i, j] x2[j] + bias[o]`` over all i and j.

    (..., in1), (..., in2), (out, in1, in2), (out) -> (..., out).
    """
    if input1.shape[:-1] != input2.shape[:-1]:
        raise ShapeError(
            f"bilinear(): input batch dimensions do not match: got {list(input1.shape)} and "
            f"{list(input2.shape)}"
        )
    if (input1.shape[-1], input2.shape[-1]) != weight.shape[1:]:
        raise ShapeError(
            f"bilinear(): input sizes {input1.shape[-1]} and {input2.shape[-1]} do not match a "
            f"weight of shape {list(weight.shape)}"
        )
    batch = LETTERS[: input1.ndim - 1]
    partial = contract(input1, weight, f"{batch}k,nkm->{batch}nm")
    result = contract(partial, input2, f"{batch}nm,{batch}m->{batch}n")
    return result if bias is None else blend("bilinear", bias, result, 1, 1)


def _cdist_calls() -> Iterator[Call]:
    rng = np.random.default_rng(9)
    for p in (2.0, 1.0, 3.0, float("inf")):
        yield Call((rng.normal(size=(4, 3)), rng.normal(size=(5, 3))), {"p": p})
    yield Call((rng.normal(size=(2, 4, 3)), rng.normal(size=(1, 5, 3))))
    yield Call((np.ones((4, 3)), np.ones((4, 2))), error=(RuntimeError, "same number of columns"))


@composite("cdist", calls=_cdist_calls)
def cdist(x1: Value, x2: Value, p: float = 2.0, compute_mode: str | None = None) -> Value:
    """Distances in the p-norm between all pairs of rows: (..., m, d), (..., n, d) -> (..., m, n).

    Always computed from the differences, which is exact where the expansion into products
    (``compute_mode`` of PyTorch) cancels.
    """
    if x1.ndim < 2 or x2.ndim < 2:
        raise ShapeError(f"cdist only supports at least 2D tensors, got {x1.ndim}D and {x2.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}"
        )
    rows = ops.reshape(x1, shape=(*x1.shape[:-1], 1, x1.shape[-1]))
    cols = ops.reshape(x2, shape=(*x2.shape[:-2], 1, *x2.shape[-2:]))
    return getattr(public, "linalg.vector_norm")(rows - cols, p, -1)  # type: ignore[no-any-return]
