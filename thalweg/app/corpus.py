"""Real text that every machine has: the running interpreter's own standard library, as bytes.

The choice of files is a pure function of the installed library: files are ranked by a hash of
their path, so a size cap takes an even sample of all packages instead of those early in the
alphabet, and every tenth file of that ranking is held out for validation. Whole files are held
out, so no validation text was ever seen in training.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from thalweg.data import Dataset

Bytes = npt.NDArray[np.uint8]
Tokens = npt.NDArray[np.int64]

VOCABULARY = 256
DEFAULT_CAP = 4 << 20
HELD_OUT = 10
LARGEST_FILE = 256 << 10

# Third-party code, test suites (large, repetitive) and tables of numbers written as Python.
SKIPPED_FOLDERS = frozenset(
    ["__pycache__", "dist-packages", "encodings", "idlelib", "lib2to3", "pydoc_data"]
    + ["site-packages", "test", "tests"]
)


class CorpusError(RuntimeError):
    """The text cannot be read, or is too small for what was asked."""


@dataclass(frozen=True)
class Corpus:
    """Training and held-out bytes, and a digest that names exactly this text."""

    train: Bytes
    validation: Bytes
    train_files: int
    validation_files: int
    digest: str


class Windows(Dataset):  # type: ignore[type-arg]
    """Every non-overlapping window of `length + 1` bytes: inputs and, one further, targets."""

    def __init__(self, text: Bytes, length: int) -> None:
        if len(text) <= length:
            raise CorpusError(
                f"windows of {length} bytes need more than {length} bytes of text, "
                f"but there are only {len(text)}"
            )
        self.text = text
        self.length = length

    def __len__(self) -> int:
        return (len(self.text) - 1) // self.length

    def __getitem__(self, index: int) -> Tokens:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} is out of range: there are {len(self)} windows")
        start = index * self.length
        return self.text[start : start + self.length + 1].astype(np.int64)


def standard_library() -> Path:
    """The folder that holds the running interpreter's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def source_files(root: Path) -> Iterator[Path]:
    """Python files under `root` worth reading, relative to it, in no particular order."""
    for folder, folders, files in os.walk(root):
        # Never entered: an installation's site-packages may hold more files than all the rest.
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        inside = Path(folder).relative_to(root)
        for name in files:
            # _sysconfigdata records how this one interpreter was built: not source text.
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                yield inside / name


def load(root: Path | None = None, cap: int = DEFAULT_CAP) -> Corpus:
    """Read up to `cap` bytes of Python source under `root` (default: the standard library).

    Raises `CorpusError` when there is not enough text to train and validate on.
    """
    root = standard_library() if root is None else root
    names = sorted(path.as_posix() for path in source_files(root))
    names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    train: list[bytes] = []
    validation: list[bytes] = []
    size = 0
    digest = hashlib.sha256()
    for name in names:
        try:
            text = (root / name).read_bytes()
        except OSError as error:
            raise CorpusError(f"cannot read {root / name}: {error.strerror}") from error
        if not text or len(text) > LARGEST_FILE:
            continue
        if size + len(text) > cap:
            break
        size += len(text)
        digest.update(name.encode() + b"\0" + text + b"\0")
        held_out = (len(train) + len(validation)) % HELD_OUT == 0
        (validation if held_out else train).append(text)
    if not train or not validation:
        raise CorpusError(
            f"expected at least two Python source files under {root} within {cap} bytes, "
            f"found {len(train) + len(validation)}"
        )
    return Corpus(
        _join(train), _join(validation), len(train), len(validation), digest.hexdigest()[:16]
    )


def validation_windows(corpus: Corpus, length: int, count: int) -> Tokens:
    """`count` windows spread evenly over the held-out text, shape `(count, length + 1)`.

    Always the same ones, so losses of different steps and runs may be compared.
    """
    windows = Windows(corpus.validation, length)
    chosen = np.linspace(0, len(windows) - 1, min(count, len(windows))).astype(np.int64)
    return np.stack([windows[int(index)] for index in chosen])


def _join(files: list[bytes]) -> Bytes:
    # A zero byte, which no source file holds, tells the model where a file ends.
    return np.frombuffer(b"\0".join(files), dtype=np.uint8)
