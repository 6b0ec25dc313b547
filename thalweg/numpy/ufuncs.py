"""Elementwise functions: NumPy's names and its result dtypes over the framework's ops.

Every function here is a `ufunc` that asks NumPy's own ufunc of that name which dtypes it would
compute in (so Python numbers are weak, ints become float64 in `sqrt`, ...), casts its operands to
them, and records the op.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.dtypes import DType
from ..core.errors import located
from ..tensor import Tensor
from ..tensor.attach import RECORDED
from .array import NUMBERS, asarray, computed, dtype_of, ndarray, wrap

UFUNCS: dict[str, ufunc] = {}


def as_operand(value: Any) -> Any:
    """An argument as a Python number or an `ndarray`."""
    return value if value.__class__ in NUMBERS or isinstance(value, ndarray) else asarray(value)


def number(value: Any, dtype: DType) -> Tensor:
    """A Python number as a recorded constant."""
    return RECORDED["full"]((), value, dtype=dtype)  # type: ignore[no-any-return]


class ufunc:
    """An elementwise function with broadcasting.

    ``f(*operands, out=None, where=True, dtype=None)``; binary ones have ``outer``, and those that
    are a reduction ``reduce`` and ``accumulate``. Raises ValueError for shapes that do not
    broadcast and TypeError for dtypes without a loop.
    """

    def __init__(
        self, name: str, compute: Callable[..., Tensor], plain: Any, numbers: bool
    ) -> None:
        self.__name__ = self.__qualname__ = name
        self.__doc__ = plain.__doc__.split("\n\n")[1].strip() if plain.__doc__ else ""
        self.nin = plain.nin
        self.nout = 1
        self.identity = plain.identity
        self._compute = compute
        self._plain = plain
        self._numbers = numbers  # whether the op takes Python numbers
        self._loops: dict[Any, tuple[tuple[DType, ...], DType]] = {}

    def __repr__(self) -> str:
        return f"<ufunc '{self.__name__}'>"

    def __call__(
        self, *args: Any, out: Any = None, where: Any = True, dtype: Any = None,
        casting: str = "same_kind", order: str = "K", subok: bool = True,
    ) -> Any:  # fmt: skip
        try:
            return self._run(args, out, where, dtype)
        except Exception as error:
            raise located(error) from None

    def _run(self, args: Any, out: Any, where: Any, dtype: Any) -> Any:
        if len(args) == self.nin + 1 and out is None:
            *args, out = args
        if len(args) != self.nin:
            raise TypeError(
                f"{self.__name__}() takes from {self.nin} to {self.nin + 1} positional arguments "
                f"but {len(args)} were given"
            )
        operands = [as_operand(a) for a in args]
        if dtype is not None:
            operands = [wrap(_tensor(o), dtype_of(dtype)) for o in operands]
        elif not any(isinstance(o, ndarray) for o in operands):
            operands = [asarray(o) for o in operands]
        kinds, result = self._loop(operands)
        if self.nin == 2:
            _check_shapes(*operands)
        given = [self._argument(o, kind, self._numbers) for o, kind in zip(operands, kinds)]
        made = computed(self._compute(*given), result)
        if out is None and where is True:
            return made
        return _store(made, out[0] if isinstance(out, tuple) else out, where)

    def _argument(self, value: Any, kind: DType, numbers: bool) -> Any:
        if isinstance(value, ndarray):
            tensor = value._tensor
            return tensor if tensor._meta.dtype is kind else RECORDED["to_dtype"](tensor, kind)
        if kind.category == "int" and not isinstance(value, bool):
            np.asarray(value, dtype=kind.np)  # OverflowError for integers that do not fit
        return value if numbers else number(value, kind)

    def _loop(self, operands: list[Any]) -> tuple[tuple[DType, ...], DType]:
        key = tuple(
            o._tensor._meta.dtype if isinstance(o, ndarray) else o.__class__ for o in operands
        )
        found = self._loops.get(key)
        if found is None:
            named = [
                np.dtype(k.np) if isinstance(k, DType) else np.dtype(bool) if k is bool else k
                for k in key
            ]
            loop = self._plain.resolve_dtypes((*named, *(None,) * self._plain.nout))
            kinds = tuple(dtype_of(d) for d in loop[: self.nin])
            found = self._loops[key] = kinds, dtype_of(loop[self.nin])
        return found

    def outer(self, a: Any, b: Any, **kwargs: Any) -> Any:
        """The function of all pairs of elements of ``a`` and ``b``."""
        first, second = asarray(a), asarray(b)
        if self.nin != 2:
            raise located(ValueError("outer product only supported for binary functions"))
        return self(first[(..., *(None,) * second.ndim)], second, **kwargs)

    def reduce(
        self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None,
        keepdims: bool = False,
    ) -> Any:  # fmt: skip
        """The function applied along ``axis``. TypeError where it is not a reduction here."""
        from . import reductions

        name = _REDUCTIONS.get(self.__name__)
        if name is None:
            raise located(TypeError(f"reduction is not available for ufunc '{self.__name__}'"))
        options = {} if dtype is None else {"dtype": dtype}
        return getattr(reductions, name)(array, axis, out=out, keepdims=keepdims, **options)

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        """The running results along ``axis``. TypeError where it is not available."""
        from . import reductions

        name = _ACCUMULATIONS.get(self.__name__)
        if name is None:
            raise located(TypeError(f"accumulate is not available for ufunc '{self.__name__}'"))
        return getattr(reductions, name)(array, axis, dtype=dtype, out=out)


_REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min",
               "logical_and": "all", "logical_or": "any"}  # fmt: skip
_ACCUMULATIONS = {"add": "cumsum", "multiply": "cumprod", "maximum": "running_maximum",
                  "minimum": "running_minimum"}  # fmt: skip


def _tensor(value: Any) -> Tensor:
    return asarray(value)._tensor


def _check_shapes(first: Any, second: Any) -> None:
    if isinstance(first, ndarray) and isinstance(second, ndarray):
        one, two = first._tensor._meta.shape, second._tensor._meta.shape
        if one != two and one and two:
            try:
                np.broadcast_shapes(one, two)
            except ValueError:
                shown = " ".join(str(tuple(s)).replace(" ", "") for s in (one, two))
                raise ValueError(
                    f"operands could not be broadcast together with shapes {shown}"
                ) from None


def _store(made: ndarray, out: Any, where: Any) -> Any:
    """Write a result into ``out`` (where a mask says so)."""
    if out is None:
        return made  # without ``out``, elements outside the mask are undefined
    check_same_kind(made.dtype, out)
    if where is not True:
        made = computed(RECORDED["where"](_tensor(where), made._tensor, _cast(out, made)))
    out[...] = made
    return out


def _cast(array: ndarray, like: ndarray) -> Tensor:
    return array.astype(like.dtype, copy=False)._tensor


def check_same_kind(dtype: Any, out: Any) -> None:
    """TypeError unless results of ``dtype`` may be written to ``out``."""
    if not isinstance(out, ndarray):
        raise TypeError(f"return arrays must be of ArrayType, got {type(out).__name__}")
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(
            f"Cannot cast ufunc output from {dtype!r} to {out.dtype!r} with casting rule "
            "'same_kind'"
        )


# ---- the functions

_SAME = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "sin", "cos", "tan", "sinh",
    "cosh", "tanh", "floor", "ceil", "trunc", "reciprocal", "square", "isnan", "isinf", "isfinite",
    "signbit", "fmax", "fmin", "logaddexp", "logaddexp2", "maximum", "minimum", "copysign",
    "hypot", "heaviside", "gcd", "lcm", "logical_and", "logical_or", "logical_xor", "logical_not",
    "deg2rad", "rad2deg", "nextafter", "fmod", "float_power",
)  # fmt: skip
_RENAMED = {
    "negative": "neg", "positive": "positive", "arcsin": "asin", "arccos": "acos",
    "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "arctan2": "atan2", "invert": "bitwise_not", "conjugate": "conj", "absolute": "abs",
    "fabs": "abs", "degrees": "rad2deg", "radians": "deg2rad",
}  # fmt: skip
# By operator, which takes a Python number on either side.
_WITH_NUMBERS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "floor_divide": operator.floordiv, "remainder": operator.mod,
    "bitwise_and": operator.and_, "bitwise_or": operator.or_, "bitwise_xor": operator.xor,
    "left_shift": operator.lshift, "right_shift": operator.rshift, "equal": operator.eq,
    "not_equal": operator.ne, "less": operator.lt, "less_equal": operator.le,
    "greater": operator.gt, "greater_equal": operator.ge,
}  # fmt: skip


def _power(base: Any, exponent: Any) -> Tensor:
    kind = (base if isinstance(base, Tensor) else exponent).dtype
    if kind.category == "int" and not isinstance(exponent, Tensor) and exponent < 0:
        raise ValueError("Integers to negative integer powers are not allowed.")
    return base**exponent  # type: ignore[no-any-return]


def _rint(x: Tensor) -> Tensor:
    return RECORDED["round"](x)  # type: ignore[no-any-return]


def _sign(x: Tensor) -> Tensor:
    """NumPy's sign of NaN is NaN, that of a complex number its direction."""
    if x.dtype.category == "float":
        return RECORDED["where"](RECORDED["isnan"](x), x, RECORDED["sign"](x))  # type: ignore[no-any-return]
    return RECORDED["sgn" if x.dtype.is_complex else "sign"](x)  # type: ignore[no-any-return]


def _cbrt(x: Tensor) -> Tensor:
    root = RECORDED["pow"](RECORDED["abs"](x), 1.0 / 3.0)
    # One Newton step takes the exponent's rounding away; zeros and infinities stay as they are.
    better = root - (root * root * root - RECORDED["abs"](x)) / (3.0 * root * root)
    finite = RECORDED["isfinite"](better)
    return RECORDED["copysign"](RECORDED["where"](finite, better, root), x)  # type: ignore[no-any-return]


def _ldexp(x: Tensor, exponent: Tensor) -> Tensor:
    return x * RECORDED["exp2"](exponent.to(x.dtype))  # type: ignore[no-any-return]


def _register() -> None:
    def add(name: str, compute: Any, numbers: bool = False) -> None:
        UFUNCS[name] = ufunc(name, compute, getattr(np, name), numbers)

    for name in _SAME:
        add(name, RECORDED[name])
    for name, target in _RENAMED.items():
        add(name, RECORDED[target])
    for name, compute in _WITH_NUMBERS.items():
        add(name, compute, numbers=True)
    add("power", _power, numbers=True)
    add("rint", _rint)
    add("sign", _sign)
    add("cbrt", _cbrt)
    add("ldexp", _ldexp)


_register()
globals().update(UFUNCS)

ALIASES = {
    "abs": "absolute", "mod": "remainder", "true_divide": "divide", "conj": "conjugate",
    "bitwise_not": "invert", "bitwise_invert": "invert", "bitwise_left_shift": "left_shift",
    "bitwise_right_shift": "right_shift", "pow": "power", "acos": "arccos", "asin": "arcsin",
    "atan": "arctan", "acosh": "arccosh", "asinh": "arcsinh", "atanh": "arctanh",
    "atan2": "arctan2",
}  # fmt: skip
for _alias, _name in ALIASES.items():
    globals()[_alias] = UFUNCS[_name]


def divmod(x1: Any, x2: Any) -> tuple[Any, Any]:
    """``(x1 // x2, x1 % x2)``."""
    return UFUNCS["floor_divide"](x1, x2), UFUNCS["remainder"](x1, x2)


def modf(x: Any) -> tuple[Any, Any]:
    """Fractional and integral parts, both with the sign of ``x``."""
    given = asarray(x)
    given = given.astype(np.modf.resolve_dtypes((given.dtype, None, None))[0], copy=False)
    whole = UFUNCS["trunc"](given)
    rest = RECORDED["where"](
        RECORDED["isinf"](given._tensor), RECORDED["zeros_like"](given._tensor),
        (given - whole)._tensor,
    )  # fmt: skip
    return UFUNCS["copysign"](computed(rest), given), whole


__all__ = [*UFUNCS, *ALIASES, "divmod", "modf", "ufunc"]
