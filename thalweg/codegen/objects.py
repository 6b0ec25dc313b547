"""Object code of many kernels: from the disk, from this process, or from worker processes.

llvmlite holds one lock while it works, so threads gain nothing; where enough is to be compiled,
processes share the work. They are started once, stay for a while, and end with their parent.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.metadata
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..runtime import store as stores
from ..runtime.executor import executor
from ..runtime.loader import lock
from ..runtime.threads import usable_cores
from . import assembler
from .target import Target

LEVEL = 2
# Text of this size (bytes) takes a worker about as long as it takes to start one.
WORTH_A_PROCESS = 200_000


def machine(target: Target, level: int = LEVEL) -> Any:
    """A fresh LLVM target machine (see `assembler.machine`)."""
    return assembler.machine(target.triple, target.cpu, target.features, level)


def emit_object(text: str, target: Target, level: int = LEVEL) -> bytes:
    """Object code of a module. RuntimeError with LLVM's message and the text's line if the text
    is not valid."""
    with lock:
        return assembler.emit(text, target.triple, target.cpu, target.features, level)


def emit_assembly(text: str, target: Target, level: int = LEVEL) -> str:
    """The same as assembly, for people."""
    with lock:
        module, made = assembler.parsed(text, target.triple, target.cpu, target.features, level)
        return made.emit_assembly(module)  # type: ignore[no-any-return]


def key(text: str, target: Target, level: int = LEVEL) -> str:
    """The name under which object code is stored: whatever it depends on."""
    version = importlib.metadata.version("llvmlite")
    return stores.digest(
        "object", text, target.triple, target.cpu, target.features, str(level), version
    )  # fmt: skip


def objects(texts: Iterable[str], target: Target, level: int = LEVEL) -> dict[str, bytes]:
    """Object code of each text. RuntimeError, with the text's beginning, for one that is not
    valid; the others are stored nevertheless."""
    place = stores.store()
    names = {text: key(text, target, level) for text in texts}
    found: dict[str, bytes] = {}
    missing = []
    for text, name in names.items():
        code = place.read(name)
        if code is None:
            missing.append(text)
        else:
            found[text] = code
    errors: list[RuntimeError] = []
    for text, answer in _compile(missing, target, level):
        if isinstance(answer, str):
            errors.append(RuntimeError(f"{answer}\nin the module\n{text[:2000]}"))
            continue
        found[text] = answer
        place.write(names[text], answer)
    if errors:
        raise errors[0]
    return found


def _compile(
    texts: Sequence[str], target: Target, level: int
) -> Iterable[tuple[str, bytes | str]]:  # fmt: skip
    size = sum(map(len, texts))
    helpers = min(usable_cores() - 1, len(texts) - 1, size // WORTH_A_PROCESS)
    if helpers > 0:
        return _Crew(target, level).compile(texts, helpers)
    return [(text, _emit(text, target, level)) for text in texts]


def _emit(text: str, target: Target, level: int) -> bytes | str:
    try:
        return emit_object(text, target, level)
    except RuntimeError as error:
        return str(error)


class _Crew:
    """Shares texts among worker processes and this one, largest first. A worker that dies (out of
    memory, a crash inside LLVM) hands its text back, to be compiled here."""

    def __init__(self, target: Target, level: int) -> None:
        self.target = target
        self.level = level
        self.lock = threading.Lock()
        self.waiting: list[str] = []
        self.answers: list[tuple[str, bytes | str]] = []

    def compile(self, texts: Sequence[str], helpers: int) -> list[tuple[str, bytes | str]]:
        self.waiting = sorted(texts, key=len)
        threads = [threading.Thread(target=self._direct, daemon=True) for _ in range(helpers)]
        for thread in threads:
            thread.start()
        while (text := self._take()) is not None:
            self.answers.append((text, _emit(text, self.target, self.level)))
        for thread in threads:
            thread.join()
        while (text := self._take()) is not None:  # handed back
            self.answers.append((text, _emit(text, self.target, self.level)))
        return self.answers

    def _take(self) -> str | None:
        with self.lock:
            return self.waiting.pop() if self.waiting else None

    def _direct(self) -> None:
        """Feed one worker."""
        worker = _borrow()
        if worker is None:
            return
        target = self.target
        while (text := self._take()) is not None:
            try:
                answer = worker.ask((text, target.triple, target.cpu, target.features, self.level))
            except (OSError, EOFError, pickle.UnpicklingError):
                worker.end()
                with self.lock:
                    self.waiting.append(text)
                return
            self.answers.append((text, answer))
        with _idle_lock:
            _idle.append(worker)


class _Worker:
    """A process that runs `assembler.main`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(assembler.__file__))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent, whose end ends the worker
        )  # fmt: skip
        self.owner = os.getpid()

    def ask(self, request: Any) -> bytes | str:
        assert self.process.stdin is not None and self.process.stdout is not None
        pickle.dump(request, self.process.stdin)
        self.process.stdin.flush()
        return pickle.load(self.process.stdout)  # type: ignore[no-any-return]

    def end(self) -> None:
        with contextlib.suppress(OSError):
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
        if self.owner == os.getpid():
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


_idle: list[_Worker] = []
_idle_lock = threading.Lock()


def _borrow() -> _Worker | None:
    with _idle_lock:
        while _idle:
            worker = _idle.pop()
            if worker.process.poll() is None:
                return worker
            worker.end()
    try:
        return _Worker()
    except OSError:
        return None


def end_workers() -> None:
    """End the worker processes; they start again when needed."""
    with _idle_lock:
        workers, _idle[:] = list(_idle), []
    for worker in workers:
        worker.end()


def _after_fork() -> None:
    """Workers answer to the parent alone."""
    global _idle_lock
    _idle_lock = threading.Lock()
    for worker in _idle:
        worker.process.returncode = 0  # not this process's child: there is nothing to wait for
    _idle.clear()


def _at_exit() -> None:
    """What is still to be computed may yet ask for workers."""
    executor.drain()
    end_workers()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
