"""Control flow inside the graph: `cond`, `while_loop` and `scan` hold sub-graphs as attributes.

A sub-graph reads only its inputs, so values that a traced function captures from outside become
further operands (``consts``). Differentiating and batching sub-graphs is done by the passes,
which lie above this layer; they are reached through `HOOKS`.

    scan(*init, *xs, *consts)    for t: (*carry, *y[t]) = body(*carry, *x[t], *consts)
                                 results: last carries, stacked ys, stacked carries before each step

The third group of results is what the gradient of a scan (a scan in the other direction) reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..core.device import CPU, META
from ..core.errors import GraphError, ShapeError
from ..ir.graph import Graph
from ..ir.node import INPUT, Node, Value, make_input
from ..ir.sbp import Signature
from ..ir.types import TensorType
from .arithmetic import constant
from .contract import Array, Attrs, Declined, Grads, Primitive, Sample, all_broadcast, primitive
from .families import batch_up, expand_front
from .function import Composite, body_of
from .link import ops
from .named import public
from .scan_gradient import reverse_scan


@dataclass
class Hooks:
    """Transformations of graphs that the passes provide when they are imported.

    ``differentiate(outputs, cotangents, wrt)`` gives gradients, ``batch_graph(graph, batched,
    size)`` the graph over stacked inputs and which of its outputs are stacked then.
    """

    differentiate: Callable[..., list[Value | None]] | None = None
    batch_graph: Callable[..., tuple[Graph, list[bool]]] | None = None

    def need(self, name: str) -> Any:
        found = getattr(self, name)
        if found is None:
            raise GraphError(
                f"control flow: no pass provides '{name}'; import thalweg.passes first"
            )
        return found


HOOKS = Hooks()

Step = tuple[Any, tuple[int, ...], dict[str, Any], tuple[int, ...]]


Plan = tuple[list[Step], int, tuple[int, ...]]  # steps, number of slots, slots of the outputs


@lru_cache(maxsize=512)
def plan(graph: Graph) -> Plan:
    """A graph as primitive calls on numbered slots, composites replaced by their bodies."""
    slot: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
    count = len(slot)
    steps: list[Step] = []

    def visit(nodes: Sequence[Node]) -> None:
        nonlocal count
        for node in nodes:
            if node.op is INPUT:
                raise GraphError(
                    f"control flow: a body reads {node.outputs[0]}, not an input of it"
                )
            if isinstance(node.op, Composite):
                body = body_of(node)
                visit([n for n in _nodes(body, slot) if not all(v in slot for v in n.outputs)])
                slot.update({v: slot[b] for v, b in zip(node.outputs, body)})
                continue
            places = tuple(range(count, count + len(node.outputs)))
            count += len(places)
            slot.update(zip(node.outputs, places))
            ins = tuple(slot[v] for v in node.inputs)
            steps.append((node.op, ins, dict(node.attrs), places))

    visit(graph.nodes)
    return steps, count, tuple(slot[v] for v in graph.outputs)


def _nodes(outputs: Sequence[Value], known: dict[Value, int]) -> list[Node]:
    from ..ir.node import topological

    return topological(outputs, stop=lambda n: all(v in known for v in n.outputs))


def run_plan(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """The graph's outputs on ``arrays`` by the ops' references."""
    return _run(plan(graph), arrays)


def _run(planned: Plan, arrays: Sequence[Array]) -> list[Array]:
    steps, count, outputs = planned
    slots: list[Any] = [*arrays, *(None,) * (count - len(arrays))]
    for op, ins, attrs, places in steps:
        for place, array in zip(places, op.run([slots[i] for i in ins], attrs)):
            slots[place] = array
    return [slots[i] for i in outputs]


def check_types(
    op: str, what: str, given: Sequence[TensorType], wanted: Sequence[TensorType]
) -> None:
    # A constant that meets what is on the meta device may have been made for either.
    on_meta = any(t.device is META for t in (*given, *wanted))
    one, other = ([_on_cpu(t) if on_meta else t for t in types] for types in (given, wanted))
    if one != other:
        raise ShapeError(
            f"{op}: expected {what} of types {', '.join(map(str, wanted))}; got "
            f"{', '.join(map(str, given))}"
        )


def _on_cpu(type: TensorType) -> TensorType:
    return replace(type, device=CPU)


def is_float(value: Value) -> bool:
    return value.dtype.category in ("float", "complex")


RunGraph = Callable[[Graph, Sequence[Array]], Sequence[Array]]


class ControlFlow(Primitive):
    """What the three share: any number of operands and results, whole operands on every rank.

    ``run_with(arrays, attrs, run)`` computes the results, where ``run(graph, arrays)`` computes
    those of a sub-graph: the reference passes `run_plan`, native programs one of their own.
    """

    inputs = None
    outputs = 0  # as many as the sub-graph says: calls return a tuple
    sbp_incomplete = Declined("sub-graphs are not analysed: every rank runs them on whole operands")
    index = Declined("the index notation is that of the sub-graphs")
    lower: Any = Declined("runs sub-graphs: the runtime calls their programs")

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        return [all_broadcast(node)]

    def run_with(self, arrays: Sequence[Array], attrs: Attrs, run: RunGraph) -> tuple[Array, ...]:
        raise NotImplementedError

    def reference(self, *operands: Array, **attrs: Any) -> Any:
        return self.run_with(operands, attrs, run_plan)


@primitive
class Cond(ControlFlow):
    """The results of graph ``true`` on the operands behind the first if that is true, else of
    graph ``false``. The first operand is a bool of one element."""

    name = "cond"
    onnx = "If"

    def infer(self, pred: TensorType, *operands: TensorType, **graphs: Graph) -> Any:
        if pred.numel != 1 or pred.dtype.category != "bool":
            raise ShapeError(f"cond: expected a bool predicate of one element, got {pred}")
        for graph in graphs.values():
            check_types("cond", "operands", operands, graph.input_types)
        check_types(
            "cond", "results of false_fn", graphs["false"].output_types, graphs["true"].output_types
        )
        return graphs["true"].output_types

    def num_outputs(self, attrs: Attrs) -> int:
        return len(attrs["true"].outputs)

    def run_with(self, arrays: Sequence[Array], attrs: Attrs, run: RunGraph) -> tuple[Array, ...]:
        taken = attrs["true" if arrays[0].item() else "false"]
        return tuple(run(taken, arrays[1:]))

    def samples(self) -> Iterator[Sample]:
        x, y = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.2, 2.0])
        a, b = (make_input(TensorType((3,), _dtype(x))) for _ in range(2))
        attrs = {"true": Graph([a, b], [a * b, a]), "false": Graph([a, b], [a + b, a * a])}
        for flag in (True, False):
            yield Sample((np.array(flag), x, y), attrs)
        wrong = (ShapeError, "expected a bool predicate")
        yield Sample((np.array([True, False]), x, y), attrs, error=wrong)

    def vjp(self, node: Node, g: Any) -> Grads:
        """Both branches are differentiated; the one taken runs, from the operands again."""
        grads = g if isinstance(g, tuple) else (g,)
        operands = node.inputs[1:]
        wanted = [i for i, v in enumerate(operands) if is_float(v)]
        given = [i for i, c in enumerate(grads) if c is not None]
        graphs = {}
        for name in ("true", "false"):
            branch: Graph = node.attrs[name]
            seeds = [make_input(branch.outputs[i].type) for i in given]
            found = HOOKS.need("differentiate")(
                [branch.outputs[i] for i in given], seeds, [branch.inputs[i] for i in wanted]
            )
            results = [
                constant(0, branch.inputs[i].dtype, branch.inputs[i].shape) if v is None else v
                for i, v in zip(wanted, found)
            ]
            graphs[name] = Graph([*branch.inputs, *seeds], results)
        outs = ops.cond(node.inputs[0], *operands, *(grads[i] for i in given), **graphs)
        by_operand = dict(zip(wanted, outs))
        return (None, *(by_operand.get(i) for i in range(len(operands))))

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        """A predicate per example: both branches run, and each example selects."""
        graphs = {
            name: stacked_graph(node.attrs[name], batched[1:], size) for name in ("true", "false")
        }
        if not batched[0]:
            return self(*inputs, **graphs)  # type: ignore[no-any-return]
        pred = ops.reshape(inputs[0], shape=(size,))
        either = [graphs[name].apply(inputs[1:]) for name in ("true", "false")]
        return tuple(select(pred, x, y) for x, y in zip(*either))


def select(pred: Value, x: Value, y: Value) -> Value:
    """``x`` for the examples (first dimension) where ``pred`` holds, else ``y``."""
    lifted = ops.reshape(pred, shape=(*pred.shape, *(1,) * (x.ndim - 1)))
    return public.where(lifted, x, y)  # type: ignore[no-any-return]


def stacked_graph(graph: Graph, batched: Sequence[bool], size: int) -> Graph:
    """The graph over stacked inputs, every result of which is a stack."""
    made, flags = HOOKS.need("batch_graph")(graph, batched, size)
    outputs = [v if flag else expand_front(v, size) for v, flag in zip(made.outputs, flags)]
    return Graph(made.inputs, outputs)


def _dtype(array: Array) -> Any:
    from ..core.dtypes import from_numpy

    return from_numpy(array.dtype)


@primitive
class WhileLoop(ControlFlow):
    """Apply ``body`` to the first ``num_carry`` operands while ``cond`` of them holds; the
    operands behind them are constants of both graphs."""

    name = "while_loop"
    onnx = "Loop"
    vjp: Any = Declined(
        "the number of steps is unknown, so what a gradient needs cannot be kept; use scan, whose "
        "length is fixed"
    )

    def infer(self, *operands: TensorType, cond: Graph, body: Graph, num_carry: int) -> Any:
        for graph in (cond, body):
            check_types("while_loop", "operands", operands, graph.input_types)
        check_types("while_loop", "results of body_fn", body.output_types, operands[:num_carry])
        test = cond.output_types
        if len(test) != 1 or test[0].numel != 1 or test[0].dtype.category != "bool":
            raise ShapeError(
                "while_loop: expected cond_fn to return a bool of one element, got "
                f"{', '.join(map(str, test))}"
            )
        return tuple(operands[:num_carry])

    def num_outputs(self, attrs: Attrs) -> int:
        return attrs["num_carry"]  # type: ignore[no-any-return]

    def run_with(self, arrays: Sequence[Array], attrs: Attrs, run: RunGraph) -> tuple[Array, ...]:
        count = attrs["num_carry"]
        carry, consts = list(arrays[:count]), arrays[count:]
        while run(attrs["cond"], [*carry, *consts])[0].item():
            carry = list(run(attrs["body"], [*carry, *consts]))
        return tuple(carry)

    def samples(self) -> Iterator[Sample]:
        i, x = np.array(0), np.array([1.0, 0.5])
        a, b, c = (make_input(TensorType(v.shape, _dtype(v))) for v in (i, x, x))
        test = ops.lt(a, constant(4, a.dtype))
        body = Graph([a, b, c], [a + 1, b * c])
        attrs = {"cond": Graph([a, b, c], [test]), "body": body, "num_carry": 2}
        yield Sample((i, x, np.array([2.0, 3.0])), attrs, grad=False)
        yield Sample((i + 4, x, x), attrs, grad=False)
        yield Sample((i, x[:1], x), attrs, error=(ShapeError, "expected operands"))

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        """Steps go on while any example wants one; an example that is done stands still."""
        count = node.attrs["num_carry"]
        flags = (True,) * count + tuple(batched[count:])
        test = stacked_graph(node.attrs["cond"], flags, size)
        body = stacked_graph(node.attrs["body"], flags, size)
        going = ops.reshape(test.outputs[0], shape=(size,))
        (again,) = test.apply(body.inputs)
        moved = [
            select(ops.reshape(again, shape=(size,)), new, old)
            for new, old in zip(body.outputs, body.inputs[:count])
        ]
        operands = (*batch_up(inputs[:count], batched[:count], size), *inputs[count:])
        return self(  # type: ignore[no-any-return]
            *operands, cond=Graph(test.inputs, [public.any(going)]),
            body=Graph(body.inputs, moved), num_carry=count,
        )  # fmt: skip


@primitive
class Scan(ControlFlow):
    """``body`` once for each of ``length`` steps, in order or from the last (``reverse``)."""

    name = "scan"
    onnx = "Scan"

    def infer(
        self, *operands: TensorType, body: Graph, num_carry: int, num_xs: int, length: int,
        reverse: bool,
    ) -> Any:  # fmt: skip
        init, xs = operands[:num_carry], operands[num_carry : num_carry + num_xs]
        for x in xs:
            if x.shape[:1] != (length,):
                raise ShapeError(f"scan: expected xs of {length} steps, got {x}")
        slices = [x.with_shape(x.shape[1:]) for x in xs]
        wanted = (*init, *slices, *operands[num_carry + num_xs :])
        check_types("scan", "inputs of the body", body.input_types, wanted)
        check_types("scan", "carries from the body", body.output_types[:num_carry], init)
        stacked = [*body.output_types[num_carry:], *init]
        return (*init, *(t.with_shape((length, *t.shape)) for t in stacked))

    def num_outputs(self, attrs: Attrs) -> int:
        return len(attrs["body"].outputs) + attrs["num_carry"]  # type: ignore[no-any-return]

    def run_with(self, arrays: Sequence[Array], attrs: Attrs, run: RunGraph) -> tuple[Array, ...]:
        body, length, num_carry = attrs["body"], attrs["length"], attrs["num_carry"]
        carry, xs = list(arrays[:num_carry]), arrays[num_carry : num_carry + attrs["num_xs"]]
        consts = arrays[num_carry + attrs["num_xs"] :]
        types = [*body.output_types[num_carry:], *body.input_types[:num_carry]]
        stacks = [np.empty((length, *t.shape), t.dtype.np) for t in types]
        ys, before = stacks[: len(types) - num_carry], stacks[len(types) - num_carry :]
        for t in reversed(range(length)) if attrs["reverse"] else range(length):
            for stack, value in zip(before, carry):
                stack[t] = value
            results = run(body, [*carry, *(x[t] for x in xs), *consts])
            carry = list(results[:num_carry])
            for stack, value in zip(ys, results[num_carry:]):
                stack[t] = value
        return (*carry, *stacks)

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(15)
        h, x = rng.normal(size=(2,)), rng.normal(size=(4, 3))
        w, u = rng.normal(size=(2, 2)), rng.normal(size=(2, 3))
        a, b, c, d = (make_input(TensorType(v.shape, _dtype(v))) for v in (h, x[0], w, u))
        new = ops.tanh(ops.dot(c, a, spec="mk,k->m") + ops.dot(d, b, spec="mk,k->m"))
        body = Graph([a, b, c, d], [new, new * a])
        attrs = {"body": body, "num_carry": 1, "num_xs": 1, "length": 4}
        for reverse in (False, True):
            yield Sample((h, x, w, u), {**attrs, "reverse": reverse})
        yield Sample((h, x[:0], w, u), {**attrs, "length": 0, "reverse": False})
        wrong = (ShapeError, "expected xs of 4 steps")
        yield Sample((h, x[:3], w, u), {**attrs, "reverse": False}, error=wrong)

    def vjp(self, node: Node, g: Any) -> Grads:
        return reverse_scan(node, g, HOOKS.need("differentiate"))

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        attrs = node.attrs
        count, last = attrs["num_carry"], attrs["num_carry"] + attrs["num_xs"]
        body = stacked_graph(attrs["body"], ((True,) * count + tuple(batched[count:])), size)
        xs = [_time_first(x) if flag else x for x, flag in zip(inputs, batched)][count:last]
        init = batch_up(inputs[:count], batched[:count], size)
        results = self(*init, *xs, *inputs[last:], **{**attrs, "body": body})
        return (*results[:count], *(_time_first(v) for v in results[count:]))


def _time_first(value: Value) -> Value:
    """Exchange the first two dimensions: examples and steps."""
    return ops.permute(value, dims=(1, 0, *range(2, value.ndim)))  # type: ignore[no-any-return]
