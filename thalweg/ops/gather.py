"""Indexing primitives: elements taken at, or put at, positions that are data.

Both share one layout. The operand x is ``[batch..., n1 .. nk, rest...]``; k index tensors of one
shape ``[batch..., I...]`` hold positions along n1 .. nk; the elements they name form a tensor
``[batch..., I..., rest...]``. Embedding, gather, index_select and advanced indexing are all this
with other ``batch`` and k. Positions are checked when they are used; ``wrap`` lets negative ones
count from the end. ``window = (j, start, total)`` is for ranks: the operand holds positions
start.. of ``total`` along its j-th indexed dimension, and positions elsewhere give 0 or are left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import int32, int64
from ..core.errors import DTypeError, IndexOutOfRange, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Broadcast, P, Partial, Sbp, Signature, Split
from ..ir.types import TensorType
from .arithmetic import cast, constant
from .contract import (
    Array,
    Attrs,
    Declined,
    Grads,
    IndexRange,
    Primitive,
    Rank,
    Sample,
    Types,
    all_broadcast,
    primitive,
)  # fmt: skip
from .families import batch_up
from .kernels import kernel_from
from .link import ops
from .movement import reducible
from .named import public
from .pointwise import loops
from .positions import clamped, constant_of, within
from .slicing import movement_partials

Window = tuple[int, int, int]


def element_type(name: str, x: TensorType, index: tuple[TensorType, ...], batch: int) -> TensorType:
    """Type of the elements named by ``index``; an error if it does not fit x."""
    if not index:
        raise ShapeError(f"{name}: expected at least one index tensor")
    for i in index:
        if i.dtype is not int64 and i.dtype is not int32:
            raise DTypeError(f"{name}: expected indices of dtype int64 or int32, got {i.dtype}")
    shape = index[0].shape
    if (
        any(i.shape != shape for i in index)
        or batch + len(index) > x.ndim
        or shape[:batch] != x.shape[:batch]
    ):
        raise ShapeError(
            f"{name}: expected index tensors of one shape that begins with {list(x.shape[:batch])} "
            f"for an operand of shape {list(x.shape)}, got {[list(i.shape) for i in index]}"
        )
    return x.with_shape((*shape, *x.shape[batch + len(index) :]))


def positions(
    name: str, x: Array, index: tuple[Array, ...], batch: int, wrap: bool, window: Window | None
) -> tuple[tuple[Array, ...], Array | None]:
    """NumPy subscripts of x, and where they are this rank's (None: everywhere).

    IndexOutOfRange names the first position that lies outside its dimension.
    """
    found: list[Array] = []
    mine: Array | None = None
    for j, each in enumerate(index):
        dim = batch + j
        size = window[2] if window and window[0] == j else x.shape[dim]
        low = -size if wrap else 0
        bad = (each < low) | (each >= size)
        if bad.any():
            value = int(each[bad].flat[0])
            raise IndexOutOfRange(_out_of_bounds(name, dim, size).format(index=value))
        if wrap:
            each = np.where(each < 0, each + size, each)
        if window and window[0] == j:
            each = each - window[1]
            mine = (each >= 0) & (each < x.shape[dim])
            each = np.where(mine, each, 0)
        found.append(each)
    ndim = index[0].ndim
    leading = [
        np.arange(n).reshape([-1 if d == b else 1 for d in range(ndim)])
        for b, n in enumerate(x.shape[:batch])
    ]
    return (*leading, *found), mine


def _out_of_bounds(name: str, dim: int, size: int) -> str:
    return f"{name}: index {{index}} is out of bounds for dimension {dim} with size {size}"


def _spread_mask(mask: Array, like: Array) -> Array:
    return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim))


class Indexed(Primitive):
    """Base of `take` and `index_put`."""

    inputs = None
    index: ClassVar[Any] = Declined("positions are data")
    lower: Any = Declined("indirect loads or stores: a kernel template")

    def index_dims(self, node: Node) -> tuple[int, int, int, int]:
        """(batch, k, dimensions of the index tensors, dimensions of the rest)."""
        x, first = node.inputs[0], node.inputs[1]
        k = len(self.indices(node))
        batch = node.attrs["batch"]
        return batch, k, first.ndim, x.ndim - batch - k

    def indices(self, node: Node) -> tuple[Value, ...]:
        raise NotImplementedError

    def index_ranges(self, node: Node) -> tuple[IndexRange, ...]:
        window, batch = node.attrs.get("window"), node.attrs["batch"]
        found = []
        for j in range(len(self.indices(node))):
            dim = batch + j
            size = window[2] if window and window[0] == j else node.inputs[0].shape[dim]
            low = -size if node.attrs.get("wrap") else 0
            found.append(IndexRange(1 + j, low, size, _out_of_bounds(self.name, dim, size)))
        return tuple(found)

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        split = signature.ins[0]
        j = split.dim - attrs["batch"] if isinstance(split, Split) else -1
        if not isinstance(split, Split) or not 0 <= j < self.window_dims(types):
            return attrs
        start, _ = rank.bounds(types[0].shape, split)
        return {**attrs, "window": (j, start, types[0].shape[split.dim])}

    def window_dims(self, types: Types) -> int:
        """k, from the global types of operands and result."""
        raise NotImplementedError


@primitive
class Take(Indexed):
    """x at the given positions: result ``[batch..., I..., rest...]``."""

    name = "take"
    indexed = True
    onnx = "GatherND"

    def infer(
        self,
        x: TensorType,
        *index: TensorType,
        batch: int,
        wrap: bool = False,
        window: Window | None = None,
    ) -> TensorType:
        return element_type("take", x, index, batch)

    def reference(
        self,
        x: Array,
        *index: Array,
        batch: int,
        wrap: bool = False,
        window: Window | None = None,
    ) -> Array:
        where, mine = positions("take", x, index, batch, wrap, window)
        if mine is not None and not x.size:
            return np.zeros((*index[0].shape, *x.shape[batch + len(index) :]), x.dtype)
        result = np.asarray(x[where])
        if mine is None:
            return result
        return np.where(_spread_mask(mine, result), result, np.zeros((), x.dtype))

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        """Positions are clamped, so that wrong ones, which `passes.guard_positions` reports
        once the program has run, do no harm until then."""
        batch, k, ndim, _ = self.index_dims(node)
        x = node.inputs[0]
        window: Window | None = node.attrs.get("window")
        zero = constant_of(0, x.dtype)
        if 0 in x.shape:
            return zero
        lead, rest = tuple(index[:ndim]), tuple(index[ndim:])
        found: list[Any] = []
        mine: Any = None
        for j in range(k):
            at, extent = loads[1 + j](lead), x.shape[batch + j]
            at = at if at.dtype is int64 else loops.Cast(at, int64)
            cut = window if window and window[0] == j else None
            size = cut[2] if cut else extent
            if node.attrs.get("wrap"):
                at = loops.Select(at < 0, at + size, at)
            if cut:
                at = at - cut[1]
                mine = within(at, 0, extent)
            found.append(clamped(at, extent))
        element = loads[0]((*lead[:batch], *found, *rest))
        return element if mine is None else loops.Select(mine, element, zero)

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(13)
        for shape, index_shape, k, batch in [
            ((5, 3), (4,), 1, 0), ((5, 3), (2, 3), 2, 0), ((3, 4, 2), (3, 5), 1, 1),
            ((4,), (), 1, 0), ((4, 2), (0,), 1, 0), ((2, 3, 4), (2, 3, 2), 1, 2),
        ]:  # fmt: skip
            x = rng.normal(size=shape)
            index = tuple(rng.integers(0, shape[batch + j], index_shape) for j in range(k))
            yield Sample((x, *index), {"batch": batch})
        x = rng.normal(size=(3, 2))
        yield Sample((x, np.array([-1, 2, -3])), {"batch": 0, "wrap": True})
        bad = np.array([0, 3])
        yield Sample((x, bad), {"batch": 0}, error=(IndexError, "index 3 is out of bounds"))
        yield Sample((x, -bad), {"batch": 0}, error=(IndexError, "index -3 is out of bounds"))
        yield Sample((x, bad * 1.0), {"batch": 0}, error=(RuntimeError, "expected indices"))

    def vjp(self, node: Node, g: Value) -> Grads:
        x, index = node.inputs[0], node.inputs[1:]
        zeros = constant(0, g.dtype, x.shape)
        return ops.index_put(zeros, *index, g, **node.attrs, combine="sum"), *(None for _ in index)

    def indices(self, node: Node) -> tuple[Value, ...]:
        return node.inputs[1:]

    def window_dims(self, types: Types) -> int:
        return len(types) - 2

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        batch, k, ndim, rest = self.index_dims(node)

        def of(x: Sbp, index: Sbp, out: Sbp) -> Signature:
            return Signature((x, *(index,) * k), (out,))

        broadcast = Broadcast()
        return [
            *movement_partials(node, (0,)),
            all_broadcast(node),
            *(of(Split(d), Split(d), Split(d)) for d in range(batch)),
            *(of(broadcast, Split(d), Split(d)) for d in range(batch, ndim)),
            *(of(Split(batch + k + r), broadcast, Split(ndim + r)) for r in range(rest)),
            *(of(Split(batch + j), broadcast, P) for j in range(k) if _summable(node)),
        ]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        attrs = dict(node.attrs)
        if not batched[0] and attrs["batch"] == 0:
            return (self(inputs[0], *batch_up(inputs[1:], batched[1:], size), **attrs),)
        attrs["batch"] += 1
        return (self(*batch_up(inputs, batched, size), **attrs),)


def _summable(node: Node) -> bool:
    return node.types[0].dtype.category != "bool"


# What a combination of an element with a new one is: how NumPy accumulates it at repeated places.
COMBINE: dict[str, Any] = {
    "sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum,
}  # fmt: skip


@primitive
class IndexPut(Indexed):
    """x with new elements ``[batch..., I..., rest...]`` put at the given positions.

    ``combine`` says how a new element meets the old one, and others put at the same place: "set"
    replaces (which of several stays is the last in row-major order here, and not promised), "sum",
    "prod", "max" and "min" accumulate. Operands: x, k index tensors, the new elements.
    """

    name = "index_put"
    onnx = "ScatterND"
    lower = kernel_from("put")

    def infer(self, *operands: TensorType, combine: str, **attrs: Any) -> TensorType:
        x, new = operands[0], operands[-1]
        expected = element_type("index_put", x, operands[1:-1], attrs["batch"])
        if new.shape != expected.shape or new.dtype is not x.dtype:
            raise ShapeError(
                f"index_put: expected new elements {x.dtype}{list(expected.shape)}, got "
                f"{new.dtype}{list(new.shape)}"
            )
        if combine != "set" and combine not in COMBINE:
            raise ShapeError(f"index_put: expected combine set or {list(COMBINE)}, got {combine}")
        return x

    def reference(
        self,
        *operands: Array,
        batch: int,
        combine: str,
        wrap: bool = False,
        window: Window | None = None,
    ) -> Array:
        x, index, new = operands[0], operands[1:-1], operands[-1]
        where, mine = positions("index_put", x, index, batch, wrap, window)
        if mine is not None:
            if not x.size:
                return x.copy()
            where = tuple(np.broadcast_to(w, mine.shape)[mine] for w in where)
            new = new[mine]
        half = x.dtype.itemsize == 2 and x.dtype.kind not in "iub" and combine != "set"
        result = np.array(x, np.float32 if half else x.dtype, order="C")
        if combine == "set":
            result[where] = new
        elif combine == "sum":
            _accumulate(result, where, new.astype(result.dtype, copy=False))
        else:
            COMBINE[combine].at(result, where, new.astype(result.dtype, copy=False))
        return result.astype(x.dtype, copy=False)

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(13)
        for shape, index, batch in [
            ((5, 3), (np.array([4, 0, 2]),), 0),
            ((3, 4), (np.array([1, 0]), np.array([3, 2])), 0),
            ((2, 4, 3), (np.array([[1, 0], [2, 3]]),), 1),
            ((4,), (np.array(2),), 0),
            ((4, 2), (np.zeros((0,), np.int64),), 0),
        ]:
            x = rng.uniform(0.5, 2.0, shape)
            new = rng.uniform(0.5, 2.0, (*index[0].shape, *shape[batch + len(index) :]))
            yield Sample((x, *index, new), {"batch": batch, "combine": "set"})
        for shape, index, batch in [
            ((5, 3), (np.array([4, 0, 4]),), 0),
            ((3, 4), (np.array([1, 0, 1]), np.array([3, 2, 3])), 0),
            ((2, 4, 3), (np.array([[1, 1], [2, 2]]),), 1),
        ]:
            x = rng.uniform(0.5, 2.0, shape)
            new = rng.uniform(0.5, 2.0, (*index[0].shape, *shape[batch + len(index) :]))
            for combine in COMBINE:
                yield Sample((x, *index, new), {"batch": batch, "combine": combine})
        x, again = rng.uniform(0.5, 2.0, (3, 2)), np.array([1, 1, -1, 1])
        for combine in COMBINE:
            new = rng.uniform(0.5, 2.0, (4, 2))
            yield Sample((x, again, new), {"batch": 0, "combine": combine, "wrap": True})
        zeros = np.array([0.0, 2.0, 0.0, 3.0])
        yield Sample(
            (np.array([1.0, 2.0, 0.0]), np.array([0, 0, 1, 1]), zeros),
            {"batch": 0, "combine": "prod"},
            grad=False,
        )
        bad = {"batch": 0, "combine": "sum"}
        yield Sample((x, np.array([3]), x[:1]), bad, error=(IndexError, "index 3 is out of bounds"))
        yield Sample((x, np.array([1]), x), bad, error=(RuntimeError, "expected new elements"))

    def vjp(self, node: Node, g: Value) -> Grads:
        attrs = {key: value for key, value in node.attrs.items() if key != "combine"}
        x, index, new = node.inputs[0], node.inputs[1:-1], node.inputs[-1]
        none = tuple(None for _ in index)
        combine = node.attrs["combine"]
        if combine == "set":
            zeros = constant(0, g.dtype, new.shape)
            return (
                ops.index_put(g, *index, zeros, **attrs, combine="set"),
                *none,
                ops.take(g, *index, **attrs),
            )
        if combine == "sum":
            return g, *none, ops.take(g, *index, **attrs)
        if combine == "prod":
            return _prod_vjp(x, index, new, g, attrs, none)
        # max and min: shared evenly among the elements that equal the result.
        old_hit = cast(public.eq(x, node.out), g.dtype)
        new_hit = cast(public.eq(new, ops.take(node.out, *index, **attrs)), g.dtype)
        share = g / ops.index_put(old_hit, *index, new_hit, **attrs, combine="sum")
        return old_hit * share, *none, new_hit * ops.take(share, *index, **attrs)

    def indices(self, node: Node) -> tuple[Value, ...]:
        return node.inputs[1:-1]

    def window_dims(self, types: Types) -> int:
        return len(types) - 3

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        batch, k, ndim, rest = self.index_dims(node)
        combine = node.attrs["combine"]
        whole = Broadcast()

        def of(x: Sbp, index: Sbp, new: Sbp, out: Sbp) -> Signature:
            return Signature((x, *(index,) * k, new), (out,))

        found = [
            all_broadcast(node),
            *(of(Split(d), Split(d), Split(d), Split(d)) for d in range(batch)),
            *(
                of(Split(batch + k + r), whole, Split(ndim + r), Split(batch + k + r))
                for r in range(rest)
            ),
            *(of(Split(batch + j), whole, whole, Split(batch + j)) for j in range(k)),
        ]
        if combine == "set":
            return found + movement_partials(node, (0, k + 1))
        term = Partial(combine)
        if not reducible(node, term):
            return found
        found += [of(term, Split(d), Split(d), term) for d in range(batch, ndim)]
        found.append(of(term, whole, term, term))
        # With the new elements fixed, all but multiplying are monotone in x, and that is linear.
        others = {"sum": ("max", "min"), "prod": ("sum",), "max": ("min",), "min": ("max",)}[
            combine
        ]
        terms = [Partial(op) for op in others if reducible(node, Partial(op))]
        return found + [of(p, whole, whole, p) for p in terms]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        attrs = {**node.attrs, "batch": node.attrs["batch"] + 1}
        return (self(*batch_up(inputs, batched, size), **attrs),)


def _accumulate(result: Array, where: tuple[Array, ...], new: Array) -> None:
    """``result[where] += new`` with repeated places, by sorting the rows to be added.

    ``np.add.at`` costs a call per element; sorted runs are summed by one ``reduceat``.
    """
    lead = len(where)
    shape = result.shape[:lead]
    flat = np.ravel_multi_index(np.broadcast_arrays(*where), shape).ravel()
    if not flat.size or not result.size:
        return
    rows = result.reshape(int(np.prod(shape)), -1)
    order = np.argsort(flat, kind="stable")
    places = flat[order]
    starts = np.flatnonzero(np.r_[True, places[1:] != places[:-1]])
    sums = np.add.reduceat(new.reshape(flat.size, -1)[order], starts, axis=0)
    rows[places[starts]] += sums.astype(result.dtype, copy=False)


def _prod_vjp(
    x: Value, index: tuple[Value, ...], new: Value, g: Value, attrs: Attrs, none: tuple[None, ...]
) -> Grads:
    """The product of all other factors: by division, or where one factor is zero, the product of
    the non-zero ones for that factor and 0 for the rest."""

    def parts(factor: Value) -> tuple[Value, Value]:
        zero = public.eq(factor, 0)
        return zero, public.where(zero, constant(1, factor.dtype, factor.shape), factor)

    x_zero, x_safe = parts(x)
    new_zero, new_safe = parts(new)
    product = ops.index_put(x_safe, *index, new_safe, **attrs, combine="prod")
    zeros = ops.index_put(
        cast(x_zero, g.dtype), *index, cast(new_zero, g.dtype), **attrs, combine="sum"
    )

    def gradient(zero: Value, safe: Value, count: Value, total: Value, grad: Value) -> Value:
        others_are_whole = public.eq(count - cast(zero, g.dtype), 0)
        kept = public.where(others_are_whole, total / safe, constant(0, g.dtype, total.shape))
        return grad * kept  # type: ignore[no-any-return]

    def at(value: Value) -> Value:
        return ops.take(value, *index, **attrs)  # type: ignore[no-any-return]

    return (
        gradient(x_zero, x_safe, zeros, product, g),
        *none,
        gradient(new_zero, new_safe, at(zeros), at(product), at(g)),
    )
