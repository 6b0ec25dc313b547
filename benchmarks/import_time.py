"""How long `import thalweg` takes: beside NumPy's import, and which modules take it.

    python benchmarks/import_time.py [--runs 10]

Every run is a fresh interpreter with a warm file cache; the table shows the time above that of an
interpreter that imports nothing. The package promises at most 0.25 s.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROMISE = 0.25
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| (\s*)(\S+)")


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter that finds this checkout of the package."""
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )


def seconds(code: str, runs: int) -> list[float]:
    """Wall-clock times of fresh interpreters running ``code``."""
    run(code)  # writes bytecode and warms the file cache
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        run(code)
        found.append(time.perf_counter() - start)
    return found


def own_times(code: str) -> list[tuple[str, float]]:
    """Modules by the time each took without what it imported, longest first."""
    lines = run(code, "-X", "importtime").stderr.splitlines()
    found = [m for m in map(_LINE.match, lines) if m]
    return sorted(((m[4], int(m[1]) / 1e6) for m in found), key=lambda pair: -pair[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10, help="fresh interpreters per row")
    parser.add_argument("--modules", type=int, default=12, help="rows of the second table")
    options = parser.parse_args()
    bare = statistics.median(seconds("pass", options.runs))
    print(f"{'import':<24} {'median s':>9} {'best s':>9}   (above a bare {bare:.3f} s)")
    for code in ("import numpy", "import numpy, ml_dtypes", "import thalweg"):
        found = [t - bare for t in seconds(code, options.runs)]
        median = statistics.median(found)
        verdict = ""
        if code == "import thalweg":
            verdict = f"   promise {PROMISE:.2f} s: {'kept' if median <= PROMISE else 'BROKEN'}"
        print(f"{code.removeprefix('import '):<24} {median:9.3f} {min(found):9.3f}{verdict}")
    times = own_times("import thalweg")
    ours = [(name, t) for name, t in times if name.split(".")[0] == "thalweg"]
    print(
        f"\n{len(times)} modules; {len(ours)} of the package take {sum(t for _, t in ours):.3f} s"
    )
    print(f"{'module':<40} {'own ms':>9}")
    for name, t in times[: options.modules]:
        print(f"{name:<40} {t * 1e3:9.2f}")


if __name__ == "__main__":
    main()
