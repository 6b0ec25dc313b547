"""Every public function against PyTorch's operator database; what differs stands in the docs.

``python -m tests.parity NAME...`` shows the comparison of one name with more samples.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from op_compare import unequal
from op_db import entries, ours, run, supported

import thalweg

LIMIT = 3  # samples per dtype and variant: the evenly chosen ones, always the same
NAMED = entries()
SUPPORTED = supported()
DIFFERENCES = Path(__file__).parents[2] / "docs" / "differences.md"

# Names with a complaint: a fragment of every such complaint, and why it stands. A complaint that
# goes away or changes fails the test, so nothing is hidden behind an entry.
_SHAPE = "an in-place method that computes cannot change a shape"
_DTYPE = "an in-place method casts its result to the tensor's dtype"
_TRIANGLE = "the result does not depend on it"
_FORGOTTEN = "PyTorch leaves `out` as it was with one dimension"
KNOWN: dict[str, tuple[str, str]] = {
    "as_strided": ("in place: missing", "values have no strides to reinterpret"),
    "as_strided_scatter": (
        "gradient: of tensor 0", "PyTorch's is that of the elements overwritten, not of the others"
    ),
    "special.bessel_j1": ("PyTorch", "PyTorch's differs by 1e-7 from the function above 5"),
    "addbmm": ("doesn't match the broadcast shape", _SHAPE),
    "float_power": ("the operation's result requires dtype", _DTYPE),
    "nextafter": ("requires_grad False", "a step of rounding has no useful derivative"),
    "nn.functional.local_response_norm": (
        "not implemented for thalweg.int64", "a normalisation of integers has no use"
    ),
    "cholesky_solve": ("gradient: of tensor 1: 0.0", _TRIANGLE),
    "cholesky_inverse": ("gradient: of tensor 0: 0.0", _TRIANGLE),
    "fft.ihfft2": ("out=: shape", _FORGOTTEN),
    "fft.ihfftn": ("out=: shape", _FORGOTTEN),
    "linalg.householder_product": ("requires_grad False", "nothing of an empty matrix is learned"),
}  # fmt: skip


@pytest.mark.parametrize("name", SUPPORTED)
def test_samples(name):
    fragment, _ = KNOWN.get(name, ("", ""))
    report = run(name, NAMED[name], LIMIT * 8 if fragment else LIMIT)
    assert report.checks + report.declined > 0, "no sample of the database could be compared"
    if fragment:
        assert report.problems, f"{name} agrees with PyTorch now: remove it from KNOWN"
    others = [p for p in report.problems if not fragment or fragment not in p]
    if others:
        pytest.fail("\n".join([f"{name}: {len(others)} complaints", *others[:8]]), pytrace=False)


def test_known_differences_are_documented():
    text = DIFFERENCES.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(KNOWN) < 20, "differences are exceptions"
    for name, (_, reason) in KNOWN.items():
        assert name in SUPPORTED, f"{name} is not in the database"
        assert any(f"`{name}`" in r and reason in r for r in rows), (
            f"{name}: no row with its reason"
        )


def test_names_do_not_vanish():
    assert len(SUPPORTED) >= 598, f"only {len(SUPPORTED)} of {len(NAMED)} names exist here"


def test_absent_names_are_documented():
    section = DIFFERENCES.read_text(encoding="utf-8").partition("## Absent")[2]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall("`([^`]+)`", row[1])]
    assert sorted(listed) == sorted(set(NAMED) - set(SUPPORTED))
    assert all(row[2].strip() for row in rows), "every absence has a reason"


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("exp", lambda x: thalweg.exp(x) * 1.01, "PyTorch"),
        ("exp", lambda x: thalweg.exp(x).detach(), "requires_grad"),
        ("exp", lambda x: thalweg.exp(x) + x - x.detach(), "gradient"),
        ("exp", lambda x: thalweg.exp(x).to(thalweg.float64), "dtype float64"),
        ("exp", lambda x: thalweg.exp(x).reshape(-1), "shape"),
        ("exp", lambda x: (thalweg.exp(x), x), "2 results"),
        ("exp", lambda x: x.no_such_method(), "raised AttributeError"),
        ("triu", lambda x, *a: thalweg.triu(x.reshape(1, -1) if x.ndim < 2 else x, *a), "accepted"),
        ("topk", lambda x, *a, **k: [v * 0 for v in thalweg.topk(x, *a, **k)], "PyTorch"),
    ],
)
def test_comparison_notices(name, change, complaint):
    found = run(name, NAMED[name], LIMIT, change).problems
    assert any(complaint in text for text in found), found


def test_positions_among_equal_elements_must_be_a_valid_choice():
    def first_twice(x, *args, **kwargs):
        values, at = thalweg.sort(x, *args, **kwargs)
        return values, at * 0

    assert any("result 1" in p for p in run("sort", NAMED["sort"], LIMIT, first_twice).problems)


def test_values_are_compared_exactly_where_they_are_exact():
    assert unequal(np.array([1, 2]), np.array([1, 3]), "int64")
    assert unequal(np.array([np.nan]), np.array([0.0]), "float32")
    assert not unequal(np.array([np.nan, np.inf]), np.array([np.nan, np.inf]), "float32")


def test_names_resolve_to_functions_of_this_package():
    assert ours("nn.functional.relu") is thalweg.nn.functional.relu
    assert ours("no_such_function") is None
    assert ours("exp") is not torch.exp
