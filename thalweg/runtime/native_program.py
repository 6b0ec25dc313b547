"""A native program: records of kernel launches over planned memory, as plain data.

Every pointer is a *place*: a base and an offset in bytes. Base 0 is the arena, bases 1 .. are the
inputs, the bases behind them the memory of the results. The pointers of all kernels stand in one
table, ``args``; before a run the machine code computes them from the bases of that run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .memory import Array
from .native import NativeKernel

ARENA = 0
FIRST_INPUT = 1


class Place(NamedTuple):
    """``offset`` bytes behind a base."""

    base: int
    offset: int

    def after(self, nbytes: int) -> Place:
        return Place(self.base, self.offset + nbytes)


class View(NamedTuple):
    """A dense array at a place."""

    place: Place
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One launch: ``symbol`` of kernel number ``kernel``, whose pointers begin at ``args`` in the
    table; ``step`` is the number of the step it belongs to."""

    kernel: int
    symbol: str
    args: int
    extent: int
    chunk: int
    step: int


@dataclass(frozen=True, slots=True)
class HostStep:
    """A step that runs in Python between native ones: ``kernel(arrays, attrs)`` gives arrays,
    which are copied to where the results belong. ``location`` is the user's line, ``reason`` why no
    kernel does it."""

    name: str
    kernel: Callable[[Sequence[Array], Mapping[str, Any]], Sequence[Array]]
    attrs: Mapping[str, Any]
    reads: tuple[View, ...]
    writes: tuple[View, ...]
    location: tuple[str, int] | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """Records ``first .. last - 1``, walked without Python."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Check:
    """The smallest and the largest of some positions, two int64 at ``place``, must lie in
    ``low <= i < high``; else IndexOutOfRange says ``message``, formatted with the ``index``, of the
    user's line at ``location``."""

    place: Place
    low: int
    high: int
    message: str
    location: tuple[str, int] | None


class Packing(NamedTuple):
    """Record ``record`` does nothing but fill the workspace that entry ``arg`` of the table of
    pointers leads to, from input ``input`` alone. Where packed inputs are kept (`packed`), it lies
    ``offset`` bytes behind their beginning; equal packings of one input share a place."""

    record: int
    arg: int
    input: int
    offset: int


@dataclass(frozen=True, slots=True)
class NativeProgram:
    """``packings`` are the records that pack inputs, ``packed`` the bytes of all that they make.
    ``inputs`` counts the inputs. ``arena`` is the size of the arena, ``least`` what no arena
    could be smaller than: the most bytes that live at once. ``results`` are the bytes of each
    result's memory, and ``donors[k]`` the input whose memory result k may take over if nobody else
    holds it (or -1). ``outputs`` are views of inputs or results, in order. ``counts`` says how
    often each op is computed, ``elements`` estimates the work, ``names`` are those of the
    steps, ``budget`` the bytes that the arena was allowed to have."""

    kernels: tuple[NativeKernel, ...]
    records: tuple[Record, ...]
    args: tuple[Place, ...]
    steps: tuple[Segment | HostStep, ...]
    checks: tuple[Check, ...]
    packings: tuple[Packing, ...]
    packed: int
    inputs: int
    arena: int
    least: int
    results: tuple[int, ...]
    donors: tuple[int, ...]
    outputs: tuple[View, ...]
    counts: Mapping[str, int]
    elements: int
    names: tuple[str, ...]
    budget: int | None = None

    @property
    def host_steps(self) -> list[HostStep]:
        return [step for step in self.steps if isinstance(step, HostStep)]

    def describe(self) -> str:
        """The program as text, for people."""
        head = (
            f"program: {self.inputs} inputs, {len(self.outputs)} outputs, arena {self.arena} bytes"
        )
        lines = [head]
        for step in self.steps:
            if isinstance(step, HostStep):
                lines.append(f"  host {step.name}")
                continue
            for record in self.records[step.first : step.last]:
                kernel = self.kernels[record.kernel]
                ends = [r.args for r in self.records if r.args > record.args]
                places = self.args[record.args : min(ends, default=len(self.args))]
                shown = " ".join(f"{p.base}+{p.offset}" for p in places)
                lines.append(f"  {kernel.name}.{record.symbol} x{record.extent} ({shown})")
        return "\n".join(lines)
