"""The benchmark command: every work builds and steps, and the report says what was measured."""

import pytest

from benchmarks import report
from benchmarks.driver import Result
from benchmarks.peers import by_name
from benchmarks.start import start
from benchmarks.works import KERNELS, ROWS, names
from benchmarks.works.torch_style import build


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_run_in_both_libraries(kernel, monkeypatch):
    import torch

    import thalweg

    monkeypatch.setitem(ROWS, "small", (32, 16))
    for lib in (thalweg, torch):
        run = build(f"{kernel}/small", lib)
        run.step()
        run.wait()


@pytest.mark.parametrize("name", ["mlp", "autograd-3x4"])
def test_small_steps_run_in_both_libraries(name):
    import torch

    import thalweg

    for lib in (thalweg, torch):
        run = build(name, lib)
        run.step()
        run.wait()


def test_the_report_names_ratios_failures_and_memory():
    result = Result(
        "mlp", 1, {"thalweg": [1.0, 2.0, 1.0], "torch": [2.0, 4.0, 4.0]},
        {"thalweg": 0.1, "torch": 0.1}, {"thalweg": 100, "torch": 150}, {"jax": "no device"},
    )  # fmt: skip
    assert result.ratio("torch") == (2.0, 2.0, 4.0)
    line = report.line(result)
    assert "torch 2.00x" in line and "jax failed" in line
    page = report.as_markdown([result])
    assert (
        "| mlp |" in page
        and "1.50" in page
        and "Geometric mean against the best peer: 2.00" in page
    )
    assert report.from_json(report.as_json([result])) == [result]
    other = Result("mlp", 1, {"thalweg": [1.0], "torch": [9.0]})
    assert "9.00" in report.as_markdown([result, other]) and "2.00" not in report.as_markdown(
        [result, other]
    )


def test_a_failure_of_our_own_is_reported():
    line = report.line(Result("mlp", 1, failed={"thalweg": "ValueError: x"}))
    assert "thalweg failed: ValueError: x" in line


def test_a_second_process_starts_from_what_the_first_left(tmp_path):
    for found in (start(by_name("thalweg"), "mlp", 1, str(tmp_path)) for _ in range(2)):
        assert 0 < found.extra < found.whole
    assert any(tmp_path.iterdir())


def test_works_are_listed_once():
    assert len(set(names())) == len(names())
