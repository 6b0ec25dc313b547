"""NAdam (Dozat, 2016), RAdam (Liu et al., arXiv 1908.03265), Adamax (Kingma & Ba, arXiv 1412.6980),
Adadelta (Zeiler, arXiv 1212.5701), ASGD (Polyak & Juditsky, SIAM J. Control Optim. 1992) and Rprop
(Riedmiller & Braun, ICNN 1993)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..core.dtypes import float64
from ..ir.node import Value
from ..ops.arithmetic import cast, constant
from ..ops.link import ops
from ..ops.select import where
from .optimizer import Optimizer
from .values import check, check_betas, check_not_negative, check_rate

Numbers = Sequence[Value]


def _check_adam(lr: Any, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
    check_rate(lr)
    check(eps >= 0.0, f"Invalid epsilon value: {eps}")
    check_betas(betas)
    check_not_negative(weight_decay=weight_decay)


class NAdam(Optimizer):
    """Adam with Nesterov's look-ahead; the momentum grows with the steps by ``momentum_decay``."""

    scalar_slots = frozenset(["mu_product"])

    def __init__(
        self, params: Any, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        _check_adam(lr, betas, eps, weight_decay)
        check_not_negative(momentum_decay=momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                "momentum_decay": momentum_decay, "maximize": maximize, "foreach": foreach,
                "decoupled_weight_decay": decoupled_weight_decay, "capturable": capturable,
                "differentiable": differentiable,
            },
        )  # fmt: skip

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"mu_product": 1.0, "exp_avg": 0.0, "exp_avg_sq": 0.0}

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        beta1, beta2 = group["betas"]
        lr, decay, growth = group["lr"], group["weight_decay"], group["momentum_decay"]
        mu, mu_next = (beta1 * (1.0 - 0.5 * 0.96 ** (t * growth)) for t in (step, step + 1))
        shrink = 1 - lr * decay if group["decoupled_weight_decay"] else decay
        return (
            mu, mu_next, lr * (1.0 - mu), lr * mu_next, 1 - beta1, beta2, 1 - beta2,
            1 - beta2**step, group["eps"], shrink,
        )  # fmt: skip

    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Any:
        return group["maximize"], bool(group["weight_decay"]), group["decoupled_weight_decay"]

    def rule(
        self, static: Any, numbers: Numbers, param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        maximize, decay, decoupled = static
        mu, mu_next, take, take_next, weight1, beta2, weight2, bias2, eps, shrink = numbers
        g = -grad if maximize else grad
        if decay and decoupled:
            param = param * shrink
        elif decay:
            g = g + param * shrink
        product = state[0] * mu
        # As PyTorch: the product is kept in single precision, what follows from it is not.
        wide = cast(product, float64)
        now, ahead = take / (1.0 - wide), take_next / (1.0 - wide * mu_next)
        mean = state[1] + (g - state[1]) * weight1
        square = state[2] * beta2 + g * g * weight2
        root = ops.sqrt(square / bias2) + eps
        param = param - g / root * cast(now, root.dtype) - mean / root * cast(ahead, root.dtype)
        return param, product, mean, square


class RAdam(Optimizer):
    """Adam whose step is rectified by the variance of its second moment; without that moment
    while too few steps were made to know it."""

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        _check_adam(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                "maximize": maximize, "foreach": foreach, "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )  # fmt: skip

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def _rectification(self, group: dict[str, Any], step: int) -> float | None:
        """The factor of the step; None while the second moment's variance is not tractable."""
        beta2 = group["betas"][1]
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / (1 - beta2**step)
        if length <= 5.0:
            return None
        now = (length - 4) * (length - 2) / length
        return math.sqrt(now * longest / ((longest - 4) * (longest - 2)))

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        beta1, beta2 = group["betas"]
        lr, decay = group["lr"], group["weight_decay"]
        factor = self._rectification(group, step)
        rate = lr / (1 - beta1**step)
        if factor is not None:
            rate *= factor * math.sqrt(1 - beta2**step)
        shrink = 1 - lr * decay if group["decoupled_weight_decay"] else decay
        return rate, 1 - beta1, beta2, 1 - beta2, group["eps"], shrink

    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Any:
        return (
            group["maximize"], bool(group["weight_decay"]), group["decoupled_weight_decay"],
            self._rectification(group, step) is not None,
        )  # fmt: skip

    def rule(
        self, static: Any, numbers: Numbers, param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        maximize, decay, decoupled, rectified = static
        rate, weight1, beta2, weight2, eps, shrink = numbers
        g = -grad if maximize else grad
        if decay and decoupled:
            param = param * shrink
        elif decay:
            g = g + param * shrink
        mean = state[0] + (g - state[0]) * weight1
        square = state[1] * beta2 + g * g * weight2
        move = mean / (ops.sqrt(square) + eps) if rectified else mean
        return param - move * rate, mean, square


class Adamax(Optimizer):
    """Adam with the largest (decayed) gradient so far in place of the second moment."""

    def __init__(
        self, params: Any, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        _check_adam(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
                "capturable": capturable,
            },
        )  # fmt: skip

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0, "exp_inf": 0.0}

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        beta1, beta2 = group["betas"]
        rate = group["lr"] / (1 - beta1**step)
        return rate, 1 - beta1, beta2, group["eps"], group["weight_decay"]

    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Any:
        return group["maximize"], bool(group["weight_decay"])

    def rule(
        self, static: Any, numbers: Numbers, param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        maximize, decay = static
        rate, weight1, beta2, eps, weight_decay = numbers
        g = -grad if maximize else grad
        if decay:
            g = g + param * weight_decay
        mean = state[0] + (g - state[0]) * weight1
        largest = ops.maximum(state[1] * beta2, ops.abs(g) + eps)
        return param - mean / largest * rate, mean, largest


class Adadelta(Optimizer):
    """Steps whose size is that of the last steps over that of the last gradients."""

    def __init__(
        self, params: Any, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6,
        weight_decay: float = 0, foreach: bool | None = None, *, capturable: bool = False,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check(0.0 <= rho <= 1.0, f"Invalid rho value: {rho}")
        check(eps >= 0.0, f"Invalid epsilon value: {eps}")
        check_not_negative(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay,
                "maximize": maximize, "capturable": capturable, "foreach": foreach,
                "differentiable": differentiable,
            },
        )  # fmt: skip

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"square_avg": 0.0, "acc_delta": 0.0}

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        rho = group["rho"]
        return group["lr"], rho, 1 - rho, group["eps"], group["weight_decay"]

    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Any:
        return group["maximize"], bool(group["weight_decay"])

    def rule(
        self, static: Any, numbers: Numbers, param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        maximize, decay = static
        lr, rho, rest, eps, weight_decay = numbers
        g = -grad if maximize else grad
        if decay:
            g = g + param * weight_decay
        square = state[0] * rho + g * g * rest
        move = ops.sqrt(state[1] + eps) / ops.sqrt(square + eps) * g
        return param - move * lr, square, state[1] * rho + move * move * rest


class ASGD(Optimizer):
    """Plain descent with a decaying rate; the state's ``ax`` is the average of the parameters
    from step ``t0`` on."""

    scalar_slots = frozenset(["eta", "mu"])

    def __init__(
        self, params: Any, lr: float = 1e-2, lambd: float = 1e-4, alpha: float = 0.75,
        t0: float = 1e6, weight_decay: float = 0, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_not_negative(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
                "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
                "capturable": capturable,
            },
        )  # fmt: skip

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"eta": group["lr"], "mu": 1.0, "ax": 0.0}

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        lr, lambd = group["lr"], group["lambd"]
        eta = lr / (1 + lambd * lr * step) ** group["alpha"]
        return lambd, eta, 1 / max(1, step - group["t0"]), group["weight_decay"]

    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Any:
        return group["maximize"], bool(group["weight_decay"])

    def rule(
        self, static: Any, numbers: Numbers, param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        maximize, decay = static
        lambd, next_eta, next_mu, weight_decay = numbers
        eta, mu, average = state
        g = -grad if maximize else grad
        if decay:
            g = g + param * weight_decay
        shrink = cast(1.0 - cast(eta, float64) * lambd, param.dtype)
        param = param * shrink - g * cast(eta, param.dtype)
        alone = ops.eq(mu, constant(1.0, mu.dtype))
        average = where(alone, param, average + (param - average) * cast(mu, param.dtype))
        return param, cast(next_eta, eta.dtype), cast(next_mu, mu.dtype), average


class Rprop(Optimizer):
    """Every element has its own step size, which grows by ``etas[1]`` while the gradient keeps its
    sign and shrinks by ``etas[0]`` (without a step) when it changes it."""

    def __init__(
        self, params: Any, lr: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
        foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check(0.0 < etas[0] < 1.0 < etas[1], f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach,
                "maximize": maximize, "differentiable": differentiable,
                "capturable": capturable,
            },
        )  # fmt: skip

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"prev": 0.0, "step_size": group["lr"]}

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        return (*group["etas"], *group["step_sizes"])

    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Any:
        return group["maximize"]

    def rule(
        self, static: Any, numbers: Numbers, param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        down, up, least, most = (cast(n, param.dtype) for n in numbers)
        g = -grad if static else grad
        agreement = g * state[0]
        zero = constant(0.0, g.dtype, g.shape)
        kept, turned = ops.lt(zero, agreement), ops.lt(agreement, zero)
        factor = where(kept, up, where(turned, down, constant(1.0, g.dtype)))
        size = state[1] * factor
        size = where(ops.lt(size, zero + least), least, size)
        size = where(ops.lt(zero + most, size), most, size)
        g = where(turned, zero, g)
        return param - ops.sign(g) * size, g, size
