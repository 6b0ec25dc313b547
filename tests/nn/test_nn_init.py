"""Initialisation: the stated distributions, structures and errors, without recording gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nn_parity import message
from scipy import stats

import thalweg
from thalweg import nn
from thalweg.nn import init

SHAPE = (60, 40, 3)


def filled(fill: Callable[..., Any], *args: Any, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    thalweg.manual_seed(3)
    tensor = nn.Parameter(thalweg.zeros(shape))
    returned = fill(tensor, *args)
    assert returned is tensor
    assert tensor.is_leaf and tensor.requires_grad and tensor.grad_fn is None
    return tensor.detach().numpy().astype(np.float64)


def assert_distribution(values: np.ndarray, expected: Any) -> None:
    """Kolmogorov-Smirnov with a fixed seed: a wrong bound or deviation fails clearly."""
    assert stats.kstest(values.ravel(), expected.cdf).pvalue > 1e-3


def uniform_within(bound: float) -> Any:
    return stats.uniform(-bound, 2 * bound)


# fan_in is 40 · 3 and fan_out is 60 · 3
FAN_IN, FAN_OUT = 120, 180
DISTRIBUTIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], Any]] = {
    "uniform": (init.uniform_, (-2.0, 3.0), stats.uniform(-2, 5)),
    "normal": (init.normal_, (1.0, 0.5), stats.norm(1, 0.5)),
    "truncated": (init.trunc_normal_, (0.5, 2.0, -1.0, 2.0), stats.truncnorm(-0.75, 0.75, 0.5, 2)),
    "truncated default": (init.trunc_normal_, (), stats.truncnorm(-2, 2)),
    "xavier uniform": (init.xavier_uniform_, (2.0,), uniform_within(2 * math.sqrt(6 / 300))),
    "xavier normal": (init.xavier_normal_, (2.0,), stats.norm(0, 2 * math.sqrt(2 / 300))),
    "kaiming uniform": (
        init.kaiming_uniform_,
        (math.sqrt(5),),
        uniform_within(1 / math.sqrt(FAN_IN)),
    ),
    "kaiming uniform relu": (
        init.kaiming_uniform_,
        (0, "fan_out", "relu"),
        uniform_within(math.sqrt(6 / FAN_OUT)),
    ),
    "kaiming normal": (
        init.kaiming_normal_,
        (0, "fan_in", "relu"),
        stats.norm(0, math.sqrt(2 / FAN_IN)),
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(name: str) -> None:
    fill, args, expected = DISTRIBUTIONS[name]
    assert_distribution(filled(fill, *args), expected)


def test_seeds_repeat_and_differ() -> None:
    thalweg.manual_seed(1)
    first, second = (nn.Linear(4, 4).weight.detach().numpy() for _ in range(2))
    thalweg.manual_seed(1)
    assert (nn.Linear(4, 4).weight.detach().numpy() == first).all()
    assert (first != second).any()


def test_constants() -> None:
    assert (filled(init.constant_, 0.25) == 0.25).all()
    assert (filled(init.ones_) == 1).all()
    assert (filled(init.zeros_) == 0).all()


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_eye(shape: tuple[int, int]) -> None:
    assert (filled(init.eye_, shape=shape) == np.eye(*shape)).all()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", [(4, 3, 3), (4, 3, 2, 3), (2, 5, 3, 3, 3)])
def test_dirac(shape: tuple[int, ...], groups: int) -> None:
    expected = torch.nn.init.dirac_(torch.ones(shape), groups).numpy()
    assert (filled(init.dirac_, groups, shape=shape) == expected).all()


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (4, 3, 2)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = filled(init.orthogonal_, 2.0, shape=shape).reshape(shape[0], -1)
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)


def test_sparse() -> None:
    matrix = filled(init.sparse_, 0.25, 0.5, shape=(40, 300))
    assert ((matrix == 0).sum(axis=0) == 10).all()
    assert_distribution(matrix[matrix != 0], stats.norm(0, 0.5))


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("linear", None),
        ("conv2d", None),
        ("conv_transpose3d", None),
        ("sigmoid", None),
        ("tanh", None),
        ("relu", None),
        ("leaky_relu", None),
        ("leaky_relu", 0.3),
        ("selu", None),
    ],
)
def test_gain(name: str, param: float | None) -> None:
    assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


def layer_bounds(layer: Any) -> dict[str, tuple[float, float]]:
    """The smallest and largest element of every parameter."""
    return {
        name: (float(p.detach().min()), float(p.detach().max()))
        for name, p in layer.named_parameters()
    }


@pytest.mark.parametrize(
    ("name", "args", "bound"),
    [
        ("Linear", (100, 80), 0.1),
        ("Conv2d", (16, 60, 5), 0.05),
        ("ConvTranspose1d", (40, 25, 4), 0.1),
        ("Bilinear", (25, 10, 40), 0.2),
        ("LSTM", (20, 25), 0.2),
        ("GRUCell", (20, 25), 0.2),
    ],
)
def test_layers_start_within_torchs_bounds(name: str, args: tuple[int, ...], bound: float) -> None:
    thalweg.manual_seed(0)
    torch.manual_seed(0)
    theirs = layer_bounds(getattr(torch.nn, name)(*args))
    for key, (low, high) in layer_bounds(getattr(nn, name)(*args)).items():
        assert -bound * 1.0001 <= low < -0.6 * bound, key
        assert 0.6 * bound < high <= bound * 1.0001, key
        assert theirs[key][1] <= bound * 1.0001, key


def test_layers_with_special_starts() -> None:
    thalweg.manual_seed(0)
    embedding = nn.Embedding(200, 50, padding_idx=3).weight.detach().numpy()
    assert (embedding[3] == 0).all()
    assert_distribution(np.delete(embedding, 3, 0), stats.norm())
    attention = nn.MultiheadAttention(40, 4)
    assert (attention.in_proj_bias.detach().numpy() == 0).all()
    assert (attention.out_proj.bias.detach().numpy() == 0).all()
    assert_distribution(
        attention.in_proj_weight.detach().numpy(), uniform_within(math.sqrt(6 / 160))
    )
    assert float(nn.PReLU(3).weight.detach().sum()) == 0.75


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "gain": lambda t: t.nn.init.calculate_gain("gelu"),
    "slope": lambda t: t.nn.init.calculate_gain("leaky_relu", "x"),
    "fan": lambda t: t.nn.init.xavier_normal_(t.ones(3)),
    "mode": lambda t: t.nn.init.kaiming_normal_(t.ones(3, 3), mode="fan"),
    "eye": lambda t: t.nn.init.eye_(t.ones(3)),
    "dirac": lambda t: t.nn.init.dirac_(t.ones(3)),
    "dirac groups": lambda t: t.nn.init.dirac_(t.ones(3, 3, 3), 2),
    "orthogonal": lambda t: t.nn.init.orthogonal_(t.ones(3)),
    "sparse": lambda t: t.nn.init.sparse_(t.ones(3), 0.5),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_raise_torchs_errors(name: str) -> None:
    with pytest.raises(ValueError) as theirs:
        MISTAKES[name](torch)
    with pytest.raises(ValueError) as ours:
        MISTAKES[name](thalweg)
    assert message(ours.value) == message(theirs.value)


def test_warnings() -> None:
    with pytest.warns(UserWarning, match="zero-element tensors is a no-op"):
        init.kaiming_uniform_(thalweg.ones((0, 3)))
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(thalweg.ones(3), mean=9.0)
    with pytest.warns(FutureWarning, match=r"`nn.init.constant` is now deprecated"):
        assert init.constant(thalweg.zeros(2), 3.0).numpy().tolist() == [3, 3]
