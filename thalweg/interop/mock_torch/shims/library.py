"""`torch.library`: operators that Python code defines, as the plain functions they are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


class CustomOp:
    """An operator defined in Python: called, it runs its function."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._name, self._function = name, function
        self.__doc__ = function.__doc__
        self.__name__ = name.rpartition(":")[2]
        OPERATORS[name] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def _registered(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """A decorator: implementations for tracing and other devices are not needed."""
        return lambda function: function

    def register_fake(self, fn: Any) -> Any:
        """How shapes are inferred: here by the function itself."""
        return fn

    register_kernel = register_vmap = register_torch_dispatch = _registered

    def register_autograd(self, backward: Any, *, setup_context: Any = None) -> None:
        """The gradient that PyTorch cannot derive, since the function is opaque to it; here it is
        derived from what the function does."""


OPERATORS: dict[str, Any] = {}


def custom_op(name: str, fn: Any = None, /, *, mutates_args: Any = (), device_types: Any = None,
              schema: str | None = None, tags: Any = None) -> Any:  # fmt: skip
    """An operator with the body ``fn``, or a decorator that makes one."""
    return (lambda f: CustomOp(name, f)) if fn is None else CustomOp(name, fn)


triton_op = custom_op


def _register(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Accept an implementation that thalweg does not need; a decorator if none is given."""
    if args and callable(args[-1]):
        return args[-1]
    return lambda function: function


register_fake = impl_abstract = register_kernel = register_vmap = _register
register_torch_dispatch = _register


def register_autograd(op: Any, backward: Any, /, **options: Any) -> None:
    """See `CustomOp.register_autograd`."""


def define(qualname: str, schema: str | None = None, *, lib: Any = None, tags: Any = ()) -> Any:
    """Declare an operator; a decorator if no schema is given."""
    return None if schema is not None else (lambda function: function)


def impl(qualname: str, types: Any = None, func: Any = None, *, lib: Any = None) -> Any:
    """Implement a declared operator."""
    if func is None:
        return lambda function: impl(qualname, types, function)
    OPERATORS.setdefault(qualname, func)
    return None


def wrap_triton(kernel: Any, /) -> Any:
    """The kernel, which fails where it is launched: there is no GPU."""
    return kernel


def get_ctx() -> Any:
    """What an implementation for tracing may ask; there is no tracing."""
    raise RuntimeError("library.get_ctx: called outside of an implementation for tracing")


class Library:
    """Operators of one namespace."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        self.ns, self.kind = ns, kind

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Declare an operator; its name."""
        return schema.partition("(")[0]

    def impl(self, op_name: Any, fn: Any, dispatch_key: str = "", **kwargs: Any) -> None:
        """Implement a declared operator."""
        OPERATORS.setdefault(f"{self.ns}::{op_name}", fn)

    def fallback(self, fn: Any, dispatch_key: str = "", **kwargs: Any) -> None:
        """What takes over all operators of PyTorch's dispatcher, which is not here."""


@contextlib.contextmanager
def _scoped_library(*args: Any, **kwargs: Any) -> Iterator[Library]:
    yield Library(*args, **kwargs)
