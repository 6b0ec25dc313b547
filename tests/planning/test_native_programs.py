"""Native programs: results as the reference's, for any number of threads; memory; faults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from thalweg.core import flags
from thalweg.core.dtypes import DType, float32, int64
from thalweg.ir.graph import Graph
from thalweg.ir.node import Value, make_input
from thalweg.ir.types import TensorType
from thalweg.ops.link import ops
from thalweg.ops.named import public
from thalweg.pipeline import Executable, optimise, run_graph
from thalweg.planning.native import build
from thalweg.runtime.buffer import Buffer
from thalweg.runtime.memory import address_of
from thalweg.runtime.native_run import LoadedProgram
from thalweg.runtime.program import KernelError, executed

RNG = np.random.default_rng(7)


def variable(*shape: int, dtype: DType = float32) -> Value:
    return make_input(TensorType(shape, dtype))


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def built(inputs: Sequence[Value], outputs: Sequence[Value]) -> LoadedProgram:
    return build(optimise(Graph(inputs, outputs)), run_graph)


def run(program: Any, *arrays: np.ndarray) -> list[np.ndarray]:
    outputs = [Buffer() for _ in program.outputs]
    program.run([Buffer(a) for a in arrays], outputs)
    return [buffer.get() for buffer in outputs]


def agree(
    inputs: Sequence[Value], outputs: Sequence[Value], *arrays: np.ndarray, tolerance: float = 1e-5
) -> LoadedProgram:
    """The native program gives what the reference gives, and does not change its operands."""
    program = built(inputs, outputs)
    before = [a.copy() for a in arrays]
    expected = run(Executable(optimise(Graph(inputs, outputs))).reference(), *arrays)
    for found, wanted in zip(run(program, *arrays), expected, strict=True):
        assert found.shape == wanted.shape and found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, tolerance, tolerance)
    for array, old in zip(arrays, before):
        np.testing.assert_array_equal(array, old)
    return program


def test_a_chain_works_in_place() -> None:
    x = variable(1024)
    y = x
    for _ in range(6):
        y = ops.tanh(ops.exp(y))
    program = agree([x], [y], numbers(1024))
    assert program.program.arena == 0, "the result's memory is enough"


def test_values_used_later_survive() -> None:
    x = variable(300)
    y = ops.exp(x)
    z = ops.sin(y)
    w = z * z + y
    agree([x], [w, z, ops.cos(z)], numbers(300))


def test_results_that_are_operands_or_one_another() -> None:
    x = variable(4, 6)
    y = ops.exp(x)
    agree([x], [x, y, y, ops.reshape(y, shape=(24,)), ops.reshape(x, shape=(2, 12))], numbers(4, 6))


def test_results_that_are_parts_have_memory_of_their_own() -> None:
    x = variable(8, 6)
    y = ops.exp(x)
    part = ops.slice(y, starts=(2, 0), stops=(5, 6), steps=(1, 1))
    program = agree(
        [x], [part, ops.slice(x, starts=(1, 0), stops=(2, 6), steps=(1, 1))], numbers(8, 6)
    )
    assert program.program.results == (3 * 6 * 4, 6 * 4)


def test_dense_views_take_no_kernel() -> None:
    x = variable(4, 6)
    y = ops.reshape(ops.exp(x), shape=(2, 12))
    rows = ops.slice(y, starts=(1, 0), stops=(2, 12), steps=(1, 1))
    program = agree([x], [ops.tanh(rows)], numbers(4, 6))
    assert len(program.program.names) <= 2


def test_empty_tensors() -> None:
    x = variable(0, 3)
    agree([x], [ops.exp(x), ops.reduce_sum(x, dims=(0,)), x], numbers(0, 3))


def test_bits_do_not_depend_on_threads() -> None:
    x, w = variable(500, 300), variable(300, 500)
    y = ops.dot(ops.tanh(x), w, spec="mk,kn->mn")
    outputs = [
        y,
        ops.reduce_sum(ops.exp(y * constant(0.01, y)), dims=(0, 1)),
        ops.reduce_sum(y, dims=(1,)),
    ]
    program = built([x, w], outputs)
    arrays = numbers(500, 300), numbers(300, 500)
    results = []
    for threads in (1, 2, 3, 8, 2, 1):
        with flags.override(num_threads=threads):
            results.append([a.tobytes() for a in run(program, *arrays)])
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("dims", [(0,), (1,), (0, 1)])
def test_a_long_sum_is_work_for_many_threads(dims: tuple[int, ...]) -> None:
    x = variable(4096, 300)
    program = agree([x], [ops.reduce_sum(x, dims=dims)], numbers(4096, 300), tolerance=1e-3)
    most = max(program.program.records, key=lambda record: record.extent)
    assert most.extent >= 4 * most.chunk


def constant(value: float, like: Value) -> Value:
    return ops.full(shape=like.shape, value=value, dtype=like.dtype)  # type: ignore[no-any-return]


# ---- memory taken over


def owned(array: np.ndarray) -> Buffer:
    """A buffer as machine code fills it."""
    x = variable(*array.shape)
    buffer = Buffer()
    built([x], [ops.neg(x)]).run([Buffer(-array)], [buffer])
    return buffer


def test_a_result_takes_over_the_memory_of_a_dead_operand() -> None:
    w, g = variable(2000), variable(2000)
    program = built([w, g], [w - g * constant(0.1, g)])
    first, step = numbers(2000), numbers(2000)
    buffers = [owned(first), Buffer(step)]
    before, out = buffers[0].address(), Buffer()
    program.run(buffers, [out])
    assert out.address() == before
    np.testing.assert_allclose(out.get(), first - np.float32(0.1) * step, 1e-5, 1e-6)


@pytest.mark.parametrize("holder", ["buffer", "array", "part", "twice"])
def test_memory_that_somebody_holds_is_left_alone(holder: str) -> None:
    w, g = variable(2000), variable(2000)
    program = built([w, g], [w - g])
    first = numbers(2000)
    buffers = [owned(first), owned(numbers(2000))]
    if holder == "twice":
        buffers[1] = buffers[0]
    held: Any = {
        "buffer": lambda: buffers[0], "array": lambda: buffers[0].get(),
        "part": lambda: buffers[0].get()[5:], "twice": lambda: None,
    }[holder]()  # fmt: skip
    wanted = first - buffers[1].get()
    old = address_of(buffers[0].get()) if holder != "buffer" else buffers[0].address()
    out = Buffer()
    program.run(buffers, [out])
    np.testing.assert_array_equal(out.get(), wanted)
    if held is not None:
        assert out.address() != old
        value = held.get() if holder == "buffer" else held
        np.testing.assert_array_equal(value, first[5:] if holder == "part" else first)


def test_an_operand_read_after_the_result_is_written_is_left_alone() -> None:
    w = variable(2000)
    y = ops.exp(w)
    z = ops.reduce_sum(y, dims=(0,)) + ops.reduce_sum(ops.sin(w) * y, dims=(0,))
    program = built([w], [y, z])
    first, outputs = numbers(2000), [Buffer(), Buffer()]
    program.run([owned(first)], outputs)
    np.testing.assert_allclose(outputs[0].get(), np.exp(first), 1e-5)
    total = np.exp(first).sum() + (np.sin(first) * np.exp(first)).sum()
    np.testing.assert_allclose(outputs[1].get(), total, 1e-4)


# ---- control flow


def scan(
    reverse: bool, length: int, stacked: bool
) -> tuple[list[Value], list[Value], list[np.ndarray]]:
    h, c, x, w = variable(5), variable(5), variable(length, 5), variable(5, 5)
    a, b, s, u = variable(5), variable(5), variable(5), variable(5, 5)
    new = ops.tanh(
        ops.reduce_sum(u * ops.expand(ops.reshape(a, shape=(1, 5)), shape=(5, 5)), dims=(1,)) + s
    )
    body = Graph([a, b, s, u], [new, a, new, s * b, new])
    results = ops.scan(
        h, c, x, w, body=body, num_carry=2, num_xs=1, length=length, reverse=reverse
    )  # fmt: skip
    arrays = [numbers(5), numbers(5), numbers(length, 5), numbers(5, 5)]
    return [h, c, x, w], list(results if stacked else results[:2]), arrays


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 2, 7])
@pytest.mark.parametrize("stacked", [False, True])
def test_scans(reverse: bool, length: int, stacked: bool) -> None:
    """Carries that swap, results that are carries, operands, or given twice."""
    inputs, outputs, arrays = scan(reverse, length, stacked)
    program = agree(inputs, outputs, *arrays)
    assert not program.program.host_steps


def test_scans_compile_once_for_all_steps() -> None:
    kernels = [len(built(*scan(False, length, True)[:2]).program.kernels) for length in (3, 50)]
    assert kernels[0] == kernels[1]


@pytest.mark.parametrize("spec", ["mk,nk->mn", "mk,kn->mn"])
def test_scans_pack_constants_once(spec: str) -> None:
    """Two products of a step read constants, and the first what the step before made; the packed
    copies survive the kernels between them."""
    length, rows, size = 4, 12, 140
    h, x = variable(rows, size), variable(length, rows, size)
    w, v = variable(size, size), variable(size, size)
    a, s, u, t = (
        variable(rows, size),
        variable(rows, size),
        variable(size, size),
        variable(size, size),
    )
    new = ops.tanh(ops.dot(ops.sin(ops.dot(a, u, spec=spec)) + s, t, spec=spec))
    body = Graph([a, s, u, t], [new, new * s])
    results = ops.scan(h, x, w, v, body=body, num_carry=1, num_xs=1, length=length, reverse=False)
    arrays = [numbers(*value.shape) * 0.1 for value in (h, x, w, v)]
    program = agree([h, x, w, v], list(results), *arrays).program
    symbols = [record.symbol for record in program.records]
    assert symbols.count("pack_all_b") == 2
    assert symbols.count("gemm") == 2 * length


def test_loops_and_branches_run_native_programs() -> None:
    i, x = variable(dtype=int64), variable(400)
    a, b = variable(dtype=int64), variable(400)
    body = Graph([a, b], [a + 1, ops.tanh(b) * b])
    test = Graph([a, b], [ops.lt(a, ops.full(shape=(), value=5, dtype=int64))])
    _, y = ops.while_loop(i, x, cond=test, body=body, num_carry=2)
    p, q = variable(400), variable(400)
    branch = {"true": Graph([p], [ops.exp(p)]), "false": Graph([q], [-q])}
    zero = ops.full(shape=(), value=0.0, dtype=float32)
    positive = ops.lt(zero, ops.reduce_sum(y, dims=(0,)))
    (z,) = ops.cond(positive, y, **branch)
    for sign in (1, -1):
        program = agree([i, x], [z, y], np.array(0), sign * np.abs(numbers(400)))
        assert len(program.program.host_steps) == 2


# ---- faults


def test_positions_out_of_range_are_noticed() -> None:
    table, index = variable(10, 4), variable(6, dtype=int64)
    shifted = index + ops.full(shape=(6,), value=1, dtype=int64)
    picked = ops.take(table, shifted, batch=0, wrap=False)
    program = built([table, index], [ops.exp(picked)])
    rows = numbers(10, 4)
    good = np.array([0, 8, 3, 3, 1, 2])
    np.testing.assert_allclose(run(program, rows, good)[0], np.exp(rows[good + 1]), 1e-5)
    for bad in (9, -2, 10**12, -(10**12)):
        good[4] = bad
        with pytest.raises(KernelError, match="out of bounds") as caught:
            run(program, rows, good)
        assert f"index {bad + 1} " in str(caught.value.error)


def test_errors_of_host_steps() -> None:
    x = variable(3, 3)
    program = built([x], [ops.exp(getattr(public, "linalg.cholesky")(x))])
    with pytest.raises(KernelError):
        run(program, -np.eye(3, dtype=np.float32))


def test_ops_inside_of_kernels_are_counted() -> None:
    x = variable(50)
    program = built([x], [ops.tanh(ops.exp(x)) + ops.exp(x)])
    executed.reset()
    run(program, numbers(50))
    assert executed.by_name["exp"] == executed.by_name["tanh"] == executed.by_name["add"] == 1
