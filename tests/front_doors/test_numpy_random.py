"""`thalweg.numpy.random` draws NumPy's numbers."""

import numpy
import pytest

import thalweg.numpy as np


@pytest.mark.parametrize("code", [
    "rand(2, 3)", "randn(4)", "randint(0, 9, (2, 2))", "uniform(-1, 1, 5)", "normal(2, 3, (2,))",
    "permutation(6)", "choice(5, 3, replace=False)", "standard_normal(3)", "random((2, 2))",
    "poisson(3, 4)", "exponential(2.0, 3)", "binomial(5, 0.5, 4)", "rand()", "beta(1, 2, 3)",
])  # fmt: skip
def test_same_seed_same_numbers(code):
    numpy.random.seed(3)
    wanted = eval("numpy.random." + code, {"numpy": numpy})
    np.random.seed(3)
    made = eval("np.random." + code, {"np": np})
    assert numpy.asarray(made).dtype == numpy.asarray(wanted).dtype
    numpy.testing.assert_array_equal(numpy.asarray(made), wanted)


def test_generators():
    ours, theirs = np.random.default_rng(5), numpy.random.default_rng(5)
    numpy.testing.assert_array_equal(
        numpy.asarray(ours.normal(size=(2, 3))), theirs.normal(size=(2, 3))
    )
    assert isinstance(ours.integers(0, 9, 4), np.ndarray)
    theirs.integers(0, 9, 4)
    numpy.testing.assert_array_equal(
        numpy.asarray(ours.permutation(np.arange(5))), theirs.permutation(numpy.arange(5)),
    )  # fmt: skip
    x, y = np.arange(6), numpy.arange(6)
    numpy.asarray(ours.random(3)), theirs.random(3)
    ours.shuffle(x), theirs.shuffle(y)
    assert x.tolist() == y.tolist()
    state, same = np.random.RandomState(1), numpy.random.RandomState(1)
    assert state.rand(2).tolist() == same.rand(2).tolist()


def test_shuffle_in_place():
    np.random.seed(0)
    x = np.arange(5)
    np.random.shuffle(x)
    numpy.random.seed(0)
    y = numpy.arange(5)
    numpy.random.shuffle(y)
    assert x.tolist() == y.tolist()


def test_a_numpy_program_trains():
    """Two-layer regression with hand-written gradients: the same losses as under NumPy."""
    losses = {}
    for name, xp in (("numpy", numpy), ("thalweg", np)):
        xp.random.seed(0)
        x, y = xp.random.randn(16, 8), xp.random.randn(16, 3)
        w1, w2 = xp.random.randn(8, 12), xp.random.randn(12, 3)
        history = []
        for _ in range(20):
            hidden = xp.maximum(x.dot(w1), 0)
            predicted = hidden.dot(w2)
            loss = xp.square(predicted - y).sum()
            grad_predicted = 2.0 * (predicted - y)
            grad_w2 = hidden.T.dot(grad_predicted)
            grad_hidden = grad_predicted.dot(w2.T)
            grad_hidden[hidden <= 0] = 0
            w1 -= 1e-3 * x.T.dot(grad_hidden)
            w2 -= 1e-3 * grad_w2
            history.append(float(loss))
        losses[name] = history
    numpy.testing.assert_allclose(losses["thalweg"], losses["numpy"], rtol=1e-10)
    assert losses["numpy"][-1] < losses["numpy"][0] / 2
