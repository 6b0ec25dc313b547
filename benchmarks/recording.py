"""Host cost of one operation: recording (trie hits) beside PyTorch eager with autograd.

    python -m benchmarks.recording [--python]

Tensors are 3x4 float32, so that arithmetic costs next to nothing; both libraries run on one
thread. Rounds alternate between the libraries; the table gives medians over rounds, in
microseconds per operation, and the ratio of the medians. Recording is timed without execution (the
values are dropped unread), and with backward and execution of the recorded step. Calls take the
native forms that are in their way once anything was compiled; ``--python`` measures without them.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

OPS = 1000


def chain(lib: Any, x: Any, y: Any, count: int = OPS) -> Any:
    """Five kinds of operations in turn, each on the result of the last."""
    z = y
    for _ in range(count // 5):
        z = z * x
        z = z + y
        z = z.tanh()
        z = z * 0.5
        z = lib.sub(z, x)
    return z


def one(operation: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """The same operation over and over, each on the result of the last."""

    def run(lib: Any, x: Any, y: Any) -> Any:
        z = y
        for _ in range(OPS):
            z = operation(lib, z, x)
        return z

    return run


def views(lib: Any, x: Any, y: Any) -> Any:
    """Views of one tensor, dropped at once."""
    for _ in range(OPS):
        z = y.t()
    return z


CASES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "x + y": one(lambda lib, z, x: z + x),
    "x * y": one(lambda lib, z, x: z * x),
    "x * 0.5": one(lambda lib, z, x: z * 0.5),
    "x.tanh()": one(lambda lib, z, x: z.tanh()),
    "torch.exp(x)": one(lambda lib, z, x: lib.exp(z)),
    "softmax(x, -1)": one(lambda lib, z, x: lib.softmax(z, -1)),
    "x.t() (a view)": views,
    "chain of five": chain,
}


def tensors(lib: Any) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = lib.tensor(rng.normal(size=(3, 4)).astype(np.float32))
    y = lib.tensor(rng.normal(size=(3, 4)).astype(np.float32), requires_grad=True)
    return x, y


def measure(run: Callable[[], Any], after: Callable[[], None], per: int) -> float:
    """Microseconds per operation of one call; ``after`` is not timed."""
    start = time.perf_counter()
    kept = run()
    elapsed = time.perf_counter() - start
    del kept
    after()
    return elapsed / per * 1e6


def compare(
    ours: Callable[[], Any], theirs: Callable[[], Any], after: Callable[[], None], rounds: int,
    per: int = OPS,
) -> tuple[float, float, float]:  # fmt: skip
    """Medians of alternating rounds, and the median of the ratios within rounds."""
    for _ in range(3):
        measure(ours, after, per)
        measure(theirs, lambda: None, per)
    pairs = [(measure(ours, after, per), measure(theirs, lambda: None, per)) for _ in range(rounds)]
    mine, other = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    return mine, other, statistics.median(b / a for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--python", action="store_true", help="without native forms")
    options = parser.parse_args()
    rounds = options.rounds
    import torch

    import thalweg
    from thalweg.tensor import hits

    if not options.python and not hits.install():
        raise SystemExit("this interpreter has no native forms")
    torch.set_num_threads(1)
    thalweg.set_num_threads(1)
    mine, other = tensors(thalweg), tensors(torch)
    print(f"{'µs per op, 3x4, autograd on':34}{'thalweg':>9}{'torch':>9}{'ratio':>8}")
    for name, case in CASES.items():
        per = OPS
        result = compare(
            lambda case=case: case(thalweg, *mine),
            lambda case=case: case(torch, *other),
            thalweg.synchronize, rounds, per,
        )  # fmt: skip
        print(f"{'record ' + name:34}{result[0]:9.2f}{result[1]:9.2f}{result[2]:8.1f}")
        gc.collect()

    def step(lib: Any, x: Any, y: Any) -> Any:
        y.grad = None
        chain(lib, x, y).sum().backward()
        return y.grad

    result = compare(
        lambda: step(thalweg, *mine), lambda: step(torch, *other), thalweg.synchronize, rounds
    )
    print(f"{'record forward + backward':34}{result[0]:9.2f}{result[1]:9.2f}{result[2]:8.1f}")


if __name__ == "__main__":
    main()
