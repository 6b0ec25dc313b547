"""Native kernels into this process: each distinct text is compiled and loaded once."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from ..runtime import threads
from ..runtime.loader import Library, load, lock
from ..runtime.native import NativeKernel
from . import pool
from .objects import objects
from .target import Target, host

# Libraries live as long as programs use them.
_loaded: weakref.WeakValueDictionary[str, Library] = weakref.WeakValueDictionary()


def load_kernels(kernels: Iterable[NativeKernel], target: Target | None = None) -> list[Library]:
    """The library of each kernel. RuntimeError if LLVM rejects a text or a symbol is missing."""
    target = target or host()
    wanted: dict[str, set[str]] = {}
    order = []
    for kernel in kernels:
        wanted.setdefault(kernel.text, set()).update(launch.symbol for launch in kernel.launches)
        order.append(kernel.text)
    with lock:
        held = {text: _loaded.get(text) for text in wanted}
        codes = objects([text for text, library in held.items() if library is None], target)
        for text, code in codes.items():
            _loaded[text] = held[text] = load(code, sorted(wanted[text]))
    found = []
    for text in order:
        library = held[text]
        assert library is not None
        found.append(library)
    return found


def running_pool() -> threads.Pool:
    """The process's thread pool, started on first use."""
    global _pool_library
    if _pool_library is None:
        threads.install(_make_pool)
    return threads.pool()


def _make_pool() -> threads.Pool:
    global _pool_library
    target = host()
    text = pool.pool_text(target)
    library = load(objects([text], target)[text], pool.SYMBOLS)
    names = {name.removeprefix("thalweg_"): at for name, at in library.addresses.items()}
    layout = threads.Layout(
        pool.POOL_BYTES, spins=pool.SPINS, join_spins=pool.JOIN_SPINS, stop=pool.STOP,
        workers=pool.WORKERS,
    )  # fmt: skip
    made = threads.Pool(names, layout)
    _pool_library = library
    return made


_pool_library: Library | None = None
