"""L-BFGS (Liu & Nocedal, Mathematical Programming 45, 1989): a quasi-Newton method that evaluates
the function several times a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import located
from ..tensor import Tensor
from ..tensor.functional import cat
from ..tensor.modes import enable_grad, no_grad
from .line_search import Point, strong_wolfe
from .optimizer import Optimizer
from .values import check, check_rate, plain


class LBFGS(Optimizer):
    """Up to ``max_iter`` iterations a step, each along an approximate Newton direction.

    Args: ``max_eval`` (function evaluations a step, default ``max_iter * 5 // 4``);
    ``tolerance_grad`` (stop when no gradient is larger), ``tolerance_change`` (stop when the loss
    or the parameters change less); ``history_size`` (how many changes approximate the Hessian);
    ``line_search_fn`` ('strong_wolfe', or None for steps of length ``lr``).
    Raises ValueError for more than one group. `step` needs a closure.
    """

    counts_steps = False

    def __init__(
        self, params: Any, lr: float = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        check_rate(lr)
        super().__init__(
            params,
            {
                "lr": lr, "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
                "history_size": history_size, "line_search_fn": line_search_fn,
            },
        )  # fmt: skip
        check(
            len(self.param_groups) == 1,
            "LBFGS doesn't support per-parameter options (parameter groups)",
        )

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Iterate until a tolerance or a limit is reached; the loss before the first iteration.

        ``closure`` clears the gradients, computes the loss, calls ``backward`` and returns it.
        """
        search = self.param_groups[0]["line_search_fn"]
        if search not in (None, "strong_wolfe"):
            raise located(RuntimeError(f"only 'strong_wolfe' is supported, but got {search!r}"))
        with no_grad():
            return self._iterate(closure)

    def _iterate(self, closure: Callable[[], Any]) -> Any:
        options = plain(self.param_groups[0])
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        with enable_grad():
            first = closure()
        loss, grad = float(first), self._gradient()
        evaluations = 1
        state["func_evals"] += 1
        if _largest(grad) <= options["tolerance_grad"]:
            return first
        for iteration in range(1, options["max_iter"] + 1):
            state["n_iter"] += 1
            self._remember(state, grad, options["history_size"])
            state["d"] = direction = _direction(state, grad)
            state["prev_flat_grad"], state["prev_loss"] = grad, loss
            step = options["lr"]
            if state["n_iter"] == 1:
                step *= min(1.0, 1.0 / float(grad.abs().sum()))
            state["t"] = step
            slope = float(grad.dot(direction))
            if slope > -options["tolerance_change"]:
                break
            calls = 0
            before = state["prev_loss"]
            if options["line_search_fn"] is not None:
                start, origin = Point(0.0, loss, grad, slope), self._values()
                found, calls = strong_wolfe(
                    self._along(closure, origin, direction), start, step,
                    options["tolerance_change"] / _largest(direction),
                    options["max_eval"] - evaluations,
                )  # fmt: skip
                loss, grad, step = found.loss, found.grad, found.step
                self._move(origin, direction, step)
                state["t"] = step
            else:
                self._move(self._values(), direction, step)
                if iteration != options["max_iter"]:
                    loss, grad = self._evaluate(closure)
                    calls = 1
            evaluations += calls
            state["func_evals"] += calls
            if (
                evaluations >= options["max_eval"]
                or _largest(grad) <= options["tolerance_grad"]
                or _largest(direction) * abs(step) <= options["tolerance_change"]
                or abs(loss - before) < options["tolerance_change"]
            ):
                break
        return first

    def _remember(self, state: dict[str, Any], grad: Tensor, size: int) -> None:
        """Add the last step and how it changed the gradient to the history, unless the function is
        not convex along it."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return
        change = grad - state["prev_flat_grad"]
        moved = state["d"] * state["t"]
        product = change.dot(moved)
        if float(product) <= 1e-10:
            return
        for name, value in (("old_dirs", change), ("old_stps", moved), ("ro", 1.0 / product)):
            state[name] = [*state[name], value][-size:]
        state["H_diag"] = product / change.dot(change)

    # ---- parameters as one vector

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]  # type: ignore[no-any-return]

    def _gradient(self) -> Tensor:
        parts = [
            (p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1)) for p in self._params
        ]
        return cat(parts).clone()  # type: ignore[no-any-return]

    def _values(self) -> list[Tensor]:
        return [p.detach().clone() for p in self._params]

    def _move(self, origin: list[Tensor], direction: Tensor, step: float) -> None:
        """Set the parameters to ``origin + step * direction``."""
        offset = 0
        for param, value in zip(self._params, origin):
            part = direction[offset : offset + param.numel()].reshape(param.shape)
            param.copy_(value + part * step)
            offset += param.numel()

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[float, Tensor]:
        with enable_grad():
            loss = float(closure())
        return loss, self._gradient()

    def _along(
        self, closure: Callable[[], Any], origin: list[Tensor], direction: Tensor
    ) -> Callable[[float], Point]:
        """The function of the step length."""

        def evaluate(step: float) -> Point:
            self._move(origin, direction, step)
            loss, grad = self._evaluate(closure)
            return Point(step, loss, grad, float(grad.dot(direction)))

        return evaluate


def _direction(state: dict[str, Any], grad: Tensor) -> Tensor:
    """Minus the approximate inverse Hessian times the gradient: the two-loop recursion."""
    q = -grad
    history = list(zip(state["old_dirs"], state["old_stps"], state["ro"]))
    weights = []
    for change, moved, inverse in reversed(history):
        weights.append(moved.dot(q) * inverse)
        q = q - change * weights[-1]
    q = q * state["H_diag"]
    for (change, moved, inverse), weight in zip(history, reversed(weights)):
        q = q + moved * (weight - change.dot(q) * inverse)
    return q


def _largest(vector: Tensor) -> float:
    return float(vector.abs().max())
