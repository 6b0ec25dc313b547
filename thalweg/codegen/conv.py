"""Kernel templates of convolution: which algorithm computes a call."""

from __future__ import annotations

from ..core import flags
from ..ir.anchor import AnchorCall, Operand
from ..runtime.native import Launch, NativeKernel
from . import conv_direct as direct
from . import winograd_plan, winograd_weights
from .builder import Module
from .conv_direct import Direct, DirectWeightGrad
from .conv_multiply import Multiply
from .conv_problem import (
    Problem,
    dense,
    forward_problem,
    gradient_problem,
    is_dense_space,
    merged,
)  # fmt: skip
from .conv_result import Writer
from .conv_tile import tile_for
from .conv_weight_grad import WeightGrad
from .target import Target
from .templates import template
from .winograd import Winograd
from .winograd_weights import WinogradWeightGrad


@template("conv")
def conv(call: AnchorCall, target: Target) -> NativeKernel:
    """`conv` of x and w; the result is seen as [batch, channels, positions]."""
    if is_empty(call):
        return zeros(call, target)
    problem, x = forward_problem(call.operands[0], call.operands[1], dict(call.attrs))
    return correlate(call, problem, x, target)


@template("conv_input_grad")
def conv_input_grad(call: AnchorCall, target: Target) -> NativeKernel:
    """`conv_input_grad` of g and w; the result is seen as [batch, channels, positions]."""
    if is_empty(call):
        return zeros(call, target)
    problem, g = gradient_problem(call.operands[0], call.operands[1], dict(call.attrs))
    return correlate(call, problem, g, target)


@template("conv_weight_grad")
def conv_weight_grad(call: AnchorCall, target: Target) -> NativeKernel:
    """`conv_weight_grad` of x and g; the result is seen as [1, o, elements of a filter]."""
    if is_empty(call):
        return zeros(call, target)
    (x, g), attrs = call.operands, dict(call.attrs)
    weight = Operand(-1, 0, attrs["shape"], dense(attrs["shape"]), call.dtype)
    problem, x = forward_problem(x, weight, attrs, is_dense_space(g))
    if len(problem.axes) < len(g.shape) - 2:
        g = merged(g)
    single = problem.channels == problem.rows == 1 and problem.groups > 1
    if single and direct.suits(problem, tile_for(call.dtype, target)):
        return DirectWeightGrad(call, problem, x, g, target).build()
    tile = winograd_weights.tile_of(call.dtype, target, problem)
    if flags.winograd and winograd_weights.pays(problem, tile):
        return WinogradWeightGrad(call, problem, x, g, target).build()
    return WeightGrad(call, problem, x, g, target).build()


def correlate(call: AnchorCall, problem: Problem, x: Operand, target: Target) -> NativeKernel:
    """The kernel of a problem that is not empty."""
    if direct.suits(problem, tile_for(call.dtype, target)):
        return Direct(call, problem, x, target).build()
    w = call.operands[1].buffer
    lasting = w in call.kept or w in call.lasting
    tile = winograd_plan.tile_of(call.dtype, target, problem)
    if flags.winograd and winograd_plan.pays(problem, tile, lasting):
        return Winograd(call, problem, x, target).build()
    return Multiply(call, problem, x, target).build()


def is_empty(call: AnchorCall) -> bool:
    """Whether there is nothing to sum, or no result."""
    return any(0 in operand.shape for operand in call.operands) or 0 in call.shape


def zeros(call: AnchorCall, target: Target) -> NativeKernel:
    """The epilogue of sums without terms."""
    module, tile = Module(), tile_for(call.dtype, target)
    batch, channels, positions = call.shape
    with module.function("zeros", [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]) as f:
        write = Writer(f, call, target)
        whole = positions // tile.lanes * tile.lanes
        with f.loop(f.param("lo"), f.param("hi")) as unit:
            n, c = f.div(unit, max(channels, 1)), f.rem(unit, max(channels, 1))
            with f.loop(0, whole, tile.lanes) as p:
                write(f, (n, c, p), tile.zero())
            with f.loop(whole, positions) as p:
                write(f, (n, c, p), f.extract(tile.zero(), 0))
    extent = batch * channels if positions else 0
    return NativeKernel(
        f"{call.template}_empty", module.text(), (Launch("zeros", extent, max(extent // 8, 1)),)
    )
