"""Random programs of views and in-place operations behave as in PyTorch, aliasing included."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from tensor_programs import Program

import thalweg

QUIET = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    report_multiple_bugs=False,
)


def run(data: st.DataObject, steps: int, every: int) -> None:
    """A program of ``steps`` lines; values are read after every ``every``-th line or so."""

    def pick(count: int) -> int:
        return data.draw(st.integers(0, count - 1))

    thalweg.synchronize()
    program = Program(pick)
    program.begin()
    program.check(values=False)
    for _ in range(steps):
        if not program.step():
            break
        program.check(values=pick(every) == 0)
    else:
        program.check(values=True)
        if program.do(program.backward()):
            program.check(values=True)
    program.replay()


@given(st.data())
@settings(QUIET, max_examples=100)
def test_programs_read_at_the_end(data: st.DataObject) -> None:
    """Everything stays pending until the end, unless a mask needs a value."""
    run(data, steps=8, every=1000)


@given(st.data())
@settings(QUIET, max_examples=100)
def test_programs_read_on_the_way(data: st.DataObject) -> None:
    run(data, steps=8, every=3)


@given(st.data())
@settings(QUIET, max_examples=25)
def test_long_programs(data: st.DataObject) -> None:
    run(data, steps=25, every=5)
