"""Convolution and its two adjoints: three primitives, each the gradient of the other two.

Letters: x is [n, c, *space], w is [o, c / groups, *kernel], y is [n, o, *space'].

    y  = conv(x, w)          gx = conv_input_grad(gy, w)          gw = conv_weight_grad(x, gy)

``stride`` and ``dilation`` have one entry per spatial dimension, ``padding`` a pair (low, high).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.errors import DTypeError, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Broadcast, P, Sbp, Signature, Split, split_bounds
from ..ir.types import TensorType
from .contract import (
    Array,
    Attrs,
    Declined,
    Grads,
    Primitive,
    Rank,
    Sample,
    Template,
    Types,
    all_broadcast,
    primitive,
)  # fmt: skip
from .conv_reference import convolve, input_gradient, weight_gradient
from .families import expand_front, in_float32
from .link import ops

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
B = Broadcast()


def out_extent(size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int) -> int:
    """Number of window positions along one dimension (negative: the kernel does not fit)."""
    return (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1


def geometry(attrs: Attrs) -> dict[str, Any]:
    """The attributes that all three primitives share."""
    return {name: attrs[name] for name in ("stride", "padding", "dilation", "groups")}


def check_dtypes(op: str, *types: TensorType) -> None:
    for t in types:
        if t.dtype is not types[0].dtype:
            raise DTypeError(
                f"Input type ({types[0].dtype}) and weight type ({t.dtype}) should be the same"
            )
        if t.dtype.category not in ("int", "float"):
            raise DTypeError(f"{op}: expected int or float operands, got {t.dtype}")


class Convolution(Primitive):
    """What the three have in common: the roles of their dimensions."""

    inputs = 2
    heavy = True
    lower: Any
    roles: tuple[str, str, str]  # of the two operands and the result: "x", "w" or "y"

    def seen(self, shape: Ints) -> Ints:
        """The three dimensions in which the kernel templates see a result of ``shape``."""
        if self.roles[2] == "w":
            return (1, shape[0], math.prod(shape[1:]))
        return (shape[0], shape[1], math.prod(shape[2:]))

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        """A product of x, w and y is summed over what the result lacks, so each letter that is
        split in two of them is split in the third or, where that lacks it, partial."""
        shapes = dict(zip(self.roles, [*(v.shape for v in node.inputs), node.types[0].shape]))
        letters = {"n": {"x": 0, "y": 0}}
        if node.attrs["groups"] == 1:
            letters |= {"c": {"x": 1, "w": 1}, "o": {"y": 1, "w": 0}}
        elif _groups_align(shapes, node.attrs["groups"], ranks):
            letters["g"] = {"x": 1, "w": 0, "y": 1}
        for d, (stride, padding) in enumerate(
            zip(node.attrs["stride"], node.attrs["padding"]), start=2
        ):
            if shapes["w"][d] == 1 and stride == 1 and padding == (0, 0):
                letters[f"s{d}"] = {"x": d, "y": d}
        found = [all_broadcast(node), Signature((P, B), (P,)), Signature((B, P), (P,))]
        *ins, out = self.roles
        for dims in letters.values():
            splits: dict[str, Sbp] = {role: Split(d) for role, d in dims.items()}
            found.append(Signature(tuple(splits.get(r, B) for r in ins), (splits.get(out, P),)))
        return found

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        local = dict(attrs)
        sbp = dict(zip(self.roles, (*signature.ins, *signature.outs)))
        if attrs["groups"] > 1 and sbp["w"] == Split(0):
            shapes = dict(zip(self.roles, (t.shape for t in types)))
            start, stop = split_bounds(shapes["x"][1], rank.size, rank.index)
            local["groups"] = (stop - start) * attrs["groups"] // shapes["x"][1]
        if "shape" in attrs:
            local["shape"] = rank.local_shape(attrs["shape"], signature.outs[0])
        return local


def _groups_align(shapes: dict[str, Ints], groups: int, ranks: int) -> bool:
    """Whether balanced splits of the channels of x, w and y cut between the same groups."""
    c, o = shapes["x"][1] // groups, shapes["y"][1] // groups
    for r in range(ranks):
        (x0, _), (y0, _) = (split_bounds(shapes[v][1], ranks, r) for v in ("x", "y"))
        if x0 % c or y0 % o or x0 // c != y0 // o:
            return False
    return True


def _fold_batch(value: Value) -> Value:
    """(b, n, ...) -> (b * n, ...)"""
    shape = value.shape
    return ops.reshape(value, shape=(shape[0] * shape[1], *shape[2:]))  # type: ignore[no-any-return]


def _unfold_batch(value: Value, size: int) -> Value:
    shape = value.shape
    return ops.reshape(value, shape=(size, shape[0] // max(size, 1), *shape[1:]))  # type: ignore[no-any-return]


def _to_channels(value: Value) -> Value:
    """(b, n, c, ...) -> (n, b * c, ...)"""
    moved = ops.permute(value, dims=(1, 0, *range(2, value.ndim)))
    shape = moved.shape
    return ops.reshape(moved, shape=(shape[0], shape[1] * shape[2], *shape[3:]))  # type: ignore[no-any-return]


def _from_channels(value: Value, size: int) -> Value:
    shape = value.shape
    split = ops.reshape(value, shape=(shape[0], size, shape[1] // max(size, 1), *shape[2:]))
    return ops.permute(split, dims=(1, 0, *range(2, split.ndim)))  # type: ignore[no-any-return]


_CASES: tuple[tuple[Ints, Ints, dict[str, Any]], ...] = (
    ((2, 3, 5), (4, 3, 2), {}),
    ((2, 3, 5, 6), (2, 3, 3, 2), {"stride": (2, 1), "padding": ((1, 1), (0, 2))}),
    ((1, 4, 7, 5), (6, 2, 2, 3), {"groups": 2, "dilation": (2, 1)}),
    ((2, 3, 5, 5), (6, 1, 3, 3), {"groups": 3, "padding": ((1, 1), (1, 1)), "stride": (2, 2)}),
    ((1, 2, 3, 4, 3), (2, 2, 2, 2, 2), {"padding": ((1, 0), (0, 0), (0, 1))}),
    ((2, 3, 4, 5), (5, 3, 1, 1), {}),
    ((0, 2, 4), (3, 2, 2), {}),
)  # fmt: skip


def _cases() -> Iterator[tuple[Array, Array, dict[str, Any]]]:
    """x, w and attributes of small convolutions of 1, 2 and 3 dimensions."""
    rng = np.random.default_rng(8)
    for x, w, given in _CASES:
        d = len(x) - 2
        attrs = {"stride": (1,) * d, "padding": ((0, 0),) * d, "dilation": (1,) * d, "groups": 1}
        yield rng.normal(size=x), rng.normal(size=w), attrs | given


def _out_shape(x: Ints, w: Ints, attrs: Attrs) -> Ints:
    space = zip(x[2:], w[2:], attrs["stride"], attrs["padding"], attrs["dilation"])
    return (x[0], w[0], *(out_extent(*args) for args in space))


@primitive
class Conv(Convolution):
    """Cross-correlation: y[n, o, p] = sum over c, k of x[n, c, s p + d k] w[o, c, k]."""

    name = "conv"
    lower = Template("conv")
    roles = ("x", "w", "y")
    index = "nc(sp+dk),ock -> nop"
    onnx = "Conv"

    def infer(self, x: TensorType, w: TensorType, **attrs: Any) -> TensorType:
        check_dtypes("conv", x, w)
        groups = attrs["groups"]
        if x.ndim != w.ndim or x.ndim < 3:
            raise ShapeError(
                f"conv: expected an input and a weight of one rank, got shapes {list(x.shape)} and "
                f"{list(w.shape)}"
            )
        if w.shape[0] % max(groups, 1) or x.shape[1] != w.shape[1] * groups:
            raise ShapeError(
                f"Given groups={groups}, weight of size {list(w.shape)}, expected "
                f"input{list(x.shape)} to have {w.shape[1] * groups} channels, but got "
                f"{x.shape[1]} channels instead"
            )
        shape = _out_shape(x.shape, w.shape, attrs)
        if any(n < 1 for n in shape[2:]):
            padded = [n + sum(p) for n, p in zip(x.shape[2:], attrs["padding"])]
            kernel = [d * (k - 1) + 1 for k, d in zip(w.shape[2:], attrs["dilation"])]
            raise ShapeError(
                f"Calculated padded input size per channel: ({_show(padded)}). Kernel size: "
                f"({_show(kernel)}). Kernel size can't be greater than actual input size"
            )
        return x.with_shape(shape)

    def reference(self, x: Array, w: Array, **attrs: Any) -> Array:
        return in_float32(convolve, x, w, **attrs)

    def samples(self) -> Iterator[Sample]:
        for x, w, attrs in _cases():
            yield Sample((x, w), attrs)
        x, w, attrs = next(_cases())
        wrong = (ShapeError, "to have 3 channels, but got 2 channels")
        yield Sample((x[:, :2], w), attrs, error=wrong)
        yield Sample((x[:, :, :1], w), attrs, error=(ShapeError, "can't be greater than actual"))

    def vjp(self, node: Node, g: Value) -> Grads:
        x, w = node.inputs
        return (
            ops.conv_input_grad(g, w, shape=x.shape, **geometry(node.attrs)),
            ops.conv_weight_grad(x, g, shape=w.shape, **geometry(node.attrs)),
        )

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        x, w = inputs
        if batched == (True, False):
            return (_unfold_batch(self(_fold_batch(x), w, **node.attrs), size),)
        x, w = (v if b else expand_front(v, size) for v, b in zip(inputs, batched))
        attrs = {**node.attrs, "groups": node.attrs["groups"] * size}
        return (_from_channels(self(_to_channels(x), _fold_batch(w), **attrs), size),)


def _show(sizes: list[int]) -> str:
    return " x ".join(map(str, sizes))


@primitive
class ConvInputGrad(Convolution):
    """The adjoint of `conv` in x: what gy, spread through w, gives back to an x of ``shape``.
    This is also transposed convolution."""

    name = "conv_input_grad"
    lower = Template("conv_input_grad")
    roles = ("y", "w", "x")
    index = "nop,ock -> nc(sp+dk)"
    onnx = "ConvTranspose"

    def infer(self, g: TensorType, w: TensorType, shape: Ints, **attrs: Any) -> TensorType:
        check_dtypes("conv_input_grad", g, w)
        if _out_shape(shape, w.shape, attrs) != g.shape or shape[1] != w.shape[1] * attrs["groups"]:
            raise ShapeError(
                f"conv_input_grad: an input of shape {list(shape)} and a weight of shape "
                f"{list(w.shape)} do not give a result of shape {list(g.shape)}"
            )
        return g.with_shape(shape)

    def reference(self, g: Array, w: Array, **attrs: Any) -> Array:
        return in_float32(input_gradient, g, w, **attrs)

    def samples(self) -> Iterator[Sample]:
        for x, w, attrs in _cases():
            g = np.random.default_rng(1).normal(size=_out_shape(x.shape, w.shape, attrs))
            yield Sample((g, w), {**attrs, "shape": x.shape})
        yield Sample((g, w), {**attrs, "shape": (7, 7, 7)}, error=(ShapeError, "do not give"))

    def vjp(self, node: Node, g: Value) -> Grads:
        y, w = node.inputs
        return (
            ops.conv(g, w, **geometry(node.attrs)),
            ops.conv_weight_grad(g, y, shape=w.shape, **geometry(node.attrs)),
        )

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        g, w = inputs
        n, c, *space = node.attrs["shape"]
        if batched == (True, False):
            attrs = {**node.attrs, "shape": (size * n, c, *space)}
            return (_unfold_batch(self(_fold_batch(g), w, **attrs), size),)
        g, w = (v if b else expand_front(v, size) for v, b in zip(inputs, batched))
        attrs = {**node.attrs, "shape": (n, size * c, *space)}
        attrs["groups"] = node.attrs["groups"] * size
        return (_from_channels(self(_to_channels(g), _fold_batch(w), **attrs), size),)


@primitive
class ConvWeightGrad(Convolution):
    """The adjoint of `conv` in w: how x and gy correlate at each offset of a w of ``shape``."""

    name = "conv_weight_grad"
    lower = Template("conv_weight_grad")
    roles = ("x", "y", "w")
    index = "nc(sp+dk),nop -> ock"
    onnx = Declined("ONNX has no operator for it; training graphs are not exported")

    def seen(self, shape: Ints) -> Ints:
        """The result as its template sees it: [1, output channels, the rest]."""
        return 1, shape[0], math.prod(shape[1:])

    def infer(self, x: TensorType, g: TensorType, shape: Ints, **attrs: Any) -> TensorType:
        check_dtypes("conv_weight_grad", x, g)
        if _out_shape(x.shape, shape, attrs) != g.shape or x.shape[1] != shape[1] * attrs["groups"]:
            raise ShapeError(
                f"conv_weight_grad: an input of shape {list(x.shape)} and a weight of shape "
                f"{list(shape)} do not give a result of shape {list(g.shape)}"
            )
        return x.with_shape(shape)

    def reference(self, x: Array, g: Array, **attrs: Any) -> Array:
        return in_float32(weight_gradient, x, g, **attrs)

    def samples(self) -> Iterator[Sample]:
        for x, w, attrs in _cases():
            g = np.random.default_rng(1).normal(size=_out_shape(x.shape, w.shape, attrs))
            yield Sample((x, g), {**attrs, "shape": w.shape})
        yield Sample((x, g), {**attrs, "shape": (7, 7, 7)}, error=(ShapeError, "do not give"))

    def vjp(self, node: Node, g: Value) -> Grads:
        x, y = node.inputs
        return (
            ops.conv_input_grad(y, g, shape=x.shape, **geometry(node.attrs)),
            ops.conv(x, g, **geometry(node.attrs)),
        )

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        x, g = (v if b else expand_front(v, size) for v, b in zip(inputs, batched))
        attrs = {**node.attrs, "groups": node.attrs["groups"] * size}
        attrs["shape"] = (size * node.attrs["shape"][0], *node.attrs["shape"][1:])
        return (_unfold_batch(self(_to_channels(x), _to_channels(g), **attrs), size),)
