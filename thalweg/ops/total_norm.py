"""The norm of many tensors together, as one function: what gradient clipping records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..core.errors import ShapeError
from ..ir.node import Value
from .arithmetic import cast
from .function import Call, function
from .named import public
from .nn_shared import widened


def _calls() -> Iterator[Call]:
    rng = np.random.default_rng(2)
    tensors = [rng.normal(size=(3, 4)), rng.normal(size=5), rng.normal(size=())]
    for order in (2.0, 1.0, 3.0, 0.0, math.inf, -math.inf):
        yield Call((tensors, order), grad=order != 0)
    yield Call(([x.astype(np.float16) for x in tensors],), grad=False)
    yield Call(([np.arange(3)],), error=(RuntimeError, "floating point"))
    yield Call(([],), error=(RuntimeError, "at least one"))


_calls.no_twin = "PyTorch has it in Python only, as nn.utils.get_total_norm"  # type: ignore[attr-defined]


@function("total_norm", public=False, out=False, calls=_calls)
def total_norm(tensors: Sequence[Value], norm_type: float = 2.0) -> Value:
    """The vector norm of the norms of ``tensors``, as a 0-d tensor; halves in float32.

    RuntimeError for no tensors or dtypes that are not floating-point.
    """
    if not tensors:
        raise ShapeError("total_norm: expected at least one tensor, got none")
    norm = getattr(public, "linalg.vector_norm")
    norms = [cast(norm(widened(x), norm_type), x.dtype) for x in tensors]
    whole = public.stack(norms)
    return cast(norm(widened(whole), norm_type), whole.dtype)


__all__ = ["total_norm"]
