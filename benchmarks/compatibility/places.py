"""Where packages and checkouts are, and what version they have."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Set for the processes that run models.
REPOSITORIES = "COMPATIBILITY_REPOSITORIES"


def folder(repository: str) -> Path | None:
    """The checkout of ``owner/name``: a folder called ``owner+name`` or ``name``."""
    root = os.environ.get(REPOSITORIES)
    if not root:
        return None
    for name in (repository.replace("/", "+"), repository.rpartition("/")[2]):
        path = Path(root) / name
        if path.is_dir():
            return path
    return None


def source(need: str) -> str | None:
    """A need with its version or commit; None if it is not there."""
    kind, _, name = need.partition(":")
    if kind != "github":
        try:
            return f"{need} {importlib.metadata.version(need)}"
        except importlib.metadata.PackageNotFoundError:
            return None
    path = folder(name)
    if path is None:
        return None
    found = subprocess.run(
        ["git", "-C", str(path), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    return f"{name}@{found.stdout.strip() or '?'}"


def checkout(repository: str) -> Path:
    """The folder of a checkout. FileNotFoundError if it is not there."""
    path = folder(repository)
    if path is None:
        raise FileNotFoundError(f"no checkout of {repository} below ${REPOSITORIES}")
    return path


def module_of(repository: str, path: str, *roots: str) -> Any:
    """The module in file ``path`` of a checkout; ``roots`` are the folders it imports from."""
    base = checkout(repository)
    file = base / path
    name = "_".join([repository.partition("/")[2], *Path(path).with_suffix("").parts])
    name = name.replace("-", "_").replace(".", "_")
    with importing(*(base / root for root in (roots or (".",)))):
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def importing(*folders: Path) -> Iterator[None]:
    """Import from these folders; modules that come from them are forgotten afterwards, since
    repositories give their modules common names."""
    before = set(sys.modules)
    paths = [str(f) for f in folders]
    sys.path[:0] = paths
    try:
        yield
    finally:
        for path in paths:
            sys.path.remove(path)
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if any(file.startswith(path) for path in paths):
                sys.modules.pop(name)


def definitions_of(repository: str, path: str, *roots: str, **names: Any) -> Any:
    """Imports, classes and functions of a script, which is not run; ``names`` are the globals that
    they look up."""
    file = checkout(repository) / path
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
    tree.body = [node for node in tree.body if isinstance(node, kinds)]
    module = types.ModuleType("_".join(Path(path).with_suffix("").parts))
    module.__file__ = str(file)
    vars(module).update(names)
    sys.modules[module.__name__] = module
    with importing(*(checkout(repository) / root for root in (roots or (file.parent,)))):
        exec(compile(tree, str(file), "exec"), vars(module))
    return module


def package_of(repository: str, name: str, root: str = ".") -> Any:
    """A module of a package in a checkout, by its import name."""
    with importing(checkout(repository) / root):
        return importlib.import_module(name)
