"""Programs within a budget of memory: planned again with values computed again, until they fit.

A budget counts the bytes of the arena, where everything lies that dies within the program; the
operands and results of a program are memory of their own, which no order of its kernels changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..core.budget import Budget
from ..ir.graph import Graph
from ..ir.node import Node
from ..passes.recompute_plan import Costs
from ..passes.rematerialize import Recomputed, recomputed
from ..runtime.native import NativeKernel
from ..runtime.native_program import NativeProgram
from .plan import Tools, plan_program

_ATTEMPTS = 4
# Of one core, and only to weigh kernels against each other: measured figures would make programs
# differ from machine to machine.
_FLOPS = 64e9
_BANDWIDTH = 8e9
_LAUNCH = 1e-6


def plan_within(
    graph: Graph, tools: Tools, budget: Budget, regroup: Callable[[Graph], Graph]
) -> NativeProgram:  # fmt: skip
    """The program of a graph of kernels, with an arena within the budget, or else the smallest
    that recomputation reaches. ``regroup`` makes kernels of primitives."""
    best = plan_program(graph, tools)
    limit = round(best.arena * budget) if isinstance(budget, float) else budget
    costs = Costs(lambda n: _seconds(n, tools), lambda n: _scratch(n, tools), regroup)
    target = limit
    for _ in range(_ATTEMPTS if best.arena > limit else 0):
        found = recomputed(graph, target, costs)
        program = plan_program(found.graph, replace(tools, order=_order(found, tools.order)))
        if program.arena < best.arena:
            best = program
        if best.arena <= limit or found.peak > target:
            break
        # The arena is somewhat larger than what lives at once: aim lower by as much.
        target = max(target - (program.arena - limit), 0)
    return replace(best, budget=limit)


def _order(
    found: Recomputed, otherwise: Callable[[Graph], Sequence[Node]]
) -> Callable[[Graph], Sequence[Node]]:
    """The order that was found for the graph that was found, and some other for all others."""
    return lambda graph: found.order if graph is found.graph else otherwise(graph)


def _seconds(node: Node, tools: Tools) -> float | None:
    kernel = tools.lower(node, (), ()) if not hasattr(node.op, "run_with") else ""
    if not isinstance(kernel, NativeKernel):
        return None
    nbytes = kernel.bytes or sum(v.type.nbytes for v in (*node.inputs, *node.outputs))
    return max(kernel.flops / _FLOPS, nbytes / _BANDWIDTH) + _LAUNCH


def _scratch(node: Node, tools: Tools) -> int:
    kernel = tools.lower(node, (), ()) if not hasattr(node.op, "run_with") else ""
    return sum(kernel.workspaces) if isinstance(kernel, NativeKernel) else 0


def warn_if_over(program: NativeProgram) -> None:
    """Say so if a program does not keep within its budget."""
    if program.budget is not None and program.arena > program.budget:
        warnings.warn(
            f"memory_budget: the temporary values of this program take {program.arena:,} bytes, "
            f"more than the {program.budget:,} that were allowed; fewer cannot be reached by "
            "computing values again. A smaller batch takes less.",
            RuntimeWarning, stacklevel=2,
        )  # fmt: skip


__all__ = ["plan_within", "warn_if_over"]
