"""Convolutions as plain data: one form for `conv` and `conv_input_grad` of any stride.

Both are correlations with a stride of one over a *source*: the operand, or a copy of it that is
padded with zeros and, for a strided convolution, split into phases (elements 0, s, 2s, ... first,
then 1, s + 1, ...), so that neighbouring result positions read neighbouring elements.

    result[n, m, p] = sum over channels k and taps t of  source[n, k, p + t] * weight[m, k, t]

The gradient in the input of a convolution with stride s is s correlations per dimension: result
elements with equal remainders modulo s meet the same subset of the kernel. They are the *parts* of
a problem, share the positions p, and are interleaved when they are stored. A forward convolution
has one part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from ..ir.anchor import Operand

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
FEW_ROWS = 64  # of all parts together: they are one product


@dataclass(frozen=True, slots=True)
class Tap:
    """One kernel element along one dimension: its index in the weight, and the phase and offset
    at which it reads the source, relative to the position."""

    weight: int
    phase: int
    offset: int


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial dimension.

    size         elements of the operand
    step, low    element j of phase f of the source is element ``j * step + phases[f] - low`` of
                 the operand, or zero outside
    extent       elements of each phase
    count        positions of the result
    parts        taps of each part
    result_size  elements of the result; position p of part r is
                 ``p * result_step + r - result_low``, if there is such an element
    """

    size: int
    step: int
    phases: Ints
    low: int
    extent: int
    count: int
    parts: tuple[tuple[Tap, ...], ...]
    result_size: int
    result_step: int = 1
    result_low: int = 0

    @property
    def plain(self) -> bool:
        """Whether the operand itself is the source along this dimension."""
        return self.step == 1 and self.low == 0 and self.extent == self.size


def forward_axis(
    size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int
) -> Axis:
    count = (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1
    phases = list(dict.fromkeys(k * dilation % stride for k in range(kernel)))
    taps = tuple(
        Tap(k, phases.index(k * dilation % stride), k * dilation // stride) for k in range(kernel)
    )
    extent = count + max(t.offset for t in taps)
    return Axis(size, stride, tuple(phases), padding[0], extent, count, (taps,), count)


def gradient_axis(
    size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int, result: int,
    shared: bool,
) -> Axis:  # fmt: skip
    """``size`` elements of the gradient of the convolution's result, ``result`` of its input.

    Input element i meets kernel element k of window o where ``o * stride + k * dilation`` equals
    ``i + padding``. With ``i = p * stride + part`` and ``part + padding = whole * stride + rest``
    that is ``o = p + whole - k * dilation // stride``, for the k whose remainder is ``rest``.

    With ``shared`` the parts are numbered by ``rest`` and ``whole`` belongs to the position: there
    may be a position more, but the parts read few different windows, which pays where all are
    computed in one product.
    """
    found = []
    if shared:
        low = padding[0]
        first, last = low // stride, (result - 1 + low) // stride
        reach = (kernel - 1) * dilation // stride
        count = last - first + 1
        parts = tuple(
            tuple(
                Tap(k, 0, reach - k * dilation // stride)
                for k in range(kernel)
                if k * dilation % stride == rest
            )
            for rest in range(stride)
        )
        return Axis(
            size, 1, (0,), reach - first, count + reach, count, parts, result, stride,
            low - first * stride,
        )  # fmt: skip
    for part in range(stride):
        whole, rest = divmod(part + padding[0], stride)
        ks = [k for k in range(kernel) if k * dilation % stride == rest]
        found.append([(k, whole - k * dilation // stride) for k in ks])
    offsets = [offset for part in found for _, offset in part]
    least, most = min(offsets), max(offsets)
    count = -(-result // stride)
    parts = tuple(tuple(Tap(k, 0, offset - least) for k, offset in part) for part in found)
    return Axis(size, 1, (0,), -least, count + most - least, count, parts, result, stride)


@dataclass(frozen=True)
class Problem:
    """``channels`` are summed and ``rows`` are results, both per group; ``weight_strides`` lead
    from group, row and channel to elements of the weight, ``kernel_strides`` from taps."""

    batch: int
    groups: int
    channels: int
    rows: int
    axes: tuple[Axis, ...]
    weight_strides: tuple[int, int, int]
    kernel_strides: Ints

    @property
    def grid(self) -> Ints:
        return tuple(a.count for a in self.axes)

    @property
    def positions(self) -> int:
        """Positions of one image."""
        return math.prod(self.grid)

    @property
    def result_space(self) -> Ints:
        return tuple(a.result_size for a in self.axes)

    @cached_property
    def parts(self) -> tuple[tuple[tuple[Tap, ...], ...], ...]:
        """The taps of each part; a tap of several dimensions is a tuple of `Tap`."""
        return tuple(tuple(product(*part)) for part in product(*(a.parts for a in self.axes)))

    def weight_offset(self, tap: tuple[Tap, ...]) -> int:
        return sum(t.weight * s for t, s in zip(tap, self.kernel_strides))

    @property
    def flops(self) -> int:
        taps = sum(map(len, self.parts))
        products = self.batch * self.groups * self.rows * self.channels * self.positions
        return 2 * products * taps


@dataclass(frozen=True)
class Layout:
    """Where the elements of a source lie: strides in elements from image, channel, phase (per
    dimension) and element of a phase. ``slack`` says that a register may be read past the end."""

    image: int
    channel: int
    phases: Ints
    elements: Ints
    slack: bool

    def tap_offset(self, tap: tuple[Tap, ...]) -> int:
        return sum(
            t.phase * p + t.offset * e for t, p, e in zip(tap, self.phases, self.elements)
        )  # fmt: skip


def dense(shape: Ints) -> Ints:
    """Strides of a row-major array."""
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


def copy_layout(problem: Problem) -> Layout:
    """The padded copy: [batch, channels, *phases, *extents]."""
    phases = tuple(len(a.phases) for a in problem.axes)
    extents = tuple(a.extent for a in problem.axes)
    channels = problem.groups * problem.channels
    image, channel, *rest = dense((problem.batch, channels, *phases, *extents))
    d = len(phases)
    return Layout(image, channel, tuple(rest[:d]), tuple(rest[d:]), True)


def direct_layout(problem: Problem, operand: Operand) -> Layout | None:
    """The operand as its own source, where that is possible."""
    image, channel, *space = operand.strides
    apart = all(s >= e for s, e in zip(space, dense(operand.shape[2:])))
    if not all(a.plain for a in problem.axes) or space[-1] != 1 or not apart:
        return None
    return Layout(image, channel, (0,) * len(space), tuple(space), False)


def is_dense_space(operand: Operand) -> bool:
    """Whether the spatial dimensions of an operand are contiguous and can be merged."""
    space = operand.shape[2:]
    return all(s == e or n == 1 for s, e, n in zip(operand.strides[2:], dense(space), space))


def merged(operand: Operand) -> Operand:
    """The operand with its spatial dimensions, which are contiguous, seen as one."""
    shape = (*operand.shape[:2], math.prod(operand.shape[2:]))
    return Operand(operand.buffer, operand.offset, shape, (*operand.strides[:2], 1), operand.dtype)


def forward_problem(
    x: Operand, w: Operand, attrs: Mapping[str, Any], merge: bool = True
) -> tuple[Problem, Operand]:
    """`conv` of x [n, c, *space] with w [o, c / groups, *kernel], and the x that it is stated for:
    with ``merge`` the dimensions of a kernel of one element are one, where x allows it."""
    stride, padding, dilation = attrs["stride"], attrs["padding"], attrs["dilation"]
    kernel = w.shape[2:]
    kernel_strides = w.strides[2:]
    single = set(kernel) == {1} == set(stride) and not any(map(any, padding))
    if merge and single and is_dense_space(x):
        x = merged(x)
        kernel, kernel_strides, stride, padding, dilation = (1,), (0,), (1,), ((0, 0),), (1,)
    axes = tuple(map(forward_axis, x.shape[2:], kernel, stride, padding, dilation))
    groups = attrs["groups"]
    rows = w.shape[0] // groups
    strides = (w.strides[0] * rows, w.strides[0], w.strides[1])
    problem = Problem(x.shape[0], groups, w.shape[1], rows, axes, strides, kernel_strides)
    return problem, x


def gradient_problem(g: Operand, w: Operand, attrs: Mapping[str, Any]) -> tuple[Problem, Operand]:
    """`conv_input_grad` of g [n, o, *space'] with w, and the g that it is stated for."""
    stride, padding, dilation = attrs["stride"], attrs["padding"], attrs["dilation"]
    kernel, space = w.shape[2:], attrs["shape"][2:]
    kernel_strides = w.strides[2:]
    if set(kernel) == {1} == set(stride) and not any(map(any, padding)) and is_dense_space(g):
        g = merged(g)
        space, kernel, kernel_strides = (math.prod(space),), (1,), (0,)
        stride, padding, dilation = (1,), ((0, 0),), (1,)
    groups = attrs["groups"]
    shared = w.shape[1] * math.prod(stride) <= FEW_ROWS
    axes = tuple(
        gradient_axis(size, k, s, p, d, result, shared)
        for size, k, s, p, d, result in zip(g.shape[2:], kernel, stride, padding, dilation, space)
    )
    channels = w.shape[0] // groups
    strides = (w.strides[0] * channels, w.strides[1], w.strides[0])
    problem = Problem(g.shape[0], groups, channels, w.shape[1], axes, strides, kernel_strides)
    return problem, g
