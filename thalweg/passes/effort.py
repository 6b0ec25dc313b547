"""How much work an op is, told from its properties and its scalar form."""

from __future__ import annotations

from ..ir.node import Node
from ..ops.contract import Primitive
from ..ops.pointwise import loops

_QUICK = frozenset(("sqrt", "rsqrt", "floor", "ceil", "round", "trunc"))


def is_costly(node: Node) -> bool:
    """Whether computing a node's results costs clearly more than reading them from memory:
    heavy ops, pointwise ones that evaluate a function such as exp, and whatever is neither a
    view nor pointwise (reductions, indirect reads, loops)."""
    op = node.op
    if not isinstance(op, Primitive):
        return True
    if not op.pointwise:
        return bool(node.inputs) and not op.view and not op.indexed
    if (
        isinstance(op.lower, str)
        or not callable(op.lower)
        or any(v.dtype.is_complex for v in node.inputs)
    ):
        return True
    functions = loops.FLOAT_UNARY - _QUICK
    scalars = [loops.Var(f"x{i}", v.dtype) for i, v in enumerate(node.inputs)]
    return any(
        (isinstance(e, loops.Unary) and e.op in functions)
        or (isinstance(e, loops.Binary) and e.op in ("pow", "atan2"))
        for e in loops.walk_expr(op.lower(*scalars, **node.attrs))
    )
