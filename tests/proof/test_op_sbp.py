"""SBP rules of every primitive by brute force on 2 and 3 simulated ranks: none wrong or missing."""

import numpy as np
import pytest

from thalweg.ops import PRIMITIVES, Declined
from thalweg.ops.families import Binary, Unary, floats, signature
from thalweg.testing.samples import samples_of
from thalweg.testing.sbp_proof import prove_sbp

NAMES = [n for n in sorted(PRIMITIVES) if not isinstance(PRIMITIVES[n].field("sbp"), Declined)]


@pytest.mark.parametrize("name", NAMES)
def test_rules_hold_and_are_complete(name):
    op = PRIMITIVES[name]
    report = prove_sbp(op)
    if str(report):
        pytest.fail(f"{name}\n{report}", pytrace=False)
    assert report.checked or isinstance(op.field("samples"), Declined)


class _Exp(Unary):
    name = "exp_for_the_prover"
    reference = staticmethod(np.exp)
    samples = floats(special=False)


class _Times(Binary):
    name = "times_for_the_prover"
    reference = staticmethod(np.multiply)
    samples = floats(count=2, special=False)


def _prove(cls, *rules):
    op = type(cls.__name__, (cls,), {"partial": rules})()
    return prove_sbp(op, samples_of(op))


def test_prover_accepts_a_complete_set():
    report = _prove(_Exp, "P(sum) -> P(prod)", "P(max) -> P(max)", "P(min) -> P(min)")
    assert str(report) == ""


def test_prover_reports_each_missing_rule():
    report = _prove(_Exp, "P(sum) -> P(prod)")
    assert [m.split("   ")[0] for m in report.missing] == [
        str(signature(s)) for s in ("P(max) -> P(max)", "P(min) -> P(min)")
    ]


@pytest.mark.parametrize(
    "rule", ["P(sum) -> P(sum)", "P(prod) -> P(prod)", "P(max) -> B", "S(0) -> B", "B -> S(0)"]
)
def test_prover_refutes_a_wrong_rule(rule):
    wrong = _prove(_Exp, rule).wrong
    assert wrong and all(w.startswith(str(signature(rule))) for w in wrong)


def test_prover_refutes_rules_that_hold_for_one_sign_only():
    assert _prove(_Times, "P(max) B -> P(max)").wrong


def test_prover_refutes_a_rule_beyond_the_domain():
    cls = type("_Log", (_Exp,), {"reference": staticmethod(np.log), "samples": floats(0.5, 4.0)})
    assert _prove(cls, "P(max) -> P(max)").wrong


def test_prover_refutes_a_split_over_the_wrong_dimension():
    class Mean(_Exp):
        """Subtracts the mean of the last dimension: only the others may be cut."""

        samples = staticmethod(
            lambda: [s for s in floats(special=False)() if s.arrays[0].ndim == 2]
        )

        def reference(self, x):
            return x - x.mean(-1, keepdims=True)

    report = _prove(Mean, "P(sum) -> P(sum)")
    assert report.wrong and all(w.startswith("(S(1)) -> (S(1))") for w in report.wrong)
