"""A program: plain data that an executor walks, one kernel after another.

Registers are numbered; instruction i reads registers, writes registers and names those that no
later instruction reads, so that memory is freed the moment a value dies.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .buffer import Buffer

Array = np.ndarray[Any, Any]
Kernel = Callable[[Sequence[Array], Mapping[str, Any]], Sequence[Array]]


@dataclass(frozen=True, slots=True)
class Instruction:
    """``kernel(arrays of ins, attrs)`` gives the arrays of ``outs``; then ``dead`` are dropped."""

    name: str
    kernel: Kernel
    attrs: Mapping[str, Any]
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    dead: tuple[int, ...]
    location: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Program:
    """Instructions over ``registers`` registers. ``elements`` estimates the work: all elements
    written; ``counts`` says how often each op is computed. ``inputs`` and ``outputs`` are
    registers; an output may be an input."""

    registers: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    instructions: tuple[Instruction, ...]
    elements: int
    counts: Mapping[str, int]

    def run(self, inputs: Sequence[Buffer], outputs: Sequence[Buffer]) -> None:
        """Compute, and fill ``outputs``. KernelError names the instruction that failed."""
        arrays = execute(self, [buffer.get() for buffer in inputs])
        for buffer, array in zip(outputs, arrays):
            buffer.fill(array)


class ExecutionCount:
    """Ops computed by name, over all threads; a fused kernel computes several."""

    __slots__ = ("_counted", "_lock", "_noted")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[str, int] = {}
        self._noted: list[Mapping[str, int]] = []  # runs that are not in the sums yet

    def add(self, counts: Mapping[str, int]) -> None:
        self._noted.append(counts)
        if len(self._noted) > 1000:
            self._sum()

    def _sum(self) -> None:
        with self._lock:
            noted, self._noted = self._noted, []
            for counts in noted:
                for name, count in counts.items():
                    self._counted[name] = self._counted.get(name, 0) + count

    def reset(self) -> None:
        self._sum()
        with self._lock:
            self._counted.clear()

    @property
    def by_name(self) -> Mapping[str, int]:
        self._sum()
        return self._counted

    @property
    def total(self) -> int:
        return sum(self.by_name.values())


executed = ExecutionCount()

# Called with (name, start, end) of every step that Python runs, in nanoseconds of
# `time.perf_counter_ns`, while somebody profiles.
observers: list[Callable[[str, int, int], None]] = []


def observed(
    kernel: Kernel, name: str, arrays: Sequence[Array], attrs: Mapping[str, Any]
) -> Sequence[Array]:
    """``kernel(arrays, attrs)``, with its time told to the observers."""
    if not observers:
        return kernel(arrays, attrs)
    start = time.perf_counter_ns()
    results = kernel(arrays, attrs)
    end = time.perf_counter_ns()
    for observer in observers:
        observer(name, start, end)
    return results


class KernelError(Exception):
    """Carries the location of the step that failed; its cause is the error itself."""

    def __init__(
        self, name: str, error: Exception, location: tuple[str, int] | None
    ) -> None:  # fmt: skip
        super().__init__(f"{name}: {error}")
        self.error = error
        self.location = location


def execute(program: Program, inputs: Sequence[Array]) -> list[Array]:
    """Run a program on arrays. Raises KernelError naming the instruction that failed."""
    registers: list[Any] = [None] * program.registers
    for register, array in zip(program.inputs, inputs):
        registers[register] = array
    with np.errstate(all="ignore"):
        for step in program.instructions:
            try:
                arrays = [registers[i] for i in step.ins]
                results = observed(step.kernel, step.name, arrays, step.attrs)
            except Exception as error:
                raise KernelError(step.name, error, step.location) from error
            for register, array in zip(step.outs, results):
                registers[register] = array
            for register in step.dead:
                registers[register] = None
    executed.add(program.counts)
    return [registers[i] for i in program.outputs]
