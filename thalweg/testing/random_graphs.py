"""Random graphs of small, well-behaved computations, for properties that hold of every graph.

`random_graph` asks a source of choices for every decision, so hypothesis can drive it (and shrink
what fails), and so can a plain seed:

    graph = random_graph(seeded(7), kinds=("pointwise", "dot"))

Values stay of moderate size: products are of bounded factors and sums are averages, so central
differences stay accurate however deep the graph is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from ..core.dtypes import float64
from ..ir.graph import Graph
from ..ir.node import Value, make_input
from ..ir.types import TensorType
from ..ops.arithmetic import broadcast_to, coerce
from ..ops.contract import Array
from ..ops.link import ops

LARGEST = 64  # elements of any value
Shape = tuple[int, ...]


class Choices(Protocol):
    """A source of decisions: an integer between ``low`` and ``high``, both included."""

    def __call__(self, low: int, high: int) -> int: ...


Builder: TypeAlias = Callable[[Choices, list[Value]], Value | None]


def seeded(seed: int) -> Choices:
    """Choices from a seed."""
    rng = np.random.default_rng(seed)
    return lambda low, high: int(rng.integers(low, high + 1))


def random_graph(
    choose: Choices,
    kinds: Iterable[str] = ("pointwise", "reduce", "movement", "dot"),
    steps: int = 8,
) -> Graph:
    """A graph of up to ``steps`` ops of the given kinds (keys of `KINDS`) on 1 to 3 inputs.

    Its outputs are the values that no other value consumes.
    """
    builders = [b for kind in kinds for b in KINDS[kind]]
    inputs = [make_input(TensorType(_shape(choose), float64)) for _ in range(choose(1, 3))]
    values = list(inputs)
    for _ in range(choose(1, steps)):
        made = builders[choose(0, len(builders) - 1)](choose, values)
        if made is not None and made.type.numel <= LARGEST:
            values.append(made)
    used = {v for made in values for v in made.node.inputs}
    ends = [v for v in values if v not in used and v not in inputs]
    return Graph(inputs, ends or [values[-1]])


def random_arrays(choose: Choices, graph: Graph) -> list[Array]:
    """Arrays for the graph's inputs, in [-1, 1], without ties."""
    rng = np.random.default_rng(choose(0, 2**31 - 1))
    return [rng.uniform(-1, 1, t.shape) for t in graph.input_types]


def _shape(choose: Choices) -> Shape:
    return tuple(choose(1, 4) for _ in range(choose(0, 3)))


def _pick(choose: Choices, values: Sequence[Value]) -> Value:
    return values[choose(0, len(values) - 1)]


def _two(choose: Choices, values: list[Value]) -> tuple[Value, Value] | None:
    """Two values that broadcast together, as one shape."""
    x, y = _pick(choose, values), _pick(choose, values)
    try:
        both = coerce(x, y, op="random_graph")
    except RuntimeError:
        return x, x
    return both[0], both[1]


def _unary(name: str) -> Builder:
    def build(choose: Choices, values: list[Value]) -> Value:
        return getattr(ops, name)(_pick(choose, values))  # type: ignore[no-any-return]

    return build


def _binary(name: str) -> Builder:
    def build(choose: Choices, values: list[Value]) -> Value | None:
        pair = _two(choose, values)
        return pair and getattr(ops, name)(*pair)

    return build


def _bounded_product(choose: Choices, values: list[Value]) -> Value | None:
    pair = _two(choose, values)
    return pair and ops.tanh(pair[0]) * ops.tanh(pair[1])


def _bounded_exp(choose: Choices, values: list[Value]) -> Value:
    return ops.exp(ops.tanh(_pick(choose, values)))  # type: ignore[no-any-return]


def _quotient(choose: Choices, values: list[Value]) -> Value | None:
    pair = _two(choose, values)
    return pair and pair[0] / (ops.exp(ops.tanh(pair[1])) + 1.0)


def _dims(choose: Choices, x: Value) -> Shape:
    return tuple(d for d in range(x.ndim) if choose(0, 1))


def _mean(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    dims = _dims(choose, x)
    count = max(1, int(np.prod([x.shape[d] for d in dims])))
    return ops.reduce_sum(x, dims=dims) * (1.0 / count)


def _largest(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    return ops.reduce_max(x, dims=_dims(choose, x))  # type: ignore[no-any-return]


def _permute(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    rest = list(range(x.ndim))
    dims = tuple(rest.pop(choose(0, len(rest) - 1)) for _ in range(x.ndim))
    return ops.permute(x, dims=dims)  # type: ignore[no-any-return]


def _reshape(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    left, shape = x.type.numel, []
    while left > 1:
        divisors = [n for n in range(2, left + 1) if left % n == 0]
        shape.append(divisors[choose(0, len(divisors) - 1)])
        left //= shape[-1]
    shape.insert(choose(0, len(shape)), 1)
    return ops.reshape(x, shape=tuple(shape))  # type: ignore[no-any-return]


def _expand(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    shape = tuple(choose(1, 3) if n == 1 else n for n in x.shape)
    return broadcast_to(x, (choose(1, 2), *shape))


def _flip(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    return ops.flip(x, dims=_dims(choose, x))  # type: ignore[no-any-return]


def _slice(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    starts = tuple(choose(0, n - 1) for n in x.shape)
    stops = tuple(choose(a + 1, n) for a, n in zip(starts, x.shape))
    steps = tuple(choose(1, 2) for _ in x.shape)
    return ops.slice(x, starts=starts, stops=stops, steps=steps)  # type: ignore[no-any-return]


def _pad(choose: Choices, values: list[Value]) -> Value:
    x = _pick(choose, values)
    low, high = (tuple(choose(0, 1) for _ in x.shape) for _ in range(2))
    none = (0,) * x.ndim
    return ops.pad(x, low=low, high=high, interior=none, value=0.5)  # type: ignore[no-any-return]


def _concat(choose: Choices, values: list[Value]) -> Value | None:
    x, y = _pick(choose, values), _pick(choose, values)
    y = y if y.shape == x.shape else ops.tanh(x)
    return ops.concat(x, y, dim=choose(0, x.ndim - 1)) if x.ndim else None


def _dot(choose: Choices, values: list[Value]) -> Value | None:
    """Contract a dimension of one value with one of equal extent of another; average it."""
    x, y = _pick(choose, values), _pick(choose, values)
    pairs = [(i, j) for i, n in enumerate(x.shape) for j, m in enumerate(y.shape) if n == m]
    if not pairs:
        return None
    i, j = pairs[choose(0, len(pairs) - 1)]
    left, right = "abcdef"[: x.ndim], "uvwxyz"[: y.ndim]
    right = right[:j] + left[i] + right[j + 1 :]
    kept = choose(0, 1)  # a batch letter instead of a contracted one
    result = left[:i] + left[i] * kept + left[i + 1 :] + right[:j] + right[j + 1 :]
    if len(result) > 4:
        return None
    x, y = ops.tanh(x), ops.tanh(y)
    return ops.dot(x, y, spec=f"{left},{right}->{result}") * (1.0 / x.shape[i])


KINDS: dict[str, tuple[Builder, ...]] = {
    "pointwise": (
        _unary("tanh"), _unary("sin"), _unary("neg"), _binary("add"), _binary("sub"),
        _bounded_product, _bounded_exp, _quotient,
    ),
    "kinked": (_binary("maximum"), _binary("minimum"), _unary("abs")),
    "reduce": (_mean, _largest),
    "movement": (_permute, _reshape, _expand, _flip, _slice, _pad, _concat),
    "dot": (_dot,),
}  # fmt: skip
