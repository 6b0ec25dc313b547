"""Packed operands are kept while the same buffers come again, and only then."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from thalweg.core.dtypes import float32
from thalweg.ir.graph import Graph
from thalweg.ir.node import make_input
from thalweg.ir.types import TensorType
from thalweg.ops.link import ops
from thalweg.pipeline import Executable, optimise, run_graph
from thalweg.planning.native import build, plan_native
from thalweg.runtime.buffer import Buffer
from thalweg.runtime.native_run import LoadedProgram
from thalweg.runtime.packed import REPEATS
from thalweg.runtime.saved import dump, load

RNG = np.random.default_rng(3)


def numbers(*shape: int) -> Buffer:
    return Buffer(RNG.normal(size=shape).astype(np.float32))


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Two convolutions, of which the first is computed by Winograd's method; their weights are
    inputs 1 and 2, and the second is read twice."""
    x, v, w = (
        make_input(TensorType(shape, float32))
        for shape in [(1, 16, 20, 20), (16, 16, 3, 3), (8, 16, 1, 1)]
    )
    each = {"stride": (1, 1), "dilation": (1, 1), "groups": 1}
    y = ops.conv(x, v, padding=((1, 1), (1, 1)), **each)
    outputs = [ops.conv(z, w, padding=((0, 0), (0, 0)), **each) for z in (y, ops.tanh(y))]
    return optimise(Graph([x, v, w], outputs))


@pytest.fixture
def program(graph: Graph) -> LoadedProgram:
    return build(graph, run_graph)


def run(program: Any, *inputs: Buffer) -> list[np.ndarray]:
    outputs = [Buffer() for _ in program.outputs]
    program.run(list(inputs), outputs)
    return [buffer.get().copy() for buffer in outputs]


def packing_launches(program: LoadedProgram, *inputs: Buffer) -> int:
    """How many of the launches that pack had anything to do in one more run."""
    frames: list[Any] = []
    original = program._frame

    def watched(*args: Any) -> Any:
        frames.append(original(*args))
        return frames[-1]

    program._frame = watched  # type: ignore[method-assign]
    try:
        run(program, *inputs)
    finally:
        program._frame = original  # type: ignore[method-assign]
    return sum(int(frames[0].records[p.record, 2]) > 0 for p in program.program.packings)


def test_results_are_those_of_a_fresh_program(graph: Graph, program: LoadedProgram) -> None:
    reference = Executable(graph).reference()
    x, weights = numbers(1, 16, 20, 20), [numbers(16, 16, 3, 3), numbers(8, 16, 1, 1)]
    for change in (None, 0, None, 1, 0):
        if change is not None:
            weights[change] = numbers(*weights[change].get().shape)
        expected = run(reference, x, *weights)
        first = run(program, x, *weights)
        for found, wanted in zip(first, expected):
            np.testing.assert_allclose(found, wanted, 1e-4, 1e-4)
        for _ in range(REPEATS + 2):
            again = run(program, x, *weights)
            assert [a.tobytes() for a in again] == [a.tobytes() for a in first]


def test_packing_is_left_out_on_known_buffers_only(program: LoadedProgram) -> None:
    x, v, w = numbers(1, 16, 20, 20), numbers(16, 16, 3, 3), numbers(8, 16, 1, 1)
    every = len(program.program.packings)
    assert every == 3
    for _ in range(REPEATS + 1):
        assert packing_launches(program, x, v, w) == every
    assert packing_launches(program, x, v, w) == 0
    assert packing_launches(program, numbers(1, 16, 20, 20), v, w) == 0, "x is not packed"
    other = numbers(8, 16, 1, 1)
    for _ in range(REPEATS):
        assert packing_launches(program, x, v, other) == every
    assert packing_launches(program, x, v, other) == 0


def test_one_place_for_what_is_packed_twice(program: LoadedProgram) -> None:
    places = {(p.input, p.offset) for p in program.program.packings}
    assert len(places) == 2


def test_memory_is_given_back_when_a_weight_dies(program: LoadedProgram) -> None:
    x, v, w = numbers(1, 16, 20, 20), numbers(16, 16, 3, 3), numbers(8, 16, 1, 1)
    for _ in range(REPEATS + 2):
        run(program, x, v, w)
    packed = program._packed
    assert packed is not None and packed._kept is not None
    del w
    gc.collect()
    assert packed._kept is None


def test_packings_are_saved(program: LoadedProgram) -> None:
    data = dump(program.program)
    assert data is not None
    assert load(data) == program.program


def test_kernels_of_weights_that_last() -> None:
    """A program that makes no new weight is likely to find it packed: where filters are many and
    positions few, only then they are transformed."""

    def transformed(size: int, lasts: bool) -> bool:
        shapes = [(1, 96, size, size), (96, 96, 3, 3)]
        x, w = (make_input(TensorType(s, float32)) for s in shapes)
        attrs = {"stride": (1, 1), "dilation": (1, 1), "groups": 1, "padding": ((1, 1), (1, 1))}
        y = ops.conv(x, w, **attrs)
        graph = optimise(Graph([x, w], [y] if lasts else [y, ops.tanh(w)]))
        names = [kernel.name for kernel in plan_native(graph, run_graph).kernels]
        return any("winograd" in name for name in names)

    # from which size on depends on the processor's vectors
    lasting, passing = ({n for n in range(2, 20) if transformed(n, way)} for way in (True, False))
    assert passing < lasting
