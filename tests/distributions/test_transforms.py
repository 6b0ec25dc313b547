"""Transforms, and the distributions made with them, against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import thalweg

Make = Callable[[Any], Any]


def real(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).normal(size=shape)


def number(lib: Any, x: Any) -> Any:
    return lib.tensor(x, dtype=lib.float64)


# A transform of either library, and values of its domain.
CASES: dict[str, tuple[Make, np.ndarray[Any, Any]]] = {
    "exp": (lambda lib: lib.distributions.ExpTransform(), real(2, 3)),
    "sigmoid": (lambda lib: lib.distributions.SigmoidTransform(), real(2, 3)),
    "softplus": (lambda lib: lib.distributions.SoftplusTransform(), real(2, 3)),
    "tanh": (lambda lib: lib.distributions.TanhTransform(), real(2, 3)),
    "power": (
        lambda lib: lib.distributions.PowerTransform(number(lib, [2.0, 0.5, -1.0])),
        np.abs(real(2, 3)) + 0.1,
    ),
    "affine": (lambda lib: lib.distributions.AffineTransform(1.5, -2.0), real(2, 3)),
    "affine of tensors": (
        lambda lib: lib.distributions.AffineTransform(
            number(lib, [1.0, 2.0, 3.0]), number(lib, [0.5, 2.0, -3.0]), event_dim=1
        ),
        real(2, 3),
    ),
    "stick breaking": (lambda lib: lib.distributions.StickBreakingTransform(), real(2, 3)),
    "correlations": (lambda lib: lib.distributions.CorrCholeskyTransform(), real(2, 6)),
    "reshape": (lambda lib: lib.distributions.ReshapeTransform((6,), (2, 3)), real(4, 6)),
    "compose": (
        lambda lib: lib.distributions.ComposeTransform([
            lib.distributions.AffineTransform(0.5, 2.0), lib.distributions.SigmoidTransform(),
            lib.distributions.AffineTransform(-1.0, 3.0),
        ]),
        real(2, 3),
    ),
    "compose of events": (
        lambda lib: lib.distributions.ComposeTransform([
            lib.distributions.AffineTransform(0.5, 2.0),
            lib.distributions.StickBreakingTransform(), lib.distributions.PowerTransform(2.0),
        ]),
        real(2, 3),
    ),
    "independent": (
        lambda lib: lib.distributions.IndependentTransform(lib.distributions.ExpTransform(), 1),
        real(2, 3),
    ),
    "cat": (
        lambda lib: lib.distributions.CatTransform(
            [lib.distributions.ExpTransform(), lib.distributions.TanhTransform()], 1, [1, 2]
        ),
        real(2, 3),
    ),
    "stack": (
        lambda lib: lib.distributions.StackTransform(
            [lib.distributions.ExpTransform(), lib.distributions.AffineTransform(1.0, 2.0)], 0
        ),
        real(2, 3),
    ),
    "cdf": (
        lambda lib: lib.distributions.CumulativeDistributionTransform(
            lib.distributions.Normal(number(lib, 0.5), number(lib, 2.0))
        ),
        real(2, 3),
    ),
}  # fmt: skip


def agree(ours: Any, theirs: Any) -> None:
    assert tuple(ours.shape) == tuple(theirs.shape)
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_values_inverses_and_determinants(name: str) -> None:
    make, array = CASES[name]
    ours, theirs = make(thalweg), make(torch)
    x, z = thalweg.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    y, image = ours(x), theirs(z)
    agree(y, image)
    agree(ours.inv(y), theirs.inv(image))
    agree(ours.inv(y), z)
    found, expected = ours.log_abs_det_jacobian(x, y), theirs.log_abs_det_jacobian(z, image)
    agree(found, expected)
    agree(ours.inv.log_abs_det_jacobian(y, x), theirs.inv.log_abs_det_jacobian(image, z))
    (y.sum() + found.sum()).backward()
    (image.sum() + expected.sum()).backward()
    assert z.grad is not None
    agree(x.grad, z.grad)
    for what in ("domain", "codomain"):
        assert getattr(ours, what).event_dim == getattr(theirs, what).event_dim
    shape = tuple(array.shape)
    assert tuple(ours.forward_shape(shape)) == tuple(theirs.forward_shape(shape))
    assert tuple(ours.inverse_shape(tuple(y.shape))) == shape
    assert ours.bijective is True and ours.inv.inv is ours and ours != ours.inv


@pytest.mark.parametrize("name", ["SoftmaxTransform", "LowerCholeskyTransform",
                                  "PositiveDefiniteTransform", "AbsTransform"])  # fmt: skip
def test_transforms_without_determinants(name: str) -> None:
    array = real(2, 3, 3)
    ours, theirs = (getattr(lib.distributions, name)() for lib in (thalweg, torch))
    y, image = ours(thalweg.tensor(array)), theirs(torch.tensor(array))
    agree(y, image)
    agree(ours.inv(y), theirs.inv(image))
    with pytest.raises(NotImplementedError):
        ours.log_abs_det_jacobian(y, y)


def test_a_cache_keeps_the_last_pair() -> None:
    transform = thalweg.distributions.TanhTransform().with_cache(1)
    x = thalweg.tensor([20.0])  # whose inverse would be infinite
    assert transform.inv(transform(x)) is x
    with pytest.raises(ValueError, match="cache_size must be 0 or 1"):
        thalweg.distributions.ExpTransform(cache_size=2)


MADE: dict[str, Make] = {
    "affine of students": lambda lib: lib.distributions.TransformedDistribution(
        lib.distributions.StudentT(number(lib, [3.0, 5.0])),
        [lib.distributions.AffineTransform(number(lib, [1.0, 2.0]), number(lib, [2.0, 0.5]))],
    ),
    "log normal": lambda lib: lib.distributions.TransformedDistribution(
        lib.distributions.Normal(number(lib, [0.0, 1.0]), number(lib, [1.0, 2.0])),
        [lib.distributions.ExpTransform(), lib.distributions.AffineTransform(0.0, 2.0)],
    ),
    "logistic, turned round": lambda lib: lib.distributions.TransformedDistribution(
        lib.distributions.Uniform(number(lib, [0.0, 0.0]), number(lib, [1.0, 1.0])),
        [lib.distributions.SigmoidTransform().inv, lib.distributions.AffineTransform(1.0, -3.0)],
    ),
    "independent": lambda lib: lib.distributions.TransformedDistribution(
        lib.distributions.Independent(
            lib.distributions.Normal(number(lib, [0.0, 1.0]), number(lib, [1.0, 2.0])), 1
        ),
        lib.distributions.ExpTransform(),
    ),
    "stick breaking": lambda lib: lib.distributions.TransformedDistribution(
        lib.distributions.Normal(number(lib, [0.0]), number(lib, [1.0])),
        lib.distributions.StickBreakingTransform(),
    ),
    "mixture": lambda lib: lib.distributions.MixtureSameFamily(
        lib.distributions.Categorical(number(lib, [0.3, 0.7])),
        lib.distributions.Normal(number(lib, [-1.0, 2.0]), number(lib, [0.5, 1.0])),
    ),
    "mixture of vectors": lambda lib: lib.distributions.MixtureSameFamily(
        lib.distributions.Categorical(number(lib, [0.3, 0.7])),
        lib.distributions.Independent(
            lib.distributions.Normal(number(lib, real(2, 3)), number(lib, np.ones((2, 3)))), 1
        ),
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_distributions_made_of_others(name: str) -> None:
    ours, theirs = MADE[name](thalweg), MADE[name](torch)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape)
    assert tuple(ours.event_shape) == tuple(theirs.event_shape)
    value = theirs.sample((5,))
    mine = thalweg.tensor(value.numpy())
    agree(ours.log_prob(mine), theirs.log_prob(value))
    assert ours.sample((5,)).shape == tuple(value.shape)
    assert ours.has_rsample == theirs.has_rsample
    for what in ("mean", "variance"):
        try:
            expected = getattr(theirs, what)
        except NotImplementedError:
            continue
        agree(getattr(ours, what), expected)
    try:
        chance = theirs.cdf(value)
    except (NotImplementedError, RuntimeError):
        pass
    else:
        agree(ours.cdf(mine), chance)
    wide, expected = ours.expand((4, *ours.batch_shape)), theirs.expand((4, *theirs.batch_shape))
    assert tuple(wide.batch_shape) == tuple(expected.batch_shape)
    agree(wide.log_prob(mine[:4]), expected.log_prob(value[:4])) if not ours.batch_shape else None


def test_draws_have_gradients() -> None:
    loc = thalweg.tensor([1.0, 2.0], requires_grad=True)
    made = thalweg.distributions.TransformedDistribution(
        thalweg.distributions.Normal(loc, 1.0), thalweg.distributions.ExpTransform()
    )
    drawn = made.rsample((1000,))
    drawn.log().sum().backward()
    assert np.allclose(loc.grad.numpy(), 1000.0) and not made.sample().requires_grad


@pytest.mark.parametrize("way", ["biject_to", "transform_to"])
def test_transforms_to_constraints(way: str) -> None:
    def found(lib: Any) -> list[Any]:
        """PyTorch knows no bijection to Cholesky factors."""
        c, to = lib.distributions.constraints, getattr(lib.distributions, way)
        x = number(lib, real(2, 3, 3))
        return [
            to(k)(x) for k in (
                c.real, c.positive, c.unit_interval, c.interval(-1.0, 3.0), c.greater_than(2.0),
                c.less_than(1.0), c.simplex, c.independent(c.positive, 1), c.nonnegative,
                *([c.lower_cholesky] if way == "transform_to" else []),
            )
        ]  # fmt: skip

    for ours, theirs in zip(found(thalweg), found(torch)):
        agree(ours, theirs)
    with pytest.raises(NotImplementedError):
        getattr(thalweg.distributions, way)(thalweg.distributions.constraints.boolean)


def test_errors_name_what_is_wrong() -> None:
    d = thalweg.distributions
    normal = d.Normal(thalweg.zeros(2), thalweg.ones(2))
    with pytest.raises(ValueError, match="transforms must be a Transform or list"):
        d.TransformedDistribution(normal, [1])
    with pytest.raises(ValueError, match="needs to have shape with size at least 1"):
        d.TransformedDistribution(d.Normal(0.0, 1.0), d.StickBreakingTransform())
    with pytest.raises(ValueError, match="does not equal"):
        d.MixtureSameFamily(d.Categorical(thalweg.ones(3)), normal)
    with pytest.raises(ValueError, match="different numbers of elements"):
        d.ReshapeTransform((2,), (3,))
