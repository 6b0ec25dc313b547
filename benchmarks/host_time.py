"""Host time of a training step: what Python and the framework cost beside the arithmetic.

    python -m benchmarks.host_time [--rounds N] [--models NAME...]

Models have the structure of the real ones at tiny widths. Times are CPU seconds of the thread
that trains: PyTorch's arithmetic, next to nothing here, runs on that thread, thalweg's on its
executor's. Rounds alternate between the libraries in one process; the table gives medians in
milliseconds and the median of the ratios of neighbouring rounds. The first two steps, in which
thalweg records, differentiates and optimises graphs for the first time, are measured on fresh
models; a further column tells how much of them the passes over the graph took.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

from .host_models import MODELS


def cpu_time(work: Callable[[], Any], repeat: int = 1) -> float:
    """Milliseconds of this thread's CPU time per call."""
    start = time.thread_time()
    for _ in range(repeat):
        work()
    return (time.thread_time() - start) / repeat * 1e3


class Passes:
    """Counts the time spent in turning graphs into programs."""

    def __init__(self) -> None:
        from thalweg import pipeline

        self.spent = 0.0
        compile_graph = pipeline.compile_graph

        def timed(*arguments: Any) -> Any:
            start = time.thread_time()
            try:
                return compile_graph(*arguments)
            finally:
                self.spent += (time.thread_time() - start) * 1e3

        pipeline.compile_graph = timed


def first_steps(build: Callable[[Any], Any], lib: Any, settle: Callable[[], None]) -> float:
    """CPU milliseconds of the first two steps of a new model."""
    step = build(lib)
    settle()
    spent = cpu_time(lambda: (step(), step()))
    settle()
    return spent


def forget() -> None:
    """Let thalweg meet the next model as if for the first time in this process."""
    from thalweg import pipeline
    from thalweg.tensor.flush import restart  # type: ignore[import-not-found]
    from thalweg.tensor.trace import trie  # type: ignore[import-not-found]

    for root in trie.roots.values():
        root.next.clear()
        root.plans.clear()
    pipeline._cache.clear()
    restart()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--first-rounds", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=[])
    options = parser.parse_args()
    import torch

    import thalweg

    torch.set_num_threads(1)
    thalweg.set_num_threads(1)
    # Everything runs on the executor's thread.
    from thalweg.core import flags

    flags.set("inline_limit", 0)
    passes = Passes()
    print(f"{'host ms':20}{'step: thalweg':>14}{'torch':>8}{'ratio':>7}{'spread':>13}"
          f"{'first 2: thalweg':>18}{'(passes)':>9}{'torch':>8}{'ratio':>7}")  # fmt: skip
    for name, build in MODELS.items():
        if options.models and not any(m.lower() in name.lower() for m in options.models):
            continue
        first: list[tuple[float, float, float]] = []
        first_steps(build, torch, lambda: None)  # PyTorch's own lazy parts
        first_steps(build, thalweg, thalweg.synchronize)
        for _ in range(options.first_rounds):
            forget()
            passes.spent = 0.0
            gc.collect()
            ours = first_steps(build, thalweg, thalweg.synchronize)
            gc.collect()
            first.append((ours, passes.spent, first_steps(build, torch, lambda: None)))
        mine, theirs = build(thalweg), build(torch)
        for _ in range(4):
            mine(), theirs()
        pairs = []
        for _ in range(options.rounds):
            thalweg.synchronize()
            ours = cpu_time(mine, 3)
            thalweg.synchronize()
            pairs.append((ours, cpu_time(theirs, 3)))
        ratios = sorted(b / a for a, b in pairs)
        low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
        step = [statistics.median(p[i] for p in pairs) for i in (0, 1)]
        begin = [statistics.median(f[i] for f in first) for i in (0, 1, 2)]
        print(f"{name:20}{step[0]:14.2f}{step[1]:8.2f}{statistics.median(ratios):7.1f}"
              f"{low:7.1f}-{high:<5.1f}{begin[0]:18.1f}{begin[1]:9.1f}{begin[2]:8.1f}"
              f"{statistics.median(f[2] / f[0] for f in first):7.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
