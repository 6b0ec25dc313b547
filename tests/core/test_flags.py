"""Flags: the table, validation, environment variables, and overriding."""

import os
import subprocess
import sys

import pytest

from thalweg.core import flags


@pytest.fixture(autouse=True)
def restore():
    before = {flag.name: flags.get(flag.name) for flag in flags.TABLE}
    yield
    for name, value in before.items():
        flags.set(name, value)


def test_the_table_is_small_and_complete():
    assert len(flags.TABLE) <= 15
    for flag in flags.TABLE:
        assert type(flag.default) is flag.kind
        assert type(getattr(flags, flag.name)) is flag.kind
        assert flag.variable == "THALWEG_" + flag.name.upper()
        assert flag.name in flags.__annotations__, "a flag without a declared type"


def test_environment_gives_values_and_absence_gives_defaults():
    flags.load({"THALWEG_EAGER": "Yes", "THALWEG_TRACE_LIMIT": "7", "THALWEG_LOG": "fuse,loops"})
    assert (flags.eager, flags.trace_limit, flags.log) == (True, 7, "fuse,loops")
    assert flags.trie_limit == 200_000
    flags.load({})
    assert (flags.eager, flags.trace_limit, flags.log) == (False, 20_000, "")


@pytest.mark.parametrize(
    "variable,text,expected",
    [
        ("THALWEG_EAGER", "maybe", "one of 1, true"),
        ("THALWEG_TRACE_LIMIT", "many", "an integer of at least 1"),
        ("THALWEG_TRACE_LIMIT", "0", "an integer of at least 1"),
        ("THALWEG_INLINE_LIMIT", "-3", "an integer of at least 0"),
        ("THALWEG_NUM_THREADS", "", "an integer of at least 0"),
    ],
)
def test_bad_environment_names_the_variable(variable, text, expected):
    flags.set("log", "kept")
    with pytest.raises(ValueError, match=f"{variable}: expected {expected}.*got '{text}'"):
        flags.load({"THALWEG_LOG": "lost", variable: text})
    assert flags.log == "kept"


def test_the_environment_is_read_on_import():
    def run(value):
        code = "from thalweg.core import flags; print(flags.inline_limit)"
        env = {**os.environ, "THALWEG_INLINE_LIMIT": value}
        return subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
        )

    assert run("123").stdout.strip() == "123"
    failed = run("x")
    assert failed.returncode != 0
    assert "environment variable THALWEG_INLINE_LIMIT: expected an integer" in failed.stderr


def test_set_validates():
    flags.set("inline_limit", 5)
    assert flags.inline_limit == flags.get("inline_limit") == 5
    with pytest.raises(ValueError, match=r"unknown flag 'inline_limt'; flags are log, eager"):
        flags.set("inline_limt", 5)
    with pytest.raises(ValueError, match="unknown flag 'TABLE'"):
        flags.get("TABLE")
    with pytest.raises(TypeError, match="'inline_limit' expects int, got str: '5'"):
        flags.set("inline_limit", "5")
    with pytest.raises(TypeError, match="expects int, got bool"):
        flags.set("inline_limit", True)
    with pytest.raises(TypeError, match="'eager' expects bool, got int"):
        flags.set("eager", 1)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        flags.set("trace_limit", 0)
    assert flags.inline_limit == 5


def test_override_restores_nested_and_after_errors():
    with flags.override(eager=True, trace_limit=3):
        with flags.override(trace_limit=4):
            assert (flags.eager, flags.trace_limit) == (True, 4)
        assert flags.trace_limit == 3
    assert (flags.eager, flags.trace_limit) == (False, 20_000)
    with pytest.raises(KeyError), flags.override(eager=True):
        raise KeyError
    assert flags.eager is False
    with pytest.raises(ValueError, match="unknown"), flags.override(eager=True, wrong=1):
        pass
    assert flags.eager is False


def test_describe_shows_every_flag_and_its_value():
    flags.set("trie_limit", 12345)
    lines = flags.describe().splitlines()
    assert len(lines) == len(flags.TABLE) + 1
    for flag, line in zip(flags.TABLE, lines[1:]):
        assert line.startswith(flag.name) and flag.variable in line and flag.help in line
    assert "12345" in flags.describe() and "200000" in flags.describe()
