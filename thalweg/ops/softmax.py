"""Softmax and its logarithm, stable for any finite input; each one node with a rule of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import DType, float32, float64
from ..core.errors import DTypeError
from ..ir.node import Node, Value
from .arithmetic import cast
from .contract import Grads
from .dims import normalize_dim
from .function import Call, function
from .link import ops
from .nn_shared import spread_sum, warn, widened
from .pointwise import expect_tensor, internal_composite
from .reduce import spread
from .shape_functions import to_shape


def _softmax_vjp(node: Node, g: Value) -> Grads:
    y, gy = widened(node.out), widened(g)
    product = gy * y
    gx = product - y * spread_sum(product, (node.attrs["dim"],))
    return (cast(gx, g.dtype),)


def _shifted(x: Value, dim: int) -> Value:
    """x less its largest element along ``dim``, which changes neither function."""
    peak = ops.stop_gradient(ops.reduce_max(x, dims=(dim,)))
    return x - spread(peak, x, (dim,))


@internal_composite("softmax", vjp=_softmax_vjp, onnx={"op": "Softmax", "rename": {"dim": "axis"}})
def softmax_along(x: Value, dim: int) -> Value:
    """exp(x) / sum(exp(x)) along ``dim`` (not negative); halves are computed in float32."""
    powers = ops.exp(_shifted(widened(x), dim))
    return cast(powers / spread_sum(powers, (dim,)), x.dtype)


def _log_softmax_vjp(node: Node, g: Value) -> Grads:
    y, gy = widened(node.out), widened(g)
    gx = gy - ops.exp(y) * spread_sum(gy, (node.attrs["dim"],))
    return (cast(gx, g.dtype),)


@internal_composite(
    "log_softmax", vjp=_log_softmax_vjp, onnx={"op": "LogSoftmax", "rename": {"dim": "axis"}}
)
def log_softmax_along(x: Value, dim: int) -> Value:
    """x - log(sum(exp(x))) along ``dim`` (not negative); halves are computed in float32."""
    z = _shifted(widened(x), dim)
    total = ops.reduce_sum(ops.exp(z), dims=(dim,))
    return cast(z - spread(ops.log(total), z, (dim,)), x.dtype)


def _along(op: Any, input: Any, dim: int, dtype: DType | None) -> Value:
    x = expect_tensor(op.name, input)
    if dtype is not None:
        x = cast(x, dtype)
    axis = normalize_dim(dim, x.ndim)
    if not x.dtype.is_floating_point:
        raise DTypeError(f'"{op.name}" not implemented for {x.dtype}: expected floating')
    lifted = op(to_shape(x, x.shape or (1,)), dim=axis)
    return to_shape(lifted, x.shape)


def _calls(edges: bool = True) -> Iterator[Call]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, 3, 4)) * 3
    yield Call((x, 1))
    yield Call((x, -1))
    yield Call((x[0], 0), {"dtype": float64})
    yield Call((x[0].astype(np.float32), 1), {"dtype": float64})
    yield Call((np.arange(6).reshape(2, 3), 1), {"dtype": float32}, grad=False)
    yield Call((rng.normal(size=()), 0))
    yield Call((np.zeros((0, 3)), 1))
    yield Call((np.zeros((2, 0)), 1))
    yield Call((np.array([1e4, -1e4, 9999.0]), 0))
    yield Call((rng.normal(size=(5,)).astype(np.float16), 0), grad=False)
    yield Call((x, 3), error=(IndexError, "Dimension out of range"))
    yield Call((np.arange(3), 0), error=(RuntimeError, "not implemented for"))
    if edges:
        inf = np.inf
        row = np.array([[inf, 0, 1], [-inf, -inf, -inf], [np.nan, 0, 1], [-inf, 0, 1]], np.float32)
        yield Call((row, 1), grad=False)


@function("softmax", method=True, calls=_calls)
def softmax(input: Value, dim: int, dtype: DType | None = None) -> Value:
    """exp(x) / sum(exp(x)) along ``dim``, of ``input`` cast to ``dtype`` first if that is given.

    Same shape. RuntimeError for integers, IndexError for a dimension out of range.
    """
    return _along(softmax_along, input, dim, dtype)


@function("log_softmax", method=True, calls=_calls)
def log_softmax(input: Value, dim: int, dtype: DType | None = None) -> Value:
    """log(softmax(x)) along ``dim``, computed as x - logsumexp(x).

    Same shape. RuntimeError for integers, IndexError for a dimension out of range.
    """
    return _along(log_softmax_along, input, dim, dtype)


def _chosen(op: str, input: Any, dim: int | None) -> int:
    """The dimension; PyTorch's deprecated choice, with its warning, where none is given."""
    if dim is not None:
        return dim
    warn(
        f"Implicit dimension choice for {op} has been deprecated. Change the call to include "
        "dim=X as an argument."
    )
    return 0 if expect_tensor(op, input).ndim in (0, 1, 3) else 1


@function("nn.functional.softmax", out=False, calls=_calls)
def functional_softmax(
    input: Value, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None
) -> Value:
    """`softmax`; ``dim`` None (deprecated) means 0 for 0-d, 1-d and 3-d tensors, else 1."""
    return _along(softmax_along, input, _chosen("softmax", input, dim), dtype)


@function("nn.functional.log_softmax", out=False, calls=_calls)
def functional_log_softmax(
    input: Value, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None
) -> Value:
    """`log_softmax`; ``dim`` None (deprecated) means 0 for 0-d, 1-d and 3-d tensors, else 1."""
    return _along(log_softmax_along, input, _chosen("log_softmax", input, dim), dtype)


def _softmin_calls() -> Iterator[Call]:
    yield from _calls(edges=False)


@function("nn.functional.softmin", out=False, calls=_softmin_calls)
def softmin(
    input: Value, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None
) -> Value:
    """softmax(-x); ``dim`` None (deprecated) means 0 for 0-d, 1-d and 3-d tensors, else 1."""
    axis = _chosen("softmin", input, dim)
    return _along(softmax_along, -expect_tensor("softmin", input), axis, dtype)


__all__ = ["log_softmax_along", "softmax_along"]
