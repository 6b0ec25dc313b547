"""Elements of a buffer, for all lanes at once, by how their positions run over the lanes.

One position for all lanes is a scalar access; consecutive positions are one vector; a stride of 2
is two vectors and a shuffle; anything else goes element by element. Inactive lanes (those where
``mask`` is false) touch no memory. At least one lane is active whenever an access is executed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..core.errors import GraphError
from ..ir.loops import Buffer
from .builder import Function, Val, as_value, element, lanes_of, literal, size_of, suffix, vector
from .types import Run, Value, as_computed, as_stored, memory_type, spread


@dataclass(frozen=True, slots=True)
class Place:
    """A buffer of the kernel and where it lies. ``stream`` writes its vectors around the cache;
    they must then be aligned to 64 bytes."""

    buffer: Buffer
    pointer: Val
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """Loads and stores of ``lanes`` elements in a function, where ``mask`` holds."""

    f: Function
    lanes: int
    mask: Val | None

    # --- loads ----------------------------------------------------------------------------------

    def load(self, place: Place, at: Value) -> Val:
        """The elements in the compute type: a scalar if all lanes have one position."""
        f, dtype = self.f, place.buffer.dtype
        type = memory_type(dtype)
        if isinstance(at, Run):
            raw = self._load_run(type, place.pointer, at)
        elif isinstance(at, Val) and lanes_of(at.type) > 1:
            raw = self._gather(type, place.pointer, at)
        else:
            raw = f.load(type, f.gep(type, place.pointer, at))
        return as_computed(f, raw, dtype)

    def _load_run(self, type: str, pointer: Val, at: Run) -> Val:
        f, lanes = self.f, self.lanes
        if at.stride == 1:
            return self._load_vector(type, f.gep(type, pointer, at.base), self.mask)
        if at.stride == -1:
            start = f.gep(type, pointer, f.add(at.base, 1 - lanes))
            return self._reversed(self._load_vector(type, start, self._reversed_mask()))
        if at.stride == 2 and self.mask is None and lanes > 2:
            low = f.load(vector(type, lanes), f.gep(type, pointer, at.base))
            high = f.load(vector(type, lanes), f.gep(type, pointer, f.add(at.base, lanes - 1)))
            return f.shuffle(low, high, [*range(0, lanes, 2), *range(lanes + 1, 2 * lanes, 2)])
        if self.mask is not None:
            return self._gather(type, pointer, spread(f, at, lanes))
        start = f.gep(type, pointer, at.base)
        parts = [f.load(type, f.gep(type, start, at.stride * k)) for k in range(lanes)]
        return self._joined(type, parts)

    def _load_vector(self, type: str, pointer: Val, mask: Val | None) -> Val:
        f, wide = self.f, vector(type, self.lanes)
        if mask is None:
            return f.load(wide, pointer)
        name = f"llvm.masked.load.{suffix(wide)}.p0"
        f.module.declare(f"declare {wide} @{name}(ptr, i32, {mask.type}, {wide})")
        zero = Val(wide, "zeroinitializer")
        loaded = f.call(wide, name, pointer, _align(type), mask, zero)
        assert loaded is not None
        return loaded

    def _gather(self, type: str, pointer: Val, at: Val) -> Val:
        f = self.f
        if self.mask is not None:  # some lane is active, so there is an element 0 to look at
            at = f.select(self.mask, at, literal(0, at.type))
        parts = [
            f.load(type, f.gep(type, pointer, f.extract(at, lane))) for lane in range(self.lanes)
        ]
        return self._joined(type, parts)

    def _joined(self, type: str, parts: list[Val]) -> Val:
        made = Val(vector(type, self.lanes), "poison")
        for lane, part in enumerate(parts):
            made = self.f.insert(made, part, lane)
        return made

    def _reversed(self, x: Val) -> Val:
        return self.f.shuffle(x, None, range(self.lanes - 1, -1, -1))

    def _reversed_mask(self) -> Val | None:
        return None if self.mask is None else self._reversed(self.mask)

    # --- stores ---------------------------------------------------------------------------------

    def store(self, place: Place, at: Value, value: Val) -> None:
        """Store ``value``, a vector where there are several lanes."""
        f, dtype = self.f, place.buffer.dtype
        type, raw = memory_type(dtype), as_stored(f, value, dtype)
        if self.lanes == 1:
            f.store(raw, f.gep(type, place.pointer, as_value_of(at)))
        elif isinstance(at, Run) and at.stride == 1:
            start = f.gep(type, place.pointer, at.base)
            self._store_vector(type, start, raw, self.mask, place.stream)
        elif isinstance(at, Run) and at.stride == -1:
            start = f.gep(type, place.pointer, f.add(at.base, 1 - self.lanes))
            self._store_vector(type, start, self._reversed(raw), self._reversed_mask(), False)
        elif isinstance(at, Run) or (isinstance(at, Val) and lanes_of(at.type) > 1):
            self._scatter(type, place.pointer, at, raw)
        else:
            raise GraphError(
                f"all lanes of a vector loop store to one element of {place.buffer.name!r}"
            )

    def _store_vector(
        self, type: str, pointer: Val, raw: Val, mask: Val | None, stream: bool
    ) -> None:
        f = self.f
        if mask is None:
            f.store(raw, pointer, 64 if stream else 0, stream)
            return
        name = f"llvm.masked.store.{suffix(raw.type)}.p0"
        f.module.declare(f"declare void @{name}({raw.type}, ptr, i32, {mask.type})")
        f.call("void", name, raw, pointer, _align(type), mask)

    def _scatter(self, type: str, pointer: Val, at: Value, raw: Val) -> None:
        f = self.f
        if self.mask is None and isinstance(at, Run):
            start = f.gep(type, pointer, at.base)
            for lane in range(self.lanes):
                f.store(f.extract(raw, lane), f.gep(type, start, at.stride * lane))
            return
        positions = spread(f, at, self.lanes)
        if self.mask is None:
            for lane in range(self.lanes):
                where = f.gep(type, pointer, f.extract(positions, lane))
                f.store(f.extract(raw, lane), where)
            return
        pointers = vector("ptr", self.lanes)
        places = f.value(pointers, f"getelementptr inbounds {type}, {pointer}, {positions}")
        name = f"llvm.masked.scatter.{suffix(raw.type)}.{suffix(pointers)}"
        f.module.declare(f"declare void @{name}({raw.type}, {pointers}, i32, {self.mask.type})")
        f.call("void", name, raw, places, _align(type), self.mask)

    # --- read, modify, write --------------------------------------------------------------------

    def accumulate(
        self, place: Place, at: Value, value: Val,
        combine: Callable[[Val, Val], Val], identity: Val,
    ) -> None:  # fmt: skip
        """``element = combine(element, value)``, lane after lane where lanes meet in an element.

        ``identity`` is a scalar that changes nothing. Where all lanes have one position, they are
        combined first, in the fixed order of `reduce`.
        """
        if self.lanes == 1 or isinstance(at, Run):
            self.store(place, at, combine(self.load(place, at), value))
        elif isinstance(at, int) or lanes_of(at.type) == 1:
            total = reduce(self.f, self.masked(value, identity), combine)
            one = Access(self.f, 1, None)
            one.store(place, at, combine(one.load(place, at), total))
        else:
            self._accumulate_lanes(place, at, value, combine, identity)

    def masked(self, value: Val, identity: Val) -> Val:
        """``value``, and the identity in lanes that are not active."""
        if self.mask is None:
            return value
        return self.f.select(self.mask, value, self.f.splat(identity, self.lanes))

    def _accumulate_lanes(
        self, place: Place, at: Val, value: Val,
        combine: Callable[[Val, Val], Val], identity: Val,
    ) -> None:  # fmt: skip
        f, one = self.f, Access(self.f, 1, None)
        if self.mask is not None:
            at = f.select(self.mask, at, literal(0, at.type))
        value = self.masked(value, identity)
        positions, values = f.alloca(at.type), f.alloca(value.type)
        f.store(at, positions)
        f.store(value, values)
        type = element(value.type)
        with f.loop(0, self.lanes) as lane:
            where = f.load("i64", f.gep("i64", positions, lane))
            term = f.load(type, f.gep(type, values, lane))
            one.store(place, where, combine(one.load(place, where), term))


def reduce(f: Function, x: Val, combine: Callable[[Val, Val], Val]) -> Val:
    """All lanes of a vector combined, halves first: lane k with lane k + n/2, and so on."""
    lanes = lanes_of(x.type)
    while lanes > 1:
        lanes //= 2
        if lanes == 1:
            return combine(f.extract(x, 0), f.extract(x, 1))
        low, high = f.shuffle(x, None, range(lanes)), f.shuffle(x, None, range(lanes, 2 * lanes))
        x = combine(low, high)
    return x


def as_value_of(at: Value) -> Val:
    """A position of one lane."""
    return as_value(at.base if isinstance(at, Run) else at)


def _align(type: str) -> Val:
    return Val("i32", str(size_of(type)))
