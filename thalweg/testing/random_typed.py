"""Random graphs over all dtypes and forms of ops, for compilers to be checked against references.

They are built as those of `random_graphs` are, but are not meant to be differentiated: their ops
compare, convert, count, gather and round. Values stay small, so that integers do not lose what
floats hold; a few extents are long enough for vectors with a rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ..core.dtypes import DType, bool_, float32, float64, int32, int64, uint8
from ..ir.graph import Graph
from ..ir.node import Value, make_input
from ..ir.types import TensorType
from ..ops.arithmetic import broadcast_to, cast, coerce
from ..ops.contract import Array
from ..ops.link import ops
from .random_graphs import Choices

LARGEST = 6000  # elements of any value
EXTENTS = (1, 2, 3, 4, 7, 8, 19, 33, 70)
DTYPES = (float32, float32, float64, int32, int64, uint8, bool_)
Builder: TypeAlias = Callable[[Choices, list[Value]], Value | None]
Shape = tuple[int, ...]


def typed_graph(choose: Choices, steps: int = 10) -> Graph:
    """A graph of up to ``steps`` ops on 1 to 4 inputs; its outputs are the unread values, and
    some that are read."""
    inputs = [
        make_input(TensorType(_shape(choose), DTYPES[choose(0, len(DTYPES) - 1)]))
        for _ in range(choose(1, 4))
    ]
    values = list(inputs)
    for _ in range(choose(2, steps)):
        try:
            made = BUILDERS[choose(0, len(BUILDERS) - 1)](choose, values)
        except (RuntimeError, TypeError):  # the op does not take this dtype or shape
            continue
        if made is not None and made.type.numel <= LARGEST:
            values.append(made)
    used = {v for made in values for v in made.node.inputs}
    ends = [v for v in values if v not in inputs and (v not in used or choose(0, 3) == 0)]
    return Graph(inputs, ends or [values[-1]])


def typed_arrays(choose: Choices, graph: Graph) -> list[Array]:
    """Arrays for the graph's inputs."""
    rng = np.random.default_rng(choose(0, 2**31 - 1))
    return [draw(rng, t.shape, t.dtype) for t in graph.input_types]


def draw(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    if dtype is bool_:
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.category == "int":
        return np.asarray(rng.integers(0 if dtype is uint8 else -5, 6, shape)).astype(dtype.np)
    return np.asarray(rng.uniform(-2, 2, shape)).astype(dtype.np)


def _shape(choose: Choices) -> Shape:
    shape: list[int] = []
    for _ in range(choose(0, 3)):
        shape.append(EXTENTS[choose(0, len(EXTENTS) - 1)])
    while int(np.prod(shape)) > LARGEST:
        shape.pop()
    return tuple(shape)


def _pick(choose: Choices, values: list[Value]) -> Value:
    return values[choose(0, len(values) - 1)]


def _pair(choose: Choices, values: list[Value]) -> tuple[Value, Value]:
    x, y = _pick(choose, values), _pick(choose, values)
    try:
        both = coerce(x, y, op="typed_graph")
    except RuntimeError:
        return x, x
    return both[0], both[1]


def _float(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    return x if x.dtype.is_floating_point else cast(x, float32)


def _any_of(*names: str) -> Builder:
    def build(choose: Choices, values: list[Value]) -> Value:
        return getattr(ops, names[choose(0, len(names) - 1)])(*_pair(choose, values))  # type: ignore[no-any-return]

    return build


def _function(choose: Choices, values: list[Value]) -> Value:
    names = ("tanh", "erf", "sin", "neg", "abs", "floor", "exp", "sigmoid")
    x = ops.tanh(_float(choose, values)) * 1.7  # not 2: `floor` would tell 1 from 0.9999999
    return getattr(ops, names[choose(0, len(names) - 1)])(x)  # type: ignore[no-any-return]


def _cast(choose: Choices, values: list[Value]) -> Value:
    return cast(_pick(choose, values), DTYPES[choose(0, len(DTYPES) - 1)])


def _where(choose: Choices, values: list[Value]) -> Value:
    x, y = _pair(choose, values)
    return ops.where(ops.lt(cast(x, float64), cast(y, float64) + 0.37), x, y)  # type: ignore[no-any-return]


def _dims(choose: Choices, x: Value) -> Shape:
    return tuple(d for d in range(x.ndim) if choose(0, 1))


def _reduce(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    names = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")
    name = names[choose(0, 3)]
    if name == "reduce_prod" and x.dtype.is_floating_point:
        x = ops.tanh(x)
    dims = _dims(choose, x)
    found = getattr(ops, name)(x, dims=dims)
    if choose(0, 1) and x.type.numel:  # read again, as softmax and norms do
        kept = tuple(1 if d in dims else n for d, n in enumerate(x.shape))
        return ops.sub(x, ops.expand(ops.reshape(found, shape=kept), shape=x.shape))  # type: ignore[no-any-return]
    return found  # type: ignore[no-any-return]


def _softmax(choose: Choices, values: list[Value]) -> Value | None:
    x = _float(choose, values)
    if not x.ndim:
        return None
    dim = choose(0, x.ndim - 1)
    kept = tuple(1 if d == dim else n for d, n in enumerate(x.shape))

    def spread(v: Value) -> Value:
        return ops.expand(ops.reshape(v, shape=kept), shape=x.shape)  # type: ignore[no-any-return]

    e = ops.exp(x - spread(ops.reduce_max(x, dims=(dim,))))
    return e / spread(ops.reduce_sum(e, dims=(dim,)))


def _take(choose: Choices, values: list[Value]) -> Value | None:
    x = _pick(choose, values)
    if not x.ndim or not x.shape[0]:
        return None
    index = ops.iota(shape=(choose(1, 9),), dim=0, dtype=int64)
    step = _pick(choose, values)
    if step.type.numel == 1 and not step.dtype.is_floating_point:
        step = cast(step, int64)
        index = index * broadcast_to(ops.reshape(step, shape=(1,)), index.shape)
    size = ops.full(shape=index.shape, value=x.shape[0], dtype=int64)
    index = ops.remainder(index * 3, size)
    if choose(0, 1):
        return ops.take(x, index - size, batch=0, wrap=True)  # type: ignore[no-any-return]
    return ops.take(x, index, batch=0)  # type: ignore[no-any-return]


def _permute(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    rest = list(range(x.ndim))
    return ops.permute(x, dims=tuple(rest.pop(choose(0, len(rest) - 1)) for _ in range(x.ndim)))  # type: ignore[no-any-return]


def _reshape(choose: Choices, values: list[Value]) -> Value | None:
    x = _pick(choose, values)
    if x.ndim > 1 and choose(0, 1):
        at = choose(0, x.ndim - 2)
        merged = (*x.shape[:at], x.shape[at] * x.shape[at + 1], *x.shape[at + 2 :])
        return ops.reshape(x, shape=merged)  # type: ignore[no-any-return]
    for d, n in enumerate(x.shape):
        for factor in (2, 3, 7):
            if n % factor == 0 and n > factor:
                cut = (*x.shape[:d], factor, n // factor, *x.shape[d + 1 :])
                return ops.reshape(x, shape=cut)  # type: ignore[no-any-return]
    return None


def _expand(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    shape = tuple(choose(1, 9) if n == 1 else n for n in x.shape)
    return broadcast_to(x, (choose(1, 3), *shape))


def _bounds(choose: Choices, x: Value) -> dict[str, Shape]:
    starts = tuple(choose(0, n - 1) for n in x.shape)
    stops = tuple(choose(a + 1, n) for a, n in zip(starts, x.shape))
    return {"starts": starts, "stops": stops, "steps": tuple(choose(1, 2) for _ in x.shape)}


def _slice(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    return ops.slice(x, **_bounds(choose, x))  # type: ignore[no-any-return]


def _slice_update(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    bounds = _bounds(choose, x)
    return ops.slice_update(x, ops.neg(ops.slice(x, **bounds)), **bounds)  # type: ignore[no-any-return]


def _pad(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    low, high, inside = (tuple(choose(0, 2) for _ in x.shape) for _ in range(3))
    interior = tuple(i if choose(0, 2) == 0 else 0 for i in inside)
    return ops.pad(x, low=low, high=high, interior=interior, value=1)  # type: ignore[no-any-return]


def _concat(choose: Choices, values: list[Value]) -> Value | None:
    x, y = _pick(choose, values), _pick(choose, values)
    same = [v for v in values if v.dtype is x.dtype and v.ndim == x.ndim]
    if not x.ndim:
        return None
    dim = choose(0, x.ndim - 1)
    rest = x.shape[:dim] + x.shape[dim + 1 :]
    fits = [v for v in same if v.shape[:dim] + v.shape[dim + 1 :] == rest]
    y = fits[choose(0, len(fits) - 1)]
    return ops.concat(x, y, x, dim=dim) if choose(0, 1) else ops.concat(x, y, dim=dim)  # type: ignore[no-any-return]


def _flip(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    return ops.flip(x, dims=_dims(choose, x))  # type: ignore[no-any-return]


def _window(choose: Choices, values: list[Value]) -> Value | None:
    x = _pick(choose, values)
    dims = [d for d, n in enumerate(x.shape) if n >= 3]
    if not dims:
        return None
    dim = dims[choose(0, len(dims) - 1)]
    return ops.windows(x, dim=dim, size=choose(1, 3), step=choose(1, 2))  # type: ignore[no-any-return]


def _ramp(choose: Choices, values: list[Value]) -> Value | None:
    x = _pick(choose, values)
    if not x.ndim:
        return None
    dtype = x.dtype if x.dtype is not bool_ else int32
    made = ops.iota(shape=x.shape, dim=choose(0, x.ndim - 1), dtype=dtype)
    return ops.add(cast(x, dtype), made)  # type: ignore[no-any-return]


BUILDERS: tuple[Builder, ...] = (
    _any_of("add", "sub", "mul"), _any_of("maximum", "minimum"), _any_of("le", "eq"),
    _any_of("bitwise_and", "bitwise_xor"), _function, _function, _cast, _cast, _where, _reduce,
    _reduce, _reduce, _softmax, _take, _permute, _permute, _reshape, _reshape, _expand, _slice,
    _slice_update, _pad, _concat, _flip, _window, _ramp,
)  # fmt: skip

__all__ = ["BUILDERS", "draw", "typed_arrays", "typed_graph"]
