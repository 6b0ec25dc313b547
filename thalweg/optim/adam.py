"""Adam (Kingma & Ba, arXiv 1412.6980), AdamW (Loshchilov & Hutter, arXiv 1711.05101), and
AMSGrad (Reddi et al., ICLR 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..ir.node import Value
from ..ops.link import ops
from .optimizer import Optimizer
from .values import check, check_betas, check_not_negative, check_rate


class Adam(Optimizer):
    """Adam with bias correction; ``weight_decay`` is L2, or decoupled for `AdamW`.

    Args: ``lr`` (default 1e-3), ``betas``, ``eps`` (added to the root), ``weight_decay``,
    ``amsgrad``, ``maximize``.
    """

    decoupled = False

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check(eps >= 0.0, f"Invalid epsilon value: {eps}")
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach,
                "capturable": capturable, "differentiable": differentiable, "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay or self.decoupled,
            },
        )  # fmt: skip

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        names = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
        if group["amsgrad"]:
            names["max_exp_avg_sq"] = 0.0
        return names

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        beta1, beta2 = group["betas"]
        lr, decay = group["lr"], group["weight_decay"]
        shrink = 1 - lr * decay if group["decoupled_weight_decay"] else decay
        # m / (sqrt(v) / r + eps) = r m / (sqrt(v) + r eps): one division an element less, and
        # those and the root are what takes the time.
        root2 = math.sqrt(1 - beta2**step)
        return (
            lr * root2 / (1 - beta1**step), root2 * group["eps"], 1 - beta1, beta2, 1 - beta2,
            shrink,
        )  # fmt: skip

    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Any:
        return (
            group["maximize"], bool(group["weight_decay"]), group["decoupled_weight_decay"],
            group["amsgrad"],
        )  # fmt: skip

    def rule(
        self, static: Any, numbers: Sequence[Value], param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        maximize, decay, decoupled, amsgrad = static
        step_size, eps, weight1, beta2, weight2, shrink = numbers
        g = -grad if maximize else grad
        if decay and decoupled:
            param = param * shrink
        elif decay:
            g = g + param * shrink
        mean = state[0] + (g - state[0]) * weight1
        square = state[1] * beta2 + g * g * weight2
        largest = ops.maximum(state[2], square) if amsgrad else square
        param = param - mean / (ops.sqrt(largest) + eps) * step_size
        return (param, mean, square, largest) if amsgrad else (param, mean, square)


class AdamW(Adam):
    """Adam with decoupled weight decay (default 1e-2)."""

    decoupled = True

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *,
        maximize: bool = False, foreach: bool | None = None, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused,
        )  # fmt: skip
