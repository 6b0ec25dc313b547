"""Contraction of two operands in index notation: matrix products of every layout, einsum pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.errors import DTypeError, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Broadcast, P, Partial, Sbp, Signature, Split
from ..ir.types import TensorType
from .arithmetic import conj
from .contract import Array, Grads, Primitive, Sample, Template, all_broadcast, primitive
from .families import in_float32
from .link import ops


def parse_spec(spec: str) -> tuple[str, str, str]:
    """``"mk,kn->mn"`` as its three letter strings."""
    operands, _, result = spec.partition("->")
    left, _, right = operands.partition(",")
    return left, right, result


@primitive
class Dot(Primitive):
    """Sum of products over the letters that are missing from the result.

    ``spec`` such as "bmk,bkn->bmn": every letter occurs at most once per operand; a letter of
    only one operand stands in the result; one of both stands there (batch) or is summed over.
    """

    name = "dot"
    heavy = True
    inputs = 2
    index = "...mk,...kn -> ...mn (any order, given by spec)"
    onnx = "Einsum"
    lower: Any = Template("gemm")

    def infer(self, x: TensorType, y: TensorType, spec: str) -> TensorType:
        left, right, result = parse_spec(spec)
        if len(left) != x.ndim or len(right) != y.ndim:
            raise ShapeError(
                f"dot: {spec} does not fit operands of shapes {list(x.shape)} and {list(y.shape)}"
            )
        if x.dtype is not y.dtype:
            raise DTypeError(
                f"expected m1 and m2 to have the same dtype, but got: {x.dtype} != {y.dtype}"
            )
        size: dict[str, int] = {}
        for letter, extent in [*zip(left, x.shape), *zip(right, y.shape)]:
            if size.setdefault(letter, extent) != extent:
                raise ShapeError(
                    f"dot: {spec} contracts shapes {list(x.shape)} and {list(y.shape)}: "
                    f"'{letter}' is {size[letter]} in one and {extent} in the other"
                )
        alone = set(left) ^ set(right)
        if not alone <= set(result) <= set(left + right) or len(set(result)) != len(result):
            raise ShapeError(f"dot: not a contraction of two operands: {spec}")
        return x.with_shape(tuple(size[letter] for letter in result))

    def reference(self, x: Array, y: Array, spec: str) -> Array:
        left, right, result = parse_spec(spec)
        batch = [c for c in left if c in right and c in result]
        inner = [c for c in left if c in right and c not in result]
        rows = [c for c in left if c not in right]
        cols = [c for c in right if c not in left]
        size = dict(zip(left + right, x.shape + y.shape))

        def extents(letters: list[str]) -> list[int]:
            return [size[c] for c in letters]

        def flat(array: Array, letters: str, first: list[str], second: list[str]) -> Array:
            order = [letters.index(c) for c in batch + first + second]
            shape = [*extents(batch), *(int(np.prod(extents(s))) for s in (first, second))]
            return array.transpose(order).reshape(shape)

        product = in_float32(np.matmul, flat(x, left, rows, inner), flat(y, right, inner, cols))
        product = product.reshape(extents(batch + rows + cols))
        return product.transpose([(batch + rows + cols).index(c) for c in result])

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(11)
        for a, b, spec in [
            ((3, 4), (4, 5), "mk,kn->mn"), ((3, 4), (5, 4), "mk,nk->mn"),
            ((2, 3, 4), (2, 4, 3), "bmk,bkn->bmn"), ((4,), (4,), "k,k->"),
            ((3,), (2,), "m,n->nm"), ((0, 2), (2, 3), "mk,kn->mn"), ((3, 0), (0, 2), "mk,kn->mn"),
            ((2, 3, 2, 4), (2, 5, 2, 4), "bqhd,bkhd->bhqk"), ((3, 4), (3, 4), "ij,ij->ij"),
            ((3, 4), (4, 3), "ij,ji->"),
        ]:  # fmt: skip
            yield Sample((rng.normal(size=a), rng.normal(size=b)), {"spec": spec})
        x, y = rng.normal(size=(3, 4)), rng.normal(size=(5, 2))
        for other, spec, fragment in [
            (y, "mk,kn->mn", "'k' is 4 in one and 5 in the other"),
            (y, "mk,k->m", "does not fit operands"),
            (y, "mk,ln->mn", "not a contraction of two operands"),
        ]:
            yield Sample((x, other), {"spec": spec}, error=(ShapeError, fragment))
        wrong = (DTypeError, "to have the same dtype")
        yield Sample((x, x.astype(np.float32)), {"spec": "mk,nk->mn"}, error=wrong)

    def vjp(self, node: Node, g: Value) -> Grads:
        left, right, result = parse_spec(node.attrs["spec"])
        x, y = node.inputs
        return (
            ops.dot(g, conj(y), spec=f"{result},{right}->{left}"),
            ops.dot(conj(x), g, spec=f"{left},{result}->{right}"),
        )

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        left, right, result = parse_spec(node.attrs["spec"])

        def of(letters: str, letter: str) -> Sbp:
            return Split(letters.index(letter)) if letter in letters else Broadcast()

        found = [all_broadcast(node), Signature((P, Broadcast()), (P,))]
        found.append(Signature((Broadcast(), P), (P,)))
        if set(left + right) == set(result):
            found.append(Signature((Partial("prod"), Partial("prod")), (Partial("prod"),)))
        for letter in dict.fromkeys(left + right):
            out = Split(result.index(letter)) if letter in result else P
            found.append(Signature((of(left, letter), of(right, letter)), (out,)))
        return found

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        left, right, result = parse_spec(node.attrs["spec"])
        fresh = next(c for c in "abcdefghijklmnopqrstuvwxyz" if c not in left + right)
        a, b = (fresh if is_batched else "" for is_batched in batched)
        return (self(*inputs, spec=f"{a}{left},{b}{right}->{fresh}{result}"),)
