"""Gradients proven by central differences in double precision, to any order.

A scalar ``L = sum Re(conj(c) * output)`` with random cotangents ``c`` is differentiated along
random directions, which costs two evaluations however many elements there are. Only after a
disagreement is each element differentiated by itself, to name the operand and the position.

The gradient of a complex operand is PyTorch's: dL/dRe + i dL/dIm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..ir.node import Value, make_input
from ..ops.contract import Array
from ..ops.evaluate import evaluate
from ..passes.autodiff import depends_on, gradients

STEP = 1e-5
KINK = "kink"


def check_gradients(
    outputs: Sequence[Value],
    inputs: Sequence[Value],
    arrays: Sequence[Array],
    *,
    order: int = 2,
    first: int = 1,
    seed: int = 0,
    kinks: bool = False,
    label: str = "",
) -> list[str]:
    """Complaints about the gradients of ``outputs`` for the floating-point ``inputs`` at
    ``arrays``, which must be in double precision; empty if all hold.

    ``order`` 2 also differentiates the gradient, with respect to operands and cotangents;
    ``first`` 2 checks only that.
    ``kinks`` accepts points at which one-sided derivatives differ; else they are complaints.
    """
    rng = np.random.default_rng(seed)
    wrt = [v for v in inputs if v.dtype.category in ("float", "complex")]
    active = depends_on(outputs, wrt, wrt)
    outs = [v for v in dict.fromkeys(outputs) if v in active]
    if not outs or not wrt:
        return []
    cotangents = [make_input(v.type) for v in outs]
    found = gradients(outs, cotangents, wrt)
    bindings = dict(zip(inputs, arrays))
    bindings |= {c: _normal(rng, c.shape, c.dtype.np) for c in cotangents}
    problem = _Problem(outs, cotangents, wrt, bindings, label or "gradient")
    complaints = problem.compare(found, rng, kinks) if first <= 1 else []
    if complaints or order < 2:
        return complaints
    given = [(v, g) for v, g in zip(wrt, found) if g is not None and _varies(g)]
    names = [*inputs, *cotangents]
    return check_gradients(
        [g for _, g in given],
        names,
        [bindings[v] for v in names],
        order=order - 1,
        first=first - 1,
        seed=seed + 1,
        kinks=kinks,
        label=f"second-order {label or 'gradient'}".strip(),
    )


def _varies(value: Value) -> bool:
    return value.dtype.category in ("float", "complex")


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    drawn = rng.normal(size=shape)
    values = drawn + 1j * rng.normal(size=shape) if dtype.kind == "c" else drawn
    return np.asarray(values, dtype)


@dataclass
class _Problem:
    outputs: list[Value]
    cotangents: list[Value]
    wrt: list[Value]
    bindings: dict[Value, Array]
    label: str

    def terms(self, moved: dict[Value, Array]) -> list[Array]:
        known = {**self.bindings, **moved}
        results = evaluate(self.outputs, known)
        return [np.real(np.conj(known[c]) * r) for c, r in zip(self.cotangents, results)]

    def difference(self, direction: dict[Value, Array], sign: float, at: list[Array]) -> float:
        moved = {v: np.asarray(self.bindings[v] + sign * STEP * d) for v, d in direction.items()}
        return sum(float(np.sum(t - t0)) for t, t0 in zip(self.terms(moved), at)) / (sign * STEP)

    def compare(
        self, found: Sequence[Value | None], rng: np.random.Generator, kinks: bool
    ) -> list[str]:
        for value, grad in zip(self.wrt, found):
            if grad is not None and (grad.shape, grad.dtype) != (value.shape, value.dtype):
                return [f"{self.label} for operand of type {value.type} has type {grad.type}"]
        known = evaluate([g for g in found if g is not None], self.bindings)
        rest = iter(known)
        grads = [
            np.zeros(v.shape, v.dtype.np) if g is None else next(rest)
            for v, g in zip(self.wrt, found)
        ]
        at = self.terms({})
        size = sum(float(np.abs(t).sum()) for t in at)
        for _ in range(2):
            direction = {v: _normal(rng, v.shape, v.dtype.np) for v in self.wrt}
            products = [np.real(np.conj(g) * direction[v]) for v, g in zip(self.wrt, grads)]
            claimed = sum(float(p.sum()) for p in products)
            scale = sum(float(np.abs(p).sum()) for p in products) + size + 1e-2
            ahead, behind = (self.difference(direction, s, at) for s in (1.0, -1.0))
            measured = (ahead + behind) / 2
            if abs(measured - claimed) <= 2e-6 * scale:
                continue
            if abs(ahead - behind) > 1e-3 * scale:
                if kinks:
                    return []
                return [f"{self.label}: the function has a kink here (mark the sample grad=False)"]
            return [self._locate(grads, at, measured, claimed)]
        return []

    def _locate(self, grads: list[Array], at: list[Array], measured: float, claimed: float) -> str:
        """Name the worst element among (at most 300 of) each operand's."""
        worst = (0.0, "")
        for i, (value, grad) in enumerate(zip(self.wrt, grads)):
            units = (1.0, 1j) if value.dtype.category == "complex" else (1.0,)
            for flat in range(min(grad.size, 300)):
                index = np.unravel_index(flat, grad.shape)
                numeric: complex = 0
                for unit in units:
                    step = np.zeros(value.shape, value.dtype.np)
                    step[index] = unit
                    pair = [self.difference({value: step}, s, at) for s in (1.0, -1.0)]
                    numeric += sum(pair) / 2 * unit
                error = abs(numeric - grad[index])
                if error > worst[0]:
                    place = tuple(map(int, index))
                    worst = (
                        error,
                        f"operand {i} ({value.type}) at {place}: rule gives {grad[index]:.8g}, "
                        f"central difference {numeric:.8g}, error {error:.3g}",
                    )
        text = worst[1] or f"along a direction: rule {claimed:.8g}, difference {measured:.8g}"
        return f"{self.label}: {text}"
