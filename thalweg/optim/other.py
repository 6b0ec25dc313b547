"""Adagrad (Duchi et al., JMLR 2011), RMSprop (Hinton, Coursera lecture 6e; centred form: Graves,
arXiv 1308.0850) and Lion (Chen et al., arXiv 2302.06675)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.node import Value
from ..ops.link import ops
from .optimizer import Optimizer
from .values import check, check_betas, check_not_negative, check_rate


class Adagrad(Optimizer):
    """``s = s + g^2;  p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)``."""

    def __init__(
        self, params: Any, lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_not_negative(
            lr_decay=lr_decay, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
        )  # fmt: skip
        check(eps >= 0.0, f"Invalid epsilon value: {eps}")
        super().__init__(
            params,
            {
                "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
                "maximize": maximize, "differentiable": differentiable, "fused": fused,
            },
        )  # fmt: skip

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        rate = group["lr"] / (1 + (step - 1) * group["lr_decay"])
        return rate, group["weight_decay"], group["eps"]

    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Any:
        return group["maximize"], bool(group["weight_decay"])

    def rule(
        self, static: Any, numbers: Sequence[Value], param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        maximize, decay = static
        rate, weight_decay, eps = numbers
        g = -grad if maximize else grad
        if decay:
            g = g + param * weight_decay
        total = state[0] + g * g
        return param - g / (ops.sqrt(total) + eps) * rate, total


class RMSprop(Optimizer):
    """``s = alpha * s + (1 - alpha) * g^2;  p = p - lr * g / (sqrt(s) + eps)``, optionally centred
    and with momentum."""

    def __init__(
        self, params: Any, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0, momentum: float = 0, centered: bool = False,
        capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check(eps >= 0.0, f"Invalid epsilon value: {eps}")
        check_not_negative(momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        super().__init__(
            params,
            {
                "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
                "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
                "maximize": maximize, "differentiable": differentiable,
            },
        )  # fmt: skip

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        names = {"square_avg": 0.0}
        if group["momentum"] > 0:
            names["momentum_buffer"] = 0.0
        if group["centered"]:
            names["grad_avg"] = 0.0
        return names

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        return (
            group["lr"], group["alpha"], 1 - group["alpha"], group["eps"], group["momentum"],
            group["weight_decay"],
        )  # fmt: skip

    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Any:
        return group["maximize"], bool(group["weight_decay"]), tuple(self.slots(group))

    def rule(
        self, static: Any, numbers: Sequence[Value], param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        maximize, decay, names = static
        lr, alpha, rest, eps, momentum, weight_decay = numbers
        old = dict(zip(names, state))
        g = -grad if maximize else grad
        if decay:
            g = g + param * weight_decay
        new = {"square_avg": old["square_avg"] * alpha + g * g * rest}
        variance = new["square_avg"]
        if "grad_avg" in old:
            new["grad_avg"] = old["grad_avg"] + (g - old["grad_avg"]) * rest
            variance = variance - new["grad_avg"] * new["grad_avg"]
        move = g / (ops.sqrt(variance) + eps)
        if "momentum_buffer" in old:
            move = new["momentum_buffer"] = old["momentum_buffer"] * momentum + move
        return param - move * lr, *[new[n] for n in names]


class Lion(Optimizer):
    """``p = p - lr * sign(beta1 * m + (1 - beta1) * g)`` with decoupled weight decay, then
    ``m = beta2 * m + (1 - beta2) * g``."""

    counts_steps = False

    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize},
        )

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0}

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        beta1, beta2 = group["betas"]
        shrink = 1 - group["lr"] * group["weight_decay"]
        return group["lr"], beta1, 1 - beta1, beta2, 1 - beta2, shrink

    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Any:
        return group["maximize"]

    def rule(
        self, static: Any, numbers: Sequence[Value], param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        lr, keep1, take1, keep2, take2, shrink = numbers
        g = -grad if static else grad
        mean = state[0]
        move = ops.sign(mean * keep1 + g * take1)
        return param * shrink - move * lr, mean * keep2 + g * take2
