"""Machine code for what every run does with its operands (`codegen.hit_run`), where there is any.

Whoever can have it made puts it here (`tensor.hits`); without it the same is done in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Quick(NamedTuple):
    """``buffers(count, job)``, ``begin(inputs, bases, results)`` and ``finish(outputs, inputs,
    memories, kinds, sources)``; `codegen.hit_run` says what they do."""

    buffers: Callable[[int, Any], list[Any]]
    begin: Callable[[list[Any], int, int], Any]
    finish: Callable[[list[Any], list[Any], list[Any], tuple[Any, ...], int], None]


current: Quick | None = None
