"""``python -m tests.parity [NAME...]``: how the operator database fares, one line per name."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from op_db import entries, ours, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="public names; default: all that exist here")
    parser.add_argument("-n", "--limit", type=int, default=200, help="samples per dtype")
    parser.add_argument("-s", "--show", type=int, default=3, help="complaints shown per name")
    parser.add_argument("-f", "--file", help="a file of names, one a line; # begins a comment")
    options = parser.parse_args()
    named = entries()
    passed = 0
    if options.file:
        lines = (line.partition("#")[0] for line in Path(options.file).read_text().splitlines())
        options.names += [word for line in lines for word in line.split()]
    chosen = options.names or list(named)
    for name in chosen:
        if ours(name) is None:
            print(f"{name}: absent")
            continue
        report = run(name, named[name], options.limit)
        passed += not report.problems
        verdict = f"{len(report.problems)} of {report.checks} FAIL" if report.problems else "pass"
        print(f"{name}: {verdict} ({report.checks})", flush=True)
        for problem in report.problems[: options.show]:
            print(f"    {problem}", flush=True)
    print(f"{passed} of {len(chosen)} names pass")


if __name__ == "__main__":
    main()
