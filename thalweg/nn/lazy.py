"""Layers that learn the number of their inputs from the first input that they see.

Until then their weights are `UninitializedParameter`s. The first call (or the loading of a state)
gives those a shape, draws them as usual, and turns the layer into the ordinary class.
"""

from __future__ import annotations

from typing import Any, ClassVar

import thalweg
from thalweg.nn import conv
from thalweg.nn.linear import Linear
from thalweg.nn.module import Module
from thalweg.tensor import Parameter, Tensor
from thalweg.tensor.fresh import new_full


class UninitializedParameter(Parameter):
    """A parameter whose shape is not known yet; ValueError for using it before `materialize`."""

    __slots__ = ()

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        made = object.__new__(cls)
        made._trace, made._slot, made._extra = None, 0, None
        made.__dict__["made"] = {"device": device, "dtype": dtype}
        made.__dict__["wanted_grad"] = requires_grad
        return made

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become an ordinary parameter of zeros of ``shape``."""
        made = self.__dict__.pop("made")
        made = {"device": device or made["device"], "dtype": dtype or made["dtype"]}
        value = Parameter(new_full(shape, 0, **made), self.__dict__.pop("wanted_grad"))
        self.__class__ = Parameter  # type: ignore[assignment]
        for name in ("_trace", "_slot", "_meta", "_buffer", "_extra"):
            setattr(self, name, getattr(value, name))

    def _unknown(self) -> Any:
        raise ValueError(
            "Attempted to use an uninitialized parameter. It gets its shape when its module is "
            "called for the first time, or when `materialize` is called."
        )

    def _no_shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter: it is known after the first "
            "call of its module."
        )

    _meta = property(_unknown)  # type: ignore[assignment]
    _buffer = property(_unknown)  # type: ignore[assignment]
    shape = property(_no_shape)  # type: ignore[assignment]
    requires_grad = property(lambda self: self.__dict__["wanted_grad"])  # type: ignore[assignment]
    is_leaf = property(lambda self: True)  # type: ignore[assignment]
    grad_fn = property(lambda self: None)

    def detach(self) -> Any:
        """This parameter: there is nothing yet to detach it from."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, **self.__dict__["made"])
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        made = self.__dict__["made"]
        return type(self), (self.requires_grad, made["device"], made["dtype"])

    def __repr__(self) -> str:
        return "<UninitializedParameter>"


def is_lazy(parameter: Any) -> bool:
    """Whether a parameter has no shape yet."""
    return isinstance(parameter, UninitializedParameter)


class LazyModuleMixin(Module):
    """Calls ``initialize_parameters(*inputs)`` before the first forward, and then makes the module
    one of the class ``cls_to_become``."""

    cls_to_become: ClassVar[type[Module]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.__dict__["_lazy_hooks"] = (
            self.register_forward_pre_hook(_infer, with_kwargs=True),
            self._register_load_state_dict_pre_hook(_take_shapes, with_module=True),
        )

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give every parameter its shape, given the first inputs, and its first value."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self) -> bool:
        """Whether some parameter has no shape yet."""
        return any(is_lazy(p) for p in self._parameters.values())


def _infer(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    module.initialize_parameters(*args, **kwargs)
    if module.has_uninitialized_params():
        raise RuntimeError(
            f"module {type(module).__name__} has not been fully initialized by its first input"
        )
    for handle in module.__dict__.pop("_lazy_hooks"):
        handle.remove()
    module.__class__ = module.cls_to_become


def _take_shapes(module: Any, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Before a state is copied: parameters without a shape take that of what they will hold."""
    for name, parameter in module._parameters.items():
        given = state.get(prefix + name)
        if is_lazy(parameter) and isinstance(given, Tensor) and not is_lazy(given):
            parameter.materialize(tuple(given.shape))


class LazyLinear(LazyModuleMixin, Linear):
    """`Linear` that takes ``in_features`` from the last dimension of its first input."""

    cls_to_become = Linear

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__(0, 0, False, **made)
        self.weight = UninitializedParameter(**made)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(**made)

    def reset_parameters(self) -> None:
        if self.in_features != 0 and not self.has_uninitialized_params():
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        if self.has_uninitialized_params():
            with thalweg.no_grad():
                self.in_features = input.shape[-1]
                self.weight.materialize((self.out_features, self.in_features))  # type: ignore[attr-defined]
                if self.bias is not None:
                    self.bias.materialize((self.out_features,))  # type: ignore[attr-defined]
                self.reset_parameters()
        elif self.in_features == 0:
            self.in_features = self.weight.shape[-1]


class _LazyConv(LazyModuleMixin, conv._ConvNd):
    """What the lazy convolutions share: channels from the first input."""

    def _postpone(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        """After a constructor with no channels: parameters without a shape."""
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        if self.in_channels != 0 and not self.has_uninitialized_params():
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        channels = self._input_channels(input)
        if not self.has_uninitialized_params():
            self.in_channels = self.in_channels or channels
            return
        if channels % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        self.in_channels = channels
        ends = (self.out_channels, channels // self.groups)
        if self._transposed:
            ends = (channels, self.out_channels // self.groups)
        with thalweg.no_grad():
            self.weight.materialize((*ends, *self.kernel_size))  # type: ignore[attr-defined]
            if self.bias is not None:
                self.bias.materialize((self.out_channels,))  # type: ignore[attr-defined]
            self.reset_parameters()

    def _input_channels(self, input: Tensor) -> int:
        low = self._dims + 1
        if input.dim() not in (low, low + 1):
            raise RuntimeError(
                f"Expected {low}D (unbatched) or {low + 1}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {tuple(input.shape)}"
            )
        return int(input.shape[input.dim() - low])


class _LazyForward(_LazyConv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: conv.Size,
        stride: conv.Size = 1,
        padding: str | conv.Size = 0,
        dilation: conv.Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode, device, dtype
        )
        self._postpone(out_channels, bias, device, dtype)


class _LazyTransposed(_LazyConv):
    def __init__(
        self,
        out_channels: int,
        kernel_size: conv.Size,
        stride: conv.Size = 1,
        padding: conv.Size = 0,
        output_padding: conv.Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: conv.Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation,
            padding_mode, device, dtype,
        )  # fmt: skip
        self._postpone(out_channels, bias, device, dtype)


class LazyConv1d(_LazyForward, conv.Conv1d):
    """`Conv1d` that takes ``in_channels`` from its first input."""

    cls_to_become = conv.Conv1d


class LazyConv2d(_LazyForward, conv.Conv2d):
    """`Conv2d` that takes ``in_channels`` from its first input."""

    cls_to_become = conv.Conv2d


class LazyConv3d(_LazyForward, conv.Conv3d):
    """`Conv3d` that takes ``in_channels`` from its first input."""

    cls_to_become = conv.Conv3d


class LazyConvTranspose1d(_LazyTransposed, conv.ConvTranspose1d):
    """`ConvTranspose1d` that takes ``in_channels`` from its first input."""

    cls_to_become = conv.ConvTranspose1d


class LazyConvTranspose2d(_LazyTransposed, conv.ConvTranspose2d):
    """`ConvTranspose2d` that takes ``in_channels`` from its first input."""

    cls_to_become = conv.ConvTranspose2d


class LazyConvTranspose3d(_LazyTransposed, conv.ConvTranspose3d):
    """`ConvTranspose3d` that takes ``in_channels`` from its first input."""

    cls_to_become = conv.ConvTranspose3d


__all__ = [
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyLinear",
    "LazyModuleMixin",
    "UninitializedParameter",
    "is_lazy",
]
