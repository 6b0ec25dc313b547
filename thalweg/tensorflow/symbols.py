"""Symbolic tensors: what a define-and-run program builds before anything has a value."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core.device import Device, require_available
from ..core.dtypes import (
    DType,
    bool_,
    complex64,
    complex128,
    default_dtype,
    float16,
    float32,
    float64,
    from_numpy,
    int32,
    int64,
    uint8,
)
from ..core.errors import DeviceError, ThalwegError, located
from ..ir.node import Value
from ..ops.arithmetic import constant as constant_value
from ..ops.link import ops
from ..passes.autodiff import gradients as value_gradients

bool = bool_
Array = np.ndarray[Any, Any]


class FeedError(ThalwegError, ValueError):
    """A placeholder that was not fed, or a feed that does not fit it."""


class Scope:
    """Names in use, variables, and the device of the symbols being made."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.variables: list[Variable] = []
        self.device = "/cpu:0"
        self.count = itertools.count()

    def unique(self, name: str) -> str:
        """``name``, with a number if it was used before."""
        seen = self.names.get(name, 0)
        self.names[name] = seen + 1
        return f"{name}_{seen}" if seen else name


_scope = [Scope()]


def scope() -> Scope:
    return _scope[-1]


def reset_default_graph() -> None:
    """Forget all names and variables."""
    _scope[-1] = Scope()


class Symbol:
    """A value to come. ``build(environment)`` makes its graph value from those of its operands.

    ``dtype`` is known; ``shape`` is None until values are fed. Symbols have Python's operators.
    """

    def __init__(
        self,
        operation: str,
        operands: Sequence[Symbol],
        build: Callable[..., Value],
        dtype: DType,
        name: str = "",
    ) -> None:
        here = scope()
        self.operation = operation
        self.operands = tuple(operands)
        self.build = build
        self.dtype = dtype
        self.device = here.device
        self.name = here.unique(name or operation) + ":0"
        self.order = next(here.count)

    def __repr__(self) -> str:
        return f"<thalweg.tensorflow.Symbol '{self.name}' dtype={self.dtype.name}>"

    def eval(self, feed_dict: dict[Any, Any] | None = None, session: Any = None) -> Array:
        """The value in ``session`` (default: the one entered last)."""
        from .session import get_default_session

        session = session or get_default_session()
        if session is None:
            raise located(
                ValueError(
                    "Cannot evaluate tensor using `eval()`: No default session is registered. Use "
                    "`with sess.as_default()` or pass an explicit session to `eval(session=sess)`"
                )
            )
        return session.run(self, feed_dict)  # type: ignore[no-any-return]

    def __bool__(self) -> Any:
        raise located(
            TypeError(
                "Using a symbolic tensor as a Python `bool` is not allowed: it has no value before "
                "Session.run. Use tf.cond or tf.where."
            )
        )

    def __iter__(self) -> Any:
        raise located(TypeError("Symbolic tensors are not iterable before they are run"))

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise located(
            TypeError(f"Cannot convert the symbolic tensor {self.name} to an array: run it first")
        )

    __array_priority__ = 100


def apply(
    operation: str,
    function: Callable[..., Value],
    *operands: Any,
    dtype: DType | None = None,
    name: str = "",
    **attributes: Any,
) -> Symbol:
    """A symbol for ``function(values of operands, **attributes)``. Numbers and arrays among the
    operands take the dtype of the symbols; symbols of different dtypes do not mix."""
    given = [o for o in operands if isinstance(o, Symbol)]
    kinds = {o.dtype for o in given}
    if len(kinds) > 1:
        shown = ", ".join(f"{o.name} is {o.dtype.name}" for o in given)
        raise located(TypeError(f"Input of '{operation}' Op has dtypes that do not match: {shown}"))
    like = next(iter(kinds), None)
    symbols = [convert_to_tensor(o, like) for o in operands]
    return Symbol(
        operation,
        symbols,
        lambda *values: function(*values, **attributes),
        dtype or symbols[0].dtype,
        name,
    )


def placeholder(dtype: DType, shape: Any = None, name: str | None = None) -> Symbol:
    """A value that `Session.run` must be fed, of any shape if ``shape`` is None."""
    if not isinstance(dtype, DType):
        raise located(TypeError(f"placeholder expects a dtype, got {dtype!r}"))
    made = Symbol("Placeholder", (), _not_fed, dtype, name or "Placeholder")
    made.shape = None if shape is None else tuple(shape)  # type: ignore[attr-defined]
    return made


def _not_fed() -> Value:
    raise FeedError("a placeholder was not fed")


def constant(value: Any, dtype: DType | None = None, shape: Any = None, name: str = "") -> Symbol:
    """A fixed value: Python floats become float32, ints int32, as in TensorFlow."""
    array = np.asarray(value)
    if dtype is None:
        if isinstance(value, np.ndarray):
            dtype = from_numpy(value.dtype)
        else:
            dtype = {"f": default_dtype(), "i": int32, "b": bool_, "c": complex128}[
                array.dtype.kind
            ]
    array = array.astype(dtype.np)
    if shape is not None:
        array = np.broadcast_to(array, shape) if array.size == 1 else array.reshape(shape)
    made = Symbol("Const", (), _not_fed, dtype, name or "Const")
    made.array = array  # type: ignore[attr-defined]
    if array.size and (array == array.flat[0]).all():
        first, extent = array.flat[0].item(), array.shape
        made.build = lambda: ops.full(shape=extent, value=first, dtype=dtype)
        del made.array  # type: ignore[attr-defined]
    return made


def convert_to_tensor(value: Any, dtype: DType | None = None) -> Symbol:
    """``value`` as a symbol: itself, or a constant (of ``dtype`` if given)."""
    if isinstance(value, Symbol):
        return value
    try:
        return constant(value, dtype)
    except (KeyError, TypeError, ValueError):
        raise located(
            TypeError(f"expected a symbolic tensor, number or array, got {type(value).__name__}")
        ) from None


class Variable(Symbol):
    """State that lives in a `Session` between runs. ``initial_value`` may be a symbol."""

    def __init__(
        self, initial_value: Any, trainable: Any = True, name: str = "Variable",
        dtype: DType | None = None,
    ) -> None:  # fmt: skip
        initial = convert_to_tensor(initial_value, dtype)
        super().__init__("Variable", (), _not_fed, initial.dtype, name)
        self.initial_value = initial
        self.trainable = trainable
        self.initializer = assign(self, initial)
        scope().variables.append(self)

    def assign(self, value: Any) -> Symbol:
        """An operation that stores ``value`` when it is run."""
        return assign(self, value)

    def assign_add(self, delta: Any) -> Symbol:
        return assign(self, self + delta)

    def assign_sub(self, delta: Any) -> Symbol:
        return assign(self, self - delta)


class Assign(Symbol):
    """Stores its operand in a variable when it is fetched, and returns it."""

    def __init__(self, variable: Variable, value: Symbol) -> None:
        super().__init__("Assign", (value,), lambda v: v, variable.dtype)
        self.variable = variable


class Group(Symbol):
    """Runs its operands; its own value is None."""

    def __init__(self, operands: Sequence[Symbol]) -> None:
        super().__init__("group_deps", tuple(operands), lambda *values: values[0], float32)


def assign(variable: Variable, value: Any) -> Symbol:
    """An operation that stores ``value`` in ``variable``."""
    return Assign(variable, convert_to_tensor(value, variable.dtype))


def group(*operations: Symbol, name: str = "") -> Symbol:
    """One operation that runs all of ``operations``."""
    return Group(operations)


def global_variables_initializer() -> Symbol:
    """An operation that gives every variable its initial value."""
    return Group([v.initializer for v in scope().variables])


@contextlib.contextmanager
def device(name: str | None) -> Iterator[None]:
    """Place the symbols made inside, as ``tf.device('/gpu:0')``. Where that device does not exist
    they run on the CPU (TensorFlow's soft placement), with a warning."""
    here = scope()
    before = here.device
    here.device = name or "/cpu:0"
    short = here.device.rpartition("/")[2].removeprefix("device:").lower().replace("gpu", "cuda")
    try:
        require_available(Device(short))
    except DeviceError:
        warnings.warn(f"device {name!r} is not available: using '/cpu:0'", stacklevel=3)
    try:
        yield
    finally:
        here.device = before


class Gradient(Symbol):
    """d sum(ys) / d xs[index]; built for all xs at once by the session."""

    def __init__(
        self, ys: tuple[Symbol, ...], xs: tuple[Symbol, ...], cotangents: tuple[Symbol, ...],
        index: int,
    ) -> None:  # fmt: skip
        super().__init__("gradients", (*ys, *xs, *cotangents), _not_fed, xs[index].dtype)
        self.ys, self.xs, self.cotangents, self.index = ys, xs, cotangents, index


def gradients(ys: Any, xs: Any, grad_ys: Any = None, name: str = "") -> list[Symbol | None]:
    """Symbols for the derivatives of ``sum(ys)`` with respect to each of ``xs``; None for an x on
    which no y depends. ``grad_ys`` weights the ys (default: ones)."""
    outputs = tuple(ys) if isinstance(ys, (list, tuple)) else (ys,)
    inputs = tuple(xs) if isinstance(xs, (list, tuple)) else (xs,)
    for value in (*outputs, *inputs):
        if not isinstance(value, Symbol):
            raise located(
                TypeError(f"gradients expects symbolic tensors, got {type(value).__name__}")
            )
    weights: tuple[Symbol, ...] = ()
    if grad_ys is not None:
        given = grad_ys if isinstance(grad_ys, (list, tuple)) else [grad_ys]
        weights = tuple(convert_to_tensor(g, y.dtype) for g, y in zip(given, outputs))
    reached = _ancestors(outputs)
    return [
        Gradient(outputs, inputs, weights, i) if x in reached else None
        for i, x in enumerate(inputs)
    ]


def _ancestors(symbols: Sequence[Symbol]) -> set[Symbol]:
    found: set[Symbol] = set()
    stack = list(symbols)
    while stack:
        symbol = stack.pop()
        if symbol not in found:
            found.add(symbol)
            stack.extend(symbol.operands)
    return found


def build_gradients(
    ys: Sequence[Value], xs: Sequence[Value], cotangents: Sequence[Value]
) -> list[Value]:
    """Gradient values of all xs; zeros where no differentiable path exists."""
    seeds = list(cotangents) or [constant_value(1, y.dtype, y.shape) for y in ys]
    found = value_gradients(ys, seeds, list(dict.fromkeys(xs)), through=set(xs))
    by_value = dict(zip(dict.fromkeys(xs), found))
    results = []
    for x in xs:
        grad = by_value[x]
        zero = ops.full(shape=x.shape, value=0, dtype=x.dtype)
        results.append(zero if grad is None else grad)
    return results


__all__ = ["complex64", "complex128", "float16", "float64", "int32", "int64", "uint8"]
