"""What processes live through: interrupts, exit with work queued, no memory, caches gone wrong.

Each case is a program of its own, which must end by itself, say 'done' last, and with status 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import os, signal, sys, threading, time
import thalweg as torch

def work(size, count):
    x = torch.ones(size, size) / size
    for _ in range(count):
        x = x @ x + 1
    return x.sum()
"""
HALF = "print((torch.ones(64, 64) @ torch.ones(64, 64)).sum().item() == 64**3)\n"


def start(body: str, **environ: object) -> subprocess.Popen[str]:
    names = {name: str(value) for name, value in environ.items()}
    return subprocess.Popen(
        [sys.executable, "-c", WORK + textwrap.dedent(body) + "\nprint('done', flush=True)"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **names},
    )  # fmt: skip


def ended(child: subprocess.Popen[str]) -> tuple[list[str], str]:
    """The lines that a program printed before 'done', and its complaints."""
    out, errors = child.communicate(timeout=120)
    assert child.returncode == 0, f"{out}\n{errors}"
    *lines, last = out.splitlines()
    assert last == "done", out
    return lines, errors


def run(body: str, **environ: object) -> tuple[list[str], str]:
    return ended(start(body, **environ))


def test_an_interrupt_while_a_long_program_runs() -> None:
    """The interrupt arrives at once, what runs goes on, and everything can still be read."""
    lines, _ = run("""
        torch.set_num_threads(1)
        work(700, 2).item()
        pending = torch.ones(3).exp()
        y = work(700, 150)
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            y.item()
            time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted")
        print(pending.tolist()[0] > 2.7, work(32, 1).item() > 0, y.item() > 0)
    """)
    assert lines == ["interrupted", "True True True"]


def test_interrupts_at_any_moment() -> None:
    """Recording, compiling and running are interrupted again and again; what is computed
    afterwards is right, and so is every value that the program gets to see in between. Where one
    arrives in a destructor, Python prints it and goes on."""
    lines, errors = run("""
        import sys
        def hook(found):
            if found.exc_type is not KeyboardInterrupt:
                sys.__unraisablehook__(found)
        sys.unraisablehook = hook
        kept = torch.arange(10.0)
        kept.tolist()
        end = time.monotonic() + 3
        def interrupt():
            wait = 0.001
            while time.monotonic() < end:
                time.sleep(wait := wait * 1.3 if wait < 0.2 else 0.001)
                os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        wrong = 0
        def step():
            w = torch.ones(8, 8, requires_grad=True)
            y = (torch.ones(5, 8) @ w).mul(2).sum()
            y.backward()
            return y.item() == 640 and w.grad.sum().item() == 640
        step()
        thread.start()
        while True:
            try:
                while time.monotonic() < end:
                    wrong += not step()
                thread.join()
                break
            except KeyboardInterrupt:
                pass
        print(wrong, step(), (kept + 1).sum().item())
    """)
    assert lines == ["0 True 55.0"] and not errors


def test_exit_while_work_is_queued() -> None:
    lines, errors = run("""
        torch.set_num_threads(2)
        held = [work(400, 20) for _ in range(3)]
        for one in held:
            one + 1
        torch.ones(300, 300).sum().item()
        later = work(500, 20).exp()
        threading.Thread(target=lambda: work(300, 30).item(), daemon=True).start()
    """)
    assert not lines and "Traceback" not in errors and "rror" not in errors


def test_no_memory() -> None:
    """Asking for more than there is gives an error with the size; smaller things go on."""
    pytest.importorskip("resource")
    lines, _ = run("""
        import resource
        x = torch.ones(256, 256)
        work(256, 2).item()
        (x @ x + 1).sum().item()
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + (256 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        def large():
            return (torch.ones(20000, 20000) * 2 + 1).cumsum(0).max()
        def result():
            return torch.ones(30000, 30000) * 2
        for make in large, result:
            try:
                held = make()
                print(held.max().item())
            except torch.OutOfMemoryError as error:
                print(isinstance(error, MemoryError), "GiB" in str(error), "in use" in str(error))
        print((x @ x).sum().item() == 256**3)
    """)
    assert lines == ["True True True", "True True True", "True"]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines, errors = run(HALF * 2, THALWEG_CACHE_DIR=tmp_path / "file", THALWEG_BACKEND="native")
    assert lines == ["True", "True"]
    assert errors.count("thalweg: cache:") == 1


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    environ = {"THALWEG_CACHE_DIR": tmp_path, "THALWEG_BACKEND": "native"}
    run(HALF, **environ)
    entries = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert entries
    for number, path in enumerate(entries):
        data = path.read_bytes()
        path.write_bytes([data[: len(data) // 2], data[::-1], b"", data[:-1] + b"\\0"][number % 4])
    for damaged in (1, 0):
        lines, errors = run(HALF, **environ)
        assert lines == ["True"]
        assert errors.count("is damaged and is made again") == damaged


def test_processes_that_start_at_once_share_a_cache(tmp_path: Path) -> None:
    environ = {"THALWEG_CACHE_DIR": tmp_path, "THALWEG_BACKEND": "native"}
    children = [start("print(work(48, 4).item())", **environ) for _ in range(3)]
    results = [ended(child) for child in children]
    assert len({tuple(lines) for lines, _ in results}) == 1
    assert all("cache" not in errors for _, errors in results)
    assert not list(tmp_path.rglob("new-*"))
