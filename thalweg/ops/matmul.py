"""Matrix products of every layout, all written as one `dot` with the index notation they mean.

Leading dimensions become letters of the contraction instead of reshapes and expansions, so a
split of the batch or of a sequence stays visible to sharding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..core.dtypes import bool_
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..ir.node import Value
from .arithmetic import Scalar, broadcast_shapes, broadcast_to
from .dims import distinct_dims
from .function import Call, function
from .link import ops
from .named import public

LETTERS = "abcdefghijlopqrstuvwxyzABCDEFGHIJLOPQRSTUVWXYZ"  # without k, m, n (and K, M, N)


def _show(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _need_ndim(op: str, argument: str, value: Value, ndim: int) -> None:
    if value.ndim != ndim:
        raise ShapeError(
            f"{op}: expected {argument} to be a {ndim}-D tensor, got {value.ndim}-D of shape "
            f"{list(value.shape)}"
        )


def contract(x: Value, y: Value, spec: str, op: str = "addmm_impl") -> Value:
    """`dot` with the complaint about bools that PyTorch has."""
    if x.dtype.category == "bool" and y.dtype is x.dtype:
        raise DTypeError(f"\"{op}\" not implemented for 'Bool': cast to an integer dtype first")
    return ops.dot(x, y, spec=spec)  # type: ignore[no-any-return]


def cannot_multiply(x: Sequence[int], y: Sequence[int]) -> ShapeError:
    return ShapeError(f"mat1 and mat2 shapes cannot be multiplied ({_show(x)} and {_show(y)})")


def _matrices(*cases: tuple[tuple[int, ...], tuple[int, ...]]) -> list[Call]:
    rng = np.random.default_rng(3)
    return [Call((rng.normal(size=a), rng.normal(size=b))) for a, b in cases]


def _matmul_calls() -> Iterator[Call]:
    yield from _matrices(
        ((3, 4), (4, 5)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 2)), ((2, 3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3)), ((3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)), ((1, 3, 4), (6, 4, 2)), ((0, 4), (4, 3)), ((3, 0), (0, 2)),
        ((1, 3, 4), (1, 4, 2)), ((1, 1), (1, 1)),
    )  # fmt: skip
    rng = np.random.default_rng(4)
    yield Call((rng.normal(size=(2, 3)).astype(np.float32), np.eye(3, dtype=np.float32)))
    yield Call((rng.integers(-9, 9, (3, 4)), rng.integers(-9, 9, (4, 2))), grad=False)
    for a, b, message in [
        ((2, 3), (4, 5), r"mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        ((2, 3, 4), (3, 4, 5), "must match the size of tensor b (3) at non-singleton dimension 0"),
        ((3, 4), (5,), "size mismatch, got input (3), mat (3x4), vec (5)"),
        ((2, 3, 4), (2, 5, 6), "Expected size for first two dimensions of batch2 tensor"),
        ((3,), (4,), "inconsistent tensor size"),
        ((), (4,), "both arguments to matmul need to be at least 1D"),
    ]:
        yield Call((np.ones(a), np.ones(b)), error=(RuntimeError, message))
    yield Call((np.ones((2, 3)), np.ones((3, 2), np.float32)), error=(RuntimeError, "same dtype"))


def _check_inner(x: Value, y: Value) -> None:
    """The error that PyTorch gives for operands of matmul whose summed extents differ."""
    a, b = x.shape, y.shape
    if x.ndim == 0 or y.ndim == 0:
        raise ShapeError(
            f"both arguments to matmul need to be at least 1D, but they are {x.ndim}D and {y.ndim}D"
        )
    if a[-1] == b[-2 if y.ndim > 1 else 0]:
        return
    if x.ndim == 1 and y.ndim == 1:
        raise ShapeError(
            f"inconsistent tensor size, expected tensor [{a[0]}] and src [{b[0]}] to have the "
            f"same number of elements, but got {a[0]} and {b[0]} elements respectively"
        )
    if y.ndim == 1:
        rows = int(np.prod(a[:-1]))
        raise ShapeError(f"size mismatch, got input ({rows}), mat ({rows}x{a[-1]}), vec ({b[0]})")
    if y.ndim == 2:
        raise cannot_multiply((int(np.prod(a[:-1])), a[-1]), b)
    batch = int(np.prod(broadcast_shapes(a[:-2], b[:-2], op="matmul")))
    raise ShapeError(
        f"Expected size for first two dimensions of batch2 tensor to be: [{batch}, {a[-1]}] but "
        f"got: [{batch}, {b[-2]}]."
    )


@function(
    "matmul", method=True, operators=("__matmul__", "__rmatmul__"), aliases=("linalg.matmul",),
    calls=_matmul_calls,
)  # fmt: skip
def matmul(input: Value, other: Value) -> Value:
    """Matrix product over the last two dimensions; leading ones broadcast.

    A 1-D operand is a row on the left, a column on the right, and its dimension vanishes from the
    result. The operands must have one dtype. RuntimeError if the summed extents differ.
    """
    if not isinstance(input, Value) or not isinstance(other, Value):
        raise ArgumentError(
            f"matmul(): expected two Tensors, got {type(input).__name__} and {type(other).__name__}"
        )
    _check_inner(input, other)
    rows = "m" if input.ndim > 1 else ""
    cols = "n" if other.ndim > 1 else ""
    a, b = input.shape[: -2 if rows else -1], other.shape[: -2 if cols else -1]
    batch = broadcast_shapes(a, b, op="matmul")
    names = LETTERS[: len(batch)]
    left, input = _batch_letters(input, a, batch, names)
    right, other = _batch_letters(other, b, batch, names)
    return contract(input, other, f"{left}{rows}k,{right}k{cols}->{names}{rows}{cols}")


def _batch_letters(
    value: Value, own: tuple[int, ...], batch: tuple[int, ...], names: str
) -> tuple[str, Value]:
    """Letters of an operand's batch dimensions; one of extent 1 that the other operand brings
    along at full extent is dropped instead of repeated."""
    lead = len(batch) - len(own)
    kept = [i for i, n in enumerate(own) if n != 1 or batch[lead + i] == 1]
    if len(kept) < len(own):
        shape = (*(own[i] for i in kept), *value.shape[len(own) :])
        value = ops.reshape(value, shape=shape)
    return "".join(names[lead + i] for i in kept), value


def _two(op: str, x: Value, y: Value, ndim_x: int, ndim_y: int) -> None:
    names = ("self", "mat2") if op in ("mm", "bmm") else ("input", "vec")
    _need_ndim(op, names[0], x, ndim_x)
    _need_ndim(op, names[1], y, ndim_y)


def _mm_calls() -> Iterator[Call]:
    yield from _matrices(((3, 4), (4, 5)), ((0, 2), (2, 3)), ((2, 0), (0, 3)))
    yield Call((np.ones((2, 3)), np.ones((4, 5))), error=(RuntimeError, "cannot be multiplied"))
    yield Call((np.ones((2, 3, 1)), np.ones((4, 5))), error=(RuntimeError, "2-D tensor"))


@function("mm", method=True, calls=_mm_calls)
def mm(input: Value, mat2: Value) -> Value:
    """Product of two matrices, (m, k) x (k, n) -> (m, n). No broadcasting."""
    _two("mm", input, mat2, 2, 2)
    if input.shape[1] != mat2.shape[0]:
        raise cannot_multiply(input.shape, mat2.shape)
    return contract(input, mat2, "mk,kn->mn")


def _bmm_calls() -> Iterator[Call]:
    yield from _matrices(((2, 3, 4), (2, 4, 5)), ((0, 3, 4), (0, 4, 5)))
    yield Call(
        (np.ones((2, 3, 4)), np.ones((3, 4, 5))),
        error=(RuntimeError, "Expected size for first two dimensions of batch2 tensor to be"),
    )


@function("bmm", method=True, calls=_bmm_calls)
def bmm(input: Value, mat2: Value) -> Value:
    """Products of pairs of matrices, (b, m, k) x (b, k, n) -> (b, m, n). No broadcasting."""
    _two("bmm", input, mat2, 3, 3)
    _check_batches(input, mat2)
    return contract(input, mat2, "bmk,bkn->bmn")


def _check_batches(x: Value, y: Value) -> None:
    if (x.shape[0], x.shape[2]) != y.shape[:2]:
        raise ShapeError(
            f"Expected size for first two dimensions of batch2 tensor to be: "
            f"[{x.shape[0]}, {x.shape[2]}] but got: [{y.shape[0]}, {y.shape[1]}]."
        )


def _mv_calls() -> Iterator[Call]:
    yield from _matrices(((3, 4), (4,)), ((0, 2), (2,)))
    yield Call((np.ones((2, 3)), np.ones(4)), error=(RuntimeError, "size mismatch"))


@function("mv", method=True, calls=_mv_calls)
def mv(input: Value, vec: Value) -> Value:
    """Matrix times vector, (m, k) x (k) -> (m)."""
    _two("mv", input, vec, 2, 1)
    _check_inner(input, vec)
    return contract(input, vec, "mk,k->m", "mv")


def _dot_calls() -> Iterator[Call]:
    yield from _matrices(((4,), (4,)), ((0,), (0,)))
    yield Call((np.arange(3), np.arange(3)), grad=False)
    yield Call((np.ones(2), np.ones(3)), error=(RuntimeError, "inconsistent tensor size"))
    yield Call((np.ones((2, 2)), np.ones(2)), error=(RuntimeError, "1D tensors expected"))


@function("dot", method=True, calls=_dot_calls)
def dot(input: Value, tensor: Value) -> Value:
    """Sum of products of two vectors of one length: a 0-d tensor."""
    if input.ndim != 1 or tensor.ndim != 1:
        raise ShapeError(f"1D tensors expected, but got {input.ndim}D and {tensor.ndim}D tensors")
    _check_inner(input, tensor)
    return contract(input, tensor, "k,k->", "dot")


@function("vdot", method=True, calls=_dot_calls)
def vdot(input: Value, other: Value) -> Value:
    """`dot` with the first vector conjugated."""
    return dot(public.conj(input) if input.dtype.is_complex else input, other)  # type: ignore[no-any-return]


def _inner_calls() -> Iterator[Call]:
    yield from _matrices(((4,), (4,)), ((2, 3), (4, 3)), ((2, 5, 3), (3,)), ((), (2, 2)))
    yield Call((np.ones((2, 3)), np.ones((2, 4))), error=(RuntimeError, "same size"))


@function("inner", method=True, calls=_inner_calls)
def inner(input: Value, other: Value) -> Value:
    """Sum of products over the last dimensions: shape is the other dimensions of both."""
    if not input.ndim or not other.ndim:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise ShapeError(
            f"inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}: expected the same size"
        )
    return tensordot(input, other, ([-1], [-1]))  # type: ignore[no-any-return]


def _outer_calls() -> Iterator[Call]:
    yield from _matrices(((3,), (4,)), ((0,), (4,)))
    yield Call((np.arange(3), np.arange(2)), grad=False)
    yield Call((np.ones((2, 2)), np.ones(2)), error=(RuntimeError, "1-D tensor"))


@function("outer", method=True, aliases=("ger",), calls=_outer_calls)
def outer(input: Value, vec2: Value) -> Value:
    """All products of two vectors, (m), (n) -> (m, n), in the promoted dtype."""
    _need_ndim("outer", "self", input, 1)
    _need_ndim("outer", "vec2", vec2, 1)
    return ops.reshape(input, shape=(input.shape[0], 1)) * vec2  # type: ignore[no-any-return]


def _whole_number(op: str, n: Scalar) -> Scalar:
    """A factor of integer tensors: cut to its whole part, or for addr refused (as in PyTorch)."""
    if op == "addr" and isinstance(n, float):
        raise DTypeError(
            f"{op}(): For integral input tensors, argument beta and alpha must not be floating "
            f"point numbers, got {n}"
        )
    return int(n.real)


def blend(op: str, input: Value, product: Value, beta: Scalar, alpha: Scalar) -> Value:
    """``beta * input + alpha * product``, where beta 0 ignores even a NaN of ``input``."""
    if product.dtype.category in ("bool", "int"):
        alpha, beta = (_whole_number(op, n) for n in (alpha, beta))
    if input.dtype is not product.dtype:
        raise DTypeError(
            f"{op}: self and mat2 must have the same dtype, but got {input.dtype} and "
            f"{product.dtype}"
        )
    if broadcast_shapes(input.shape, product.shape, op=op) != product.shape:
        raise ShapeError(
            f"{op}: input of shape {list(input.shape)} cannot be expanded to the product's shape "
            f"{list(product.shape)}"
        )
    if product.dtype is bool_:
        alpha, beta = bool(alpha), bool(beta)
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        return product
    input = broadcast_to(input, product.shape)
    return product + (input if beta == 1 else input * beta)


_RESULTS = {"addmm": (3, 5), "addmv": (3,), "addr": (3, 4), "baddbmm": (2, 3, 5), "addbmm": (3, 5)}


def _with_input(op: str, *shapes: tuple[int, ...]) -> Any:
    """Calls of the add- family: a full and a broadcast input, scaled, integer, wrong."""

    def make() -> Iterator[Call]:
        rng = np.random.default_rng(9)
        out = _RESULTS[op]
        operands = [rng.normal(size=s) for s in shapes]
        yield Call((rng.normal(size=out), *operands))
        yield Call((rng.normal(size=out[-1:]), *operands), {"beta": 0.5, "alpha": -2.0})
        yield Call((np.full(out, np.nan), *operands), {"beta": 0}, grad=False)
        yield Call(tuple(np.ones(s, np.int64) for s in (out, *shapes)), {"alpha": 2}, grad=False)
        yield Call((np.ones((7, 9)), *operands), error=(RuntimeError, ""))

    return make


@function("addmm", method=True, inplace=True, calls=_with_input("addmm", (3, 4), (4, 5)))
def addmm(input: Value, mat1: Value, mat2: Value, *, beta: Scalar = 1, alpha: Scalar = 1) -> Value:
    """``beta * input + alpha * (mat1 @ mat2)``; ``input`` broadcasts to (m, n)."""
    return blend("addmm", input, mm(mat1, mat2), beta, alpha)


@function("addmv", method=True, inplace=True, calls=_with_input("addmv", (3, 4), (4,)))
def addmv(input: Value, mat: Value, vec: Value, *, beta: Scalar = 1, alpha: Scalar = 1) -> Value:
    """``beta * input + alpha * (mat @ vec)``; ``input`` broadcasts to (m)."""
    return blend("addmv", input, mv(mat, vec), beta, alpha)


@function("addr", method=True, inplace=True, calls=_with_input("addr", (3,), (4,)))
def addr(input: Value, vec1: Value, vec2: Value, *, beta: Scalar = 1, alpha: Scalar = 1) -> Value:
    """``beta * input + alpha * outer(vec1, vec2)``; ``input`` broadcasts to (m, n)."""
    return blend("addr", input, outer(vec1, vec2), beta, alpha)


@function("baddbmm", method=True, inplace=True, calls=_with_input("baddbmm", (2, 3, 4), (2, 4, 5)))
def baddbmm(
    input: Value, batch1: Value, batch2: Value, *, beta: Scalar = 1, alpha: Scalar = 1
) -> Value:
    """``beta * input + alpha * bmm(batch1, batch2)``; ``input`` broadcasts to (b, m, n)."""
    return blend("baddbmm", input, bmm(batch1, batch2), beta, alpha)


@function("addbmm", method=True, inplace=True, calls=_with_input("addbmm", (2, 3, 4), (2, 4, 5)))
def addbmm(
    input: Value, batch1: Value, batch2: Value, *, beta: Scalar = 1, alpha: Scalar = 1
) -> Value:
    """``beta * input + alpha * sum over b of (batch1[b] @ batch2[b])``: (m, n)."""
    _two("bmm", batch1, batch2, 3, 3)
    _check_batches(batch1, batch2)
    return blend("addbmm", input, contract(batch1, batch2, "bmk,bkn->mn"), beta, alpha)


def _tensordot_calls() -> Iterator[Call]:
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(2, 3, 4)), rng.normal(size=(3, 4, 5))
    yield Call((x, y))
    yield Call((x, y), {"dims": 2})
    yield Call((x, y), {"dims": ([1, 2], [0, 1])})
    yield Call((x, y), {"dims": ([-1], [1])})
    yield Call((x, y), {"dims": 0})
    yield Call((x, y), {"dims": 1}, error=(RuntimeError, "contracted dimensions need to match"))


@function("tensordot", calls=_tensordot_calls)
def tensordot(a: Value, b: Value, dims: Any = 2) -> Value:
    """Sum of products over pairs of dimensions: the last ``dims`` of ``a`` with the first of
    ``b``, or the two lists of dimensions given. The other dimensions of ``a``, then of ``b``."""
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise ShapeError(f"tensordot expects dims >= 0 and within both shapes, got dims={dims}")
        left: Sequence[int] = range(a.ndim - dims, a.ndim)
        right: Sequence[int] = range(dims)
    else:
        left, right = (distinct_dims(d, v.ndim) if d else () for d, v in zip(dims, (a, b)))
    if len(left) != len(right):
        raise ShapeError(
            f"both dimension lists should have same length, got {list(left)} and {list(right)}"
        )
    for i, j in zip(left, right):
        if 1 in (a.shape[i], b.shape[j]):  # an extent of 1 goes with any other: the rest is summed
            a, b = (public.sum(v, d, True) if v.shape[d] != 1 else v for v, d in ((a, i), (b, j)))
        if a.shape[i] != b.shape[j]:
            raise ShapeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} "
                f"and second has size {b.shape[j]} in dim {j}"
            )
    names = iter(LETTERS)
    letters_a = [next(names) for _ in range(a.ndim)]
    letters_b = [next(names) for _ in range(b.ndim)]
    for i, j in zip(left, right):
        letters_b[j] = letters_a[i]
    result = [c for c in letters_a if c not in letters_b]
    result += [c for c in letters_b if c not in letters_a]
    return contract(a, b, f"{''.join(letters_a)},{''.join(letters_b)}->{''.join(result)}")


def _chain(op: str, tensors: Sequence[Value]) -> Value:
    """The product in the order of fewest multiplications (dynamic programming over spans)."""
    count = len(tensors)
    if count < (2 if op == "multi_dot" else 1):
        raise ShapeError(f"{op}(): expected at least 2 tensors but got {count}")
    for left, right in pairwise(tensors):
        if left.shape[-1] != right.shape[0]:
            raise ShapeError(
                f"{op}: expected inner dimensions to match; "
                + str(cannot_multiply(left.shape, right.shape))
            )
    extent = [1 if tensors[0].ndim == 1 else tensors[0].shape[0]]
    extent += [1 if t.ndim == 1 and i else t.shape[-1] for i, t in enumerate(tensors)]
    cost = {(i, i): 0 for i in range(count)}
    cut: dict[tuple[int, int], int] = {}
    for span in range(1, count):
        for i in range(count - span):
            j = i + span
            choices = [
                (cost[i, c] + cost[c + 1, j] + extent[i] * extent[c + 1] * extent[j + 1], c)
                for c in range(i, j)
            ]
            cost[i, j], cut[i, j] = min(choices)

    def product(i: int, j: int) -> Value:
        if i == j:
            return tensors[i]
        return matmul(product(i, cut[i, j]), product(cut[i, j] + 1, j))  # type: ignore[no-any-return]

    return product(0, count - 1)


def _chain_calls() -> Iterator[Call]:
    rng = np.random.default_rng(9)
    yield Call(tuple(rng.normal(size=s) for s in [(3, 4), (4, 2), (2, 5)]))
    yield Call((rng.normal(size=(3, 4)), rng.normal(size=(4, 2))))
    yield Call((np.ones((3, 4)), np.ones((3, 4))), error=(RuntimeError, "cannot be multiplied"))


@function("chain_matmul", calls=_chain_calls)
def chain_matmul(*matrices: Value) -> Value:
    """Product of matrices in the cheapest order."""
    for matrix in matrices:
        _need_ndim("chain_matmul", "each tensor", matrix, 2)
    return _chain("chain_matmul", matrices)


def _multi_dot_calls() -> Iterator[Call]:
    rng = np.random.default_rng(9)
    yield Call(([rng.normal(size=s) for s in [(3, 4), (4, 2), (2, 5), (5, 2)]],))
    yield Call(([rng.normal(size=s) for s in [(4,), (4, 2), (2,)]],))
    yield Call(([np.ones((3, 4))],), error=(RuntimeError, "expected at least 2 tensors"))


@function("linalg.multi_dot", calls=_multi_dot_calls)
def multi_dot(tensors: Sequence[Value]) -> Value:
    """Product of matrices in the cheapest order; the first and the last may be vectors."""
    return _chain("multi_dot", tuple(tensors))
