"""Compare thalweg with every peer that is installed: ``python -m benchmarks [WORK...]``.

Names may be prefixes ('kernel/', 'gelu', 'resnet50'); without any, everything runs. Peers are
PyTorch (eager and ``torch.compile``), JAX, TensorFlow, tinygrad and onnxruntime, as far as they
are installed (``pip install -e '.[bench]'``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import report
from .driver import ROOT, Result, compare
from .peers import PEERS, by_name
from .works import names


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("works", nargs="*", help="names or prefixes of works")
    parser.add_argument("--peers", help="comma-separated; default: all that are installed")
    parser.add_argument("--threads", default="1,2", help="comma-separated numbers of threads")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    parser.add_argument(
        "--read", type=Path, nargs="*", default=[], metavar="JSON",
        help="files of earlier runs whose results go before those of this run",
    )  # fmt: skip
    parser.add_argument("--none", action="store_true", help="run nothing: only what is read")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--list", action="store_true", help="list the works and leave")
    options = parser.parse_args()
    chosen = [
        n for n in names() if not options.works or any(n.startswith(w) for w in options.works)
    ]
    if options.list:
        print("\n".join(chosen))
        return
    if not chosen:
        parser.error(f"no work begins with {' or '.join(options.works)}")
    peers = [p for p in PEERS if p.installed()]
    if options.peers:
        wanted = {"thalweg", *options.peers.split(",")}
        peers = [p for p in peers if p.name in {by_name(n).name for n in wanted}]
    results: list[Result] = []
    for path in options.read:
        results += report.from_json(path.read_text(encoding="utf-8"))
    for threads in map(int, options.threads.split(",")):
        for work in () if options.none else chosen:
            results.append(compare(work, peers, threads, options.rounds))
            print(report.line(results[-1]), flush=True)
            for name, why in results[-1].failed.items():
                print(f"    {name}: {why}", flush=True)
    if options.json:
        options.json.write_text(report.as_json(results), encoding="utf-8")
    if options.write:
        page = ROOT / "docs" / "benchmarks.md"
        page.write_text(report.as_markdown(results), encoding="utf-8")


if __name__ == "__main__":
    main()
