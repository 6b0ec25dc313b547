"""`thalweg dump` shows what a script computes."""

import sys

import pytest

from thalweg.app.cli import main
from thalweg.ir.text import parse_graph
from thalweg.ops.contract import PRIMITIVES
from thalweg.ops.function import COMPOSITES


@pytest.fixture
def dump(tmp_path, capsys):
    def run(source, *arguments):
        script = tmp_path / "script.py"
        script.write_text("import sys\nimport thalweg as torch\n" + source)
        status = main(["dump", str(script), *arguments])
        return status, *capsys.readouterr()

    return run


def test_the_graph_of_a_printed_value(dump):
    status, out, err = dump(
        "x = torch.ones(3, 4)\ny = (x * 2 + 1).tanh().sum()\nprint('answer', y.item())\n"
    )
    assert status == 0
    assert "tanh(" in out and "float32[3,4]" in out
    assert "answer" in err and "answer" not in out
    text = "".join(line for line in out.splitlines(True) if not line.startswith("#"))
    assert repr(parse_graph(text, {**PRIMITIVES, **COMPOSITES})).strip() == text.strip()


def test_a_loop_of_equal_steps_is_one_graph(dump):
    source = "x = torch.ones(5)\nfor _ in range(4):\n    x = x.exp().log()\n    x.sum().item()\n"
    _, out, _ = dump(source)
    # The first step's graph also makes x; those of the other three are one.
    assert out.count("= exp(") == 2
    assert "# graph 2: 3 nodes, run 3 times" in out and "# graph 3" not in out


def test_what_is_recorded_but_never_read_is_shown_too(dump):
    _, out, _ = dump("y = torch.ones(3).sinh()\n")
    assert "= sinh(" in out


def test_a_script_gets_its_arguments_and_its_status_counts(dump):
    before = list(sys.argv), list(sys.path)
    status, _, err = dump("print(sys.argv[1:], __name__)\nsys.exit(3)\n", "a", "--b")
    assert status == 3
    assert "['a', '--b'] __main__" in err
    assert (sys.argv, sys.path) == before


def test_a_missing_script_is_wrong_usage(capsys):
    assert main(["dump", "nowhere.py"]) == 2
    assert "there is no file nowhere.py" in capsys.readouterr().err
