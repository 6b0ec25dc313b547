"""Stochastic gradient descent with momentum (Sutskever et al., ICML 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.node import Value
from .optimizer import Optimizer
from .values import check, check_not_negative, check_rate


class SGD(Optimizer):
    """``v = momentum * v + (1 - dampening) * g;  p = p - lr * v``.

    Args: ``lr`` (default 1e-3), ``momentum``, ``dampening``, ``weight_decay`` (L2),
    ``nesterov``, ``maximize``. The first step sets v = g, as PyTorch does.
    """

    counts_steps = False

    def __init__(
        self, params: Any, lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
        weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
        foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_not_negative(momentum=momentum, weight_decay=weight_decay)
        check(
            not nesterov or (momentum > 0 and dampening == 0),
            "Nesterov momentum requires a momentum and zero dampening",
        )
        super().__init__(
            params,
            {
                "lr": lr, "momentum": momentum, "dampening": dampening,
                "weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize,
                "foreach": foreach, "differentiable": differentiable, "fused": fused,
            },
        )  # fmt: skip

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if group["momentum"] else {}

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        return (
            group["lr"], group["momentum"], 1 - group["dampening"], group["weight_decay"],
        )  # fmt: skip

    # Without dampening the first step needs no program of its own: v is zero before it.
    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Any:
        return (
            group["maximize"], bool(group["weight_decay"]), bool(group["momentum"]),
            group["nesterov"], fresh and group["dampening"] != 0,
        )  # fmt: skip

    def rule(
        self, static: Any, numbers: Sequence[Value], param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        maximize, decay, momentum, nesterov, fresh = static
        lr, mu, keep, weight_decay = numbers
        g = -grad if maximize else grad
        if decay:
            g = g + param * weight_decay
        if not momentum:
            return (param - g * lr,)
        buffer = g if fresh else state[0] * mu + g * keep
        g = g + buffer * mu if nesterov else buffer
        return param - g * lr, buffer
