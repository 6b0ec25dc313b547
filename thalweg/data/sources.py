"""Where an epoch's batches come from: this thread, a thread that runs ahead, or processes.

A source is an iterator with `close()`. `position` counts the batches spent: handed out, or failed
in the user's own code, in which case the next call goes on with the batch after it. A batch that is
late, interrupted by Ctrl-C, or lost with its worker is not spent.
"""

from __future__ import annotations

import itertools
import queue
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from thalweg.data.fetch import Exhausted, IterableFetcher, MapFetcher

if TYPE_CHECKING:  # processes are not everyone's need, and slow to import
    from thalweg.data.pool import WorkerPool


class Source(Protocol):
    """Batches in order."""

    position: int

    def __next__(self) -> Any: ...

    def close(self) -> None:
        """Release threads and processes."""


class InlineSource:
    """Each batch is made when it is asked for."""

    def __init__(self, fetch: MapFetcher | IterableFetcher, keys: Iterator[Any], skip: int) -> None:
        self._fetch = fetch
        self._keys = keys
        self._skip = skip
        self._next: list[Any] = []  # the keys taken for a batch that is not spent yet
        self.position = skip

    def __next__(self) -> Any:
        try:
            while self._skip:
                self._skip -= 1
                self._fetch.skip(next(self._keys))
            if not self._next:
                self._next.append(next(self._keys))
            batch = self._fetch(self._next[0])
        except Exhausted:
            raise StopIteration from None
        except StopIteration:
            raise
        except Exception:
            self._spend()
            raise
        self._spend()
        return batch

    def _spend(self) -> None:
        self._next.clear()
        self.position += 1

    def close(self) -> None:
        """Nothing is held."""


class ThreadSource:
    """A background thread keeps `depth` batches of another source ready."""

    def __init__(self, source: Source, depth: int, timeout: float | None) -> None:
        self._timeout = timeout
        self.position = source.position
        self._ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
        stop = threading.Event()
        thread = threading.Thread(
            target=_run_ahead, args=(source, self._ready, stop), name="thalweg-data", daemon=True
        )
        # The thread must not hold this object, or it would never be collected and never stop.
        self._halt = weakref.finalize(self, _halt, stop, self._ready, thread)
        self._ended = False
        thread.start()

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        try:
            kind, value = self._ready.get(timeout=self._timeout)
        except queue.Empty:
            raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds") from None
        if kind == "end":
            self._ended = True
            raise StopIteration
        self.position += 1
        if kind == "error":
            raise value
        return value

    def close(self) -> None:
        """Stop the thread after the batch it is making."""
        self._ended = True
        self._halt()


def _run_ahead(source: Source, ready: queue.Queue[tuple[str, Any]], stop: threading.Event) -> None:
    kind, value = "", None
    while kind != "end" and not stop.is_set():
        try:
            kind, value = "batch", next(source)
        except StopIteration:
            kind, value = "end", None
        except BaseException as error:
            kind, value = "error", error
        if not stop.is_set():
            ready.put((kind, value))
        value = None


def _halt(
    stop: threading.Event, ready: queue.Queue[tuple[str, Any]], thread: threading.Thread
) -> None:
    stop.set()
    # Room for the one batch the thread may be waiting to hand over; afterwards it sees `stop`.
    while True:
        try:
            ready.get_nowait()
        except queue.Empty:
            break
    if thread is not threading.current_thread():
        thread.join(timeout=1.0)


class WorkerSource:
    """Batches of worker processes, asked in turn and delivered in the order of the keys.

    Every worker has `depth` tasks ahead. The turn goes round the workers that still have samples,
    so with an iterable dataset the order depends on their number but never on their speed.
    """

    def __init__(
        self,
        pool: WorkerPool,
        keys: Iterator[Any],
        num_workers: int,
        depth: int,
        seed: int,
        timeout: float | None,
        skip: int,
        iterable: bool,
    ) -> None:
        self._pool = pool
        self._timeout = timeout
        self._turns: deque[int] = deque()
        self._exhausted: set[int] = set()
        self.position = skip
        self._submitted = 0
        self._skip = skip
        self._flagged = skip  # tasks that are certainly among those passed over
        self._keys = keys
        if not iterable:
            # Keys hold no state: passing over them needs no worker.
            self._submitted = sum(1 for _ in itertools.islice(keys, skip))
            self._skip = self._flagged = 0
        pool.begin_epoch(seed)
        for _ in range(depth):
            for worker in range(num_workers):
                self._submit(worker)

    def _submit(self, worker: int) -> None:
        if worker in self._exhausted:
            return
        try:
            keys = next(self._keys)
        except StopIteration:
            return
        self._pool.submit(worker, self._submitted, keys, skip=self._submitted < self._flagged)
        self._submitted += 1
        self._turns.append(worker)

    def __next__(self) -> Any:
        while self._turns:
            if self._pool.closed:
                raise RuntimeError("the DataLoader's workers are gone; begin a new iteration")
            worker = self._turns[0]
            answer, batch = self._pool.receive(worker, self._timeout)
            self._turns.popleft()
            if answer.exhausted:
                self._exhausted.add(worker)
                continue
            self._submit(worker)
            if self._skip:
                self._skip -= 1
                continue
            self.position += 1
            if answer.error is not None:
                raise answer.error.rebuilt(worker)
            return batch
        raise StopIteration

    def close(self) -> None:
        """Stop the workers."""
        self._pool.close()
