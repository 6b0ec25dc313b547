"""``tf.train``: gradient descent on variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .symbols import Symbol, Variable, assign, gradients, group, scope


class GradientDescentOptimizer:
    """``variable -= learning_rate * gradient``."""

    def __init__(self, learning_rate: Any, name: str = "GradientDescent") -> None:
        self.learning_rate = learning_rate

    def compute_gradients(
        self, loss: Symbol, var_list: Sequence[Variable] | None = None
    ) -> list[tuple[Symbol | None, Variable]]:
        """Pairs of (gradient, variable) for the trainable variables."""
        variables = list(var_list or [v for v in scope().variables if v.trainable])
        return list(zip(gradients(loss, variables), variables))

    def apply_gradients(self, pairs: Sequence[tuple[Symbol | None, Variable]]) -> Symbol:
        """An operation that moves every variable against its gradient."""
        moves = [
            assign(v, v - g * self.learning_rate)  # type: ignore[operator]
            for g, v in pairs
            if g is not None
        ]
        if not moves:
            raise ValueError("No gradients provided for any variable")
        return group(*moves)

    def minimize(self, loss: Symbol, var_list: Sequence[Variable] | None = None) -> Symbol:
        """One step of descent as an operation."""
        return self.apply_gradients(self.compute_gradients(loss, var_list))
