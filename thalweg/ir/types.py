"""The type of a value in the graph: shape, dtype, device and, where given, its placement."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..core.device import Device
from ..core.dtypes import DType
from .sbp import Placement

CPU = Device("cpu")
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape (elements per dimension), element type, device; ``placement`` None is one device."""

    shape: Shape
    dtype: DType
    device: Device = CPU
    placement: Placement | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> int:
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    def with_shape(self, shape: Shape) -> TensorType:
        return replace(self, shape=tuple(shape))

    def with_dtype(self, dtype: DType) -> TensorType:
        return replace(self, dtype=dtype)

    def __str__(self) -> str:
        text = f"{self.dtype.name}[{','.join(map(str, self.shape))}]"
        if self.device != CPU:
            text += f"@{self.device}"
        if self.placement is not None:
            text += f"#{self.placement}"
        return text
