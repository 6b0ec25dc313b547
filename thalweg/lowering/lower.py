"""Which way a node is lowered, by what its op says of itself."""

from __future__ import annotations

from typing import Any

from ..ir.anchor import AnchorCall
from ..ir.graph import Graph
from ..ir.loops import Kernel
from ..ir.node import Node, make_input
from ..ops.contract import Host, LoopKernel
from .nest import loop_kernel
from .plan import is_reduction


def lower_node(node: Node) -> Kernel | AnchorCall | None:
    """The kernel, the template call, or None for a node that runs on the host."""
    rule = node.op.field("lower") if hasattr(node.op, "field") else None
    if isinstance(rule, Host) or _complex(node):
        return None
    if isinstance(rule, LoopKernel):
        made: Kernel | None = rule.build(node)
        return made
    kind = node.attrs.get("kind") if "body" in node.attrs and "domain" in node.attrs else None
    if kind == "loops":
        return loop_kernel(
            kernel_name(node.attrs["body"]), node.attrs["body"], node.attrs["domain"],
            node.attrs["inner"],
        )  # fmt: skip
    if is_elementwise(node) or bool(getattr(node.op, "reduces", "")):
        body, domain, inner = alone(node)
        return loop_kernel(kernel_name(body), body, domain, inner)
    return None


def _complex(node: Node) -> bool:
    return any(v.dtype.is_complex for v in (*node.inputs, *node.outputs))


def is_elementwise(node: Node) -> bool:
    """Whether the op's ``lower`` rule gives its result element by element."""
    op: Any = node.op
    rule = getattr(op, "lower", None)
    return (
        not isinstance(rule, str)
        and callable(rule)
        and (getattr(op, "pointwise", False) or getattr(op, "indexed", False))
    )


def alone(node: Node) -> tuple[Graph, tuple[int, ...], tuple[int, ...]]:
    """A node as a group of its own: body, domain and inner dimensions."""
    # An operand given twice is one parameter for each place where it stands.
    fresh = [make_input(v.type) for v in node.inputs]
    copy = Node(node.op, tuple(fresh), node.attrs, node.types, node.location)
    body = Graph(fresh, copy.outputs)
    if is_reduction(node):
        return body, node.inputs[0].shape, tuple(node.attrs["dims"])
    return body, node.types[0].shape, ()


def kernel_name(body: Graph) -> str:
    """A name for people: the ops, and how many elements the largest value has."""
    names = dict.fromkeys(n.op.name for n in body.nodes if not getattr(n.op, "view", False))
    size = max((t.numel for n in body.nodes for t in n.types), default=0)
    return "_".join([*(list(names)[:6] or ["copy"]), str(size)])
