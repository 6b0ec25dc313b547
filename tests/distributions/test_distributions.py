"""Distributions against PyTorch's: densities, moments, entropies, divergences, and draws by their
moments and gradients."""

import numpy as np
import pytest
import torch

import thalweg
from thalweg import distributions as ours

theirs = torch.distributions
P = {"positive": [0.5, 1.0, 2.5], "other": [1.5, 0.7, 3.0], "real": [-1.0, 0.0, 2.0]}
PROBS = [0.2, 0.5, 0.9]
SIMPLEX = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]
MATRIX = [[2.0, 0.5], [0.5, 1.0]]

# Name, parameters, parameters of another one for the divergence, values, whether values are reals.
CASES = [
    ("Normal", (P["real"], P["positive"]), (P["other"], P["other"]), [-1.0, 0.5, 4.0]),
    ("LogNormal", (P["real"], P["positive"]), (P["other"], P["other"]), [0.1, 0.5, 4.0]),
    ("HalfNormal", (P["positive"],), (P["other"],), [0.1, 0.5, 4.0]),
    ("Laplace", (P["real"], P["positive"]), (P["other"], P["other"]), [-1.0, 0.5, 4.0]),
    ("Cauchy", (P["real"], P["positive"]), None, [-1.0, 0.5, 4.0]),
    ("Gumbel", (P["real"], P["positive"]), None, [-1.0, 0.5, 4.0]),
    ("Exponential", (P["positive"],), (P["other"],), [0.1, 0.5, 4.0]),
    (
        "Uniform", ([0.0, -1.0, 1.0], [1.0, 2.0, 5.0]), ([-1.0, 0.0, 0.0], [3.0, 3.0, 3.0]),
        [0.5, 1.0, 2.0],
    ),
    ("Gamma", (P["positive"], P["other"]), (P["other"], P["positive"]), [0.1, 0.5, 4.0]),
    ("Beta", (P["positive"], P["other"]), (P["other"], P["positive"]), [0.1, 0.5, 0.9]),
    ("Chi2", (P["positive"],), None, [0.1, 0.5, 4.0]),
    ("StudentT", ([0.5, 1.5, 3.0], P["real"], P["positive"]), None, [0.1, 0.5, 4.0]),
    ("Dirichlet", ([[0.5, 1.0, 2.0], [3.0, 1.0, 1.0]],), ([[1.0, 2.0, 3.0]] * 2,), SIMPLEX),
    ("Bernoulli", (PROBS,), ([0.5, 0.1, 0.3],), [0.0, 1.0, 1.0]),
    ("Geometric", (PROBS,), ([0.5, 0.1, 0.3],), [0.0, 1.0, 5.0]),
    ("Categorical", (SIMPLEX,), ([[0.3, 0.3, 0.4]] * 2,), [2.0, 0.0]),
    ("OneHotCategorical", (SIMPLEX,), ([[0.3, 0.3, 0.4]] * 2,), [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
    ("Poisson", (P["positive"],), (P["other"],), [0.0, 1.0, 5.0]),
    ("Binomial", (5, PROBS), (5, [0.5, 0.1, 0.3]), [0.0, 2.0, 5.0]),
    (
        "MultivariateNormal", ([1.0, -1.0], MATRIX), ([0.0, 0.0], [[1.0, 0.2], [0.2, 3.0]]),
        [0.5, 0.3],
    ),
    ("HalfCauchy", (P["positive"],), None, [0.1, 0.5, 4.0]),
    ("InverseGamma", (P["positive"], P["other"]), None, [0.1, 0.5, 4.0]),
    ("Pareto", ([0.5, 1.0, 2.0], P["other"]), None, [0.6, 1.5, 4.0]),
    ("Weibull", (P["positive"], [1.5, 1.2, 3.0]), None, [0.1, 0.5, 4.0]),
    ("Kumaraswamy", ([1.5, 2.0, 3.0], [1.5, 1.7, 3.0]), None, [0.1, 0.5, 0.9]),
    ("LogisticNormal", ([0.3, -1.0], [0.5, 2.0]), None, SIMPLEX),
    ("RelaxedBernoulli", ([0.7], PROBS), None, [0.1, 0.5, 0.9]),
    ("RelaxedOneHotCategorical", ([0.7], SIMPLEX), None, SIMPLEX),
    ("NegativeBinomial", ([2.0, 3.0, 5.0], PROBS), None, [0.0, 1.0, 5.0]),
    ("Multinomial", (3, SIMPLEX), None, [[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]]),
    (
        "OneHotCategoricalStraightThrough", (SIMPLEX,), None,
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
    ),
    ("FisherSnedecor", ([3.0, 4.0, 9.0], [5.0, 6.0, 2.5]), None, [0.1, 0.5, 4.0]),
]  # fmt: skip
NAMES = [c[0] for c in CASES]


def made(library, tensor, name, parameters):
    args = [tensor(p) if isinstance(p, list) else p for p in parameters]
    return getattr(library, name)(*args)


def both(name, parameters):
    mine = made(ours, lambda p: thalweg.tensor(p, dtype=thalweg.float64), name, parameters)
    other = made(theirs, lambda p: torch.tensor(p, dtype=torch.float64), name, parameters)
    return mine, other


def agree(a, b, tolerance=1e-6):
    assert tuple(a.shape) == tuple(b.shape)
    np.testing.assert_allclose(a.detach().numpy(), b.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "parameters", "others", "values"), CASES, ids=NAMES)
def test_what_is_computed(name, parameters, others, values):
    mine, other = both(name, parameters)
    assert tuple(mine.batch_shape) == tuple(other.batch_shape)
    assert tuple(mine.event_shape) == tuple(other.event_shape)
    x, y = thalweg.tensor(values, dtype=thalweg.float64), torch.tensor(values, dtype=torch.float64)
    agree(mine.log_prob(x), other.log_prob(y))
    for what in ("mean", "variance", "stddev", "mode"):
        try:
            expected = getattr(other, what)
        except NotImplementedError:
            continue
        if not (what == "mode" and name in ("Beta", "Dirichlet")):  # at a border of the support
            agree(getattr(mine, what), expected)
    for what, arguments in (
        ("entropy", ()), ("cdf", (y,)), ("icdf", (torch.tensor(PROBS, dtype=torch.float64),))
    ):  # fmt: skip
        try:
            expected = getattr(other, what)(*arguments)
        except NotImplementedError:
            continue
        if name == "Binomial" and what == "entropy":
            continue  # PyTorch sums over the support
        agree(getattr(mine, what)(*(thalweg.tensor(a.numpy()) for a in arguments)), expected)
    if others is not None:
        q, r = both(name, others)
        agree(ours.kl_divergence(mine, q), theirs.kl_divergence(other, r))
    wide, wider = mine.expand((2, *mine.batch_shape)), other.expand((2, *other.batch_shape))
    agree(wide.log_prob(x), wider.log_prob(y))


@pytest.mark.parametrize(("name", "parameters"), [c[:2] for c in CASES], ids=NAMES)
def test_draws_have_the_moments(name, parameters):
    thalweg.manual_seed(3)
    mine, other = both(name, parameters)
    count = 4000
    drawn = mine.sample((count,))
    assert tuple(drawn.shape) == (count, *other.batch_shape, *other.event_shape)
    if name in ("Cauchy", "Categorical", "StudentT"):
        return
    assert bool(mine.support.check(drawn).all())
    try:
        mean, deviation = other.mean.numpy(), other.stddev.numpy()
    except NotImplementedError:  # then the average of the draws from PyTorch's
        torch.manual_seed(3)
        sample = other.sample((count,)).numpy()
        mean, deviation = sample.mean(0), 1.5 * sample.std(0)
    finite = np.isfinite(deviation)
    error = (drawn.numpy().mean(0) - mean)[finite] / (deviation[finite] / count**0.5)
    assert np.abs(error).max(initial=0.0) < 6


def test_categories_are_drawn_as_often_as_they_should_be():
    thalweg.manual_seed(4)
    drawn = ours.Categorical(thalweg.tensor(SIMPLEX)).sample((5000,)).numpy()
    found = np.stack([(drawn == k).mean(0) for k in range(3)], -1)
    np.testing.assert_allclose(found, SIMPLEX, atol=0.04)


@pytest.mark.parametrize("shape", [0.05, 0.7, 1.0, 4.0, 60.0])
def test_gradients_of_gamma_draws_are_those_of_the_distribution_function(shape):
    thalweg.manual_seed(5)
    a = thalweg.full((500,), shape, dtype=thalweg.float64, requires_grad=True)
    drawn = ours.Gamma(a, 1.0).rsample()
    (got,) = thalweg.autograd.grad(drawn.sum(), [a])
    z = torch.tensor(drawn.detach().numpy())
    expected = torch._standard_gamma_grad(torch.full((500,), shape, dtype=torch.float64), z)
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=2e-3, atol=1e-30)


def test_draws_are_differentiable():
    loc = thalweg.zeros(3, requires_grad=True)
    scale = thalweg.ones(3, requires_grad=True)
    drawn = ours.Normal(loc, scale).rsample((4,))
    drawn.sum().backward()
    assert loc.grad.tolist() == [4, 4, 4]
    np.testing.assert_allclose(scale.grad.numpy(), drawn.detach().numpy().sum(0), rtol=1e-6)


def test_independent_dimensions_are_one_event():
    base = ours.Normal(thalweg.zeros(2, 3), thalweg.ones(2, 3))
    mine = ours.Independent(base, 1)
    other = theirs.Independent(theirs.Normal(torch.zeros(2, 3), torch.ones(2, 3)), 1)
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    agree(mine.log_prob(thalweg.tensor(x)), other.log_prob(torch.tensor(x)))
    agree(mine.entropy(), other.entropy())
    assert (tuple(mine.batch_shape), tuple(mine.event_shape)) == ((2,), (3,))
    q = ours.Independent(ours.Normal(thalweg.ones(2, 3), thalweg.ones(2, 3)), 1)
    assert ours.kl_divergence(mine, q).tolist() == pytest.approx([1.5, 1.5])


def test_parametrizations_agree():
    matrix = thalweg.tensor(MATRIX)
    loc, x = thalweg.zeros(2), thalweg.tensor([0.3, -1.0])
    one = ours.MultivariateNormal(loc, matrix)
    two = ours.MultivariateNormal(loc, precision_matrix=thalweg.linalg.inv(matrix))
    three = ours.MultivariateNormal(loc, scale_tril=thalweg.linalg.cholesky(matrix))
    for d in (two, three):
        assert d.log_prob(x).item() == pytest.approx(one.log_prob(x).item(), rel=1e-4)
        assert thalweg.allclose(d.covariance_matrix, matrix, atol=1e-5)
    logits = ours.Bernoulli(logits=thalweg.tensor([0.0, 2.0]))
    assert thalweg.allclose(logits.probs, thalweg.tensor([0.0, 2.0]).sigmoid())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ours.Normal(0.0, -1.0), "Expected parameter scale"),
        (lambda: ours.Uniform(1.0, 0.0), "low>= high"),
        (lambda: ours.Bernoulli(), "Either `probs` or `logits`"),
        (lambda: ours.Bernoulli(1.5), "Expected parameter probs"),
        (lambda: ours.Normal(0.0, 1.0).log_prob(1.0), "must be a Tensor"),
        (lambda: ours.Exponential(1.0).log_prob(thalweg.tensor(-1.0)), "within the support"),
        (lambda: ours.Categorical(thalweg.tensor(1.0)), "at least one-dimensional"),
        (lambda: ours.MultivariateNormal(thalweg.zeros(2)), "Exactly one"),
    ],
)
def test_bad_parameters_and_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_divergences_without_a_rule():
    with pytest.raises(NotImplementedError, match="p type Normal and q type Poisson"):
        ours.kl_divergence(ours.Normal(0.0, 1.0), ours.Poisson(1.0))
    assert ours.Normal(0.0, 1.0, validate_args=False).log_prob(thalweg.tensor(0.0)).ndim == 0
    assert repr(ours.Normal(0.0, 1.0)) == "Normal(loc: 0.0, scale: 1.0)"
