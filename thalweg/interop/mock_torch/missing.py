"""What stands for a torch name that thalweg lacks: it can be imported, but not used.

A stand-in is a class, so that sources may import it, take its attributes, subclass it, annotate
with it, decorate with it and ask `isinstance` (nothing is one). Calling it, making an instance of
a subclass, computing with it or asking for its truth raises `MissingName` with its full name; only
while a module is imported, a call, as of a decorator with arguments, is put off, and none is true.
"""

from __future__ import annotations

import abc
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn


class MissingName(NotImplementedError):
    """A torch name that is not there in thalweg was used; ``name`` is its full name."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(f"{name} is not there in thalweg" + (f"; {hint}" if hint else ""))
        self.name = name


# Full names that user code asked for and did not get, with the modules that asked first.
ASKED: dict[str, str] = {}


class _Meta(abc.ABCMeta):
    """Class of the stand-ins; derives from ABCMeta so that they mix with abstract classes."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        own = cls.__dict__.get("_missing")
        if own is not None and len(args) == 1 and not kwargs and _is_definition(args[0]):
            return _decorated(cls, args[0])
        if own is not None and _while_importing():
            return stand_in(f"{own}(...)")
        fail(cls)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or "_missing" not in cls.__dict__:
            raise AttributeError(f"{cls.__module__}.{cls.__qualname__} has no attribute {name!r}")
        return stand_in(f"{cls._missing}.{name}")

    def __instancecheck__(cls, instance: Any) -> bool:
        return False if "_missing" in cls.__dict__ else super().__instancecheck__(instance)

    def __getitem__(cls, item: Any) -> Any:
        return cls  # as in Missing[int]

    def __repr__(cls) -> str:
        own = cls.__dict__.get("_missing")
        return f"<missing {own}>" if own else super().__repr__()

    def __bool__(cls) -> bool:
        if "_missing" not in cls.__dict__:
            return True
        if not _while_importing():
            fail(cls)
        return False

    def __iter__(cls) -> Iterator[Any]:
        fail(cls)


def _while_importing() -> bool:
    """Whether this is called, however deep, by the body of a module that is being imported."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        body = not frame.f_code.co_flags & inspect.CO_OPTIMIZED  # of a module or class
        module = sys.modules.get(frame.f_globals.get("__name__", ""))
        # Code that `exec` runs is a body too, but belongs to no module that is being made.
        if body and getattr(getattr(module, "__spec__", None), "_initializing", False):
            return True
        frame = frame.f_back
    return False


def _refuse(method: str) -> None:
    def refuse(cls: Any, *args: Any) -> Any:
        fail(cls)

    setattr(_Meta, method, refuse)


for _method in ("lt", "le", "gt", "ge", "add", "radd", "sub", "rsub", "mul", "rmul", "truediv",
                "rtruediv", "matmul", "rmatmul", "neg", "len", "int", "float", "index", "enter",
                "exit", "contains", "setitem"):  # fmt: skip
    _refuse(f"__{_method}__")


def fail(stand_in: Any) -> NoReturn:
    """Raise `MissingName` for a stand-in or a subclass of one."""
    for kind in stand_in.__mro__:
        name = kind.__dict__.get("_missing")
        if name is not None:
            hint = kind.__dict__["_hint"]()
            if kind is not stand_in:
                hint = f"{stand_in.__module__}.{stand_in.__qualname__} derives from it" + (
                    f"; {hint}" if hint else ""
                )
            raise MissingName(name, hint)
    raise MissingName(stand_in.__qualname__)


def _is_definition(value: Any) -> bool:
    return isinstance(value, (type, staticmethod, classmethod)) or (
        callable(value) and hasattr(value, "__code__")
    )


def _decorated(decorator: Any, definition: Any) -> Any:
    """What ``@missing`` makes of a definition: it stands, and fails when it is used."""
    if isinstance(definition, type):
        return definition

    @functools.wraps(definition)
    def refuse(*args: Any, **kwargs: Any) -> Any:
        fail(decorator)

    return refuse


@functools.cache
def stand_in(name: str, hint: Callable[[], str] | None = None) -> Any:
    """The stand-in for the torch name ``name``; ``hint`` gives the end of its error's message."""
    ASKED.setdefault(name, _asker())
    module, _, last = name.rpartition(".")
    namespace = {"_missing": name, "_hint": staticmethod(hint or str), "__module__": module}
    return _Meta(last, (), namespace)


def _asker() -> str:
    frame: Any = sys._getframe(2)
    own = __name__.rpartition(".")[0]
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith((own, "importlib", "functools")):
            return str(module)
        frame = frame.f_back
    return ""
