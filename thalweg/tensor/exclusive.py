"""Recording from several threads.

Every thread walks its own trace, but a handle has one slot at a time: a tensor that two threads
use is bound now to one trace, now to the other. So as soon as a second thread records, every
recorded call holds one lock from binding its operands to using their slots. A program with one
recording thread never takes it, and one that is left with one thread stops doing so.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..core import flags

_F = TypeVar("_F", bound=Callable[..., Any])


class NoTrace:
    """Stands where there is no trace that fast paths may record into; no tensor is in it."""


def _nothing() -> None:
    pass


class Shared:
    """``active`` while more than one living thread has recorded something. ``trace`` is the trace
    that fast paths record into without further checks: that of the one thread that records.
    ``resume`` is called by each thread that has taken the lock, before it goes on. ``settings`` is
    another object whenever a flag was changed: what was made under other flags is told by it.
    ``repair`` is called when a call was interrupted from the keyboard."""

    __slots__ = ("_threads", "active", "lock", "repair", "resume", "settings", "trace")

    def __init__(self) -> None:
        self.active = False
        self.trace: Any = NoTrace()
        self.lock: Any = threading.RLock()
        self.settings = object()
        self.resume: Callable[[], object] = _nothing
        self.repair: Callable[[], object] = _nothing
        self._threads: list[threading.Thread] = []

    def enter(self) -> None:
        """Note that one more thread records."""
        with self.lock:
            self._threads = [t for t in self._threads if t.is_alive()]
            self._threads.append(threading.current_thread())
            if len(self._threads) > 1:
                self.active = True
                self.trace = NoTrace()

    def settle(self) -> None:
        """Look whether other threads that recorded are still alive."""
        if self.active:
            with self.lock:
                self._threads = [t for t in self._threads if t.is_alive()]
                self.active = self._threads != [threading.current_thread()]

    def must_lock(self) -> bool:
        """Whether the calling thread does not hold the lock already."""
        return not self.lock._is_owned()

    def after_fork(self) -> None:
        """The child has one thread, and whoever held the lock is not in it."""
        self.active = False
        self.trace = NoTrace()
        self.lock = threading.RLock()
        self._threads = [threading.current_thread()]

    def resettle(self) -> None:
        """Note that a flag was changed."""
        self.settings = object()


shared = Shared()
flags.changed.append(shared.resettle)


def exclusive(function: _F) -> _F:
    """Decorator: hold the lock while several threads record; a call that is interrupted leaves
    the trace as it was before."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            if not shared.active:
                return function(*args, **kwargs)
            first = shared.must_lock()
            with shared.lock:
                if first:
                    shared.resume()
                return function(*args, **kwargs)
        except KeyboardInterrupt:
            shared.repair()
            raise

    return cast(_F, guarded)
