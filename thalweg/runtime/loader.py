"""Object code into this process: the one runtime module that touches llvmlite.

Whoever works with LLVM holds `lock`. A fork waits for it, since a child could not go on with what
another thread of its parent had begun.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import os
import threading
import weakref
from collections.abc import Iterable
from typing import Any

lock = threading.RLock()
os.register_at_fork(
    before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
)  # fmt: skip
_jit: Any = None
_names = itertools.count()


class Library:
    """Loaded object code; it stays loaded as long as this object lives, and at exit for good."""

    __slots__ = ("__weakref__", "_tracker", "addresses")

    def __init__(self, tracker: Any, symbols: Iterable[str]) -> None:
        self._tracker = tracker
        _libraries.add(self)
        self.addresses: dict[str, int] = {name: tracker[name] for name in symbols}


_libraries: weakref.WeakSet[Library] = weakref.WeakSet()


def _keep() -> None:
    """Leave machine code where it is when the interpreter is taken down: daemon threads may still
    run it then."""
    for kept in (_jit, *(library._tracker for library in _libraries)):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


atexit.register(_keep)


def load(code: bytes, symbols: Iterable[str]) -> Library:
    """Link object code and look up ``symbols``; they may call into libc and libm.

    RuntimeError if a symbol is missing or cannot be resolved.
    """
    global _jit
    import llvmlite.binding as llvm

    symbols = list(symbols)
    with lock:
        if _jit is None:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            machine = llvm.Target.from_default_triple().create_target_machine()
            _jit = llvm.create_lljit_compiler(machine, suppress_errors=True)
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
        for name in symbols:
            builder = builder.export_symbol(name)
        tracker = builder.link(_jit, f"thalweg{next(_names)}")
        return Library(tracker, symbols)
