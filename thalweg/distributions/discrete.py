"""Distributions of counts and classes: Bernoulli, categorical, Poisson and their kin."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import Tensor, arange, bernoulli, empty, eye, full_like, lgamma, no_grad, poisson, special
from ..nn import functional as F
from . import constraints
from .distribution import Distribution, broadcast_all


def _exactly_one(probs: Any, logits: Any) -> None:
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


def _clamped(probs: Tensor) -> Tensor:
    """Probabilities kept away from 0 and 1 by a rounding step, so that logarithms are finite."""
    step = 2.0**-23 if probs.dtype.itemsize < 8 else 2.0**-52
    return probs.clamp(step, 1 - step)


class OfChances(Distribution):
    """Base: independent yes-or-no chances, given as ``probs`` or as ``logits``."""

    _given: str

    def _set_chances(self, probs: Any, logits: Any) -> Tensor:
        _exactly_one(probs, logits)
        self._given = "probs" if logits is None else "logits"
        (value,) = broadcast_all(probs if logits is None else logits)
        self.__dict__[self._given] = value
        return value

    def __getattr__(self, name: str) -> Any:
        # Whichever of the two was not given, computed once.
        if name == "logits" and "probs" in self.__dict__:
            clamped = _clamped(self.__dict__["probs"])
            found = clamped.log() - (-clamped).log1p()
        elif name == "probs" and "logits" in self.__dict__:
            found = self.__dict__["logits"].sigmoid()
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.__dict__[name] = found
        return found

    @property
    def param_shape(self) -> Any:
        return self.__dict__[self._given].shape


class Bernoulli(OfChances):
    """1 with probability ``probs``, else 0."""

    has_enumerate_support = True
    arg_constraints: ClassVar[Any] = {
        "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip
    support = constraints.boolean

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        value = self._set_chances(probs, logits)
        super().__init__(value.shape, validate_args=validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return bernoulli(self.probs.expand(*self._extended_shape(sample_shape)))  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self.probs  # type: ignore[no-any-return]

    @property
    def mode(self) -> Tensor:
        p = self.probs
        mode = (p >= 0.5).to(p.dtype)
        return mode.masked_fill(p == 0.5, math.nan)  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = arange(2, dtype=self.probs.dtype).reshape(-1, *(1,) * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class Geometric(OfChances):
    """The number of failures before the first success."""

    arg_constraints: ClassVar[Any] = {
        "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip
    support = constraints.nonnegative_integer

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        value = self._set_chances(probs, logits)
        super().__init__(value.shape, validate_args=validate_args)
        if self._validate_args and probs is not None and not bool((value > 0).all()):
            raise ValueError("Expected parameter probs of distribution Geometric to be positive")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            shape = self._extended_shape(sample_shape)
            u = 1 - empty(shape, dtype=self.probs.dtype).uniform_(0, 1)
            return (u.log() / (-self.probs.expand(*shape)).log1p()).floor()  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return 1 / self.probs - 1  # type: ignore[no-any-return]

    @property
    def mode(self) -> Tensor:
        return self.probs * 0  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        return (1 / self.probs - 1) / self.probs  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        value, p = broadcast_all(value, self.probs)
        return special.xlog1py(value, -p) + p.log()  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        return (
            F.binary_cross_entropy_with_logits(  # type: ignore[no-any-return]
                self.logits, self.probs, reduction="none"
            )
            / self.probs
        )


class Categorical(Distribution):
    """One of k classes, with ``probs`` (..., k) that need not add up to 1, or ``logits``."""

    has_enumerate_support = True
    arg_constraints: ClassVar[Any] = {
        "probs": constraints.simplex, "logits": constraints.real_vector,
    }  # fmt: skip

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        _exactly_one(probs, logits)
        given = probs if logits is None else logits
        if given.ndim < 1:
            name = "probs" if logits is None else "logits"
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if logits is None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = logits - logits.logsumexp(-1, keepdim=True)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    def __getattr__(self, name: str) -> Any:
        if name == "logits" and "probs" in self.__dict__:
            found = _clamped(self.__dict__["probs"]).log()
        elif name == "probs" and "logits" in self.__dict__:
            found = self.__dict__["logits"].softmax(-1)
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.__dict__[name] = found
        return found

    @property
    def support(self) -> Any:  # type: ignore[override]
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def param_shape(self) -> Any:
        return self.probs.shape

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            count = math.prod(sample_shape)
            flat = self.probs.reshape(-1, self._num_events)
            shape = self._extended_shape(sample_shape)
            if not count or not flat.shape[0]:
                return empty(shape).long()
            drawn = flat.multinomial(count, replacement=True)
            return drawn.T.reshape(shape)  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return full_like(self.probs.select(-1, 0), math.nan)

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(-1)  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        return full_like(self.probs.select(-1, 0), math.nan)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        value = value.long().unsqueeze(-1)
        shape = (*value.shape[:-1],)
        logits = self.logits
        if logits.ndim > value.ndim:
            value = value.expand(*logits.shape[:-1], 1)
        elif logits.shape[:-1] != shape:
            batch = (value[..., 0] + logits[..., 0].detach() * 0).shape
            logits = logits.expand(*batch, self._num_events)
            value = value.expand(*batch, 1)
        return logits.gather(-1, value).squeeze(-1)  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        least = -3.4028234663852886e38 if self.logits.dtype.itemsize < 8 else -1.79e308
        return -(self.logits.clamp(min=least) * self.probs).sum(-1)  # type: ignore[no-any-return]

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = arange(self._num_events).reshape(-1, *(1,) * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class OneHotCategorical(Distribution):
    """`Categorical` with its class as a vector of one 1 and zeros."""

    has_enumerate_support = True
    arg_constraints: ClassVar[Any] = {
        "probs": constraints.simplex, "logits": constraints.real_vector,
    }  # fmt: skip
    support = constraints.one_hot

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self._categorical = Categorical(probs, logits, validate_args)
        k = self._categorical._num_events
        super().__init__(self._categorical.batch_shape, (k,), validate_args=validate_args)

    @property
    def probs(self) -> Tensor:
        return self._categorical.probs  # type: ignore[no-any-return]

    @property
    def logits(self) -> Tensor:
        return self._categorical.logits  # type: ignore[no-any-return]

    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = self._categorical.sample(sample_shape)
        return F.one_hot(drawn, self._event_shape[0]).to(self.probs.dtype)  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return F.one_hot(self._categorical.mode, self._event_shape[0]).to(self.probs.dtype)  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return self._categorical.log_prob(value.argmax(-1))

    def entropy(self) -> Tensor:
        return self._categorical.entropy()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._categorical = self._categorical.expand(batch_shape)
        made._batch_shape = made._categorical.batch_shape
        return made

    def enumerate_support(self, expand: bool = True) -> Tensor:
        k = self._event_shape[0]
        values = eye(k, dtype=self.probs.dtype).reshape(k, *(1,) * len(self._batch_shape), k)
        return values.expand(k, *self._batch_shape, k) if expand else values


class Poisson(Distribution):
    """The number of events in a unit of time at a constant ``rate``."""

    arg_constraints: ClassVar[Any] = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return poisson(self.rate.expand(*self._extended_shape(sample_shape)))  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate.floor()  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        return self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        rate, value = broadcast_all(self.rate, value)
        return value.xlogy(rate) - rate - lgamma(value + 1)  # type: ignore[no-any-return]


class Binomial(OfChances):
    """The number of successes in ``total_count`` trials."""

    arg_constraints: ClassVar[Any] = {
        "total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval,
        "logits": constraints.real,
    }  # fmt: skip

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        _exactly_one(probs, logits)
        name, given = ("probs", probs) if logits is None else ("logits", logits)
        self.total_count, value = broadcast_all(total_count, given)
        self.total_count = self.total_count.to(value.dtype)
        self._given = name
        self.__dict__[name] = value
        super().__init__(value.shape, validate_args=validate_args)

    @property
    def support(self) -> Any:  # type: ignore[override]
        return constraints.integer_interval(0, self.total_count)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            shape = self._extended_shape(sample_shape)
            most = int(self.total_count.max()) if self.total_count.numel() else 0
            trials = empty((most, *shape), dtype=self.probs.dtype).uniform_(0, 1) < self.probs
            numbers = arange(most).reshape(-1, *(1,) * len(shape))
            return (trials & (numbers < self.total_count)).sum(0).to(self.probs.dtype)  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs  # type: ignore[no-any-return]

    @property
    def mode(self) -> Tensor:
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        n, logits = self.total_count, self.logits
        ways = lgamma(n + 1) - lgamma(value + 1) - lgamma(n - value + 1)
        return ways + value * logits - n * F.softplus(logits)  # type: ignore[no-any-return]


__all__ = ["Bernoulli", "Binomial", "Categorical", "Geometric", "OneHotCategorical", "Poisson"]
