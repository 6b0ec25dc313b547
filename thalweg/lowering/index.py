"""Index arithmetic while a kernel is built: integer expressions in normal form, with ranges.

An index is `Affine`: a sum of names times constants. A name is a loop variable or a `let` that
holds what is not affine (a loaded position, a quotient). Divisions and remainders by constants,
clamps and comparisons are resolved as far as the ranges of names allow. What stays tells the
builder how to cut its loops so that it resolves: `Split` asks for a variable as two (``i = a * 4
+ b`` makes ``i // 4`` be ``a``), a cut for a loop as two ranges (``i < 4`` is then known in each).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..core.dtypes import bool_, int64
from ..core.errors import GraphError
from ..ir.loop_bounds import Facts, Interval, interval_of
from ..ir.loops import Binary, Cast, Const, Expr, Unary, Var

Key = tuple[int, tuple[tuple[str, int], ...]]


@dataclass(frozen=True, slots=True)
class Affine:
    """``const + sum(coefficient * name)``; no coefficient is 0."""

    const: int
    terms: Mapping[str, int]

    @property
    def key(self) -> Key:
        return self.const, tuple(sorted(self.terms.items()))

    def plus(self, other: Affine, times: int = 1) -> Affine:
        terms = dict(self.terms)
        for name, coefficient in other.terms.items():
            total = terms.get(name, 0) + coefficient * times
            if total:
                terms[name] = total
            else:
                terms.pop(name, None)
        return Affine(self.const + other.const * times, terms)

    def times(self, factor: int) -> Affine:
        if not factor:
            return ZERO
        return Affine(self.const * factor, {n: c * factor for n, c in self.terms.items()})


ZERO = Affine(0, {})


def constant(value: int) -> Affine:
    return Affine(value, {})


def variable(name: str) -> Affine:
    return Affine(0, {name: 1})


def mergeable(uses: list[Affine], outer: str, inner: str, extent: int) -> bool:
    """Whether in all uses a step of ``outer`` equals ``extent`` steps of ``inner``."""
    return all(a.terms.get(outer, 0) == a.terms.get(inner, 0) * extent for a in uses)


@dataclass(frozen=True, slots=True)
class Merged:
    """Variables of a run of loops, outermost first, for all of which one loop stands."""

    name: str
    variables: tuple[str, ...]
    extents: tuple[int, ...]

    def substitute(self, a: Affine) -> Affine:
        step = expected = a.terms.get(self.variables[-1], 0)
        for name, extent in zip(reversed(self.variables[:-1]), reversed(self.extents[1:])):
            expected *= extent
            if a.terms.get(name, 0) != expected:
                raise GraphError(f"lowering: index {dict(a.terms)} does not follow {self}")
        terms = {n: c for n, c in a.terms.items() if n not in self.variables}
        return Affine(a.const, {self.name: step, **terms} if step else terms)


@dataclass(frozen=True, slots=True)
class Quotient:
    """What a name stands for: ``numerator // divisor`` or ``numerator % divisor``."""

    numerator: Affine
    divisor: int
    remainder: bool


class Indices:
    """Ranges of names and what is asked of the loops.

    ``bind(expr)`` names an int64 expression, in the outermost place where it can be computed.
    ``extents`` are the loop variables that may be split and cut, with their number of iterations.
    """

    def __init__(self, bind: Callable[[Expr], Var], extents: Mapping[str, int]) -> None:
        self.bind = bind
        self.extents = extents
        self.ranges: dict[str, Interval] = {n: Interval(0, e - 1) for n, e in extents.items()}
        self.quotients: dict[str, Quotient] = {}
        self.splits: dict[str, int] = {}
        self.cuts: dict[str, set[int]] = {}
        self.uses: list[Affine] = []
        self.merged: list[Merged] = []

    def merge(self, loop: Merged) -> None:
        """Write the variables of a run of loops as those of the one loop in their place."""
        self.merged.append(loop)
        self.ranges[loop.name] = Interval(0, math.prod(loop.extents) - 1)

    # Ranges

    @contextlib.contextmanager
    def limited(self, name: str, low: int, high: int) -> Iterator[None]:
        """Within the block, a loop variable is known to lie in ``low .. high - 1``."""
        whole = self.ranges.get(name)
        if whole is None:
            yield
            return
        self.ranges[name] = Interval(low, high - 1)
        yield
        self.ranges[name] = whole

    def same(self, one: Sequence[Affine], other: Sequence[Affine]) -> bool:
        """Whether two indices are equal, as far as is known."""
        return [self._settled(a).key for a in one] == [self._settled(a).key for a in other]

    def _settled(self, a: Affine) -> Affine:
        """The index with names that can have one value only replaced by that."""
        found = Affine(a.const, {})
        for name, coefficient in a.terms.items():
            known = self.ranges[name]
            value = constant(known.lo) if known.lo == known.hi else variable(name)
            found = found.plus(value, coefficient)
        return found

    def interval(self, affine: Affine) -> Interval:
        low = high = affine.const
        for name, coefficient in affine.terms.items():
            found = self.ranges[name]
            a, b = found.lo * coefficient, found.hi * coefficient
            low, high = low + min(a, b), high + max(a, b)
        return Interval(low, high)

    def named(self, expr: Expr) -> Affine:
        """An opaque expression as a name."""
        if isinstance(expr, Const):
            return constant(int(expr.value))
        if isinstance(expr, Var) and expr.name in self.ranges:
            return variable(expr.name)
        facts: Facts = {Var(n): r for n, r in self.ranges.items()}
        found = interval_of(expr, facts)
        made = self.bind(expr)
        self.ranges.setdefault(made.name, found)
        return variable(made.name)

    # From expressions

    def affine(self, expr: Expr) -> Affine:
        """The normal form of an int64 expression that holds no loads."""
        match expr:
            case Const(value):
                return constant(int(value))
            case Var(name):
                found = self.ranges.get(name)
                if found is not None and found.lo == found.hi:
                    return constant(found.lo)
                return self.named(expr)
            case Unary("neg", x):
                return self.affine(x).times(-1)
            case Binary("add", left, right):
                return self.joined(self.affine(left).plus(self.affine(right)))
            case Binary("sub", left, right):
                return self.affine(left).plus(self.affine(right), -1)
            case Binary("mul", left, right):
                a, b = self.affine(left), self.affine(right)
                if not b.terms or not a.terms:
                    return a.times(b.const) if not b.terms else b.times(a.const)
                return self.named(Binary("mul", self.expr(a), self.expr(b)))
            case Binary("floordiv" | "mod" as op, left, right):
                a, b = self.affine(left), self.affine(right)
                if not b.terms and b.const > 0:
                    divide = self.quotient if op == "floordiv" else self.remainder
                    return divide(a, b.const)
                return self.named(Binary(op, self.expr(a), self.expr(b)))
            case Binary("min" | "max" as op, left, right):
                return self.extremum(op, self.affine(left), self.affine(right))
            case Binary(op, left, right) if left.dtype is int64:
                plain = [self.expr(self.affine(e)) for e in (left, right)]
                return self.named(Binary(op, *plain))
            case Cast(x, dtype) if dtype is int64 and x.dtype is int64:
                return self.affine(x)
            case _:
                return self.named(expr)

    def extremum(self, op: str, a: Affine, b: Affine) -> Affine:
        apart = self.interval(a.plus(b, -1))
        if apart.lo >= 0:
            return a if op == "max" else b
        if apart.hi <= 0:
            return b if op == "max" else a
        return self.named(Binary(op, self.expr(a), self.expr(b)))

    def _divided(self, a: Affine, divisor: int) -> tuple[Affine, Affine]:
        """``a`` as whole multiples of the divisor (already divided by it) and what is left."""
        whole = {n: c // divisor for n, c in a.terms.items() if c % divisor == 0}
        rest = {n: c for n, c in a.terms.items() if c % divisor}
        return Affine(a.const // divisor, whole), Affine(a.const % divisor, rest)

    def quotient(self, a: Affine, divisor: int) -> Affine:
        """``a // divisor``, rounded down."""
        if divisor == 1:
            return a
        whole, rest = self._divided(a, divisor)
        found = self.interval(rest)
        if found.lo >= 0 and found.hi < divisor:
            return whole
        common = math.gcd(divisor, *rest.terms.values())
        if common > 1:  # (g * x + c) // (g * d) is (x + c // g) // d
            smaller = Affine(rest.const // common, {n: c // common for n, c in rest.terms.items()})
            return whole.plus(self.quotient(smaller, divisor // common))
        return whole.plus(self._quotient(rest, divisor, False))

    def remainder(self, a: Affine, divisor: int) -> Affine:
        """``a % divisor``, not negative."""
        _, rest = self._divided(a, divisor)
        found = self.interval(rest)
        if found.lo >= 0 and found.hi < divisor:
            return rest
        common = math.gcd(divisor, *rest.terms.values())
        if common > 1:
            smaller = Affine(rest.const // common, {n: c // common for n, c in rest.terms.items()})
            inner = self.remainder(smaller, divisor // common)
            return inner.times(common).plus(constant(rest.const % common))
        return self._quotient(rest, divisor, True)

    def _quotient(self, rest: Affine, divisor: int, remainder: bool) -> Affine:
        self._ask_split(rest, divisor)
        op = "mod" if remainder else "floordiv"
        made = self.named(Binary(op, self.expr(rest), Const(divisor)))
        for name in made.terms:
            self.quotients[name] = Quotient(rest, divisor, remainder)
        return made

    def _ask_split(self, rest: Affine, divisor: int) -> None:
        if rest.const or len(rest.terms) != 1:
            return
        ((name, coefficient),) = rest.terms.items()
        extent = self.extents.get(name, 0)
        if coefficient == 1 and extent and extent % divisor == 0:
            self.splits.setdefault(name, divisor)

    def joined(self, a: Affine) -> Affine:
        """``a`` with quotient and remainder of one number put together again."""
        if not self.quotients:
            return a
        for name, coefficient in list(a.terms.items()):
            known = self.quotients.get(name)
            if known is None or not known.remainder or name not in a.terms:
                continue
            for other in list(a.terms):
                twin = self.quotients.get(other)
                if (
                    twin is not None
                    and not twin.remainder
                    and twin.divisor == known.divisor
                    and twin.numerator.key == known.numerator.key
                    and a.terms[other] == coefficient * known.divisor
                ):
                    rest = {n: c for n, c in a.terms.items() if n not in (name, other)}
                    joined = Affine(a.const, rest).plus(known.numerator, coefficient)
                    return self.joined(joined)
        return a

    # To expressions

    def expr(self, a: Affine) -> Expr:
        """The expression of an index, noted as a use of its loop variables."""
        self.uses.append(a)
        for loop in self.merged:
            a = loop.substitute(a)
        return self.render(a)

    def render(self, a: Affine) -> Expr:
        found: Expr | None = None
        for name, coefficient in a.terms.items():
            term: Expr = Var(name)
            if abs(coefficient) != 1:
                term = Binary("mul", term, Const(abs(coefficient)))
            if found is None:
                found = term if coefficient > 0 else Unary("neg", term)
            else:
                found = Binary("add" if coefficient > 0 else "sub", found, term)
        if found is None:
            return Const(a.const)
        if a.const:
            op = "add" if a.const > 0 else "sub"
            found = Binary(op, found, Const(abs(a.const)))
        return found

    # Conditions

    def compare(self, op: str, a: Affine, b: Affine) -> Expr:
        """A comparison of two indices: a literal where ranges decide it."""
        apart = a.plus(b, -1)
        found = self.interval(apart)
        verdict: bool | None = None
        bound: int | None = None
        match op:
            case "lt" | "ge":
                verdict = True if found.hi < 0 else False if found.lo >= 0 else None
                bound = 0
            case "le" | "gt":
                verdict = True if found.hi <= 0 else False if found.lo > 0 else None
                bound = 1
            case _:
                if found.lo > 0 or found.hi < 0:
                    verdict = False
                elif found.lo == found.hi == 0:
                    verdict = True
        if verdict is not None:
            return Const(verdict != (op in ("ge", "gt", "ne")), bool_)
        if bound is not None:
            self._ask_cut(apart, bound)
        return Binary(op, self.expr(a), self.expr(b))

    def _ask_cut(self, apart: Affine, bound: int) -> None:
        """Where ``apart < bound`` changes, if that depends on one loop variable alone: all else in
        ``apart`` must stay within one step of that variable."""
        names = [n for n in apart.terms if n in self.extents]
        if not names:
            return
        name = max(names, key=lambda n: abs(apart.terms[n]))
        step = apart.terms[name]
        rest = self.interval(apart.plus(variable(name), -step))
        if step > 0:
            edge = -((rest.lo - bound) // step)
            alone = step * (edge - 1) + rest.hi < bound
        else:
            edge = (rest.hi - bound) // -step + 1
            alone = step * (edge - 1) + rest.lo >= bound
        if alone and 0 < edge < self.extents[name]:
            self.cuts.setdefault(name, set()).add(edge)
