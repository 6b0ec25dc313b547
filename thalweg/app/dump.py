"""``thalweg dump SCRIPT``: run a script and print the text of every graph it runs."""

from __future__ import annotations

import argparse
import runpy
import sys

from ..ir.graph import Graph


def main(options: argparse.Namespace) -> int:
    """Run the script as the main program; each distinct graph is printed once, then counted."""
    from ..tensor.flush import flush
    from ..tensor.inspect import watch

    seen: dict[Graph, int] = {}

    def show(graph: Graph) -> None:
        seen[graph] = seen.get(graph, 0) + 1
        if seen[graph] == 1:
            print(f"# graph {len(seen)}\n{graph!r}", flush=True)

    sys.argv = [str(options.script), *options.arguments]
    sys.path.insert(0, str(options.script.resolve().parent))
    with watch(show):
        runpy.run_path(str(options.script), run_name="__main__")
        flush()
    for i, (graph, count) in enumerate(seen.items(), 1):
        print(f"# graph {i}: {len(graph.nodes)} nodes, run {count} times")
    return 0
