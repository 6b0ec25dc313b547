"""Operands and results of runs, handled by machine code and by Python: the same bits and memory."""

from __future__ import annotations

import numpy as np
import pytest

import thalweg
from thalweg.core import flags
from thalweg.runtime import quick
from thalweg.runtime.buffer import Buffer
from thalweg.runtime.memory import statistics
from thalweg.tensor import hits
from thalweg.tensor.flush import restart


@pytest.fixture(params=["machine", "python"])
def way(request):
    hits.remove()
    hits._tried = True
    if request.param == "machine":
        assert hits.install() == hits.supported()
    restart()
    with flags.override(inline_limit=0, backend="native"):
        yield request.param
    hits.remove()


def train(steps):
    """Losses and weights of a small model, and how often the last steps took fresh memory."""
    thalweg.manual_seed(0)
    model = thalweg.nn.Sequential(thalweg.nn.Linear(6, 5), thalweg.nn.Tanh(),
                                  thalweg.nn.Linear(5, 3))  # fmt: skip
    x = thalweg.from_numpy(np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32))
    y = thalweg.tensor([0, 2, 1, 2])
    optimizer = thalweg.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for step in range(steps):
        if step == steps - 3:
            thalweg.synchronize()
            fresh = statistics.fresh
        optimizer.zero_grad()
        loss = thalweg.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    thalweg.synchronize()
    values = [p.detach().numpy().tolist() for p in model.parameters()]
    return losses, values, statistics.fresh - fresh


_seen = {}


def test_training_is_the_same_to_the_bit(way):
    losses, values, fresh = train(12)
    assert losses[-1] < losses[0] / 2
    assert fresh == 0
    _seen.setdefault("losses", losses)
    _seen.setdefault("values", values)
    assert (losses, values) == (_seen["losses"], _seen["values"])


def test_memory_that_nobody_holds_is_taken_over(way):
    x = thalweg.ones(40, 50) * 2
    thalweg.synchronize()
    for _ in range(3):
        address = x._buffer.address()
        x += 1
        thalweg.synchronize()
        assert x._buffer.address() == address
    kept = x._buffer
    x += 1
    thalweg.synchronize()
    assert x._buffer.address() != kept.address()
    assert kept.get()[0, 0] == 5 and x.tolist()[39][49] == 6


def test_what_somebody_holds_is_not_taken_over(way):
    x = thalweg.ones(3, 7) * 2
    held = []
    for _ in range(8):
        held.append(x.detach().clone())
        x += 1
        thalweg.synchronize()
    assert [h.tolist()[0][0] for h in held] == [float(i) for i in range(2, 10)]
    assert x.tolist()[2][6] == 10


def test_results_that_are_inputs(way):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for x in (thalweg.tensor(array), thalweg.tensor(array) * 1):
        for _ in range(4):
            y, z = x.reshape(3, 2).clone(), x + 1
            thalweg.synchronize()
            assert y.tolist() == array.reshape(3, 2).tolist()
            assert z.tolist() == (array + 1).tolist()


def test_errors_of_inputs_are_passed_on(way):
    table = thalweg.ones(4, 2)
    for index in (3, 3, 3, 4):
        rows = thalweg.embedding(table, thalweg.tensor([index]))
        thalweg.tensor([0])
        restart()
        more = rows * 2
        restart()
        if index < 4:
            assert more.tolist() == [[2, 2]]
        else:
            with pytest.raises(IndexError):
                more.tolist()


def test_new_buffers_are_like_those_of_python():
    assert hits.install() == hits.supported()
    if quick.current is None:
        assert not hits.supported()
        return
    job = object()
    made = quick.current.buffers(3, job)
    assert [type(b) for b in made] == [Buffer] * 3 and len({id(b) for b in made}) == 3
    for buffer in made:
        assert buffer.job is job and buffer._array is None and buffer.memory is None
        assert buffer._address == 0 and buffer.overwritten == 0
    assert quick.current.buffers(0, job) == []
    hits.remove()
