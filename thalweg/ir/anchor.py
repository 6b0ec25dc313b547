"""A call of a kernel template as plain data: what lowering hands to code generation.

A template computes an *anchor* (a matrix product, a convolution, attention) and passes every
element of its result through an epilogue before storing it, so that what follows the anchor costs
no memory traffic of its own. Operands are seen through strides, so views of them cost no copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.dtypes import DType
from .loops import Buffer, Stmt
from .types import Shape


@dataclass(frozen=True, slots=True)
class Operand:
    """Element i of the anchor's operand is element ``offset + sum(i * strides)`` of parameter
    ``buffer`` (a position in `AnchorCall.params`); a stride of 0 repeats."""

    buffer: int
    offset: int
    shape: Shape
    strides: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Epilogue:
    """Statements of the loop IR (`Let`, `Store`) run once for every element of the result.

    ``index`` names one int64 variable per dimension of the result, ``value`` the variable that
    holds the anchor's element, in the dtype in which the anchor is computed (float32 for halves).
    The statements load from and store to the call's parameters by name. They treat elements
    independently, so a template may run them on vectors of elements along the last dimension.
    """

    index: tuple[str, ...]
    value: str
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class AnchorCall:
    """``params`` are all buffers of the kernel: operands, then results (modes 'in' and 'out'), in
    the order of the native kernel's arguments. ``shape`` and ``dtype`` are those of the anchor's
    own result; templates may ask for some dimensions to be merged (a convolution's result is
    seen as [batch, channels, positions]). ``kept`` are operands that many calls in a row find
    unchanged: what a launch packs of them (`Launch.packs`) serves all those calls. ``lasting``
    are operands of which that is likely from run to run, though not certain."""

    template: str
    attrs: tuple[tuple[str, Any], ...]
    operands: tuple[Operand, ...]
    shape: Shape
    dtype: DType
    params: tuple[Buffer, ...]
    epilogue: Epilogue
    kept: tuple[int, ...] = ()
    lasting: tuple[int, ...] = ()
