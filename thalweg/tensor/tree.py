"""Nested tuples, lists and dictionaries of tensors, taken apart and put together again.

A *structure* is hashable and compares equal for trees of equal shape; whatever is no container is
a leaf, None included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import ValueRangeError


@dataclass(frozen=True)
class Structure:
    """``kind`` is the container's class (None: a leaf), ``keys`` those of a dictionary."""

    kind: type | None
    keys: tuple[Any, ...] = ()
    children: tuple[Structure, ...] = ()

    def __repr__(self) -> str:
        if self.kind is None:
            return "*"
        if self.keys:
            parts = [f"{k!r}: {c!r}" for k, c in zip(self.keys, self.children)]
        else:
            parts = [repr(c) for c in self.children]
        return f"{self.kind.__name__}({', '.join(parts)})"


LEAF = Structure(None)


def _parts(tree: Any) -> tuple[tuple[Any, ...], list[Any]] | None:
    """Keys and children of a container; None for a leaf. (A tensor's size is a leaf.)"""
    if isinstance(tree, dict):
        return tuple(tree), list(tree.values())
    if isinstance(tree, list) or (
        isinstance(tree, tuple) and (type(tree) is tuple or hasattr(tree, "_fields"))
    ):
        return (), list(tree)
    return None


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves in order, and the structure around them."""
    parts = _parts(tree)
    if parts is None:
        return [tree], LEAF
    leaves: list[Any] = []
    children = []
    for child in parts[1]:
        below, structure = flatten(child)
        leaves += below
        children.append(structure)
    return leaves, Structure(type(tree), parts[0], tuple(children))


def unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """The tree with these leaves."""
    return _build(structure, iter(leaves))


def _build(structure: Structure, leaves: Iterator[Any]) -> Any:
    kind = structure.kind
    if kind is None:
        return next(leaves)
    children = [_build(c, leaves) for c in structure.children]
    if issubclass(kind, dict):
        made: Any = kind()
        made.update(zip(structure.keys, children))
        return made
    if hasattr(kind, "_fields"):
        return kind(*children)
    return kind(children)


def map_leaves(function: Callable[..., Any], tree: Any) -> Any:
    leaves, structure = flatten(tree)
    return unflatten(structure, [function(leaf) for leaf in leaves])


def spread(prefix: Any, tree: Any, what: str) -> list[Any]:
    """One entry of ``prefix`` for each leaf of ``tree``: a leaf of the prefix serves all that
    stands in its place. ValueError, naming ``what``, if the prefix has another structure."""
    parts = _parts(prefix)
    if parts is None:
        return [prefix] * len(flatten(tree)[0])
    below = _parts(tree)
    if below is None or below[0] != parts[0] or len(below[1]) != len(parts[1]):
        raise ValueRangeError(
            f"{what}: expected a structure that fits {flatten(tree)[1]!r}, got {prefix!r}"
        )
    return [e for p, t in zip(parts[1], below[1]) for e in spread(p, t, what)]


__all__ = ["LEAF", "Structure", "flatten", "map_leaves", "spread", "unflatten"]
