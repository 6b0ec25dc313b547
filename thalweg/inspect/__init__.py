"""Looking at what is recorded, and at what becomes of it.

    thalweg.inspect.graph_text(loss)                 # the graph behind a pending tensor
    with thalweg.inspect.page("step.html"):          # every graph that runs in the block
        train_step()

The page shows, for each graph, its text after every pass with what the pass changed, what was
fused and what stayed apart and why, the kernels with their loops, the order in which they run and
the memory that they use. It is one file and loads nothing from elsewhere. `thalweg dump --html`
makes one of a script.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..ir.graph import Graph
from ..tensor.inspect import graph_of, graph_text, watch
from .page import html
from .stages import Report, report


def write_html(path: str | Path, graphs: dict[Graph, int], title: str = "thalweg") -> None:
    """Write the page of recorded graphs; the numbers say how often each ran."""
    reports = [report(graph, runs) for graph, runs in graphs.items()]
    Path(path).write_text(html(reports, title), encoding="utf-8")


@contextlib.contextmanager
def page(path: str | Path, title: str = "thalweg") -> Iterator[None]:
    """Write a page of the graphs that the block runs."""
    from .. import synchronize

    seen: dict[Graph, int] = {}
    synchronize()

    def note(graph: Graph) -> None:
        seen[graph] = seen.get(graph, 0) + 1

    with watch(note):
        yield
        synchronize()
    write_html(path, seen, title)


__all__ = ["Report", "graph_of", "graph_text", "html", "page", "report", "watch", "write_html"]
