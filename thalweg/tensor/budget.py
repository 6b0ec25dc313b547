"""A budget of memory for what is recorded: values may be computed again to keep within it.

A budget is an edge of the trie, as gradient modes are: the program of a path with a budget on it
is another than that of the same path without, and recording costs the same. The last one on the
path holds for the whole program.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from ..core.budget import Budget, checked_budget
from .trace import State, Trace, local, trie

_EDGE = "memory_budget"


@contextlib.contextmanager
def memory_budget(budget: Budget) -> Iterator[None]:
    """Programs recorded inside of the block take at most ``budget`` bytes (int) for temporary
    values, or that share (float, up to 1) of what they would take otherwise. For that, values are
    computed again where they are read late instead of being kept: what the backward pass reads of
    the forward pass, above all. Results are the same. If the budget cannot be kept, a
    RuntimeWarning tells how little memory can be reached, and the program runs with that.

    What is recorded in the block and runs after it counts as well. Parameters, optimizer states and
    other results are not temporary, nor is what is kept for a backward pass that is recorded after
    a value was read: call ``backward()`` before printing the loss.
    """
    before = local.budget
    local.budget = checked_budget(budget)
    try:
        yield
    finally:
        note(local.trace)
        local.budget = before


def note(trace: Trace) -> None:
    """Put the budget in force on the path of a trace that holds something."""
    budget = local.budget
    if budget is None or not trace.tensors or trace.scope is not None:
        return
    key = (_EDGE, type(budget), budget)
    if trace.state.key == key:
        return
    found = trace.state.next.get(key)
    if found is None:
        found = trace.state.next[key] = trie.add(trace.state, key)
    trace.state = found


def budget_of(state: State) -> Budget | None:
    """The budget for programs of a path."""
    for passed in reversed(state.path()):
        key = passed.key
        if type(key) is tuple and len(key) == 3 and key[0] is _EDGE:
            return key[2]  # type: ignore[no-any-return]
    return None


def within(model: Any, budget: Budget) -> Any:
    """``model``, a module or a function, whose programs keep within the budget: those that are
    recorded while it runs, and what is computed along with that (the backward pass)."""
    checked_budget(budget)
    if hasattr(model, "register_forward_hook"):

        def after(module: Any, operands: Any, results: Any) -> None:
            with memory_budget(budget):
                pass

        model.register_forward_hook(after)
        return model

    @functools.wraps(model)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with memory_budget(budget):
            return model(*args, **kwargs)

    return wrapped


__all__ = ["budget_of", "memory_budget", "note", "within"]
