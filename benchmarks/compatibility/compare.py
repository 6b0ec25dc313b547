"""Do two engines agree? Judged against float64, which tells rounding from being wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .child import error_of, file_of

# Errors may be this many times PyTorch's own float32 error, or what changes of the weights by a few
# units in the last place do to the result, or this part of the largest value.
FACTOR = 8.0
FLOOR = 2e-5
# Where float64 decides: how far results may be apart, and how far the whole float32 gradient.
EXACT = 1e-6
WHOLE = 0.1
# A tensor's values are measured against at least this part of the largest of its kind: what is zero
# but for rounding (a bias before a normalisation) has no magnitude of its own.
OF_KIND = 1e-2


def magnitude(values: Any) -> float:
    """The largest finite absolute value."""
    values = np.abs(np.asarray(values, np.float64))
    return float(np.max(values[np.isfinite(values)], initial=0.0))


Arrays = dict[str, Any]


def part(arrays: Arrays, prefix: str) -> Arrays:
    """Entries whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def disagreements(expected: Arrays, found: Arrays) -> tuple[list[str], dict[str, float]]:
    """Where float32 results differ by more than rounding explains; the largest errors by kind."""
    single, double = part(expected, "float32/"), part(expected, "float64/")
    failures = [f"{k} is not computed" for k in sorted(set(single) - set(found))]
    failures += [f"{k} is computed here only" for k in sorted(set(found) - set(single))]
    largest = largest_of(single)
    worst: dict[str, float] = {}
    for key in sorted(set(single) & set(found)):
        kind = key.partition(".")[0]
        if single[key].dtype != found[key].dtype:
            failures.append(f"{key} is {found[key].dtype}, expected {single[key].dtype}")
        truth = double.get(key)
        known = truth is not None and truth.shape == single[key].shape
        size = max(magnitude(single[key]), OF_KIND * largest[kind], 1e-30)
        error = error_of(found[key], truth if known else single[key]) / size
        carried = float(expected.get(f"noise/{key}", 0.0)) / size
        own = error_of(single[key], truth) / size if known else carried
        allowed = max(FACTOR * own, FACTOR * carried, FLOOR)
        worst[kind] = max(worst.get(kind, 0.0), error)
        if not error <= allowed:
            failures.append(f"{key} is off by {error:.1e} of {size:.1e}, allowed {allowed:.1e}")
    return failures, worst


def largest_of(arrays: Arrays) -> dict[str, float]:
    """The largest magnitude of each kind of result."""
    largest: dict[str, float] = {}
    for key, value in arrays.items():
        kind = key.partition(".")[0]
        largest[kind] = max(largest.get(kind, 0.0), magnitude(value))
    return largest


def rounding(expected: Arrays, found: Arrays) -> bool:
    """Whether float32 results that differ do so by rounding: in float64 all results are equal to
    EXACT, and in float32 the forward pass fits and the gradient as a whole differs by at most
    WHOLE."""
    truth, double, single = (
        part(expected, "float64/"), part(found, "float64/"), part(found, "float32/"),
    )  # fmt: skip
    if not double or set(double) != set(truth):
        return False
    largest = largest_of(truth)
    for key, value in truth.items():
        size = max(magnitude(value), OF_KIND * largest[key.partition(".")[0]], 1e-30)
        if not error_of(double[key], value) <= EXACT * size:
            return False
    first = disagreements({k: v for k, v in expected.items() if "/forward" in k},
                          {k: v for k, v in single.items() if k.startswith("forward")})  # fmt: skip
    gradients = [k for k in truth if k.startswith("gradient")]
    apart = sum(float(np.sum((single[k].astype(np.float64) - truth[k]) ** 2)) for k in gradients)
    whole = sum(float(np.sum(truth[k].astype(np.float64) ** 2)) for k in gradients)
    return not first[0] and apart <= WHOLE**2 * whole


# What is compared, as the page shows it: a column and the beginning of the names of results in it.
COMPARED = {"forward": "forward.", "loss": "loss.", "gradients": "gradient.", "3 steps": "after."}


def compare(folder: Path, name: str) -> dict[str, Any]:
    """What of a model agreed: {"failures": [...], "worst": largest error by kind, "seconds",
    "exact": whether float64 had to decide, "agrees": which of `COMPARED` does}."""
    with np.load(file_of(folder, name, ".npz")) as file:
        expected = dict(file)
    with np.load(file_of(folder, name, ".thalweg.npz")) as file:
        found = dict(file)
    single = part(found, "float32/")
    failures, worst = disagreements(expected, single)
    exact = bool(failures) and rounding(expected, found)
    failures = [] if exact else failures
    agrees = [
        column
        for column, start in COMPARED.items()
        if any(key.startswith(start) for key in single)
        and not any(failure.startswith(start) for failure in failures)
    ]
    return {"failures": failures, "worst": worst, "exact": exact, "agrees": agrees,
            "seconds": float(found["seconds"])}  # fmt: skip
