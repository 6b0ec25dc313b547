"""Rules shared by the pointwise primitives: types, sharding, batching.

An operand of a pointwise op has the shape of the result, so an extra leading dimension and a
split of any dimension pass straight through. How Partial values pass depends on the algebra of
the op, which it states in two class fields:

``linear``      f(a + b) = f(a) + f(b) over all operands together: P(sum) in, P(sum) out
``partial``     further signatures as text, one per line of operands: ("P(max) B -> P(max)", ...)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import DType, bool_
from ..core.errors import DTypeError, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Signature, parse_sbp
from ..ir.types import TensorType
from .contract import Array, Declined, Primitive, Rank, Sample, all_broadcast
from .link import ops


def signature(text: str) -> Signature:
    """Read ``"P(max) B -> P(max)"``."""
    ins, outs = text.split("->")
    return Signature(tuple(map(parse_sbp, ins.split())), tuple(map(parse_sbp, outs.split())))


def split_all(node: Node, dims: tuple[int | None, ...], out: int | None) -> Signature:
    """Operand i split on ``dims[i]`` (None: broadcast), the results on ``out``."""
    from ..ir.sbp import Broadcast, Split

    def of(dim: int | None) -> Any:
        return Broadcast() if dim is None else Split(dim)

    return Signature(tuple(map(of, dims)), (of(out),) * len(node.outputs))


def batch_up(values: tuple[Value, ...], batched: tuple[bool, ...], size: int) -> list[Value]:
    """Give operands without the batch dimension one, by expansion."""
    return [v if b else expand_front(v, size) for v, b in zip(values, batched)]


def expand_front(value: Value, size: int) -> Value:
    """The value repeated ``size`` times along a new first dimension."""
    lifted = ops.reshape(value, shape=(1, *value.shape))
    return ops.expand(lifted, shape=(size, *value.shape))  # type: ignore[no-any-return]


class Pointwise(Primitive):
    """Result element i depends on element i of every operand."""

    pointwise = True
    linear: ClassVar[bool] = False
    partial: ClassVar[tuple[str, ...]] = ()
    index: ClassVar[str | Declined] = "... -> ..."
    accepts: ClassVar[tuple[str, ...]] = ("bool", "int", "float", "complex")

    def infer(self, *operands: TensorType, **attrs: Any) -> TensorType:
        first = operands[0]
        for other in operands[1:]:
            if other.shape != first.shape:
                raise ShapeError(
                    f"{self.name}: expected operands of one shape, got {list(first.shape)} and "
                    f"{list(other.shape)}"
                )
            if other.dtype is not first.dtype:
                raise DTypeError(
                    f"{self.name}: expected operands of one dtype, got {first.dtype} and "
                    f"{other.dtype}"
                )
        if first.dtype.category not in self.accepts:
            raise DTypeError(
                f'"{self.name}" not implemented for {first.dtype}: expected '
                f"{' or '.join(self.accepts)}"
            )
        return TensorType(first.shape, self.result_dtype(first.dtype, **attrs), first.device)

    def result_dtype(self, dtype: DType, **attrs: Any) -> DType:
        return dtype

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        from ..ir.sbp import P

        count = len(node.inputs)
        found = [all_broadcast(node)]
        found += [split_all(node, (d,) * count, d) for d in range(node.inputs[0].ndim)]
        if self.linear and node.types[0].dtype.category != "bool":
            found.append(Signature((P,) * count, (P,)))
        found += [signature(text) for text in self.partial]
        return found

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(*batch_up(inputs, batched, size), **node.attrs),)


class Unary(Pointwise):
    inputs = 1


class FloatUnary(Unary):
    """A function of real (and, where NumPy has it, complex) floating-point numbers."""

    accepts = ("float", "complex")


class Binary(Pointwise):
    inputs = 2


class Comparison(Binary):
    """Two operands of one dtype to bool; no gradient."""

    differentiable = False
    vjp = Declined("a comparison is constant almost everywhere")

    def result_dtype(self, dtype: DType, **attrs: Any) -> DType:
        return bool_


def in_float32(function: Any, *arrays: Array, **kwargs: Any) -> Array:
    """Apply a NumPy function to float16/bfloat16 operands through float32, else directly.

    NumPy's own half loops round each intermediate; PyTorch computes halves in float32.
    """
    dtype = arrays[0].dtype
    if dtype.itemsize == 2 and dtype.kind not in "iub":
        result = function(*[a.astype(np.float32) for a in arrays], **kwargs)
        return np.asarray(result).astype(dtype)
    return np.asarray(function(*arrays, **kwargs))


def floats(low: float = -3.0, high: float = 3.0, count: int = 1, special: bool = True) -> Any:
    """Sample source for pointwise ops: ordinary, empty, 0-d, odd-sized, and NaN/Inf operands."""

    def make() -> Iterator[Sample]:
        rng = np.random.default_rng(7)
        for shape in [(3, 4), (), (0,), (2, 1, 5), (17,)]:
            yield Sample(tuple(rng.uniform(low, high, shape) for _ in range(count)))
        yield Sample(
            tuple(rng.uniform(low, high, (5,)).astype(np.float32) for _ in range(count)), grad=False
        )
        if special:
            row = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], np.float32)
            yield Sample(tuple(np.roll(row, i) for i in range(count)), grad=False)

    return make


def integers(low: int = -5, high: int = 6, count: int = 1, dtype: Any = np.int64) -> Any:
    """Sample source of integer operands."""

    def make() -> Iterator[Sample]:
        rng = np.random.default_rng(7)
        for shape in [(3, 4), (), (0, 2)]:
            yield Sample(
                tuple(rng.integers(low, high, shape).astype(dtype) for _ in range(count)),
                grad=False,
            )

    return make


def samples_of(*sources: Any) -> Any:
    """One sample source out of several."""

    def make() -> Iterator[Sample]:
        for source in sources:
            yield from source()

    return make


__all__ = ["Binary", "Comparison", "FloatUnary", "Pointwise", "Rank", "Unary", "batch_up",
           "expand_front", "floats", "in_float32", "integers", "samples_of", "signature",
           "split_all"]  # fmt: skip
