"""Object code into this process: the one runtime module that touches llvmlite."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from typing import Any

_lock = threading.Lock()
_jit: Any = None
_names = itertools.count()


class Library:
    """Loaded object code; it stays loaded as long as this object lives."""

    __slots__ = ("_tracker", "addresses")

    def __init__(self, tracker: Any, symbols: Iterable[str]) -> None:
        self._tracker = tracker
        self.addresses: dict[str, int] = {name: tracker[name] for name in symbols}


def load(code: bytes, symbols: Iterable[str]) -> Library:
    """Link object code and look up ``symbols``; they may call into libc and libm.

    RuntimeError if a symbol is missing or cannot be resolved.
    """
    global _jit
    import llvmlite.binding as llvm

    symbols = list(symbols)
    with _lock:
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
