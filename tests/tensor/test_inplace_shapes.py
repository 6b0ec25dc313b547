"""In-place methods that change shapes: what shared memory before goes on sharing it."""

import gc

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

import thalweg

LIBRARIES = (thalweg, torch)
QUIET = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def facts(x):
    # Strides of single elements mean nothing.
    strides = [s for s, extent in zip(x.stride(), x.shape) if extent > 1]
    return tuple(x.shape), strides, x.storage_offset(), x._version, x.is_leaf, x.requires_grad


def flat(x):
    return x.detach().reshape(-1).clone()


def bases(lib):
    x = lib.arange(6.0).reshape(2, 3).clone()
    row, turned = x[0], x.t()
    assert x.t_() is x
    x[0, 0] = 50
    row[1] = 7
    turned[2] = -1
    x.unsqueeze_(0).transpose_(0, 2)
    x += 1
    assert row._base is x and turned._base is x and x._base is None
    assert row._is_view() and not x._is_view()
    return [x, row, turned]


def views(lib):
    y = lib.arange(12.0).reshape(3, 4).clone()
    z = y[:, 1:]
    z.unsqueeze_(0).swapaxes_(0, 1)
    z.add_(1)
    y[0] = 9
    z.squeeze_(1).t_()
    z[0] *= 2
    assert z._base is y
    return [y, z, z.squeeze_()]


def histories(lib):
    a = lib.arange(6.0).reshape(2, 3).requires_grad_()
    b = a * 2
    first = b[1]
    b.t_()
    b.mul_(b.detach() + 1)
    (b * lib.arange(6.0).reshape(3, 2)).sum().backward()
    return [flat(a.grad), flat(b), flat(first)]


def leaves(lib):
    a = lib.arange(6.0).reshape(2, 3).requires_grad_()
    with pytest.raises(RuntimeError, match="leaf"):
        a.t_()
    with lib.no_grad():
        a.t_()
    (a * a).sum().backward()
    detached = a.detach()
    detached.t_().unsqueeze_(-1)
    return [a.detach(), flat(a.grad), detached]


def flushed(lib):
    x = lib.zeros(2, 3) + 1
    row = x[1]
    x.sum().item()
    x.t_()
    x.sum().item()
    row.mul_(3)
    x[0].sub_(1)
    return [x, row]


@pytest.mark.parametrize("program", [bases, views, histories, leaves, flushed])
def test_programs_agree(program):
    for _ in range(2):  # a miss, then hits
        ours, theirs = (program(lib) for lib in LIBRARIES)
        for a, b in zip(ours, theirs):
            assert facts(a) == facts(b)
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@given(st.data())
@QUIET
def test_random_programs(data):
    """A tensor and views of it, in which shapes change and numbers are written."""

    def pick(count):
        return data.draw(st.integers(0, count - 1))

    pair = [[lib.arange(12.0).reshape(2, 1, 6).clone()] for lib in LIBRARIES]
    for _ in range(8):
        at, what = pick(len(pair[0])), pick(7)
        rank = pair[1][at].ndim
        dim, other = pick(max(rank, 1)), pick(max(rank, 1))
        for tensors in pair:
            x = tensors[at]
            if what == 0 and rank:
                x.transpose_(dim, other)
            elif what == 1 and rank < 5:
                x.unsqueeze_(dim)
            elif what == 2:
                x.squeeze_()
            elif what == 3:
                x.add_(at + 1)
            elif what == 4 and rank and x.shape[dim] > 1:
                tensors.append(x.narrow(dim, 1, x.shape[dim] - 1))
            elif what == 5 and rank > 1:
                tensors.append(x.transpose(dim, other))
            elif what == 6:
                x.sum().item()
    for a, b in zip(*pair):
        assert facts(a) == facts(b)
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("lib", LIBRARIES)
def test_memory_shared_with_numpy(lib):
    x = lib.ones(2, 3)
    array = x.numpy()
    x.t_()
    array[0, 1] = 4
    x[2, 1] = 8
    assert x[1, 0] == 4 and array[1, 2] == 8 and x.numpy().shape == (3, 2)


@pytest.mark.parametrize("lib", LIBRARIES)
def test_errors_change_nothing(lib):
    x = lib.ones(2, 3, 4)
    for wrong in (lambda: x.t_(), lambda: x.unsqueeze_(9), lambda: x.transpose_(0, 7)):
        with pytest.raises((RuntimeError, IndexError)):
            wrong()
    parts = (lib.ones(2, 3).requires_grad_() * 1).split(1)
    with pytest.raises(RuntimeError, match=r"multiple views|is a view and is being modified"):
        parts[0].squeeze_()
    assert tuple(x.shape) == (2, 3, 4) and x._version == 0


def test_hidden_storage_dies_with_its_tensors():
    x = thalweg.zeros(2, 3)
    x.t_()
    base = x._extra.base
    holders = [h for h in gc.get_referrers(base) if isinstance(h, thalweg.tensor.__class__)]
    assert not holders and base._extra.hidden() is x
    thalweg.synchronize()
    del x
    assert base._extra.hidden() is None
