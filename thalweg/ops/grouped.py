"""`grouped_mm`: one product a group of rows, for mixtures of experts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import DType, int64
from ..core.errors import ShapeError
from ..ir.node import Value
from .arithmetic import cast, constant
from .contract import Declined
from .function import function
from .link import ops
from .named import public
from .shape_functions import select, to_shape


def _within(offs: Value, group: int, count: int) -> Value:
    """Which of ``count`` positions belong to a group: from the last group's end to its own."""
    at = ops.iota(shape=(count,), dim=0, dtype=int64, start=0)
    inside = public.lt(at, cast(select(offs, 0, group), int64))
    if group:
        inside = public.logical_and(inside, public.ge(at, cast(select(offs, 0, group - 1), int64)))
    return inside  # type: ignore[no-any-return]


def _kept(value: Value, inside: Value, dim: int) -> Value:
    shape = tuple(n if d == dim else 1 for d, n in enumerate(value.shape))
    return public.where(to_shape(inside, shape), value, constant(0, value.dtype, ()))  # type: ignore[no-any-return]


@function(
    "nn.functional.grouped_mm", out=False, aliases=("_grouped_mm",),
    calls=Declined("PyTorch's CPU form asks for aligned strides; tested in tests/ops"),
)  # fmt: skip
def grouped_mm(
    mat_a: Value, mat_b: Value, *, offs: Value | None = None, bias: Value | None = None,
    out_dtype: DType | None = None,
) -> Value:  # fmt: skip
    """Products of groups. (g, m, k) x (g, k, n): one each. With ``offs`` (g,), the ends of the
    groups: rows of (m, k) with their matrix of (g, k, n); columns of (k, n) with their matrix of
    (g, m, k); or parts of k of (m, k) x (k, n), which gives (g, m, n)."""
    if bias is not None:
        raise ShapeError("grouped_mm: bias is not supported, as in PyTorch")
    if mat_a.ndim == mat_b.ndim == 3:
        made = public.bmm(mat_a, mat_b)
    elif offs is None:
        raise ShapeError("grouped_mm: offs is expected where an operand is 2-dimensional")
    else:
        groups = range(offs.shape[0])
        if mat_a.ndim == 2 and mat_b.ndim == 3:
            rows = mat_a.shape[0]
            made = _total(
                [
                    _kept(public.mm(mat_a, select(mat_b, 0, g)), _within(offs, g, rows), 0)
                    for g in groups
                ]
            )
        elif mat_a.ndim == 3:
            columns = mat_b.shape[1]
            made = _total(
                [
                    _kept(public.mm(select(mat_a, 0, g), mat_b), _within(offs, g, columns), 1)
                    for g in groups
                ]
            )
        else:
            inner = mat_a.shape[1]
            made = public.stack(
                [public.mm(_kept(mat_a, _within(offs, g, inner), 1), mat_b) for g in groups]
            )
    return made if out_dtype is None else cast(made, out_dtype)


def _total(parts: list[Value]) -> Value:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def examples() -> Iterator[Any]:
    """Operands of each form, for tests."""
    rng = np.random.default_rng(3)
    ends = np.array([2, 2, 5], np.int32)
    yield rng.normal(size=(3, 2, 4)), rng.normal(size=(3, 4, 5)), None
    yield rng.normal(size=(5, 4)), rng.normal(size=(3, 4, 5)), ends
    yield rng.normal(size=(3, 2, 4)), rng.normal(size=(4, 5)), ends
    yield rng.normal(size=(2, 5)), rng.normal(size=(5, 3)), ends
