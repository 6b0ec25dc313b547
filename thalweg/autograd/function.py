"""`torch.autograd.function`: what custom functions are made of."""

from ..tensor.autograd import Function, FunctionCtx, once_differentiable

__all__ = ["Function", "FunctionCtx", "once_differentiable"]
