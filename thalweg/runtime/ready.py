"""Small native programs made ready to be run by machine code, on the thread that recorded them.

What a run needs stands in one table of integers, so that a flush that was seen before neither
locks nor makes a job, nor touches Python (`codegen.hit_flush` says what it does instead). A Ready
program has tables and an arena of its own; the interpreter's lock is held while it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core import flags
from .memory import Memory, address_of, allocate
from .native_program import FIRST_INPUT, Segment
from .native_run import Frame, LoadedProgram

# Words of a table, before its lists: for each input its number in the trace, for each result its
# bytes and the number of the input whose memory it may take over, or -1; for each live slot the
# slot and where its value is: the number of a result, or -1 - the number of an input; for each
# check what `CHECK` names. A heavy program is run only for somebody who waits for it.
READY = ("run", "frame", "bases", "runs", "inputs", "results", "live", "heavy", "checks")
CHECK = ("base", "offset", "low", "high")
# Bytes of results that are the interpreter's own memory, which is as good as any; more is asked of
# `memory.allocate`.
OWN_BYTES = 1 << 16
# Elements of programs that may keep the interpreter waiting: some hundred microseconds.
HEAVIEST = 1 << 20
# Bytes of an arena that a Ready program may keep to itself.
_ARENA_BYTES = 1 << 18


class Ready:
    """A program with the places of its operands in a trace.

    ``address`` is that of the table, ``counts`` says how often each op is computed, ``kinds`` the
    shape and dtype of each live slot's value, ``settings`` those under which it was made (see
    `tensor.exclusive.Shared`), ``root`` the state where the next trace begins.
    """

    __slots__ = (
        "_arena", "_frame", "_loaded", "_table", "address", "counts", "kinds", "root", "settings",
    )  # fmt: skip

    _arena: Memory | None
    _frame: Frame
    _loaded: LoadedProgram
    _table: np.ndarray[Any, Any]
    address: int
    counts: Mapping[str, int]
    kinds: tuple[tuple[Any, Any], ...]
    root: Any
    settings: Any


def make_ready(
    loaded: LoadedProgram, inputs: Sequence[int], live: Sequence[int], outs: Sequence[int],
    root: Any, settings: Any,
) -> Ready | None:  # fmt: skip
    """``loaded`` on the trace's ``inputs``, with results ``outs`` for the slots ``live``. None for
    programs that run long, or need Python between kernels."""
    program = loaded.program
    native = len(program.steps) <= 1 and all(isinstance(s, Segment) for s in program.steps)
    if not native or program.packings or program.arena > _ARENA_BYTES:
        return None
    if loaded.elements >= max(flags.inline_limit, min(flags.wait_limit, HEAVIEST)):
        return None
    sources = []
    first_result = FIRST_INPUT + program.inputs
    for out in outs:
        (base, offset), _, _ = program.outputs[out]
        if offset or base < FIRST_INPUT:
            return None
        sources.append(base - first_result if base >= first_result else FIRST_INPUT - 1 - base)
    ready = object.__new__(Ready)
    ready._loaded = loaded
    ready._frame = frame = loaded.make_frame()
    ready._arena = allocate(program.arena) if program.arena else None
    frame.bases[0] = ready._arena.address if ready._arena is not None else 0
    checks = [n for c in program.checks for n in (c.place.base, c.place.offset, c.low, c.high)]
    pairs = [number for pair in zip(live, sources) for number in pair]
    # What failed a check is run again, and then needs its inputs.
    donors = [-1 if program.checks else donor for donor in program.donors]
    results = [number for pair in zip(program.results, donors) for number in pair]
    ready._table = np.array(
        [
            loaded.walker if program.steps else 0, address_of(frame.fields),
            address_of(frame.bases), 0, len(inputs), len(program.results), len(live),
            loaded.elements >= flags.inline_limit, len(program.checks),
            *inputs, *results, *pairs, *checks,
        ],
        np.int64,
    )  # fmt: skip
    ready.address = address_of(ready._table)
    ready.kinds = tuple((program.outputs[out].shape, program.outputs[out].dtype) for out in outs)
    ready.counts = program.counts
    ready.root = root
    ready.settings = settings
    return ready
