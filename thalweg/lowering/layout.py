"""The loops of a kernel: how the dimensions of its domain become loop variables and loops.

A dimension is one variable, or several factors where an index map needs it cut (`Indices.splits`).
Neighbouring variables that all accesses treat as one (`index.mergeable`) share a loop. Cuts make
a loop into several over parts of its range.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..ir.types import Shape
from .index import ZERO, Affine, Indices, Merged, constant, mergeable, variable

MOST_PIECES = 16


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop: the variables it stands for, outermost first, and where its range is cut."""

    name: str
    variables: tuple[str, ...]
    extents: tuple[int, ...]
    cuts: tuple[int, ...] = ()

    @property
    def extent(self) -> int:
        return math.prod(self.extents)

    @property
    def pieces(self) -> list[tuple[int, int]]:
        edges = [0, *self.cuts, self.extent]
        return list(itertools.pairwise(edges))


@dataclass(frozen=True, slots=True)
class Layout:
    """``factors[d]`` are the extents into which dimension d is cut; ``cuts`` belong to
    variables; ``groups`` of variables share a loop (variables not named stand alone)."""

    factors: tuple[tuple[int, ...], ...]
    cuts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()

    @staticmethod
    def of(domain: Shape) -> Layout:
        return Layout(tuple((n,) for n in domain))

    def name(self, dim: int, factor: int) -> str:
        return f"i{dim}" if len(self.factors[dim]) == 1 else f"i{dim}_{factor}"

    def variables(self, dims: Iterable[int]) -> list[tuple[str, int]]:
        """Names and extents of the loop variables of dimensions; extents of 1 need none."""
        return [
            (self.name(d, f), n)
            for d in sorted(dims)
            for f, n in enumerate(self.factors[d])
            if n != 1
        ]

    def position(self, dim: int) -> Affine:
        """The index along a dimension."""
        found = ZERO
        for factor, extent in enumerate(self.factors[dim]):
            found = found.times(extent)
            if extent != 1:
                found = found.plus(variable(self.name(dim, factor)))
        return found

    def loops(self, dims: Iterable[int]) -> list[Loop]:
        """The loops over dimensions, outermost first."""
        sizes = dict(self.variables(dims))
        cuts = dict(self.cuts)
        made: list[Loop] = []
        grouped = {name: group for group in self.groups for name in group}
        for name in sizes:
            group = grouped.get(name, (name,))
            if group[0] == name:
                whole = name if len(group) == 1 else "".join((group[0], group[-1]))
                made.append(Loop(whole, group, tuple(sizes[n] for n in group), cuts.get(name, ())))
        return made

    def merged_names(self, loops: Iterable[Loop]) -> list[Merged]:
        return [Merged(p.name, p.variables, p.extents) for p in loops if len(p.variables) > 1]

    # What an attempt to build the kernel found out

    def refined(self, indices: Indices, fixed: frozenset[str]) -> Layout | None:
        """The layout with splits and cuts that were asked for, or None if there are none left.
        Variables in ``fixed`` are not cut."""
        if indices.splits:
            return self._split(indices.splits)
        known = dict(self.cuts)
        pieces = math.prod(len(c) + 1 for c in known.values())
        for name, edges in sorted(indices.cuts.items()):
            all_edges = {*known.get(name, ()), *edges}
            grown = pieces // (len(known.get(name, ())) + 1) * (len(all_edges) + 1)
            new = name not in fixed and len(all_edges) > len(known.get(name, ()))
            if new and grown <= MOST_PIECES:
                known[name] = tuple(sorted(all_edges))
                pieces = grown
        cuts = tuple(sorted(known.items()))
        return None if cuts == self.cuts else replace(self, cuts=cuts)

    def _split(self, splits: dict[str, int]) -> Layout:
        factors = []
        for dim, extents in enumerate(self.factors):
            new: list[int] = []
            for factor, extent in enumerate(extents):
                divisor = splits.get(self.name(dim, factor))
                new.extend((extent // divisor, divisor) if divisor else (extent,))
            factors.append(tuple(new))
        return Layout(tuple(factors))  # cuts are asked for again, of the new variables

    def merged(self, runs: Sequence[Sequence[tuple[str, int]]], uses: list[Affine]) -> Layout:
        """The layout with loops merged where all ``uses`` allow. ``runs`` are lists of variables
        whose loops stand directly inside one another."""
        cut = {name for name, _ in self.cuts}
        groups: list[tuple[str, ...]] = []
        for run in runs:
            current: list[str] = []
            for name, extent in run:
                joins = current and name not in cut and current[-1] not in cut
                if joins and mergeable(uses, current[-1], name, extent):
                    current.append(name)
                else:
                    groups.append(tuple(current))
                    current = [name]
            groups.append(tuple(current))
        return replace(self, groups=tuple(g for g in groups if len(g) > 1))


def unravel(indices: Indices, flat: Affine, shape: Shape) -> list[Affine]:
    """The index into ``shape`` of a row-major position."""
    found: list[Affine] = []
    for extent in reversed(shape):
        if extent == 1:
            found.append(constant(0))
            continue
        found.append(indices.remainder(flat, extent) if extent else ZERO)
        flat = indices.quotient(flat, extent) if extent else ZERO
    return found[::-1]


__all__ = ["Layout", "Loop", "unravel"]
