"""Branches that hardly any lane takes, run lane by lane.

The special cases of scalar functions are long. As vectors they would cost more code, and more time
to compile, than everything else, so their operands go to the stack, and a scalar loop runs them for
the lanes concerned.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..ir.loops import Const, Let, Local, Stmt, Var, expressions, walk, walk_expr
from .builder import Function, Val, element, lanes_of, literal, vector
from .types import spread

if TYPE_CHECKING:
    from .statements import Block

LONG = 16  # operations from which on a branch is worth it


def is_long(body: Sequence[Stmt]) -> bool:
    """Whether a branch has so many operations that it should not be run on vectors."""
    count = sum(
        not isinstance(e, (Const, Var, Local))
        for stmt in walk(tuple(body))
        for value in expressions(stmt)
        for e in walk_expr(value)
    )
    return count >= LONG


def run_lane_by_lane(block: Block, mask: Val, body: Sequence[Stmt]) -> None:
    """Run ``body`` for each lane in which ``mask`` holds."""
    f, lanes = block.f, block.lanes
    inner = {stmt.name for stmt in walk(tuple(body)) if isinstance(stmt, Let)}
    used = {
        e.name
        for stmt in walk(tuple(body))
        for value in expressions(stmt)
        for e in walk_expr(value)
        if isinstance(e, Var)
    }
    operands = {
        name: _spilled(f, spread(f, block.names[name], lanes)) for name in sorted(used - inner)
    }
    changed = block.changed(body)
    results = [_spilled(f, value) for value in block.snapshot(changed)]
    flags = _spilled(f, mask)
    with f.loop(0, lanes) as lane, f.when(_lane(f, flags, lane)):
        one = copy.copy(block)
        one.lanes, one.mask = 1, None
        one.names = dict(block.names)
        one.registers = {name: dict(places) for name, places in block.registers.items()}
        for name, spill in operands.items():
            one.names[name] = _lane(f, spill, lane)
        one.restore(changed, [_lane(f, spill, lane) for spill in results])
        one.block(body)
        for (pointer, type), value in zip(results, one.snapshot(changed)):
            f.store(_in_memory(f, value), f.gep(_memory(element(type)), pointer, lane))
    block.restore(changed, [_whole(f, spill) for spill in results])


_Spill = tuple[Val, str]  # where a vector waits, and its type


def _spilled(f: Function, x: Val) -> _Spill:
    raw = _in_memory(f, x)
    pointer = f.alloca(raw.type)
    f.store(raw, pointer)
    return pointer, x.type


def _lane(f: Function, spill: _Spill, lane: Val) -> Val:
    pointer, type = spill
    stored = _memory(element(type))
    raw = f.load(stored, f.gep(stored, pointer, lane))
    return raw if stored == element(type) else f.compare("icmp", "ne", raw, literal(0, "i8"))


def _whole(f: Function, spill: _Spill) -> Val:
    pointer, type = spill
    stored = vector(_memory(element(type)), lanes_of(type))
    raw = f.load(stored, pointer)
    return raw if stored == type else f.compare("icmp", "ne", raw, literal(0, stored))


def _in_memory(f: Function, x: Val) -> Val:
    return f.convert("zext", x, vector("i8", lanes_of(x.type))) if element(x.type) == "i1" else x


def _memory(type: str) -> str:
    return "i8" if type == "i1" else type
