"""The examples in short form: each still runs and learns."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["gpt", "lstm_lm"])
def test_language_models_learn(name, capsys):
    first, last = example(name).main(steps=12, batch=8)
    assert 5.4 < first < 6.2
    assert last < first - 1.0
    assert f"held-out loss {first:.3f} -> {last:.3f}" in capsys.readouterr().out


def test_digits_are_told_apart(capsys):
    reached = example("cnn_digits").main(epochs=3)
    assert reached >= 0.95
    assert f"{reached:.2%} right" in capsys.readouterr().out
