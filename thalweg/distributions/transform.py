"""Invertible maps of values, and what they do to densities: what all have in common.

``y = transform(x)``, ``x = transform.inv(y)``, and ``log_abs_det_jacobian(x, y)`` is
log |det dy/dx|, with the dimensions of one event of the domain summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import constraints


class Transform:
    """Base of the transforms: subclasses give ``_call``, ``_inverse`` and
    ``log_abs_det_jacobian``. ``cache_size`` 1 keeps the last pair of a value and its image, for
    inverses that are costly or inexact."""

    bijective = False
    domain: Any = constraints.real
    codomain: Any = constraints.real

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ValueError("cache_size must be 0 or 1")
        self._cache_size = cache_size
        self._cached: tuple[Any, Any] = (None, None)
        self._inverted: Any = None

    @property
    def inv(self) -> Transform:
        """The inverse transform."""
        if self._inverted is None:
            self._inverted = _Inverse(self)
        return self._inverted  # type: ignore[no-any-return]

    @property
    def sign(self) -> Any:
        """1 for increasing, -1 for decreasing transforms of single numbers."""
        raise NotImplementedError(f"{type(self).__name__} has no sign")

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same transform with a cache of that size."""
        if cache_size == self._cache_size:
            return self
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        Transform.__init__(made, cache_size)
        return made

    def __call__(self, x: Any) -> Any:
        """The image of ``x``."""
        if self._cache_size and x is self._cached[0]:
            return self._cached[1]
        y = self._call(x)
        if self._cache_size:
            self._cached = x, y
        return y

    def _inv_call(self, y: Any) -> Any:
        if self._cache_size and y is self._cached[1]:
            return self._cached[0]
        x = self._inverse(y)
        if self._cache_size:
            self._cached = x, y
        return x

    def _call(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} is not given")

    def _inverse(self, y: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """log |det dy/dx| at ``x``, whose image is ``y``."""
        raise NotImplementedError(f"{type(self).__name__} has no Jacobian determinant")

    def forward_shape(self, shape: Sequence[int]) -> Any:
        """The shape of the image of values of a shape."""
        return shape

    def inverse_shape(self, shape: Sequence[int]) -> Any:
        """The shape of values whose images have a shape."""
        return shape

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Simple(Transform):
    """Base of transforms without parameters: equal if of one class."""

    bijective = True

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    __hash__ = Transform.__hash__


class _Inverse(Transform):
    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self._inv = transform

    @property
    def inv(self) -> Transform:
        return self._inv

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        return self._inv.bijective

    @property
    def domain(self) -> Any:  # type: ignore[override]
        return self._inv.codomain

    @property
    def codomain(self) -> Any:  # type: ignore[override]
        return self._inv.domain

    @property
    def sign(self) -> Any:
        return self._inv.sign

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self._inv.with_cache(cache_size).inv

    def __call__(self, x: Any) -> Any:
        return self._inv._inv_call(x)

    def _inv_call(self, y: Any) -> Any:
        return self._inv(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return -self._inv.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Sequence[int]) -> Any:
        return self._inv.inverse_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> Any:
        return self._inv.forward_shape(shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Inverse) and self._inv == other._inv

    __hash__ = Transform.__hash__

    def __repr__(self) -> str:
        return f"_InverseTransform({self._inv!r})"


def summed(value: Any, dims: int) -> Any:
    """A log determinant with its last dimensions, which belong to one event, added up."""
    return value.flatten(value.ndim - dims).sum(-1) if dims else value
