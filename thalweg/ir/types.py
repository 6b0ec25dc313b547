"""The type of a value in the graph: shape, dtype, device and, where given, its placement."""

from __future__ import annotations

from dataclasses import dataclass

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

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, TensorType)
            and self.shape == other.shape
            and self.dtype is other.dtype
            and (self.device is other.device or self.device == other.device)
            and self.placement == other.placement
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

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
        return TensorType(tuple(shape), self.dtype, self.device, self.placement)

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(self.shape, dtype, self.device, self.placement)

    def __str__(self) -> str:
        text = f"{self.dtype.name}[{','.join(map(str, self.shape))}]"
        if self.device != CPU:
            text += f"@{self.device}"
        if self.placement is not None:
            text += f"#{self.placement}"
        return text
