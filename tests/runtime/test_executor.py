"""Where programs run: on the thread that waits for them, or beside the one that records on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import thalweg
from thalweg.core import flags
from thalweg.runtime.executor import Job
from thalweg.tensor.flush import flush

ROWS = 400  # squares of them are more than `inline_limit`, and less than `wait_limit`
assert flags.get("inline_limit") < ROWS * ROWS < flags.get("wait_limit") / 8


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the threads on which jobs ran."""
    names: list[str] = []
    run = Job.run

    def noted(job: Job) -> None:
        names.append(threading.current_thread().name)
        run(job)

    with flags.override(inline_limit=1 << 16, wait_limit=1 << 22):
        thalweg.synchronize()
        monkeypatch.setattr(Job, "run", noted)
        yield names


def compute(rows: int, then: Callable[[], Any]) -> Any:
    """The same each time, so that it is compiled after some."""
    x = thalweg.ones(rows, rows)
    y = (x * 2 + 1).tanh().sum()
    then()
    return y.item()


HERE, BESIDE = "MainThread", "thalweg-executor"


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_a_program_that_is_waited_for_runs_on_the_waiting_thread(
    threads: list[str], backend: str
) -> None:
    with flags.override(backend=backend):
        values = [compute(ROWS, lambda: None) for _ in range(6)]
        assert values == [values[0]] * 6
        # What has to be compiled first never holds up the thread that records; at last machine
        # code runs the program without a job.
        assert threads[0] == (BESIDE if backend == "native" else HERE)
        assert set(threads[1:]) <= {HERE}


def test_what_is_not_waited_for_runs_beside_the_recording(threads: list[str]) -> None:
    with flags.override(backend="reference"):
        for _ in range(3):
            compute(ROWS, flush)
        assert threads == [BESIDE] * 3
        threads.clear()
        for _ in range(3):
            compute(20, flush)
        assert threads == [HERE] * 3


def test_what_would_be_waited_for_long_stays_interruptible(threads: list[str]) -> None:
    with flags.override(backend="reference", wait_limit=1 << 17):
        compute(ROWS, lambda: None)
        assert threads == [BESIDE]
