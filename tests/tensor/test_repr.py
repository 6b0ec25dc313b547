"""The text of a tensor is PyTorch's, character for character."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import thalweg

TENSORS = [
    "t.tensor(1)", "t.tensor(1.5)", "t.tensor(-2.0)", "t.tensor(True)", "t.tensor(1 + 2j)",
    "t.tensor([1, 2, 3])", "t.tensor([1.0, 2.0])", "t.tensor([1.5, -2.25])", "t.tensor([])",
    "t.zeros(0, 3)", "t.zeros(2, 0, dtype=t.int64)", "t.tensor([], dtype=t.int32)",
    "t.zeros(2, 3)", "t.ones(2, 2, 2)", "t.arange(24).reshape(2, 3, 4)", "t.arange(5.0) / 3",
    "t.tensor([1e-8, 1.0])", "t.tensor([1e10, 1.0])", "t.tensor([1e5, 0.1])",
    "t.tensor([123456.0, 1.0])", "t.tensor([100000000.0, 1.0])", "t.tensor([1e9])",
    "t.tensor([0.0001, 0.001])", "t.tensor([0.00001])", "t.tensor([1e-3, 1e3])",
    "t.tensor([float('nan'), 1.0])", "t.tensor([float('inf'), -1.5])", "t.tensor(float('nan'))",
    "t.tensor([float('nan'), float('-inf')])", "t.tensor([-0.0, 0.0])", "t.tensor([1.0, nan, 1e9])",
    "t.tensor([True, False])", "t.tensor([[True], [False]])", "t.tensor([-1, 100, 20])",
    "t.tensor([1, 2], dtype=t.int32)", "t.tensor([1.5], dtype=t.float64)",
    "t.tensor([1.5], dtype=t.float16)", "t.tensor([1.5, 2], dtype=t.bfloat16)",
    "t.tensor([255], dtype=t.uint8)", "t.tensor([1j, 2 - 3j])", "t.tensor([1.5 + 0.25j])",
    "t.tensor([1e8 + 1j])", "t.tensor([1 + 1j], dtype=t.complex128)", "t.tensor([nan * 1j])",
    "t.arange(1001)", "t.arange(1001.0)", "t.zeros(40, 40)", "t.arange(2000).reshape(20, 100)",
    "t.arange(3000.0).reshape(3, 10, 100)", "t.arange(10000).reshape(10, 10, 10, 10)",
    "t.arange(30)", "t.arange(40.0)", "t.arange(60).reshape(2, 30)", "t.arange(1000) * 1000",
    "t.arange(7, dtype=t.float64).reshape(7, 1)", "t.ones(1, 1, 1)", "t.tensor([[1.0], [20.5]])",
    "t.tensor([1.0], requires_grad=True)", "t.ones(2, requires_grad=True) * 2",
    "t.ones(2, requires_grad=True).sum()", "t.ones(2, requires_grad=True) + 1",
    "t.ones(2, requires_grad=True).exp()",
    "t.ones(2, requires_grad=True).relu()", "-t.ones(2, requires_grad=True)",
    "t.ones(2, requires_grad=True) / 2", "t.ones(2, requires_grad=True) - 2",
    "t.ones(2, requires_grad=True).mean()", "t.ones(2, requires_grad=True) ** 2",
    "t.ones(2, requires_grad=True).tanh()", "t.ones(2, 1, requires_grad=True).view(2)",
    "t.ones(2, 3, requires_grad=True).t()", "t.ones(2, requires_grad=True).clone()",
    "t.ones(2, requires_grad=True).sigmoid()", "t.ones(2, requires_grad=True).softmax(0)",
    "t.ones(2, requires_grad=True).log()", "t.ones(2, requires_grad=True).detach()",
    "t.cat([t.ones(2, requires_grad=True)] * 2)", "t.ones(2, requires_grad=True).sqrt()",
    "t.stack([t.ones(2, requires_grad=True)] * 2)",
    "t.ones(2, 3, requires_grad=True).permute(1, 0)", "t.ones(2, requires_grad=True).expand(3, 2)",
    "t.ones(2, requires_grad=True).unsqueeze(0)",
     "t.ones(2, 3, requires_grad=True).transpose(0, 1)",
    "t.nn.Parameter(t.ones(2))", "t.nn.Parameter(t.ones(2), requires_grad=False)",
    "t.Size([2, 3])", "t.float32", "t.int64", "t.device('cpu')", "t.ones(2).shape", "t.bool",
    "t.ones(3, 2).max(0)", "t.tensor([[3, 1], [2, 4]]).sort(1)", "[t.ones(1), t.zeros(1)]",
    "t.tensor([0.1, 0.25, 1 / 3])", "t.tensor([99999.5])", "t.tensor([12345.678, 0.5])",
]  # fmt: skip


def text(source: str, t: Any, show: Any = repr) -> str:
    made = eval(source, {"t": t, "nan": float("nan"), "np": np})
    return show(made).replace("thalweg.", "torch.")


@pytest.mark.parametrize("source", TENSORS)
def test_repr(source: str) -> None:
    assert text(source, thalweg) == text(source, torch)


@pytest.mark.parametrize("source", ["t.ones(2, 3)", "t.tensor(1.5)", "t.arange(3)"])
def test_str_and_format(source: str) -> None:
    for show in (str, "{}".format):
        assert text(source, thalweg, show) == text(source, torch, show)


OPTIONS = [
    {"precision": 2}, {"precision": 8}, {"threshold": 5}, {"edgeitems": 1, "threshold": 5},
    {"linewidth": 30}, {"sci_mode": True}, {"sci_mode": False}, {"profile": "short"},
    {"profile": "full"},
]  # fmt: skip
SHOWN = [
    "t.arange(24.0).reshape(4, 6) / 7", "t.arange(12)", "t.tensor([1e-9, 1.0])",
    "t.arange(1200).reshape(40, 30)", "t.tensor([1.5 + 2j])",
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_print_options(options: dict[str, Any]) -> None:
    try:
        for t in (torch, thalweg):
            t.set_printoptions(**options)
        for source in SHOWN:
            assert text(source, thalweg) == text(source, torch)
    finally:
        for t in (torch, thalweg):
            t.set_printoptions(profile="default")


def test_random_tensors() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        shape = tuple(rng.integers(1, 6, size=rng.integers(0, 4)))
        values = rng.normal(size=shape) * 10.0 ** rng.integers(-6, 9)
        array = np.asarray(values.astype(rng.choice(["float32", "float64"])))
        assert repr(thalweg.tensor(array)).replace("thalweg.", "torch.") == repr(
            torch.tensor(array)
        )
