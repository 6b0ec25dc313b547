"""The same training program run by thalweg and by PyTorch, and how far the two drift apart.

A job is written once, against a `library` (the package itself: `thalweg` or `torch`). Both start
from PyTorch's initial weights and read the same arrays, so whatever differs afterwards is what
the two libraries computed differently.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import thalweg

STEPS = 50


@dataclass
class Job:
    """A model with its optimizer, and a `step` that trains once on batch number `i`."""

    model: Any
    optimizer: Any
    step: Callable[[int], Any]


@dataclass
class Run:
    losses: np.ndarray
    job: Job

    @property
    def weights(self) -> dict[str, np.ndarray]:
        return {k: v.detach().numpy() for k, v in self.job.model.state_dict().items()}


def train(build: Callable[[Any], Job], steps: int = STEPS) -> tuple[Run, Run]:
    """The job in thalweg and in PyTorch, from PyTorch's initial weights."""
    torch.manual_seed(0)
    thalweg.manual_seed(0)
    ours, theirs = build(thalweg), build(torch)
    copy_state(theirs.model, ours.model, thalweg)
    return _run(ours, steps), _run(theirs, steps)


def _run(job: Job, steps: int) -> Run:
    losses = [float(job.step(i).item()) for i in range(steps)]
    return Run(np.array(losses), job)


def copy_state(source: Any, target: Any, library: Any) -> None:
    """Load `source`'s state_dict into `target`, a module of `library`; every key must fit."""
    state = {k: library.from_numpy(v.numpy().copy()) for k, v in source.state_dict().items()}
    result = target.load_state_dict(state)
    assert not result.missing_keys and not result.unexpected_keys


def drift(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Relative difference of two loss curves at each step."""
    return np.abs(ours - theirs) / np.abs(theirs)


def assert_same_curve(ours: Run, theirs: Run, first: float, last: float) -> None:
    """Losses agree to a relative tolerance growing geometrically from `first` to `last`, and
    the job learns at all (or equality would show little)."""
    assert np.isfinite(theirs.losses).all()
    assert theirs.losses[-5:].mean() < 0.9 * theirs.losses[:5].mean()
    allowed = np.geomspace(first, last, len(theirs.losses))
    found = drift(ours.losses, theirs.losses)
    worst = int(np.argmax(found / allowed))
    assert (found <= allowed).all(), (
        f"step {worst}: loss {ours.losses[worst]} differs from PyTorch's {theirs.losses[worst]} "
        f"by {found[worst]:.1e}, allowed {allowed[worst]:.1e}"
    )


def assert_same_weights(ours: Run, theirs: Run, tolerance: float) -> None:
    """Final weights and buffers agree, measured against the largest entry of each tensor."""
    mine, expected = ours.weights, theirs.weights
    assert list(mine) == list(expected)
    for name, value in expected.items():
        assert mine[name].shape == value.shape and mine[name].dtype == value.dtype, name
        largest = np.abs(value).max()
        difference = np.abs(mine[name] - value).max()
        assert difference <= tolerance * largest, f"{name}: {difference / largest:.1e}"


def assert_state_interchanges(ours: Run, theirs: Run, step: int) -> None:
    """Each library goes on from the other's final state and makes the next step's loss: model
    and optimizer states fit in both directions."""
    expected = ours.job.step(step).item(), theirs.job.step(step).item()
    np.testing.assert_allclose(expected[0], expected[1], rtol=1e-2)
    copy_state(ours.job.model, theirs.job.model, torch)
    copy_optimizer(ours.job.optimizer, theirs.job.optimizer, torch)
    after = ours.job.step(step + 1).item(), theirs.job.step(step + 1).item()
    np.testing.assert_allclose(after[0], after[1], rtol=1e-5)
    copy_state(theirs.job.model, ours.job.model, thalweg)
    copy_optimizer(theirs.job.optimizer, ours.job.optimizer, thalweg)
    after = ours.job.step(step + 2).item(), theirs.job.step(step + 2).item()
    np.testing.assert_allclose(after[0], after[1], rtol=1e-5)


def copy_optimizer(source: Any, target: Any, library: Any) -> None:
    """Load `source`'s optimizer state into `target`, an optimizer of `library`."""
    kind = torch.Tensor if library is thalweg else thalweg.Tensor

    def convert(value: Any) -> Any:
        if isinstance(value, kind):
            return library.from_numpy(value.detach().numpy().copy())
        if isinstance(value, dict):
            return {k: convert(v) for k, v in value.items()}
        return [convert(v) for v in value] if isinstance(value, list) else value

    target.load_state_dict(convert(source.state_dict()))


def module_of(path: Path, library: Any) -> types.ModuleType:
    """A source file of thalweg's with its import lines changed to `library`, as a module."""
    name = library.__name__
    source = path.read_text(encoding="utf-8")
    source = source.replace("import thalweg as torch", f"import {name} as torch")
    source = source.replace("from thalweg", f"from {name}")
    module = types.ModuleType(f"{name}_{path.stem}")
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return module
