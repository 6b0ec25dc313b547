"""The verifier accepts what ops build and names the line and the place of what is broken."""

import inspect

import pytest

from thalweg.core.dtypes import float32, int64
from thalweg.core.errors import GraphError
from thalweg.ir.graph import Graph
from thalweg.ir.node import INPUT, Node, Value, make_input
from thalweg.ir.sbp import B, DeviceMesh, P, Placement, S
from thalweg.ir.types import TensorType
from thalweg.ir.verify import GRADIENT_CONTROL, verify
from thalweg.ops import COMPOSITES, PRIMITIVES
from thalweg.ops.gradient_control import Identity
from thalweg.ops.link import ops
from thalweg.passes.decompose import decompose
from thalweg.testing.random_graphs import KINDS, random_graph, seeded
from thalweg.testing.samples import apply, samples_of

VECTOR = TensorType((3,), float32)
MESH = DeviceMesh(("x",), (2,), (0, 1))


def refuse(graph, *fragments, stage="any"):
    with pytest.raises(GraphError) as caught:
        verify(graph, stage)
    for fragment in fragments:
        assert fragment in str(caught.value), caught.value
    return str(caught.value)


@pytest.fixture
def x():
    return make_input(VECTOR)


@pytest.mark.parametrize("name", sorted(PRIMITIVES))
def test_every_primitive_is_accepted(name):
    for sample in samples_of(PRIMITIVES[name]):
        if sample.error is None:
            inputs, node = apply(PRIMITIVES[name], sample.arrays, sample.attrs)
            graph = Graph(inputs, node.outputs)
            verify(graph)
            if name not in GRADIENT_CONTROL:
                verify(graph, "primitive")


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_are_accepted(seed):
    graph = random_graph(seeded(seed), tuple(KINDS), steps=12)
    verify(graph)
    verify(decompose(graph), "primitive")


def test_gradient_control_is_what_the_ops_say():
    assert {n for n, op in PRIMITIVES.items() if isinstance(op, Identity)} == GRADIENT_CONTROL


def test_an_error_names_the_line_and_the_place_in_the_program(x):
    y = ops.neg(x)
    line = inspect.currentframe().f_lineno - 1
    y.node.types = (TensorType((4,), float32),)
    message = refuse(Graph([x], [y]), "neg infers float32[3] for result 0, found float32[4]")
    assert "in: %1: float32[4] = neg(%0)" in message
    assert f"{__file__}:{line}: y = ops.neg(x)" in message


def test_without_a_place_none_is_made_up(x):
    node = Node(PRIMITIVES["neg"], (x,), {}, (TensorType((4,), float32),))
    assert __file__ not in refuse(Graph([x], node.outputs), "neg infers")


def test_inputs(x):
    y = make_input(VECTOR)
    refuse(Graph([x], [x + y]), "operand 1 is an input (float32[3]) that the graph does not")
    refuse(Graph([x], [y]), "output 0 is an input")
    refuse(Graph([x, x], [x]), "input 1 (float32[3]) occurs twice")
    refuse(Graph([x, x + x], [x]), "input 1 (float32[3]) is not a graph input but a result of add")
    odd = Node(INPUT, (), {"requires_grad": 1}, (VECTOR,)).out
    refuse(Graph([odd], [odd]), "expected requires_grad to be a bool, got 1")
    odd = Node(INPUT, (), {"tag": []}, (VECTOR,)).out
    refuse(Graph([odd], [odd]), "tag is no plain value: []")


def test_operands(x):
    y = ops.neg(x)
    y.node.inputs = (Value(x.node, 3),)
    refuse(Graph([x], [y]), "operand 0 is result 3 of input, which has 1", "neg(%?)")
    y.node.inputs = (x, x)
    refuse(Graph([x], [y]), "neg rejects operands (float32[3], float32[3])", "expected 1 operands")


def test_a_value_that_is_none(x):
    y = ops.neg(x)
    graph = Graph([x], [y])
    y.node.inputs = (3,)
    refuse(graph, "operand 0 is not a value but int")


def test_a_cycle(x):
    y = ops.neg(x)
    z = ops.abs(y)
    y.node.inputs = (z,)
    refuse(Graph([x], [z]), "a result of abs, is not computed before it is read")


def test_results(x):
    node = Node(PRIMITIVES["neg"], (x,), {}, (VECTOR, VECTOR))
    refuse(Graph([x], node.outputs), "neg infers 1 results, found 2")
    node = Node(PRIMITIVES["reshape"], (x,), {"shape": (4,)}, (VECTOR,))
    refuse(Graph([x], node.outputs), "reshape rejects operands (float32[3]): ShapeError")
    node = Node(PRIMITIVES["permute"], (x,), {"dims": (0,), "alpha": 1}, (VECTOR,))
    refuse(Graph([x], node.outputs), "permute rejects", "alpha=1")


@pytest.mark.parametrize("value", [[3], {3}, ([3],), print])
def test_attributes_are_plain_and_hashable(x, value):
    node = Node(PRIMITIVES["reshape"], (x,), {"shape": (3,), "extra": value}, (VECTOR,))
    refuse(Graph([x], node.outputs), "attribute extra is no plain, hashable value: ", "<")


def test_inner_graphs(x):
    flag = make_input(TensorType((), PRIMITIVES["lt"](x, x).dtype))
    inner, other = make_input(VECTOR), make_input(VECTOR)
    good = Graph([inner], [ops.neg(inner)])
    bad = Graph([inner], [inner + other])
    outs = ops.cond(flag, x, true=good, false=good)
    verify(Graph([flag, x], outs), "primitive")
    outs = ops.cond(flag, x, true=good, false=bad)
    refuse(Graph([flag, x], outs), "in attribute false of cond: operand 1 is an input")


def test_placements(x):
    def placed(shape, *sbp, mesh=MESH):
        return make_input(TensorType(shape, float32, placement=Placement(mesh, sbp)))

    for sbp in (S(0), B, P):
        y = placed((3,), sbp)
        node = Node(PRIMITIVES["neg"], (y,), {}, (y.type,))
        verify(Graph([y], node.outputs))
    y = placed((3,), S(1))
    refuse(Graph([y], [y]), "input 0", "S(1) on mesh axis x of a tensor of 1 dimensions")
    z = placed((3,), B)
    node = Node(PRIMITIVES["neg"], (z,), {}, (y.type,))
    refuse(Graph([z], node.outputs), "result 0: S(1) on mesh axis x", "in: %1")
    y = placed((3,), B, mesh=DeviceMesh(("x",), (2,), (0, 1), "cuda"))
    refuse(Graph([y], [y]), "a mesh of cuda devices holds a tensor on cpu")


def composite_node(x):
    op = next(o for o in COMPOSITES.values() if len(o.parameters.names) == 1)
    return op(x).node


def test_stage_primitive(x):
    node = composite_node(x)
    verify(Graph([x], node.outputs))
    message = refuse(Graph([x], node.outputs), "is a composite; expected", stage="primitive")
    assert node.op.name in message
    stopped = ops.stop_gradient(x)
    verify(Graph([x], [stopped]))
    refuse(Graph([x], [stopped]), "stop_gradient steers differentiation", stage="primitive")
    with pytest.raises(ValueError, match="expected a stage among any, primitive, got 'late'"):
        verify(Graph([x], [x]), "late")


def test_bodies_of_composites(x):
    node = composite_node(x)
    node.body = (ops.cast(x, dtype=int64),)
    refuse(Graph([x], node.outputs), "results of other types (int64[3])")
    node.body = (make_input(VECTOR),)
    refuse(Graph([x], node.outputs), "reads an input (float32[3]) that is no operand")


def test_operands_of_composites(x):
    node = composite_node(x)
    bad = Node(node.op, (x, x), node.attrs, node.types)
    refuse(Graph([x], bad.outputs), "expected 1 operands")
