"""The template of matrix products: contractions of two operands in index notation."""

from __future__ import annotations

from dataclasses import replace

from ..core.errors import DTypeError
from ..ir.anchor import AnchorCall
from ..runtime.native import NativeKernel
from .builder import Module
from .gemm_driver import Driver
from .gemm_plan import choose
from .gemm_shape import Problem, analyse
from .gemm_thin import MOST_ROWS, Thin, thin
from .gemm_tile import Numbers
from .in_place import epilogue_pairs
from .target import Target
from .templates import template


@template("gemm")
def gemm(call: AnchorCall, target: Target) -> NativeKernel:
    """``attrs`` holds "spec", such as "bmk,kn->bmn": letters of the operands and of the result."""
    dtype = call.operands[0].dtype
    if dtype.category not in ("int", "float"):
        raise DTypeError(f"gemm: expected a product of real numbers, got {dtype.name}")
    problem = analyse(call)
    if 0 in call.shape:
        return NativeKernel("gemm_empty", Module().text(), ())
    numbers = Numbers.of(problem.a.dtype, target)
    way = thin(problem, numbers)
    if not way and problem.col.size <= MOST_ROWS and thin(problem.flipped(), numbers):
        problem = problem.flipped()
        way = thin(problem, numbers)
    if way:
        made = Thin(call, problem, numbers, target, way).build(_name(problem))
    else:
        kept = problem.b.buffer in (*call.kept, *call.lasting)
        plan = choose(problem, numbers, target, kept)
        made = Driver(call, problem, plan, numbers, target).build(_name(problem))
    return replace(made, in_place=epilogue_pairs(call))


def _name(problem: Problem) -> str:
    sizes = [problem.row.size, problem.col.size, problem.depth]
    if problem.outer_count != 1:
        sizes.insert(0, problem.outer_count)
    return "gemm_" + "x".join(map(str, sizes))
