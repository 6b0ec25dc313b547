"""``thalweg dump SCRIPT``: run a script and print the text of every graph it runs.

Each distinct graph is printed once, then counted: a training loop whose steps are all alike prints
one, however often it runs. With ``--html FILE`` they go to a page, on which a person can step
through what becomes of each (`thalweg.inspect`).
"""

from __future__ import annotations

import argparse
import contextlib
import runpy
import sys
from pathlib import Path

from ..ir.graph import Graph
from .options import UsageError


def main(options: argparse.Namespace) -> int:
    """Run the script as the main program. Graphs go to standard output, what the script itself
    prints to standard error; an exit status of the script's own is passed on."""
    from ..tensor.flush import flush
    from ..tensor.inspect import watch

    script: Path = options.script
    if not script.is_file():
        raise UsageError(f"there is no file {script}")
    seen: dict[Graph, int] = {}
    out = sys.stdout

    def show(graph: Graph) -> None:
        seen[graph] = seen.get(graph, 0) + 1
        if seen[graph] == 1 and options.html is None:
            print(f"# graph {len(seen)}\n{graph!r}", file=out, flush=True)

    status = 0
    before = sys.argv, sys.path
    sys.argv = [str(script), *options.arguments]
    sys.path = [str(script.resolve().parent), *sys.path]
    try:
        with watch(show), contextlib.redirect_stdout(sys.stderr):
            # Holding the script's variables keeps what it recorded but never read.
            variables = runpy.run_path(str(script), run_name="__main__")
            flush()
            del variables
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv, sys.path = before
    if options.html is not None:
        from ..inspect import write_html

        write_html(options.html, seen, script.name)
    for number, (graph, count) in enumerate(seen.items(), 1):
        print(f"# graph {number}: {len(graph.nodes)} nodes, run {count} times", file=out)
    return status
