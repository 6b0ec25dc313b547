"""Results as text: the table on the terminal, JSON, and `docs/benchmarks.md`."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .driver import OURS, Result
from .peers import PEERS
from .works import INFERENCE, TRAINING


def line(result: Result) -> str:
    """One work on the terminal: our time, and every peer's as a multiple of it."""
    if OURS not in result.seconds:
        return f"{result.work:28} thalweg failed: {result.failed.get(OURS, 'not run')}"
    cells = [f"{result.work:28}{result.threads:>2} thr {_time(result.median(OURS)):>9}"]
    for name in result.seconds:
        if name != OURS:
            low, middle, high = result.ratio(name)
            cells.append(f"  {name} {middle:.2f}x [{low:.2f}, {high:.2f}]")
    cells += [f"  {name} failed" for name in result.failed]
    return "".join(cells)


def _time(seconds: float) -> str:
    units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
    unit = next((u for u, scale in units.items() if seconds >= scale), "µs")
    return f"{seconds / units[unit]:.3g} {unit}"


def as_json(results: Sequence[Result]) -> str:
    rows: list[dict[str, Any]] = [
        {
            "work": r.work, "threads": r.threads, "seconds": r.seconds, "first": r.first,
            "peak_bytes": r.peak_bytes, "failed": r.failed,
        }
        for r in results
    ]  # fmt: skip
    return json.dumps({"machine": machine(), "results": rows}, indent=1)


def from_json(text: str) -> list[Result]:
    """What `as_json` wrote."""
    return [Result(**row) for row in json.loads(text)["results"]]


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for row in cpuinfo.read_text(encoding="utf-8").splitlines():
            if row.startswith("model name"):
                model = row.partition(":")[2].strip()
                break
    versions = {p.distribution: p.version() for p in PEERS if p.installed()}
    return {"processor": model, "python": platform.python_version(), **versions}


def as_markdown(results: Sequence[Result]) -> str:
    """The page: one table per group of works and number of threads. Of a work that was measured
    more than once, the last results count."""
    results = list({(r.work, r.threads): r for r in results}.values())
    parts = [
        "# Benchmarks\n",
        "Written by `python -m benchmarks --write`. Each figure is the median over alternating "
        "rounds of *peer's time / thalweg's time*: above 1, thalweg is faster. Brackets give the "
        "quartiles.\n",
        "\n".join(f"- {key}: {value}" for key, value in machine().items()) + "\n",
    ]
    groups = {"Training steps": TRAINING, "Inference": INFERENCE}
    kernels = tuple(dict.fromkeys(r.work for r in results if "/" in r.work))
    groups["Kernels"] = kernels
    for title, works in groups.items():
        for threads in sorted({r.threads for r in results}):
            rows = [r for r in results if r.work in works and r.threads == threads]
            if rows:
                count = f"{threads} thread{'s' if threads > 1 else ''}"
                parts.append(f"## {title}, {count}\n\n{_table(rows)}")
    return "\n".join(parts)


def _table(rows: Sequence[Result]) -> str:
    peers = [p.name for p in PEERS if p.name != OURS and any(p.name in r.seconds for r in rows)]
    lines = [
        f"| work | thalweg | {' | '.join(peers)} | best peer | peak memory, best peer / ours |",
        "|---|---|" + "---|" * (len(peers) + 2),
    ]
    bests = []
    for r in rows:
        if OURS not in r.seconds:
            lines.append(f"| {r.work} | failed: {r.failed.get(OURS)} |" + " |" * (len(peers) + 2))
            continue
        cells = []
        ratios = {p: r.ratio(p) for p in peers if p in r.seconds}
        for peer in peers:
            if peer in ratios:
                low, middle, high = ratios[peer]
                cells.append(f"{middle:.2f} [{low:.2f}, {high:.2f}]")
            else:
                cells.append("failed" if peer in r.failed else "")
        best = min((middle for _, middle, _ in ratios.values()), default=math.nan)
        memory = [r.peak_bytes[p] for p in ratios if p in r.peak_bytes]
        share = f"{min(memory) / r.peak_bytes[OURS]:.2f}" if memory else ""
        bests.append(best)
        lines.append(
            f"| {r.work} | {_time(r.median(OURS))} | {' | '.join(cells)} | {best:.2f} | {share} |"
        )
    known = [b for b in bests if b == b]
    if known:
        mean = math.exp(sum(map(math.log, known)) / len(known))
        lines.append(f"\nGeometric mean against the best peer: {mean:.2f}.\n")
    return "\n".join(lines)
