"""Which names PyTorch has, read from `names.txt` (written by `scripts/torch_names`)."""

from __future__ import annotations

import difflib
import functools
from importlib import resources

# Sources of each release differ in details, but this is the one whose names are listed.
VERSION = "2.13.0"


@functools.cache
def names() -> dict[str, frozenset[str]]:
    """Module -> its names; those of modules end in a slash. Not all modules are listed."""
    text = resources.files(__package__).joinpath("names.txt").read_text(encoding="utf-8")
    pairs = (line.partition(": ") for line in text.splitlines())
    return {module: frozenset(found.split()) for module, _, found in pairs}


def has_name(module: str, name: str) -> bool | None:
    """Whether PyTorch's ``module`` has ``name``; None where its names are not listed."""
    found = names().get(module)
    return None if found is None else name in found or f"{name}/" in found


def hides_module(module: str, name: str) -> bool:
    """Whether ``name`` in a module is something else than the module of that name below it, as
    ``torch.nn.utils.weight_norm`` is."""
    return name in names().get(module, ())


def is_module(full_name: str) -> bool | None:
    """Whether PyTorch has a module of this name; None where that is not listed."""
    if full_name in names():
        return True
    parent, _, name = full_name.rpartition(".")
    if not parent:
        return False
    found = names().get(parent)
    if found is not None:
        return f"{name}/" in found
    above = is_module(parent)
    return None if above else above


def nearest(module: str, name: str, known: list[str]) -> list[str]:
    """Full names of what ``known``, the names that are there, offers in place of ``name``."""
    return [f"{module}.{found}" for found in difflib.get_close_matches(name, known, 3, 0.7)]
