"""`Size`: a shape, as a tuple with PyTorch's two extra methods."""

from __future__ import annotations

from typing import Any


class Size(tuple[int, ...]):
    """The extents of a tensor's dimensions. Compares equal to a plain tuple."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        count = 1
        for extent in self:
            count *= extent
        return count

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, key: Any) -> Any:
        result = tuple.__getitem__(self, key)
        return Size(result) if isinstance(key, slice) else result

    def __add__(self, other: Any) -> Size:
        return Size(tuple(self) + tuple(other))

    def __reduce__(self) -> Any:
        return Size, (tuple(self),)
