"""Gradient clipping: by the norm of all gradients together, or element by element.

However many gradients there are, the norm is one recorded function and their scaling one
transition of the trace; nothing is computed here unless a non-finite norm is to be an error.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import thalweg
from thalweg.ir.node import Value
from thalweg.ops.arithmetic import cast
from thalweg.ops.named import public
from thalweg.tensor import Tensor, functional
from thalweg.tensor.region import Rule, fused_update

Tensors = Tensor | Iterable[Tensor]


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


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
    given = _listed(tensors)
    if not given:
        return thalweg.tensor(0.0)
    with thalweg.no_grad():
        total: Tensor = functional.total_norm(given, norm_type)
        if error_if_nonfinite and not math.isfinite(float(total)):
            raise RuntimeError(
                f"The total norm of order {norm_type} for gradients from `parameters` is "
                "non-finite, so it cannot be clipped. To disable this error and scale the "
                "gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
            )
        return total


def _update(name: str, rule: Rule, rows: Iterable[list[Tensor]], numbers: Sequence[float]) -> None:
    """Apply a rule to the first tensor of each row, in place and together where that is possible:
    views, arrays shared with NumPy and tensors listed twice are written one by one."""
    seen: set[Tensor] = set()
    together: list[list[Tensor]] = []
    alone: list[list[Tensor]] = []
    for row in rows:
        extra = row[0]._extra
        plain = extra is None or (extra.base is None and extra.exported is None)
        (together if plain and row[0] not in seen else alone).append(row)
        seen.add(row[0])
    with thalweg.no_grad():
        if together:
            fused_update(name, rule, together, (0,), numbers)
        for tensor, *rest in alone:
            copy = tensor.detach().clone()
            fused_update(name, rule, [[copy, *rest]], (0,), numbers)
            tensor.copy_(copy)


def _scale(static: Any, numbers: Sequence[Value], grad: Value, total: Value) -> tuple[Value]:
    # Clamped instead of branched on: deciding here would wait for the norm to be computed.
    factor = public.clamp(numbers[0] / (total + 1e-6), max=1.0)
    return (cast(grad * factor, grad.dtype),)


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale gradients in place by ``max_norm / total_norm`` where that is below one."""
    rows = [[grad, total_norm] for grad in _gradients(_listed(parameters))]
    _update("clip_grad_norm_", _scale, rows, (float(max_norm),))


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
    if inspect.isgenerator(parameters) and not listed:
        warnings.warn(
            "`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2
        )
    total_norm = get_total_norm(_gradients(listed), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(listed, max_norm, total_norm, foreach)
    return total_norm


def _limit(static: Any, numbers: Sequence[Value], grad: Value) -> tuple[Value]:
    return (public.clamp(grad, *numbers),)


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Limit every gradient element in place to [-clip_value, clip_value]."""
    rows = [[grad] for grad in _gradients(_listed(parameters))]
    _update("clip_grad_value_", _limit, rows, (-float(clip_value), float(clip_value)))
