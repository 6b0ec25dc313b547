"""All settings of the package, in one table of at most fifteen.

A flag is read as a plain module attribute (`flags.inline_limit`), which costs one dictionary
lookup. It is changed by `set`, `override`, or its environment variable THALWEG_<NAME>, never by
assignment, so that every value that stands here was checked.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from thalweg.core.errors import ArgumentError, ValueRangeError

Value = bool | int | str

log: str
eager: bool
check: bool
inline_limit: int
wait_limit: int
trace_limit: int
trie_limit: int
num_threads: int
cache_dir: str
backend: str
deterministic: bool
winograd: bool


@dataclass(frozen=True)
class Flag:
    """One row of the table. `minimum` bounds integer flags only."""

    name: str
    kind: type[bool] | type[int] | type[str]
    default: Value
    help: str
    minimum: int = 0

    @property
    def variable(self) -> str:
        return f"THALWEG_{self.name.upper()}"


TABLE: tuple[Flag, ...] = (
    Flag("log", str, "", "topics to print, comma-separated"),
    Flag("eager", bool, False, "run each op as it is recorded"),
    Flag("check", bool, False, "verify graphs after every pass"),
    Flag("inline_limit", int, 1 << 16, "programs of fewer elements run on the calling thread"),
    Flag("wait_limit", int, 1 << 22, "the same where that thread would wait for the program"),
    Flag("trace_limit", int, 20_000, "ops in one trace before it is flushed", 1),
    Flag("trie_limit", int, 200_000, "recorded states kept before old ones are dropped", 1),
    Flag("num_threads", int, 0, "threads that compute; 0: one per available core"),
    Flag("cache_dir", str, "", "where compiled programs are kept; empty: the user's cache folder"),
    Flag("backend", str, "auto", "auto, native (compile everything) or reference (NumPy)"),
    Flag("deterministic", bool, False, "compile at once: results never depend on earlier runs"),
    Flag("winograd", bool, True, "3x3 and 5x5 convolutions by fewer products where faster"),
)

_BY_NAME = {flag.name: flag for flag in TABLE}
_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"": False, "0": False, "false": False, "no": False, "off": False}
_lock = threading.Lock()
# Called after every change.
changed: list[Callable[[], None]] = []


def _flag(name: str) -> Flag:
    flag = _BY_NAME.get(name)
    if flag is None:
        raise ValueRangeError(f"unknown flag '{name}'; flags are {', '.join(_BY_NAME)}")
    return flag


def _checked(flag: Flag, value: object) -> Value:
    """`value` if it fits the flag. An int is not a bool here, nor a bool an int."""
    if not isinstance(value, (bool, int, str)) or type(value) is not flag.kind:
        given = f"{type(value).__name__}: {value!r}"
        raise ArgumentError(f"flag '{flag.name}' expects {flag.kind.__name__}, got {given}")
    if flag.kind is int and int(value) < flag.minimum:
        raise ValueRangeError(f"flag '{flag.name}' expects at least {flag.minimum}, got {value}")
    return value


def _from_text(flag: Flag, text: str) -> Value:
    """The value an environment variable spells; ValueError, naming the variable, if it does not."""
    value: Value | None = text
    expected = "text"
    if flag.kind is bool:
        value = _WORDS.get(text.strip().lower())
        expected = "one of 1, true, yes, on, 0, false, no, off"
    elif flag.kind is int:
        expected = f"an integer of at least {flag.minimum}"
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is not None and value < flag.minimum:
            value = None
    if value is None:
        raise ValueRangeError(
            f"environment variable {flag.variable}: expected {expected}, got {text!r}"
        )
    return value


def load(environ: Mapping[str, str]) -> None:
    """Give every flag its value from `environ`, or its default. Nothing changes on an error."""
    values = {
        flag.name: _from_text(flag, environ[flag.variable])
        if flag.variable in environ
        else flag.default
        for flag in TABLE
    }
    _update(values)


def _update(values: Mapping[str, Value]) -> None:
    with _lock:
        globals().update(values)
    for listener in changed:
        listener()


def get(name: str) -> Value:
    """The value of the flag called `name`; ValueError if there is none."""
    value: Value = globals()[_flag(name).name]
    return value


def set(name: str, value: Value) -> None:
    """Change one flag for all threads. ValueError or TypeError if name or value are wrong."""
    checked = _checked(_flag(name), value)
    _update({name: checked})


@contextlib.contextmanager
def override(**values: Value) -> Iterator[None]:
    """Change flags inside a `with` block, for all threads, and put the old values back after."""
    checked = {name: _checked(_flag(name), value) for name, value in values.items()}
    with _lock:
        before = {name: globals()[name] for name in checked}
    _update(checked)
    try:
        yield
    finally:
        _update(before)


def describe() -> str:
    """The table as text: variable, type, value, default and meaning of every flag."""
    rows = [("flag", "type", "value", "default", "variable", "meaning")]
    for flag in TABLE:
        shown = repr(get(flag.name)), repr(flag.default)
        rows.append((flag.name, flag.kind.__name__, *shown, flag.variable, flag.help))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    )


load(os.environ)
