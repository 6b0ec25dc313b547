"""Recorded paths and what else decides, besides a call, which nodes it builds: the default dtype
and the gradient mode. Every case first records the very path that must not be found again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import thalweg
from thalweg import float32, float64
from thalweg.tensor import hits

Make = Callable[[], Any]
INTEGERS = thalweg.tensor([3, 1, 2])

CALLS: dict[str, Make] = {
    "zeros": lambda: thalweg.zeros(2),
    "full": lambda: thalweg.full((2,), 1.5),
    "eye": lambda: thalweg.eye(2),
    "linspace": lambda: thalweg.linspace(0, 1, 3),
    "arange": lambda: thalweg.arange(0.0, 2.0),
    "rand": lambda: thalweg.rand(2),
    "window": lambda: thalweg.hann_window(4),
    "division": lambda: INTEGERS / 2,
    "weak": lambda: INTEGERS * 0.5,
    "function": lambda: INTEGERS.sin(),
    "comparison": lambda: thalweg.isclose(INTEGERS, INTEGERS).to(thalweg.get_default_dtype()),
    "masked": lambda: thalweg.masked.mean(INTEGERS),
    "composite": lambda: thalweg.special.xlog1py(INTEGERS, INTEGERS),
    "written": lambda: thalweg.zeros(2).add_(INTEGERS[:2] / 2),
    "mapped": lambda: thalweg.func.vmap(lambda x: x / 2)(INTEGERS),
}


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    thalweg.synchronize()
    yield
    thalweg.set_default_dtype(float32)
    thalweg.set_grad_enabled(True)


@pytest.mark.parametrize("make", CALLS.values(), ids=CALLS)
def test_default_dtype_is_part_of_the_path(make: Make) -> None:
    for dtype in (float32, float64, float32, float64):
        thalweg.set_default_dtype(dtype)
        thalweg.synchronize()  # the next call begins a path
        assert make().dtype is dtype


@pytest.mark.parametrize("make", CALLS.values(), ids=CALLS)
def test_default_dtype_changes_within_a_path(make: Make) -> None:
    for _ in range(2):
        made = []
        for dtype in (float32, float64, float32):
            thalweg.set_default_dtype(dtype)
            made.append(make())
        assert [x.dtype for x in made] == [float32, float64, float32]
        assert np.isfinite(sum(x.double().sum().item() for x in made))


def test_the_change_alone_leads_elsewhere() -> None:
    x = thalweg.ones(2)
    for dtype in (float32, float64):
        thalweg.synchronize()
        kept = x + 1
        thalweg.set_default_dtype(dtype)
        assert thalweg.zeros(2).dtype is dtype
        assert kept.dtype is float32
        thalweg.set_default_dtype(float32)


def test_values_recorded_before_a_change_keep_their_dtype() -> None:
    """Also where passes build a call anew when it is compiled, under another default."""
    thalweg.set_default_dtype(float64)
    made = [make() for make in CALLS.values()]
    thalweg.set_default_dtype(float32)
    thalweg.synchronize()
    for name, value in zip(CALLS, made):
        assert value.dtype is float64, name
        assert value.numpy().dtype == np.float64, name


def test_modes_do_not_hide_each_other() -> None:
    weight = thalweg.ones(2, requires_grad=True)
    for _ in range(2):
        for dtype in (float64, float32):
            for grad in (True, False):
                thalweg.set_default_dtype(dtype)
                thalweg.set_grad_enabled(grad)
                thalweg.synchronize()
                made = weight * (INTEGERS[:2] / 2)
                assert made.dtype is dtype
                assert made.requires_grad is grad


def test_changes_inside_a_traced_function() -> None:
    def function(x: Any) -> Any:
        thalweg.set_default_dtype(float64)
        return x / 2

    for _ in range(2):
        thalweg.set_default_dtype(float32)
        thalweg.synchronize()
        before = INTEGERS / 2
        inside = thalweg.func.vmap(function)(INTEGERS)
        after = INTEGERS / 2
        assert [x.dtype for x in (before, inside, after)] == [float32, float64, float64]


def test_another_thread_changes_the_default_dtype() -> None:
    """A thread finds out at its next call, in the middle of its trace."""
    turns = [threading.Semaphore(0), threading.Semaphore(0)]
    seen: list[Any] = []

    def work() -> None:
        for _ in range(4):
            assert turns[0].acquire(timeout=60)
            seen.append((INTEGERS / 2).dtype)
            seen.append(thalweg.zeros(2).dtype)
            turns[1].release()

    thread = threading.Thread(target=work)
    thread.start()
    for dtype in (float32, float64, float32, float64):
        thalweg.set_default_dtype(dtype)
        turns[0].release()
        assert turns[1].acquire(timeout=60)
    thread.join()
    assert seen == [float32] * 2 + [float64] * 2 + [float32] * 2 + [float64] * 2


def test_native_forms_follow() -> None:
    if hits.supported():
        assert hits.install()
    for dtype in (float32, float64, float32, float64):
        thalweg.set_default_dtype(dtype)
        for _ in range(2):
            thalweg.synchronize()
            assert (INTEGERS / 2).dtype is dtype
            assert INTEGERS.sin().dtype is dtype
