"""Flushes that machine code runs: the values of the long way, memory of their own."""

from __future__ import annotations

import gc
import itertools
import sys
import threading

import numpy as np
import pytest

import thalweg
from thalweg.core import flags
from thalweg.runtime.buffer import Buffer
from thalweg.runtime.memory import PooledMemory
from thalweg.runtime.program import executed
from thalweg.runtime.ready import HEAVIEST
from thalweg.tensor import hits
from thalweg.tensor.inspect import watch
from thalweg.tensor.trace import local, trie

# The package has a function of this name.
flushing = sys.modules["thalweg.tensor.flush"]
_columns = itertools.count(4)


@pytest.fixture(autouse=True)
def native():
    assert hits.install() == hits.supported()
    flushing.restart()
    yield
    hits.remove()


@pytest.fixture
def long_way(monkeypatch):
    """Flushes that Python ran, as the items of the list."""
    seen = []
    run = flushing._run
    monkeypatch.setattr(flushing, "_run", lambda *a: (seen.append(a[1]), run(*a))[1])
    return seen


def new(*values):
    """Tensors of a shape that no other test records; values in memory of machine code."""
    columns = next(_columns)
    made = [thalweg.tensor(np.full((3, columns), v, np.float32)) * 1 for v in values]
    thalweg.synchronize()
    return made


def number(tensor):
    values = {float(v) for v in np.asarray(tensor.tolist()).ravel()}
    assert len(values) == 1
    return values.pop()


def ready_plans():
    """Plans that are ready, anywhere in the trie."""
    found, states = [], list(trie.roots.values())
    for state in states:
        states.extend(state.next.values())
        found += [plan for plan in state.plans.values() if plan.ready is not None]
    return found


def test_a_flush_that_was_seen_runs_without_python(long_way):
    x, y = new(2, 3)
    kept = []
    for i in range(40):
        kept.append(x * y if i % 2 else x + y)
        thalweg.synchronize()
    assert len(long_way) <= 10  # two paths, some runs each until they are compiled and ready
    assert [number(z) for z in kept] == [5, 6] * 20


def test_results_have_memory_of_their_own():
    (x,) = new(1)
    kept = []
    for _ in range(20):
        x = x + 1
        y = x * 2
        thalweg.synchronize()
        kept.append((x, y))
    assert [(number(a), number(b)) for a, b in kept] == [(i, 2 * i) for i in range(2, 22)]


def test_results_that_are_inputs():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    for x in (thalweg.tensor(array), thalweg.tensor(array) * 1):  # an array; memory
        for _ in range(10):
            y, z = x.clone(), x.reshape(4, 3).clone()
            thalweg.synchronize()
            assert y.tolist() == array.tolist() and z.tolist() == array.reshape(4, 3).tolist()
            y += 1
            assert x.tolist() == array.tolist()


def test_in_place_updates():
    x, g = new(1, 0.5)
    for i in range(20):
        x -= g
        thalweg.synchronize()
        assert number(x) == 1 - 0.5 * (i + 1)
        assert number(g) == 0.5


def test_what_is_held_decides(long_way):
    x, y = new(2, 3)
    for _ in range(10):
        a = x + y
        b = a * 2
        thalweg.synchronize()
        assert (number(a), number(b)) == (5, 10)
    taken = len(long_way)
    for _ in range(3):
        b = (x + y) * 2
        thalweg.synchronize()
        assert number(b) == 10
    assert len(long_way) > taken


def test_views(long_way):
    (x,) = new(1)
    for i in range(10):
        y = x * 2
        v = y[0]
        thalweg.synchronize()
        v += 1
        assert np.asarray(y.tolist())[0, 0] == 3 and np.asarray(y.tolist())[1, 0] == 2
        assert np.asarray(v.tolist())[0] == 3, i


def test_dead_views_are_no_reason_to_compute_their_base(long_way):
    (x,) = new(1)
    base_kept, seen = [], []

    def step(keep):
        base = x + 1
        rows = [base[k] * 2 for k in range(2)] + [base.t()[0] * 3]
        if keep:
            base_kept.append(base)
        del base
        with watch(lambda graph: seen.append(len(graph.outputs))):
            thalweg.synchronize()  # observed: the long way
        assert [number(r) for r in rows] == [4, 4, 6]

    for keep in (False, True):
        step(keep)
    assert seen == [3, 4]

    def unobserved(keep):
        base = x + 1
        rows = [base[k] * 2 for k in range(2)] + [base.t()[0] * 3]
        if keep:
            base_kept.append(base)
        del base
        thalweg.synchronize()
        executed_now.append(executed.by_name.get("add", 0))
        assert [number(r) for r in rows] == [4, 4, 6]

    executed_now: list[int] = []
    for _ in range(8):
        unobserved(False)
        unobserved(True)
    taken = len(long_way)
    for _ in range(8):
        unobserved(False)
        unobserved(True)
    assert len(long_way) == taken
    assert all(number(b) == 2 for b in base_kept)


def test_operations_are_counted():
    x, y = new(2, 3)
    kept = []

    def step():
        kept.append(x * y)
        thalweg.synchronize()

    for _ in range(8):
        step()
    executed.reset()
    for _ in range(200):
        step()
    assert executed.by_name == {"mul": 200}


def test_whoever_watches_sees_every_flush():
    x, y = new(2, 3)
    for _ in range(8):
        z = x * y
        thalweg.synchronize()
    graphs = []
    with watch(graphs.append):
        for _ in range(5):
            z = x * y
            thalweg.synchronize()
    assert len(graphs) == 5 and number(z) == 6


def test_flags_are_obeyed(long_way):
    x, y = new(2, 3)

    def steps(count):
        before = len(long_way)
        for _ in range(count):
            z = x * y
            thalweg.synchronize()
            assert number(z) == 6
        return len(long_way) - before

    steps(8)
    assert steps(5) == 0
    with flags.override(inline_limit=0, wait_limit=0):
        assert steps(5) == 5
    with flags.override(inline_limit=0):
        assert steps(5) == 1  # made anew, for those who wait
    with flags.override(backend="reference"):
        assert steps(5) == 5
    assert steps(5) == 1  # made anew
    with flags.override(eager=True):
        local.trace.limit = 0
        flushing.restart()
        assert steps(5) >= 5
    flushing.restart()
    steps(1)
    assert steps(5) == 0


def test_inputs_that_are_not_there_yet():
    (small,) = new(3)
    columns = small.shape[1]
    with flags.override(inline_limit=4096):
        for i in range(12):
            large = thalweg.full((700, columns), float(i)) + i
            flushing.flush()  # on the executor
            y = large[:3].contiguous() * small
            z = large.sum() * 0 + 1
            flushing.flush()
            w = z + 1
            thalweg.synchronize()
            assert number(y) == 6 * i and number(z) == 1 and number(w) == 2


def test_positions_are_checked(long_way):
    table = thalweg.tensor(np.arange(8, dtype=np.float32).reshape(4, 2))

    def rows(*positions):
        found = thalweg.embedding(table, thalweg.tensor(positions))
        thalweg.synchronize()
        return found

    for _ in range(10):
        assert rows(1, 3).tolist() == [[2, 3], [6, 7]]
    taken = len(long_way)
    assert rows(0, 2).tolist() == [[0, 1], [4, 5]]
    assert len(long_way) == taken
    for wrong in (4, -1):
        failed = rows(1, wrong)
        with pytest.raises(IndexError, match=str(wrong)):
            failed.tolist()
    assert len(long_way) == taken + 2  # Python runs it again, and says what is wrong
    assert rows(3, 3).tolist() == [[6, 7], [6, 7]]
    assert len(long_way) == taken + 2


def test_large_results_are_pooled_memory(long_way):
    rows = thalweg.ones(300, next(_columns) + 100)
    kept = []
    for _ in range(12):
        kept.append(rows * 2)
        thalweg.synchronize()
    assert len(long_way) < 12
    last = kept[-1]._buffer.memory
    assert isinstance(last, PooledMemory) and last.address % 64 == 0
    assert [number(k) for k in kept] == [2] * 12


def test_heavy_programs_are_run_for_who_waits(long_way):
    rows = thalweg.ones(1200, next(_columns) + 300)
    assert flags.inline_limit < rows.numel() * 4 / 16  # an element is 16 bytes that are moved

    def steps(count, wait):
        before = len(long_way)
        for _ in range(count):
            total = (rows * 2).sum()
            if wait:
                thalweg.synchronize()
            else:
                flushing.flush()
            assert number(total) == 2 * rows.numel()
        return len(long_way) - before

    steps(8, wait=True)
    assert steps(5, wait=True) == 0
    assert steps(5, wait=False) == 5


def test_random_numbers_go_on():
    def drawn():
        thalweg.manual_seed(5)
        kept = []
        for _ in range(12):
            kept.append(thalweg.rand(3, 5) + 1)
            thalweg.synchronize()
        return [k.tolist() for k in kept]

    first = drawn()
    assert drawn() == first
    assert len({str(k) for k in first}) == 12


def test_other_threads_may_record():
    x, y = new(2, 3)

    def steps():
        for _ in range(30):
            z = x * y
            thalweg.synchronize()
            assert number(z) == 6

    steps()
    failures = []

    def guarded():
        try:
            steps()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(2)]
    for thread in threads:
        thread.start()
    steps()
    for thread in threads:
        thread.join()
    assert not failures
    flushing.restart()
    steps()


def test_finalizers_that_record_and_flush():
    """The collector may run any code while objects are made."""
    x, y = new(2, 3)

    class Loop:
        def __init__(self):
            self.itself = self

        def __del__(self):
            z = x * y
            thalweg.synchronize()
            seen.append(z)

    seen = []
    for _ in range(8):
        z = x * y
        thalweg.synchronize()
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(60):
            Loop()
            z = x * y
            thalweg.synchronize()
            assert number(z) == 6
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(seen) == 60 and all(number(z) == 6 for z in seen)


def test_nothing_is_leaked():
    x, y = new(2, 3)

    def steps(count):
        for _ in range(count):
            z = x * y + x.clone()
            w = z.sum()
            thalweg.synchronize()
        del z, w
        gc.collect()
        kinds = (Buffer, thalweg.Tensor, tuple, list, dict, type(local.trace))
        return [sum(type(o) is kind for o in gc.get_objects()) for kind in kinds]

    steps(70)
    before = steps(70)
    after = steps(200)
    assert all(b <= a + 2 for a, b in zip(before, after)), (before, after)


def test_the_mode_goes_on():
    x, y = new(2, 3)
    x.requires_grad_()
    for _ in range(10):
        with thalweg.no_grad():
            z = x * y
            thalweg.synchronize()
            w = x + y
            assert not z.requires_grad and not w.requires_grad
        assert (x * y).requires_grad
        thalweg.synchronize()


def test_only_native_programs_that_end_soon_are_ready():
    x, y = new(2, 3)
    for _ in range(8):
        z = x * y
        thalweg.synchronize()
    assert len(ready_plans()) > 0
    big = thalweg.ones(1100, 1100)
    for _ in range(8):
        w = big * 2
        thalweg.synchronize()
    for plan in ready_plans():
        assert plan.program.elements < HEAVIEST
        assert not plan.with_history and not plan.residuals
    assert number(z) == 6 and number(w) == 2
