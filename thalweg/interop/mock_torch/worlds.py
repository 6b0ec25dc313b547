"""Two worlds of imported modules: those that hold PyTorch's torch, and those that hold thalweg's.

A package that imports torch keeps what it got: it belongs to the world it was imported in. Going
from one world to the other takes the modules of the one out of `sys.modules` and puts those of
the other back, so that neither is disturbed and ``import package`` gives the one that fits.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

# Packages that stay where they are whatever they have seen of torch: they serve both worlds.
SHARED = frozenset(sys.stdlib_module_names) | {
    "thalweg", "numpy", "scipy", "ml_dtypes", "threadpoolctl", "llvmlite", "pytest", "_pytest",
    "hypothesis", "pluggy", "sklearn", "matplotlib", "PIL",
}  # fmt: skip


def is_torch(name: str) -> bool:
    """Whether a module is torch or a part of it."""
    return name == "torch" or name.startswith("torch.")


def bound(modules: dict[str, ModuleType]) -> set[str]:
    """Names of the modules that are torch or, directly or through others, hold something of it."""
    names = {name for name in modules if is_torch(name)}
    if not names:
        return set()
    holders: dict[str, set[str]] = {}  # of each module, the modules that hold something of it
    for name, module in modules.items():
        if is_torch(name) or name.partition(".")[0] in SHARED or not isinstance(module, ModuleType):
            continue
        for source in _sources(module):
            holders.setdefault(source, set()).add(name)
    pending = ["torch"]
    pending += [name for name in names if name in holders]
    pending += [source for source in holders if is_torch(source)]
    found: set[str] = set()
    while pending:
        for holder in holders.get(pending.pop(), ()):
            if holder not in found:
                found.add(holder)
                pending.append(holder)
    return names | found


def _sources(module: ModuleType) -> set[str]:
    """Names of the modules that a module's values are or come from."""
    found = {value.__name__ if isinstance(value, ModuleType) else _module_of(value)
             for value in list(vars(module).values())}  # fmt: skip
    # What thalweg gives under torch's names says that it comes from thalweg.
    found = {"torch" if name.partition(".")[0] == "thalweg" else name for name in found}
    return found - {"", module.__name__}


def _module_of(value: Any) -> str:
    try:
        name = value.__module__ if hasattr(type(value), "__module__") else ""
    except Exception:
        return ""  # lazy objects that fail when they are looked at
    return name if isinstance(name, str) else ""


class World:
    """The modules of one torch, kept while the other one is in force."""

    def __init__(self) -> None:
        self.kept: dict[str, ModuleType] = {}

    def leave(self) -> None:
        """Take this world's modules out of `sys.modules`."""
        for name in bound(dict(sys.modules)):
            self.kept[name] = sys.modules.pop(name)

    def enter(self) -> None:
        """Put them back."""
        sys.modules.update(self.kept)
        self.kept.clear()
