"""Random numbers: published vectors, distributions, states, and independence of how work is cut."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from scipy import stats

import thalweg
from thalweg.core.dtypes import int64
from thalweg.ir.node import make_input
from thalweg.ir.sbp import B, Signature, Split
from thalweg.ir.types import TensorType
from thalweg.nn import functional as F
from thalweg.ops.contract import Rank
from thalweg.ops.link import ops
from thalweg.ops.philox import philox_4x32

N = 40_000
MAX = 0xFFFFFFFF


@pytest.fixture(autouse=True)
def seeded():
    state = thalweg.get_rng_state()
    thalweg.manual_seed(1234)
    yield
    thalweg.set_rng_state(state)


# ---- bits


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0, 0, 0, 0], (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([MAX] * 4, (MAX, MAX), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_vectors(counter, key, words):
    """Known-answer tests of Random123, the library of Salmon et al. (2011)."""
    found = philox_4x32(np.array(counter, np.uint64).reshape(4, 1), key)
    assert " ".join(f"{w:08x}" for w in found[:, 0]) == words


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 2, 7), (2, 0)])
def test_every_split_gives_the_same_bits(shape, ranks):
    """Parts are cut from parts too, along every pair of dimensions."""
    op, key = ops.philox_bits, np.array([99, 3], np.int64)
    attrs = {"shape": shape, "offset": 5}
    whole = op.reference(key, **attrs)
    types = (TensorType((2,), int64), *op.infer_types((TensorType((2,), int64),), attrs))

    def cut(attrs, types, dims):
        if not dims:
            return op.reference(key, **attrs)
        signature = Signature((B,), (Split(dims[0]),))
        parts = []
        for index in range(ranks):
            rank = Rank(index, ranks)
            local = op.localize(attrs, signature, types, rank)
            inner = (types[0], types[1].with_shape(tuple(local["shape"])))
            parts.append(cut(local, inner, dims[1:]))
        return np.concatenate(parts, dims[0])

    for first in range(len(shape)):
        np.testing.assert_array_equal(cut(attrs, types, [first]), whole)
        for second in range(len(shape)):
            np.testing.assert_array_equal(cut(attrs, types, [first, second]), whole)


def test_bits_refuse_other_keys():
    with pytest.raises(RuntimeError, match="expected a key int64"):
        ops.philox_bits(make_input(TensorType((3,), int64)), shape=(2,))


# ---- distributions


def fits(array, name, *parameters):
    result = stats.kstest(np.asarray(array, np.float64).ravel(), name, parameters)
    assert result.pvalue > 1e-3, (name, result)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_continuous_distributions(dtype):
    kind = getattr(thalweg, dtype)
    blank = thalweg.zeros(N, dtype=kind)
    fits(thalweg.rand(N, dtype=kind).numpy(), "uniform")
    fits(thalweg.randn(N, dtype=kind).numpy(), "norm")
    fits(thalweg.empty(N, dtype=kind).uniform_(-2, 3).numpy(), "uniform", -2, 5)
    fits(blank.clone().normal_(1.0, 2.0).numpy(), "norm", 1.0, 2.0)
    fits(blank.clone().exponential_(2.0).numpy(), "expon", 0, 0.5)
    fits(blank.clone().cauchy_().numpy(), "cauchy")
    fits(blank.clone().log_normal_(0.0, 1.0).numpy(), "lognorm", 1)
    fits(thalweg.normal(thalweg.full((N,), 3.0), 2.0).numpy(), "norm", 3.0, 2.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves(dtype):
    kind = getattr(thalweg, dtype)
    uniform = thalweg.rand(N, dtype=kind).float().numpy()
    assert uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01 and abs(uniform.std() - 12**-0.5) < 0.01
    normal = thalweg.randn(N, dtype=kind).float().numpy()
    assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.03


def counted(array, probabilities):
    """Chi-squared test of integers 0, 1, 2, ... against their probabilities."""
    expected = np.asarray(probabilities) * array.size
    found = np.bincount(array.astype(np.int64).ravel(), minlength=len(expected))[: len(expected)]
    kept = expected > 5
    chi = ((found - expected)[kept] ** 2 / expected[kept]).sum()
    assert stats.chi2.sf(chi, kept.sum() - 1) > 1e-3, (found[kept], expected[kept])


def test_discrete_distributions():
    counted(thalweg.randint(0, 10, (N,)).numpy(), [0.1] * 10)
    counted(thalweg.bernoulli(thalweg.full((N,), 0.3)).numpy(), [0.7, 0.3])
    counted(thalweg.zeros(N).bernoulli_(0.3).numpy(), [0.7, 0.3])
    trials = thalweg.zeros(N).geometric_(0.3).numpy()
    assert trials.min() == 1
    counted(trials - 1, stats.geom.pmf(np.arange(1, 60), 0.3))
    wide = thalweg.randint(-5, 1 << 62, (N,)).numpy()
    fits(wide / 2.0**62, "uniform")
    for rate in (0.3, 4.5, 40.0):
        draws = thalweg.poisson(thalweg.full((N,), rate)).numpy()
        counted(draws, stats.poisson.pmf(np.arange(200), rate))
    large = thalweg.poisson(thalweg.full((5000,), 3000.0, dtype=thalweg.float64)).numpy()
    assert abs(large.mean() - 3000) < 5 and abs(large.var() / 3000 - 1) < 0.1
    odd = thalweg.poisson(thalweg.tensor([float("nan"), -1.0, 0.0])).numpy()
    assert np.isnan(odd[:2]).all() and odd[2] == 0


def test_ends_of_bernoulli():
    assert thalweg.zeros(1000).bernoulli_(1.0).sum().item() == 1000
    assert thalweg.ones(1000).bernoulli_(0.0).sum().item() == 0


def test_randperm_is_a_permutation():
    for n in (0, 1, 10, 1000):
        np.testing.assert_array_equal(np.sort(thalweg.randperm(n).numpy()), np.arange(n))
    firsts = np.array([thalweg.randperm(4).numpy()[0] for _ in range(400)])
    counted(firsts, [0.25] * 4)


def test_multinomial():
    weights = thalweg.tensor([[0.0, 1.0, 2.0, 0.0, 5.0]])
    chances = np.array([0, 1, 2, 0, 5]) / 8
    counted(thalweg.multinomial(weights[0], N, replacement=True).numpy(), chances)
    many = weights.expand(N, 5)
    counted(thalweg.multinomial(many, 1).numpy(), chances)
    without = thalweg.multinomial(many[:2000], 3).numpy()
    assert (np.sort(without, 1) == [1, 2, 4]).all()
    # The first of a draw without replacement is distributed as a single draw.
    counted(thalweg.multinomial(many, 3).numpy()[:, 0], chances)


# ---- dropout


def test_dropout_keeps_the_mean():
    x = thalweg.ones(200, 100)
    y = F.dropout(x, 0.3).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs((y == 0).mean() - 0.3) < 0.02
    assert F.dropout(x, 0.3, training=False) is not None
    np.testing.assert_array_equal(F.dropout(x, 0.3, training=False).numpy(), x.numpy())
    np.testing.assert_array_equal(F.dropout(x, 1.0).numpy(), np.zeros((200, 100)))


def test_dropout_of_channels_and_gradient():
    x = thalweg.ones(50, 40, 3, 3, requires_grad=True)
    y = F.dropout2d(x, 0.3)
    y.sum().backward()
    array = y.detach().numpy()
    np.testing.assert_array_equal(array, np.broadcast_to(array[:, :, :1, :1], array.shape))
    np.testing.assert_array_equal(x.grad.numpy(), array)
    assert abs((array == 0).mean() - 0.3) < 0.05


def test_alpha_dropout_keeps_mean_and_variance():
    y = F.alpha_dropout(thalweg.randn(1000, 100), 0.3, training=True).numpy()
    assert abs(y.mean()) < 0.02 and abs(y.std() - 1) < 0.02


def test_gumbel_softmax_and_rrelu():
    hard = F.gumbel_softmax(thalweg.zeros(4000, 4), hard=True).numpy()
    assert (hard.sum(1) == 1).all()
    counted(hard.argmax(1), [0.25] * 4)
    slopes = F.rrelu(-thalweg.ones(N), training=True).numpy()
    fits(-slopes, "uniform", 1 / 8, 1 / 3 - 1 / 8)


def test_eval_mode_draws_nothing():
    layer = thalweg.nn.Dropout(0.5).eval()
    before = thalweg.get_rng_state()
    layer(thalweg.ones(100))
    assert thalweg.equal(thalweg.get_rng_state(), before)


# ---- states


def some():
    return [thalweg.rand(3), thalweg.randn(2, 2), thalweg.randint(0, 99, (5,)), thalweg.randperm(7)]


def arrays(tensors):
    return [t.numpy() for t in tensors]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_seeds_and_states():
    thalweg.manual_seed(7)
    first = arrays(some())
    state = thalweg.get_rng_state()
    second = arrays(some())
    assert not same(first, second)
    thalweg.set_rng_state(state)
    assert same(arrays(some()), second)
    thalweg.manual_seed(7)
    assert same(arrays(some()), first) and thalweg.initial_seed() == 7
    assert state.dtype is thalweg.uint8 and state.shape == (16,)
    with pytest.raises(RuntimeError, match="uint8 tensor of 16"):
        thalweg.set_rng_state(thalweg.zeros(16))
    with pytest.raises(TypeError, match="expected an int"):
        thalweg.manual_seed("7")


def close(first, second):
    """The same draws; kernels that compute more at once may round the last bit otherwise."""
    return all(
        a.shape == b.shape and a.dtype == b.dtype and np.allclose(a, b, rtol=1e-5, atol=1e-6)
        for a, b in zip(first, second, strict=True)
    )


def test_when_things_are_flushed_does_not_matter():
    thalweg.manual_seed(5)
    late = some()
    thalweg.manual_seed(5)
    early = [t.clone() for t in some()]
    thalweg.manual_seed(5)
    one_by_one = []
    for make in (lambda: thalweg.rand(3), lambda: thalweg.randn(2, 2),
                 lambda: thalweg.randint(0, 99, (5,)), lambda: thalweg.randperm(7)):  # fmt: skip
        one_by_one.append(make().numpy())
    with thalweg.eager():
        thalweg.manual_seed(5)
        eager = arrays(some())
    assert close(arrays(late), one_by_one) and close(arrays(early), one_by_one)
    assert close(eager, one_by_one)


def test_counters_advance_alike_on_known_and_unknown_paths():
    """A path walked before infers nothing, but draws on."""
    found = []
    for _ in range(4):
        thalweg.manual_seed(11)
        thalweg.synchronize()
        x = F.dropout(thalweg.ones(6), 0.5) + thalweg.zeros(6).uniform_()
        found.append((x.numpy(), thalweg.get_rng_state().numpy(), thalweg.rand(2).numpy()))
    for other in found[1:]:
        assert same(other, found[0])


def test_in_place_samplers_bump_the_version_and_keep_the_dtype():
    for name, args in [
        ("uniform_", ()), ("normal_", (1.0, 2.0)), ("bernoulli_", (0.5,)), ("exponential_", ()),
        ("geometric_", (0.5,)), ("log_normal_", ()), ("cauchy_", ()), ("random_", (5,)),
    ]:  # fmt: skip
        x = thalweg.zeros(4, dtype=thalweg.float64)
        version = x._version
        assert getattr(x, name)(*args) is x
        assert x._version == version + 1 and x.dtype is thalweg.float64
        before = x.numpy().copy()
        changed = not np.array_equal(before, getattr(x, name)(*args).numpy())
        assert changed or name in ("bernoulli_", "geometric_", "random_")


def test_an_array_that_shares_memory_sees_new_numbers():
    x = thalweg.zeros(4)
    array = x.numpy()
    thalweg.manual_seed(1)
    x.uniform_()
    thalweg.manual_seed(1)
    np.testing.assert_array_equal(array, thalweg.rand(4).numpy())


def test_a_view_can_be_filled():
    x = thalweg.zeros(3, 4)
    x[1].uniform_(1.0, 2.0)
    array = x.numpy()
    assert (array[1] >= 1).all() and not array[[0, 2]].any()


def test_generators_are_streams_of_their_own():
    first, second = (thalweg.Generator().manual_seed(3) for _ in range(2))
    before = thalweg.get_rng_state()
    a = thalweg.rand(4, generator=first)
    b = thalweg.rand(4, generator=second)
    assert thalweg.equal(a, b) and thalweg.equal(thalweg.get_rng_state(), before)
    assert not thalweg.equal(a, thalweg.rand(4, generator=first))
    twin = first.clone_state()
    assert thalweg.equal(thalweg.rand(4, generator=first), thalweg.rand(4, generator=twin))
    thalweg.manual_seed(3)
    assert thalweg.equal(thalweg.rand(4), a)
    filled = thalweg.zeros(4).uniform_(generator=thalweg.Generator().manual_seed(3))
    assert thalweg.equal(filled, a)


def test_gradient_modes_do_not_change_numbers():
    thalweg.manual_seed(2)
    plain = thalweg.rand(3).numpy()
    thalweg.manual_seed(2)
    with thalweg.no_grad():
        np.testing.assert_array_equal(thalweg.rand(3).numpy(), plain)
    thalweg.manual_seed(2)
    made = thalweg.rand(3, requires_grad=True)
    assert made.requires_grad and made.is_leaf
    np.testing.assert_array_equal(made.detach().numpy(), plain)


def test_threads_draw_from_one_generator():
    """No two threads get the same numbers, whatever their order."""
    found = []

    def work():
        found.append(thalweg.rand(8).numpy())

    for _ in range(4):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len({a.tobytes() for a in found}) == 4


def test_fork_rng():
    before = thalweg.get_rng_state()
    with thalweg.random.fork_rng():
        thalweg.manual_seed(0)
        thalweg.rand(5)
    assert thalweg.equal(thalweg.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("rand", (2, -1)), ("randint", (5, 5, (2,))), ("randperm", (-2,)),
        ("multinomial", ("x", 9)), ("normal", (0.0, -1.0, (2,))),
    ],
)  # fmt: skip
def test_wrong_arguments_raise_what_pytorch_raises(name, args):
    def given(library):
        return [library.ones(4) if a == "x" else a for a in args]

    with pytest.raises((RuntimeError, TypeError, ValueError)) as theirs:
        getattr(torch, name)(*given(torch))
    with pytest.raises(theirs.type):
        getattr(thalweg, name)(*given(thalweg))
