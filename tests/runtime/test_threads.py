"""The thread pool: every chunk once, whoever calls, with any number of threads, across forks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import numpy as np
import pytest
from pool_cases import concurrently, functions, regions

from thalweg.codegen.builder import Module
from thalweg.codegen.kernels import running_pool
from thalweg.codegen.objects import emit_assembly, emit_object
from thalweg.codegen.pool import pool_text
from thalweg.codegen.target import AVX2, NEON
from thalweg.core import flags
from thalweg.runtime.memory import address_of


@pytest.fixture(autouse=True)
def spinning() -> Iterator[None]:
    """The number of threads is as before at the end, and the patience of the workers too."""
    yield
    running_pool().spin(3000, 1000)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("spins", [0, 50, 3000])
def test_every_chunk_runs_once(threads: int, spins: int) -> None:
    with flags.override(num_threads=threads):
        running_pool().spin(spins, spins)
        assert running_pool().size == threads
        regions(threads * 10_000 + spins, 30)


@pytest.mark.parametrize("threads", [2, 5])
def test_concurrent_callers(threads: int) -> None:
    with flags.override(num_threads=threads):
        concurrently(3, 30)


def test_chunks_begin_where_the_kernel_says() -> None:
    """Also where regions run serially: kernels number their partial results by chunk."""
    for threads in (1, 4):
        with flags.override(num_threads=threads):
            pool, cells = running_pool(), np.zeros(100, np.int64)
            pool.parallel(pool.address, functions()["mark"], address_of(cells), 100, 7)
            assert np.flatnonzero(cells).tolist() == list(range(0, 100, 7))
            assert [c for c in cells.tolist() if c] == list(range(1, 101, 7))


@pytest.mark.parametrize("threads", [1, 3])
def test_regions_within_regions(threads: int) -> None:
    with flags.override(num_threads=threads):
        pool, cells = running_pool(), np.zeros((50, 64), np.int32)
        args = np.array(
            [pool.address, pool.functions["parallel"], functions()["count"], address_of(cells)]
        )
        for _ in range(200):
            pool.parallel(pool.address, functions()["nested"], address_of(args), 50, 3)
        assert (cells == 200).all()


def test_resizing_between_regions() -> None:
    for threads in (1, 2, 7, 2, 1, 3):
        with flags.override(num_threads=threads):
            regions(threads, 3)


def test_a_stopped_pool_computes() -> None:
    with flags.override(num_threads=4):
        running_pool().stop()
        assert running_pool().size == 1
        regions(1, 3)
    with flags.override(num_threads=3):
        assert running_pool().size == 3


def _in_child(body: str) -> None:
    """Run code in a fresh interpreter that sees these helpers; it must end by itself, with 0."""
    code = "from pool_cases import *\nfrom thalweg.core import flags\n" + textwrap.dedent(body)
    folder = os.path.dirname(__file__)
    path = os.pathsep.join([folder, os.path.dirname(os.path.dirname(folder))])
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("done\n"), result.stdout


def test_forked_children_compute_and_start_threads() -> None:
    _in_child("""
        import os
        flags.set("num_threads", 3)
        regions(0, 5)
        children = []
        for seed in range(3):
            child = os.fork()
            if child == 0:
                assert running_pool().size == 1
                regions(seed, 5)
                flags.set("num_threads", 2)
                assert running_pool().size == 2
                regions(seed, 5)
                running_pool().stop()
                os._exit(0)
            children.append(child)
            regions(seed, 5)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        print("done")
    """)


def test_fork_while_a_region_runs() -> None:
    _in_child("""
        import os, threading
        flags.set("num_threads", 2)
        stop = threading.Event()
        def work():
            while not stop.is_set():
                regions(1, 1)
        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                regions(2, 1)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        thread.join()
        print("done", flush=True)
    """)


def test_exit_while_regions_run() -> None:
    _in_child("""
        import sys, threading
        flags.set("num_threads", 4)
        running_pool().spin(0, 0)
        for seed in range(2):
            threading.Thread(target=regions, args=(seed, 10**9), daemon=True).start()
        regions(3, 20)
        print("done", flush=True)
    """)


@pytest.mark.parametrize("target", [AVX2, NEON])
def test_the_pool_assembles_for_other_machines(target: object) -> None:
    text = pool_text(target)  # type: ignore[arg-type]
    assert "thalweg_run" in emit_assembly(text, target)  # type: ignore[arg-type]


def test_the_pool_does_without_futexes() -> None:
    from dataclasses import replace

    apple = replace(NEON, triple="arm64-apple-macosx", cpu="apple-m1", features="")
    text = pool_text(apple)
    assert "usleep" in text and "syscall" not in text
    assert emit_object(text, apple)


def test_atomics_of_the_builder() -> None:
    module = Module()
    with module.function("f", [("ptr", "p")]) as f:
        with f.forever() as leave:
            old = f.atomic_load("i32", f.param("p"))
            leave(f.compare_exchange(f.param("p"), old, old))
        f.atomic_store(f.atomic_update("add", f.param("p"), old), f.param("p"))
    assert emit_object(module.text(), AVX2)
