"""Movement primitives: results whose elements are the operand's (or a constant), elsewhere.

Those marked ``view`` can alias their operand. Each of them also knows the strides of the alias
(`strides`) and how a write through it changes the operand (`write`), which is all that in-place
operations on views need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.errors import AliasError, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Broadcast, P, Partial, Signature, Split
from ..ir.types import TensorType
from .contract import (
    Array,
    Attrs,
    Declined,
    Grads,
    Primitive,
    Rank,
    Sample,
    Types,
    all_broadcast,
    primitive,
)
from .families import signature
from .link import ops
from .positions import number, ravel, unravel

Shape = tuple[int, ...]
ANY_PARTIAL = tuple(Partial(op) for op in ("sum", "max", "min", "prod"))


def pass_partial(node: Node) -> list[Signature]:
    """Pure movement commutes with every elementwise reduction over ranks."""
    return [Signature((p,), (p,)) for p in ANY_PARTIAL if reducible(node, p)]


def reducible(node: Node, partial: Partial) -> bool:
    category = node.inputs[0].dtype.category
    if category == "bool":
        return partial.op in ("max", "min")
    return category != "complex" or partial.op in ("sum", "prod")


def _numbered(shape: Shape) -> Array:
    return np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape)


def arange_samples(
    *cases: tuple[Shape, dict[str, Any]], fails: Sequence[tuple[Shape, dict[str, Any], str]] = ()
) -> Any:
    """Samples on distinct numbers 0, 1, 2…, one per (shape, attributes); those of ``fails`` raise
    a ShapeError with the fragment given."""

    def make() -> Iterator[Sample]:
        for shape, attrs in cases:
            yield Sample((_numbered(shape),), attrs)
        for shape, attrs, fragment in fails:
            yield Sample((_numbered(shape),), attrs, error=(ShapeError, fragment))

    return make


class View(Primitive):
    """A movement whose result may share its operand's storage."""

    view = True
    indexed = True

    def strides(self, shape: Shape, strides: Shape, /, **attrs: Any) -> Shape | None:
        """Element strides of the alias of an operand of ``shape`` and ``strides``; None if the
        result cannot be expressed by strides (then it is a copy)."""
        raise NotImplementedError

    def offset(self, shape: Shape, strides: Shape, /, **attrs: Any) -> int:
        """Elements between the operand's first element and the alias's."""
        return 0

    def write(self, base: Value, new: Value, **attrs: Any) -> Value:
        """``base`` with the elements that this view shows replaced by ``new``."""
        raise NotImplementedError


@primitive
class Reshape(View):
    """The same elements in row-major order under another shape of equal size."""

    name = "reshape"
    index = Declined("regroups indices; not a fixed index notation")
    onnx = "Reshape"
    samples = arange_samples(
        ((3, 4), {"shape": (4, 3)}), ((2, 3, 4), {"shape": (6, 4)}), ((), {"shape": (1, 1)}),
        ((6,), {"shape": (2, 3)}), ((0, 3), {"shape": (3, 0)}), ((4, 1), {"shape": (4,)}),
        ((2, 2, 3), {"shape": (4, 3, 1)}), ((6, 4), {"shape": (2, 3, 4)}),
        fails=[((3, 4), {"shape": (5, 2)}, "is invalid for input of size 12")],
    )  # fmt: skip

    def infer(self, x: TensorType, shape: Shape) -> TensorType:
        result = x.with_shape(shape)
        if result.numel != x.numel or any(n < 0 for n in shape):
            raise ShapeError(f"shape '{list(shape)}' is invalid for input of size {x.numel}")
        return result

    def reference(self, x: Array, shape: Shape) -> Array:
        return x.reshape(shape)

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        return loads[0](unravel(ravel(index, node.types[0].shape), node.inputs[0].shape))

    def place(self, node: Node, index: Any) -> Any:
        """Where the operand's element at ``index`` stands in the result."""
        return unravel(ravel(index, node.inputs[0].shape), node.types[0].shape)

    def vjp(self, node: Node, g: Value) -> Grads:
        return (ops.reshape(g, shape=node.inputs[0].shape),)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        """A split survives where the split dimension leads its group of merged or cut
        dimensions, and every rank's slice covers whole groups."""
        source, target = node.inputs[0].shape, node.types[0].shape
        found = [all_broadcast(node), *pass_partial(node)]
        for i in range(len(source)):
            for j in range(len(target)):
                if _same_cut(source, i, target, j, ranks):
                    found.append(Signature((Split(i),), (Split(j),)))
        return found

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        return {"shape": rank.local_shape(attrs["shape"], signature.outs[0])}

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(inputs[0], shape=(size, *node.attrs["shape"])),)

    def strides(self, shape: Shape, strides: Shape, /, **attrs: Any) -> Shape | None:
        return reshape_strides(shape, strides, attrs["shape"])

    def write(self, base: Value, new: Value, **attrs: Any) -> Value:
        return ops.reshape(new, shape=base.shape)  # type: ignore[no-any-return]


def _same_cut(source: Shape, i: int, target: Shape, j: int, ranks: int) -> bool:
    from ..ir.sbp import split_bounds

    if 0 in source:
        # Nothing is held anywhere, but local shapes must still agree in size: they do if one
        # of the local sizes stays zero on every rank.
        rest_i = 0 in source[:i] + source[i + 1 :]
        rest_j = 0 in target[:j] + target[j + 1 :]
        return (rest_i or source[i] == 0) and (rest_j or target[j] == 0)
    before_i, before_j = int(np.prod(source[:i])), int(np.prod(target[:j]))
    after_i, after_j = int(np.prod(source[i + 1 :])), int(np.prod(target[j + 1 :]))
    cuts_i = [b * after_i for r in range(ranks) for b in split_bounds(source[i], ranks, r)]
    cuts_j = [b * after_j for r in range(ranks) for b in split_bounds(target[j], ranks, r)]
    if cuts_i != cuts_j:
        return False
    return before_i == before_j or ranks == 1


def reshape_strides(shape: Shape, strides: Shape, target: Shape) -> Shape | None:
    """Strides under which ``target`` reads the same memory, or None if a copy is needed.

    Walks both shapes from the last dimension, matching runs of source dimensions that lie
    contiguously in memory with runs of target dimensions of the same size.
    """
    if 0 in shape:
        return contiguous_strides(target)
    runs: list[tuple[int, int]] = []  # (elements, stride of the innermost), outermost first
    for extent, stride in zip(shape, strides):
        if extent == 1:
            continue
        if runs and runs[-1][1] == extent * stride:
            runs[-1] = (runs[-1][0] * extent, stride)
        else:
            runs.append((extent, stride))
    result: list[int] = []
    left, step = runs.pop() if runs else (1, 1)
    for extent in reversed(target):
        if extent == 1:
            result.append(step)
            continue
        if left == 1 and runs:
            left, step = runs.pop()
        if left % extent:
            return None
        result.append(step)
        left //= extent
        step *= extent
    return tuple(reversed(result))


def contiguous_strides(shape: Shape) -> Shape:
    """Row-major element strides; a dimension of 0 elements counts as 1, as in PyTorch."""
    result: list[int] = []
    step = 1
    for extent in reversed(shape):
        result.append(step)
        step *= max(extent, 1)
    return tuple(reversed(result))


@primitive
class Permute(View):
    """Result dimension i is operand dimension ``dims[i]``."""

    name = "permute"
    index = "abc -> cab (any order)"
    onnx = "Transpose"
    samples = arange_samples(
        ((3, 4), {"dims": (1, 0)}), ((2, 3, 4), {"dims": (2, 0, 1)}), ((), {"dims": ()}),
        ((0, 2), {"dims": (1, 0)}), ((5,), {"dims": (0,)}),
        fails=[((3, 4), {"dims": (1, 1)}, "a permutation of 2 dimensions")],
    )  # fmt: skip

    def infer(self, x: TensorType, dims: Shape) -> TensorType:
        if sorted(dims) != list(range(x.ndim)):
            raise ShapeError(
                f"permute: expected a permutation of {x.ndim} dimensions, got {list(dims)}"
            )
        return x.with_shape(tuple(x.shape[d] for d in dims))

    def reference(self, x: Array, dims: Shape) -> Array:
        return x.transpose(dims)

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        return loads[0](tuple(index[i] for i in _inverse(node.attrs["dims"])))

    def place(self, node: Node, index: Any) -> Any:
        """Where the operand's element at ``index`` stands in the result."""
        return tuple(index[d] for d in node.attrs["dims"])

    def vjp(self, node: Node, g: Value) -> Grads:
        return (ops.permute(g, dims=_inverse(node.attrs["dims"])),)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        splits = [Signature((Split(d),), (Split(i),)) for i, d in enumerate(node.attrs["dims"])]
        return [all_broadcast(node), *pass_partial(node), *splits]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(inputs[0], dims=(0, *(d + 1 for d in node.attrs["dims"]))),)

    def strides(self, shape: Shape, strides: Shape, /, **attrs: Any) -> Shape | None:
        return tuple(strides[d] for d in attrs["dims"])

    def write(self, base: Value, new: Value, **attrs: Any) -> Value:
        return ops.permute(new, dims=_inverse(attrs["dims"]))  # type: ignore[no-any-return]


def _inverse(dims: Shape) -> Shape:
    return tuple(dims.index(i) for i in range(len(dims)))


@primitive
class Expand(View):
    """Dimensions of one element repeated to ``shape``; the rank stays."""

    name = "expand"
    index = "a1 -> ab"
    onnx = "Expand"
    samples = arange_samples(
        ((3, 1), {"shape": (3, 4)}), ((1, 1), {"shape": (2, 3)}), ((), {"shape": ()}),
        ((1,), {"shape": (0,)}), ((2, 1, 3), {"shape": (2, 5, 3)}),
        fails=[((3, 2), {"shape": (3, 4)}, "cannot expand [3, 2]")],
    )  # fmt: skip

    def infer(self, x: TensorType, shape: Shape) -> TensorType:
        if len(shape) != x.ndim or any(n not in (1, m) for n, m in zip(x.shape, shape)):
            raise ShapeError(f"expand: cannot expand {list(x.shape)} to {list(shape)}")
        return x.with_shape(shape)

    def reference(self, x: Array, shape: Shape) -> Array:
        return np.broadcast_to(x, shape)

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        shape = node.inputs[0].shape
        return loads[0](tuple(number(0) if n == 1 else i for i, n in zip(index, shape)))

    def vjp(self, node: Node, g: Value) -> Grads:
        x = node.inputs[0]
        dims = tuple(i for i, (n, m) in enumerate(zip(x.shape, g.shape)) if n != m)
        return (ops.reshape(ops.reduce_sum(g, dims=dims), shape=x.shape) if dims else g,)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        source, target = node.inputs[0].shape, node.types[0].shape
        splits = [
            Signature((Split(d) if source[d] == target[d] else Broadcast(),), (Split(d),))
            for d in range(len(target))
        ]
        return [all_broadcast(node), *pass_partial(node), *splits]

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        return {"shape": rank.local_shape(attrs["shape"], signature.outs[0])}

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(inputs[0], shape=(size, *node.attrs["shape"])),)

    def strides(self, shape: Shape, strides: Shape, /, **attrs: Any) -> Shape | None:
        return tuple(s if n == m else 0 for n, m, s in zip(shape, attrs["shape"], strides))

    def write(self, base: Value, new: Value, **attrs: Any) -> Value:
        if new.shape == base.shape:
            return new
        raise AliasError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )


__all__ = ["ANY_PARTIAL", "P", "View", "arange_samples", "contiguous_strides", "pass_partial",
           "reducible", "reshape_strides", "signature"]  # fmt: skip
