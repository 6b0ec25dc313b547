"""How long a training step takes to begin: ``python -m benchmarks.start [WORK...]``.

Each peer does the work in two fresh processes, the first with empty caches ("cold"), the second
with what that left behind ("warm"). Told are the seconds of the first step, less a hot step, and
the seconds from the start of the process to the end of the first step, which hold imports and the
making of the model as well. Peers without a cache on disk are as slow the second time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass

from .driver import Worker, WorkerFailed
from .peers import PEERS, Peer

COMPILERS = ("thalweg", "torch.compile", "jax")
# Where the peers keep what they compiled.
CACHES = ("THALWEG_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR",
          "JAX_COMPILATION_CACHE_DIR")  # fmt: skip


@dataclass(frozen=True)
class Start:
    """Seconds of the first step beyond a hot one, and from the process's start to its end."""

    extra: float
    whole: float


def start(peer: Peer, work: str, threads: int, folder: str) -> Start:
    """One process that begins the work, with its caches in ``folder``."""
    begun = time.perf_counter()
    worker = Worker(peer, work, threads, dict.fromkeys(CACHES, folder))
    try:
        whole = time.perf_counter() - begun
        hot = statistics.median(float(worker.ask("time 1")["seconds"]) for _ in range(5))
        return Start(worker.first - hot, whole)
    finally:
        worker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("works", nargs="*", default=["resnet50"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", default=",".join(COMPILERS))
    options = parser.parse_args()
    print(f"{'work':14}{'peer':16}{'cold: extra s':>14}{'whole s':>9}{'warm: extra s':>15}"
          f"{'whole s':>9}")  # fmt: skip
    for work in options.works:
        for peer in PEERS:
            if peer.name not in options.peers.split(",") or not peer.installed():
                continue
            with tempfile.TemporaryDirectory() as folder:
                try:
                    cold, warm = (start(peer, work, options.threads, folder) for _ in range(2))
                except WorkerFailed as error:
                    print(f"{work:14}{peer.name:16}failed: {error}")
                    continue
            print(f"{work:14}{peer.name:16}{cold.extra:14.2f}{cold.whole:9.2f}{warm.extra:15.2f}"
                  f"{warm.whole:9.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
