"""`torch.autograd`: gradients as functions, custom functions, gradient modes."""

from ..tensor.autograd import Function, backward, grad
from ..tensor.modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from ..tensor.tensor import Tensor
from . import function


def Variable(data: Tensor, requires_grad: bool = False, volatile: bool = False) -> Tensor:
    """``data`` as a leaf, in the manner of early PyTorch: a tensor that shares its value."""
    made = data.detach()
    return made.requires_grad_(True) if requires_grad else made


__all__ = ["Function", "Variable", "backward", "enable_grad", "function", "grad",
           "inference_mode", "no_grad", "set_grad_enabled"]  # fmt: skip
