"""A slice of ``scripts/fuzz_surface``: right and wrong calls of the surface, here and in PyTorch.

The calls are always the same. What the two may differ in stands in `fuzz_calls.agree` and in
docs/differences.md; here no call may end in an error of an internal type, nor be accepted with
arguments that PyTorch refuses by TypeError.
"""

import random

import pytest
import torch
from fuzz_calls import FuzzCall, Outcome, mutated, outcome, right_calls, surface, verdict

import thalweg

NAMES = surface()
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_calls_end_as_in_pytorch(part):
    rng = random.Random(part)
    names = [n for i, n in enumerate(NAMES) if i % 90 == part * 17]
    found = []
    for right in right_calls(names, rng, 1):
        for call in (right, mutated(right, rng)):
            kind, text = verdict(outcome(thalweg, call), outcome(torch, call))
            if kind == "internal error" or (kind == "accepted" and "TypeError" in text):
                found.append(f"{kind}: {call}\n    {text}")
    assert not found, "\n".join(found)


def test_the_surface_is_whole():
    assert len(NAMES) > 1200
    assert {"sum", "Tensor.add_", "linalg.norm", "fft.rfft", "special.erf"} <= set(NAMES)


@pytest.mark.parametrize(
    ("mine", "theirs", "kind"),
    [
        (Outcome("crash"), Outcome("value", "x"), "crash"),
        (Outcome("error", "", ("KeyError",)), Outcome("value", "x"), "internal error"),
        (Outcome("value", "x"), Outcome("error", "", ("TypeError",)), "accepted"),
        (Outcome("error", "", ("ValueError",)), Outcome("value", "x"), "refused"),
        (
            Outcome("error", "", ("ValueError",)), Outcome("error", "", ("TypeError",)),
            "other exception",
        ),
        (Outcome("value", "x"), Outcome("value", "y"), "result"),
        (Outcome("value", "x"), Outcome("value", "x"), ""),
        (Outcome("error", "", ("TypeError",)), Outcome("error", "", ("TypeError",)), ""),
    ],
)  # fmt: skip
def test_verdicts(mine, theirs, kind):
    assert verdict(mine, theirs)[0] == kind


def test_calls_are_plain_data():
    call = FuzzCall("sum", (1, [2.0]), {"dim": None})
    assert str(call) == "sum(1, [2.0], dim=None)"
