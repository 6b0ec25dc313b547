"""Packed operands that are kept from run to run.

Kernels pack some of their operands, weights above all, into an order of their own before they
multiply. In training that is a small part of the work, and weights change with every step. Where a
program runs again and again on the same buffers (inference, evaluation) what was packed is kept,
and the launches that pack are left out. A buffer's value never changes while it is held, so that
buffers are the same objects is all that has to be known. They are held weakly: when one dies, as
weights do in the next training step, what was packed of them is given back.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from .buffer import Buffer
from .memory import Memory, allocate
from .native_program import NativeProgram

REPEATS = 2  # runs on the buffers of the run before, after which packed operands are kept

_Ref = weakref.ref[Buffer]


class Kept:
    """Memory for what is packed of ``buffers``. ``filled`` says that a run has packed them;
    ``frames`` are free frames of the program that read them."""

    def __init__(self, program: NativeProgram, buffers: Sequence[_Ref]) -> None:
        self.memory: Memory = allocate(program.packed)
        self.buffers = tuple(buffers)
        self.filled = False
        self.frames: list[Any] = []


class PackedInputs:
    """Watches on which buffers a program runs, and keeps what it packs of them."""

    def __init__(self, program: NativeProgram) -> None:
        self._program = program
        self._inputs = sorted({packing.input for packing in program.packings})
        self._last: tuple[_Ref, ...] = ()
        self._repeats = 0
        self._kept: Kept | None = None

    def of(self, inputs: Sequence[Buffer]) -> Kept | None:
        """What is kept of these inputs of the next run; None if they are new."""
        kept = self._kept
        if kept is not None:
            if self._same(kept.buffers, inputs):
                return kept
            self._kept = None
        # Where weights change, the first of them tells: no run looks at all of them in vain.
        if not self._last or self._last[0]() is not inputs[self._inputs[0]]:
            self._last = (weakref.ref(inputs[self._inputs[0]]),)
            self._repeats = 0
            return None
        last, self._last = self._last, tuple(weakref.ref(inputs[i]) for i in self._inputs)
        self._repeats = self._repeats + 1 if self._same(last, inputs) else 1
        if self._repeats < REPEATS:
            return None
        buffers = [weakref.ref(inputs[i], self._forget) for i in self._inputs]
        self._kept = kept = Kept(self._program, buffers)
        return kept

    def _same(self, known: Sequence[_Ref], inputs: Sequence[Buffer]) -> bool:
        return all(ref() is inputs[i] for ref, i in zip(known, self._inputs))

    def _forget(self, dead: _Ref) -> None:
        kept = self._kept
        if kept is not None and any(ref is dead for ref in kept.buffers):
            self._kept = None
            self._repeats = 0
