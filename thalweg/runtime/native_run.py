"""Running native programs: tables for the machine code, memory for results, host steps between."""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import IndexOutOfRange
from . import quick
from .buffer import Buffer
from .loader import Library
from .memory import Array, Memory, address_of, allocate, array_at
from .native_program import ARENA, FIRST_INPUT, Check, HostStep, NativeProgram, Segment, View
from .packed import Kept, PackedInputs
from .program import KernelError, executed, observed
from .threads import Pool

# Called with (program, segment, nanoseconds of each of its records), while somebody profiles.
observers: list[Callable[[NativeProgram, Segment, Array], None]] = []


class Frame:
    """The tables of one run at a time: pointers, records, bases. Frames are used again.

    ``calls`` holds, for each native segment, the address of what the walker is called with; the
    first also computes the pointers. A frame for packed inputs that are kept has one base more,
    their memory, and once they are packed leaves out the records that pack.
    """

    def __init__(
        self, program: NativeProgram, addresses: Array, moves: Array, pool: Pool, kept: Kept | None
    ) -> None:
        count = len(program.records)
        self.args = np.zeros(max(len(program.args), 1), np.int64)
        self.records = np.zeros((max(count, 1), len(_RECORD)), np.int64)
        if count:
            first = np.array([r.args for r in program.records], np.int64)
            self.records[:, 0] = addresses
            self.records[:, 1] = address_of(self.args) + 8 * first
            self.records[:, 2] = [r.extent for r in program.records]
            self.records[:, 3] = [r.chunk for r in program.records]
        self.bases = np.zeros(_bases(program) + (kept is not None), np.int64)
        if kept is not None:
            self.bases[-1] = kept.memory.address
            if kept.filled:
                self.records[[p.record for p in program.packings], 2] = 0
        self.bases_at = address_of(self.bases)
        self.base_bytes = memoryview(self.bases.data).cast("B")
        self.stamps = np.zeros(count + 1, np.int64)
        segments = [step for step in program.steps if isinstance(step, Segment)]
        self.fields = np.zeros((max(len(segments), 1), 8), np.int64)
        start = address_of(self.fields)
        self.calls = [start + 64 * i for i in range(len(segments))]
        for i, step in enumerate(segments):
            self.fields[i] = [
                pool.address,
                address_of(self.records) + 8 * len(_RECORD) * step.first,
                step.last - step.first,
                address_of(self.args),
                address_of(moves),
                0 if i else len(moves),
                address_of(self.bases),
                address_of(self.stamps) + 8 * step.first,
            ]


def _bases(program: NativeProgram) -> int:
    return FIRST_INPUT + program.inputs + len(program.results)


_RECORD = ("function", "args", "extent", "chunk")


class LoadedProgram:
    """A native program whose kernels are in this process. ``libraries`` keeps them there."""

    def __init__(
        self, program: NativeProgram, libraries: Sequence[Library], pool: Callable[[], Pool]
    ) -> None:
        self.program = program
        kernels = [program.kernels[record.kernel] for record in program.records]
        work = sum(kernel.bytes + kernel.flops // 8 for kernel in kernels)
        self.elements = max(program.elements, work // 16)
        self.outputs = program.outputs
        self._libraries = tuple(libraries)
        self._pool = pool
        self._addresses = np.array(
            [libraries[r.kernel].addresses[r.symbol] for r in program.records], np.int64
        )
        moves = np.zeros((len(program.args), 2), np.int64)
        moves[:, 0] = [arg | place.base << 32 for arg, place in enumerate(program.args)]
        moves[:, 1] = [place.offset for place in program.args]
        self._moves = moves
        self._frames: list[Frame] = []
        self._packed = PackedInputs(program) if program.packings else None
        self._kept_moves = _redirected(moves, program)
        self._pack = struct.Struct(f"={_bases(program)}q").pack_into
        self._donors = any(donor >= 0 for donor in program.donors)
        first = FIRST_INPUT + program.inputs
        self._pack_results = struct.Struct(f"={len(program.results)}q").pack_into
        # For machine code (`codegen.hit_run`): bytes and donors of results, where outputs stand.
        pairs = [number for pair in zip(program.results, program.donors) for number in pair]
        self._results = np.array([len(program.results), *pairs], np.int64)
        places = [output.place for output in program.outputs]
        self._sources = np.array(
            [b - first if b >= first else FIRST_INPUT - 1 - b for b, _ in places], np.int64
        )
        self._results_at, self._sources_at = address_of(self._results), address_of(self._sources)
        self._kinds = tuple((output.shape, output.dtype) for output in program.outputs)
        self._whole = all(offset == 0 for _, offset in places)

    def make_frame(self) -> Frame:
        """Tables of its own for somebody who runs the program."""
        return self._new_frame(self._pool(), None)

    @property
    def walker(self) -> int:
        """The address of what walks a segment, given one of a frame's ``calls``."""
        return self._pool().functions["run"]

    def run(self, inputs: Sequence[Buffer], outputs: Sequence[Buffer]) -> None:
        """Compute, and fill ``outputs``. The list ``inputs`` should be the only one that holds
        buffers which nobody else needs: their memory may be taken over by results. KernelError
        names the host step, or the check, that failed."""
        program = self.program
        pool = self._pool()
        kept = None if self._packed is None else self._packed.of(inputs)
        filled = kept is None or kept.filled
        frame = self._frame(pool, kept)
        memories = self._prepare(inputs, frame)
        arena = allocate(program.arena) if program.arena else None
        frame.bases[0] = arena.address if arena is not None else 0
        calls = iter(frame.calls)
        for step in program.steps:
            if isinstance(step, HostStep):
                self._run_host(step, frame, [arena, *inputs, *memories])
            elif observers:
                self._observe(step, frame, pool, next(calls))
            else:
                pool.run(next(calls))
        for check in program.checks:
            _check(check, int(frame.bases[check.place.base]))
        if kept is None:
            self._frames.append(frame)
        elif filled:
            kept.frames.append(frame)
        else:
            kept.filled = True
        executed.add(program.counts)
        self._finish(inputs, outputs, memories)

    def _prepare(self, inputs: Sequence[Buffer], frame: Frame) -> list[Memory]:
        """Memory for the results; where they and the inputs lie is written to the frame."""
        program = self.program
        machine = quick.current
        begun: Any = False
        if machine is not None and isinstance(inputs, list):
            begun = machine.begin(inputs, frame.bases_at, self._results_at)
        if begun is False:  # some address was not asked for yet; from now on it is known
            addresses = [buffer.address() for buffer in inputs]
            memories = self._result_memories(inputs)
            self._pack(frame.base_bytes, 0, 0, *addresses, *[m.address for m in memories])
            return memories
        memories = [
            allocate(nbytes) if memory is None else memory
            for memory, nbytes in zip(begun, program.results)
        ]
        at = 8 * (FIRST_INPUT + program.inputs)
        self._pack_results(frame.base_bytes, at, *[memory.address for memory in memories])
        return memories

    def _finish(
        self, inputs: Sequence[Buffer], outputs: Sequence[Buffer], memories: list[Memory]
    ) -> None:
        machine = quick.current if self._whole else None
        if machine is not None and isinstance(inputs, list) and isinstance(outputs, list):
            machine.finish(outputs, inputs, memories, self._kinds, self._sources_at)
            return
        first = FIRST_INPUT + self.program.inputs
        for buffer, ((base, offset), shape, dtype) in zip(outputs, self.program.outputs):
            if base >= first:
                memory = memories[base - first]
                buffer.fill_memory(memory, memory.address + offset, shape, dtype)
            else:
                self._share(buffer, inputs[base - FIRST_INPUT], shape, dtype)

    def _frame(self, pool: Pool, kept: Kept | None) -> Frame:
        frames = self._frames if kept is None else kept.frames
        try:
            return frames.pop()
        except IndexError:
            return self._new_frame(pool, kept)

    def _new_frame(self, pool: Pool, kept: Kept | None) -> Frame:
        moves = self._moves if kept is None else self._kept_moves
        return Frame(self.program, self._addresses, moves, pool, kept)

    def _observe(self, step: Segment, frame: Frame, pool: Pool, call: int) -> None:
        pool.run_timed(call)
        times = np.diff(frame.stamps[step.first : step.last + 1])
        for observer in observers:
            observer(self.program, step, times)

    def _result_memories(self, inputs: Sequence[Buffer]) -> list[Memory]:
        program = self.program
        if not self._donors:
            return [allocate(nbytes) for nbytes in program.results]
        memories = []
        for nbytes, donor in zip(program.results, program.donors):
            memory = None
            if donor >= 0:
                memory = _taken_over(inputs, donor, nbytes)
            memories.append(allocate(nbytes) if memory is None else memory)
        return memories

    def _run_host(self, step: HostStep, frame: Frame, owners: Sequence[Any]) -> None:
        def array(view: View) -> Array:
            (base, offset), shape, dtype = view
            owner = owners[base]
            if isinstance(owner, Buffer):
                owner = (owner, owner.memory)
            return array_at(owner, int(frame.bases[base]) + offset, shape, dtype)

        try:
            with np.errstate(all="ignore"):
                arrays = [array(view) for view in step.reads]
                results = observed(step.kernel, step.name, arrays, step.attrs)
        except Exception as error:
            raise KernelError(step.name, error, step.location) from error
        for view, result in zip(step.writes, results):
            np.copyto(array(view), result)

    @staticmethod
    def _share(
        buffer: Buffer, source: Buffer, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        """Fill ``buffer`` with the value of an input, under the shape of the output."""
        if source.memory is None:
            buffer.fill(source.get().reshape(shape))
        else:
            buffer.fill_memory(source.memory, source.address(), shape, dtype)


def _redirected(moves: Array, program: NativeProgram) -> Array:
    """The moves where packed inputs are kept: their workspaces lie behind the last base."""
    moves = moves.copy()
    for packing in program.packings:
        moves[packing.arg] = packing.arg | _bases(program) << 32, packing.offset
    return moves


def _check(check: Check, base: int) -> None:
    least, most = (ctypes.c_int64 * 2).from_address(base + check.place.offset)
    if least < check.low or most >= check.high:
        index = least if least < check.low else most
        error = IndexOutOfRange(check.message.format(index=index))
        raise KernelError("check", error, check.location)


def _taken_over(inputs: Sequence[Buffer], donor: int, nbytes: int) -> Memory | None:
    """The memory of an input that only ``inputs`` holds, if it is large enough."""
    buffer = inputs[donor]
    memory = buffer.memory
    if (
        memory is None
        or memory.size < nbytes
        or sys.getrefcount(buffer) > _ALONE
        or sys.getrefcount(memory) > _ALONE
        or buffer.address() != memory.address
    ):
        return None
    return memory


def _count_alone() -> int:
    """What `_taken_over` counts for a buffer that only its list holds."""
    inputs = [Buffer()]

    def seen(inputs: Sequence[Buffer]) -> int:
        buffer = inputs[0]
        return sys.getrefcount(buffer)

    return seen(inputs)


_ALONE = _count_alone()

__all__ = ["ARENA", "LoadedProgram", "observers"]
