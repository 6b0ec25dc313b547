"""Runs workers side by side and times them in turn, so that a noisy machine is noisy for all.

Every round times each peer once, in an order that rotates; a sample is as many steps as take
`SAMPLE` seconds. Ratios are medians over rounds of (peer's time / ours) within the round.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .peers import Peer, environment

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = 0.4  # seconds
OURS = "thalweg"


class WorkerFailed(RuntimeError):
    """What a peer's worker said before it gave up."""


class Worker:
    """A process that does one work with one peer, with further ``variables`` in its environment."""

    def __init__(
        self, peer: Peer, work: str, threads: int, variables: Mapping[str, str] | None = None
    ) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", peer.name, work, str(threads)]
        cores = sorted(os.sched_getaffinity(0))[:threads]
        around = {**environment(threads), **(variables or {})}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=around, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        try:
            started = self._read()
        except WorkerFailed:
            self.close()
            raise
        self.build, self.first = started["build"], started["first"]
        self.count = 1

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None and self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            last = self._process.stderr.read().strip().splitlines()[-1:]
            raise WorkerFailed(f"ended without an answer: {' '.join(last)}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return answer

    def ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._read()

    def settle(self) -> None:
        """Warm up, and find how many steps make a sample."""
        for _ in range(3):
            self.ask("time 1")
        while (seconds := self.ask(f"time {self.count}")["seconds"]) < SAMPLE / 2:
            self.count = max(2 * self.count, int(self.count * SAMPLE / max(seconds, 1e-6) / 2))

    def sample(self) -> float:
        """Seconds a step."""
        return float(self.ask(f"time {self.count}")["seconds"]) / self.count

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Result:
    """Seconds a step in each round, by peer; what failed, and why."""

    work: str
    threads: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def median(self, peer: str) -> float:
        return statistics.median(self.seconds[peer])

    def ratio(self, peer: str) -> tuple[float, float, float]:
        """(lower quartile, median, upper quartile) of the peer's time over ours."""
        pairs = zip(self.seconds[peer], self.seconds[OURS])
        ratios = sorted(theirs / ours for theirs, ours in pairs)
        last = len(ratios) - 1
        return ratios[last // 4], statistics.median(ratios), ratios[last - last // 4]


def compare(work: str, peers: Sequence[Peer], threads: int, rounds: int) -> Result:
    """Time one work with all peers that can do it."""
    result = Result(work, threads)
    workers: dict[str, Worker] = {}
    try:
        for peer in peers:
            if not peer.works(work):
                continue
            try:
                workers[peer.name] = worker = Worker(peer, work, threads)
                worker.settle()
            except WorkerFailed as error:
                workers.pop(peer.name, None)
                result.failed[peer.name] = str(error)
        names = list(workers)
        for name in names:
            result.seconds[name] = []
            result.first[name] = workers[name].first
        for turn in range(rounds):
            start = turn % len(names) if names else 0
            for name in (*names[start:], *names[:start]):
                result.seconds[name].append(workers[name].sample())
        for name, worker in workers.items():
            result.peak_bytes[name] = int(worker.ask("memory")["bytes"])
    finally:
        for worker in workers.values():
            worker.close()
    return result
