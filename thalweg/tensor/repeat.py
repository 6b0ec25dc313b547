"""Backward passes that were seen before, as one step along the trie.

``loss.backward()`` is several transitions (gradients off, the pass, gradients on, ...) between
which nothing is recorded where every leaf has no gradient yet and no Python code takes part. Such
a pass leaves a *shortcut* in the state where it began: the state where it ended, and which slot
became the gradient of which leaf. The next pass from there makes the handles and is done.
`codegen.hits` has the same as machine code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .exclusive import shared
from .record import result
from .tensor import Tensor
from .trace import Meta, State, Trace, local


class Start:
    """Where a backward pass began that may leave a shortcut."""

    __slots__ = ("slot", "state", "trace")

    def __init__(self, trace: Trace, state: State, slot: int) -> None:
        self.trace = trace
        self.state = state
        self.slot = slot


def begin(root: Any) -> Start | None:
    """Call before a pass with default arguments; None where it cannot leave a shortcut."""
    trace = shared.trace
    if root.__class__ is not Tensor or root._trace is not trace or not _pure(trace):
        return None
    return Start(trace, trace.state, root._slot)


def end(start: Start, found: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Call after the pass, with the leaves and gradients it found: leaves a shortcut where handles
    of the gradients were all that it made."""
    trace = start.trace
    if local.trace is not trace or trace.closed or not _pure(trace):
        return
    slots = {id(leaf): slot for slot, leaf in trace.leaves.items()}
    grads: list[tuple[int, Meta]] = []
    for leaf, grad in found:
        slot = slots.get(id(leaf))
        if slot is None or not _plain(leaf, grad) or grad._trace is not trace:
            return
        grads.append((slot, grad._meta))
    made = [meta for state in _between(start.state, trace.state) for meta in state.metas]
    if made != [meta for _, meta in grads]:
        return
    start.state.shortcuts[start.slot] = (
        trace.state, *[item for pair in grads for item in pair],
    )  # fmt: skip


def repeat(root: Any) -> bool:
    """Take the shortcut of a pass with default arguments from ``root``, if there is one and the
    leaves are as they were."""
    trace = shared.trace
    if root.__class__ is not Tensor or root._trace is not trace or not _pure(trace):
        return False
    shortcut = trace.state.shortcuts.get(root._slot)
    if shortcut is None:
        return False
    leaves = []
    for slot in shortcut[1::2]:
        leaf = trace.leaves.get(slot)
        if leaf is None or not _plain(leaf, None):
            return False
        leaves.append(leaf)
    for leaf, meta in zip(leaves, shortcut[2::2]):
        leaf._ensure_extra().grad = result(trace, meta)
    trace.state = shortcut[0]
    return True


def _pure(trace: Trace) -> bool:
    """Whether no Python code takes part in backward passes of this trace."""
    return not trace.boundaries and trace.scope is None


def _plain(leaf: Tensor, grad: Tensor | None) -> bool:
    """Whether the leaf's gradient is exactly ``grad``, and no hook sees it."""
    extra = leaf._extra
    if extra is None:
        return grad is None
    return extra.grad is grad and not extra.hooks and not extra.post_hooks


def _between(first: State, last: State) -> list[State]:
    """The states behind ``first`` up to ``last``."""
    states = []
    state: State | None = last
    while state is not None and state is not first:
        states.append(state)
        state = state.parent
    states.reverse()
    return states
