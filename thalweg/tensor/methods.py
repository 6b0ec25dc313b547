"""Methods of `Tensor` that are about the handle rather than about a computation.

Attached to the class by `attach`; everything that computes comes from the op registry instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.device import META, Device, available
from ..core.dtypes import BY_NAME, DType
from ..core.dtypes import from_numpy as dtype_of
from ..core.errors import ArgumentError, DeviceError, DimError, located
from ..ir.types import TensorType
from ..ops.function import FUNCTIONS
from ..ops.link import ops
from ..runtime.buffer import NO_DATA, Array, Buffer
from . import autograd
from .alias import bind, loosen, realise, repoint, shown_array
from .exclusive import exclusive
from .forms import general
from .places import is_permuted, no_data
from .record import result
from .size import Size
from .tensor import Tensor, need_tensor
from .trace import LeafKey, State, guard, local, transition

_cast = general(FUNCTIONS["to_dtype"])
_detach = general(FUNCTIONS["detach"])
_clone = general(FUNCTIONS["clone"])
_NOT_NUMPY = (
    "can't convert meta device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
    "memory first."
)


class Methods:
    """Holder of the functions that `attach` moves onto `Tensor`."""

    # ---- shape and storage

    def size(self: Any, dim: int | None = None) -> Any:
        """The shape, or the extent of one dimension. IndexError if there is no such dimension."""
        shape = self._meta.shape
        if dim is None:
            return Size(shape)
        rank = max(len(shape), 1)
        if not -rank <= dim < rank or not shape:
            raise located(
                DimError(
                    f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], "
                    f"but got {dim})"
                )
            )
        return shape[dim]

    def dim(self: Any) -> int:
        """The number of dimensions."""
        return len(self._meta.shape)

    ndimension = dim

    def numel(self: Any) -> int:
        """The number of elements."""
        count = 1
        for extent in self._meta.shape:
            count *= extent
        return count

    nelement = numel

    def element_size(self: Any) -> int:
        """Bytes of one element."""
        return int(self._meta.dtype.itemsize)

    def stride(self: Any, dim: int | None = None) -> Any:
        """Elements between neighbours along each dimension (or along ``dim``)."""
        strides = self._meta.element_strides()
        return strides if dim is None else strides[dim]

    def storage_offset(self: Any) -> int:
        """Elements of the storage before this tensor's first."""
        return int(self._meta.offset)

    def is_contiguous(self: Any, memory_format: Any = None) -> bool:
        """Whether the elements stand in row-major order without gaps."""
        meta = self._meta
        if meta.strides is None or 0 in meta.shape:
            return True
        expected = 1
        for extent, stride in zip(reversed(meta.shape), reversed(meta.strides)):
            if extent != 1:
                if stride != expected:
                    return False
                expected *= extent
        return True

    def contiguous(self: Any, memory_format: Any = None) -> Any:
        """This tensor if it is contiguous, else a contiguous copy."""
        return self if self.is_contiguous() else _clone(self)

    def data_ptr(self: Any) -> int:
        """Address of the first element of the current value; 0 where there is none."""
        if self.is_meta:
            return 0
        return int(self._array().__array_interface__["data"][0])

    def is_floating_point(self: Any) -> bool:
        return bool(self._meta.dtype.is_floating_point)

    def is_complex(self: Any) -> bool:
        return bool(self._meta.dtype.is_complex)

    def is_signed(self: Any) -> bool:
        return bool(self._meta.dtype.is_signed)

    def is_inference(self: Any) -> bool:
        return False

    def is_pinned(self: Any, device: Any = None) -> bool:
        return False

    def is_shared(self: Any) -> bool:
        return False

    def get_device(self: Any) -> int:
        return -1

    def share_memory_(self: Any) -> Any:
        return self

    def pin_memory(self: Any, device: Any = None) -> Any:
        return self

    def _is_view(self: Any) -> bool:
        extra = self._extra
        if extra is None or extra.base is None or extra.hidden:
            return False
        return not _only_detached(extra.chain)

    def resize_(self: Any, *sizes: Any, memory_format: Any = None) -> Any:
        """Change the shape in place, keeping the first elements; new ones are zero."""
        shape = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
        if self.requires_grad:
            raise located(RuntimeError("cannot resize variables that require grad"))
        if self.is_meta:
            replace(self, no_data(shape, self.dtype))
            return self
        old = self._array().reshape(-1)
        made = np.zeros(int(np.prod(shape)), old.dtype)
        made[: old.size] = old[: made.size]
        replace(self, Tensor._from_array(made.reshape(shape)))
        return self

    def set_(self: Any, source: Any = None, *args: Any) -> Any:
        """Make this tensor show the value of ``source``."""
        replace(self, source.detach() if isinstance(source, Tensor) else Tensor())
        return self

    # ---- conversion

    def to(self: Any, *args: Any, **kwargs: Any) -> Any:
        """This tensor in another dtype or on another device (itself if nothing changes).

        ``to(dtype)``, ``to(device)``, ``to(device, dtype)``, ``to(other)``, each with
        ``non_blocking``, ``copy``, ``memory_format``. RuntimeError for devices not present.
        """
        dtype, device, copy = parse_to(args, kwargs)
        if device is not None and (device is META) is not self.is_meta:
            if device is not META:
                raise located(NotImplementedError(NO_DATA))
            moved = _to_meta(self)
            return moved if dtype is None else moved.to(dtype)
        if dtype is None or dtype is self._meta.dtype:
            return _clone(self) if copy else self
        return _cast(self, dtype)

    def type(self: Any, dtype: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
        """The type's name, or this tensor as another dtype."""
        if dtype is None:
            names = {
                "float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long",
                "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool",
                "bfloat16": "BFloat16", "complex64": "ComplexFloat", "complex128": "ComplexDouble",
            }  # fmt: skip
            place = "meta." if self.is_meta else ""
            return f"torch.{place}{names.get(self.dtype.name, self.dtype.name)}Tensor"
        return self.to(dtype_argument(dtype))

    def type_as(self: Any, other: Any) -> Any:
        """This tensor in the dtype, and on the device, of ``other``."""
        need_tensor("type_as", other=other)
        return self.to(other)

    def cpu(self: Any, memory_format: Any = None) -> Any:
        """This tensor on the CPU: itself. NotImplementedError on the meta device."""
        return self.to("cpu") if self.is_meta else self

    def cuda(self: Any, device: Any = None, non_blocking: bool = False) -> Any:
        """RuntimeError: there is no CUDA backend yet."""
        available(Device("cuda", device if isinstance(device, int) else None))
        return self

    def numpy(self: Any, *, force: bool = False) -> Array:
        """The values as a NumPy array that shares memory with this tensor: in-place changes of
        either show in the other. RuntimeError if gradients are required (unless ``force``),
        TypeError on the meta device."""
        if self.is_meta and not force:
            raise located(TypeError(_NOT_NUMPY))
        if self.requires_grad:
            if not force:
                raise located(
                    RuntimeError(
                        "Can't call numpy() on Tensor that requires grad. Use "
                        "tensor.detach().numpy() instead."
                    )
                )
            return self.detach().numpy()  # type: ignore[no-any-return]
        return export(self)

    def __array__(self: Any, dtype: Any = None, copy: Any = None) -> Array:
        if self.is_meta:
            raise located(TypeError(_NOT_NUMPY))
        array = self.detach()._array()
        return array.astype(dtype or array.dtype, copy=True if copy is None else copy)

    def __array_wrap__(self: Any, array: Array, context: Any = None, scalar: bool = False) -> Any:
        """What NumPy functions of tensors return: tensors."""
        return Tensor._from_array(np.asarray(array))

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise located(
                RuntimeError(
                    "Only Tensors created explicitly by the user (graph leaves) support the "
                    "deepcopy protocol at the moment."
                )
            )
        made = self.detach().clone()
        if self.requires_grad:
            made.requires_grad_(True)
        if self.grad is not None:
            made.grad = self.grad.__deepcopy__(memo)
        if self.__dict__:
            import copy

            made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        memo[id(self)] = made
        return made

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        if self.is_meta:
            return no_data, (tuple(self.shape), self.dtype, self.requires_grad)
        array = self.detach()._array()
        return rebuild, (np.ascontiguousarray(array).reshape(array.shape), self.requires_grad)

    # ---- autograd

    def backward(
        self: Any, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False,
        inputs: Any = None,
    ) -> None:  # fmt: skip
        """Accumulate gradients of this tensor into the leaves. See `autograd.backward`."""
        autograd.backward(
            self, None if gradient is None else [gradient], retain_graph, create_graph,
            inputs=inputs,
        )  # fmt: skip

    def detach_(self: Any) -> Any:
        """Cut this tensor off its history, in place."""
        if self._is_view():
            raise located(RuntimeError("Can't detach views in-place. Use detach() instead."))
        if self.requires_grad:
            trace = local.trace
            slot = bind(trace, self)
            value = self._meta.value
            state = transition(
                trace, ("detach_", slot), "detach", lambda: [ops.stop_gradient(value)]
            )
            version = self._extra.version if self._extra is not None else 0
            repoint(trace, self, state.metas[0])
            self._extra.version = version
        return self

    def requires_grad_(self: Any, requires_grad: bool = True) -> Any:
        """Make this leaf require gradients (or not). RuntimeError for non-leaves, and for dtypes
        that have no gradients."""
        meta = self._current_meta()
        if meta.requires_grad == requires_grad:
            return self
        if not meta.is_leaf:
            raise located(
                RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to "
                    "use a computed variable in a subgraph that doesn't require differentiation "
                    "use var_no_grad = var.detach()."
                )
            )
        if requires_grad and meta.dtype.category not in ("float", "complex"):
            raise located(
                RuntimeError(
                    f"only Tensors of floating point dtype can require gradients, got {meta.dtype}"
                )
            )
        set_leaf(self, requires_grad)
        return self

    def retain_grad(self: Any) -> None:
        """Keep the gradient of this non-leaf in ``.grad``."""
        autograd.retain_grad(self)

    def register_hook(self: Any, hook: Any) -> Any:
        """Call ``hook(grad)`` when the gradient of this tensor is computed."""
        return autograd.register_hook(self, hook)

    def register_post_accumulate_grad_hook(self: Any, hook: Any) -> Any:
        """Call ``hook(tensor)`` after a gradient was accumulated."""
        return autograd.register_post_accumulate_grad_hook(self, hook)

    def __dir__(self: Any) -> list[str]:
        return sorted(n for n in object.__dir__(self) if not n.startswith("_T"))

    def __iter__(self: Any) -> Any:
        if not self._meta.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self: Any, item: Any) -> bool:
        return bool((self == item).any())

    def new_tensor(self: Any, data: Any, dtype: Any = None, **kwargs: Any) -> Any:
        """A tensor with ``data``, of this tensor's dtype by default."""
        from .creation import tensor

        kwargs.setdefault("device", self.device)
        return tensor(data, dtype=dtype or self.dtype, **kwargs)


def _only_detached(chain: Any) -> bool:
    return bool(chain) and all(op.name == "stop_gradient" for op, _ in chain)


@exclusive
def set_leaf(tensor: Tensor, requires_grad: bool) -> None:
    """Mark a leaf as requiring gradients or not."""
    extra = tensor._extra
    in_trace = tensor._trace is local.trace or (extra is not None and extra.trace is local.trace)
    if tensor._buffer is not None and not in_trace:
        old = tensor._meta
        kind = TensorType(old.shape, old.dtype, old.device)
        fresh = Tensor._from_buffer(tensor._buffer, LeafKey(kind, requires_grad, True))
        tensor._meta, tensor._trace = fresh._meta, None
        return
    trace = local.trace
    slot = bind(trace, tensor)
    loosen(tensor)
    value = tensor._meta.value
    op = ops.as_leaf if requires_grad else ops.stop_gradient
    state = transition(trace, ("requires_grad", slot, requires_grad), "", lambda: [op(value)])
    meta = state.metas[0]
    meta.strides, meta.offset, meta.chain = (
        tensor._meta.strides, tensor._meta.offset, tensor._meta.chain,
    )  # fmt: skip
    trace.tensors[slot] = None
    tensor._slot, tensor._meta, tensor._buffer = meta.slot, meta, None
    trace.tensors.append(tensor)
    if extra is not None and extra.base is not None:
        tensor._trace = None  # a write to its base would not find it
    if requires_grad:
        trace.leaves[meta.slot] = tensor


def replace(tensor: Tensor, source: Tensor) -> None:
    """Let ``tensor`` show the (detached) value of ``source`` from now on, keeping its place."""
    requires_grad = tensor.requires_grad and tensor.is_leaf
    buffer = realise(source)
    kind = TensorType(source._meta.shape, source._meta.dtype, source._meta.device)
    fresh = Tensor._from_buffer(buffer, LeafKey(kind, requires_grad, True))
    trace = local.trace
    if tensor._trace is trace:
        loosen(tensor)
        trace.tensors[tensor._slot] = None
    if tensor._buffer is not None:
        tensor._buffer.overwritten += 1
    tensor._meta, tensor._buffer, tensor._trace = fresh._meta, buffer, None
    extra = tensor._extra
    if extra is not None:
        extra.base, extra.trace, extra.history, extra.exported = None, None, None, None
        extra.version += 1


def export(tensor: Tensor) -> Array:
    """The NumPy array that shares this tensor's memory, made on the first call."""
    extra = tensor._ensure_extra()
    if extra.base is not None:
        return shown_array(export(extra.base), extra.chain)
    if extra.exported is None:
        # A copy: the program's own array may stand for other values too.
        extra.exported = np.array(realise(tensor).get())
        tensor._buffer = Buffer(extra.exported)
        loosen(tensor)
        tensor._trace = None
    return extra.exported


def rebuild(array: Array, requires_grad: bool) -> Tensor:
    """What pickling a tensor calls."""
    return Tensor._from_array(array, requires_grad)


def dtype_argument(value: Any) -> DType:
    """A dtype given as dtype, name, Python type, NumPy dtype or legacy tensor type name."""
    if isinstance(value, DType):
        return value
    if value in (float, int, bool, complex):
        return BY_NAME[{float: "float64", int: "int64", bool: "bool", complex: "complex128"}[value]]
    if isinstance(value, str):
        legacy = value.rpartition(".")[2].removesuffix("Tensor").lower()
        if legacy in BY_NAME:
            return BY_NAME[legacy]
        raise ArgumentError(f"invalid type: {value!r}")
    return dtype_of(np.dtype(value))


def _to_meta(tensor: Any) -> Any:
    """The tensor on the meta device, as a function of it."""
    trace = local.trace
    slot = bind(trace, tensor)
    value = tensor._meta.value

    def fill(state: State) -> None:
        if is_permuted(tensor._meta):
            state.metas[0].strides = tensor._meta.strides

    state = transition(
        trace, ("to_meta", slot), "to_copy", lambda: [ops.on_meta(guard(value))], fill
    )
    return result(trace, state.metas[0])


def parse_to(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[DType | None, Device | None, bool]:
    """The arguments of `Tensor.to`: target dtype and device (None: unchanged), whether to copy."""
    dtype: DType | None = kwargs.pop("dtype", None)
    device: Any = kwargs.pop("device", None)
    copy = bool(kwargs.pop("copy", False))
    kwargs.pop("non_blocking", None)
    kwargs.pop("memory_format", None)
    other = kwargs.pop("other", None)
    if kwargs:
        raise located(ArgumentError(f"to() received unexpected keywords {sorted(kwargs)}"))
    for value in args:
        if isinstance(value, DType):
            dtype = value
        elif isinstance(value, Tensor):
            other = value
        elif isinstance(value, (str, Device, int)) and not isinstance(value, bool):
            device = value
        elif isinstance(value, bool) or value is None:
            continue
        else:
            raise located(
                ArgumentError(
                    "to() received an invalid combination of arguments - expected a dtype, device "
                    f"or tensor, got {type(value).__name__}"
                )
            )
    if other is not None:
        dtype, device = other.dtype, other.device
    if device is not None:
        try:
            device = available(device)
        except DeviceError as error:
            raise located(error) from None
    return dtype, device, copy


def cast_method(dtype: DType) -> Any:
    def method(self: Any, *, memory_format: Any = None) -> Any:
        return self if self._meta.dtype is dtype else _cast(self, dtype)

    method.__name__ = method.__qualname__ = dtype.name
    method.__doc__ = f"This tensor as {dtype.name}."
    return method
