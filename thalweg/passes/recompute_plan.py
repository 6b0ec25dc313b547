"""What a choice of values to compute again means: which kernels run when, and what lives then.

Kernels have times: the positions of the first order. A *choice* says of some values from which
time on readers are *late*; late readers read a copy. All else follows: when copies have to be
computed (just before the first late reader), by which kernel, from what, and how much memory lives
at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from ..ir.graph import Graph, substitute
from ..ir.node import INPUT, Node, Value, make_input, topological
from ..ops.link import ops
from .alias import alias_of
from .fuse import fuse
from .fuse_space import has_elements

_ALIGNMENT = 64
_BANDWIDTH = 8e9  # bytes a second; as the other figures here only to compare choices
_LAUNCH = 1e-6


def seconds_to_move(nbytes: int) -> float:
    """About how long a kernel takes that does nothing but read and write."""
    return nbytes / _BANDWIDTH + _LAUNCH


def _cost(node: Node) -> float | None:
    nbytes = sum(v.type.nbytes for v in (*node.inputs, *node.outputs))
    return seconds_to_move(nbytes) * (16 if getattr(node.op, "heavy", False) else 1)


@dataclass(frozen=True)
class Costs:
    """What kernels cost: ``seconds`` they take (None: never to be run twice), bytes of
    ``scratch`` memory. ``regroup`` makes kernels of a graph of primitives. Values of up to
    ``small`` bytes are not worth a kernel."""

    seconds: Callable[[Node], float | None] = _cost
    scratch: Callable[[Node], int] = lambda node: 0
    regroup: Callable[[Graph], Graph] = fuse
    small: int = 4096


@dataclass(frozen=True)
class Recipe:
    """How ``value`` follows from ``operands`` without the whole kernel that computes it."""

    value: Value
    operands: tuple[Value, ...]
    graph: Graph


@dataclass(eq=False)
class Clone:
    """A kernel run again before the kernel of time ``need``: ``reads`` and ``writes`` are roots."""

    kernel: int
    need: int
    recipe: Recipe | None
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]
    seconds: float


class Kernels:
    """The kernels of a graph in their first order, and the memory that they read and write. A
    *root* is a value that has memory of its own, which its views show."""

    def __init__(self, graph: Graph, order: Sequence[Node], costs: Costs) -> None:
        self.graph, self.costs = graph, costs
        self.root: dict[Value, Value] = {}
        self.nodes: list[Node] = []
        for node in order:
            if alias_of(node) is None:
                self.nodes.append(node)
            else:
                self.root[node.out] = self.of(node.inputs[0])
        free = {self.of(v) for v in (*graph.inputs, *graph.outputs)}
        self.maker: dict[Value, int] = {}
        self.size: dict[Value, int] = {}
        self.readers: dict[Value, list[int]] = {}
        self.reads: list[tuple[Value, ...]] = []
        for time, node in enumerate(self.nodes):
            for value in node.outputs:
                self.maker[value] = time
                self.readers[value] = []
                self.size[value] = 0 if value in free else -(-value.type.nbytes // _ALIGNMENT)
                self.size[value] *= _ALIGNMENT
            self.reads.append(self._roots(node.inputs))
            for value in self.reads[time]:
                self.readers[value].append(time)
        self.scratch = [costs.scratch(node) for node in self.nodes]
        self._seconds: dict[int, float | None] = {}
        self._recipes: dict[Value, Recipe | None] = {}

    def of(self, value: Value) -> Value:
        return self.root.get(value, value)

    def _roots(self, values: Sequence[Value]) -> tuple[Value, ...]:
        found = dict.fromkeys(self.of(v) for v in values)
        return tuple(v for v in found if v.node.op is not INPUT)

    def seconds(self, kernel: int) -> float | None:
        if kernel not in self._seconds:
            self._seconds[kernel] = self.costs.seconds(self.nodes[kernel])
        return self._seconds[kernel]

    def recipe(self, value: Value) -> Recipe | None:
        if value not in self._recipes:
            self._recipes[value] = self._recipe(value)
        return self._recipes[value]

    def _recipe(self, value: Value) -> Recipe | None:
        """The value from the kernel's operands and its other results, if it takes no more than
        work on elements, and less than the kernel does."""
        node = value.node
        if node.op is not ops.fused:
            return None
        body: Graph = node.attrs["body"]
        stands: dict[Value, Value] = dict(zip(body.inputs, node.inputs))
        stands.update(zip(body.outputs[: value.index], node.outputs))
        target = body.outputs[value.index]
        if target in stands:
            return None
        given = {v.node for v in stands}
        needed = topological([target], stop=lambda n: n in given)
        work = [n for n in needed if n not in given]
        if len(work) == len(body.nodes) or not all(has_elements(n) for n in work):
            return None
        known = {*stands, *(v for n in work for v in n.outputs)}
        if any(v not in known for v in (target, *(v for n in work for v in n.inputs))):
            return None  # it stands on another result of an op of which one result is kept
        used = list(dict.fromkeys(v for n in work for v in n.inputs if v in stands))
        fresh = {v: make_input(v.type) for v in used}
        grouped = self.costs.regroup(Graph(list(fresh.values()), substitute([target], fresh)))
        return Recipe(value, tuple(stands[v] for v in used), grouped)

    def clone_of(self, kernel: int, need: int) -> Clone:
        node = self.nodes[kernel]
        return Clone(
            kernel, need, None, self.reads[kernel], node.outputs, self.seconds(kernel) or 0.0
        )

    def clone_by(self, recipe: Recipe, need: int) -> Clone:
        nbytes = recipe.value.type.nbytes + sum(v.type.nbytes for v in recipe.operands)
        return Clone(
            self.maker[recipe.value], need, recipe, self._roots(recipe.operands), (recipe.value,),
            seconds_to_move(nbytes),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A kernel that runs at a ``time``: for the first time, or as a clone."""

    time: int
    kernel: int
    clone: Clone | None = None


@dataclass(eq=False)
class Unfolded:
    """A choice, and what follows. ``memory`` are the bytes that live at each entry."""

    kernels: Kernels
    split: Mapping[Value, int]
    entries: list[Entry] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    last: dict[Value, int] = field(default_factory=dict)  # the entries that read values last
    copied: set[Value] = field(default_factory=set)

    @property
    def peak(self) -> int:
        return max(self.memory, default=0)

    @property
    def seconds(self) -> float:
        return sum(e.clone.seconds for e in self.entries if e.clone is not None)

    def is_late(self, value: Value, time: int) -> bool:
        return value in self.copied and time > self.split[value]


def unfold(kernels: Kernels, split: Mapping[Value, int]) -> Unfolded:
    """What a choice means."""
    found = Unfolded(kernels, split)
    clones, moved = _clones(kernels, split)
    # Before a kernel its clones, in the order of the kernels that they are clones of.
    entries = [
        ((time, 1, 0, 0), Entry(time, time))
        for time in range(len(kernels.nodes))
        if time not in moved
    ]
    for clone in clones:
        last = -1 if clone.recipe is None else clone.recipe.value.index
        key = clone.need, 0, clone.kernel, last
        entries.append((key, Entry(clone.need, clone.kernel, clone)))
        found.copied.update(v for v in clone.writes if v in split)
    entries.sort(key=lambda e: e[0])
    found.entries = [entry for _, entry in entries]
    _count(found)
    return found


def _clones(kernels: Kernels, split: Mapping[Value, int]) -> tuple[list[Clone], set[int]]:
    """The clones that late readers need, those that clones need included; and the kernels that
    nothing reads early, so that they are only moved."""
    dropped: dict[int, list[Value]] = {}
    for value in split:
        dropped.setdefault(kernels.maker[value], []).append(value)
    needs: dict[Value, int] = {}  # of clones
    early: set[Value] = set()  # what clones read as computed first
    made: list[Clone] = []
    moved: set[int] = set()

    def add(clone: Clone) -> None:
        made.append(clone)
        for value in clone.reads:
            if value in split and clone.need > split[value]:
                needs[value] = min(clone.need, needs.get(value, clone.need))
            else:
                early.add(value)

    for kernel in sorted(dropped, reverse=True):  # readers before what they read
        values = sorted(dropped[kernel], key=lambda v: -v.index)
        for value in values:
            late = [t for t in kernels.readers[value] if t > split[value] and t not in moved]
            if late:
                needs[value] = min(late[0], needs.get(value, late[0]))
        begun = len(made)
        if all(kernels.recipe(v) is not None for v in values):
            for value in values:
                recipe = kernels.recipe(value)
                if value in needs and recipe is not None:
                    add(kernels.clone_by(recipe, needs[value]))
        else:
            wanted = [needs[v] for v in values if v in needs]
            if wanted:
                add(kernels.clone_of(kernel, min(wanted)))
        if _only_late(kernels, kernel, split, early, moved):
            moved.add(kernel)
            for clone in made[begun:]:
                clone.seconds = 0.0
    return made, moved


def _only_late(
    kernels: Kernels, kernel: int, split: Mapping[Value, int], early: set[Value], moved: set[int]
) -> bool:
    """Whether nothing reads the kernel's results as it computed them first."""
    return all(
        kernels.size[value]
        and value not in early
        and all(t in moved or t > split.get(value, t) for t in kernels.readers[value])
        for value in kernels.nodes[kernel].outputs
    )


def _count(found: Unfolded) -> None:
    """Fill in which entry reads each value last, and what lives at each entry."""
    kernels = found.kernels
    change = [0] * (len(found.entries) + 1)
    begins: dict[tuple[Value, bool], int] = {}
    ends: dict[tuple[Value, bool], int] = {}
    for place, entry in enumerate(found.entries):
        clone = entry.clone
        if clone is None:
            reads: Sequence[Value] = kernels.reads[entry.kernel]
            writes: Sequence[Value] = kernels.nodes[entry.kernel].outputs
        else:
            reads, writes = clone.reads, clone.writes
        for value in reads:
            ends[value, found.is_late(value, entry.time)] = place
        for value in writes:
            key = value, clone is not None
            begins[key] = ends[key] = place
        if clone is None or clone.recipe is None:
            scratch = kernels.scratch[entry.kernel]
            change[place] += scratch
            change[place + 1] -= scratch
    for key, begin in begins.items():
        size = kernels.size[key[0]]
        change[begin] += size
        change[ends[key] + 1] -= size
        if not key[1]:
            found.last[key[0]] = ends[key]
    found.memory = list(accumulate(change[:-1]))
