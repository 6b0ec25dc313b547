"""Parameters and buffers, also those whose shape is not known yet."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import thalweg
from thalweg.core.device import available, get_default_device
from thalweg.core.dtypes import default_dtype
from thalweg.tensor import Parameter, Tensor
from thalweg.tensor.fresh import new_full
from thalweg.tensor.parameter import Buffer


class UninitializedTensorMixin:
    """A tensor without a shape: it has a dtype and a device, and gets a value by `materialize`.

    Any other use raises ValueError, asking for the shape RuntimeError.
    """

    __slots__ = ()

    cls_to_become: ClassVar[type[Tensor]]

    def _plan(self, device: Any, dtype: Any, **more: Any) -> None:
        tensor: Any = self
        tensor._trace, tensor._slot, tensor._extra = None, 0, None
        where = get_default_device() if device is None else available(device)
        self.__dict__["planned"] = {"device": where, "dtype": dtype or default_dtype(), **more}

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become an ordinary tensor of zeros of ``shape``, of the class ``cls_to_become``."""
        planned = self.__dict__.pop("planned")
        zeros = new_full(shape, 0, device or planned["device"], dtype or planned["dtype"])
        value = Parameter(zeros, planned.get("requires_grad", False))
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        for name in ("_trace", "_slot", "_meta", "_buffer", "_extra"):
            setattr(self, name, getattr(value, name))

    def _unknown(self) -> Any:
        raise ValueError(
            "Attempted to use an uninitialized parameter. It gets its shape when its module is "
            "called for the first time, or when `materialize` is called."
        )

    def _no_shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer: it is known after the "
            "first call of its module."
        )

    def _take(self, other: Any) -> None:
        self.__dict__["planned"].update(device=other.device, dtype=other.dtype)

    _meta = property(_unknown)
    _buffer = property(_unknown)
    shape = property(_no_shape)
    size = dim = property(_no_shape)
    ndim = property(_no_shape)
    device = property(lambda self: self.__dict__["planned"]["device"])
    dtype = property(lambda self: self.__dict__["planned"]["dtype"])
    is_meta = property(lambda self: self.device.type == "meta")
    requires_grad = property(lambda self: self.__dict__["planned"].get("requires_grad", False))
    is_leaf = property(lambda self: True)
    grad_fn = property(lambda self: None)
    data = property(lambda self: self, _take)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same with another dtype or device."""
        from thalweg.tensor.methods import parse_to

        dtype, device, _ = parse_to(args, kwargs)
        made = self._again()
        planned = made.__dict__["planned"]
        planned.update(dtype=dtype or self.dtype, device=device or self.device)
        return made

    def half(self) -> Self:
        """The same in float16."""
        return self.to(thalweg.float16)

    def float(self) -> Self:
        """The same in float32."""
        return self.to(thalweg.float32)

    def double(self) -> Self:
        """The same in float64."""
        return self.to(thalweg.float64)

    def bfloat16(self) -> Self:
        """The same in bfloat16."""
        return self.to(thalweg.bfloat16)

    def cpu(self) -> Self:
        """The same on the CPU."""
        return self.to("cpu")

    def is_floating_point(self) -> bool:
        """Whether the dtype is one of floating-point numbers."""
        return bool(self.dtype.is_floating_point)

    def is_complex(self) -> bool:
        """Whether the dtype is one of complex numbers."""
        return bool(self.dtype.is_complex)

    def detach(self) -> Self:
        """This tensor: there is nothing yet to detach it from."""
        return self

    def copy_(self, src: Any, non_blocking: bool = False) -> Self:
        """Take over that ``src`` has no shape either; ValueError if it has one."""
        return self if is_lazy(src) else self._unknown()

    def share_memory_(self) -> Self:
        """RuntimeError: there is no memory yet."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to "
            "initialize the parameters before calling `module.share_memory()`."
        )

    def _again(self) -> Self:
        return type(self)(**self.__dict__["planned"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if id(self) not in memo:
            memo[id(self)] = self._again()
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild, (type(self), self.__dict__["planned"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def _rebuild(kind: type[Any], planned: dict[str, Any]) -> Any:
    return kind(**planned)


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter whose shape is not known yet; ValueError for using it before `materialize`."""

    __slots__ = ()

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        made = object.__new__(cls)
        made._plan(device, dtype, requires_grad=requires_grad)
        return made


class UninitializedBuffer(UninitializedTensorMixin, Buffer):
    """A buffer whose shape is not known yet; ValueError for using it before `materialize`."""

    __slots__ = ()

    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None,
        persistent: bool = True,
    ) -> Any:  # fmt: skip
        made = object.__new__(cls)
        made._plan(device, dtype, requires_grad=requires_grad)
        made.persistent = persistent
        return made

    def _again(self) -> Any:
        return type(self)(**self.__dict__["planned"], persistent=self.persistent)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild, (type(self), {**self.__dict__["planned"], "persistent": self.persistent})


def is_lazy(param: Any) -> bool:
    """Whether a parameter or buffer has no shape yet."""
    return isinstance(param, UninitializedTensorMixin)


__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter",
           "UninitializedTensorMixin", "is_lazy"]  # fmt: skip
