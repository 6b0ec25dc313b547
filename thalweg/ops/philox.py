"""Random bits from a counter: Philox-4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as
1, 2, 3", SC 2011), as the primitive `philox_bits` and the `Stream` that hands out counters.

Element i of a tensor (row-major in its global shape) is word ``i % 4`` of the block at counter
``key[1] + offset + i // 4`` under the 64-bit seed ``key[0]``. Bits therefore depend on nothing
but seed, counter and position: not on threads, and not on how a tensor is cut over ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import int64, uint32, uint64
from ..core.errors import ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Signature, Split
from ..ir.types import TensorType
from .contract import (
    Array,
    Attrs,
    Declined,
    Primitive,
    Rank,
    Sample,
    Types,
    all_broadcast,
    primitive,
)  # fmt: skip
from .families import expand_front
from .link import ops
from .pointwise import loops
from .positions import number, ravel

Shape = tuple[int, ...]
Window = tuple[Shape, Shape]  # where a part begins in the whole, and the shape of the whole

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, as in the paper
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_CHUNK = 1 << 14  # blocks at a time: their state stays in the cache


def philox_4x32(counter: Array, key: tuple[int, int], rounds: int = 10) -> Array:
    """Blocks of four 32-bit words for counters [4, n] of 32-bit words, all held in uint64."""
    x0, x1, x2, x3 = (row.astype(np.uint64) for row in counter)
    k0, k1 = key
    for _ in range(rounds):
        high_low = _MULTIPLIERS[0] * x0
        other = _MULTIPLIERS[1] * x2
        x0 = (other >> _HALF) ^ x1 ^ np.uint64(k0)
        x2 = (high_low >> _HALF) ^ x3 ^ np.uint64(k1)
        x1, x3 = other & _LOW, high_low & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF, (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3])


def _blocks(seed: int, first: int, count: int) -> Array:
    """``count`` consecutive blocks [count, 4] as uint32; counters wrap around at 2**64."""
    key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    result = np.empty((count, 4), np.uint32)
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        at = np.arange(start, stop, dtype=np.uint64) + np.uint64(first % (1 << 64))
        zero = np.zeros_like(at)
        result[start:stop] = philox_4x32(np.stack([at & _LOW, at >> _HALF, zero, zero]), key).T
    return result


def _lowered_rounds(block: Any, seed: Any) -> tuple[Any, Any, Any, Any]:
    """`philox_4x32` of one block in expressions; every word is held in uint64."""

    def number(value: int) -> Any:
        return loops.Const(int(value), uint64)

    low, half = number(int(_LOW)), number(32)
    x0, x1 = block & low, loops.Binary("shr", block, half)
    x2 = x3 = number(0)
    k0, k1 = seed & low, loops.Binary("shr", seed, half)
    for _ in range(10):
        high_low, other = x0 * number(int(_MULTIPLIERS[0])), x2 * number(int(_MULTIPLIERS[1]))
        x0 = loops.Binary("xor", loops.Binary("xor", loops.Binary("shr", other, half), x1), k0)
        x2 = loops.Binary("xor", loops.Binary("xor", loops.Binary("shr", high_low, half), x3), k1)
        x1, x3 = other & low, high_low & low
        k0, k1 = (k0 + number(_KEY_STEPS[0])) & low, (k1 + number(_KEY_STEPS[1])) & low
    return x0, x1, x2, x3


@primitive
class PhiloxBits(Primitive):
    """Uniform 32-bit words; the operand is (seed, counter) as int64[2]."""

    name = "philox_bits"
    differentiable = False
    random = True
    indexed = True
    index = Declined("a function of positions, not of an indexed operand")
    vjp = Declined("random bits depend on no differentiable operand")
    onnx = Declined("ONNX random operators do not promise any particular numbers")

    def infer(
        self, key: TensorType, shape: Shape, offset: int = 0, window: Window | None = None
    ) -> TensorType:
        if key.shape != (2,) or key.dtype is not int64:
            raise ShapeError(f"philox_bits: expected a key int64[2], got {key}")
        return TensorType(tuple(shape), uint32, key.device)

    def reference(
        self, key: Array, shape: Shape, offset: int = 0, window: Window | None = None
    ) -> Array:
        seed, counter = (int(n) % (1 << 64) for n in key)
        first = counter + offset
        count = int(np.prod(shape, dtype=np.int64))
        if window is None:
            return _blocks(seed, first, -(-count // 4)).reshape(-1)[:count].reshape(shape)
        if not count:
            return np.zeros(shape, np.uint32)
        starts, whole = window
        grid = np.indices(shape, sparse=True)
        at = np.zeros(shape, np.int64)
        for position, start, extent in zip(grid, starts, whole):
            at = at * extent + position + start
        low, high = int(at.min()) // 4, int(at.max()) // 4 + 1
        return _blocks(seed, first + low, high - low).reshape(-1)[at - 4 * low]

    def lower(self, node: Node, loads: Any, index: Any) -> Any:
        starts, whole = node.attrs.get("window") or ((0,) * len(index), node.attrs["shape"])
        flat = ravel([at + start for at, start in zip(index, starts)], whole)
        seed, first = (loops.Cast(loads[0]((number(k),)), uint64) for k in range(2))
        offset = loops.Const(node.attrs.get("offset", 0) % (1 << 64), uint64)
        # Shifts and masks, not // and %: those would ask lowering to cut its loops by four.
        block = first + offset + loops.Cast(loops.Binary("shr", flat, number(2)), uint64)
        words = _lowered_rounds(block, seed)
        word, found = flat & 3, words[3]
        for k in (2, 1, 0):
            found = loops.Select(loops.Binary("eq", word, number(k)), words[k], found)
        return loops.Cast(found, uint32)

    def samples(self) -> Iterator[Sample]:
        for shape, offset in [((5,), 0), ((3, 4), 2), ((), 7), ((0, 3), 0), ((2, 3, 5), 1 << 33)]:
            key = np.array([-81985529216486896, 5], np.int64)
            yield Sample((key,), {"shape": shape, "offset": offset}, grad=False)
        yield Sample(
            (np.zeros(3, np.int64),), {"shape": (2,)}, error=(ShapeError, "expected a key")
        )

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        from ..ir.sbp import B

        splits = [Signature((B,), (Split(d),)) for d in range(len(node.attrs["shape"]))]
        return [all_broadcast(node), *splits]

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        out = signature.outs[0]
        if not isinstance(out, Split):
            return attrs
        shape = attrs["shape"]
        starts, whole = attrs.get("window") or ((0,) * len(shape), shape)
        start, _ = rank.bounds(shape, out)
        moved = (*starts[: out.dim], starts[out.dim] + start, *starts[out.dim + 1 :])
        return {**attrs, "shape": rank.local_shape(shape, out), "window": (moved, whole)}

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        """Every example draws from its own key; one key for all gives all the same bits."""
        if not batched[0]:
            return (expand_front(node.out, size),)
        drawn = []
        for i in range(size):
            row = ops.slice(inputs[0], starts=(i, 0), stops=(i + 1, 2), steps=(1, 1))
            bits = self(ops.reshape(row, shape=(2,)), **node.attrs)
            drawn.append(ops.reshape(bits, shape=(1, *bits.shape)))
        if not drawn:
            return (ops.full(shape=(0, *node.out.shape), value=0, dtype=uint32),)
        return (ops.concat(*drawn, dim=0),)


class Stream:
    """Hands out random bits under one key, never the same twice.

    ``key`` is the int64[2] value (seed, counter), ``start`` the first block past that counter;
    ``used`` counts the blocks of four words handed out since, by which the owner advances.
    """

    __slots__ = ("key", "start", "used")

    def __init__(self, key: Value, start: int = 0) -> None:
        self.key = key
        self.start = start
        self.used = 0

    def bits(self, shape: Shape) -> Value:
        """Fresh uint32 words of the given shape."""
        offset = self.start + self.used
        result: Value = ops.philox_bits(self.key, shape=tuple(shape), offset=offset)
        self.used += -(-result.type.numel // 4)
        return result


__all__ = ["PhiloxBits", "Stream", "philox_4x32"]
