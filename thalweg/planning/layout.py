"""The memory of a graph's values: which share it, which are results, where the rest lies.

Values that are views of others, dense ones, take no memory of their own; a kernel that may work
in place takes over what its operand held; the results of the graph have memory that outlives the
run; all other values lie in an arena (`arena`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..ir.node import Value
from ..runtime.memory import round_size
from ..runtime.native_program import ARENA, FIRST_INPUT, Place
from .arena import Interval, arrange, live_bytes
from .steps import Launches, Step


@dataclass(eq=False)
class Storage:
    """Memory that one value, or several in turn, are kept in. ``result`` is the number of the
    result that it becomes (None: it lies in the arena), ``input`` that of the input it is.
    ``first`` and ``last`` are steps."""

    nbytes: int
    first: int
    last: int
    result: int | None = None
    input: int | None = None
    place: Place = field(default_factory=lambda: Place(ARENA, 0))


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes of the arena, and from which step to which they hold ``value`` (None: scratch)."""

    offset: int
    nbytes: int
    first: int
    last: int
    value: Value | None


@dataclass(frozen=True)
class Layout:
    """Planned steps. ``bases`` of places are the arena, the inputs, the results, in this order;
    ``workspaces`` has a list for each step. ``least`` is what no arena could be smaller than."""

    inputs: tuple[Value, ...]
    steps: tuple[Step, ...]
    places: dict[Value, Place]
    workspaces: tuple[tuple[Place, ...], ...]
    arena: int
    least: int
    results: tuple[int, ...]
    donors: tuple[int, ...]
    outputs: tuple[Place, ...]
    blocks: tuple[Block, ...]

    def emit(self, bases: Sequence[Place]) -> Iterator[tuple[int, Launches]]:
        """For each step its number and its launches, with ``bases`` put in for the bases."""

        def found(place: Place) -> Place:
            return bases[place.base].after(place.offset)

        for i, step in enumerate(self.steps):
            reads = [found(self.places[v]) for v in step.reads]
            writes = [found(self.places[v]) for v in step.writes]
            yield i, step.emit(reads, writes, [found(p) for p in self.workspaces[i]])


class Planner:
    """Plans the memory of ``steps``, which compute ``outputs`` from ``inputs`` (see `plan_memory`).

    ``roots`` maps a value to the value whose memory shows it and the offset there.
    """

    def __init__(
        self, inputs: Sequence[Value], outputs: Sequence[Value], steps: Sequence[Step],
        views: dict[Value, tuple[Value, int]],
    ) -> None:  # fmt: skip
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.steps = tuple(steps)
        self.views = views
        self.storage: dict[Value, Storage] = {}
        self.storages: list[Storage] = []

    def root(self, value: Value) -> tuple[Value, int]:
        offset = 0
        while value in self.views:
            value, more = self.views[value]
            offset += more
        return value, offset

    def plan(self) -> Layout:
        self._find_lifetimes()
        results, outputs = self._name_results()
        donors = self._share()
        return self._arrange(results, donors, outputs)

    def _new(self, value: Value, step: int) -> Storage:
        made = self.storage[value] = Storage(value.type.nbytes, step, step)
        self.storages.append(made)
        return made

    def _find_lifetimes(self) -> None:
        for i, value in enumerate(self.inputs):
            self._new(value, -1).input = i
        for i, step in enumerate(self.steps):
            for value in step.reads:
                self.storage[self.root(value)[0]].last = i
            for value in step.writes:
                self._new(value, i)

    def _name_results(self) -> tuple[list[int], list[tuple[Storage, int]]]:
        """Give every output that is not an input the memory of a result."""
        results: list[int] = []
        outputs = []
        for value in self.outputs:
            root, offset = self.root(value)
            storage = self.storage[root]
            if storage.input is None and storage.result is None:
                storage.result = len(results)
                results.append(storage.nbytes)
            storage.last = len(self.steps)
            outputs.append((storage, offset))
        return results, outputs

    def _share(self) -> list[int]:
        """Let results of kernels that work in place take over memory of operands that die there;
        find inputs whose memory results could take over."""
        donors: dict[int, int] = {}
        given: set[int] = set()
        heirs: set[int] = set()
        for i, step in enumerate(self.steps):
            spent: set[int] = set()
            for operand, result in self._inputs_first(step):
                old = None if operand in spent else self._dying(step, i, operand)
                new = self.storage[step.writes[result]]
                if old is None or id(new) in heirs or old.nbytes != new.nbytes:
                    continue
                if old.input is None and old.result is None:
                    self._merge(old, new)
                elif old.input is not None and new.result is not None:
                    donors[new.result] = old.input
                    given.add(old.input)
                else:
                    continue
                heirs.add(id(new))
                spent.add(operand)
        self._find_donors(donors, given)
        count = sum(1 for s in self.storages if s.result is not None)
        return [donors.get(k, -1) for k in range(count)]

    def _inputs_first(self, step: Step) -> list[tuple[int, int]]:
        """Pairs that may share memory, those first where an input makes room for a result: its
        memory is free of cost, that of other operands serves others too."""

        def rank(pair: tuple[int, int]) -> bool:
            old = self.storage[self.root(step.reads[pair[0]])[0]]
            return old.input is None or self.storage[step.writes[pair[1]]].result is None

        return sorted(step.in_place, key=rank)

    def _dying(self, step: Step, i: int, operand: int) -> Storage | None:
        """The storage of an operand that nothing reads but this operand, from step i on."""
        value, offset = self.root(step.reads[operand])
        storage = self.storage[value]
        if offset or storage.last != i:
            return None
        readers = sum(self.storage[self.root(v)[0]] is storage for v in step.reads)
        return storage if readers == 1 else None

    def _merge(self, old: Storage, new: Storage) -> None:
        """Both are one from now on: ``new`` goes on in the memory of ``old``."""
        new.first = old.first
        for value, storage in self.storage.items():
            if storage is old:
                self.storage[value] = new
        self.storages.remove(old)

    def _find_donors(self, donors: dict[int, int], given: set[int]) -> None:
        """Results written after an input was read for the last time may have its memory."""
        free: dict[int, list[Storage]] = {}
        for storage in self.storages:
            if storage.input is not None and storage.input not in given and storage.nbytes:
                free.setdefault(round_size(storage.nbytes), []).append(storage)
        results = [s for s in self.storages if s.result is not None and s.result not in donors]
        for new in sorted(results, key=lambda s: s.first):
            candidates = free.get(round_size(new.nbytes), ())
            before = [s for s in candidates if s.last < new.first]
            if before:
                old = max(before, key=lambda s: s.last)
                candidates.remove(old)  # type: ignore[union-attr]
                assert new.result is not None and old.input is not None
                donors[new.result] = old.input

    def _arrange(
        self, results: Sequence[int], donors: Sequence[int], outputs: Sequence[tuple[Storage, int]]
    ) -> Layout:
        first_result = FIRST_INPUT + len(self.inputs)
        temporaries = []
        for storage in self.storages:
            if storage.input is not None:
                storage.place = Place(FIRST_INPUT + storage.input, 0)
            elif storage.result is not None:
                storage.place = Place(first_result + storage.result, 0)
            else:
                temporaries.append(storage)
        intervals = [Interval(s.nbytes, s.first, s.last) for s in temporaries]
        work = [(i, size) for i, step in enumerate(self.steps) for size in step.workspaces]
        intervals += [Interval(size, i, i) for i, size in work]
        offsets, arena = arrange(intervals)
        for storage, offset in zip(temporaries, offsets):
            storage.place = Place(ARENA, offset)
        workspaces: list[list[Place]] = [[] for _ in self.steps]
        for (i, _), offset in zip(work, offsets[len(temporaries) :]):
            workspaces[i].append(Place(ARENA, offset))
        places = {v: s.place for v, s in self.storage.items()}
        holds = {id(s): v for v, s in self.storage.items()}
        values = [*(holds[id(s)] for s in temporaries), *(None for _ in work)]
        blocks = tuple(
            Block(offset, i.size, i.first, i.last, value)
            for offset, i, value in zip(offsets, intervals, values)
        )
        for value in self.views:
            root, offset = self.root(value)
            places[value] = self.storage[root].place.after(offset)
        return Layout(
            self.inputs, self.steps, places, tuple(map(tuple, workspaces)), arena,
            live_bytes(intervals), tuple(results), tuple(donors),
            tuple(s.place.after(offset) for s, offset in outputs), blocks,
        )  # fmt: skip
