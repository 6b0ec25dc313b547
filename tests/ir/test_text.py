"""The text form of graphs: printed one way, parsed back, with errors that say where and what."""

import numpy as np
import pytest

from thalweg.core.device import Device
from thalweg.core.dtypes import bfloat16, bool_, float32, int64
from thalweg.core.errors import GraphError
from thalweg.ir.graph import Graph
from thalweg.ir.node import INPUT, Node, Value, attrs_key, make_input
from thalweg.ir.sbp import B, DeviceMesh, P, Placement, S
from thalweg.ir.text import is_attribute, parse_graph, print_attribute, print_graph
from thalweg.ir.types import TensorType
from thalweg.ops import COMPOSITES, FUNCTIONS, PRIMITIVES
from thalweg.testing.samples import apply, samples_of, type_of

OPS = {**COMPOSITES, **PRIMITIVES}
EXAMPLE = """\
graph(%0: float32[3,4] requires_grad, %1: float32[4]) {
  %2: float32[1,4] = reshape(%1) shape=(1, 4)
  %3: float32[3,4] = expand(%2) shape=(3, 4)
  %4: float32[3,4] = add(%0, %3)
  return %4
}"""


def same_after_parsing(graph):
    text = print_graph(graph)
    again = parse_graph(text, OPS)
    assert print_graph(again) == text
    assert again == graph
    return again


class Anything:
    """An op that takes any attributes and gives what it is told to."""

    name = "anything"

    def __init__(self, *types):
        self.types = types

    def infer_types(self, inputs, attrs):
        return self.types


def test_names_of_ops_are_unique():
    assert not set(COMPOSITES) & set(PRIMITIVES)


def test_example():
    x = make_input(TensorType((3, 4), float32), requires_grad=True)
    y = make_input(TensorType((4,), float32))
    graph = Graph([x, y], [x + y])
    assert print_graph(graph) == EXAMPLE == repr(graph)
    again = same_after_parsing(graph)
    assert again.inputs[0].node.attrs == {"requires_grad": True}
    assert print_graph(graph, "loss").startswith("loss(%0: ")


@pytest.mark.parametrize("name", sorted(PRIMITIVES))
def test_every_primitive_is_parsed_back(name):
    count = 0
    for sample in samples_of(PRIMITIVES[name]):
        if sample.error is None:
            inputs, node = apply(PRIMITIVES[name], sample.arrays, sample.attrs)
            same_after_parsing(Graph(inputs, node.outputs))
            count += 1
    assert count or not PRIMITIVES[name].samples, f"{name} has no samples"


def composite_graphs(function):
    """Graphs of the calls that test a public function, arrays made graph inputs."""
    for call in function.calls():
        if call.error is not None:
            continue
        inputs = []

        def lift(arg, inputs=inputs):
            if isinstance(arg, np.ndarray):
                inputs.append(make_input(type_of(arg)))
                return inputs[-1]
            return type(arg)(map(lift, arg)) if type(arg) in (list, tuple) else arg

        result = function.impl(
            *map(lift, call.args), **{k: lift(v) for k, v in call.kwargs.items()}
        )
        results = result if isinstance(result, tuple) else (result,)
        yield Graph(inputs, [v for v in results if isinstance(v, Value)])


@pytest.mark.parametrize("name", sorted(n for n, f in FUNCTIONS.items() if f.composite))
def test_every_composite_is_parsed_back(name):
    function = FUNCTIONS[name]
    if not callable(function.calls) or isinstance(function.calls, str) or function.random:
        assert function.random or isinstance(function.calls, str), f"{name} declares no calls"
        return
    for graph in composite_graphs(function):
        same_after_parsing(graph)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"), (True, "True"), (-3, "-3"), (10**30, "1" + "0" * 30), (1.0, "1.0"),
        (-0.0, "-0.0"), (1e-300, "1e-300"), (float("nan"), "nan"), (float("-inf"), "-inf"),
        (1e22, "1e+22"), (complex(-0.0, float("inf")), "complex(-0.0, inf)"),
        ("it's\n\"%0\"", "'it\\'s\\n\"%0\"'"), ("", "''"), ("größer", "'größer'"),
        ((), "()"), ((1,), "(1,)"), ((1, (2.0, "a"), None), "(1, (2.0, 'a'), None)"),
        (bfloat16, "bfloat16"), (bool_, "bool"), (Device("cuda:1"), "device('cuda:1')"),
        (S(1), "S(1)"), (B, "B"), ((P, S(0)), "(P(sum), S(0))"),
        (DeviceMesh(("x", "y"), (2, 1), (4, 7)), "mesh(cpu;x=2,y=1;4,7)"),
        (Placement(DeviceMesh(("x",), (2,), (0, 1), "cuda"), (S(0),)), "mesh(cuda;x=2;0,1)<S(0)>"),
    ],
)  # fmt: skip
def test_attributes(value, text):
    assert print_attribute(value) == text and is_attribute(value)
    op = Anything(TensorType((), float32))
    source = f"graph() {{\n  %0: float32[] = anything() a={text} b=1\n  return %0\n}}"
    graph = parse_graph(source, {"anything": op})
    assert print_graph(graph) == source
    found = graph.nodes[0].attrs["a"]
    assert type(found) is type(value)
    assert attrs_key({"a": found}) == attrs_key({"a": value})


@pytest.mark.parametrize(
    "value", [[1], {1: 2}, np.float32(1), np.int64(1), np.float64(2), print, b"x", ([],)]
)
def test_other_attributes_are_shown_but_are_none(value):
    assert not is_attribute(value)
    assert "<" in print_attribute(value) and "\n" not in print_attribute(value)


def test_inner_graphs_stand_in_place_with_their_own_numbers():
    text = """\
graph(%0: float64[2], %1: bool[]) {
  %2: float64[2] = cond(%1, %0) false=graph(%0: float64[2]) {
    %1: float64[2] = neg(%0)
    return %1
  } true=graph(%0: float64[2]) {
    return %0
  }
  %3: float64[2] = neg(%2)
  return %3
}"""
    graph = parse_graph(text, OPS)
    assert print_graph(graph) == text
    assert graph.nodes[0].attrs["true"].outputs == graph.nodes[0].attrs["true"].inputs
    same_after_parsing(graph)


def test_types_on_devices_and_meshes():
    text = """\
graph(%0: float32[4]@cuda:1, %1: int64[8,0]#mesh(cpu;x=2,y=2;0,1,2,3)<S(0) P(sum)> weak) {
  return %1, %0
}"""
    graph = parse_graph(text, OPS)
    assert print_graph(graph) == text
    assert graph.input_types[0].device is Device("cuda:1")
    assert graph.input_types[1].placement.sbp == (S(0), P)
    placed = parse_graph(
        "graph(%0: float32[4]#mesh(cpu;x=2;0,1)<S(0)>) {\n"
        "  %1: float32[4]#mesh(cpu;x=2;0,1)<B> = neg(%0)\n  return %1\n}",
        OPS,
    )
    assert placed.output_types[0].placement.sbp == (B,)


def test_several_results_and_none():
    text = """\
graph(%0: float32[3]) {
  %1: float32[3], %2: int64[3] = sort(%0) descending=False dim=0
  return %2
}"""
    assert print_graph(parse_graph(text, OPS)) == text
    assert print_graph(parse_graph("graph() { return }", OPS)) == "graph() {\n  return\n}"


def test_people_may_write_names_and_leave_out_types():
    text = """
    # comments, too
    loss(%x: float32[2], %y: float32[2] weak=True tag='a') {
      %unused = neg(%x)   # is dropped
      %z = add(%x, %y)
      return %z }"""
    graph = parse_graph(text, OPS)
    assert print_graph(graph) == (
        "graph(%0: float32[2], %1: float32[2] tag='a' weak) {\n"
        "  %2: float32[2] = add(%0, %1)\n  return %2\n}"
    )


def test_undeclared_operands_are_shown():
    x, y = (make_input(TensorType((2,), float32)) for _ in range(2))
    text = print_graph(Graph([x], [x + y]))
    assert "%1: float32[2] = add(%0, %?)" in text
    with pytest.raises(GraphError, match=r"line 2, column 28: unexpected character '%'"):
        parse_graph(text, OPS)


def test_an_input_may_carry_other_attributes():
    value = Node(INPUT, (), {"name": "x"}, (TensorType((), int64),)).out
    same_after_parsing(Graph([value], [value]))


BAD = {
    "": (1, 1, "expected the name of a graph, found end of text"),
    "graph(%0: float33[3]) {": (1, 11, "expected a dtype, found 'float33'"),
    "graph(%0: float32[-1]) {": (1, 19, "expected an integer, found '-'"),
    "graph(%0: float32[3] %1: int64[]) {": (1, 22, "expected ',', found '%1'"),
    "graph(%0: float32[3], %0: int64[]) {": (1, 23, "%0 is defined twice"),
    "graph(%0: float32[3]@tpu) {": (1, 22, "Expected one of cpu, cuda, meta"),
    "graph(%0: float32[3]#mesh(cpu;x=2;0)<B>) {": (1, 26, "1 axis names and 1 ranks do not fit"),
    "graph(%0: float32[3]#mesh(cpu;x=2;0,1)<B B>) {": (1, 26, "2 SBPs for a mesh of 1 axes"),
    "graph(%0: float32[3]#mesh(cpu;x=2;0,1)) {": (1, 22, "one SBP per axis"),
    "graph(%0: float32[3]#mesh(cpu;x=1;0)<P(avg)>) {": (1, 40, "expected sum, max, min or prod"),
    "graph() {\n  return": (2, 9, "expected a value, such as %0, found end of text"),
    "graph() {\n  return %0\n}": (2, 10, "%0 is not defined before its use"),
    "graph() {\n} ": (2, 1, "expected a value to define, such as %0, or 'return', found '}'"),
    "graph() { return } }": (1, 20, "expected the end of the text, found '}'"),
    "graph() {\n  %0 = frobnicate()": (2, 8, "expected the name of an op, found 'frobnicate'"),
    "graph(%0: int64[2]) {\n  %0 = neg(%0)": (2, 3, "%0 is defined twice"),
    "graph(%0: int64[2]) {\n  %1 = neg(%2)": (2, 12, "%2 is not defined before its use"),
    "graph(%0: int64[2]) {\n  %1, %1 = neg(%0)": (2, 7, "%1 is defined twice"),
    "graph(%0: int64[2]) {\n  %1, %2 = neg(%0) return": (2, 12, "expected 1 results, found 2"),
    "graph(%0: int64[2]) {\n  %1: int64[3] = neg(%0) return": (
        2, 7, "expected int64[2], which neg infers, found int64[3]",
    ),
    "graph(%0: int64[2]) {\n  %1 = neg(%0, %0) return": (2, 8, "neg: expected 1 operands, got 2"),
    "graph(%0: int64[2]) {\n  %1 = reshape(%0) return": (2, 8, "missing 1 required"),
    "graph(%0: int64[2]) {\n  %1 = reshape(%0) shape=(3,) return": (2, 8, "is invalid for input"),
    "graph(%0: int64[2]) {\n  %1 = reshape(%0) shape=(2) return": (2, 28, "expected ','"),
    "graph(%0: int64[2]) {\n  %1 = reshape(%0) shape=": (2, 26, "expected an attribute's value"),
    "graph(%0: int64[2]) {\n  %1 = reshape(%0) shape=foo": (2, 26, "value, found 'foo'"),
    "graph(%0: int64[2]) {\n  %1 = reshape(%0) shape='a": (2, 26, "unexpected character \"'\""),
    "graph(%0: int64[2]) {\n  %1 = permute(%0) dims=(0,) dims=(0,)": (2, 30, "given twice"),
    "graph(%0: int64[2]) {\n  %1 = take(%0) a=device('gpu')": (2, 26, "Expected one of cpu"),
    "graph(%0: int64[2]) {\n  %1 = take(%0) a=complex(1.0)": (2, 30, "expected ',', found ')'"),
    "graph(%0: int64[2]) {\n  %1 = cast(%0) dtype=-x": (2, 24, "expected a number, found 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_errors_say_where_and_what(text):
    line, column, message = BAD[text]
    with pytest.raises(GraphError) as caught:
        parse_graph(text, OPS)
    assert message in str(caught.value), caught.value
    assert f"line {line}, column {column}:" in str(caught.value), caught.value


def test_a_composite_rejects_a_wrong_number_of_operands():
    name, op = next((n, o) for n, o in COMPOSITES.items() if len(o.parameters.names) == 1)
    source = f"graph(%0: float32[2]) {{ %1 = {name}(%0, %0) return %1 }}"
    with pytest.raises(GraphError, match="expected 1 operands"):
        parse_graph(source, {name: op})
