"""`_foreach_add` and its kin: one function over lists of tensors, as optimizers write it.

Recorded as calls of their own; what is recorded between two flushes is compiled as one program, so
nothing is gained or lost by the form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import ShapeError, located
from .attach import RECORDED
from .tensor import Tensor

NAMES = """
abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min cos cosh div erf erfc exp expm1
floor frac lerp lgamma log log10 log1p log2 maximum minimum mul neg norm pow reciprocal round rsqrt
sigmoid sign sin sinh sqrt sub tan tanh trunc
"""
# Functions whose last argument, given by position here, PyTorch's single form takes by name.
_BY_NAME = {"addcdiv": "value", "addcmul": "value"}

# Functions of two tensors, and what they are of a tensor and a number.
_WITH_NUMBERS = {"maximum": "clamp_min", "minimum": "clamp_max"}


def _rows(name: str, args: tuple[Any, ...]) -> list[list[Any]]:
    """The arguments of each call: elements of the lists, and what is no list every time."""
    lengths = {len(a) for a in args if isinstance(a, (list, tuple))}
    if len(lengths) != 1:
        raise located(
            ShapeError(f"{name}: Tensor lists must have the same number of tensors, got {lengths}")
        )
    (count,) = lengths
    return [[a[i] if isinstance(a, (list, tuple)) else a for a in args] for i in range(count)]


def _single(op: str, row: list[Any], kwargs: dict[str, Any], inplace: bool) -> Any:
    keyword = _BY_NAME.get(op)
    if keyword is not None and len(row) > 3:
        kwargs = {**kwargs, keyword: row.pop()}
    if op in _WITH_NUMBERS and not isinstance(row[1], Tensor):
        op = _WITH_NUMBERS[op]
    if not inplace:
        return RECORDED[op](*row, **kwargs)
    method = getattr(row[0], op + "_", None)
    if method is None:
        return row[0].copy_(RECORDED[op](*row, **kwargs))
    return method(*row[1:], **kwargs)


def _foreach(op: str, inplace: bool) -> Callable[..., Any]:
    name = f"_foreach_{op}{'_' if inplace else ''}"

    def call(*args: Any, **kwargs: Any) -> Any:
        found = [_single(op, row, kwargs, inplace) for row in _rows(name, args)]
        return args[0] if inplace else tuple(found)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"`{op}` of each tensor in a list{', in place' if inplace else ''}."
    return call


def _copy(self: list[Tensor], src: list[Tensor], non_blocking: bool = False) -> list[Tensor]:
    """`copy_` of each tensor of a list into its place."""
    for target, source in zip(self, src, strict=True):
        target.copy_(source)  # type: ignore[attr-defined]
    return self


def _zero(self: list[Tensor]) -> list[Tensor]:
    """`zero_` of each tensor in a list."""
    for target in self:
        target.zero_()  # type: ignore[attr-defined]
    return self


for _op in NAMES.split():
    RECORDED[f"_foreach_{_op}"] = _foreach(_op, False)
    if _op != "norm":
        RECORDED[f"_foreach_{_op}_"] = _foreach(_op, True)
RECORDED["_foreach_copy_"], RECORDED["_foreach_zero_"] = _copy, _zero
