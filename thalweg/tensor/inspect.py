"""Looking at what is recorded: the graph behind pending tensors, and every graph that runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ..ir.graph import Graph
from ..ir.node import INPUT, topological
from . import flush as _flush
from .alias import bind
from .tensor import Tensor
from .trace import local


def graph_of(*tensors: Any, optimised: bool = True) -> Graph:
    """The graph that would compute ``tensors`` from what is already computed.

    Nothing is run. ``optimised`` applies the passes of the compiler; otherwise composites stand
    as they were recorded. Inputs appear in the order in which the program used them.
    """
    handles = [getattr(t, "_tensor", t) for t in tensors]
    trace = local.trace
    for handle in handles:
        if not isinstance(handle, Tensor):
            raise TypeError(f"graph_of expects tensors, got {type(handle).__name__}")
        bind(trace, handle)
    values = [h._meta.value for h in handles]
    used = {n.out for n in topological(values) if n.op is INPUT}
    inputs = [v for v in trace.state.path_leaves() if v in used]
    graph = Graph(inputs, values)
    if not optimised:
        return graph
    from ..pipeline import optimise

    return optimise(graph)


def graph_text(*tensors: Any, optimised: bool = True) -> str:
    """The text of `graph_of`."""
    return repr(graph_of(*tensors, optimised=optimised))


@contextlib.contextmanager
def watch(observer: Callable[[Graph], None]) -> Iterator[None]:
    """Call ``observer(graph)`` with the recorded graph of every flush inside the block."""
    _flush.observers.append(observer)
    try:
        yield
    finally:
        _flush.observers.remove(observer)
