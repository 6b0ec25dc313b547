"""Access by a tensor's memory: `as_strided`, which looks past the view to what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ops.function import FUNCTIONS
from .attach import RECORDED
from .forms import general
from .tensor import Tensor

_strided = general(FUNCTIONS["as_strided"])


def as_strided(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Any:
    """Elements of the memory that ``input`` shows, at ``storage_offset`` (default: that of
    ``input``) + positions times strides; a copy. RuntimeError for positions outside the memory."""
    extra = input._extra
    whole = input if extra is None or extra.base is None else extra.base
    start = input._meta.offset if storage_offset is None else storage_offset
    return _strided(whole, size, stride, start)


RECORDED["as_strided"] = as_strided
Tensor.as_strided = as_strided  # type: ignore[attr-defined]
