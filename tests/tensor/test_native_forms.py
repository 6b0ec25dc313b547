"""Recorded functions in machine code: results, keys, errors and references as in Python."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import pickle
import subprocess
import sys
import types
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_inplace_random import QUIET, run

import thalweg
from thalweg.tensor import hits
from thalweg.tensor.exclusive import shared
from thalweg.tensor.flush import restart
from thalweg.tensor.trace import local, trie


@pytest.fixture(autouse=True)
def native():
    """Native forms are in the way of calls, wherever this interpreter can have them."""
    assert hits.install() == hits.supported()
    restart()
    yield
    hits.remove()


def pair():
    x = thalweg.tensor(np.arange(12.0, dtype=np.float32).reshape(3, 4) / 7)
    y = thalweg.tensor(np.ones((3, 4), np.float32), requires_grad=True)
    return x, y


def everything(x, y):
    """Calls of every shape that keys know: operators, numbers, keywords, lists, views of views."""
    z = (x + y) * 0.5 - 2
    z = 1 - z.tanh() / 3.0
    z = thalweg.softmax(z, -1) + z.sum(dim=1, keepdim=True) + z.mean([0, 1])
    v = z.t().reshape(2, 6)[:, 1:4].unsqueeze(0)
    w = v.permute(2, 1, 0) + v.transpose(0, 1).mean(dim=(0, 2), keepdim=False).sum()
    c = thalweg.cat([w, w], dim=0).clamp(min=0.1, max=None).to(thalweg.float64)
    return c, v, thalweg.where(z > 0.5, z, 0.25), z.detach(), z.flatten()


def values(tensors):
    return [t.detach().numpy().copy() for t in tensors]


def python_calls(work):
    """Python functions of the recorder that run during ``work()``."""
    seen = []

    def note(frame, event, arg):
        if event == "call" and "thalweg" in frame.f_code.co_filename:
            seen.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        kept = work()
    finally:
        sys.setprofile(None)
    del kept
    return seen


def test_results_are_those_of_the_python_forms():
    x, y = pair()
    native_results = [values(everything(x, y)) for _ in range(3)][-1]
    size = trie.size
    hits.remove()
    restart()
    python_results = values(everything(x, y))
    assert trie.size == size, "both walk the same states"
    for ours, theirs in zip(native_results, python_results):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@given(st.data())
@settings(QUIET, max_examples=30)
def test_random_programs_of_views_and_writes(data):
    """As in `test_inplace_random`: against PyTorch, aliasing included."""
    hits.install()
    run(data, steps=8, every=4)


def test_hits_run_no_python():
    x, y = pair()

    def work():
        z = (x + y) * 0.5
        z = (1 - z) / x
        z = z.tanh() + z.sum(dim=1, keepdim=True) + z.mean((0, 1))
        v = z.t().transpose(0, 1)
        return v.reshape(12), z.to, z

    for _ in range(3):
        kept = x + y  # the operands enter the trace
        work()
        thalweg.softmax(kept, -1)
        restart()
    assert local.trace is shared.trace
    kept = x + y
    if hits.supported():
        assert python_calls(work) == []
        # Functions of modules are reached through one line of Python.
        assert python_calls(lambda: thalweg.softmax(kept, -1)) == ["call"]


@pytest.mark.parametrize(
    "values", [(0.0, -0.0), (1, 1.0), (1, True), (2, 2.0), (float("nan"), 1.5)]
)
def test_numbers_that_are_equal_are_not_confused(values):
    x = thalweg.tensor([-1.0, 3.0])
    whole = thalweg.tensor([3, 4])
    for _ in range(3):
        for value in values:
            expected = np.copysign(np.float32(1), np.float32(value))
            result = thalweg.copysign(x.abs() * 0 + 1, value)
            np.testing.assert_array_equal(result.numpy(), [expected, expected])
            assert (whole * value).dtype is (
                thalweg.float32 if isinstance(value, float) else thalweg.int64
            )
        restart()


def test_varying_numbers_become_arguments():
    x = thalweg.tensor([1.0, 2.0])
    for i in range(30):
        assert (x * (i + 0.5)).tolist() == [i + 0.5, 2 * (i + 0.5)]
        assert (i - x).tolist() == [i - 1.0, i - 2.0]
    before = trie.size
    for i in range(30, 60):
        assert (x * (i + 0.5)).tolist() == [i + 0.5, 2 * (i + 0.5)]
    assert trie.size == before


def test_writes_to_a_base_reach_views_made_by_native_code():
    for _ in range(3):
        x = thalweg.zeros(3, 4) + 0
        row, column = x[1], x.t()[2]
        inner = x.reshape(12).view(3, 4).t()
        x += 1
        assert row.tolist() == [1.0] * 4 and column.tolist() == [1.0] * 3
        row.mul_(5)
        assert (inner + 0)[:, 1].tolist() == [5.0] * 4
        assert inner._base is x and row._base is x and inner._version == x._version == 2


def test_errors_are_those_of_the_python_forms():
    x, y = pair()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"(?s)size of tensor a .*test_native_forms.py:\d+"):
            (x + y) * thalweg.zeros(5)
        with pytest.raises(TypeError):
            x + "a"
        with pytest.raises(TypeError):
            x.sum(dim=object())
        with pytest.raises(TypeError):
            thalweg.exp([1.0])
        with pytest.raises(TypeError):
            thalweg.Tensor.tanh()
        with pytest.raises(TypeError):
            x.tanh(1, 2, 3, wrong=4)
        with pytest.raises(IndexError):
            thalweg.softmax(x, 7)
        assert (x == "a") is False and x.__add__("a") is NotImplemented
    assert np.isfinite((x + y).detach().numpy()).all()


def test_operators_know_other_kinds_of_operands():
    x, _ = pair()
    array = np.full((3, 4), 2.0, np.float32)
    for _ in range(2):
        assert (x + array).tolist() == (array + x).tolist() == (x + 2).tolist()
        assert (x * np.float32(2)).tolist() == (x * 2).tolist() == (True * x * 2).tolist()
        assert (2**x).tolist() == (thalweg.tensor(2) ** x).tolist()


class Sub(thalweg.Tensor):
    def tanh(self):
        return super().tanh() + 1


def test_forms_are_used_like_functions():
    x, _ = pair()
    tanh = thalweg.Tensor.tanh
    plain = np.tanh(x.numpy())
    for call in (tanh, functools.partial(tanh, x)):
        args = () if isinstance(call, functools.partial) else (x,)
        np.testing.assert_allclose(call(*args).tolist(), plain, rtol=1e-6)
    np.testing.assert_allclose(next(map(tanh, [x])).tolist(), plain, rtol=1e-6)
    bound = x.add
    assert bound(x).tolist() == thalweg.Tensor.__add__(x, x).tolist() == (x + x).tolist()
    assert tanh.__name__ == "tanh" and tanh.__doc__ and "tanh" in repr(tanh)
    assert list(inspect.signature(tanh).parameters) == ["input"]
    assert copy.deepcopy(tanh) is tanh and copy.copy(tanh) is tanh
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(tanh)
    if hits.supported():
        kind = type(tanh)
        assert not isinstance(tanh, types.FunctionType)
        with pytest.raises(TypeError):
            kind()
        with pytest.raises(TypeError):
            object.__new__(kind)
        with pytest.raises(TypeError):
            type("Derived", (kind,), {})


def test_functions_of_modules_stay_the_same_objects():
    relu, softmax = thalweg.nn.functional.relu, thalweg.softmax
    hits.remove()
    assert thalweg.nn.functional.relu is relu and thalweg.softmax is softmax
    assert hits.install() == hits.supported()
    assert thalweg.nn.functional.relu is relu and thalweg.softmax is softmax


def counts():
    gc.collect()
    kept = [None, True, False, thalweg.Tensor, hits.Extra, float, int, tuple, "", shared.trace]
    return [sys.getrefcount(k) for k in kept], len(gc.get_objects())


def test_references_are_neither_lost_nor_kept():
    x, y = pair()

    def round():
        for _ in range(100):
            everything(x, y)
            with pytest.raises(TypeError):
                x + "a"
        restart()

    for _ in range(3):
        round()
    before, objects = counts()
    for _ in range(5):
        round()
    after, objects_after = counts()
    # A reference lost or kept would count 500 times; what else lives in the process moves a little.
    assert [abs(a - b) < 400 for a, b in zip(before, after)] == [True] * len(before)
    assert objects_after - objects < 400  # the collector may find what other tests left


def test_every_object_of_a_hit_has_its_references():
    x, y = pair()
    for _ in range(2):
        z = x + y
        kept = z.t(), z.t()
        restart()
    trace = local.trace
    z = x + y
    v = z.t()
    state = trace.state
    before = sys.getrefcount(state), sys.getrefcount(trace), sys.getrefcount(z)
    w = z.t()
    after = sys.getrefcount(state), sys.getrefcount(trace), sys.getrefcount(z)
    # The trace has moved on to another state; the new view refers to it and to its base.
    assert [b - a for a, b in zip(before, after)] == [-1, 2, 1]
    del kept
    # A handle that only its trace holds counts as dead, one that a name holds as alive.
    from thalweg.tensor.flush import live_slots

    assert live_slots(trace) == [z._slot, v._slot, w._slot]
    reference = weakref.ref(w)
    del w
    assert live_slots(trace) == [z._slot, v._slot] and reference() is not None
    restart()
    assert reference() is None and z._trace is None and v._trace is None


def test_the_garbage_collector_may_run_anywhere():
    x, y = pair()
    expected = values(everything(x, y))

    class Records:
        """Records from its finaliser, which the collector runs in the middle of a call."""

        def __init__(self):
            self.itself = self

        def __del__(self):
            (x + y).tanh()

    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(20):
            Records()
            found = everything(x, y)
            for ours, theirs in zip(values(found), expected):
                np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    finally:
        gc.set_threshold(*before)


def test_eager_mode_and_length_limits_take_the_python_forms():
    x, y = pair()
    for _ in range(2):
        with thalweg.eager():
            z = x + y
            assert z._buffer is not None
    with thalweg.core.flags.override(trace_limit=3):
        restart()
        for _ in range(3):
            z = x + y
            for _ in range(10):
                z = z + y
                assert len(local.trace.tensors) <= 4
    restart()
    assert z.tolist()[0][0] == 11.0


def test_gradient_modes_and_traced_functions():
    x, y = pair()
    for _ in range(3):
        with thalweg.no_grad():
            assert not (x * y).requires_grad
        assert (x * y).requires_grad
        gradient = thalweg.func.grad(lambda t: (t * y * x).tanh().sum())(y.detach())
        loss = (y * y * x).tanh().sum()
        (direct,) = thalweg.autograd.grad(loss, y)
        np.testing.assert_allclose(gradient.detach().numpy() * 2, direct.numpy(), rtol=1e-5)
        restart()


def test_functions_defined_later_get_native_forms():
    from thalweg.ops.function import FUNCTIONS, function
    from thalweg.tensor.attach import RECORDED

    @function("twice_for_native_forms", method=True)
    def twice(input):
        """Twice the input."""
        return input + input

    try:
        x, _ = pair()
        for _ in range(3):
            assert x.twice_for_native_forms().tolist() == (x + x).tolist()
            restart()
    finally:
        for table in (FUNCTIONS, RECORDED):
            del table["twice_for_native_forms"]
        del thalweg.Tensor.twice_for_native_forms


def test_several_threads():
    """As soon as a second thread records, native forms leave everything to the Python forms."""
    code = """
import threading, numpy as np, thalweg
from thalweg.tensor import hits
from thalweg.tensor.exclusive import shared
from thalweg.tensor.trace import local
assert hits.install() == hits.supported()
x = thalweg.ones(3)
bases = thalweg.zeros(4, 3) + 0
rows = [bases[i] for i in range(4)]
def work(i):
    for k in range(200):
        y = (x * 2 + k).tanh() + rows[i].t()
        if k % 50 == 0:
            y.sum().item()
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
for t in threads: t.start()
for k in range(200):
    z = (x + k) * 0.5
for t in threads: t.join()
bases += 1
assert shared.active and shared.trace is not local.trace
thalweg.synchronize()
assert not shared.active and shared.trace is local.trace, "the others have ended"
assert [r.tolist() for r in rows] == [[1.0] * 3] * 4 and z.tolist() == [100.0] * 3
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_installing_is_left_until_something_was_compiled():
    code = """
import sys, thalweg
from thalweg.tensor import hits
with thalweg.core.flags.override(backend="reference"):
    (thalweg.ones(3) + 1).tolist()
assert "llvmlite" not in sys.modules and not hits._replaced
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
