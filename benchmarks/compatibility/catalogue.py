"""The table of models: how each is built and called. Filled by the modules in `models`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Case:
    """A model that was built, and how to train it.

    ``inputs`` and ``keywords`` go to ``call`` (default: the model); NumPy arrays among them become
    tensors. ``loss`` makes a scalar of what ``call`` returns (default: a weighted sum of all
    floating point tensors in it). ``train`` is the mode of the model. ``steps`` of ``optimizer``
    follow ("SGD" or "AdamW").
    """

    model: Any
    inputs: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    call: Callable[..., Any] | None = None
    loss: Callable[[Any], Any] | None = None
    train: bool = True
    optimizer: str = "SGD"
    steps: int = 3


@dataclass(frozen=True)
class Entry:
    """One line of the table. ``needs`` are packages that must be installed, or
    ``github:owner/repository`` for a checkout."""

    name: str
    kind: str
    needs: tuple[str, ...]
    build: Callable[[], Case]


ENTRIES: dict[str, Entry] = {}


def entry(name: str, kind: str, *needs: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Register a function that builds a `Case`; it imports what it needs itself."""

    def register(build: Callable[[], Case]) -> Callable[[], Case]:
        if name in ENTRIES:
            raise ValueError(f"two models are called {name!r}")
        ENTRIES[name] = Entry(name, kind, needs, build)
        return build

    return register


def load() -> dict[str, Entry]:
    """The whole table."""
    from . import models

    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"{models.__name__}.{module.name}")
    return ENTRIES


# ---- inputs


def normal(*shape: int, seed: int = 1) -> Any:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def uniform(*shape: int, seed: int = 1) -> Any:
    """float32 numbers in [0, 1)."""
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def integers(high: int, *shape: int, seed: int = 1) -> Any:
    """int64 numbers in 0..high-1."""
    return np.random.default_rng(seed).integers(0, high, shape)
