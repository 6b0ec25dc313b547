"""The gamma distribution and what is made of gamma numbers: beta, Dirichlet, χ², Student's t."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import (
    Tensor,
    autograd,
    digamma,
    empty,
    float64,
    full_like,
    lgamma,
    no_grad,
    special,
    stack,
    where,
    zeros_like,
)
from . import constraints
from .distribution import Distribution, broadcast_all

_ATTEMPTS = 64


def _draw(alpha: Tensor) -> Tensor:
    """Gamma numbers of the given shapes, rate 1: Marsaglia and Tsang (2000), with one more shape
    and a power of a uniform number below 1. Attempts are made until all were accepted."""
    a = alpha.detach().to(float64)
    small = a < 1
    d = where(small, a + 1, a) - 1 / 3
    c = 1 / (9 * d).sqrt()
    found, missing = zeros_like(a), a == a
    for _ in range(_ATTEMPTS):
        x = empty(a.shape, dtype=float64).normal_()
        u = empty(a.shape, dtype=float64).uniform_(0, 1)
        v = (1 + c * x) ** 3
        accepted = (v > 0) & (u.log() < 0.5 * x**2 + d - d * v + d * v.log())
        found = where(missing & accepted, d * v, found)
        missing = missing & ~accepted
        if not bool(missing.any()):
            break
    boost = (1 - empty(a.shape, dtype=float64).uniform_(0, 1)) ** (1 / a)
    found = where(small, found * boost, found)
    tiny = 2.0**-126 if alpha.dtype.itemsize < 8 else 2.0**-1022
    return found.clamp_min(tiny).to(alpha.dtype)


class _StandardGamma(autograd.Function):
    """Draws whose gradient is implicit: the distribution function at the draw stays the same, so
    dz/da = -(dF/da) / p(z) (Figurnov et al. 2018, arXiv 1805.08498)."""

    @staticmethod
    def forward(ctx: Any, alpha: Tensor) -> Tensor:
        drawn = _draw(alpha)
        ctx.save_for_backward(alpha, drawn)
        return drawn

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        alpha, drawn = ctx.saved_tensors
        with no_grad():
            a, z = alpha.to(float64), drawn.to(float64)
            h = 1e-4 * a.clamp_max(1.0)
            above, below = a + h, a - h
            # Whichever of the two tails is small has the digits.
            lower = special.gammainc(above, z) - special.gammainc(below, z)
            upper = special.gammaincc(below, z) - special.gammaincc(above, z)
            slope = where(z < a, lower, upper) / (2 * h)
            density = ((a - 1) * z.log() - z - lgamma(a)).exp()
            # Far below the mean F = z^a / Gamma(a + 1), where both vanish.
            near_zero = z * (digamma(a + 1) - z.log()) / a
            found = where(density * z > 1e-200, -slope / density, near_zero)
        return grad * found.to(grad.dtype)


def standard_gamma(alpha: Tensor) -> Tensor:
    """Differentiable gamma numbers of shape ``alpha`` and rate 1."""
    return _StandardGamma.apply(alpha)  # type: ignore[no-any-return]


class Gamma(Distribution):
    """The gamma distribution of shape ``concentration`` and the given ``rate``."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {
        "concentration": constraints.positive, "rate": constraints.positive,
    }  # fmt: skip
    support = constraints.nonnegative

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return standard_gamma(self.concentration.expand(*shape)) / self.rate.expand(*shape)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate**2

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        shape, rate = self.concentration, self.rate
        return shape.xlogy(rate) + (shape - 1).xlogy(value) - rate * value - lgamma(shape)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return special.gammainc(self.concentration, self.rate * value)  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - self.rate.log() + lgamma(a) + (1 - a) * digamma(a)


class Chi2(Gamma):
    """The sum of the squares of ``df`` normal numbers."""

    arg_constraints: ClassVar[Any] = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        (self.df,) = broadcast_all(df)
        super().__init__(0.5 * self.df, 0.5, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return type(self)(self.df.expand(*batch_shape), validate_args=False)


class Dirichlet(Distribution):
    """Points of a simplex (..., k), with ``concentration`` (..., k) at its corners."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {
        "concentration": constraints.independent(constraints.positive, 1)
    }
    support = constraints.simplex

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.ndim < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        shape = concentration.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        drawn = standard_gamma(self.concentration.expand(*self._extended_shape(sample_shape)))
        return drawn / drawn.sum(-1, keepdim=True)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (total - self.concentration) / (total**2 * (total + 1))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        a = self.concentration
        return (a - 1).xlogy(value).sum(-1) + lgamma(a.sum(-1)) - lgamma(a).sum(-1)

    def entropy(self) -> Tensor:
        a = self.concentration
        k, total = a.shape[-1], a.sum(-1)
        spread = lgamma(a).sum(-1) - lgamma(total) - (k - total) * digamma(total)
        return spread - ((a - 1) * digamma(a)).sum(-1)


class Beta(Distribution):
    """Numbers in [0, 1] with density proportional to x^(a-1) (1-x)^(b-1)."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {
        "concentration1": constraints.positive, "concentration0": constraints.positive,
    }  # fmt: skip
    support = constraints.unit_interval

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    @property
    def _pair(self) -> Dirichlet:
        both = stack([self.concentration1, self.concentration0], -1)
        return Dirichlet(both, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._pair.rsample(sample_shape).select(-1, 0)

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        return (self.concentration1 - 1) / (self.concentration1 + self.concentration0 - 2)

    @property
    def variance(self) -> Tensor:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total**2 * (total + 1))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return self._pair.log_prob(stack([value, 1 - value], -1))

    def entropy(self) -> Tensor:
        return self._pair.entropy()


class StudentT(Distribution):
    """``loc + scale * t`` for Student's t of ``df`` degrees of freedom."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {
        "df": constraints.positive, "loc": constraints.real, "scale": constraints.positive,
    }  # fmt: skip
    support = constraints.real

    def __init__(
        self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        x = empty(shape, dtype=self.df.dtype).normal_()
        z = 2 * standard_gamma((self.df / 2).expand(*shape))
        return self.loc + self.scale * x * (z / self.df).rsqrt()

    @property
    def mean(self) -> Tensor:
        return where(self.df > 1, self.loc, full_like(self.loc, math.nan))

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        finite = self.scale**2 * self.df / (self.df - 2)
        rest = where(self.df > 1, full_like(self.df, math.inf), full_like(self.df, math.nan))
        return where(self.df > 2, finite, rest)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        y, v = (value - self.loc) / self.scale, self.df
        norm = self.scale.log() + 0.5 * (v * math.pi).log() + lgamma(0.5 * v)
        return -0.5 * (v + 1) * (y**2 / v).log1p() - norm + lgamma(0.5 * (v + 1))

    def entropy(self) -> Tensor:
        v = self.df
        log_beta = lgamma(0.5 * v) + math.lgamma(0.5) - lgamma(0.5 * (1 + v))
        gap = digamma(0.5 * (1 + v)) - digamma(0.5 * v)
        return self.scale.log() + 0.5 * (v + 1) * gap + 0.5 * v.log() + log_beta


__all__ = ["Beta", "Chi2", "Dirichlet", "Gamma", "StudentT", "standard_gamma"]
