"""The one IR: immutable nodes that point at the values they consume.

A `Node` applies an op to input `Value`s and static attributes; a `Value` is one of its results.
Nodes float freely: a graph is whatever can be reached from its outputs, so building an
expression needs no builder and dropping one needs no dead-code pass.

Invariants: a node never changes after construction (``body``, ``requires_grad`` and the key of its
attributes are caches of what follows from the rest); attributes are hashable; a value's type is
the one its op inferred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from ..core.dtypes import DType
from .types import Shape, TensorType

Location = tuple[str, int]


def attrs_key(attrs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Attributes as a hashable key that tells 0.0 from -0.0, 1 from 1.0, and equals NaN to NaN."""
    return tuple([(name, _exact(attrs[name])) for name in sorted(attrs)])


def _exact(value: Any) -> Any:
    kind = type(value)
    if kind is tuple:
        for item in value:
            if type(item) is not int:
                return tuple([_exact(v) for v in value])
        return value
    if kind is int or kind is str:
        return value
    if isinstance(value, (float, complex, bool)):
        return (kind.__name__, repr(value))
    if isinstance(value, tuple):
        return tuple([_exact(v) for v in value])
    return value


class OpLike(Protocol):
    """What the IR needs to know of an op: its name, and how it types its results."""

    name: str

    def infer_types(
        self, inputs: tuple[TensorType, ...], attrs: Mapping[str, Any]
    ) -> tuple[TensorType, ...]: ...


class Node:
    """One application of an op. ``types`` are the types of ``outputs``, in order."""

    __slots__ = ("__weakref__", "_attrs_key", "attrs", "body", "inputs", "location", "op",
                 "outputs", "requires_grad", "types")  # fmt: skip

    def __init__(
        self,
        op: Any,
        inputs: tuple[Value, ...],
        attrs: Mapping[str, Any],
        types: tuple[TensorType, ...],
        location: Location | None = None,
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.types = types
        self.location = location
        if len(types) == 1:
            self.outputs: tuple[Value, ...] = (Value(self, 0),)
        else:
            self.outputs = tuple([Value(self, i) for i in range(len(types))])
        self.body: tuple[Value, ...] | None = None
        self.requires_grad: tuple[bool, ...] | None = None
        self._attrs_key: tuple[Any, ...] | None = None

    @property
    def out(self) -> Value:
        """The only result of a node with one result."""
        (value,) = self.outputs
        return value

    def key(self) -> tuple[Any, ...]:
        """Structural identity given identical input values; equal keys compute equal results."""
        inputs = self.inputs
        if inputs:  # the types follow from the rest
            return (self.op.name, inputs, self.attrs_key())
        return (self.op.name, inputs, self.attrs_key(), self.types)

    def attrs_key(self) -> tuple[Any, ...]:
        """The attributes as a hashable key, made once; see the function `attrs_key`."""
        found = self._attrs_key
        if found is None:
            found = self._attrs_key = attrs_key(self.attrs) if self.attrs else ()
        return found

    def moved(self, inputs: tuple[Value, ...]) -> Node:
        """The same application on other inputs of the same types."""
        made = Node(self.op, inputs, self.attrs, self.types, self.location)
        made._attrs_key = self.attrs_key()  # shared by all that are made of this one
        return made

    def with_inputs(self, inputs: tuple[Value, ...]) -> Node:
        """The same application on other inputs, typed afresh."""
        types = self.op.infer_types(tuple(v.type for v in inputs), self.attrs)
        return Node(self.op, inputs, self.attrs, types, self.location)

    def __repr__(self) -> str:
        return f"<{self.op.name} -> {', '.join(map(str, self.types))}>"


class Value:
    """A result of a node. Arithmetic on values builds further nodes (see `ops.arithmetic`)."""

    __slots__ = ("__weakref__", "index", "node")

    # Filled by the ops layer, which lies above this one: 'add' -> function of two operands.
    operators: dict[str, Callable[..., Value]] = {}

    def __init__(self, node: Node, index: int) -> None:
        self.node = node
        self.index = index

    @property
    def type(self) -> TensorType:
        return self.node.types[self.index]

    @property
    def shape(self) -> Shape:
        return self.node.types[self.index].shape

    @property
    def dtype(self) -> DType:
        return self.node.types[self.index].dtype

    @property
    def ndim(self) -> int:
        return len(self.node.types[self.index].shape)

    def __repr__(self) -> str:
        return f"<Value {self.type} of {self.node.op.name}>"

    def __add__(self, other: Any) -> Value:
        return Value.operators["add"](self, other)

    def __radd__(self, other: Any) -> Value:
        return Value.operators["add"](other, self)

    def __sub__(self, other: Any) -> Value:
        return Value.operators["sub"](self, other)

    def __rsub__(self, other: Any) -> Value:
        return Value.operators["sub"](other, self)

    def __mul__(self, other: Any) -> Value:
        return Value.operators["mul"](self, other)

    def __rmul__(self, other: Any) -> Value:
        return Value.operators["mul"](other, self)

    def __truediv__(self, other: Any) -> Value:
        return Value.operators["div"](self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return Value.operators["div"](other, self)

    def __neg__(self) -> Value:
        return Value.operators["neg"](self)


class InputOp:
    """The op of a graph's inputs. It has no operands; its type is given, not inferred.

    Attributes: ``requires_grad`` (bool) starts differentiation here; ``weak`` (bool) marks a
    Python number turned into an argument, which takes part in dtype promotion as a number.
    """

    name = "input"

    def infer_types(
        self, inputs: tuple[TensorType, ...], attrs: Mapping[str, Any]
    ) -> tuple[TensorType, ...]:
        raise TypeError("the type of a graph input is given, not inferred")


INPUT = InputOp()


def make_input(type: TensorType, requires_grad: bool = False, weak: bool = False) -> Value:
    """A fresh graph input of the given type."""
    attrs: dict[str, Any] = {}
    if requires_grad:
        attrs["requires_grad"] = True
    if weak:
        attrs["weak"] = True
    return Node(INPUT, (), attrs, (type,)).out


def is_input(value: Value) -> bool:
    return value.node.op is INPUT


def topological(outputs: Iterable[Value], stop: Callable[[Node], bool] | None = None) -> list[Node]:
    """Nodes that ``outputs`` depend on, each after the nodes it consumes; order is stable.

    ``stop(node)`` true keeps the node but not what lies behind it.
    """
    order: list[Node] = []
    done: set[Node] = set()
    emit, known = order.append, done.add
    stack: list[tuple[Node, Iterator[Value]]] = []  # nodes under way, with the operands to come
    for output in outputs:
        node = output.node
        if node in done:
            continue
        known(node)
        rest = iter(() if stop is not None and stop(node) else node.inputs)
        while True:
            for value in rest:
                operand = value.node
                if operand not in done:
                    known(operand)
                    if operand.inputs and (stop is None or not stop(operand)):
                        stack.append((node, rest))
                        node, rest = operand, iter(operand.inputs)
                        break
                    emit(operand)
            else:
                emit(node)
                if not stack:
                    break
                node, rest = stack.pop()
    return order
