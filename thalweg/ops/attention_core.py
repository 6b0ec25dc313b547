"""Attention as primitives: the forward pass, and the gradient that computes its weights again.

Letters: b batch, h heads, l queries, e their width; g heads of keys and values, which divide h,
s keys, w the width of the values. Neither primitive keeps scores; what connects them is the
logarithm of each query's sum of exponentials. Second derivatives are those of the plain formulas
of the gradient, in `dot`s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import bool_, float32, float64, int64
from ..core.errors import DTypeError, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Broadcast, P, Sbp, Signature, Split
from ..ir.types import TensorType
from .arithmetic import cast, constant
from .contract import Array, Declined, Grads, Primitive, Sample, Template, all_broadcast, primitive
from .control import HOOKS
from .families import batch_up
from .link import ops
from .reduce import spread

B = Broadcast()


class AttentionOp(Primitive):
    """Base: operands q [b, h, l, e], k [b, g, s, e], v [b, g, s, w], then perhaps a mask
    [b, h, l, s] (bool: true is seen, or numbers to add), then those of the subclass."""

    inputs = None
    heavy = True
    index: ClassVar[Any] = Declined("a softmax between two contractions")
    onnx: Any = Declined("exported through the composite that it is part of")
    sbp_incomplete = Declined("only splits that need no communication within a head are listed")
    further: ClassVar[int]  # operands behind the mask

    def mask_of(self, operands: tuple[Any, ...]) -> Any:
        return operands[3] if len(operands) > 3 + self.further else None

    def check(self, operands: tuple[TensorType, ...]) -> None:
        q, k, v = operands[:3]
        shapes = ", ".join(str(list(t.shape)) for t in operands[:3])
        fits = (
            min(q.ndim, k.ndim, v.ndim) == 4 == max(q.ndim, k.ndim, v.ndim)
            and q.shape[0] == k.shape[0] == v.shape[0]
            and k.shape[1:3] == v.shape[1:3]
            and q.shape[3] == k.shape[3]
            and k.shape[1] > 0
            and q.shape[1] % k.shape[1] == 0
        )
        if not fits:
            raise ShapeError(
                f"{self.name}: expected q [b, h, l, e], k [b, g, s, e] and v [b, g, s, w], g a "
                f"divisor of h, got {shapes}"
            )
        if not q.dtype is k.dtype is v.dtype or q.dtype not in (float32, float64):
            raise DTypeError(
                f"{self.name}: expected q, k and v of dtype float32 or float64, got {q.dtype}, "
                f"{k.dtype} and {v.dtype}"
            )
        mask = self.mask_of(operands)
        scores = (*q.shape[:3], k.shape[2])
        if mask is not None and (mask.shape != scores or mask.dtype not in (bool_, q.dtype)):
            raise ShapeError(
                f"{self.name}: expected a mask of shape {list(scores)} of dtype bool or {q.dtype}, "
                f"got {mask}"
            )

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        merged = []
        for x in batch_up(inputs, batched, size):
            merged.append(ops.reshape(x, shape=(x.shape[0] * x.shape[1], *x.shape[2:])))
        results = self(*merged, **node.attrs)
        return tuple(
            ops.reshape(x, shape=(size, x.shape[0] // size, *x.shape[1:])) for x in results
        )

    def signatures(self, node: Node, *rules: tuple[dict[str, Sbp], tuple[Sbp, ...]]) -> Any:
        """One signature per rule: what it says of operands by name (Broadcast where nothing), and
        the results."""
        names = ["q", "k", "v"]
        names += ["mask"] if self.mask_of(node.inputs) is not None else []
        names += ["lse", "delta", "g"][: self.further]
        found = [all_broadcast(node)]
        for ins, outs in rules:
            found.append(Signature(tuple(ins.get(n, B) for n in names), outs))
        return found

    def split_heads(self, node: Node, dim: int) -> bool:
        """Whether a split of ``dim`` leaves every head with its keys."""
        q, k = node.inputs[:2]
        return dim == 0 or q.shape[1] == k.shape[1]


def _scores(q: Array, k: Array, mask: Array | None, scale: float, causal: bool) -> Array:
    """[b, h, l, s]; hidden ones are -inf."""
    k = np.repeat(k, q.shape[1] // k.shape[1], axis=1)
    scores = np.asarray(np.einsum("bhle,bhse->bhls", q, k) * q.dtype.type(scale))
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if causal:
        seen = np.arange(scores.shape[3]) <= np.arange(scores.shape[2])[:, None]
        scores = np.where(seen, scores, -np.inf)
    return scores.astype(q.dtype, copy=False)


def _samples(further: bool) -> Iterator[tuple[list[Array], dict[str, Any], str]]:
    rng = np.random.default_rng(14)
    for b, h, g, queries, keys, e, w, causal, mask in [
        (2, 2, 2, 3, 4, 3, 2, False, ""), (1, 4, 2, 4, 3, 2, 3, True, ""),
        (1, 2, 1, 3, 5, 2, 2, False, "bool"), (2, 1, 1, 3, 3, 2, 2, True, "added"),
        (1, 1, 1, 2, 3, 1, 1, False, "blind"), (1, 1, 1, 20, 40, 5, 3, True, ""),
    ]:  # fmt: skip
        shapes = [(b, h, queries, e), (b, g, keys, e), (b, g, keys, w)]
        arrays: list[Array] = [rng.normal(size=s) for s in shapes]
        if mask == "added":
            arrays.append(rng.normal(size=(b, h, queries, keys)))
        elif mask:
            seen = rng.random((b, h, queries, keys)) < 0.7
            seen[..., 0] = mask == "bool" or seen[..., 0]
            if mask == "blind":
                seen[:, :, 0] = False
            arrays.append(seen)
        if further:
            arrays += [rng.normal(size=(b, h, queries)) + 1.0 for _ in range(2)]
            arrays.append(rng.normal(size=(b, h, queries, w)))
        yield arrays, {"scale": 0.6, "causal": causal}, mask


@primitive
class Attention(AttentionOp):
    """(softmax(q kᵀ scale + mask) v, logarithms of the softmax's sums), queries that see no key
    giving 0 and -inf; ``causal`` hides keys after the query's number."""

    name = "attention"
    outputs = 2
    further = 0
    differentiable: ClassVar[Any] = (True, True)
    lower: Any = Template("attention")

    def infer(self, *operands: TensorType, scale: float, causal: bool) -> Any:
        self.check(operands)
        q, v = operands[0], operands[2]
        return q.with_shape((*q.shape[:3], v.shape[3])), q.with_shape(q.shape[:3])

    def reference(self, *operands: Array, scale: float, causal: bool) -> tuple[Array, Array]:
        q, k, v = operands[:3]
        scores = _scores(q, k, self.mask_of(operands), scale, causal)
        peak = scores.max(axis=3, keepdims=True, initial=-np.inf)
        peak = np.where(np.isneginf(peak), 0, peak).astype(q.dtype)
        weights = np.exp(scores - peak)
        total = weights.sum(axis=3, keepdims=True)
        weights = np.where(total == 0, 0, weights / np.where(total == 0, 1, total))
        with np.errstate(divide="ignore"):
            sums = np.log(total) + peak
        v = np.repeat(v, q.shape[1] // v.shape[1], axis=1)
        return np.einsum("bhls,bhsw->bhlw", weights.astype(q.dtype), v), sums[..., 0]

    def samples(self) -> Iterator[Sample]:
        for arrays, attrs, mask in _samples(False):
            # Of a query that sees nothing, the logarithm has no central difference.
            yield Sample(tuple(arrays), attrs, grad=mask != "blind" and arrays[0].size < 50)
        q = np.zeros((1, 2, 3, 4))
        attrs = {"scale": 1.0, "causal": False}
        wrong = (ShapeError, "a divisor of h")
        yield Sample((q, np.zeros((1, 3, 3, 4)), np.zeros((1, 3, 3, 4))), attrs, error=wrong)
        small = np.zeros((1, 2, 3, 2), bool)
        yield Sample((q, q, q, small), attrs, error=(ShapeError, "expected a mask of shape"))
        half = q.astype(np.float16)
        yield Sample((half, half, half), attrs, error=(DTypeError, "float32 or float64"))

    def vjp(self, node: Node, g: Any) -> Grads:
        out, lse = node.outputs
        given, of_lse = g
        if given is None:
            given = constant(0, out.dtype, out.shape)
        delta = ops.reduce_sum(given * out, dims=(3,))
        if of_lse is not None:
            delta = delta - of_lse
        dq, dk, dv = ops.attention_grad(*node.inputs, lse, delta, given, **node.attrs)
        mask = self.mask_of(node.inputs)
        if mask is None:
            return dq, dk, dv
        if mask.dtype is bool_:
            return dq, dk, dv, None
        q, k, v = node.inputs[:3]
        parts = _Parts(q, k, v, mask, lse, delta, given, **node.attrs)
        return dq, dk, dv, ops.reshape(parts.ds, shape=mask.shape)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        rules: list[tuple[dict[str, Sbp], tuple[Sbp, ...]]] = []
        for dim in (0, 1):
            if self.split_heads(node, dim):
                split = Split(dim)
                rules.append((dict.fromkeys(("q", "k", "v", "mask"), split), (split, split)))
        if not node.attrs["causal"]:
            rules.append(({"q": Split(2), "mask": Split(2)}, (Split(2), Split(2))))
        rules.append(({"v": Split(3)}, (Split(3), B)))
        rules.append(({"v": P}, (P, B)))
        return self.signatures(node, *rules)  # type: ignore[no-any-return]


@primitive
class AttentionGrad(AttentionOp):
    """(dq, dk, dv) of `attention`: with weights p = exp(scores - lse), operands ``lse``, ``delta``
    [b, h, l] and ``g`` [b, h, l, w], dv = pᵀ g and ds = p (g vᵀ - delta), the scores' gradient."""

    name = "attention_grad"
    outputs = 3
    further = 3
    differentiable: ClassVar[Any] = (True, True, True)
    lower: Any = Template("attention_grad")

    def infer(self, *operands: TensorType, scale: float, causal: bool) -> Any:
        self.check(operands)
        q, k, v = operands[:3]
        rows, wanted = q.shape[:3], (*q.shape[:3], v.shape[3])
        lse, delta, g = operands[-3:]
        if lse.shape != rows or delta.shape != rows or g.shape != wanted:
            raise ShapeError(
                f"attention_grad: expected lse and delta {list(rows)} and g {list(wanted)}, got "
                f"{list(lse.shape)}, {list(delta.shape)} and {list(g.shape)}"
            )
        if any(t.dtype is not q.dtype for t in (lse, delta, g)):
            raise DTypeError(f"attention_grad: expected all operands of dtype {q.dtype}")
        return q, k, v

    def reference(self, *operands: Array, scale: float, causal: bool) -> tuple[Array, ...]:
        q, k, v = operands[:3]
        lse, delta, g = operands[-3:]
        heads, groups = q.shape[1], k.shape[1]
        wide = [np.repeat(x, heads // groups, axis=1) for x in (k, v)]
        shift = np.where(np.isneginf(lse), 0, lse)[..., None]
        p = np.exp(_scores(q, k, self.mask_of(operands), scale, causal) - shift)
        ds = p * (np.einsum("bhlw,bhsw->bhls", g, wide[1]) - delta[..., None])
        ds_scaled = ds * q.dtype.type(scale)
        dk = np.einsum("bhls,bhle->bhse", ds_scaled, q)
        dv = np.einsum("bhls,bhlw->bhsw", p, g)

        def of_group(x: Array) -> Array:
            grouped = x.reshape(x.shape[0], groups, heads // groups, *x.shape[2:])
            return np.asarray(grouped.sum(axis=2))

        return np.einsum("bhls,bhse->bhle", ds_scaled, wide[0]), of_group(dk), of_group(dv)

    def samples(self) -> Iterator[Sample]:
        for arrays, attrs, _ in _samples(True):
            yield Sample(tuple(arrays), attrs, grad=arrays[0].size < 50)
        q, row = np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2))
        attrs = {"scale": 1.0, "causal": False}
        wrong = (ShapeError, "expected lse and delta")
        yield Sample((q, q, q, row[:, :, :1], row, q), attrs, error=wrong)

    def vjp(self, node: Node, g: Any) -> Grads:
        mask = self.mask_of(node.inputs)
        q, k, v = node.inputs[:3]
        lse, delta, given = node.inputs[-3:]
        parts = _Parts(q, k, v, mask, lse, delta, given, **node.attrs)
        pairs = [(x, seed) for x, seed in zip(parts.gradients(), g) if seed is not None]
        found = HOOKS.need("differentiate")(
            [x for x, _ in pairs], [seed for _, seed in pairs],
            [v for v in node.inputs if v.dtype is not bool_],
        )  # fmt: skip
        rest = iter(found)
        return tuple(None if v.dtype is bool_ else next(rest) for v in node.inputs)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        rules: list[tuple[dict[str, Sbp], tuple[Sbp, ...]]] = []
        everything = ("q", "k", "v", "mask", "lse", "delta", "g")
        for dim in (0, 1):
            if self.split_heads(node, dim):
                split = Split(dim)
                rules.append((dict.fromkeys(everything, split), (split,) * 3))
        if not node.attrs["causal"]:
            rows = ("q", "mask", "lse", "delta", "g")
            rules.append((dict.fromkeys(rows, Split(2)), (Split(2), P, P)))
        rules.append(({"delta": P, "g": P}, (P, P, P)))
        return self.signatures(node, *rules)  # type: ignore[no-any-return]


class _Parts:
    """The gradient in plain ops, over [b, g, h / g, l, s]."""

    def __init__(
        self, q: Value, k: Value, v: Value, mask: Value | None, lse: Value, delta: Value,
        g: Value, scale: float, causal: bool,
    ) -> None:  # fmt: skip
        self.k, self.v, self.scale = k, v, scale
        b, heads, queries, _ = q.shape
        self.lead = (b, k.shape[1], heads // k.shape[1])
        self.q, self.g = self.grouped(q), self.grouped(g)
        shape = (*self.lead, queries, k.shape[2])
        scores = ops.dot(self.q, k, spec="bgrle,bgse->bgrls") * scale
        hidden = constant(-math.inf, q.dtype, shape)
        if mask is not None:
            mask = ops.reshape(mask, shape=shape)
            scores = ops.where(mask, scores, hidden) if mask.dtype is bool_ else scores + mask
        if causal:
            rows, cols = (ops.iota(shape=shape, dim=d, dtype=int64) for d in (3, 4))
            scores = ops.where(ops.le(cols, rows), scores, hidden)
        blind = ops.eq(lse, constant(-math.inf, lse.dtype, lse.shape))
        shift = ops.where(blind, constant(0, lse.dtype, lse.shape), lse)
        self.p = ops.exp(scores - spread(self.grouped(shift), scores, (4,)))
        dp = ops.dot(self.g, v, spec="bgrlw,bgsw->bgrls")
        self.ds = self.p * (dp - spread(self.grouped(delta), dp, (4,)))
        self.shape = q.shape

    def grouped(self, x: Value) -> Value:
        return ops.reshape(x, shape=(*self.lead, *x.shape[2:]))  # type: ignore[no-any-return]

    def gradients(self) -> tuple[Value, Value, Value]:
        dq = ops.dot(self.ds, self.k, spec="bgrls,bgse->bgrle") * self.scale
        dk = ops.dot(self.ds, self.q, spec="bgrls,bgrle->bgse") * self.scale
        dv = ops.dot(self.p, self.g, spec="bgrls,bgrlw->bgsw")
        return ops.reshape(dq, shape=self.shape), dk, dv


_WIDEST = 256  # of queries or values: a tile's operands must stay in the cache


def fits_attention(q: Value, k: Value, v: Value) -> bool:
    """Whether `fused_attention` takes operands of these types: something to attend to, and rows
    that are no wider than the kernels' blocks allow."""
    sizes = (q.type.numel, k.type.numel, v.type.numel)
    return min(sizes) > 0 and max(q.shape[-1], v.shape[-1]) <= _WIDEST and q.dtype.is_floating_point


def fused_attention(
    q: Value, k: Value, v: Value, mask: Value | None, scale: float, causal: bool
) -> Value:
    """`attention` of operands with any number of leading dimensions, those of k and v equal to
    those of q but for the heads (dimension -3), which may be fewer. Halves in float32."""
    dtype = q.dtype
    wide = float64 if dtype is float64 else float32

    def ready(x: Value, dtype: Any) -> Value:
        lead = (1, 1, *x.shape[:-2])[-max(2, x.ndim - 2) :]
        shape = (math.prod(lead[:-1]), lead[-1], *x.shape[-2:])
        return cast(ops.reshape(x, shape=shape) if x.shape != shape else x, dtype)

    operands = [ready(x, wide) for x in (q, k, v)]
    if mask is not None:
        operands.append(ready(mask, bool_ if mask.dtype is bool_ else wide))
    out, _ = ops.attention(*operands, scale=scale, causal=causal)
    shape = (*q.shape[:-1], v.shape[-1])
    return cast(ops.reshape(out, shape=shape) if out.shape != shape else out, dtype)
