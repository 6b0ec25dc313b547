"""Distributions of transformed values, and those that are best said so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from .. import Tensor, digamma, empty, full_like, lgamma, ones_like, where
from ..nn import functional as F
from . import constraints
from .discrete import Bernoulli, Categorical
from .distribution import Distribution, broadcast_all
from .gamma import Gamma
from .joint import Independent
from .normal import Cauchy, Exponential, Normal, Uniform
from .transform import Transform, summed
from .transform_joined import ComposeTransform
from .transform_numbers import AffineTransform, ExpTransform, PowerTransform, SigmoidTransform
from .transform_vectors import StickBreakingTransform

EULER = 0.57721566490153286060


class TransformedDistribution(Distribution):
    """``transforms``, one after the other, of the values of ``base_distribution``."""

    arg_constraints: ClassVar[Any] = {}

    def __init__(
        self, base_distribution: Distribution, transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        self.transforms = [transforms] if isinstance(transforms, Transform) else list(transforms)
        if not all(isinstance(t, Transform) for t in self.transforms):
            raise ValueError(
                f"transforms must be a Transform or list, but was {type(transforms).__name__}"
            )
        base_shape = (*base_distribution.batch_shape, *base_distribution.event_shape)
        whole = ComposeTransform(self.transforms)
        if len(base_shape) < whole.domain.event_dim:
            raise ValueError(
                f"base_distribution needs to have shape with size at least "
                f"{whole.domain.event_dim}, but got {base_shape}."
            )
        shape = whole.forward_shape(base_shape)
        expanded = whole.inverse_shape(shape)
        if tuple(expanded) != base_shape:
            cut = len(expanded) - len(base_distribution.event_shape)
            base_distribution = base_distribution.expand(expanded[:cut])
        more = whole.domain.event_dim - len(base_distribution.event_shape)
        if more > 0:
            base_distribution = Independent(base_distribution, more)
        self.base_dist = base_distribution
        change = whole.codomain.event_dim - whole.domain.event_dim
        dims = max(whole.codomain.event_dim, len(base_distribution.event_shape) + change)
        cut = len(shape) - dims
        super().__init__(shape[:cut], shape[cut:], validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.base_dist.has_rsample

    @property
    def support(self) -> Any:  # type: ignore[override]
        if not self.transforms:
            return self.base_dist.support
        found = self.transforms[-1].codomain
        more = len(self.event_shape) - found.event_dim
        return constraints.independent(found, more) if more > 0 else found

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        made = type(self).__new__(type(self))
        shape = ComposeTransform(self.transforms).inverse_shape((*batch_shape, *self.event_shape))
        cut = len(shape) - len(self.base_dist.event_shape)
        TransformedDistribution.__init__(
            made, self.base_dist.expand(shape[:cut]), self.transforms, validate_args=False
        )
        for name, value in self.__dict__.items():
            made.__dict__.setdefault(name, value)
        return made

    def _forward(self, value: Tensor) -> Tensor:
        for transform in self.transforms:
            value = transform(value)
        return value

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._forward(self.base_dist.sample(sample_shape)).detach()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._forward(self.base_dist.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        dims, total = len(self.event_shape), 0.0
        for transform in reversed(self.transforms):
            before = transform.inv(value)
            dims += transform.domain.event_dim - transform.codomain.event_dim
            found = transform.log_abs_det_jacobian(before, value)
            total = total - summed(found, dims - transform.domain.event_dim)
            value = before
        density = self.base_dist.log_prob(value)
        return total + summed(density, dims - len(self.base_dist.event_shape))

    def _upwards(self, chance: Any, sign: Any) -> Any:
        """A chance, or that of the other side where the transforms turn the order round."""
        return chance if isinstance(sign, int) and sign == 1 else sign * (chance - 0.5) + 0.5

    @property
    def _sign(self) -> Any:
        return ComposeTransform(self.transforms).sign

    def cdf(self, value: Tensor) -> Tensor:
        sign = self._sign
        for transform in reversed(self.transforms):
            value = transform.inv(value)
        return self._upwards(self.base_dist.cdf(value), sign)  # type: ignore[no-any-return]

    def icdf(self, value: Tensor) -> Tensor:
        return self._forward(self.base_dist.icdf(self._upwards(value, self._sign)))


class LogisticNormal(TransformedDistribution):
    """Normal numbers made points of the simplex by stick breaking (Aitchison and Shen 1980)."""

    arg_constraints: ClassVar[Any] = {}
    support: Any = constraints.simplex

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        base = Normal(loc, scale, validate_args=validate_args)
        if not base.batch_shape:
            base = base.expand([1])
        super().__init__(base, StickBreakingTransform(), validate_args=validate_args)

    @property
    def loc(self) -> Tensor:
        return self.base_dist.base_dist.loc  # type: ignore[attr-defined, no-any-return]

    @property
    def scale(self) -> Tensor:
        return self.base_dist.base_dist.scale  # type: ignore[attr-defined, no-any-return]


class HalfCauchy(Distribution):
    """The absolute value of a Cauchy number of ``scale``."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {"scale": constraints.positive}
    support = constraints.nonnegative

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        (self.scale,) = broadcast_all(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def base_dist(self) -> Cauchy:
        return Cauchy(0.0, self.scale, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape).abs()

    @property
    def mean(self) -> Tensor:
        return full_like(self.scale, math.inf)

    @property
    def mode(self) -> Tensor:
        return full_like(self.scale, 0.0)

    @property
    def variance(self) -> Tensor:
        return full_like(self.scale, math.inf)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        density = self.base_dist.log_prob(value) + math.log(2)
        return where(value >= 0, density, full_like(density, -math.inf))

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, value: Tensor) -> Tensor:
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() - math.log(2)


class InverseGamma(TransformedDistribution):
    """The inverse of a gamma number of ``concentration`` and ``rate``."""

    arg_constraints: ClassVar[Any] = {
        "concentration": constraints.positive, "rate": constraints.positive,
    }  # fmt: skip
    support: Any = constraints.positive

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        base = Gamma(concentration, rate, validate_args=validate_args)
        super().__init__(base, PowerTransform(-ones_like(base.rate)), validate_args=validate_args)

    @property
    def concentration(self) -> Tensor:
        return self.base_dist.concentration  # type: ignore[attr-defined, no-any-return]

    @property
    def rate(self) -> Tensor:
        return self.base_dist.rate  # type: ignore[attr-defined, no-any-return]

    @property
    def mean(self) -> Tensor:
        finite = self.rate / (self.concentration - 1)
        return where(self.concentration > 1, finite, full_like(finite, math.inf))

    @property
    def mode(self) -> Tensor:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        a = self.concentration
        finite = self.rate.square() / ((a - 1).square() * (a - 2))
        return where(a > 2, finite, full_like(finite, math.inf))

    def entropy(self) -> Tensor:
        a = self.concentration
        return a + self.rate.log() + lgamma(a) - (1 + a) * digamma(a)


class Pareto(TransformedDistribution):
    """Numbers above ``scale`` whose survival falls as a power, ``alpha``, of them."""

    arg_constraints: ClassVar[Any] = {
        "alpha": constraints.positive, "scale": constraints.positive,
    }  # fmt: skip

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self.scale, self.alpha = broadcast_all(scale, alpha)
        base = Exponential(self.alpha, validate_args=validate_args)
        transforms = [ExpTransform(), AffineTransform(loc=0, scale=self.scale)]
        super().__init__(base, transforms, validate_args=validate_args)

    @property
    def support(self) -> Any:  # type: ignore[override]
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Tensor:
        a = self.alpha.clamp(min=1)
        return a * self.scale / (a - 1)

    @property
    def mode(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        a = self.alpha.clamp(min=2)
        return self.scale.pow(2) * a / ((a - 1).pow(2) * (a - 2))

    def entropy(self) -> Tensor:
        return (self.scale / self.alpha).log() + (1 + self.alpha.reciprocal())


class Weibull(TransformedDistribution):
    """``scale`` times an exponential number to the power 1 / ``concentration``."""

    arg_constraints: ClassVar[Any] = {
        "scale": constraints.positive, "concentration": constraints.positive,
    }  # fmt: skip
    support: Any = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        inverse = self.concentration.reciprocal()
        base = Exponential(ones_like(self.scale), validate_args=validate_args)
        transforms = [PowerTransform(exponent=inverse), AffineTransform(loc=0, scale=self.scale)]
        super().__init__(base, transforms, validate_args=validate_args)

    def _moment(self, order: int) -> Tensor:
        return lgamma(1 + order * self.concentration.reciprocal()).exp()  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self.scale * self._moment(1)

    @property
    def mode(self) -> Tensor:
        k = self.concentration
        return self.scale * ((k - 1) / k) ** k.reciprocal()

    @property
    def variance(self) -> Tensor:
        return self.scale.pow(2) * (self._moment(2) - self._moment(1) ** 2)

    def entropy(self) -> Tensor:
        inverse = self.concentration.reciprocal()
        return EULER * (1 - inverse) + (self.scale * inverse).log() + 1


class Kumaraswamy(TransformedDistribution):
    """Numbers in (0, 1) like `Beta`'s, with a simple cdf: 1 - (1 - x^a)^b (Kumaraswamy 1980)."""

    arg_constraints: ClassVar[Any] = {
        "concentration1": constraints.positive, "concentration0": constraints.positive,
    }  # fmt: skip
    support: Any = constraints.unit_interval

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        a, b = self.concentration1, self.concentration0
        base = Uniform(full_like(a, 0.0), full_like(a, 1.0), validate_args=validate_args)
        transforms = [
            PowerTransform(exponent=b.reciprocal()), AffineTransform(loc=1.0, scale=-1.0),
            PowerTransform(exponent=a.reciprocal()),
        ]  # fmt: skip
        super().__init__(base, transforms, validate_args=validate_args)

    def _moment(self, n: int) -> Tensor:
        a, b = self.concentration1, self.concentration0
        power = 1 + n / a
        return (b.log() + lgamma(power) + lgamma(b) - lgamma(power + b)).exp()  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self._moment(1)

    @property
    def mode(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        log = a.reciprocal() * (-b).log1p() - (-a * b).log1p() * a.reciprocal()
        unknown = (a < 1) | (b < 1)
        return where(unknown, full_like(log, math.nan), log.exp())

    @property
    def variance(self) -> Tensor:
        return self._moment(2) - self.mean.pow(2)

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        t1, t0 = 1 - a.reciprocal(), 1 - b.reciprocal()
        harmonic = digamma(b + 1) + EULER
        return t0 + t1 * harmonic - a.log() - b.log()


class RelaxedBernoulli(TransformedDistribution):
    """`Bernoulli` with values between 0 and 1 that have gradients (Maddison et al. 2017, Jang et
    al. 2017): a logistic number of that location, divided by ``temperature``, through sigmoid."""

    arg_constraints: ClassVar[Any] = {}
    support: Any = constraints.unit_interval

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        base = LogitRelaxedBernoulli(temperature, probs, logits)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)

    @property
    def temperature(self) -> Any:
        return self.base_dist.temperature  # type: ignore[attr-defined]

    @property
    def logits(self) -> Tensor:
        return self.base_dist.logits  # type: ignore[attr-defined, no-any-return]

    @property
    def probs(self) -> Tensor:
        return self.base_dist.probs  # type: ignore[attr-defined, no-any-return]


class LogitRelaxedBernoulli(Distribution):
    """The logit of a `RelaxedBernoulli` number."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {}
    support = constraints.real

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        self.temperature = temperature
        chances = Bernoulli(probs, logits)
        self.probs, self.logits = chances.probs, chances.logits
        super().__init__(self.logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return LogitRelaxedBernoulli(self.temperature, logits=self.logits.expand(*batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = empty(shape, dtype=self.logits.dtype).uniform_(0, 1).clamp(1.2e-7, 1 - 1.2e-7)
        return (u.log() - (-u).log1p() + self.logits) / self.temperature  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        difference = self.logits - value * self.temperature
        log = self.temperature.log() if isinstance(self.temperature, Tensor) else (
            math.log(self.temperature)
        )  # fmt: skip
        return log + difference - 2 * F.softplus(difference)  # type: ignore[no-any-return]


class RelaxedOneHotCategorical(TransformedDistribution):
    """`OneHotCategorical` with values on the simplex that have gradients (the Concrete
    distribution, Maddison et al. 2017; Gumbel-softmax, Jang et al. 2017)."""

    arg_constraints: ClassVar[Any] = {}
    support: Any = constraints.simplex

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    temperature, logits, probs = (
        RelaxedBernoulli.temperature, RelaxedBernoulli.logits, RelaxedBernoulli.probs,
    )  # fmt: skip


class ExpRelaxedCategorical(Distribution):
    """The logarithm of a `RelaxedOneHotCategorical` value."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {}
    support = constraints.real_vector

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        self.temperature = temperature
        self._categorical = Categorical(probs, logits)
        shape = self._categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def logits(self) -> Tensor:
        return self._categorical.logits  # type: ignore[no-any-return]

    @property
    def probs(self) -> Tensor:
        return self._categorical.probs  # type: ignore[no-any-return]

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        logits = self.logits.expand(*batch_shape, self.logits.shape[-1])
        return ExpRelaxedCategorical(self.temperature, logits=logits)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = empty(shape, dtype=self.logits.dtype).uniform_(0, 1).clamp(1.2e-7, 1 - 1.2e-7)
        scores = (self.logits - (-u.log()).log()) / self.temperature
        return scores - scores.logsumexp(-1, keepdim=True)  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        k, t = self._event_shape[0], self.temperature
        log = t.log() if isinstance(t, Tensor) else math.log(t)
        scale = math.lgamma(k) + (k - 1) * log
        score = self.logits - value * t
        return (score - score.logsumexp(-1, keepdim=True)).sum(-1) + scale  # type: ignore[no-any-return]


__all__ = [
    "ExpRelaxedCategorical", "HalfCauchy", "InverseGamma", "Kumaraswamy", "LogisticNormal",
    "LogitRelaxedBernoulli", "Pareto", "RelaxedBernoulli", "RelaxedOneHotCategorical",
    "TransformedDistribution", "Weibull",
]  # fmt: skip
