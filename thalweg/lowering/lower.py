"""Which way a node is lowered, by what its op says of itself."""

from __future__ import annotations

from ..ir.anchor import AnchorCall
from ..ir.graph import Graph
from ..ir.loops import Kernel
from ..ir.node import Node, make_input
from ..ops.contract import PRIMITIVES, Host, LoopKernel
from ..passes.fuse_groups import MOST_SERIAL
from ..passes.fuse_space import has_elements, is_anchor, is_complex, is_reduction
from .anchors import anchor_call
from .nest import loop_kernel


def lower_node(node: Node) -> Kernel | AnchorCall | None:
    """The kernel, the template call, or None for a node that runs on the host."""
    rule = node.op.field("lower") if hasattr(node.op, "field") else None
    if isinstance(rule, Host) or is_complex(node):
        return None
    if isinstance(rule, LoopKernel):
        made: Kernel | None = rule.build(node)
        return made
    if is_anchor(node):
        return anchor_call(alone(node)[0])
    fused = node.op is PRIMITIVES["fused"]
    kind = node.attrs["kind"] if fused else ""
    if kind == "anchor":
        return anchor_call(node.attrs["body"])
    if kind == "loops":
        return loop_kernel(
            kernel_name(node.attrs["body"]), node.attrs["body"], node.attrs["domain"],
            node.attrs["inner"],
        )  # fmt: skip
    if has_elements(node) or bool(getattr(node.op, "reduces", "")):
        body, domain, inner = alone(node)
        return loop_kernel(kernel_name(body), body, domain, inner)
    return None


def alone(node: Node) -> tuple[Graph, tuple[int, ...], tuple[int, ...]]:
    """A node as a group of its own: body, domain and inner dimensions."""
    # An operand given twice is one parameter for each place where it stands.
    fresh = [make_input(v.type) for v in node.inputs]
    copy = Node(node.op, tuple(fresh), node.attrs, node.types, node.location)
    body = Graph(fresh, copy.outputs)
    if is_reduction(node):
        (operand,) = node.inputs
        whole = node.types[0].numel == 1 and operand.type.numel > MOST_SERIAL
        return body, operand.shape, () if whole else tuple(node.attrs["dims"])
    return body, node.types[0].shape, ()


def kernel_name(body: Graph) -> str:
    """A name for people: the ops, and how many elements the largest value has."""
    names = dict.fromkeys(n.op.name for n in body.nodes if not getattr(n.op, "view", False))
    size = max((t.numel for n in body.nodes for t in n.types), default=0)
    return "_".join([*(list(names)[:6] or ["copy"]), str(size)])
