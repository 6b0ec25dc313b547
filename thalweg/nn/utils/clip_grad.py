"""Gradient clipping: by the norm of all gradients together, or element by element."""

from __future__ import annotations

import math
from collections.abc import Iterable

import thalweg
from thalweg.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _norm(tensor: Tensor, order: float) -> Tensor:
    """The vector norm of all elements, accumulated in at least float32."""
    dtype = tensor.dtype
    if dtype in (thalweg.float16, thalweg.bfloat16):
        return _norm(tensor.to(thalweg.float32), order).to(dtype)
    if order == 2:
        return (tensor * tensor).sum().sqrt()
    size = tensor.abs()
    if order == math.inf:
        return size.max()
    if order == -math.inf:
        return size.min()
    if order == 0:
        return (size != 0).sum().to(dtype)
    if order == 1:
        return size.sum()
    return (size**order).sum() ** (1.0 / order)


def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all elements of all tensors, as one scalar tensor.

    ``RuntimeError`` if it is not finite and ``error_if_nonfinite``. ``foreach`` has no effect.
    """
    norm_type = float(norm_type)
    with thalweg.no_grad():
        norms = [_norm(tensor, norm_type) for tensor in _listed(tensors)]
        if not norms:
            return thalweg.tensor(0.0)
        total = _norm(thalweg.stack([norm.to(norms[0].device) for norm in norms]), norm_type)
        if error_if_nonfinite and not math.isfinite(float(total)):
            raise RuntimeError(
                f"The total norm of order {norm_type} for gradients from `parameters` is "
                "non-finite, so it cannot be clipped. To disable this error and scale the "
                "gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
            )
        return total


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale gradients in place by ``max_norm / total_norm`` where that is below one."""
    grads = [p.grad for p in _listed(parameters) if p.grad is not None]
    if not grads:
        return
    with thalweg.no_grad():
        # Clamped instead of branched on: deciding here would wait for the norm to be computed.
        scale = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale.to(grad.device))


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients in place so that their common norm is at most ``max_norm``.

    Returns the norm before (Pascanu et al. 2013).
    """
    listed = _listed(parameters)
    grads = [p.grad for p in listed if p.grad is not None]
    total_norm = get_total_norm(grads, norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(listed, max_norm, total_norm, foreach)
    return total_norm


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Limit every gradient element in place to [-clip_value, clip_value]."""
    clip_value = float(clip_value)
    with thalweg.no_grad():
        for parameter in _listed(parameters):
            if parameter.grad is not None:
                parameter.grad.clamp_(min=-clip_value, max=clip_value)
