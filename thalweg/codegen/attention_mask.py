"""The mask of attention: which scores are seen, or what is added to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..core.dtypes import bool_
from ..ir.anchor import Operand
from .attention_parts import LOG2_E, VECTORS, Attention
from .builder import Function, Int, Val, literal, vector
from .types import as_computed, memory_type


@dataclass(frozen=True, slots=True)
class Mask:
    """``lanes_along`` is the dimension that lanes run over, 2 (queries) or 3 (keys), of which
    ``limit`` elements exist; lanes from there on read the last. The other one is a row's."""

    a: Attention
    operand: Operand | None
    lanes_along: int
    limit: int

    def start(self, f: Function, args: Val, batch: Int, head: Int, lane: Int) -> Val:
        """The address of a stripe's mask in one head: of the lane ``lane``, and row 0."""
        if self.operand is None:
            return Val("ptr", "null")
        base = f.load("ptr", f.gep("ptr", args, self.operand.buffer))
        b, h, *_ = self.operand.strides
        total = f.add(self.operand.offset, f.add(f.mul(batch, b), f.mul(head, h)))
        return f.gep(
            memory_type(self.operand.dtype), base, f.add(total, f.mul(lane, self._lane_step))
        )

    @property
    def _lane_step(self) -> int:
        assert self.operand is not None
        return self.operand.strides[self.lanes_along]

    def applied(self, f: Function, row: list[Val], start: Val, lane: Int, other: Int) -> list[Val]:
        """The scores of one row, whose number in the other dimension is ``other``, masked."""
        if self.operand is None:
            return row
        memory = memory_type(self.operand.dtype)
        base = f.gep(memory, start, f.mul(other, self.operand.strides[5 - self.lanes_along]))
        return [self._met(f, x, seen) for x, seen in zip(row, self._row(f, base, lane))]

    def _row(self, f: Function, base: Val, lane: Int) -> list[Val]:
        """The mask over the lanes of a stripe."""
        assert self.operand is not None
        lanes, memory = self.a.lanes, memory_type(self.operand.dtype)
        step = self._lane_step
        if step == 0:
            one = f.splat(f.load(memory, base), lanes)
            return [one] * VECTORS
        if step == 1 and self.limit % self.a.stripe == 0:
            return [f.load(vector(memory, lanes), f.gep(memory, base, n * lanes))
                    for n in range(VECTORS)]  # fmt: skip
        last = f.sub(self.limit - 1, lane)
        found = []
        for n in range(VECTORS):
            type = vector(memory, lanes)
            x = Val(type, "poison")
            for i in range(lanes):
                place = f.mul(f.min(n * lanes + i, last), step)
                x = f.insert(x, f.load(memory, f.gep(memory, base, place)), i)
            found.append(x)
        return found

    def _met(self, f: Function, score: Val, mask: Val) -> Val:
        assert self.operand is not None
        value = as_computed(f, mask, self.operand.dtype)
        if self.operand.dtype is bool_:
            return f.select(value, score, self.a.numbers(-math.inf))
        if value.type != score.type:
            value = f.convert("fpext", value, score.type)
        return f.binary("fadd", score, f.binary("fmul", value, literal(LOG2_E, score.type)))
