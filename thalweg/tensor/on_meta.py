"""Tensors on the meta device: a shape, a dtype and strides, but no data.

Calls with such operands are recorded like others, so that shapes, dtypes and errors are those of
any device, but their results are not pending: each is a tensor of its own at once, whose buffer
raises when it is read. So nothing is ever computed or allocated for them, and no history is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from ..core.device import CPU, META, Device, get_default_device
from ..core.dtypes import DType
from ..core.errors import DeviceError
from ..ir.node import make_input
from ..ir.types import Shape, TensorType
from ..runtime.buffer import Buffer
from .tensor import Tensor
from .trace import LeafKey, Meta, Trace


class NoData(Buffer):
    """The buffer of a meta tensor."""

    __slots__ = ()

    def get(self) -> NoReturn:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")

    def address(self) -> NoReturn:
        self.get()


def meta_tensor(shape: Shape, dtype: DType, requires_grad: bool = False) -> Tensor:
    """A leaf on the meta device."""
    kind = TensorType(tuple(shape), dtype, META)
    return Tensor._from_buffer(NoData(), LeafKey(kind, requires_grad, True))


def to_meta(tensor: Tensor) -> Tensor:
    """What is known of a tensor, on the meta device; meta tensors themselves."""
    if is_meta(tensor):
        return tensor
    meta = tensor._current_meta()
    kind = TensorType(meta.shape, meta.dtype, META)
    key = LeafKey(kind, meta.requires_grad, meta.is_leaf, False, meta.strides, meta.offset)
    return Tensor._from_buffer(NoData(), key)


def is_meta(tensor: Any) -> bool:
    return tensor._buffer.__class__ is NoData


def at_home(tensor: Tensor) -> Tensor:
    """A tensor that was just made of data, on the default device."""
    return to_meta(tensor) if get_default_device() is META else tensor


def placed_on(device: Device, tensor: Tensor) -> Tensor:
    """`Tensor.to` a device that can hold it. NotImplementedError from meta to any other."""
    if device.type == META.type:
        return to_meta(tensor)
    if is_meta(tensor):
        assert tensor._buffer is not None
        tensor._buffer.get()
    return tensor


def concerns(trace: Trace, tensors: Iterable[Tensor]) -> bool:
    """Whether a call's results belong to the meta device: one of its tensors does, or there are
    none and it is the default. RuntimeError beside tensors that hold data, but for numbers and
    positions."""
    tensors = list(tensors)
    if not any(map(is_meta, tensors)):
        return not tensors and trace.mode.device is META
    for tensor in tensors:
        data = not is_meta(tensor) and tensor._meta.shape
        if data and tensor._meta.dtype.category in ("float", "complex"):
            raise DeviceError(
                f"Tensor on device {CPU} is not on the expected device meta! Expected all tensors "
                f"on one device; the one with data has shape {list(tensor._meta.shape)}"
            )
    return True


def need_data(arguments: Iterable[Any]) -> None:
    """NotImplementedError if what is to be written elsewhere is on the meta device."""
    for argument in arguments:
        if isinstance(argument, Tensor) and is_meta(argument):
            NoData().get()


def without_data(metas: Iterable[Meta]) -> None:
    """Make what was recorded describe meta tensors: values that nobody can compute."""
    for meta in metas:
        kind = TensorType(meta.shape, meta.dtype, META)
        meta.value = make_input(kind, meta.requires_grad)
        meta.chain, meta.root = None, None


def settled(trace: Trace, meta: Meta) -> Tensor:
    """The handle of a meta result. Its slot stays empty: nothing waits for it."""
    trace.tensors.append(None)
    return Tensor._from_buffer(NoData(), meta.key())
