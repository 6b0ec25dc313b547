"""Which transform leads from all real numbers to those that satisfy a constraint."""

from __future__ import annotations

from typing import Any

from . import constraints
from .constraints import Constraint
from .transform import Transform
from .transform_joined import ComposeTransform, IndependentTransform, identity_transform
from .transform_numbers import AffineTransform, ExpTransform, SigmoidTransform
from .transform_vectors import (
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    SoftmaxTransform,
    StickBreakingTransform,
)


def biject_to(constraint: Constraint) -> Transform:
    """A bijective transform from real numbers to a constraint. NotImplementedError if none is
    known."""
    return _found(constraint, StickBreakingTransform(), None)


def transform_to(constraint: Constraint) -> Transform:
    """A transform from real numbers to a constraint, for optimising: to the simplex by softmax,
    which treats all coordinates alike. NotImplementedError if none is known."""
    return _found(constraint, SoftmaxTransform(), PositiveDefiniteTransform())


def _found(constraint: Any, simplex: Transform, matrices: Transform | None) -> Transform:
    if isinstance(constraint, constraints.independent):
        base = _found(constraint.base, simplex, matrices)
        more = constraint.event_dim - constraint.base.event_dim
        return IndependentTransform(base, more) if more else base
    if constraint is constraints.real:
        return identity_transform
    if constraint is constraints.simplex:
        return simplex
    if constraint is constraints.lower_cholesky:
        return LowerCholeskyTransform()
    if constraint is constraints.positive_definite:
        return matrices or PositiveDefiniteTransform()
    if isinstance(constraint, constraints.between) and not constraint.is_discrete:
        return _between(constraint.lower_bound, constraint.upper_bound)
    raise NotImplementedError(f"no transform is known to {constraint!r}")


def _between(low: Any, high: Any) -> Transform:
    if low is None:
        return ComposeTransform([ExpTransform(), AffineTransform(high, -1)])
    if high is None:
        plain = not hasattr(low, "shape") and low == 0
        exp = ExpTransform()
        return exp if plain else ComposeTransform([exp, AffineTransform(low, 1)])
    if not hasattr(low, "shape") and not hasattr(high, "shape") and (low, high) == (0, 1):
        return SigmoidTransform()
    return ComposeTransform([SigmoidTransform(), AffineTransform(low, high - low)])


__all__ = ["biject_to", "transform_to"]
