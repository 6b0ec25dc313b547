"""`torch._dynamo`: PyTorch's reader of bytecode, whose marks on functions mean nothing here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from thalweg.compiler import allow_in_graph, assume_constant_result, compile, disable, reset


def is_compiling() -> bool:
    """Whether it reads the caller."""
    return False


def mark_dynamic(*args: Any, **kwargs: Any) -> None:
    """An extent that may vary."""


mark_static = maybe_mark_dynamic = mark_static_address = graph_break = mark_dynamic


def optimize(*args: Any, **kwargs: Any) -> Any:
    """A decorator that returns its function."""
    return lambda function: function


disallow_in_graph = forbid_in_graph = allow_in_graph
config = SimpleNamespace(suppress_errors=False, cache_size_limit=8, recompile_limit=8)

__all__ = ["allow_in_graph", "assume_constant_result", "compile", "config", "disable", "reset"]
