"""The thread pool's life: its memory, its workers, and what happens at fork and exit.

The pool itself is machine code (`codegen.pool` writes it, and explains it). Whoever compiles
programs hands the loaded functions to `install`; `pool` then starts workers as the flag
``num_threads`` asks for, and again when it changed.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Mapping

from ..core import flags
from . import loader

_LINE = 64
STACK = 8 << 20  # bytes of a worker thread
# Looks at the region number before a worker goes to sleep (some 100 µs: longer than what lies
# between two kernels of a step), and before the opener of a region does.
_SPINS, _JOIN_SPINS = 3000, 1000


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count() -> int:
    """Threads that compute: the flag ``num_threads``, or one per usable core."""
    return flags.num_threads or usable_cores()


class Layout:
    """Where the fields of the pool's memory lie: `codegen.pool` defines them."""

    def __init__(self, size: int, **offsets: int) -> None:
        self.size = size
        self.offsets = offsets


class Pool:
    """Worker threads around a block of memory that the machine code works on.

    ``functions`` are the addresses of 'worker', 'stop', 'run', 'run_timed' and 'parallel'. Pointers
    are passed as plain integers. A region that is opened while `resize` or `stop` is at work is
    computed all the same, by its opener.
    """

    def __init__(self, functions: Mapping[str, int], layout: Layout) -> None:
        self._memory = ctypes.create_string_buffer(layout.size + _LINE)
        # For good: a daemon thread may be in a region while the interpreter is taken down.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._memory))
        self.address = -(-ctypes.addressof(self._memory) // _LINE) * _LINE
        self.layout = layout
        self.functions = dict(functions)
        word, number = ctypes.c_void_p, ctypes.c_int64
        nothing: Callable[..., Callable[[int], Callable[..., None]]] = ctypes.CFUNCTYPE
        # The interpreter's lock is released while these run.
        self.run = nothing(None, word)(functions["run"])
        self.run_timed = nothing(None, word)(functions["run_timed"])
        self.parallel = nothing(None, word, word, word, number, number)(functions["parallel"])
        self._stop = nothing(None, word)(functions["stop"])
        self._system = ctypes.CDLL(None)
        self._threads: list[ctypes.c_ulong] = []
        self._lock = threading.Lock()
        self._write("spins", _SPINS)
        self._write("join_spins", _JOIN_SPINS)

    def _write(self, field: str, value: int) -> None:
        ctypes.c_int32.from_address(self.address + self.layout.offsets[field]).value = value

    @property
    def size(self) -> int:
        """Threads that take part in a region, its opener included."""
        return 1 + len(self._threads)

    def spin(self, worker: int, opener: int) -> None:
        """How often a worker, and the opener of a region, look before they go to sleep."""
        self._write("spins", worker)
        self._write("join_spins", opener)

    def resize(self, size: int) -> None:
        """Let ``size`` threads take part. OSError if the system has no more threads to give."""
        with self._lock:
            if size == self.size:
                return
            self._end()
            self._write("stop", 0)
            # Signals are for Python's threads.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                for _ in range(size - 1):
                    self._start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                self._write("workers", len(self._threads))

    def _start(self) -> None:
        thread = ctypes.c_ulong()
        worker = ctypes.c_void_p(self.functions["worker"])
        # Room for what a task takes from its stack (`native.STACK_BYTES`), whatever the default.
        attributes = (ctypes.c_ulong * 8)()  # a pthread_attr_t
        self._system.pthread_attr_init(attributes)
        self._system.pthread_attr_setstacksize(attributes, ctypes.c_size_t(STACK))
        failed = self._system.pthread_create(
            ctypes.byref(thread), attributes, worker, ctypes.c_void_p(self.address)
        )
        self._system.pthread_attr_destroy(attributes)
        if failed:
            raise OSError(failed, f"cannot start a worker thread: {os.strerror(failed)}")
        self._threads.append(thread)

    def _end(self) -> None:
        self._write("workers", 0)
        self._stop(self.address)
        for thread in self._threads:
            self._system.pthread_join(thread, None)
        self._threads = []

    def stop(self) -> None:
        """End all workers; regions run serially from now on."""
        with self._lock:
            self._end()

    def after_fork(self) -> None:
        """The child has no workers, and no region is under way in it whatever its parent did."""
        self._threads = []
        self._lock = threading.Lock()
        spins = [
            ctypes.c_int32.from_address(self.address + self.layout.offsets[f]).value
            for f in ("spins", "join_spins")
        ]
        ctypes.memset(self.address, 0, self.layout.size)
        self.spin(*spins)


_pool: Pool | None = None
_wanted = 0  # the flag's value that the pool was last sized for


def install(make: Callable[[], Pool]) -> Pool:
    """The pool of this process, made by ``make()`` unless there is one."""
    global _pool
    with loader.lock:
        if _pool is None:
            made = make()
            made.resize(thread_count())
            _settle()
            os.register_at_fork(after_in_child=_after_fork)
            atexit.register(made.stop)
            _pool = made
        return _pool


def pool() -> Pool:
    """The installed pool, with as many threads as the flag ``num_threads`` says now."""
    assert _pool is not None
    if flags.num_threads != _wanted:
        _pool.resize(thread_count())
        _settle()
    return _pool


def _settle() -> None:
    global _wanted
    _wanted = flags.num_threads


def _after_fork() -> None:
    """A child computes serially until ``num_threads`` is changed in it: children are many."""
    if _pool is not None:
        _pool.after_fork()
