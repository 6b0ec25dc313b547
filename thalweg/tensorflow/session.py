"""Sessions: symbolic tensors specialised to what is fed, compiled once, and run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import located
from ..ir.graph import Graph
from ..ir.node import INPUT, Value, make_input, topological
from ..ir.types import TensorType
from ..pipeline import compile_graph, optimise
from ..runtime.buffer import Buffer
from ..runtime.executor import executor
from ..runtime.program import Program
from .symbols import (
    Array,
    Assign,
    FeedError,
    Gradient,
    Group,
    Symbol,
    Variable,
    build_gradients,
)

_stack: list[Session] = []


def get_default_session() -> Session | None:
    """The session entered last, or None."""
    return _stack[-1] if _stack else None


class Instance:
    """Symbols specialised to input types: the graph values of the fetches, and their inputs."""

    def __init__(self, leaves: Sequence[Symbol], types: Sequence[TensorType]) -> None:
        self.values: dict[Symbol, Value] = {s: make_input(t) for s, t in zip(leaves, types)}
        self.leaf_of = {v: s for s, v in self.values.items()}
        self.gradients: dict[tuple[Any, ...], list[Value]] = {}

    def value(self, symbol: Symbol) -> Value:
        """The graph value of a symbol, building what it depends on first."""
        stack = [symbol]
        while stack:
            top = stack[-1]
            missing = [o for o in top.operands if o not in self.values]
            if top in self.values:
                stack.pop()
            elif missing:
                stack.extend(missing)
            else:
                self.values[top] = self._build(top)
                stack.pop()
        return self.values[symbol]

    def _build(self, symbol: Symbol) -> Value:
        if isinstance(symbol, Gradient):
            key = (symbol.ys, symbol.xs, symbol.cotangents)
            if key not in self.gradients:
                ys, xs, weights = ([self.values[s] for s in part] for part in key)
                self.gradients[key] = build_gradients(ys, xs, weights)
            return self.gradients[key][symbol.index]
        return symbol.build(*[self.values[o] for o in symbol.operands])

    def graph(self, fetches: Sequence[Symbol]) -> Graph:
        outputs = [self.value(f) for f in fetches]
        inputs = [n.out for n in topological(outputs) if n.op is INPUT]
        return Graph(inputs, outputs)


class Session:
    """Holds the values of variables and runs symbols.

    ``run(fetches, feed_dict)`` takes a symbol, or a list, tuple or dict of them, and returns
    arrays in the same structure. Raises FeedError (ValueError) for a placeholder without a feed
    or a feed of the wrong shape, RuntimeError for a variable that was not initialised.
    """

    def __init__(self, target: str = "", graph: Any = None, config: Any = None) -> None:
        self._variables: dict[Variable, Buffer] = {}
        self._programs: dict[Any, tuple[Program, list[Symbol]]] = {}
        self._closed = False

    def run(self, fetches: Any, feed_dict: dict[Any, Any] | None = None) -> Any:
        """Values of ``fetches``, computed together in one program."""
        try:
            flat: list[Symbol] = []
            shape = _flatten(fetches, flat)
            arrays = self._run(flat, dict(feed_dict or {}))
            return shape(iter(arrays))
        except Exception as error:
            raise located(error) from None

    def graph(self, fetches: Any, feed_dict: dict[Any, Any] | None = None) -> Graph:
        """The optimised graph that `run` would execute."""
        flat: list[Symbol] = []
        _flatten(fetches, flat)
        wanted, _ = self._expand(flat)
        feeds = self._feeds(wanted, dict(feed_dict or {}))
        instance = Instance(list(feeds), [_type(a) for a in feeds.values()])
        return optimise(instance.graph(wanted))

    def _expand(self, flat: Sequence[Symbol]) -> tuple[list[Symbol], list[Assign]]:
        """Fetches with groups replaced by their members, and the assignments among them."""
        wanted: list[Symbol] = []
        stack = list(reversed(flat))
        while stack:
            symbol = stack.pop()
            if isinstance(symbol, Group):
                stack.extend(reversed(symbol.operands))
            elif symbol not in wanted:
                wanted.append(symbol)
        return wanted, [s for s in wanted if isinstance(s, Assign)]

    def _run(self, flat: Sequence[Symbol], feed_dict: dict[Any, Any]) -> list[Any]:
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")
        wanted, stores = self._expand(flat)
        feeds = self._feeds(wanted, feed_dict)
        types = tuple(_type(a) for a in feeds.values())
        key = (tuple(wanted), tuple(feeds), types)
        found = self._programs.get(key)
        if found is None:
            instance = Instance(list(feeds), types)
            graph = instance.graph(wanted)
            found = compile_graph(graph), [instance.leaf_of[v] for v in graph.inputs]
            self._programs[key] = found
        program, inputs = found
        buffers = executor.submit(program, [Buffer(feeds[s]) for s in inputs])
        results = dict(zip(wanted, buffers))
        for store in stores:
            self._variables[store.variable] = results[store]
        return [None if isinstance(s, Group) else results[s].get().copy() for s in flat]

    def _feeds(self, wanted: Sequence[Symbol], feed_dict: dict[Any, Any]) -> dict[Symbol, Array]:
        """Arrays for every leaf the fetches need, in a fixed order."""
        for symbol in feed_dict:
            if not isinstance(symbol, Symbol):
                raise TypeError(
                    "The keys of feed_dict must be symbolic tensors, got "
                    f"{type(symbol).__name__}: {symbol!r}"
                )
        leaves: dict[Symbol, Array] = {}
        stack, seen = list(wanted), set()
        while stack:
            symbol = stack.pop()
            if symbol in seen:
                continue
            seen.add(symbol)
            if symbol in feed_dict:
                leaves[symbol] = _fed(symbol, feed_dict[symbol])
            elif isinstance(symbol, Variable):
                leaves[symbol] = self._variable(symbol)
            elif hasattr(symbol, "array"):
                leaves[symbol] = symbol.array
            elif symbol.operation == "Placeholder":
                raise FeedError(
                    f"You must feed a value for placeholder tensor '{symbol.name}' with dtype "
                    f"{symbol.dtype.name}"
                )
            else:
                stack.extend(symbol.operands)
        return dict(sorted(leaves.items(), key=lambda item: item[0].order))

    def _variable(self, variable: Variable) -> Array:
        buffer = self._variables.get(variable)
        if buffer is None:
            raise RuntimeError(
                f"Attempting to use uninitialized value {variable.name}: run "
                "global_variables_initializer() first"
            )
        return buffer.get()

    def close(self) -> None:
        """End the session; its variables are gone."""
        self._variables.clear()
        self._programs.clear()
        self._closed = True

    def as_default(self) -> Session:
        return self

    def __enter__(self) -> Session:
        _stack.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _stack.remove(self)
        self.close()


class InteractiveSession(Session):
    """A session that is the default one from its construction on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _stack.append(self)


def graph_text(fetches: Any, feed_dict: dict[Any, Any] | None = None) -> str:
    """Text of the optimised graph of ``fetches`` for the types of ``feed_dict``."""
    session = get_default_session() or Session()
    return repr(session.graph(fetches, feed_dict))


def _type(array: Array) -> TensorType:
    from ..core.dtypes import from_numpy

    return TensorType(tuple(array.shape), from_numpy(array.dtype))


def _fed(symbol: Symbol, value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "biufcV":
        raise FeedError(
            f"Cannot feed a value of type {type(value).__name__} for tensor '{symbol.name}'"
        )
    expected = getattr(symbol, "shape", None)
    if expected is not None and (
        len(expected) != array.ndim
        or any(e is not None and e != n for e, n in zip(expected, array.shape))
    ):
        raise FeedError(
            f"Cannot feed value of shape {array.shape} for tensor '{symbol.name}', which has shape "
            f"'{expected}'"
        )
    return array.astype(symbol.dtype.np)


def _flatten(fetches: Any, flat: list[Symbol]) -> Any:
    """Append the symbols of a structure; a function that rebuilds it from their values."""
    if isinstance(fetches, Symbol):
        flat.append(fetches)
        return lambda values: _scalar(next(values))
    if isinstance(fetches, dict):
        parts = {k: _flatten(v, flat) for k, v in fetches.items()}
        return lambda values: {k: part(values) for k, part in parts.items()}
    if isinstance(fetches, (list, tuple)):
        items = [_flatten(f, flat) for f in fetches]
        kind = type(fetches)
        return lambda values: kind([item(values) for item in items])
    raise TypeError(
        f"Fetch argument {fetches!r} has invalid type {type(fetches).__name__}, must be a symbolic "
        "tensor or a list, tuple or dict of them"
    )


def _scalar(value: Any) -> Any:
    """0-d results as NumPy scalars, as TensorFlow returns them."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
