"""Backward passes taken as one step: the same gradients, and only where nothing else takes part."""

from __future__ import annotations

import gc
import itertools
import weakref

import numpy as np
import pytest

import thalweg
from thalweg.core import flags
from thalweg.tensor import autograd, hits, repeat
from thalweg.tensor.flush import restart
from thalweg.tensor.trace import local, trie


@pytest.fixture(params=["python", "native"], autouse=True)
def form(request):
    """Shortcuts in Python, and as machine code where this interpreter can have it."""
    hits.remove()
    hits._tried = True  # nothing installs itself meanwhile
    if request.param == "native":
        assert hits.install() == hits.supported()
    restart()
    yield request.param
    hits.remove()


@pytest.fixture
def slow(monkeypatch):
    """Passes that took the long way, as the number of items of the list."""
    passes = []
    run = autograd.run_backward
    monkeypatch.setattr(autograd, "run_backward", lambda *a: (passes.append(1), run(*a))[1])
    return passes


_columns = itertools.count(4)


def leaves():
    """Two leaves of a shape that no other test records, so that none walks its paths."""
    values = np.random.default_rng(0).normal(size=(2, 3, next(_columns))).astype(np.float32)
    return tuple(thalweg.tensor(v, requires_grad=True) for v in values)


def loss_of(x, y):
    return (x * y + x.tanh()).sum()


def gradients(x, y):
    x.grad = y.grad = None
    loss_of(x, y).backward()
    return x.grad.numpy().copy(), y.grad.numpy().copy()


def expected(x, y):
    a, b = np.array(x.tolist()), np.array(y.tolist())  # nothing that shares memory
    return b + 1 - np.tanh(a) ** 2, a


def same(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_pass_that_was_seen_is_one_step(slow):
    x, y = leaves()
    for _ in range(4):
        same(gradients(x, y), expected(x, y))
    assert len(slow) == 1


def test_gradients_follow_the_values(slow):
    x, y = leaves()
    for _ in range(4):
        same(gradients(x, y), expected(x, y))
        with thalweg.no_grad():
            x += 1
    assert len(slow) <= 2  # x enters by another key once it was written to


def test_gradients_add_up():
    x, y = leaves()
    for _ in range(3):
        x.grad = y.grad = None
        for _ in range(3):
            loss_of(x, y).backward()
        same((x.grad.numpy() / 3, y.grad.numpy() / 3), expected(x, y))


def test_one_leaf_with_a_gradient_takes_the_long_way(slow):
    x, y = leaves()
    for _ in range(3):
        gradients(x, y)
    kept = x.grad.numpy().copy()
    y.grad = None
    loss_of(x, y).backward()
    same((x.grad.numpy() - kept, y.grad.numpy()), expected(x, y))
    assert len(slow) == 2


def test_hooks_of_leaves_are_run():
    x, y = leaves()
    for _ in range(3):
        gradients(x, y)
    handle = x.register_hook(lambda g: g * 2)
    seen = []
    other = y.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad is not None))
    for count in range(1, 4):
        gx, gy = gradients(x, y)
        same((gx / 2, gy), expected(x, y))
        assert seen == [True] * count
    handle.remove()
    other.remove()
    same(gradients(x, y), expected(x, y))


def test_hooks_of_results_are_run():
    x, y = leaves()
    for _ in range(3):
        gradients(x, y)
    for _ in range(3):
        x.grad = y.grad = None
        loss = loss_of(x, y)
        loss.register_hook(lambda g: g * 3)
        loss.backward()
        same((x.grad.numpy() / 3, y.grad.numpy() / 3), expected(x, y))


def test_a_second_pass_is_an_error():
    x, y = leaves()
    for _ in range(3):
        loss = loss_of(x, y)
        x.grad = y.grad = None
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def test_retained_graphs_take_the_long_way(slow):
    x, y = leaves()
    for _ in range(3):
        x.grad = y.grad = None
        loss = loss_of(x, y)
        loss.backward(retain_graph=True)
        loss.backward()
        same((x.grad.numpy() / 2, y.grad.numpy() / 2), expected(x, y))
    assert len(slow) == 6


def test_errors_are_those_of_the_long_way():
    x, y = leaves()
    for _ in range(3):
        gradients(x, y)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        (x * y).backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        x.detach().sum().backward()
    with pytest.raises(TypeError):
        loss_of(x, y).backward(bogus=1)


def test_the_mode_of_gradients_is_as_before():
    x, y = leaves()
    for _ in range(3):
        gradients(x, y)
        assert local.grad and (x * 2).requires_grad
        loss = loss_of(x, y)
        x.grad = y.grad = None
        with thalweg.no_grad():
            loss.backward()
            assert not (x * 2).requires_grad
        same((x.grad.numpy(), y.grad.numpy()), expected(x, y))


def test_pruning_forgets_shortcuts():
    x, y = leaves()
    for _ in range(3):
        gradients(x, y)
    x.grad = y.grad = None
    restart()
    before = flags.trie_limit
    try:
        flags.set("trie_limit", 1)
        trie.prune()
    finally:
        flags.set("trie_limit", before)
    same(gradients(x, y), expected(x, y))
    same(gradients(x, y), expected(x, y))


def test_nothing_is_leaked():
    x, y = leaves()
    for _ in range(3):
        gradients(x, y)
    grad = weakref.ref(x.grad)
    x.grad = None
    restart()
    gc.collect()
    assert grad() is None


def test_shortcuts_are_left_only_by_what_they_repeat():
    x, y = leaves()
    (x * y).sum().backward()
    x.grad = y.grad = None
    restart()
    loss = (x * y).sum()
    assert repeat.repeat(loss)
    assert not repeat.repeat(loss)  # nothing starts where the first one ended
    assert not repeat.repeat("no tensor")
    assert x.grad is not None and y.grad is not None
