"""Native programs as bytes, so that another process can run them without making them again.

Only plain data is written: a program with steps on the host is not saved, and reading runs no code.
The bytes are for the store of one version of this package on one version of Python.
"""

from __future__ import annotations

import marshal
from typing import Any

import ml_dtypes  # registers the names of its types with NumPy
import numpy as np

from .native import Launch, NativeKernel
from .native_program import Check, NativeProgram, Packing, Place, Record, Segment, View


def dump(program: NativeProgram) -> bytes | None:
    """The program as bytes; None if it runs Python."""
    if program.host_steps:
        return None
    plain = (
        tuple(
            (k.name, k.text, tuple(map(_launch, k.launches)),
             k.workspaces, k.in_place, k.flops, k.bytes)
            for k in program.kernels
        ),
        tuple((r.kernel, r.symbol, r.args, r.extent, r.chunk, r.step) for r in program.records),
        tuple(map(tuple, program.args)),
        tuple((s.first, s.last) for s in program.steps if isinstance(s, Segment)),
        tuple((tuple(c.place), c.low, c.high, c.message, c.location) for c in program.checks),
        tuple(tuple(p) for p in program.packings), program.packed,
        program.inputs, program.arena, program.least, program.results, program.donors,
        tuple((tuple(v.place), v.shape, v.dtype.name) for v in program.outputs),
        dict(program.counts), program.elements, program.names, program.budget,
    )  # fmt: skip
    return marshal.dumps(plain)


def load(data: bytes) -> NativeProgram | None:
    """What `dump` was given; None if the bytes are something else."""
    try:
        return _program(*marshal.loads(data))
    except (ValueError, EOFError, TypeError):
        return None


def _program(
    kernels: Any, records: Any, args: Any, steps: Any, checks: Any, packings: Any, packed: int,
    inputs: int, arena: int, least: int, results: Any, donors: Any, outputs: Any, counts: Any,
    elements: int, names: Any, budget: int | None,
) -> NativeProgram:  # fmt: skip
    return NativeProgram(
        kernels=tuple(
            NativeKernel(name, text, tuple(Launch(*launch) for launch in launches), *rest)
            for name, text, launches, *rest in kernels
        ),
        records=tuple(Record(*record) for record in records),
        args=tuple(Place(*place) for place in args),
        steps=tuple(Segment(*step) for step in steps),
        checks=tuple(Check(Place(*place), *rest) for place, *rest in checks),
        packings=tuple(Packing(*packing) for packing in packings), packed=packed,
        inputs=inputs, arena=arena, least=least, results=results, donors=donors,
        outputs=tuple(
            View(Place(*place), shape, _dtype(name)) for place, shape, name in outputs
        ),
        counts=counts, elements=elements, names=names, budget=budget,
    )  # fmt: skip


def _launch(launch: Launch) -> tuple[Any, ...]:
    return launch.symbol, launch.extent, launch.chunk, launch.packs


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name) if hasattr(ml_dtypes, name) else name)
