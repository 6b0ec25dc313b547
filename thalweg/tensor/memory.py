"""Access by a tensor's memory: what it is, and what of it other tensors show.

Values have no memory until they are computed, and may move; a tensor's *storage* here is the
tensor that it is a view of, so that tensors tell by it whether writes to one show in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from ..core.errors import ArgumentError, located
from ..ops.function import FUNCTIONS
from .attach import RECORDED
from .creation import legacy_constructor
from .forms import general
from .methods import replace
from .tensor import Tensor, need_tensor

_strided = general(FUNCTIONS["as_strided"])


def as_strided(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Any:
    """Elements of the memory that ``input`` shows, at ``storage_offset`` (default: that of
    ``input``) + positions times strides; a copy. RuntimeError for positions outside the memory."""
    need_tensor("as_strided", input=input)
    extra = input._extra
    whole = input if extra is None or extra.base is None else extra.base
    start = input._meta.offset if storage_offset is None else storage_offset
    plain = ([index(n) for n in numbers] for numbers in (size, stride))
    return _strided(whole, *plain, start)


class Storage:
    """The memory of a tensor and of those that are views of it. Equal for tensors that share it."""

    def __init__(self, owner: Tensor) -> None:
        self._owner = owner

    def data_ptr(self) -> int:
        """A number that only tensors of the same memory have (not an address)."""
        return id(self._owner)

    def nbytes(self) -> int:
        """Bytes of all its elements."""
        return len(self) * self._owner.dtype.itemsize

    def __len__(self) -> int:
        return int(self._owner.numel())  # type: ignore[attr-defined]

    size = __len__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Storage) and self._owner is other._owner

    def __hash__(self) -> int:
        return id(self._owner)

    @property
    def device(self) -> Any:
        return self._owner.device


def storage(self: Tensor) -> Storage:
    """The memory that this tensor shows."""
    extra = self._extra
    return Storage(self if extra is None or extra.base is None else extra.base)


def new(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """``new(2, 3)``: uninitialised; ``new([1, 2])``: data; in this tensor's dtype."""
    return legacy_constructor(Tensor, *args, dtype_of_class=self.dtype, **kwargs)


def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one shape."""
    return self.shape == other.shape


def resize_as_(self: Any, the_template: Tensor, memory_format: Any = None) -> Any:
    """`resize_` to the shape of another tensor."""
    need_tensor("resize_as_", the_template=the_template)
    return self.resize_(the_template.shape)


def apply_(self: Any, function: Any) -> Any:
    """Put ``function`` of each element, a Python number, in its place; slow. RuntimeError for
    tensors that require gradients."""
    if self.requires_grad:
        raise located(RuntimeError("Can't call apply_() on Variable that requires grad."))
    array = self._array()
    values = [function(v) for v in array.reshape(-1).tolist()]
    replace(self, Tensor._from_array(np.array(values, array.dtype).reshape(array.shape)))
    return self


def dense(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """This tensor: which elements of a matrix are stored changes no result, and all are here."""
    return self


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether two tensors show the same memory. TypeError for anything but a tensor."""
    if not isinstance(tensor, Tensor):
        raise ArgumentError(
            f"is_set_to(): argument 'tensor' (position 1) must be Tensor, not "
            f"{type(tensor).__name__}"
        )
    return bool(storage(self) == storage(tensor))


RECORDED["as_strided"] = as_strided
for _name, _method in {
    "as_strided": as_strided, "storage": storage, "untyped_storage": storage, "new": new,
    "is_same_size": is_same_size, "resize_as_": resize_as_, "apply_": apply_,
    "is_conj": lambda self: False, "is_neg": lambda self: False,
    "resolve_conj": lambda self: self, "resolve_neg": lambda self: self,
    "is_nonzero": lambda self: bool(self), "to_sparse": dense, "to_dense": dense,
    "is_set_to": is_set_to,
}.items():  # fmt: skip
    setattr(Tensor, _name, _method)
