"""`thalweg dump`: run a script and print the text of every graph it has computed.

A graph is printed when it is seen for the first time; a training loop whose steps are all alike
therefore prints one, however often it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import thalweg
from thalweg.app.options import UsageError
from thalweg.ir.graph import Graph
from thalweg.tensor import flush


@contextlib.contextmanager
def watching(see: Callable[[Graph], None]) -> Iterator[None]:
    """Call `see` with each graph on its way to the compiler, as it was recorded."""
    compile_graph = flush.compile_graph

    def seen(graph: Graph) -> object:
        see(graph)
        return compile_graph(graph)

    flush.compile_graph = seen  # type: ignore[assignment]
    try:
        yield
    finally:
        flush.compile_graph = compile_graph


def main(options: argparse.Namespace) -> int:
    """Graphs go to standard output; what the script itself prints goes to standard error."""
    script: Path = options.script
    if not script.is_file():
        raise UsageError(f"there is no file {script}")
    known: set[Graph] = set()
    out = sys.stdout

    def show(graph: Graph) -> None:
        if graph not in known and graph.nodes:
            known.add(graph)
            out.write(f"# graph {len(known)}: {len(graph.nodes)} nodes\n{graph!r}\n\n")
            out.flush()

    before = sys.argv, sys.path
    sys.argv = [str(script), *options.arguments]
    sys.path = [str(script.resolve().parent), *sys.path]
    try:
        with watching(show), contextlib.redirect_stdout(sys.stderr):
            # Holding the script's variables keeps what it recorded but never read.
            variables = runpy.run_path(str(script), run_name="__main__")
            thalweg.synchronize()
            del variables
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv, sys.path = before
    return 0
