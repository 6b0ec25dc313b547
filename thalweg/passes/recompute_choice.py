"""Which values to compute again: greedily, by bytes freed where most memory is in use over time."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir.node import Value
from .recompute_plan import Kernels, Unfolded, unfold

_TRIED = 12  # candidates for one step, best first
_DEEP = 6  # kernels of a chain that are given up together


class Choice:
    """Finds a choice (see `recompute_plan`) under which at most ``limit`` bytes live at once, or
    as few as it can reach. ``spread`` reaches further at a higher price: see `_Chains`."""

    def __init__(self, kernels: Kernels, limit: int, spread: bool = False) -> None:
        self.kernels, self.limit, self.spread = kernels, limit, spread
        self.split: dict[Value, int] = {}
        self.now = unfold(kernels, {})
        # The entries of the first run of each kernel.
        self.place: list[int] = []
        self.chains = _Chains(self)

    def run(self) -> None:
        while self.now.peak > self.limit and self._improve():
            pass

    def _improve(self) -> bool:
        """Give up one more value, or chain of values, that waits where most memory is in use."""
        now = self.now
        self.place = [0] * len(self.kernels.nodes)
        for i, entry in enumerate(now.entries):
            if entry.clone is None:
                self.place[entry.kernel] = i
        self.chains = _Chains(self)
        worst = now.memory.index(now.peak)
        entry = now.entries[worst]
        after = entry.time if entry.clone is None else entry.time - 1
        for _, more in sorted(self._candidates(worst, after), key=lambda c: -c[0])[:_TRIED]:
            split = {**self.split, **dict.fromkeys(more, after)}
            found = unfold(self.kernels, split)
            if self._is_better(found, worst):
                self.split, self.now = split, found
                return True
        return False

    def _is_better(self, found: Unfolded, worst: int) -> bool:
        """Whether less is in use where most was, and nowhere more than that."""
        if found.peak > self.now.peak:
            return False
        before = self.now.entries[worst]
        place = next(
            (
                i for i, e in enumerate(found.entries)
                if (e.time, e.kernel) == (before.time, before.kernel)
                and (e.clone is None) == (before.clone is None)
            ),
            None,
        )  # fmt: skip
        return place is None or found.memory[place] < self.now.memory[worst]

    def _candidates(self, worst: int, after: int) -> Iterator[tuple[float, list[Value]]]:
        """What could be given up at the worst step: values by themselves, and with what they are
        computed from; each with its bytes per second."""
        for value, size in self.kernels.size.items():
            if size <= self.kernels.costs.small or not self._waits(value, worst, after):
                continue
            single = self._worth([value], worst, after)
            if single is not None:
                yield single, [value]
            chain = self._chain(value, worst, after)
            if len(chain) > 1:
                worth = self._worth(chain, worst, after)
                if worth is not None:
                    yield worth, chain

    def _waits(self, value: Value, worst: int, after: int) -> bool:
        """Whether the memory of a value, as first computed, does nothing at the worst step but
        wait for a later reader."""
        if self.seconds(value) is None or self.split.get(value, after + 1) <= after:
            return False
        made = self.place[self.kernels.maker[value]]
        if not made < worst < self.now.last.get(value, -1):
            return False
        entry = self.now.entries[worst]
        reads = self.kernels.reads[entry.kernel] if entry.clone is None else entry.clone.reads
        return value not in reads and any(t > after for t in self.kernels.readers[value])

    def seconds(self, value: Value) -> float | None:
        recipe = self.kernels.recipe(value)
        if recipe is not None:
            return self.kernels.clone_by(recipe, 0).seconds
        return self.kernels.seconds(self.kernels.maker[value])

    def operands(self, value: Value) -> tuple[Value, ...]:
        recipe = self.kernels.recipe(value)
        kernel = self.kernels.maker[value]
        if recipe is not None:
            return self.kernels.clone_by(recipe, 0).reads
        return self.kernels.clone_of(kernel, 0).reads

    def _extended(self, value: Value, worst: int) -> bool:
        """Whether a value would have to wait at the worst step if it were read again later."""
        return value not in self.split and self.now.last.get(value, worst) < worst

    def _worth(self, values: list[Value], worst: int, after: int) -> float | None:
        """Bytes freed per second spent; None if nothing is freed."""
        freed = sum(self.kernels.size[v] for v in values if self._waits(v, worst, after))
        operands = {u for v in values for u in self.operands(v)} - set(values)
        freed -= sum(self.kernels.size[u] for u in operands if self._extended(u, worst))
        seconds = self.chains.seconds(values)
        return freed / seconds if freed > self.kernels.costs.small else None

    def _chain(self, value: Value, worst: int, after: int) -> list[Value]:
        """The value, and what it is computed from as far as that would have to wait instead."""
        chain = [value]
        for one in chain:
            if len(chain) >= _DEEP:
                break
            chain += [
                u for u in self.operands(one)
                if u not in chain and self._extended(u, worst) and self.seconds(u) is not None
                and self.kernels.size[u] > self.kernels.costs.small
            ]  # fmt: skip
        return chain

    def take_back(self) -> None:
        """Take back what is not needed, the costly first."""
        costly = sorted(self.split, key=lambda v: -(self.seconds(v) or 0.0))
        for value in costly:
            split = {v: after for v, after in self.split.items() if v is not value}
            found = unfold(self.kernels, split)
            if found.peak <= max(self.limit, self.now.peak) and found.seconds < self.now.seconds:
                self.split, self.now = split, found


class _Chains:
    """Values given up that are computed of one another: all of a chain is computed again at once,
    and lives at once. So a value costs what the chains cost that it would join, and long chains
    come about last: values are given up evenly, a few between every two that are kept."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self._root: dict[Value, Value] = {v: v for v in choice.split}
        self._readers: dict[Value, list[Value]] = {}
        self._seconds = {v: choice.seconds(v) or 0.0 for v in choice.split}
        for value in choice.split:
            for operand in choice.operands(value):
                self._readers.setdefault(operand, []).append(value)
                if operand in self._root:
                    one, other = self._find(operand), self._find(value)
                    if one is not other:
                        self._root[one] = other
                        self._seconds[other] += self._seconds[one]

    def _find(self, value: Value) -> Value:
        while self._root[value] is not value:
            value = self._root[value] = self._root[self._root[value]]
        return value

    def seconds(self, values: list[Value]) -> float:
        """What giving up ``values`` costs, with the chains that they join."""
        near = {
            self._find(u)
            for v in values
            for u in (v, *self.choice.operands(v), *self._readers.get(v, ()))
            if u in self._root
        }
        if not self.choice.spread:
            return sum(self.choice.seconds(v) or 0.0 for v in values)
        own = sum(self.choice.seconds(v) or 0.0 for v in values if v not in self._root)
        return own + sum(self._seconds[u] for u in near)
