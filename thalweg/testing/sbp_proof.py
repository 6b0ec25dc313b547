"""SBP rules proven by brute force: no wrong rule, no missing rule.

For each sample of an op and for 2 and 3 simulated ranks, every combination of S(d), B and the
Partials over operands and results is run: operands are cut or spread into random terms, the
reference runs on each rank's part with localized attributes, and the parts of the results are
put together again.

WRONG    a declared signature that fails on some data
MISSING  an undeclared one that holds on all data, for every number of ranks tried

Legal means legal for all values: the terms of a P(max) may lie outside the domain of a square
root, those of a P(prod) may be negative. Not counted as missing are signatures that

- a declared one implies, since B may be read as P(max) or P(min) without moving data;
- turn operands that are all B into something else than B;
- have a Partial operand on whose value the results do not depend at all;
- hold only because the results are constant or some rank holds nothing;
- give P(prod) where the results are only ever 0 and 1 (then it is another P(min));
- hold on one sample but fail on another whose attributes differ in integers only (for
  signatures without Split, whose truth depends on the op and not on extents).

An op whose rules are knowingly incomplete says so: ``sbp_incomplete = Declined("reason")``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ir.node import Node, attrs_key
from ..ir.sbp import B, Broadcast, Partial, Sbp, Signature, Split
from ..ops.contract import Array, Attrs, Declined, Primitive, Rank, Sample, Types
from .samples import apply, describe, finite, redraw, samples_of, type_of
from .sbp_terms import assembles, exists, sbp_options, spread

RANKS = (2, 3)
LARGEST = 1500  # elements of all operands together; larger samples are for other proofs
DRAWS, MORE_DRAWS = 3, 24
VARIED = 3  # of more operands than this, at most so many at a time are not B
COMBINATIONS = 1200
P_PROD = Partial("prod")


@dataclass
class Report:
    """What the prover found of one op. ``checked`` counts signature × sample × ranks."""

    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    checked: int = 0

    def __str__(self) -> str:
        lines = [f"WRONG    {w}" for w in self.wrong] + [f"MISSING  {m}" for m in self.missing]
        return "\n".join(lines)


class _Unheld(Exception):
    """A rank that holds nothing cannot run the op; the runtime would not ask it to."""


def prove_sbp(op: Primitive, samples: Sequence[Sample] | None = None) -> Report:
    """Check the declared signatures of ``op`` and search for undeclared ones."""
    report = Report()
    usable = [s for s in (samples_of(op) if samples is None else samples) if _usable(s)]
    trials = [_Trial(op, s, n, i) for i, s in enumerate(usable) for n in RANKS]
    for trial in trials:
        trial.check_declared(report)
    if report.wrong or isinstance(getattr(op, "sbp_incomplete", None), Declined):
        return report
    judged = [t for t in trials if t.holds_elements()]
    for trial in judged:
        trial.search(report)
    report.missing = _agreed(judged)
    return report


def _usable(sample: Sample) -> bool:
    halves = any(a.dtype.itemsize == 2 and a.dtype.kind not in "iub" for a in sample.arrays)
    small = sum(a.size for a in sample.arrays) <= LARGEST
    return sample.error is None and finite(sample.arrays) and small and not halves


def _agreed(trials: Sequence[_Trial]) -> list[str]:
    """Undeclared signatures that no comparable trial refutes, one line each."""
    refuted: dict[Any, set[Signature]] = {}
    for t in trials:
        refuted.setdefault(t.sample_key, set()).update(t.refuted)
        for s in t.refuted:
            if not _has_split(s):
                refuted.setdefault(t.pattern_key, set()).add(s)
    lines: dict[str, str] = {}
    for t in trials:
        for s in t.found:
            key = t.sample_key if _has_split(s) else t.pattern_key
            if s not in refuted.get(key, ()) and s not in refuted[t.sample_key]:
                where = f"{describe(t.sample)}, {t.ranks} ranks"
                lines.setdefault(str(s), f"{s}   holds for {where}")
    return list(lines.values())


def _has_split(signature: Signature) -> bool:
    return any(isinstance(s, Split) for s in signature.ins + signature.outs)


class _Trial:
    """One sample on one number of ranks."""

    def __init__(self, op: Primitive, sample: Sample, ranks: int, number: int) -> None:
        self.op, self.sample, self.ranks = op, sample, ranks
        self.node: Node = apply(op, sample.arrays, sample.attrs)[1]
        self.types: Types = tuple(v.type for v in self.node.inputs) + self.node.types
        self.count = len(sample.arrays)
        self.sample_key = number
        self.pattern_key = (
            tuple(t.dtype.category for t in self.types),
            attrs_key({k: v for k, v in sample.attrs.items() if not _integral(v)}),
        )
        self.declared: list[Signature] = list(op.sbp(self.node, ranks))
        self.unused: set[int] = set()
        self.informative = self.binary = False
        self.found: list[Signature] = []
        self.refuted: set[Signature] = set()

    def holds_elements(self) -> bool:
        return all(t.numel for t in self.types)

    def rng(self, salt: int) -> np.random.Generator:
        return np.random.default_rng([self.ranks, self.sample_key, salt])

    def arrays(self, draw: int, rng: np.random.Generator, wild: bool = False) -> list[Array]:
        """The sample's operands first, then others like them that the op accepts.

        Samples of one sign or order would prove rules that need it, so some draws flip signs
        and exchange elements between operands; ``wild`` does so with integers too.
        """
        if draw and not getattr(self.op, "fixed_data", ""):
            fresh = [redraw(rng, a) for a in self.sample.arrays]
            # A loop may never end on data unlike its samples; its rules are not searched for.
            if draw % 2 == 0 and not getattr(self.op, "sbp_incomplete", ""):
                fresh = [_signed(rng, a) if wild or a.dtype.kind in "fc" else a for a in fresh]
            if wild and draw % 3 == 0:
                fresh = _exchanged(rng, fresh)
            try:
                self.op.run(fresh, self.sample.attrs)
            except Exception:  # data that the op refuses is no evidence
                return list(self.sample.arrays)
            return fresh
        return list(self.sample.arrays)

    def run_ranks(self, attrs: Sequence[Attrs], parts: list[list[Array]]) -> list[Any]:
        """The results of each rank. `_Unheld` if a rank without elements cannot run."""
        results = []
        for r in range(self.ranks):
            local = [p[r] for p in parts]
            try:
                types = self.op.infer_types(tuple(map(type_of, local)), attrs[r])
                out = self.op.run(local, attrs[r])
                if [(a.shape, a.dtype) for a in out] != [(t.shape, t.dtype.np) for t in types]:
                    raise ValueError("the reference and infer disagree on a rank's part")
                results.append(out)
            except Exception as error:
                empty = any(a.size == 0 != t.numel for a, t in zip(local, self.types))
                raise (_Unheld() if empty else error) from error
        return results

    def localized(self, signature: Signature) -> list[Attrs]:
        return [
            self.op.localize(self.sample.attrs, signature, self.types, Rank(r, self.ranks))
            for r in range(self.ranks)
        ]

    # Declared signatures -----------------------------------------------------------------------

    def check_declared(self, report: Report) -> None:
        where = f"{describe(self.sample)}, {self.ranks} ranks"
        if len(set(self.declared)) != len(self.declared):
            twice = next(s for s in self.declared if self.declared.count(s) > 1)
            report.wrong.append(f"{twice} is declared twice for {where}")
        for signature in dict.fromkeys(self.declared):
            report.checked += 1
            problem = self.problem_of(signature)
            if problem and not any(w.startswith(f"{signature}   ") for w in report.wrong):
                report.wrong.append(f"{signature}   {problem}; {where}")

    def problem_of(self, signature: Signature) -> str:
        """Why a declared signature does not hold, or ''."""
        sides = signature.ins + signature.outs
        if len(sides) != len(self.types):
            return f"has {len(sides)} entries for {len(self.types)} operands and results"
        for sbp, type in zip(sides, self.types):
            if not exists(type, sbp):
                return f"{sbp} does not exist for {type}"
        rng = self.rng(1)
        for draw in range(DRAWS):
            base = self.arrays(draw, rng)
            pairs = [spread(rng, a, s, self.ranks) for a, s in zip(base, signature.ins)]
            try:
                whole = self.op.run([g for g, _ in pairs], self.sample.attrs)
                results = self.run_ranks(self.localized(signature), [p for _, p in pairs])
            except _Unheld:
                return ""
            except Exception as error:
                return f"a rank fails: {type_name(error)}: {str(error).splitlines()[0]}"
            for i, (sbp, out) in enumerate(zip(signature.outs, whole)):
                if not assembles([r[i] for r in results], sbp, out):
                    shapes = [list(r[i].shape) for r in results]
                    return f"result {i} of local shapes {shapes} is not {sbp} of {list(out.shape)}"
        return ""

    # Undeclared signatures ---------------------------------------------------------------------

    def search(self, report: Report) -> None:
        """Fill ``found`` and ``refuted`` with the undeclared signatures that hold and fail."""
        self.unused = self.unused_operands()
        outs = list(self.out_combinations())
        for ins in self.in_combinations():
            wanted = [
                s
                for s in (Signature(ins, o) for o in outs)
                if not any(_implies(d, s) for d in self.declared)
            ]
            report.checked += len(wanted)
            held = self.survivors(ins, wanted, DRAWS, wild=False)
            if held:
                held = self.survivors(ins, held, MORE_DRAWS, wild=True)
            self.refuted.update(set(wanted) - set(held))
            if self.informative:
                self.found += [s for s in held if not (self.binary and P_PROD in s.outs)]

    def unused_operands(self) -> set[int]:
        """Operands whose values never change the results (only their types count)."""
        rng = self.rng(4)
        unused = set()
        for i in range(self.count):
            results = []
            for draw in range(6):
                mixed = list(self.sample.arrays)
                mixed[i] = self.arrays(draw, rng, wild=True)[i]
                try:
                    results.append(self.op.run(mixed, self.sample.attrs))
                except Exception:  # a refusal depends on the value
                    break
            else:
                whole = [[a.tobytes() for a in r] for r in results]
                if all(w == whole[0] for w in whole):
                    unused.add(i)
        return unused

    def options(self, index: int) -> list[Sbp]:
        shape = self.types[index].shape
        partial = index not in self.unused
        return [
            s
            for s in sbp_options(self.types[index])
            if (shape[s.dim] >= self.ranks if isinstance(s, Split) else partial or s == B)
        ]

    def in_combinations(self) -> Iterator[tuple[Sbp, ...]]:
        choices = [self.options(i) for i in range(self.count)]
        everything = itertools.product(*choices)
        if self.count > VARIED or np.prod([float(len(c)) for c in choices]) > COMBINATIONS:
            most = VARIED if self.count <= 4 else 2
            everything = (
                c
                for c in everything
                if sum(not isinstance(s, Broadcast) for s in c) <= most or len(set(c)) == 1
            )
        for ins in itertools.islice(everything, 20 * COMBINATIONS):
            if any(not isinstance(s, Broadcast) for s in ins) or not ins:
                yield ins

    def out_combinations(self) -> Iterator[tuple[Sbp, ...]]:
        choices = [self.options(i) for i in range(self.count, len(self.types))]
        everything = itertools.product(*choices)
        if np.prod([float(len(c)) for c in choices]) > 150:
            yield from (c for c in everything if len(set(c)) == 1)
        else:
            yield from everything

    def survivors(
        self, ins: tuple[Sbp, ...], wanted: list[Signature], draws: int, wild: bool
    ) -> list[Signature]:
        """Those of ``wanted`` that hold on every draw. ``informative`` then tells whether the
        results varied at all, so that this means something; ``binary`` that they were 0 or 1."""
        rng = self.rng(2 + wild)
        seen: list[Array] = []
        alive = wanted
        plans = {s: self.plan(s) for s in wanted}
        for draw in range(draws):
            if not alive:
                return []
            base = self.arrays(draw + wild, rng, wild)
            pairs = [spread(rng, a, s, self.ranks) for a, s in zip(base, ins)]
            parts = [p for _, p in pairs]
            try:
                whole = self.op.run([g for g, _ in pairs], self.sample.attrs)
            except Exception:  # terms whose combination the op refuses
                return []
            results: dict[Any, list[Any] | None] = {}
            kept = []
            for s in alive:
                key, attrs = plans[s]
                if key is not None and key not in results:
                    try:
                        results[key] = self.run_ranks(attrs, parts)
                    except Exception:
                        results[key] = None
                held = results.get(key)
                if held and all(
                    assembles([r[i] for r in held], sbp, out)
                    for i, (sbp, out) in enumerate(zip(s.outs, whole))
                ):
                    kept.append(s)
            alive = kept
            seen.append(np.asarray(whole[0], np.complex128).ravel())
        self.informative = _varied(seen)
        self.binary = all(np.isin(r, (0, 1)).all() for r in seen)
        return alive

    def plan(self, signature: Signature) -> tuple[Any, list[Attrs]]:
        """The localized attributes and a key that is equal for equal ones; None: impossible."""
        try:
            attrs = self.localized(signature)
        except Exception:  # attributes that have no meaning under this signature
            return None, []
        if all(a is self.sample.attrs for a in attrs):
            return "global", attrs
        return tuple(map(attrs_key, attrs)), attrs


def type_name(error: BaseException) -> str:
    return type(error).__name__


def _integral(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_integral, value))
    return isinstance(value, int) and not isinstance(value, bool)


def _signed(rng: np.random.Generator, array: Array) -> Array:
    if array.dtype.kind in "bu":
        return array
    return np.asarray(array * rng.choice([-1, 1], array.shape)).astype(array.dtype)


def _exchanged(rng: np.random.Generator, arrays: list[Array]) -> list[Array]:
    """Elements exchanged at random with the next operand of the same type."""
    result = [a.copy() for a in arrays]
    for x, y in itertools.pairwise(result):
        if x.dtype == y.dtype and x.shape == y.shape:
            swap = rng.random(x.shape) < 0.5
            x[...], y[...] = np.where(swap, y, x), np.where(swap, x, y)
    return result


def _varied(results: Sequence[Array]) -> bool:
    values = np.concatenate([r[np.isfinite(r)] for r in results]) if results else np.zeros(0)
    return len(np.unique(values)) > 2 or (len(np.unique(values)) == 2 and len(values) > 8)


def _implies(declared: Signature, wanted: Signature) -> bool:
    """Whether ``wanted`` follows from ``declared`` by reading B as P(max) or P(min)."""

    def reads_as(held: Sbp, asked: Sbp) -> bool:
        free = isinstance(held, Broadcast) and asked in (Partial("max"), Partial("min"))
        return held == asked or free

    return all(map(reads_as, wanted.ins, declared.ins)) and all(
        map(reads_as, declared.outs, wanted.outs)
    )


__all__ = ["Report", "prove_sbp"]
