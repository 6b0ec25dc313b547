"""Methods and operators of `ndarray`, attached from the functions of the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import located
from ..tensor import Tensor
from ..tensor.attach import RECORDED
from . import host, manipulation, products, reductions, searching
from .array import NUMBERS, ndarray, wrap
from .ufuncs import UFUNCS, check_same_kind

_BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide",
    "floordiv": "floor_divide", "mod": "remainder", "pow": "power", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}  # fmt: skip
_COMPARE = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal",
}  # fmt: skip
_UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}

_OPERANDS = (*NUMBERS, ndarray, np.ndarray, np.generic, Tensor, list, tuple)


def _binary(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: ndarray, other: Any) -> Any:
        return function(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    return method


def _swapped(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: ndarray, other: Any) -> Any:
        return function(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    return method


def _inplace(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: ndarray, other: Any) -> Any:
        if self._scalar or not isinstance(other, _OPERANDS):
            return NotImplemented  # scalars are immutable: the name gets a new one
        made = function(self, other)
        try:
            check_same_kind(made.dtype, self)
            if made.shape != self.shape:
                raise ValueError(
                    f"non-broadcastable output operand with shape {self.shape} doesn't match the "
                    f"broadcast shape {made.shape}"
                )
        except Exception as error:
            raise located(error) from None
        self[...] = made
        return self

    return method


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self: function(self)


def _divmod(self: ndarray, other: Any) -> Any:
    return UFUNCS["floor_divide"](self, other), UFUNCS["remainder"](self, other)


def _rdivmod(self: ndarray, other: Any) -> Any:
    return UFUNCS["floor_divide"](other, self), UFUNCS["remainder"](other, self)


def _reshape(self: ndarray, *shape: Any, order: str = "C", copy: Any = None) -> ndarray:
    given = shape[0] if len(shape) == 1 else shape
    return manipulation.reshape(self, given, order, copy=copy)


def _transpose(self: ndarray, *axes: Any) -> ndarray:
    given = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
    return manipulation.transpose(self, given)


def _flatten(self: ndarray, order: str = "C") -> ndarray:
    return manipulation.ravel(self, order).copy()


def _sort(self: ndarray, axis: int = -1, kind: Any = None, order: Any = None) -> None:
    self[...] = searching.sort(self, axis)


def _fill(self: ndarray, value: Any) -> None:
    self[...] = value


def _compress(self: ndarray, condition: Any, axis: Any = None, out: Any = None) -> Any:
    return host.__dict__["compress"](condition, self, axis, out)


def _view(self: ndarray) -> ndarray:
    return wrap(self._tensor)


def _clip(self: ndarray, min: Any = None, max: Any = None, out: Any = None) -> ndarray:
    return searching.clip(self, min, max, out)


def _set_part(name: str) -> Callable[..., None]:
    def store(self: ndarray, value: Any) -> None:
        if self.dtype.kind == "c":
            parts = [self.real, self.imag]
            parts[name == "imag"][...] = value
            self[...] = wrap(RECORDED["complex"](*(p._tensor for p in parts)))
        elif name == "real":
            self[...] = value
        else:
            raise located(TypeError("array does not have imaginary part to set"))

    return store


_FROM = {
    reductions: ("all", "any", "argmax", "argmin", "cumprod", "cumsum", "max", "mean", "min",
                 "prod", "std", "sum", "var"),
    manipulation: ("ravel", "repeat", "squeeze", "swapaxes"),
    products: ("diagonal", "dot", "trace"),
    searching: ("argsort", "put", "round", "searchsorted", "take"),
    host: ("nonzero",),
}  # fmt: skip


def install() -> None:
    """Attach everything to `ndarray`."""
    for module, names in _FROM.items():
        for name in names:
            setattr(ndarray, name, getattr(module, name))
    for name, target in _BINARY.items():
        function = UFUNCS[target]
        setattr(ndarray, f"__{name}__", _binary(function))
        setattr(ndarray, f"__r{name}__", _swapped(function))
        setattr(ndarray, f"__i{name}__", _inplace(function))
    for name, target in _COMPARE.items():
        setattr(ndarray, f"__{name}__", _binary(UFUNCS[target]))
    for name, target in _UNARY.items():
        setattr(ndarray, f"__{name}__", _unary(UFUNCS[target]))
    settings: dict[str, Any] = {
        "__matmul__": _binary(products.matmul), "__rmatmul__": _swapped(products.matmul),
        "__imatmul__": _inplace(products.matmul), "__divmod__": _divmod, "__rdivmod__": _rdivmod,
        "reshape": _reshape, "transpose": _transpose, "flatten": _flatten, "sort": _sort,
        "fill": _fill, "compress": _compress, "view": _view, "clip": _clip,
        "conj": _unary(UFUNCS["conjugate"]), "conjugate": _unary(UFUNCS["conjugate"]),
        "T": property(manipulation.transpose), "mT": property(manipulation.matrix_transpose),
        "flat": property(manipulation.ravel),
        "real": property(searching.real, _set_part("real")),
        "imag": property(searching.imag, _set_part("imag")),
    }  # fmt: skip
    for name, value in settings.items():
        setattr(ndarray, name, value)


install()
