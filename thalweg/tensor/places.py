"""The meta device: tensors that have a shape and a dtype and no data.

A tensor on it is a handle like any other: on a leaf whose buffer holds nothing (`absent`), or on a
slot whose value is typed as being on that device. Types spread through the graph: every node with
an operand there has its results there (`ops.contract`), so hits and native code need not know. A
flush computes what is on the CPU, which never depends on what has no data, and gives the rest empty
buffers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..core.device import META
from ..core.dtypes import DType
from ..core.errors import DeviceError
from ..ir.node import Value
from ..ir.types import TensorType
from ..ops.link import ops
from ..runtime.buffer import NO_DATA, absent
from .tensor import Tensor
from .trace import LeafKey, Meta

# Functions that PyTorch lets take positions from the CPU.
_POSITIONS = {
    "__getitem__", "__setitem__", "gather", "index_add", "index_copy", "index_fill", "index_put",
    "index_reduce", "index_select", "nn.functional.embedding", "nn.functional.embedding_bag",
    "scatter", "scatter_add", "scatter_reduce", "take", "take_along_dim",
}  # fmt: skip
# In-place functions that move data from elsewhere.
_COPIES = {"copy", "__setitem__"}


def no_data(shape: Iterable[int], dtype: DType, requires_grad: bool = False) -> Tensor:
    """A leaf on the meta device: it takes no memory, whatever its shape."""
    kind = TensorType(tuple(shape), dtype, META)
    return Tensor._from_buffer(absent(), LeafKey(kind, requires_grad, True))


def no_data_of(value: Value) -> Tensor:
    """A leaf on the meta device with the shape and dtype of a value."""
    return no_data(value.shape, value.dtype)


def is_permuted(meta: Meta) -> bool:
    """Whether a tensor's elements lie without gaps or overlaps, but in another order."""
    expected = 1
    for stride, extent in sorted(zip(meta.element_strides(), meta.shape)):
        if extent != 1:
            if stride != expected:
                return False
            expected *= extent
    return meta.strides is not None


def on_meta(value: Value) -> Value:
    """The value, or what stands for it on the meta device."""
    return value if value.type.device is META else ops.on_meta(value)  # type: ignore[no-any-return]


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """All tensors of nested arguments, in order."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(tensors_in(value))
    return found


def meets_meta(name: str, operands: Sequence[Any]) -> bool:
    """Whether results of the function ``name`` are on the meta device: one of its operands is.

    RuntimeError where another is on the CPU, unless it has no dimensions or tells positions.
    """
    metas = [t._meta for t in tensors_in(operands)]
    if not any(m.device is META for m in metas):
        return False
    expected = None
    for meta in metas:
        device = meta.device
        if device is not META:
            positions = name in _POSITIONS and meta.dtype.category in ("int", "bool")
            if positions or not meta.shape:
                continue
        if expected is None:
            expected = device
        elif device is not expected:
            raise DeviceError(
                f"{name}: Tensor on device {device} is not on the expected device {expected}!"
            )
    if expected is not None and expected is not META:
        raise DeviceError(
            f"{name}: Tensor on device meta is not on the expected device {expected}!"
        )
    return True


def written_on_meta(name: str, target: Tensor, operands: Sequence[Any]) -> bool:
    """`meets_meta` for an in-place function: whether ``target`` is on the meta device.
    RuntimeError where it is not and an operand is."""
    if name in _COPIES:
        if target._meta.device is META:
            return True
        if any(t._meta.device is META for t in tensors_in(operands)):
            raise NotImplementedError(NO_DATA)
        return False
    meets = meets_meta(name, (target, *operands))
    if meets and target._meta.device is not META:
        raise DeviceError(f"{name}: Tensor on device meta is not on the expected device cpu!")
    return meets
