"""The `thalweg` command."""

import subprocess
import sys

import pytest

from thalweg.app import cli
from thalweg.core import flags


def run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "thalweg.app", *arguments], capture_output=True, text=True, cwd=cwd
    )


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for command in ("info", "ops", "train", "dump"):
        assert command in printed


def test_every_command_explains_itself(capsys):
    for command in ("info", "ops", "train", "dump"):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0
        assert f"usage: thalweg {command}" in capsys.readouterr().out


def test_wrong_usage_is_status_two(capsys):
    for arguments in ([], ["fly"], ["train", "--size", "giant"], ["train", "--steps", "x"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 2
        assert "error:" in capsys.readouterr().err


def test_info_shows_versions_machine_and_flags(capsys):
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    for word in ("thalweg", "python", "numpy", "processor", "cores", "memory", "threads"):
        assert any(line.startswith(word + " ") for line in printed.splitlines())
    assert flags.describe() in printed
    assert "num_threads" in printed


def test_ops_prints_the_whole_table(capsys):
    from thalweg.ops import table

    assert cli.main(["ops"]) == 0
    printed = capsys.readouterr().out
    assert printed == table.as_text()
    assert len(printed.splitlines()) > 60


def test_a_closed_pipe_is_not_a_traceback():
    command = f"{sys.executable} -m thalweg.app ops | head -n 1"
    found = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert found.stdout.count("\n") == 1
    assert "Traceback" not in found.stderr


def test_version():
    found = run("--version")
    assert found.returncode == 0
    assert found.stdout.strip() == f"thalweg {cli.version()}"
