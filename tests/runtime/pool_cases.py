"""Functions for the thread pool to run, and random sequences of regions that check themselves."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
from numpy.testing import assert_array_equal

from thalweg.codegen.builder import Module, literal
from thalweg.codegen.kernels import running_pool
from thalweg.codegen.objects import emit_object
from thalweg.codegen.target import host
from thalweg.runtime.loader import load
from thalweg.runtime.memory import address_of

PARAMS = [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]


def text() -> str:
    """``count`` adds one to int32 elements; ``mark`` writes lo + 1 to the first of a chunk;
    ``nested`` runs ``count`` over one row of 64 for each of its elements, as a region within a
    region: its args are (pool, parallel, count, elements)."""
    module = Module()
    with module.function("count", PARAMS) as f, f.loop(f.param("lo"), f.param("hi")) as i:
        at = f.gep("i32", f.param("args"), i)
        f.store(f.binary("add", f.load("i32", at), literal(1, "i32")), at)
    with module.function("mark", PARAMS) as f:
        following = f.add(f.param("lo"), 1)
        f.store(following, f.gep("i64", f.param("args"), f.param("lo")))  # type: ignore[arg-type]
    with module.function("nested", PARAMS) as f:
        pool, parallel, count, cells = (
            f.load("ptr", f.gep("ptr", f.param("args"), k)) for k in range(4)
        )
        with f.loop(f.param("lo"), f.param("hi")) as i:
            row = f.gep("i32", cells, f.mul(i, 64))
            f.emit(f"call void {parallel.text}({pool}, {count}, {row}, i64 64, i64 7)")
    return module.text()


_library = load(emit_object(text(), host()), ["count", "mark", "nested"])


def functions() -> dict[str, int]:
    """Addresses by name."""
    return _library.addresses


def regions(seed: int, rounds: int) -> int:
    """Run random regions on the process's pool; AssertionError if a chunk is lost or run twice.
    Returns how many regions ran."""
    pool, count = running_pool(), functions()["count"]
    rng = random.Random(seed)
    cells = np.zeros(4096, np.int32)
    expected = np.zeros(4096, np.int32)
    total = 0
    for _ in range(rounds):
        for _ in range(rng.randint(1, 40)):
            extent = rng.randint(1, 4096 if rng.random() < 0.3 else 64)
            chunk = rng.randint(1, max(1, extent // 2))
            pool.parallel(pool.address, count, address_of(cells), extent, chunk)
            expected[:extent] += 1
            total += 1
        assert_array_equal(cells, expected)
    return total


def concurrently(callers: int, rounds: int) -> int:
    """`regions` from several threads at once."""
    found: list[Any] = []

    def run(seed: int) -> None:
        try:
            found.append(regions(seed, rounds))
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return sum(found)
