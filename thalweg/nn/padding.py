"""Padding of the spatial dimensions with a constant, a reflection, the edge or the other end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from thalweg.nn import functional as F
from thalweg.nn.module import Module
from thalweg.nn.shapes import tuple_of
from thalweg.tensor import Tensor

Size = int | Sequence[int]


class _PadNd(Module):
    """``padding`` is one number or (before, after) pairs, the last dimension first."""

    _dims: ClassVar[int]
    _mode: ClassVar[str]
    padding: tuple[int, ...]

    def __init__(self, padding: Size) -> None:
        super().__init__()
        self.padding = tuple_of(2 * self._dims)(padding)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPadNd(_PadNd):
    _mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        low = self._dims + 1
        if input.dim() not in (low, low + 1):
            raise ValueError(f"expected {low}D or {low + 1}D input (got {input.dim()}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """Continue (N, C, L) or (C, L) with its other end."""

    _dims = 1


class CircularPad2d(_CircularPadNd):
    """Continue (N, C, H, W) or (C, H, W) with its other end."""

    _dims = 2


class CircularPad3d(_CircularPadNd):
    """Continue (N, C, D, H, W) or (C, D, H, W) with its other end."""

    _dims = 3


class _ConstantPadNd(_PadNd):
    _mode = "constant"

    def __init__(self, padding: Size, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Surround the last dimension with ``value``."""

    _dims = 1


class ConstantPad2d(_ConstantPadNd):
    """Surround the last two dimensions with ``value``."""

    _dims = 2


class ConstantPad3d(_ConstantPadNd):
    """Surround the last three dimensions with ``value``."""

    _dims = 3


class ReflectionPad1d(_PadNd):
    """Mirror (N, C, L) or (C, L) at its edges."""

    _dims = 1
    _mode = "reflect"


class ReflectionPad2d(_PadNd):
    """Mirror (N, C, H, W) or (C, H, W) at its edges."""

    _dims = 2
    _mode = "reflect"


class ReflectionPad3d(_PadNd):
    """Mirror (N, C, D, H, W) or (C, D, H, W) at its edges."""

    _dims = 3
    _mode = "reflect"


class ReplicationPad1d(_PadNd):
    """Repeat the edges of (N, C, L) or (C, L)."""

    _dims = 1
    _mode = "replicate"


class ReplicationPad2d(_PadNd):
    """Repeat the edges of (N, C, H, W) or (C, H, W)."""

    _dims = 2
    _mode = "replicate"


class ReplicationPad3d(_PadNd):
    """Repeat the edges of (N, C, D, H, W) or (C, D, H, W)."""

    _dims = 3
    _mode = "replicate"


class _ZeroPadNd(_ConstantPadNd):
    def __init__(self, padding: Size) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPadNd):
    """Surround the last dimension with zeros."""

    _dims = 1


class ZeroPad2d(_ZeroPadNd):
    """Surround the last two dimensions with zeros."""

    _dims = 2


class ZeroPad3d(_ZeroPadNd):
    """Surround the last three dimensions with zeros."""

    _dims = 3
