"""Convolutions and transposed convolutions in one, two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from thalweg.nn import functional as F
from thalweg.nn import init
from thalweg.nn.module import Module
from thalweg.nn.shapes import tuple_of
from thalweg.tensor import Parameter, Tensor
from thalweg.tensor.fresh import new_full

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
Size = int | Sequence[int]


class _ConvNd(Module):
    """Parameters, checks and repr that all convolutions share; ``_dims`` counts the dimensions."""

    _dims: ClassVar[int]
    _transposed: ClassVar[bool] = False

    in_channels: int
    out_channels: int
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: str | Size,
        dilation: Size,
        output_padding: Size,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {set(_PADDING_MODES)}, "
                f"but got padding_mode='{padding_mode}'"
            )
        spread = tuple_of(self._dims)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = spread(kernel_size)
        self.stride = spread(stride)
        self.padding = padding if isinstance(padding, str) else spread(padding)
        self.dilation = spread(dilation)
        self.output_padding = spread(output_padding)
        self.groups = groups
        self.padding_mode = padding_mode
        self._border = self._border_padding()
        if self._transposed:
            channels = (in_channels, out_channels // groups)
        else:
            channels = (out_channels, in_channels // groups)
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight = Parameter(new_full((*channels, *self.kernel_size), 0, **made))
        if bias:
            self.bias = Parameter(new_full(out_channels, 0, **made))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _border_padding(self) -> list[int]:
        """The padding in ``F.pad``'s order (last dimension first), for the non-zero modes."""
        if not isinstance(self.padding, str):
            return [amount for amount in reversed(self.padding) for _ in range(2)]
        if self.padding not in ("same", "valid"):
            raise ValueError(
                f"Invalid padding string '{self.padding}', should be one of 'valid', 'same'"
            )
        if self.padding == "same" and any(stride != 1 for stride in self.stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
        border = [0] * (2 * self._dims)
        if self.padding == "same":
            for place, (size, dilation) in enumerate(
                zip(reversed(self.kernel_size), reversed(self.dilation))
            ):
                total = dilation * (size - 1)
                border[2 * place] = total // 2
                border[2 * place + 1] = total - total // 2
        return border

    def reset_parameters(self) -> None:
        """Draw weight and bias from U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def _convolve(self, function: Any, input: Tensor) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._border, mode=self.padding_mode)
            padding = 0
        return function(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        nothing, ones = (0,) * self._dims, (1,) * self._dims
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding != nothing:
            text += f", padding={self.padding}"
        if self.dilation != ones:
            text += f", dilation={self.dilation}"
        if self.output_padding != nothing:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Conv(_ConvNd):
    """The constructor of the ordinary convolutions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: str | Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            0,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )


class Conv1d(_Conv):
    """Cross-correlation: (N, C_in, L) or (C_in, L) to (N, C_out, L_out).

    ``padding`` is a number or "same"/"valid"; weight is (C_out, C_in/groups, K).
    """

    _dims = 1

    def forward(self, input: Tensor) -> Tensor:
        return self._convolve(F.conv1d, input)


class Conv2d(_Conv):
    """Cross-correlation: (N, C_in, H, W) or (C_in, H, W) to (N, C_out, H_out, W_out).

    ``padding`` is a number or "same"/"valid"; weight is (C_out, C_in/groups, KH, KW).
    """

    _dims = 2

    def forward(self, input: Tensor) -> Tensor:
        return self._convolve(F.conv2d, input)


class Conv3d(_Conv):
    """Cross-correlation: (N, C_in, D, H, W) or without N, to (N, C_out, D_out, H_out, W_out)."""

    _dims = 3

    def forward(self, input: Tensor) -> Tensor:
        return self._convolve(F.conv3d, input)


class _ConvTranspose(_ConvNd):
    """Constructor of the transposed convolutions, and output padding from a wanted size."""

    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            output_padding,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """Stride makes several output sizes possible; this picks the padding for the one given."""
        if output_size is None:
            return self.output_padding
        dims = self._dims
        batched = input.dim() == dims + 2
        extra = input.dim() - dims
        wanted = list(output_size)
        if len(wanted) == extra + dims:
            wanted = wanted[extra:]
        if len(wanted) != dims:
            raise ValueError(
                f"ConvTranspose{dims}D: for {dims + 2 if batched else dims + 1}D input, "
                f"output_size must have {dims} or {extra + dims} elements (got {len(wanted)})"
            )
        chosen = []
        smallest, largest = [], []
        for place, size in enumerate(wanted):
            least = (
                (input.shape[place + extra] - 1) * self.stride[place]
                - 2 * self.padding[place]
                + self.dilation[place] * (self.kernel_size[place] - 1)
                + 1
            )
            smallest.append(least)
            largest.append(least + self.stride[place] - 1)
            chosen.append(size - least)
        if any(not low <= size <= high for low, size, high in zip(smallest, wanted, largest)):
            raise ValueError(
                f"requested an output size of {list(wanted)}, but valid sizes range from "
                f"{smallest} to {largest} (for an input of {input.shape[extra:]})"
            )
        return tuple(chosen)

    def _convolve_transposed(
        self, function: Any, input: Tensor, output_size: Sequence[int] | None
    ) -> Tensor:
        return function(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self._output_padding(input, output_size),
            self.groups,
            self.dilation,
        )


class ConvTranspose1d(_ConvTranspose):
    """The gradient of Conv1d as a layer: (N, C_in, L) to (N, C_out, L_out)."""

    _dims = 1

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return self._convolve_transposed(F.conv_transpose1d, input, output_size)


class ConvTranspose2d(_ConvTranspose):
    """The gradient of Conv2d as a layer: (N, C_in, H, W) to (N, C_out, H_out, W_out)."""

    _dims = 2

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return self._convolve_transposed(F.conv_transpose2d, input, output_size)


class ConvTranspose3d(_ConvTranspose):
    """The gradient of Conv3d as a layer: (N, C_in, D, H, W) to (N, C_out, D', H', W')."""

    _dims = 3

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return self._convolve_transposed(F.conv_transpose3d, input, output_size)
