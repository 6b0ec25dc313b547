"""The training job's options: what they are, what they default to, and what resuming may change.

Whatever decides the numbers of a run is in `Config`, which is stored with the run. Options that
only decide where it is kept are not.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.app.corpus import DEFAULT_CAP


class UsageError(Exception):
    """The options given do not make sense, alone or with the run to resume."""


SIZE_NAMES = ("tiny", "small", "medium")


@dataclass(frozen=True)
class Config:
    """What decides every number of a run."""

    size: str = "small"
    steps: int = 1000
    batch: int = 8
    seq: int = 128
    seed: int = 0
    lr: float = 2e-3
    eval_every: int = 0
    save_every: int = 0
    dropout: float = 0.0
    weight_decay: float = 0.1
    clip: float = 1.0
    # BLAS sums in another order with another number of threads: the last bits differ.
    threads: int = 1
    corpus_bytes: int = DEFAULT_CAP
    corpus_digest: str = ""

    def __post_init__(self) -> None:
        # Zero means: a tenth of the run.
        tenth = max(1, self.steps // 10)
        object.__setattr__(self, "eval_every", self.eval_every or tenth)
        object.__setattr__(self, "save_every", self.save_every or self.eval_every)
        if self.size not in SIZE_NAMES:
            raise UsageError(f"--size: expected one of {', '.join(SIZE_NAMES)}, given {self.size}")
        for name in (
            "steps",
            "batch",
            "seq",
            "eval_every",
            "save_every",
            "corpus_bytes",
            "threads",
        ):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise UsageError(f"--{option}: expected at least 1, given {getattr(self, name)}")
        if self.seed < 0:
            raise UsageError(f"--seed: expected at least 0, given {self.seed}")
        if not self.lr > 0:
            raise UsageError(f"--lr: expected more than 0, given {self.lr}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"--dropout: expected 0 up to below 1, given {self.dropout}")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any], source: Path) -> Config:
        expected = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        unknown = sorted(stored.keys() - expected.keys())
        missing = sorted(expected.keys() - stored.keys())
        if unknown or missing:
            raise UsageError(f"{source}: missing settings {missing}, unknown settings {unknown}")
        for name, kind in expected.items():
            if type(stored[name]) is not kind:
                given = type(stored[name]).__name__
                raise UsageError(f"{source}: {name} should be {kind.__name__}, is {given}")
        return cls(**stored)


# What the command line sets in Config; None there means "not given".
SETTABLE = (
    ("size", str, "model: tiny, small or medium"),
    ("steps", int, "optimizer steps"),
    ("batch", int, "windows a step"),
    ("seq", int, "bytes a window"),
    ("seed", int, "fixes weights, order of samples and dropout"),
    ("lr", float, "highest learning rate (warm-up, then cosine to a tenth)"),
    ("eval_every", int, "steps between validations (default: a tenth of --steps)"),
    ("save_every", int, "steps between checkpoints (default: --eval-every)"),
    ("dropout", float, "share of activations dropped in training"),
    ("threads", int, "threads for matrix products; more help only on idle cores"),
    ("corpus_bytes", int, "most bytes of standard library source to read"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(Config)}
    for name, kind, text in SETTABLE:
        shown = text if "default" in text else f"{text} (default: {defaults[name]})"
        metavar = {str: "NAME", int: "N", float: "X"}[kind]
        choices = SIZE_NAMES if name == "size" else None
        option = "--" + name.replace("_", "-")
        parser.add_argument(
            option, type=kind, help=shown, metavar=None if choices else metavar, choices=choices
        )
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: a new one)")
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="where new run folders are made and the latest is looked for (default: ./runs)",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        metavar="RUN",
        help="go on with RUN (a run folder), with --out, or with the latest run",
    )


def given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings named on the command line."""
    found = {name: getattr(options, name) for name, _, _ in SETTABLE}
    return {name: value for name, value in found.items() if value is not None}


def resumed(stored: Config, changes: dict[str, Any]) -> Config:
    """The stored settings with the changes asked for, if resuming allows them.

    Only the number of steps and how often to validate and save may change: all else would make
    a different run, not a longer one.
    """
    allowed = {"steps", "eval_every", "save_every"}
    for name, value in changes.items():
        if name not in allowed and value != getattr(stored, name):
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"{option} {value} differs from the run's own {getattr(stored, name)}, and "
                f"cannot change on resuming; start a new run instead"
            )
    return dataclasses.replace(stored, **changes)
