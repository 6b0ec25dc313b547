"""Distributions of several numbers at once: the multivariate normal, and independent ones taken as
one event."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import Tensor, broadcast_shapes, empty, eye, linalg
from . import constraints
from .distribution import Distribution


class Independent(Distribution):
    """The last ``reinterpreted_batch_ndims`` batch dimensions of a distribution as one event."""

    arg_constraints: ClassVar[Any] = {}

    def __init__(
        self, base_distribution: Distribution, reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        batch = base_distribution.batch_shape
        if not 0 <= reinterpreted_batch_ndims <= len(batch):
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), actual "
                f"{reinterpreted_batch_ndims} vs {len(batch)}"
            )
        self.base_dist = base_distribution
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        cut = len(batch) - reinterpreted_batch_ndims
        event = (*batch[cut:], *base_distribution.event_shape)
        super().__init__(batch[:cut], event, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.base_dist.has_rsample

    @property
    def support(self) -> Any:  # type: ignore[override]
        base = self.base_dist.support
        count = self.reinterpreted_batch_ndims
        return constraints.independent(base, count) if base is not None and count else base

    def _summed(self, value: Tensor) -> Tensor:
        count = self.reinterpreted_batch_ndims
        return value.flatten(value.ndim - count).sum(-1) if count else value

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def log_prob(self, value: Tensor) -> Tensor:
        return self._summed(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        return self._summed(self.base_dist.entropy())

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        own = self._event_shape[: self.reinterpreted_batch_ndims]
        base = self.base_dist.expand((*batch_shape, *own))
        return type(self)(base, self.reinterpreted_batch_ndims, validate_args=False)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist}, {self.reinterpreted_batch_ndims})"


class MultivariateNormal(Distribution):
    """The normal distribution of vectors (..., k), given by its mean ``loc`` and one of its
    ``covariance_matrix``, ``precision_matrix`` or lower triangular ``scale_tril`` (..., k, k)."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }  # fmt: skip
    support = constraints.real_vector

    def __init__(
        self, loc: Tensor, covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None, scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if loc.ndim < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = {
            "covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }  # fmt: skip
        present = [name for name, value in given.items() if value is not None]
        if len(present) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be "
                "specified."
            )
        (name,) = present
        matrix = given[name]
        assert matrix is not None
        if matrix.ndim < 2:
            raise ValueError(
                f"{name} must be at least two-dimensional, with optional leading batch"
            )
        batch = broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        k = loc.shape[-1]
        self.loc = loc.expand(*batch, k)
        self.__dict__[name] = matrix.expand(*batch, *matrix.shape[-2:])
        super().__init__(batch, (k,), validate_args=validate_args)
        matrix = self.__dict__[name]
        if name == "scale_tril":
            self._unbroadcasted_scale_tril = matrix
        elif name == "covariance_matrix":
            self._unbroadcasted_scale_tril = linalg.cholesky(matrix)
        else:
            # P = U Uᵀ for the flipped Cholesky factor, whose inverse transposed is wanted.
            flipped = linalg.cholesky(matrix.flip(-2, -1)).flip(-2, -1)
            ones = _identity(flipped)
            self._unbroadcasted_scale_tril = linalg.solve_triangular(flipped.mT, ones, upper=False)

    def __getattr__(self, name: str) -> Any:
        factor = self.__dict__.get("_unbroadcasted_scale_tril")
        if factor is None or name not in self.arg_constraints:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name == "scale_tril":
            found = factor
        elif name == "covariance_matrix":
            found = factor @ factor.mT
        else:
            inverse = linalg.solve_triangular(factor, _identity(factor), upper=False)
            found = inverse.mT @ inverse
        self.__dict__[name] = found
        return found

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        k = self._event_shape[0]
        factor = self._unbroadcasted_scale_tril.expand(*batch_shape, k, k)
        loc = self.loc.expand(*batch_shape, k)
        return type(self)(loc, scale_tril=factor, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        z = empty(self._extended_shape(sample_shape), dtype=self.loc.dtype).normal_()
        return self.loc + (self._unbroadcasted_scale_tril @ z.unsqueeze(-1)).squeeze(-1)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (self._unbroadcasted_scale_tril**2).sum(-1)

    def _half_log_det(self) -> Tensor:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        gap = (value - self.loc).unsqueeze(-1)
        z = linalg.solve_triangular(self._unbroadcasted_scale_tril, gap, upper=False).squeeze(-1)
        k = self._event_shape[0]
        return -0.5 * (k * math.log(2 * math.pi) + (z**2).sum(-1)) - self._half_log_det()

    def entropy(self) -> Tensor:
        return 0.5 * self._event_shape[0] * (1 + math.log(2 * math.pi)) + self._half_log_det()


def _identity(like: Tensor) -> Tensor:
    return eye(like.shape[-1], dtype=like.dtype).expand(like.shape)  # type: ignore[no-any-return]


__all__ = ["Independent", "MultivariateNormal"]
