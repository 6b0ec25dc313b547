"""The shell scripts: they parse, and they refuse a Python that is too old."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [ROOT / "scripts" / name for name in ("train", "test", "check")] + [ROOT / ".ci" / "run"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_stop_at_errors(script):
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    subprocess.run(["bash", "-n", str(script)], check=True)


def fresh(tmp_path):
    """A checkout without an environment."""
    (tmp_path / "scripts").mkdir()
    for name in ("environment.sh", "train"):
        target = tmp_path / "scripts" / name
        target.write_bytes((ROOT / "scripts" / name).read_bytes())
        target.chmod(0o755)
    return tmp_path / "scripts" / "train"


def fake_python(tmp_path, body):
    path = tmp_path / "fake-python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_an_old_python_is_refused_by_name(tmp_path):
    old = fake_python(tmp_path, 'case "$1" in -V) echo "Python 3.8.10";; *) exit 1;; esac')
    script = fresh(tmp_path)
    found = subprocess.run(
        [str(script)], capture_output=True, text=True, env={**os.environ, "PYTHON": old}
    )
    assert found.returncode == 1
    assert "needs Python 3.11 or newer" in found.stderr
    assert "Python 3.8.10" in found.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_missing_python_is_refused_by_name(tmp_path):
    script = fresh(tmp_path)
    environment = {**os.environ, "PYTHON": "/nowhere/python"}
    found = subprocess.run([str(script)], capture_output=True, text=True, env=environment)
    assert found.returncode == 1
    assert "PYTHON is set to '/nowhere/python', which cannot be run" in found.stderr
