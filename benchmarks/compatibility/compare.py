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
# A tensor's values are measured against at least this part of the largest of its kind: what is zero
# but for rounding (a bias before a normalisation) has no magnitude of its own.
OF_KIND = 1e-2


def magnitude(values: Any) -> float:
    """The largest finite absolute value."""
    values = np.abs(np.asarray(values, np.float64))
    return float(np.max(values[np.isfinite(values)], initial=0.0))


def compare(folder: Path, name: str) -> dict[str, Any]:
    """What of a model agreed: {"failures": [...], "worst": largest error by kind, "seconds"}."""
    with np.load(file_of(folder, name, ".npz")) as file:
        expected = dict(file)
    with np.load(file_of(folder, name, ".thalweg.npz")) as file:
        found = dict(file)
    seconds = float(found.pop("seconds"))
    single = {k[8:]: v for k, v in expected.items() if k.startswith("float32/")}
    double = {k[8:]: v for k, v in expected.items() if k.startswith("float64/")}
    failures = [f"{k} is not computed" for k in sorted(set(single) - set(found))]
    failures += [f"{k} is computed here only" for k in sorted(set(found) - set(single))]
    largest: dict[str, float] = {}
    for key, value in single.items():
        kind = key.partition(".")[0]
        largest[kind] = max(largest.get(kind, 0.0), magnitude(value))
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
    return {"failures": failures, "worst": worst, "seconds": seconds, "tensors": len(found)}
