"""A graph: chosen inputs and outputs over free-floating nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .node import INPUT, Node, Value, topological
from .types import TensorType


class Graph:
    """Inputs, outputs and, in dependency order, the nodes between them.

    Invariant: every input node reachable from the outputs is among ``inputs``; an input may be
    unused. Graphs compare by structure (`structure`), so they can be attributes of nodes.
    """

    __slots__ = ("_hash", "_structure", "inputs", "nodes", "outputs")

    def __init__(
        self, inputs: Sequence[Value], outputs: Sequence[Value], order: Sequence[Node] = ()
    ) -> None:
        """``order``: the nodes in dependency order, where that is known already."""
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.nodes: tuple[Node, ...] = tuple(
            [n for n in order or topological(self.outputs) if n.op is not INPUT]
        )
        self._structure: tuple[object, ...] | None = None
        self._hash: int | None = None

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        return tuple(v.type for v in self.inputs)

    @property
    def output_types(self) -> tuple[TensorType, ...]:
        return tuple(v.type for v in self.outputs)

    def structure(self) -> tuple[object, ...]:
        """A hashable description that is equal for equal computations (names play no part)."""
        if self._structure is None:
            number: dict[Value, int] = {v: i for i, v in enumerate(self.inputs)}
            rows: list[object] = [self.input_types]
            for node in self.nodes:
                ins = tuple([number[v] for v in node.inputs])
                for v in node.outputs:
                    number[v] = len(number)
                if ins:  # the types follow from the rest
                    rows.append((node.op.name, ins, node.attrs_key()))
                else:
                    rows.append((node.op.name, node.attrs_key(), node.types))
            rows.append(tuple(number[v] for v in self.outputs))
            self._structure = tuple(rows)
        return self._structure

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.structure() == other.structure()

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(self.structure())
        return self._hash

    def apply(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The outputs as a function of other inputs: the graph's nodes, rebuilt on them."""
        return substitute(self.outputs, dict(zip(self.inputs, inputs)))

    def repeat(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """`apply` to inputs of the same types: nothing is inferred, and what depends on no other
        input than before is shared."""
        memo = {old: new for old, new in zip(self.inputs, inputs) if old is not new}
        for node in self.nodes:
            if not memo.keys().isdisjoint(node.inputs):
                made = node.moved(tuple([memo.get(v, v) for v in node.inputs]))
                memo.update(zip(node.outputs, made.outputs))
        return tuple([memo.get(v, v) for v in self.outputs])

    def __repr__(self) -> str:
        from .text import print_graph

        return print_graph(self)


def substitute(
    outputs: Sequence[Value],
    replacement: Mapping[Value, Value],
    rebuild: Callable[[Node, tuple[Value, ...]], Sequence[Value]] | None = None,
) -> tuple[Value, ...]:
    """Rebuild ``outputs`` with some values replaced.

    ``rebuild(node, new_inputs)`` may return other outputs for a node; by default a node whose
    inputs did not change is kept and one whose inputs changed is applied anew.
    """
    memo: dict[Value, Value] = dict(replacement)
    for node in topological(outputs, stop=lambda n: all(v in replacement for v in n.outputs)):
        if all(v in memo for v in node.outputs):
            continue
        inputs = tuple(memo.get(v, v) for v in node.inputs)
        new: Sequence[Value]
        if rebuild is not None:
            new = rebuild(node, inputs)
        elif inputs == node.inputs:
            new = node.outputs
        else:
            new = node.with_inputs(inputs).outputs
        for old, value in zip(node.outputs, new):
            memo.setdefault(old, value)
    return tuple(memo.get(v, v) for v in outputs)
