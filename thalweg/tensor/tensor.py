"""The Tensor: a small mutable handle on a recorded slot or a buffer.

Its methods are attached from the op registry (`tensor.attach`); this file holds what makes a
handle a handle: identity, metadata, reading values, gradients as attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.device import META, Device
from ..core.dtypes import DType, from_numpy
from ..core.errors import ArgumentError, AutogradError, ValueRangeError, located
from ..ir.types import TensorType
from ..runtime.buffer import NO_DATA, Array, Buffer
from .size import Size
from .trace import Chain, LeafKey, Meta, Trace, local

if TYPE_CHECKING:
    from .flush import History


class Extra:
    """What most tensors never need: gradients, aliasing, hooks.

    ``base`` is the tensor whose storage a view shows through ``chain``; ``seen`` is the base's
    ``version`` and ``shown`` its slot when the view was last derived; ``trace`` is where that was;
    ``multi`` marks views that came several at once, ``stale`` those of them whose base was written
    to since (autograd refuses them). ``aliases`` are values that show this tensor's memory, besides
    what its Meta tells. ``exported`` is a NumPy array that shares this tensor's memory as far as
    the user can tell. ``untracked`` marks aliases made by ``.data``, whose writes autograd does not
    count; ``silent`` is the number of such writes. ``hidden`` is set where the base is a
    handle which nobody sees, and of that handle is a weak reference to the tensor in its place:
    see `inplace_views`.
    """

    __slots__ = (
        "aliases", "base", "chain", "exported", "grad", "hidden", "history", "hooks",
        "multi",
        "post_hooks", "retain", "seen", "shown", "silent", "stale", "trace", "untracked", "version",
    )  # fmt: skip

    def __init__(self) -> None:
        self.grad: Tensor | None = None
        self.base: Tensor | None = None
        self.chain: Chain = ()
        self.seen = 0
        self.version = 0
        self.trace: Trace | None = None
        self.history: tuple[History, Any] | None = None
        self.hooks: dict[int, Any] | None = None
        self.post_hooks: dict[int, Any] | None = None
        self.retain = False
        self.exported: Array | None = None
        self.hidden: Any = False
        self.multi = False
        self.stale = False
        self.untracked = False
        self.silent = 0
        self.shown = -1
        self.aliases: tuple[Any, ...] = ()


_leaf_metas: dict[LeafKey, Meta] = {}


def _meta_of(key: LeafKey) -> Meta:
    """A Meta for a tensor that is in no trace yet."""
    meta = _leaf_metas.get(key)
    if meta is None:
        if len(_leaf_metas) > 10_000:
            _leaf_metas.clear()
        meta = _leaf_metas[key] = key.meta(0)
    return meta


class Tensor:
    """An n-dimensional array with PyTorch's interface, recorded lazily.

    Made by `thalweg.tensor`, the creation functions, or operations on tensors; ``Tensor(...)``
    itself is the legacy constructor (sizes or data, default dtype).
    """

    __slots__ = ("__dict__", "__weakref__", "_buffer", "_extra", "_meta", "_slot", "_trace")

    _buffer: Buffer | None
    _extra: Extra | None
    _meta: Meta
    _slot: int
    _trace: Trace | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        from .creation import legacy_constructor

        return legacy_constructor(cls, *args, **kwargs)

    # ---- making handles

    @staticmethod
    def _from_buffer(buffer: Buffer, key: LeafKey) -> Tensor:
        tensor = object.__new__(Tensor)
        tensor._trace = None
        tensor._slot = 0
        tensor._meta = _meta_of(key)
        tensor._buffer = buffer
        tensor._extra = None
        return tensor

    @staticmethod
    def _from_array(array: Array, requires_grad: bool = False) -> Tensor:
        """A leaf that owns ``array`` (not copied; the caller gives it up)."""
        kind = TensorType(tuple(array.shape), from_numpy(array.dtype))
        return Tensor._from_buffer(Buffer(array), LeafKey(kind, requires_grad, True))

    def _ensure_extra(self) -> Extra:
        if self._extra is None:
            self._extra = Extra()
        return self._extra

    # ---- metadata: all of it known without computing

    @property
    def shape(self) -> Size:
        return Size(self._meta.shape)

    @property
    def dtype(self) -> DType:
        return self._meta.dtype

    @property
    def device(self) -> Device:
        return self._meta.device

    @property
    def is_meta(self) -> bool:
        """Whether this tensor is on the meta device, and has no data."""
        return self._meta.device is META

    @property
    def ndim(self) -> int:
        return len(self._meta.shape)

    @property
    def requires_grad(self) -> bool:
        return self._current_meta().requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> bool:
        return self._current_meta().is_leaf

    def _current_meta(self) -> Meta:
        """The Meta; of a view whose base was written to, only after deriving it anew."""
        extra = self._extra
        if extra is None or extra.base is None:
            return self._meta
        if extra.stale or extra.seen != extra.base._ensure_extra().version:
            from .alias import bind

            bind(local.trace, self)
        return self._meta

    # ---- reading values

    def _array(self) -> Array:
        """This tensor's value; flushes if it is pending. Not to be modified."""
        from .alias import realise

        if self._meta.device is META:
            raise located(NotImplementedError(NO_DATA))
        try:
            return realise(self).get()
        except Exception as error:
            raise located(error) from None

    @property
    def grad(self) -> Tensor | None:
        extra = self._extra
        return None if extra is None else extra.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is None:
            if self._extra is not None:
                self._extra.grad = None
            return
        if not isinstance(value, Tensor):
            raise ArgumentError(
                f"assigned grad expected to be a Tensor or None but got type {type(value).__name__}"
            )
        if value._meta.shape != self._meta.shape:
            raise AutogradError(
                f"assigned grad has data of a different size: expected "
                f"{list(self._meta.shape)}, got {list(value._meta.shape)}"
            )
        if value._meta.dtype is not self._meta.dtype:
            raise AutogradError(
                f"assigned grad has data of a different type: expected {self._meta.dtype}, got "
                f"{value._meta.dtype}"
            )
        if value._meta.device is not self._meta.device:
            raise AutogradError(
                f"attempting to assign a gradient with device type '{value._meta.device.type}' to "
                f"a tensor with device type '{self._meta.device.type}'. Please ensure that the "
                "gradient and the tensor are on the same device"
            )
        self._ensure_extra().grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    def __len__(self) -> int:
        if not self._meta.shape:
            raise TypeError("len() of a 0-d tensor")
        return self._meta.shape[0]

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:
        count = int(np.prod(self._meta.shape))
        if count == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        if count > 1:
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self.item())

    def __float__(self) -> float:
        return float(self._only_element())

    def __int__(self) -> int:
        return int(self._only_element())

    def __complex__(self) -> complex:
        return complex(self._only_element())

    def _only_element(self) -> Any:
        if self.numel() != 1:
            raise located(
                ValueRangeError(
                    "only one element tensors can be converted to Python scalars, got shape "
                    f"{list(self._meta.shape)}"
                )
            )
        return self.item()

    def __index__(self) -> int:
        if self._meta.dtype.category not in ("int", "bool") or self._meta.shape not in ((), (1,)):
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        if not self._meta.shape and type(self) is Tensor and self._meta.device is not META:
            return self.item().__format__(spec)  # type: ignore[no-any-return]
        return object.__format__(self, spec) if spec else str(self)

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number. RuntimeError otherwise."""
        count = self.numel()  # type: ignore[attr-defined]
        if count != 1:
            raise located(
                RuntimeError(f"a Tensor with {count} elements cannot be converted to Scalar")
            )
        if self._meta.device is META:
            raise located(RuntimeError("Tensor.item() cannot be called on meta tensors"))
        array = self._array()
        value = array.reshape(())[()]
        return value.item() if array.dtype.kind != "V" else float(value)

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers (a number for a 0-d tensor)."""
        array = self._array()
        if array.dtype.kind not in "biufc":
            array = array.astype(np.float32)
        return array.tolist()


def need_tensor(name: str, **arguments: Any) -> None:
    """TypeError, in PyTorch's words, for an argument that is no tensor."""
    for position, (argument, value) in enumerate(arguments.items(), 1):
        if not isinstance(value, Tensor):
            raise located(
                ArgumentError(
                    f"{name}(): argument '{argument}' (position {position}) must be Tensor, not "
                    f"{type(value).__name__}"
                )
            )
