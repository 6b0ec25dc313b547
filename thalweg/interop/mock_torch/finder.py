"""The import hook: ``torch`` and everything below it is made of faces."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import os
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import thalweg

from .faces import Face, shim_of
from .names import VERSION, is_module


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules called ``torch`` or ``torch.…``, and the distribution ``torch``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for torch's modules; ModuleNotFoundError, as PyTorch's, for what is none."""
        if fullname.partition(".")[0] != "torch":
            return None
        if fullname != "torch" and is_module(fullname) is False and shim_of(fullname) is None:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        spec.origin = thalweg.__file__
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        made = Face(spec.name, f"{spec.name}, served by thalweg.")
        made.__file__ = thalweg.__file__
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == "torch":
            module.__dict__["__version__"] = module.torch_version.__version__

    def find_distributions(self, context: Any = None) -> Iterable[importlib.metadata.Distribution]:
        """The distribution ``torch``, for code that asks for its version."""
        name = getattr(context, "name", None)
        return [Torch()] if name is None or name.lower() == "torch" else []


class Torch(importlib.metadata.Distribution):
    """Metadata of ``torch`` as this mock serves it."""

    def read_text(self, filename: str) -> str | None:
        if filename == "METADATA":
            return f"Metadata-Version: 2.1\nName: torch\nVersion: {VERSION}\n"
        return "torch\n" if filename == "top_level.txt" else None

    def locate_file(self, path: str | os.PathLike[str]) -> Any:
        return os.path.join(os.path.dirname(thalweg.__file__), os.fspath(path))


FINDER = Finder()


def install() -> None:
    """Put the finder first, where it comes before an installed PyTorch."""
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)


def remove() -> None:
    """Take the finder out again."""
    if FINDER in sys.meta_path:
        sys.meta_path.remove(FINDER)
