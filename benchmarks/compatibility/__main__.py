"""``python -m benchmarks.compatibility``: runs the models and writes the page of results."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import __doc__ as about
from .catalogue import ENTRIES, Entry, load
from .child import file_of
from .compare import compare
from .places import REPOSITORIES, source
from .report import page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "compatibility.md"


# Models that share a pair of processes. Their references, hundreds of megabytes each, are on the
# disk at the same time.
TOGETHER = 8
ARRAYS = (".npz", ".thalweg.npz", ".pt", ".thalweg.pt")


def groups(entries: list[Entry]) -> list[list[str]]:
    """Names that share processes, because they import the same."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        found.setdefault(entry.needs[0] if entry.needs else "", []).append(entry.name)
    return [names[i : i + TOGETHER] for names in found.values()
            for i in range(0, len(names), TOGETHER)]  # fmt: skip


def run_world(world: str, folder: Path, names: list[str], timeout: float) -> None:
    """Run models in one process, and those after a crash in the next."""
    ending = ".npz" if world == "torch" else ".thalweg.npz"
    pending = list(names)
    while pending:
        command = [sys.executable, "-m", "benchmarks.compatibility.child", world, str(folder)]
        try:
            code = subprocess.run(command + pending, cwd=ROOT, timeout=timeout * len(pending))
            reason = f"the process ended with code {code.returncode}"
        except subprocess.TimeoutExpired:
            reason = f"took more than {timeout:.0f} s"
        left = [
            name
            for name in pending
            if not file_of(folder, name, ending).exists()
            and not file_of(folder, name, f".{world}.error").exists()
        ]
        if left:
            file_of(folder, left[0], f".{world}.error").write_text(reason)
        pending = left[1:]


def run_group(folder: Path, names: list[str], given: argparse.Namespace) -> None:
    """Run a group in both worlds, and write what came of each of its models; only with ``--arrays``
    do the arrays stay, and those of PyTorch are then used again."""
    for name in names:
        file_of(folder, name, ".thalweg.npz").unlink(missing_ok=True)
        file_of(folder, name, ".native").unlink(missing_ok=True)
    missing = [n for n in names if not file_of(folder, n, ".npz").exists()]
    if missing:
        run_world("torch", folder, missing, given.timeout)
    ready = [n for n in names if file_of(folder, n, ".npz").exists()]
    if ready:
        run_world("thalweg", folder, ready, given.timeout)
    for name in names:
        result = result_of(folder, name)
        file_of(folder, name, ".json").write_text(json.dumps(result, indent=1))
        for ending in () if given.arrays else ARRAYS:
            file_of(folder, name, ending).unlink(missing_ok=True)


def result_of(folder: Path, name: str) -> dict[str, Any]:
    """What came of one model."""
    result: dict[str, Any] = {"backend": os.environ["THALWEG_BACKEND"]}
    for world in ("torch", "thalweg"):
        failure = file_of(folder, name, f".{world}.error")
        if failure.exists():
            lines = failure.read_text().strip().splitlines() or ["?"]
            return result | {"failures": [f"under {world}: {lines[-1]}"], "worst": {},
                             "seconds": 0.0, "exact": False, "agrees": []}  # fmt: skip
    native = file_of(folder, name, ".native")
    return result | compare(folder, name) | json.loads(native.read_text())


def main() -> int:
    """Run all models, or those whose names contain one of the given words."""
    parser = argparse.ArgumentParser(
        prog="compatibility", description=about, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="parts of names of models")
    parser.add_argument("--repositories", help="folder that holds the checkouts")
    parser.add_argument("--results", help="folder for what came of each model, default: temporary")
    parser.add_argument("--missing", action="store_true", help="only models not there in --results")
    parser.add_argument("--failed", action="store_true", help="only those that failed in --results")
    parser.add_argument("--arrays", action="store_true", help="keep arrays too (100 MB a model)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one model")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the page in any case")
    parser.add_argument("--page", action="store_true", help="run nothing, write page of --results")
    given = parser.parse_args()
    if given.repositories:
        os.environ[REPOSITORIES] = os.path.abspath(given.repositories)
    # Everything is compiled when it first runs, and what cannot be compiled is an error.
    os.environ.setdefault("THALWEG_BACKEND", "native")
    folder = Path(given.results or tempfile.mkdtemp(prefix="compatibility-"))
    folder.mkdir(parents=True, exist_ok=True)
    # Object code of an earlier run would hide what compiling costs.
    os.environ.setdefault("THALWEG_CACHE_DIR", str(folder / "cache"))
    chosen = [e for e in load().values() if _wanted(e.name, given.words)]
    absent = {e.name: [n for n in e.needs if source(n) is None] for e in chosen}
    present = [e for e in chosen if not absent[e.name]]
    known = {e.name: r for e in present if (r := _known(folder, e.name)) is not None}
    entries = present
    if given.page or given.missing or given.failed:
        entries = [
            e
            for e in present
            if (given.missing and e.name not in known)
            or (given.failed and e.name in known and known[e.name]["failures"])
        ]
    results = dict(known) if given.page or given.missing or given.failed else {}
    with ThreadPoolExecutor(given.processes) as pool:
        tasks = {
            tuple(names): pool.submit(run_group, folder, names, given) for names in groups(entries)
        }
        for names, task in tasks.items():
            task.result()
            for name in names:
                results[name] = json.loads(file_of(folder, name, ".json").read_text())
                _report(name, results[name])
    agreed = sum(not r["failures"] for r in results.values())
    print(f"{agreed} of {len(results)} models agree; not tried: {len(chosen) - len(results)}")
    missing = folder / "missing.txt"
    asked = missing.read_text().splitlines() if missing.exists() else []
    if given.write or given.page or not given.words:
        versions = {n: source(n) or "" for e in present for n in e.needs}
        PAGE.write_text(page([ENTRIES[n] for n in results], results, versions, absent, asked))
    return 0 if agreed == len(results) else 1


def _report(name: str, found: dict[str, Any]) -> None:
    failed = found["failures"]
    seconds = f"{found['seconds']:.1f} s, compiling {found.get('compiling', 0.0):.1f} s"
    print(f"{'FAILED' if failed else 'agrees'} {name} ({seconds})", flush=True)
    for failure in failed[:6]:
        print(f"    {failure}", flush=True)


def _known(folder: Path, name: str) -> dict[str, Any] | None:
    path = file_of(folder, name, ".json")
    return json.loads(path.read_text()) if path.exists() else None


def _wanted(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


if __name__ == "__main__":
    sys.exit(main())
