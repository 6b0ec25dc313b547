"""Batch norms in evaluation taken into the weights of the layer before them; layers without the
cost of drawing their weights."""

from __future__ import annotations

import copy
from typing import Any

import thalweg
from thalweg.nn.module import Module
from thalweg.tensor import Parameter, Tensor


def _factors(
    mean: Tensor, variance: Tensor, eps: float, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(scale, shift) of each channel."""
    scale = (variance + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias


def _scaled(weight: Tensor, scale: Tensor, dim: int) -> Parameter:
    shape = [1] * weight.ndim
    shape[dim] = -1
    return Parameter((weight * scale.reshape(shape)).to(weight.dtype), weight.requires_grad)


def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
    bn_w: Tensor | None, bn_b: Tensor | None, transpose: bool = False,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """(weight, bias) of one convolution that does what a convolution and a batch norm do."""
    with thalweg.no_grad():
        scale, shift = _factors(bn_rm, bn_rv, bn_eps, bn_w, bn_b)
        bias = shift if conv_b is None else conv_b * scale + shift
        wanted = conv_w.requires_grad if conv_b is None else conv_b.requires_grad
        fused = _scaled(conv_w, scale, 1 if transpose else 0)
        return fused, Parameter(bias.to(conv_w.dtype), wanted)


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
    bn_w: Tensor, bn_b: Tensor,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """(weight, bias) of one linear layer that does what a linear layer and a batch norm do."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of ``conv`` that does what it and ``bn`` do in evaluation."""
    if conv.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    fused = copy.deepcopy(conv)
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("the batch norm has no running statistics")
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias,
        transpose,
    )  # fmt: skip
    return fused


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of ``linear`` that does what it and ``bn`` do in evaluation."""
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1"
        )
    return fuse_conv_bn_eval(linear, bn)


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """A module of the class, whose weights are not meant to be used before they are set."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    return module_cls(*args, **kwargs)
