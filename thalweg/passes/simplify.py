"""Remove what computes nothing and compute what is constant; results stay the same bit for bit.

    graph(%0: float32[2,3]) {
      %1 = reshape(%0) shape=(3, 2)
      %2 = reshape(%1) shape=(6,)
      %3 = full() dtype=float32 shape=(6,) value=2.0
      %4 = full() dtype=float32 shape=(6,) value=0.5
      %5 = mul(%3, %4)
      %6 = mul(%2, %5)
      return %6
    }

becomes

    graph(%0: float32[2,3]) {
      %1 = reshape(%0) shape=(6,)
      return %1
    }

Floating-point rules hold for NaN, infinities and both zeros: ``x + 0.0`` stays, since it turns
-0.0 into 0.0, and ``x * 0.0`` stays, since it may be NaN. Random bits and sub-graphs of control
flow are left alone.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..core.dtypes import DType, bool_
from ..ir.graph import Graph
from ..ir.node import Node, Value
from ..ir.rewrite import CONSTANT, Matched, Rule, const, constant_of, op, rewrite, var
from ..ops.contract import Primitive
from ..ops.link import ops

# Bits of the significand: all integers of so many bits are exact.
_SIGNIFICAND = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


def simplify(graph: Graph, applied: Counter[str] | None = None) -> Graph:
    """The graph without identities, chains of movements and constant subexpressions.

    ``applied``, if given, counts how often each rule was used, by name.
    """
    return rewrite(graph, RULES, applied)


def _keep(name: str) -> Any:
    return lambda m: m[name]


# --- arithmetic -----------------------------------------------------------------------------


def _adds_nothing(number: Any, value: Value) -> bool:
    """-0.0 for floats: adding 0.0 would turn -0.0 into 0.0."""
    if value.dtype.category in ("int", "bool"):
        return not number
    return value.dtype.is_floating_point and number == 0 and bool(np.signbit(number))


def _subtracts_nothing(number: Any, value: Value) -> bool:
    if value.dtype.category == "int":
        return not number
    return value.dtype.is_floating_point and number == 0 and not np.signbit(number)


def _is_one(number: Any, value: Value) -> bool:
    # A complex product mixes parts: (inf + 0i) * (1 + 0i) has a NaN.
    return not value.dtype.is_complex and bool(number == 1)


def _is_zero_of_integers(number: Any, value: Value) -> bool:
    return value.dtype.category in ("int", "bool") and not number


_ARITHMETIC = (
    Rule("x + 0", op("add", var("x"), const(where=_adds_nothing), commutative=True), _keep("x")),
    Rule("x - 0", op("sub", var("x"), const(where=_subtracts_nothing)), _keep("x")),
    Rule("x * 1", op("mul", var("x"), const(where=_is_one), commutative=True), _keep("x")),
    Rule("x / 1", op("div", var("x"), const(where=_is_one)), _keep("x")),
    Rule(
        "0 - x",
        op("sub", const(where=_is_zero_of_integers), var("x")),
        lambda m: ops.neg(m["x"]),
    ),
    Rule(
        "x * 0",
        op(
            "mul", var("x"), const(where=_is_zero_of_integers, bind="0"), commutative=True
        ),
        _keep("0"),
    ),
    Rule("-(-x)", op("neg", op("neg", var("x"))), _keep("x")),
    Rule(
        "where of a constant",
        op("where", const(bind="if"), var("x"), var("y")),
        lambda m: m["x"] if constant_of(m["if"]) else m["y"],
    ),
    Rule("where of equals", op("where", var("if"), var("x"), var("x")), _keep("x")),
)  # fmt: skip

# --- movement -------------------------------------------------------------------------------


def _same_type(node: Node) -> bool:
    return node.types[0] == node.inputs[0].type


def _takes_all(node: Node) -> bool:
    return _same_type(node) and all(step == 1 for step in node.attrs["steps"])


def _keeps_order(node: Node) -> bool:
    dims = node.attrs["dims"]
    return tuple(dims) == tuple(range(len(dims)))


def _no_width(node: Node) -> bool:
    return not any((*node.attrs["low"], *node.attrs["high"], *node.attrs["interior"]))


def _mirrors_nothing(node: Node) -> bool:
    return all(node.types[0].shape[d] == 1 for d in node.attrs["dims"])


def _permute_both(m: Matched) -> Value:
    inner, outer = m["inner"].node.attrs["dims"], m["outer"].node.attrs["dims"]
    return ops.permute(m["x"], dims=tuple(inner[d] for d in outer))  # type: ignore[no-any-return]


def _slice_both(m: Matched) -> Value:
    inner, outer = m["inner"].node.attrs, m["outer"].node.attrs
    starts, stops, steps = [], [], []
    for d, extent in enumerate(m["outer"].shape):
        first, step = inner["starts"][d], inner["steps"][d]
        starts.append(first + outer["starts"][d] * step if extent else 0)
        steps.append(outer["steps"][d] * step)
        stops.append(starts[d] + (extent - 1) * steps[d] + 1 if extent else 0)
    return ops.slice(  # type: ignore[no-any-return]
        m["x"], starts=tuple(starts), stops=tuple(stops), steps=tuple(steps)
    )


def _twice(name: str) -> Any:
    return op(name, op(name, var("x"), bind="inner"), bind="outer")


_MOVEMENT = (
    Rule("reshape to the same shape", op("reshape", var("x"), where=_same_type), _keep("x")),
    Rule("expand to the same shape", op("expand", var("x"), where=_same_type), _keep("x")),
    Rule("permute to the same order", op("permute", var("x"), where=_keeps_order), _keep("x")),
    Rule("slice of everything", op("slice", var("x"), where=_takes_all), _keep("x")),
    Rule("pad by nothing", op("pad", var("x"), where=_no_width), _keep("x")),
    Rule(
        "flip of nothing",
        op("flip", var("x"), where=_mirrors_nothing),
        _keep("x"),
    ),
    Rule("concat of one", op("concat", var("x")), _keep("x")),
    Rule(
        "reshape twice",
        _twice("reshape"),
        lambda m: ops.reshape(m["x"], shape=m["outer"].shape),
    ),
    Rule(
        "expand twice",
        _twice("expand"),
        lambda m: ops.expand(m["x"], shape=m["outer"].shape),
    ),
    Rule("permute twice", _twice("permute"), _permute_both),
    Rule("slice twice", _twice("slice"), _slice_both),
)  # fmt: skip

# --- casts ----------------------------------------------------------------------------------


def holds_exactly(wide: DType, narrow: DType) -> bool:
    """Whether every value of ``narrow`` is one of ``wide``."""
    if wide is narrow or narrow is bool_:
        return True
    if wide.is_complex:
        return holds_exactly(wide.to_real(), narrow.to_real())
    if narrow.is_complex or wide.category == "bool":
        return False
    if narrow.is_floating_point:
        # float16 and bfloat16 each hold what the other does not.
        return wide.is_floating_point and wide.itemsize > narrow.itemsize
    bits = narrow.itemsize * 8 - narrow.is_signed
    if wide.is_floating_point:
        return bits <= _SIGNIFICAND[wide.name]
    sign_fits = wide.is_signed or not narrow.is_signed
    return sign_fits and wide.itemsize * 8 - wide.is_signed >= bits


def _cast_both(m: Matched) -> Value | None:
    """One conversion where the first of two loses nothing and the second then does the same to
    a value whichever dtype holds it. (NumPy converts an integer outside the target's range by
    its own rules for each source, so not from floats to integers.)"""
    x, middle, last = m["x"], m["inner"].dtype, m["outer"].dtype
    if not holds_exactly(middle, x.dtype):
        return None
    alike = x.dtype.category == middle.category == last.category
    if alike or last is bool_ or holds_exactly(last, x.dtype):
        return x if last is x.dtype else ops.cast(x, dtype=last)
    return None


_CASTS = (
    Rule("cast to the same dtype", op("cast", var("x"), where=_same_type), _keep("x")),
    Rule("cast twice", _twice("cast"), _cast_both),
)

# --- reductions over nothing ------------------------------------------------------------------


def _reduces_nothing(node: Node) -> bool:
    return not node.attrs["dims"]


_REDUCTIONS = (
    *(
        Rule(f"{name} over nothing", op(name, var("x"), where=_reduces_nothing), _keep("x"))
        for name in ("reduce_max", "reduce_min", "reduce_prod")
    ),
    Rule(
        # A floating-point sum begins with 0.0 and so turns -0.0 into 0.0, even of one term.
        "reduce_sum over nothing",
        op("reduce_sum", var("x", lambda v: v.dtype.category == "int"), where=_reduces_nothing),
        _keep("x"),
    ),
)

# --- constants ------------------------------------------------------------------------------


def _foldable(node: Node) -> bool:
    """A deterministic op of full tensors, applied to each element or to one element only. A loop
    in a sub-graph is no constant: it need not end."""
    for value in node.inputs:
        if value.node.op.name != CONSTANT:  # of most nodes: what is left costs more to ask
            return False
    known = node.op
    if not isinstance(known, Primitive) or known.random or not node.inputs:
        return False
    if len(node.types) != 1 or any(isinstance(a, Graph) for a in node.attrs.values()):
        return False
    each = known.pointwise or (
        node.types[0].numel == 1 and all(v.type.numel == 1 for v in node.inputs)
    )
    return each and all(constant_of(v) is not None for v in node.inputs)


def _fold(m: Matched) -> Value | None:
    """The constant that the op's reference computes; None where it fails, which the program will
    then do at its own time."""
    value = m["value"]
    node = value.node
    arrays = [
        np.full(() if node.op.pointwise else v.shape, constant_of(v), v.dtype.np)
        for v in node.inputs
    ]
    try:
        with np.errstate(all="ignore"):
            (result,) = node.op.run(arrays, node.attrs)
    except Exception:
        return None
    return _full(value, np.asarray(result).reshape(())[()])


def _moves_constant(node: Node) -> bool:
    """A view: its elements are those of its operand, of which all are the same number."""
    if len(node.inputs) != 1 or node.inputs[0].node.op.name != CONSTANT:
        return False
    known = node.op
    return (
        isinstance(known, Primitive)
        and known.view
        and known.differentiable is True  # not one that steers differentiation
        and constant_of(node.inputs[0]) is not None
    )


def _computes_nothing(node: Node) -> bool:
    """Without elements, and of an op that only computes: no kernel has to bother with it."""
    if len(node.types) != 1 or node.types[0].numel or not node.inputs:
        return False
    known = node.op
    return (
        isinstance(known, Primitive)
        and known.differentiable is True
        and (known.pointwise or known.view or bool(getattr(known, "reduces", "")))
    )


def _full(like: Value, number: Any) -> Value | None:
    """A tensor of the type of ``like`` full of a NumPy scalar of its dtype."""
    plain: dict[str, Any] = {"bool": bool, "int": int, "float": float, "complex": complex}
    made = ops.full(shape=like.shape, value=plain[like.dtype.category](number), dtype=like.dtype)
    return made if made.type == like.type else None


_CONSTANTS = (
    Rule(
        "no elements",
        op(None, where=_computes_nothing, bind="value"),
        lambda m: _full(m["value"], m["value"].dtype.np.type(0)),
    ),
    Rule("fold", op(None, where=_foldable, bind="value"), _fold),
    Rule(
        "view of a constant",
        op(None, where=_moves_constant, bind="value"),
        lambda m: _full(m["value"], constant_of(m["value"].node.inputs[0])),
    ),
)

RULES: tuple[Rule, ...] = (*_ARITHMETIC, *_MOVEMENT, *_CASTS, *_REDUCTIONS, *_CONSTANTS)
