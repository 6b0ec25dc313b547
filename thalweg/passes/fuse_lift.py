"""Values computed early, where less is then kept: members of a group move to one it reads from.

A gradient often reads several saved values only to make one of them: the slope of an activation
from its input and its result. Where such a part of a group reads nothing but what the earlier group
has at hand, it moves there, if the values that then pass between the two are fewer bytes:

    early: v, e = erf(v), y = ...          early: v, e = erf(v), y = ..., s = slope(v, e)
           keeps v, e, y            ->            keeps s, y
    late:  g * slope(v, e)                 late:  g * s
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..ir.node import INPUT, Node, Value
from .fuse_groups import ANCHOR, FULL, LOOPS, Group, Groups, Refusal, Union, unite
from .fuse_reads import Form, Reads
from .fuse_space import has_elements

Alone = Callable[[Node], Group]
Readers = dict[Value, set[int]]  # the numbers of the groups that read a value


def lift(reads: Reads, groups: Groups, order: dict[Node, int], alone: Alone) -> None:
    """Move what can be moved and pays. ``order`` numbers the nodes, ``alone`` makes the group of
    one node."""
    readers: Readers = {}
    for group in groups.all.values():
        for base in group.reads:
            readers.setdefault(base, set()).add(group.number)
    for number in sorted(groups.all):
        late = groups.all[number]
        if late.kind not in (LOOPS, ANCHOR):
            continue
        for early in groups.sources(late):
            if early.kind in (LOOPS, ANCHOR) and early.size == late.size:
                _Lift(reads, groups, order, alone, readers, early, late).run()


class _Lift:
    """What may move from group ``late`` to group ``early``."""

    def __init__(
        self, reads: Reads, groups: Groups, order: dict[Node, int], alone: Alone,
        readers: Readers, early: Group, late: Group,
    ) -> None:  # fmt: skip
        self.reads, self.groups, self.order, self.alone = reads, groups, order, alone
        self.readers, self.early, self.late = readers, early, late

    def run(self) -> None:
        moving = self._movable()
        if not moving:
            return
        cost = self._traffic(moving)
        for node in reversed(list(moving)):
            # What nothing else of the moving part reads may as well stay.
            if not any(node.out in self._bases(other) for other in moving if other is not node):
                fewer = [n for n in moving if n is not node]
                less = self._traffic(fewer)
                if less <= cost:
                    moving, cost = fewer, less
        if moving and cost < self._traffic(()):
            self._move(moving)

    def _movable(self) -> list[Node]:
        """Element-wise members of the late group that read only what the early group has at
        hand, and each other."""
        found: list[Node] = []
        before = self.groups.before[self.early.number]
        for node in sorted(self.late.nodes, key=self.order.__getitem__):
            if (
                self.reads.form[node] is not Form.COMPUTE or len(node.outputs) != 1
                or not has_elements(node) or self.late.level[node.out] != FULL
            ):  # fmt: skip
                continue
            near = False
            for base in self._bases(node):
                source = self.groups.of.get(base)
                if source is self.early or base.node in found:
                    near = True
                elif source is None:
                    if base.node.op is not INPUT:
                        break
                elif not before >> source.number & 1:
                    break
            else:
                if near:
                    found.append(node)
        return found

    def _bases(self, node: Node) -> list[Value]:
        return list(dict.fromkeys(access.base for access in self.reads.by(node)))

    def _traffic(self, moving: Collection[Node]) -> int:
        """Bytes that both groups read and write of values that the move may concern."""
        early, late = self.early, self.late
        moved = {node.out for node in moving}
        reads_early = set(early.reads).union(*map(self._bases, moving)) - set(early.level) - moved
        reads_late = {
            base
            for base, uses in late.reads.items()
            if any(reader not in moved for reader, _ in uses)
        } - (set(late.level) - moved)
        total = sum(v.type.nbytes for v in (*reads_early, *reads_late))
        for value in (*early.level, *late.level):
            read_by_late = value in reads_late
            if read_by_late or self._read_elsewhere(value):
                total += value.type.nbytes
        return total

    def _read_elsewhere(self, value: Value) -> bool:
        both = {self.early.number, self.late.number}
        return value in self.reads.whole or not self.readers.get(value, set()) <= both

    def _move(self, moving: list[Node]) -> None:
        parts = [self.alone(node) for node in moving]
        unions: list[tuple[Group, Union]] = []
        trial = Group(
            self.early.number, self.early.kind, self.early.domain, self.early.inner,
            list(self.early.nodes), dict(self.early.level), self.early.late,
            {base: list(uses) for base, uses in self.early.reads.items()}, bare=self.early.bare,
        )  # fmt: skip
        try:
            for part in parts:
                union = unite(trial, part)
                unions.append((part, union))
                trial.level = union.level
                trial.nodes = [*trial.nodes, *part.nodes]
                for base, uses in part.reads.items():
                    trial.reads.setdefault(base, []).extend(uses)
        except Refusal:
            return
        for node in reversed(moving):
            self.late.without(node)
        for part, union in unions:
            self.groups.absorb(self.early, part, union)
        for base in {base for part in parts for base in part.reads}:
            found = self.readers[base]
            found.add(self.early.number)
            if base not in self.late.reads:
                found.discard(self.late.number)
