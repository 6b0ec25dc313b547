"""The rules every graph obeys, checked: `verify` after a pass shows which pass broke one.

A graph is well-formed if its inputs are distinct graph inputs and include every one that is
reachable; each node reads only what stands before it; its attributes are plain, hashable values;
the types of its results are those its op infers; and placements fit shapes and meshes. Graphs
held as attributes obey the same rules. At stage 'primitive', after `decompose`, the graph itself
has neither composites nor the identities that steer differentiation.
"""

from __future__ import annotations

from typing import Any, Literal, NoReturn, TypeAlias

from ..core.errors import GraphError, located
from .graph import Graph
from .node import INPUT, Node, Value, topological
from .sbp import Split
from .text import agrees, infer_types, is_attribute, print_attribute, print_node, value_names
from .types import TensorType

Stage: TypeAlias = Literal["any", "primitive"]
STAGES = ("any", "primitive")

# Ops that compute nothing; they mean something to differentiation only.
GRADIENT_CONTROL = frozenset(("stop_gradient", "as_leaf", "replace_value", "on_meta"))
_INPUT_FLAGS = ("requires_grad", "weak")


def verify(graph: Graph, stage: Stage = "any") -> None:
    """Raise GraphError unless ``graph`` is well-formed, naming the line of its text that is not
    and the place in the user's program that recorded it. ValueError for an unknown stage."""
    if stage not in STAGES:
        raise ValueError(f"verify: expected a stage among {', '.join(STAGES)}, got {stage!r}")
    _Verifier(graph, stage).run()


class _Verifier:
    def __init__(self, graph: Graph, stage: Stage, inside: str = "") -> None:
        self.graph = graph
        self.stage = stage
        self.inside = inside

    def fail(self, message: str, node: Node | None = None) -> NoReturn:
        text = f"verify: {self.inside}{message}"
        if node is None or node.op is INPUT:
            raise GraphError(text)
        line = print_node(node, value_names(self.graph))
        error = GraphError(f"{text}\n  in: {line}")
        # Without a place of its own the error must not be blamed on whoever calls the verifier.
        raise error if node.location is None else located(error, node.location)

    def run(self) -> None:
        self.inputs()
        known = set(self.graph.inputs)
        for node in self.graph.nodes:
            for i, value in enumerate(node.inputs):
                self.operand(node, i, value, known)
            self.attributes(node)
            self.types(node)
            self.body(node)
            if self.stage == "primitive":
                self.primitive(node)
            known.update(node.outputs)
        for i, value in enumerate(self.graph.outputs):
            if value not in known:
                self.undefined(f"output {i}", value)

    def inputs(self) -> None:
        for i, value in enumerate(self.graph.inputs):
            name = f"input {i} ({value.type})"
            if value.node.op is not INPUT:
                self.fail(f"{name} is not a graph input but a result of {value.node.op.name}")
            if value in self.graph.inputs[:i]:
                self.fail(f"{name} occurs twice among the inputs")
            for key, flag in value.node.attrs.items():
                if key in _INPUT_FLAGS and not isinstance(flag, bool):
                    self.fail(f"{name}: expected {key} to be a bool, got {flag!r}")
                if not is_attribute(flag):
                    self.fail(f"{name}: {key} is no plain value: {flag!r}")
            self.placement(name, value.type)

    def operand(self, node: Node, i: int, value: Value, known: set[Value]) -> None:
        if not isinstance(value, Value):
            self.fail(f"operand {i} is not a value but {type(value).__name__}", node)
        if value not in known:
            self.undefined(f"operand {i}", value, node)

    def undefined(self, what: str, value: Value, node: Node | None = None) -> NoReturn:
        if not 0 <= value.index < len(value.node.types):
            count = len(value.node.types)
            self.fail(
                f"{what} is result {value.index} of {value.node.op.name}, which has {count}", node
            )
        if value.node.op is INPUT:
            self.fail(f"{what} is an input ({value.type}) that the graph does not declare", node)
        self.fail(
            f"{what}, a result of {value.node.op.name}, is not computed before it is read", node
        )

    def attributes(self, node: Node) -> None:
        for key, value in node.attrs.items():
            if not is_attribute(value):
                self.fail(
                    f"attribute {key} is no plain, hashable value: {print_attribute(value)} "
                    "(None, bool, int, float, complex, str, dtype, device, placement, graph, "
                    "or a tuple of these)",
                    node,
                )
            self.nested(node, key, value)

    def nested(self, node: Node, key: str, value: Any) -> None:
        if isinstance(value, tuple):
            for item in value:
                self.nested(node, key, item)
        elif isinstance(value, Graph):
            inside = f"{self.inside}in attribute {key} of {node.op.name}: "
            _Verifier(value, "any", inside).run()  # its op lowers it by itself, at any stage

    def types(self, node: Node) -> None:
        name = node.op.name
        try:
            inferred = infer_types(node.op, tuple(v.type for v in node.inputs), node.attrs)
        except Exception as problem:
            given = ", ".join(str(v.type) for v in node.inputs)
            self.fail(
                f"{name} rejects operands ({given}): {type(problem).__name__}: {problem}", node
            )
        if len(inferred) != len(node.types):
            self.fail(f"{name} infers {len(inferred)} results, found {len(node.types)}", node)
        for i, (stated, own) in enumerate(zip(node.types, inferred)):
            if not agrees(stated, own):
                self.fail(f"{name} infers {own} for result {i}, found {stated}", node)
            self.placement(f"result {i}", stated, node)

    def placement(self, what: str, type: TensorType, node: Node | None = None) -> None:
        placed = type.placement
        if placed is None:
            return
        if placed.mesh.device_type != type.device.type:
            self.fail(
                f"{what}: a mesh of {placed.mesh.device_type} devices holds a tensor on "
                f"{type.device}",
                node,
            )
        for axis, sbp in zip(placed.mesh.axes, placed.sbp):
            if isinstance(sbp, Split) and not 0 <= sbp.dim < type.ndim:
                self.fail(
                    f"{what}: {sbp} on mesh axis {axis} of a tensor of {type.ndim} dimensions",
                    node,
                )

    def body(self, node: Node) -> None:
        """The cached body of a composite computes its results from its operands alone."""
        if node.body is None:
            return
        name = node.op.name
        found = [v.type for v in node.body]
        if len(found) != len(node.types) or not all(map(agrees, node.types, found)):
            given = ", ".join(map(str, found))
            self.fail(f"the body of {name} has results of other types ({given})", node)
        operands = set(node.inputs)
        for inner in topological(node.body, stop=lambda n: operands.issuperset(n.outputs)):
            if inner.op is INPUT and inner.out not in operands:
                self.fail(
                    f"the body of {name} reads an input ({inner.types[0]}) that is no operand", node
                )

    def primitive(self, node: Node) -> None:
        if _is_composite(node.op):
            self.fail(f"{node.op.name} is a composite; expected primitives only", node)
        if node.op.name in GRADIENT_CONTROL:
            self.fail(f"{node.op.name} steers differentiation, which is over", node)


def _is_composite(op: Any) -> bool:
    return callable(getattr(op, "expand", None))


__all__ = ["GRADIENT_CONTROL", "STAGES", "Stage", "verify"]
