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

from . import __doc__ as about
from .catalogue import ENTRIES, Entry, load
from .child import file_of
from .compare import compare
from .places import REPOSITORIES, source
from .report import page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "compatibility.md"


def groups(entries: list[Entry]) -> list[list[str]]:
    """Names that share a process, because they import the same."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        found.setdefault(entry.needs[0] if entry.needs else "", []).append(entry.name)
    return [names[i : i + 12] for names in found.values() for i in range(0, len(names), 12)]


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


def prepare(folder: Path, names: list[str], fresh: bool, timeout: float) -> None:
    """Run a group in both worlds; references that are there already are used again."""
    for name in names:
        file_of(folder, name, ".thalweg.npz").unlink(missing_ok=True)
    missing = [n for n in names if fresh or not file_of(folder, n, ".npz").exists()]
    if missing:
        run_world("torch", folder, missing, timeout)
    ready = [n for n in names if file_of(folder, n, ".npz").exists()]
    if ready:
        run_world("thalweg", folder, ready, timeout)


def result_of(folder: Path, name: str) -> dict[str, object]:
    """What came of one model."""
    for world in ("torch", "thalweg"):
        failure = file_of(folder, name, f".{world}.error")
        if failure.exists():
            lines = failure.read_text().strip().splitlines() or ["?"]
            return {"failures": [f"under {world}: {lines[-1]}"], "worst": {}, "seconds": 0.0,
                    "exact": False}  # fmt: skip
    return compare(folder, name)


def main() -> int:
    """Run all models, or those whose names contain one of the given words."""
    parser = argparse.ArgumentParser(
        prog="compatibility", description=about, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="parts of names of models")
    parser.add_argument("--repositories", help="folder that holds the checkouts")
    parser.add_argument("--keep", help="folder for references, which are then used again")
    parser.add_argument("--fresh", action="store_true", help="compute references anew")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one model")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the page in any case")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page of --keep")
    given = parser.parse_args()
    if given.repositories:
        os.environ[REPOSITORIES] = os.path.abspath(given.repositories)
    chosen = [e for e in load().values() if _wanted(e.name, given.words)]
    absent = {e.name: [n for n in e.needs if source(n) is None] for e in chosen}
    entries = [e for e in chosen if not absent[e.name]]
    folder = Path(given.keep or tempfile.mkdtemp(prefix="compatibility-"))
    folder.mkdir(parents=True, exist_ok=True)
    if given.page:
        entries = [e for e in entries if _was_run(folder, e.name)]
    results: dict[str, dict[str, object]] = {}
    with ThreadPoolExecutor(given.processes) as pool:
        tasks = {
            tuple(names): pool.submit(
                (lambda *_: None) if given.page else prepare,
                folder,
                names,
                given.fresh,
                given.timeout,
            )
            for names in groups(entries)
        }
        for names, task in tasks.items():
            task.result()
            for name in names:
                results[name] = found = result_of(folder, name)
                failed = found["failures"]
                print(f"{'FAILED' if failed else 'agrees'} {name} ({found['seconds']:.1f} s)")
                for failure in failed[:6]:  # type: ignore[index]
                    print(f"    {failure}")
                sys.stdout.flush()
    agreed = sum(not r["failures"] for r in results.values())
    print(f"{agreed} of {len(results)} models agree; not tried: {len(chosen) - len(entries)}")
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    missing = folder / "missing.txt"
    asked = missing.read_text().splitlines() if missing.exists() else []
    if given.write or not given.words:
        versions = {n: source(n) or "" for e in entries for n in e.needs}
        PAGE.write_text(page([ENTRIES[n] for n in results], results, versions, absent, asked))
    return 0 if agreed == len(results) else 1


def _was_run(folder: Path, name: str) -> bool:
    endings = (".thalweg.npz", ".torch.error", ".thalweg.error")
    return any(file_of(folder, name, ending).exists() for ending in endings)


def _wanted(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


if __name__ == "__main__":
    sys.exit(main())
