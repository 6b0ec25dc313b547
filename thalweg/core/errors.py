"""Errors that are PyTorch's by type, and that name the line of user code which caused them.

Recording is lazy, so a traceback alone would often end far from the mistake. Every error raised
while a user's statement is being recorded passes through `located`, which appends that statement.
"""

from __future__ import annotations

import contextlib
import functools
import linecache
import os
import sys
import threading
from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)

# Code of the package, and standard-library frames that stand between it and the user when a mode
# such as `no_grad` is a context manager or a decorator. Generated code is named "<thalweg ...>".
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_NOT_USER = (_PACKAGE, "<thalweg", contextlib.__file__, functools.__file__)

_MARK = "_thalweg_location"


class ThalwegError(Exception):
    """Base of all errors the package defines; each also derives from what PyTorch raises."""


class ShapeError(ThalwegError, RuntimeError):
    """Shapes that do not fit each other or the operation."""


class DTypeError(ThalwegError, RuntimeError):
    """Element types that an operation does not take, or that do not combine."""


class DeviceError(ThalwegError, RuntimeError):
    """An unknown or unavailable device, or operands on different devices."""


class AutogradError(ThalwegError, RuntimeError):
    """A gradient that cannot be computed: no graph, freed graph, changed values, leaf rules."""


class AliasError(ThalwegError, RuntimeError):
    """A view or in-place operation that the sharing of storage forbids."""


class GraphError(ThalwegError, RuntimeError):
    """A malformed graph: the verifier's complaint."""


class DimError(ThalwegError, IndexError):
    """A dimension number outside the rank of its tensor."""


class OutOfMemoryError(ThalwegError, MemoryError, RuntimeError):
    """Memory that the system does not have."""


class IndexOutOfRange(ThalwegError, IndexError):
    """An element index outside the size of its dimension."""


class ArgumentError(ThalwegError, TypeError):
    """An argument of the wrong Python type, a missing one, or one too many."""


class ValueRangeError(ThalwegError, ValueError):
    """An argument of the right type whose value is not allowed."""


class _Statement(threading.local):
    """The statement being recorded, where it is known: see `placed`."""

    location: tuple[str, int] | None = None


_statement = _Statement()


class placed:
    """Inside ``with placed():`` everything comes from the user's statement that is running now:
    it is looked up once, not for every node of a graph."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _statement.location
        _statement.location = None
        _statement.location = user_location()

    def __exit__(self, *error: object) -> None:
        _statement.location = self._before


def user_location() -> tuple[str, int] | None:
    """File and line of the innermost frame outside the package, or None if there is none."""
    known = _statement.location
    if known is not None:
        return known
    frame = sys._getframe(1)
    while True:
        if not frame.f_code.co_filename.startswith(_NOT_USER):
            return frame.f_code.co_filename, frame.f_lineno
        caller = frame.f_back
        if caller is None:
            return None
        frame = caller


def located(exc: _Error, location: tuple[str, int] | None = None) -> _Error:
    """Append `at FILE:LINE: source` to the message of `exc`, once, and return the same object.

    `location` is where the statement stands; None means the caller's, from `user_location`. A
    second call changes nothing, so the innermost (most precise) location is the one that stays.
    """
    if hasattr(exc, _MARK):
        return exc
    where = location if location is not None else user_location()
    if where is None:
        return exc
    file, line = where
    source = linecache.getline(file, line).strip()
    suffix = f"  at {file}:{line}: {source}" if source else f"  at {file}:{line}"
    before = exc.args
    if before and isinstance(before[0], str):
        exc.args = (f"{before[0]}\n{suffix}", *before[1:])
    # Some exceptions print something else than their first argument (KeyError, OSError).
    if f"\n{suffix}" not in str(exc):
        exc.args = before
        exc.add_note(suffix)
    setattr(exc, _MARK, where)
    return exc


def error_location(exc: BaseException) -> tuple[str, int] | None:
    """The location that `located` gave to `exc`, or None."""
    where: tuple[str, int] | None = getattr(exc, _MARK, None)
    return where
