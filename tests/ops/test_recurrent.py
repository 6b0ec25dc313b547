"""Recurrent layers against PyTorch's: values, first and second derivatives, and batching."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from thalweg.core.dtypes import from_numpy
from thalweg.ir.node import Value, make_input
from thalweg.ir.types import TensorType
from thalweg.ops import FUNCTIONS
from thalweg.ops.evaluate import evaluate
from thalweg.passes.autodiff import gradients
from thalweg.passes.batching import batch

GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}


def value(array: np.ndarray) -> Value:
    return make_input(TensorType(array.shape, from_numpy(array.dtype)))


def ours(kind: str, values: list[Value], reverse: bool = False) -> Any:
    name = {"lstm": "lstm_layer", "gru": "gru_layer"}.get(kind, "rnn_layer")
    kwargs = {"nonlinearity": kind} if name == "rnn_layer" else {}
    return FUNCTIONS[name].impl(*values, reverse=reverse, **kwargs)


def theirs(kind: str, tensors: list[torch.Tensor], bias: bool, reverse: bool) -> list[torch.Tensor]:
    """PyTorch's one-direction layer of the tensors x, states, weights (and biases)."""
    states = 2 if kind == "lstm" else 1
    x = tensors[0].flip(0) if reverse else tensors[0]
    start = [t[None] for t in tensors[1 : 1 + states]]
    rest = (tensors[1 + states :], bias, 1, 0.0, True, False, False)
    if kind == "lstm":
        y, *last = torch._VF.lstm(x, start, *rest)
    else:
        name = "gru" if kind == "gru" else f"rnn_{kind}"
        y, *last = getattr(torch._VF, name)(x, start[0], *rest)
    return [y.flip(0) if reverse else y, *(t[0] for t in last)]


def operands(kind: str, bias: bool, steps: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(len(kind))
    rows, hidden = GATES[kind] * 6, 6
    arrays = [rng.normal(size=(steps, 3, 4))]
    arrays += [rng.normal(size=(3, hidden)) for _ in range(2 if kind == "lstm" else 1)]
    arrays += [rng.normal(size=s) / 2 for s in [(rows, 4), (rows, hidden)]]
    return arrays + [rng.normal(size=(rows,)) / 2 for _ in range(2 if bias else 0)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", GATES)
def test_layers_and_two_derivatives(kind, reverse, bias):
    arrays = operands(kind, bias)
    rng = np.random.default_rng(3)
    values = [value(a) for a in arrays]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    results, twins = ours(kind, values, reverse), theirs(kind, tensors, bias, reverse)
    known = dict(zip(values, arrays))

    def compare(mine: Any, other: Any) -> None:
        for array, tensor in zip(evaluate(mine, known), other, strict=True):
            np.testing.assert_allclose(array, tensor.detach().numpy(), rtol=1e-7, atol=1e-8)

    compare(results, twins)

    def derive(outputs: Any, others: Any) -> tuple[list[Value], Any]:
        drawn = [rng.normal(size=v.shape) for v in outputs]
        seeds = [value(a) for a in drawn]
        known.update(zip(seeds, drawn))
        cotangents = [torch.tensor(a) for a in drawn]
        return gradients(outputs, seeds, values), torch.autograd.grad(
            others, tensors, cotangents, create_graph=True
        )

    first, other = derive(results, twins)
    compare(first, other)
    compare(*derive(first, other))


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_layers_batched(kind):
    """Stacked inputs and first weights, shared states and second weights."""
    arrays = operands(kind, False)
    rng = np.random.default_rng(4)
    stacked = [i in (0, len(arrays) - 2) for i in range(len(arrays))]
    many = [rng.normal(size=(7, *a.shape)) if s else a for a, s in zip(arrays, stacked)]
    values, wide = [value(a) for a in arrays], [value(a) for a in many]
    results = ours(kind, values)
    outputs, flags = batch(results, values, wide, stacked, 7)
    assert all(flags)
    found = evaluate(outputs, dict(zip(wide, many)))
    for i in range(7):
        one = [a[i] if s else a for a, s in zip(many, stacked)]
        for array, expected in zip(found, evaluate(results, dict(zip(values, one))), strict=True):
            np.testing.assert_allclose(array[i], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", GATES)
def test_layers_of_no_steps(kind):
    arrays = operands(kind, True, steps=0)
    values = [value(a) for a in arrays]
    y, *last = evaluate(ours(kind, values), dict(zip(values, arrays)))
    assert y.shape == (0, 3, 6)
    for found, start in zip(last, arrays[1:]):
        np.testing.assert_array_equal(found, start)


def test_shapes_that_do_not_fit_are_named():
    x, h, w, u = (value(np.zeros(s)) for s in [(5, 3, 4), (3, 6), (18, 4), (18, 6)])
    with pytest.raises(RuntimeError, match="inconsistent input_size"):
        ours("gru", [value(np.zeros((5, 3, 2))), h, w, u])
    with pytest.raises(RuntimeError, match="inconsistent hidden_size"):
        ours("gru", [x, value(np.zeros((3, 5))), w, u])
    with pytest.raises(RuntimeError, match="doesn't match hidden batch size"):
        ours("gru", [x, value(np.zeros((2, 6))), w, u])
    with pytest.raises(ValueError, match="Unknown nonlinearity"):
        FUNCTIONS["rnn_layer"].impl(x, h, w, u, nonlinearity="sin")
