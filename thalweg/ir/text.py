"""The text form of graphs: printed in one way only, and parsed back to an equal graph.

    graph(%0: float32[3,4] requires_grad, %1: float32[4]) {
      %2: float32[1,4] = reshape(%1) shape=(1, 4)
      %3: float32[3,4] = expand(%2) shape=(3, 4)
      %4: float32[3,4] = add(%0, %3)
      return %4
    }

One line per node, in dependency order; values are numbered in that order. Attributes stand in
alphabetical order; one that is a graph is printed in place, with numbers of its own. A reader may
use other names (``%x``), leave out the types of results and write ``# comments``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from ..core.device import Device
from ..core.dtypes import ALL, DType
from ..core.errors import GraphError
from .graph import Graph
from .node import INPUT, Node, Value
from .sbp import Broadcast, DeviceMesh, Partial, Placement, Sbp, Split
from .types import CPU, TensorType

Names = dict[Value, str]
_INDENT = "  "


def print_graph(graph: Graph, name: str = "graph") -> str:
    """The text of a graph. `parse_graph` gives an equal graph back."""
    names = value_names(graph)
    inputs = ", ".join(_print_input(v, names) for v in graph.inputs)
    returned = ", ".join(names.get(v, "%?") for v in graph.outputs)
    lines = [print_node(node, names) for node in graph.nodes] + [f"return {returned}".rstrip()]
    return "\n".join([f"{name}({inputs}) {{", *map(_indent, lines), "}"])


def value_names(graph: Graph) -> Names:
    """The names under which the graph's values are printed: inputs first, then by node."""
    names: Names = {}
    for value in (*graph.inputs, *(v for node in graph.nodes for v in node.outputs)):
        names.setdefault(value, f"%{len(names)}")
    return names


def print_node(node: Node, names: Names) -> str:
    """The line of one node: several lines if an attribute is a graph. Operands that ``names``
    lacks are printed as ``%?``, which does not parse."""
    results = ", ".join(f"{names.get(v, '%?')}: {v.type}" for v in node.outputs)
    operands = ", ".join(names.get(v, "%?") for v in node.inputs)
    attrs = "".join(f" {k}={print_attribute(node.attrs[k])}" for k in sorted(node.attrs))
    return f"{results} = {node.op.name}({operands}){attrs}"


def print_attribute(value: Any) -> str:
    """The text of an attribute. A value of a type that attributes cannot have is printed in
    angle brackets, which does not parse."""
    if type(value) is float:
        return repr(value)  # 'nan', 'inf' and '-0.0' included
    if type(value) is complex:
        # Not repr(value): it loses the sign of a zero real part.
        return f"complex({value.real!r}, {value.imag!r})"
    if value is None or type(value) in (bool, int, str):
        return repr(value)
    if type(value) is tuple:
        items = ", ".join(map(print_attribute, value))
        return f"({items},)" if len(value) == 1 else f"({items})"
    if isinstance(value, DType):
        return value.name
    if isinstance(value, Device):
        return f"device({str(value)!r})"
    if isinstance(value, Graph):
        return print_graph(value)
    if isinstance(value, (Split, Broadcast, Partial, DeviceMesh, Placement)):
        return str(value)
    return f"<{type(value).__name__} {' '.join(repr(value).split())}>"


def is_attribute(value: Any) -> bool:
    """Whether ``value`` is of a type that attributes may have, which are those with a text."""
    if type(value) is tuple:
        return all(map(is_attribute, value))
    if value is None or type(value) in (bool, int, float, complex, str):
        return True
    return isinstance(
        value, (DType, Device, Graph, Split, Broadcast, Partial, DeviceMesh, Placement)
    )


def infer_types(op: Any, inputs: tuple[TensorType, ...], attrs: Mapping[str, Any]) -> list[Any]:
    """What ``op`` infers; where tensors are placed plays no part. TypeError for a wrong number
    of operands, else whatever the op raises."""
    parameters = getattr(op, "parameters", None)
    if parameters is not None:  # a composite: its operands are the parameters not in `attrs`
        wanted = [p for p in parameters.names if p not in attrs]
        if len(wanted) != len(inputs):
            raise TypeError(
                f"{op.name}: expected {len(wanted)} operands ({', '.join(wanted)}), "
                f"got {len(inputs)}"
            )
    return list(op.infer_types(tuple(map(unplaced, inputs)), attrs))


def unplaced(type: TensorType) -> TensorType:
    """The type without its placement, which no op's inference knows."""
    return type if type.placement is None else replace(type, placement=None)


def agrees(stated: TensorType, inferred: TensorType) -> bool:
    """Whether a node may have the ``stated`` type where its op infers another: only a placement
    may be added."""
    return stated == inferred or (inferred.placement is None and unplaced(stated) == inferred)


def _print_input(value: Value, names: Names) -> str:
    text = f"{names[value]}: {value.type}"
    for key, flag in sorted(value.node.attrs.items()):
        text += f" {key}" if flag is True else f" {key}={print_attribute(flag)}"
    return text


def _indent(text: str) -> str:
    return "\n".join(_INDENT + line for line in text.split("\n"))


def parse_graph(text: str, ops: Mapping[str, Any]) -> Graph:
    """The graph that ``text`` describes, of ops looked up by name in ``ops``.

    GraphError, with line and column, where the text is malformed, a value is not defined, an op
    is unknown or rejects its operands, or a stated type is not the one the op infers. Nodes that
    no returned value depends on are checked and dropped.
    """
    parser = _Parser(text, ops)
    graph = parser.graph()
    parser.end()
    return graph


_TOKEN = re.compile(
    r"""(?P<space>\s+|(?<!\S)\#[^\n]*)
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
      | (?P<value>%[A-Za-z_0-9]+)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<symbol>[-(){}\[\],:;=@\#<>])""",
    re.VERBOSE,
)
_DTYPES = {dtype.name: dtype for dtype in ALL}
_CONSTANTS: dict[str, Any] = {
    "None": None, "True": True, "False": False, "nan": float("nan"), "inf": float("inf"),
    "B": Broadcast(),
}  # fmt: skip


class _Parser:
    """Recursive descent over tokens of (kind, text, position)."""

    def __init__(self, text: str, ops: Mapping[str, Any]) -> None:
        self.text = text
        self.ops = ops
        self.tokens: list[tuple[str, str, int]] = []
        self.at = 0
        position = 0
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                self.fail(f"unexpected character {text[position]!r}", position)
            kind = found.lastgroup or ""
            if kind != "space":
                self.tokens.append((kind, found.group(), position))
            position = found.end()
        self.tokens.append(("end", "end of text", len(text)))

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        if position is None:
            position = self.position
        before = self.text[:position]
        line, column = before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1
        raise GraphError(f"graph text, line {line}, column {column}: {message}")

    def expected(self, what: str) -> NoReturn:
        kind, text, _ = self.tokens[self.at]
        self.fail(f"expected {what}, found {text if kind == 'end' else repr(text)}")

    @property
    def position(self) -> int:
        return self.tokens[self.at][2]

    def take(self, kind: str, what: str) -> str:
        found, text, _ = self.tokens[self.at]
        if found != kind:
            self.expected(what)
        self.at += 1
        return text

    def accept(self, text: str) -> bool:
        kind, found, _ = self.tokens[self.at]
        if kind not in ("symbol", "name") or found != text:
            return False
        self.at += 1
        return True

    def expect(self, *texts: str) -> str:
        for text in texts:
            if self.accept(text):
                return text
        self.expected(" or ".join(map(repr, texts)))

    def end(self) -> None:
        if self.tokens[self.at][0] != "end":
            self.expected("the end of the text")

    def graph(self) -> Graph:
        self.take("name", "the name of a graph")
        values: dict[str, Value] = {}
        inputs: list[Value] = []
        self.expect("(")
        while not self.accept(")"):
            if inputs:
                self.expect(",")
            inputs.append(self.input(values))
        self.expect("{")
        while not self.accept("return"):
            self.node(values)
        outputs: list[Value] = []
        while not self.accept("}"):
            if outputs:
                self.expect(",")
            outputs.append(self.operand(values))
        return Graph(inputs, outputs)

    def input(self, values: dict[str, Value]) -> Value:
        name = self.fresh(values)
        self.expect(":")
        type = self.type()
        attrs: dict[str, Any] = {}
        while self.tokens[self.at][0] == "name":
            key = self.take("name", "a flag")
            attrs[key] = self.attribute() if self.accept("=") else True
        values[name] = Node(INPUT, (), attrs, (type,)).out
        return values[name]

    def fresh(self, taken: Collection[str]) -> str:
        position = self.position
        name = self.take("value", "a value to define, such as %0, or 'return'")
        if name in taken:
            self.fail(f"{name} is defined twice", position)
        return name

    def operand(self, values: dict[str, Value]) -> Value:
        position = self.position
        name = self.take("value", "a value, such as %0")
        if name not in values:
            self.fail(f"{name} is not defined before its use", position)
        return values[name]

    def node(self, values: dict[str, Value]) -> None:
        results: list[str] = []
        stated: list[tuple[TensorType | None, int]] = []
        while not results or self.expect("=", ",") == ",":
            results.append(self.fresh({*values, *results}))
            typed = self.accept(":")
            position = self.position
            stated.append((self.type() if typed else None, position))
        start = self.position
        op = self.ops.get(self.take("name", "the name of an op"))
        if op is None:
            self.at -= 1
            self.expected("the name of an op")
        operands: list[Value] = []
        self.expect("(")
        while not self.accept(")"):
            if operands:
                self.expect(",")
            operands.append(self.operand(values))
        attrs = self.attributes()
        try:
            inferred = infer_types(op, tuple(v.type for v in operands), attrs)
        except Exception as problem:
            self.fail(f"{op.name} rejects this: {type(problem).__name__}: {problem}", start)
        if len(inferred) != len(results):
            self.fail(f"{op.name}: expected {len(inferred)} results, found {len(results)}", start)
        types: list[TensorType] = []
        for (given, position), own in zip(stated, inferred):
            if given is not None and not agrees(given, own):
                self.fail(f"expected {own}, which {op.name} infers, found {given}", position)
            types.append(own if given is None else given)
        made = Node(op, tuple(operands), attrs, tuple(types))
        values.update(zip(results, made.outputs))

    def attributes(self) -> dict[str, Any]:
        attrs: dict[str, Any] = {}
        while self.tokens[self.at][:2] != ("name", "return") and self.tokens[self.at][0] == "name":
            position = self.position
            key = self.take("name", "an attribute")
            if key in attrs:
                self.fail(f"attribute {key!r} is given twice", position)
            self.expect("=")
            attrs[key] = self.attribute()
        return attrs

    def type(self) -> TensorType:
        name = self.take("name", "a dtype")
        if name not in _DTYPES:
            self.at -= 1
            self.expected("a dtype")
        shape: list[int] = []
        self.expect("[")
        while not self.accept("]"):
            if shape:
                self.expect(",")
            shape.append(self.integer())
        device = self.device() if self.accept("@") else CPU
        placement: Any = None
        if self.accept("#"):
            position = self.position
            self.expect("mesh")
            placement = self.mesh()
            if not isinstance(placement, Placement):
                self.fail("expected a mesh with one SBP per axis, as in mesh(...)<B>", position)
        return TensorType(tuple(shape), _DTYPES[name], device, placement)

    def device(self) -> Device:
        position = self.position
        text = self.take("name", "a device type")
        if self.accept(":"):
            text += f":{self.integer()}"
        try:
            return Device(text)
        except RuntimeError as problem:
            self.fail(str(problem), position)

    def integer(self) -> int:
        kind, text, _ = self.tokens[self.at]
        if kind != "number" or not text.isdigit():
            self.expected("an integer")
        self.at += 1
        return int(text)

    def mesh(self) -> DeviceMesh | Placement:
        """What follows ``mesh``: ``(cpu;x=2;0,1)`` and, of a placement, ``<S(0)>``."""
        position = self.position
        self.expect("(")
        device = self.take("name", "a device type")
        axes: list[str] = []
        shape: list[int] = []
        ranks: list[int] = []
        self.expect(";")
        while not self.accept(";"):
            if axes:
                self.expect(",")
            axes.append(self.take("name", "the name of a mesh axis"))
            self.expect("=")
            shape.append(self.integer())
        while not self.accept(")"):
            if ranks:
                self.expect(",")
            ranks.append(self.integer())
        try:
            mesh = DeviceMesh(tuple(axes), tuple(shape), tuple(ranks), device)
            if not self.accept("<"):
                return mesh
            sbp: list[Sbp] = []
            while not self.accept(">"):
                sbp.append(self.sbp())
            return Placement(mesh, tuple(sbp))
        except ValueError as problem:
            self.fail(str(problem), position)

    def sbp(self) -> Sbp:
        kind = self.expect("B", "S", "P")
        if kind == "B":
            return Broadcast()
        self.expect("(")
        position = self.position
        try:
            found: Sbp = (
                Split(self.integer()) if kind == "S" else Partial(self.take("name", "a reduction"))
            )
        except ValueError as problem:
            self.fail(str(problem), position)
        self.expect(")")
        return found

    def attribute(self) -> Any:
        kind, text, _ = self.tokens[self.at]
        if kind == "number" or text == "-":
            return self.number()
        if kind == "string":
            self.at += 1
            return ast.literal_eval(text)
        if self.accept("("):
            items: list[Any] = []
            while not self.accept(")"):
                items.append(self.attribute())
                if self.accept(")"):
                    if len(items) == 1:  # parentheses of one item without a comma
                        self.at -= 1
                        self.expected("','")
                    break
                self.expect(",")
            return tuple(items)
        if kind == "name":
            return self.named(text)
        self.expected("an attribute's value")

    def number(self) -> int | float:
        sign = -1 if self.accept("-") else 1
        if self.accept("inf"):
            return sign * float("inf")
        if self.accept("nan"):
            return float("nan")
        text = self.take("number", "a number")
        return sign * (int(text) if text.isdigit() else float(text))

    def named(self, text: str) -> Any:
        if text == "graph":
            return self.graph()
        if text in ("S", "P"):
            return self.sbp()
        self.at += 1
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text in _DTYPES:
            return _DTYPES[text]
        if text == "mesh":
            return self.mesh()
        if text == "complex":
            self.expect("(")
            real = self.number()
            self.expect(",")
            imaginary = self.number()
            self.expect(")")
            return complex(real, imaginary)
        if text == "device":
            self.expect("(")
            position = self.position
            name = self.take("string", "a device in quotes")
            self.expect(")")
            try:
                return Device(ast.literal_eval(name))
            except RuntimeError as problem:
                self.fail(str(problem), position)
        self.at -= 1
        self.expected("an attribute's value")
