"""What parameters and values of distributions must satisfy: objects with ``check(value)``.

The names are PyTorch's; `check` gives a bool tensor with the dimensions of one event removed.
"""

from __future__ import annotations

from typing import Any

from ..linalg import cholesky_ex


class Constraint:
    """``check`` says where a value satisfies it; ``event_dim`` dimensions belong to one value."""

    is_discrete = False
    event_dim = 0

    def check(self, value: Any) -> Any:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__.lstrip('_')}()"


class _Real(Constraint):
    def check(self, value: Any) -> Any:
        return value == value


class _Boolean(Constraint):
    is_discrete = True

    def check(self, value: Any) -> Any:
        return (value == 0) | (value == 1)


class _Between(Constraint):
    """Numbers between two bounds, of which each may be missing and the lower one open."""

    def __init__(
        self, lower_bound: Any = None, upper_bound: Any = None, *, open_below: bool = False,
        whole: bool = False,
    ) -> None:  # fmt: skip
        self.lower_bound, self.upper_bound = lower_bound, upper_bound
        self.open_below = open_below
        self.is_discrete = whole

    def check(self, value: Any) -> Any:
        ok = value == value
        if self.lower_bound is not None:
            ok = ok & (value > self.lower_bound if self.open_below else value >= self.lower_bound)
        if self.upper_bound is not None:
            ok = ok & (value <= self.upper_bound)
        if self.is_discrete:
            ok = ok & (value % 1 == 0)
        return ok

    def __repr__(self) -> str:
        opening = "(" if self.open_below else "["
        kind = "Integers" if self.is_discrete else "Numbers"
        return f"{kind} in {opening}{self.lower_bound}, {self.upper_bound}]"


class _Simplex(Constraint):
    event_dim = 1

    def check(self, value: Any) -> Any:
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class _OneHot(Constraint):
    event_dim = 1
    is_discrete = True

    def check(self, value: Any) -> Any:
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


class _LowerCholesky(Constraint):
    event_dim = 2

    def check(self, value: Any) -> Any:
        lower = (value.tril() == value).all(-1).all(-1)
        return lower & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class _PositiveDefinite(Constraint):
    event_dim = 2

    def check(self, value: Any) -> Any:
        symmetric = (value - value.mT).abs() <= 1e-6
        return symmetric.all(-1).all(-1) & (cholesky_ex(value)[1] == 0)


class _Independent(Constraint):
    """A constraint on each element, with more dimensions counted as one event."""

    def __init__(self, base: Constraint, count: int) -> None:
        self.base, self.event_dim = base, base.event_dim + count
        self.is_discrete = base.is_discrete
        self._count = count

    def check(self, value: Any) -> Any:
        ok = self.base.check(value)
        return ok.flatten(ok.ndim - self._count).all(-1) if self._count else ok


class _Dependent(Constraint):
    """A support that depends on parameters: ask an instance."""

    def check(self, value: Any) -> Any:
        raise ValueError(
            "cannot decide whether a value satisfies a constraint that depends on others"
        )


real = _Real()
real_vector = _Independent(real, 1)
boolean = _Boolean()
one_hot = _OneHot()
simplex = _Simplex()
lower_cholesky = _LowerCholesky()
positive_definite = _PositiveDefinite()
dependent = _Dependent()
positive = _Between(0.0, open_below=True)
nonnegative = _Between(0.0)
unit_interval = _Between(0.0, 1.0)
nonnegative_integer = _Between(0, whole=True)
positive_integer = _Between(1, whole=True)
independent = _Independent
between = _Between


def interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Numbers in [lower, upper]."""
    return _Between(lower_bound, upper_bound)


half_open_interval = interval


def greater_than(lower_bound: Any) -> Constraint:
    """Numbers above a bound."""
    return _Between(lower_bound, open_below=True)


def greater_than_eq(lower_bound: Any) -> Constraint:
    """Numbers not below a bound."""
    return _Between(lower_bound)


def less_than(upper_bound: Any) -> Constraint:
    """Numbers not above a bound."""
    return _Between(None, upper_bound)


def integer_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Whole numbers in [lower, upper]."""
    return _Between(lower_bound, upper_bound, whole=True)
