"""Programs that another process made: found again, equal, and made anew where they are damaged."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from thalweg.core import flags
from thalweg.core.dtypes import bfloat16, float32, int64
from thalweg.ir.graph import Graph
from thalweg.ir.node import make_input
from thalweg.ir.types import TensorType
from thalweg.ops.arithmetic import cast
from thalweg.ops.link import ops
from thalweg.pipeline import optimise, run_graph
from thalweg.planning import native
from thalweg.planning.native import build, plan_native
from thalweg.runtime import saved
from thalweg.runtime.buffer import Buffer
from thalweg.runtime.native_run import LoadedProgram

ROOT = Path(__file__).resolve().parents[2]


def graph() -> Graph:
    """A table, positions in it, a product, and a result in a type that NumPy does not know."""
    table, index, w = (
        make_input(TensorType(s, d))
        for s, d in (((20, 8), float32), ((5,), int64), ((8, 8), float32))
    )
    rows = ops.take(table, index, batch=0, wrap=False)
    y = ops.tanh(ops.dot(rows, w, spec="mk,kn->mn"))
    return optimise(Graph([table, index, w], [y, cast(y, bfloat16)]))


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    single = np.float32
    return [rng.normal(size=(20, 8)).astype(single), np.array([3, 0, 19, 3, 7]),
            rng.normal(size=(8, 8)).astype(single)]  # fmt: skip


def results(program: LoadedProgram) -> list[bytes]:
    outputs = [Buffer(), Buffer()]
    program.run([Buffer(a) for a in arrays()], outputs)
    return [b.get().tobytes() for b in outputs]


def test_programs_survive_as_bytes() -> None:
    program = plan_native(graph(), run_graph)
    data = saved.dump(program)
    assert data is not None and saved.load(data) == program


@pytest.mark.parametrize("damage", [b"", b"x", b"\x00" * 40, b"(\x01\x00\x00\x00N"])
def test_other_bytes_are_refused(damage: bytes) -> None:
    assert saved.load(damage) is None


def test_programs_with_python_are_not_saved() -> None:
    x = make_input(TensorType((3, 3), float32))
    from thalweg.ops.named import public

    cholesky = getattr(public, "linalg.cholesky")
    program = plan_native(optimise(Graph([x], [cholesky(x)])), run_graph)
    assert program.host_steps and saved.dump(program) is None


def test_a_second_start_plans_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with flags.override(cache_dir=str(tmp_path)):
        first = results(build(graph(), run_graph))
        monkeypatch.setattr(native, "plan_native", lambda *_: pytest.fail("planned again"))
        assert results(build(graph(), run_graph)) == first


def test_what_matters_names_a_program(tmp_path: Path) -> None:
    x, y = (make_input(TensorType((4,), float32)) for _ in range(2))
    one, other = Graph([x, y], [ops.sub(x, y)]), Graph([x, y], [ops.sub(y, x)])
    wide = make_input(TensorType((5,), float32))
    names = {native._describe(g) for g in (one, other, Graph([wide, wide], [ops.sub(wide, wide)]))}
    assert len(names) == 3
    with flags.override(winograd=not flags.winograd):
        assert native._describe(one) not in names


SCRIPT = """
import hashlib, sys
import thalweg as torch
from thalweg.core import flags
from thalweg.planning import native

flags.set("backend", "native")
made = []
plan = native.plan_native
native.plan_native = lambda *args: made.append(1) or plan(*args)
torch.manual_seed(3)
model = torch.nn.Sequential(torch.nn.Linear(40, 70), torch.nn.GELU(), torch.nn.Linear(70, 5))
x, y = torch.randn(33, 40), torch.randint(0, 5, (33,))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
for _ in range(4):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
numbers = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
print(len(made), loss.item().hex(), hashlib.sha256(numbers).hexdigest())
"""


def start(folder: Path, threads: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ, "THALWEG_CACHE_DIR": str(folder), "THALWEG_NUM_THREADS": str(threads),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.split()


def test_processes_share_programs_and_agree_bit_for_bit(tmp_path: Path) -> None:
    """Two at once with an empty store, then others with any number of threads, one of which meets a
    store that was damaged."""
    together = [start(tmp_path, threads) for threads in (1, 2)]
    found = [finish(process) for process in together]
    assert int(found[0][0]) > 0
    warm = finish(start(tmp_path, 3))
    assert warm[0] == "0"
    for path in tmp_path.glob("??/*"):
        path.write_bytes(path.read_bytes()[:-3])
    damaged = finish(start(tmp_path, 8))
    assert int(damaged[0]) > 0
    assert len({tuple(each[1:]) for each in (*found, warm, damaged)}) == 1
