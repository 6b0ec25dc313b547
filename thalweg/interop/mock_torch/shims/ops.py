"""`torch.ops`: operators by namespace. ATen's are thalweg's functions, others missing."""

from __future__ import annotations

import os
from typing import Any

loaded_libraries: set[str] = set()


def load_library(path: str | os.PathLike[str]) -> None:
    """Load compiled operators: they stay missing, each by its name, since they are PyTorch's.

    OSError for libraries whose package computes without them after that error.
    """
    if os.path.basename(path) in _OPTIONAL:
        raise OSError(f"{path}: compiled operators of PyTorch cannot be loaded into thalweg")
    loaded_libraries.add(os.fspath(path))


_OPTIONAL = ("_C.so", "image.so")  # torchvision's


def import_module(module: str) -> Any:
    """Import a module that registers operators."""
    import importlib

    return importlib.import_module(module)
