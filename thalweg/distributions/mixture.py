"""Mixtures, counts of several draws, and ratios: distributions made of others."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import Tensor, arange, full_like, lgamma, no_grad, where, zeros_like
from ..nn import functional as F
from . import constraints
from .discrete import Binomial, Categorical, OfChances, OneHotCategorical, Poisson
from .distribution import Distribution, broadcast_all
from .gamma import Gamma


class MixtureSameFamily(Distribution):
    """Distributions of one family, the last batch dimension of ``component_distribution``, drawn
    with the chances of ``mixture_distribution``, a `Categorical`."""

    arg_constraints: ClassVar[Any] = {}

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        mixture, component = mixture_distribution, component_distribution
        if not isinstance(mixture, Categorical):
            raise ValueError(
                "The Mixture distribution needs to be an instance of "
                "torch.distributions.Categorical"
            )
        if not isinstance(component, Distribution):
            raise ValueError(
                "The Component distribution need to be an instance of "
                "torch.distributions.Distribution"
            )
        batch = component.batch_shape[:-1]
        for m, c in zip(reversed(mixture.batch_shape), reversed(batch)):
            if m not in (1, c) and c != 1:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({tuple(mixture.batch_shape)}) is not "
                    f"compatible with `component_distribution.batch_shape` "
                    f"({tuple(component.batch_shape)})"
                )
        if mixture.logits.shape[-1] != component.batch_shape[-1]:
            raise ValueError(
                f"`mixture_distribution component` ({mixture.logits.shape[-1]}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({component.batch_shape[-1]})"
            )
        self.mixture_distribution, self.component_distribution = mixture, component
        super().__init__(batch, component.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:  # type: ignore[override]
        return self.component_distribution.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        count = self.component_distribution.batch_shape[-1]
        return MixtureSameFamily(
            self.mixture_distribution.expand(batch_shape),
            self.component_distribution.expand((*batch_shape, count)),
            validate_args=False,
        )

    def _padded(self, x: Tensor) -> Tensor:
        """With a dimension for the components."""
        return x.unsqueeze(x.ndim - len(self._event_shape))

    def _weights(self) -> Tensor:
        probs = self.mixture_distribution.probs
        return probs.reshape(*probs.shape, *(1,) * len(self._event_shape))  # type: ignore[no-any-return]

    @property
    def _dim(self) -> int:
        return -1 - len(self._event_shape)

    @property
    def mean(self) -> Tensor:
        return (self._weights() * self.component_distribution.mean).sum(self._dim)

    @property
    def variance(self) -> Tensor:
        within = (self._weights() * self.component_distribution.variance).sum(self._dim)
        distance = self.component_distribution.mean - self._padded(self.mean)
        return within + (self._weights() * distance.pow(2.0)).sum(self._dim)

    def cdf(self, x: Tensor) -> Tensor:
        chances = self.component_distribution.cdf(self._padded(x))
        return (chances * self.mixture_distribution.probs).sum(-1)  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        density = self.component_distribution.log_prob(self._padded(value))
        mixed = self.mixture_distribution.logits.log_softmax(-1)
        return (density + mixed).logsumexp(-1)  # type: ignore[no-any-return]

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            chosen = self.mixture_distribution.sample(sample_shape)
            drawn = self.component_distribution.sample(sample_shape)
            shape = (*chosen.shape, 1, *(1,) * len(self._event_shape))
            at = chosen.reshape(shape).expand(*chosen.shape, 1, *self._event_shape)
            return drawn.gather(len(sample_shape) + len(self._batch_shape), at).squeeze(  # type: ignore[no-any-return]
                len(sample_shape) + len(self._batch_shape)
            )


class NegativeBinomial(OfChances):
    """Successes of chance ``probs`` before ``total_count`` failures."""

    arg_constraints: ClassVar[Any] = {
        "total_count": constraints.nonnegative, "probs": constraints.unit_interval,
        "logits": constraints.real,
    }  # fmt: skip
    support = constraints.nonnegative_integer

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        given = self._set_chances(probs, logits)
        name = "probs" if logits is None else "logits"
        self.total_count, self.__dict__[name] = broadcast_all(total_count, given)
        self.total_count = self.total_count.to(given.dtype)
        super().__init__(self.total_count.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        return self.mean / (-self.logits).sigmoid()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            rate = Gamma(self.total_count, (-self.logits).exp(), validate_args=False)
            return Poisson(rate.sample(sample_shape), validate_args=False).sample()

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        n = self.total_count
        log = n * F.logsigmoid(-self.logits) + value * F.logsigmoid(self.logits)
        ways = -lgamma(n + value) + lgamma(1.0 + value) + lgamma(n)
        return log - where(n + value == 0, zeros_like(ways), ways)


class Multinomial(Distribution):
    """How often each of k classes comes up in ``total_count`` draws."""

    arg_constraints: ClassVar[Any] = {}

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs, logits)
        shape = self._categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def probs(self) -> Tensor:
        return self._categorical.probs  # type: ignore[no-any-return]

    @property
    def logits(self) -> Tensor:
        return self._categorical.logits  # type: ignore[no-any-return]

    @property
    def support(self) -> Any:  # type: ignore[override]
        return constraints.independent(constraints.integer_interval(0, self.total_count), 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        logits = self.logits.expand(*batch_shape, self.logits.shape[-1])
        return Multinomial(self.total_count, logits=logits, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            drawn = self._categorical.sample((self.total_count, *sample_shape))
            counts = F.one_hot(drawn, self._event_shape[0]).sum(0)
            return counts.to(self.probs.dtype)

    def entropy(self) -> Tensor:
        n = self.total_count
        counts = arange(1.0, n + 1, dtype=self.probs.dtype)
        counts = counts.reshape(-1, *(1,) * self.probs.ndim)
        chances = Binomial(n, self.probs).log_prob(counts).exp()
        repeated = (chances * lgamma(counts + 1)).sum([0, -1])
        return n * self._categorical.entropy() - math.lgamma(n + 1) + repeated  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        ways = lgamma(value.sum(-1) + 1) - lgamma(value + 1).sum(-1)
        logits, value = broadcast_all(self.logits, value)
        never = (value == 0) & (logits == -math.inf)
        return ways + (where(never, zeros_like(logits), logits) * value).sum(-1)  # type: ignore[no-any-return]


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """`OneHotCategorical` whose draws have the gradient of ``probs`` (Bengio et al. 2013)."""

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class FisherSnedecor(Distribution):
    """The ratio of two chi-squared numbers, each over its degrees of freedom."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        above, below = (Gamma(df * 0.5, df) for df in (self.df1, self.df2))
        tiny = 1.2e-38 if self.df2.dtype.itemsize < 8 else 2.3e-308
        return above.rsample(sample_shape) / below.rsample(sample_shape).clamp(min=tiny)

    @property
    def mean(self) -> Tensor:
        return where(self.df2 > 2, self.df2 / (self.df2 - 2), full_like(self.df2, math.nan))

    @property
    def mode(self) -> Tensor:
        found = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return where(self.df1 > 2, found, full_like(found, math.nan))

    @property
    def variance(self) -> Tensor:
        a, b = self.df1, self.df2
        finite = 2 * b.pow(2) * (a + b - 2) / (a * (b - 2).pow(2) * (b - 4))
        return where(b > 4, finite, full_like(finite, math.nan))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        ratio, a, b = self.df1 / self.df2, self.df1 * 0.5, self.df2 * 0.5
        beta = lgamma(a + b) - lgamma(a) - lgamma(b)
        return beta + a * ratio.log() + (a - 1) * value.log() - (a + b) * (ratio * value).log1p()  # type: ignore[no-any-return]


__all__ = [
    "FisherSnedecor", "MixtureSameFamily", "Multinomial", "NegativeBinomial",
    "OneHotCategoricalStraightThrough",
]  # fmt: skip
