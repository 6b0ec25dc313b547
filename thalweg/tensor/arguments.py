"""Arguments of public functions: their names as PyTorch takes them, their types as annotated.

A call is checked once, when it is recorded for the first time: each argument against the annotation
of its parameter, so that a wrong one is refused by name instead of failing somewhere inside.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from operator import index
from typing import Any

import numpy as np

from ..core.dtypes import DType
from ..core.errors import ArgumentError, ValueRangeError
from ..ops.function import Function
from ..ops.parameters import Parameters
from .tensor import Tensor

Check = Callable[[Any], bool]

# Further names of arguments that PyTorch takes, NumPy's most of them.
_OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "axis": ("dim",), "axes": ("dims",), "axis0": ("dim0",), "axis1": ("dim1",),
    "keepdims": ("keepdim",), "x": ("input",), "a": ("input",), "x1": ("input",),
    "x2": ("other",), "tensor": ("input",), "b": ("B",), "other": ("B",), "input2": ("tau", "L"),
    "input3": ("other",), "split_size": ("split_size_or_sections",),
    "indices": ("indices_or_sections",), "sections": ("indices_or_sections",),
    "tensor_indices_or_sections": ("indices_or_sections",),
}  # fmt: skip
# What the first operand may be called whatever its name is.
_FIRST = ("input", "self", "A", "x", "a", "tensor")


def spelled(function: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keywords as the function's parameters are called. TypeError for one given twice."""
    known = function.parameters
    if all(name in known for name in kwargs):
        return kwargs
    first = known.names[0] if known.names else known.star
    named: dict[str, Any] = {}
    for name, value in kwargs.items():
        meant = name
        if name not in known:
            meant = next((n for n in _OTHER_NAMES.get(name, ()) if n in known), name)
            if meant not in known and name in _FIRST and function.public:
                meant = first
        if meant in named or (meant != name and meant in kwargs):
            raise ArgumentError(f"{function.name}() got multiple values for argument '{meant}'")
        named[meant] = value
    return named


def first_operand(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What was given for the function's first parameter, by position or by name."""
    if args:
        return args[0]
    return spelled(function, kwargs).get(function.parameters.names[0])


def starred(parameters: Parameters) -> tuple[str, int] | None:
    """Name and position of the parameter that takes any number of values, as ``*size``: it may be
    given by name, and 0-d integer tensors in it stand for numbers."""
    return (parameters.star, parameters.positional) if parameters.star in _OF_NUMBERS else None


# Names of such parameters where they take numbers; others take tensors.
_OF_NUMBERS = ("size", "args", "repeats")
# What they are called where they are given by name.
_SIZES = {"size", "shape", "dims", "sizes", "repeats", "args"}
# An argument that may be given in their place.
_INSTEAD = {"view": "dtype"}


# ---- types


def _is_tensor(x: Any) -> bool:
    return isinstance(x, Tensor)


def _is_int(x: Any) -> bool:
    if x.__class__ is int:
        return True
    if isinstance(x, (bool, np.bool_)):
        return False
    if isinstance(x, Tensor):
        return x.dtype.category == "int" and x.numel() == 1
    try:
        index(x)
    except TypeError:
        return False
    return True


def _is_bool(x: Any) -> bool:
    return isinstance(x, (bool, np.bool_)) or (isinstance(x, Tensor) and x.numel() == 1)


def _is_real(x: Any) -> bool:
    if isinstance(x, Tensor):
        return not x.ndim and x.dtype.category != "complex"
    return isinstance(x, (int, float, np.number, np.bool_)) and not isinstance(
        x, np.complexfloating
    )


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float, complex, np.generic)) or (
        isinstance(x, Tensor) and not x.ndim
    )


def _is_sequence(x: Any) -> bool:
    return isinstance(x, (list, tuple))


def _are_ints(x: Any) -> bool:
    return isinstance(x, (list, tuple)) and all(_is_int(v) or isinstance(v, bool) for v in x)


_INTS: tuple[Check, str] = (_are_ints, "tuple of ints")
_INT: tuple[Check, str] = (_is_int, "int")
_NONE: tuple[Check, str] = (lambda x: x is None, "None")
_TENSOR: tuple[Check, str] = (_is_tensor, "Tensor")
_NUMBER: tuple[Check, str] = (_is_number, "Number")

# What the words of an annotation take. An annotation with another word is not checked.
_WORDS: Mapping[str, tuple[tuple[Check, str], ...]] = {
    "Value": (_TENSOR,), "Array": (_TENSOR,), "Operand": (_TENSOR, _NUMBER), "None": (_NONE,),
    "int": (_INT,), "bool": ((_is_bool, "bool"),), "float": ((_is_real, "float"),),
    "Scalar": (_NUMBER,), "str": ((lambda x: isinstance(x, str), "str"),),
    "Dim": (_INT, _INTS, _NONE), "Sequence[int]": (_INTS,), "Size": (_INT, _INTS),
    "Ints": (_INTS,), "tuple[int, int]": (_INTS,), "tuple[int, ...]": (_INTS,),
    "Bias": (_TENSOR, _NONE), "DType": ((lambda x: isinstance(x, DType), "torch.dtype"),),
    "Tensors": ((_is_sequence, "tuple of Tensors"), _TENSOR),
    "Sequence[Value]": ((_is_sequence, "tuple of Tensors"), _TENSOR),
}  # fmt: skip

# In PyTorch these are Python functions: what serves as a number or as a truth value is one, and
# words are judged by what they say.
_LENIENT = ("nn.functional.", "signal.", "masked.")
_LOOSE: tuple[Check, str] = (lambda x: _is_int(x) or _is_bool(x), "int or bool")


class Parameter:
    """What is known of one parameter: its name and what it takes."""

    __slots__ = ("checks", "expected", "integral", "name")

    def __init__(self, name: str, checks: tuple[tuple[Check, str], ...]) -> None:
        self.name = name
        self.checks = tuple(check for check, _ in checks)
        self.expected = " or ".join(what for _, what in checks if what != "None")
        self.integral = any(check in (_INT, _INTS) for check in checks)

    def takes(self, value: Any) -> bool:
        return any(check(value) for check in self.checks)


_known: dict[int, dict[str, Parameter | None]] = {}


def parameters(function: Function) -> dict[str, Parameter | None]:
    """The parameters that are given one by one, in order, and what they take; None where the
    annotation does not say it."""
    found = _known.get(id(function))
    if found is None:
        lenient = function.name.startswith(_LENIENT)
        found = _known[id(function)] = {}
        body: Any = function.impl if function.composite is None else function.composite.body
        annotations = inspect.unwrap(body).__annotations__
        for name in function.parameters.names:
            words = str(annotations.get(name, "?")).split(" | ")
            found[name] = None
            if all(word in _WORDS for word in words) and not (lenient and "str" in words):
                checks = tuple(check for word in words for check in _WORDS[word])
                if lenient and {"int", "bool"} & set(words):
                    checks = (*checks, _LOOSE)
                found[name] = Parameter(name, checks)
    return found


def check_arguments(function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """TypeError for an argument that its parameter's annotation excludes; ValueError for an integer
    that no 64-bit number holds."""
    known = parameters(function)
    if (star := starred(function.parameters)) is not None:
        name, before = star
        given = {*_SIZES, _INSTEAD.get(function.name, "")} & set(kwargs)
        if len(args) == before and not given:
            raise ArgumentError(
                f"{function.name}() missing 1 required positional argument: '{name}'"
            )
    positional = function.parameters.positional
    for position, (parameter, value) in enumerate(zip(known.values(), args[:positional]), 1):
        if parameter is not None:
            which = f"argument '{parameter.name}' (position {position})"
            _check(function, parameter, value, which)
    for name, value in kwargs.items():
        parameter = known.get(name)
        if parameter is not None:
            _check(function, parameter, value, f"argument '{name}'")


def _check(function: Function, parameter: Parameter, value: Any, which: str) -> None:
    short = function.name.rpartition(".")[2]
    if not parameter.takes(value):
        raise ArgumentError(f"{short}(): {which} must be {parameter.expected}, not {_kind(value)}")
    if parameter.integral:
        several = isinstance(value, (list, tuple))
        for number in value if several else (value,):
            if isinstance(number, int) and not -(1 << 63) <= number < 1 << 63:
                kind = ArgumentError if several else ValueRangeError
                raise kind(f"{short}(): {which} overflows a 64-bit integer: {number}")


def complaint(name: str, error: Exception) -> Exception:
    """The error of a call. One that only says where Python stopped becomes a TypeError which names
    the function; the original is its cause."""
    if not isinstance(error, (AttributeError, KeyError, AssertionError, UnboundLocalError)):
        return error
    made = ArgumentError(f"{name.rpartition('.')[2]}(): does not take these arguments ({error})")
    made.__cause__ = error
    return made


def _kind(value: Any) -> str:
    name = type(value).__name__
    if isinstance(value, (list, tuple)) and value:
        return f"{name} of ({', '.join(type(v).__name__ for v in value[:4])})"
    return name
