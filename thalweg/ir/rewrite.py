"""Pattern rewriting on values: declarative rules, applied bottom-up until none fires.

    Rule("reshape twice", op("reshape", op("reshape", var("x")), bind="y"),
         lambda m: ops.reshape(m["x"], shape=m["y"].shape))

A pattern matches a value by the op that made it and, recursively, by that op's operands; names
collect what was matched. A rule's builder returns the value to use instead, or None to decline.

Invariants: a rewrite never changes the type of a value; it ends (a rule that keeps firing, or
rules that undo one another, raise GraphError); nodes it does not touch stay the same objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, TypeAlias

import numpy as np

from ..core.errors import GraphError
from .graph import Graph
from .node import INPUT, Node, Value

Matched: TypeAlias = Mapping[str, Value]
Builder: TypeAlias = Callable[[Matched], Value | None]
CONSTANT = "full"  # the op without operands that fills a tensor with its attribute `value`


@dataclass(frozen=True)
class Var:
    """Matches any value for which ``where`` holds. The same name twice must be the same value."""

    name: str
    where: Callable[[Value], bool] | None = None


@dataclass(frozen=True)
class Const:
    """Matches a tensor full of one number for which ``accepts(number, value)`` holds."""

    accepts: Callable[[Any, Value], bool]
    bind: str


@dataclass(frozen=True)
class Op:
    """Matches a result of an op; see `op`."""

    name: str | None
    operands: tuple[Pattern, ...] | None
    where: Callable[[Node], bool] | None
    commutative: bool
    once: bool
    bind: str


Pattern: TypeAlias = Var | Const | Op


def var(name: str, where: Callable[[Value], bool] | None = None) -> Var:
    """Any value, called ``name``."""
    return Var(name, where)


def const(
    number: int | float | None = None,
    *,
    where: Callable[[Any, Value], bool] | None = None,
    bind: str = "",
) -> Const:
    """A tensor full of ``number``, of any dtype, signs of zero told apart; or full of a number
    (a NumPy scalar of its dtype) for which ``where(number, value)`` holds; or of any number."""
    if where is not None:
        return Const(where, bind)
    if number is None:
        return Const(lambda found, value: True, bind)
    sign = np.signbit(float(number))
    return Const(
        lambda found, value: bool(found == number and np.signbit(float(np.real(found))) == sign),
        bind,
    )


def op(
    name: str | None,
    *operands: Pattern,
    where: Callable[[Node], bool] | None = None,
    commutative: bool = False,
    once: bool = False,
    bind: str = "",
) -> Op:
    """A result of the op ``name`` (None: of any op) whose operands match; without patterns for
    operands, whatever its operands are.

    ``where(node)`` is a further condition, for attributes; ``commutative`` tries the operands
    in every order; ``once`` demands that nothing else uses the value, which must not be an
    output of the graph; ``bind`` names the matched value itself.
    """
    return Op(name, operands or None, where, commutative, once, bind)


@dataclass(frozen=True)
class Rule:
    """Replace what ``pattern`` matches by what ``build`` returns (None: leave it)."""

    name: str
    pattern: Op
    build: Builder = field(repr=False)


def constant_of(value: Value) -> Any:
    """The number of which ``value`` is full, as a NumPy scalar of its dtype; else None."""
    node = value.node
    if node.op.name != CONSTANT or node.inputs or "value" not in node.attrs:
        return None
    try:
        return np.full((), node.attrs["value"], value.dtype.np)[()]
    except (OverflowError, ValueError, TypeError):
        return None  # a number that the dtype cannot hold: an error, but not of this pass


def matches(
    pattern: Pattern, value: Value, uses: Mapping[Value, int] | None = None
) -> Iterator[dict[str, Value]]:
    """Every way in which ``pattern`` matches ``value``, as named values. ``uses`` counts the
    uses of values; without it a pattern with ``once`` does not match."""
    return _match(pattern, value, {}, uses or {})


def _match(
    pattern: Pattern, value: Value, found: dict[str, Value], uses: Mapping[Value, int]
) -> Iterator[dict[str, Value]]:
    if isinstance(pattern, Var):
        if pattern.where is None or pattern.where(value):
            yield from _bound(pattern.name, value, found)
    elif isinstance(pattern, Const):
        number = constant_of(value)
        if number is not None and pattern.accepts(number, value):
            yield from _bound(pattern.bind, value, found)
    else:
        node = value.node
        if (
            (pattern.name is not None and node.op.name != pattern.name)
            or (pattern.once and uses.get(value) != 1)
            or (pattern.where is not None and not pattern.where(node))
        ):
            return
        for inner in _match_operands(pattern, node, found, uses):
            yield from _bound(pattern.bind, value, inner)


def _match_operands(
    pattern: Op, node: Node, found: dict[str, Value], uses: Mapping[Value, int]
) -> Iterator[dict[str, Value]]:
    if pattern.operands is None:
        yield found
    elif len(pattern.operands) == len(node.inputs):
        orders = permutations(node.inputs) if pattern.commutative else [node.inputs]
        for order in orders:
            yield from _match_all(pattern.operands, tuple(order), found, uses)


def _match_all(
    patterns: tuple[Pattern, ...],
    values: tuple[Value, ...],
    found: dict[str, Value],
    uses: Mapping[Value, int],
) -> Iterator[dict[str, Value]]:
    if not patterns:
        yield found
        return
    for inner in _match(patterns[0], values[0], found, uses):
        yield from _match_all(patterns[1:], values[1:], inner, uses)


def _bound(name: str, value: Value, found: dict[str, Value]) -> Iterator[dict[str, Value]]:
    if not name:
        yield found
    elif name not in found:
        yield {**found, name: value}
    elif found[name] is value:
        yield found


def rewrite(
    graph: Graph, rules: Sequence[Rule], applied: Counter[str] | None = None, limit: int = 0
) -> Graph:
    """The graph with ``rules`` applied until none of them matches; earlier rules go first.

    ``applied``, if given, counts the applications of each rule by name. GraphError if a rule
    returns another type, if rules undo one another, or after ``limit`` applications (0: as many
    as 100 a node, which no set of rules that shrink a graph can reach).
    """
    run = _Rewriter(rules, Counter() if applied is None else applied)
    run.limit = limit or 100 * len(graph.nodes) + 100
    seen: set[object] = set()
    first = True
    while True:
        before = run.count
        names = run.log.copy()
        after = run.sweep(graph)
        if run.count == before:
            return graph
        if not first:  # structures are costly, and most graphs settle in one sweep
            seen.add(graph.structure())
            if after.structure() in seen:
                culprits = ", ".join(repr(n) for n in run.log - names)
                raise GraphError(f"rewrite: rules undo one another: {culprits}")
        graph, first = after, False


class _Rewriter:
    """``settled`` are values on which no rule fires, whatever becomes of the rest of the graph."""

    def __init__(self, rules: Sequence[Rule], applied: Counter[str]) -> None:
        every = [(rule, _condition(rule.pattern)) for rule in rules]
        self.any_op = [(r, c) for r, c in every if r.pattern.name is None]
        self.by_op = {
            name: [(r, c) for r, c in every if r.pattern.name in (name, None)]
            for name in {r.pattern.name for r in rules if r.pattern.name is not None}
        }
        self.counts_uses = any(_asks_uses(rule.pattern) for rule in rules)
        self.settled: set[Value] = set()
        self.applied = applied
        self.log: Counter[str] = Counter()
        self.count = 0
        self.limit = 0

    def sweep(self, graph: Graph) -> Graph:
        """One pass over the nodes in dependency order."""
        old_uses = Counter([v for node in graph.nodes for v in node.inputs])
        for value in graph.outputs:
            old_uses[value] += 2  # an output is never 'used once'
        new: dict[Value, Value] = {}  # what replaces a value, where anything does
        uses: Counter[Value] = Counter({v: old_uses[v] for v in graph.inputs})
        nodes: set[Node] = {v.node for v in graph.inputs}
        for node in graph.nodes:
            kept = node
            if new and not new.keys().isdisjoint(node.inputs):
                kept = node.moved(tuple([new.get(v, v) for v in node.inputs]))
            nodes.add(kept)
            for old, value in zip(node.outputs, kept.outputs):
                settled = value
                if old_uses[old]:
                    # (No uses: of a node that is kept for another of its results.)
                    if self.counts_uses:
                        uses[value] += old_uses[old]
                    if value in self.settled:
                        if value is not old:
                            new[old] = value
                        continue
                    settled = self.simplest(value, uses, nodes)
                    if self.counts_uses and settled is not value:
                        uses[value] -= old_uses[old]
                        uses[settled] += old_uses[old]
                if settled is not old:
                    new[old] = settled
        if not new:
            return graph
        return Graph(graph.inputs, [new.get(v, v) for v in graph.outputs])

    def simplest(self, value: Value, uses: Mapping[Value, int], nodes: set[Node]) -> Value:
        """``value`` after rules have fired on it until none does."""
        found = self.step(value, uses)
        if found is None:
            return value
        passed = {_identity(value)}
        names: list[str] = []
        while found is not None:
            rule, result = found
            names.append(rule)
            if result.type != value.type:
                raise GraphError(
                    f"rewrite: rule {rule!r} changed the type of a value: expected {value.type}, "
                    f"got {result.type}"
                )
            if _identity(result) in passed:
                raise GraphError(f"rewrite: rules undo one another: {', '.join(map(repr, names))}")
            passed.add(_identity(result))
            self.note(rule)
            _locate(result, value.node, nodes)
            value = result
            found = self.step(value, uses)
        return value

    def step(self, value: Value, uses: Mapping[Value, int]) -> tuple[str, Value] | None:
        """The first rule that fires on the value, and what it makes of it."""
        node = value.node
        if node.op is INPUT:
            return None
        settled = True
        for rule, possible in self.by_op.get(node.op.name, self.any_op):
            if possible(node):
                settled = not self.counts_uses
                for found in matches(rule.pattern, value, uses):
                    result = rule.build(found)
                    if result is not None:
                        return rule.name, result
        if settled:
            self.settled.add(value)
        return None

    def note(self, rule: str) -> None:
        self.applied[rule] += 1
        self.log[rule] += 1
        self.count += 1
        if self.count > self.limit:
            most = ", ".join(f"{n!r} ({c} times)" for n, c in self.log.most_common(3))
            raise GraphError(f"rewrite: no end after {self.limit} applications, most of {most}")


def _condition(pattern: Op) -> Callable[[Node], bool]:
    """A cheap condition on a node of the right op without which the pattern cannot match it."""
    if pattern.operands is None:
        return pattern.where or (lambda node: True)
    wanted = [
        CONSTANT if isinstance(p, Const) else p.name if isinstance(p, Op) else None
        for p in pattern.operands
    ]
    count = len(wanted)
    where = pattern.where
    if pattern.commutative:
        names = {name for name in wanted if name is not None}
        if not names:
            return lambda node: len(node.inputs) == count
        return lambda node: (
            len(node.inputs) == count and names <= {v.node.op.name for v in node.inputs}
        )
    checks = [(i, name) for i, name in enumerate(wanted) if name is not None]

    def possible(node: Node) -> bool:
        inputs = node.inputs
        if len(inputs) != count:
            return False
        for i, name in checks:
            if inputs[i].node.op.name != name:
                return False
        return where is None or where(node)

    return possible


def _asks_uses(pattern: Pattern) -> bool:
    """Whether a match depends on how often values are used."""
    return isinstance(pattern, Op) and (
        pattern.once or any(map(_asks_uses, pattern.operands or ()))
    )


def _identity(value: Value) -> tuple[Any, ...]:
    return (value.index, value.node) if value.node.op is INPUT else (value.index, value.node.key())


def _locate(value: Value, origin: Node, known: set[Node]) -> None:
    """Give the nodes that a builder has made the place in the user's program that the node they
    replace came from. Constants without a place are shared by all graphs."""
    stack = [value.node]
    while stack:
        node = stack.pop()
        if node not in known and (node.inputs or node.location is not None):
            known.add(node)
            node.location = origin.location
            stack.extend(v.node for v in node.inputs)


__all__ = ["CONSTANT", "Builder", "Const", "Matched", "Op", "Pattern", "Rule", "Var", "const",
           "constant_of", "matches", "op", "rewrite", "var"]  # fmt: skip
