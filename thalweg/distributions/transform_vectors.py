"""Transforms of vectors and matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import eye
from ..linalg import cholesky
from ..nn import functional as F
from . import constraints
from .transform import Simple


class SoftmaxTransform(Simple):
    """softmax of the last dimension; not invertible, but `inv` gives a value that it maps there."""

    bijective = False
    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x: Any) -> Any:
        return x.softmax(-1)

    def _inverse(self, y: Any) -> Any:
        return y.log()


class StickBreakingTransform(Simple):
    """n - 1 numbers to n that sum to one, each a part of what those before left."""

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x: Any) -> Any:
        z = (x - self._offset(x)).sigmoid()
        left = (1 - z).cumprod(-1)
        return F.pad(z, [0, 1], value=1.0) * F.pad(left, [1, 0], value=1.0)

    def _inverse(self, y: Any) -> Any:
        head = y[..., :-1]
        left = 1 - head.cumsum(-1)
        return head.log() - left.log() + self._offset(head)

    @staticmethod
    def _offset(x: Any) -> Any:
        return (x.shape[-1] + 1 - x.new_ones(x.shape[-1]).cumsum(-1)).log()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        x = x - self._offset(x)
        return (-x + F.logsigmoid(x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Sequence[int]) -> Any:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Sequence[int]) -> Any:
        return (*shape[:-1], shape[-1] - 1)


class LowerCholeskyTransform(Simple):
    """A square matrix to a lower triangular one with a positive diagonal."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x: Any) -> Any:
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: Any) -> Any:
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(Simple):
    """A square matrix to a positive definite one, by way of its Cholesky factor."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def _call(self, x: Any) -> Any:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: Any) -> Any:
        return LowerCholeskyTransform().inv(cholesky(y))


class CorrCholeskyTransform(Simple):
    """n(n-1)/2 numbers to the Cholesky factor of an n by n correlation matrix (the canonical
    partial correlations of Lewandowski, Kurowicka and Joe 2009)."""

    domain = constraints.real_vector
    codomain = constraints.lower_cholesky

    def _call(self, x: Any) -> Any:
        x = x.tanh()
        tiny = 1.2e-7 if x.dtype.itemsize < 8 else 2.3e-16
        r = self._filled(x.clamp(-1 + tiny, 1 - tiny))
        left = (1 - (r**2)).sqrt().cumprod(-1)
        r = r + eye(r.shape[-1], dtype=r.dtype)
        return r * F.pad(left[..., :-1], [1, 0], value=1.0)

    def _inverse(self, y: Any) -> Any:
        left = 1 - (y**2).cumsum(-1)
        left = F.pad(left[..., :-1], [1, 0], value=1.0)
        return self._vector(y / left.sqrt()).atanh()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        left = 1 - (y**2).cumsum(-1)
        stick = 0.5 * self._vector(left, 2).log().sum(-1)
        slope = -2 * (x + F.softplus(-2 * x) - math.log(2.0)).sum(-1)
        return stick + slope

    @staticmethod
    def _positions(size: int, below: int) -> tuple[list[int], list[int]]:
        pairs = [(i, j) for i in range(size) for j in range(i + 1 - below)]
        return [i for i, _ in pairs], [j for _, j in pairs]

    def _vector(self, matrix: Any, below: int = 1) -> Any:
        rows, columns = self._positions(matrix.shape[-1], below)
        return matrix[..., rows, columns]

    def _filled(self, vector: Any) -> Any:
        size = (1 + math.isqrt(1 + 8 * vector.shape[-1])) // 2
        if size * (size - 1) // 2 != vector.shape[-1]:
            raise ValueError(
                f"The size of last dimension is {vector.shape[-1]} which cannot be expressed as "
                "the lower triangular part of a square D x D matrix."
            )
        rows, columns = self._positions(size, 1)
        matrix = vector.new_zeros((*vector.shape[:-1], size, size))
        matrix[..., rows, columns] = vector
        return matrix

    def forward_shape(self, shape: Sequence[int]) -> Any:
        size = (1 + math.isqrt(1 + 8 * shape[-1])) // 2
        if size * (size - 1) // 2 != shape[-1]:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return (*shape[:-1], size, size)

    def inverse_shape(self, shape: Sequence[int]) -> Any:
        if shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)
