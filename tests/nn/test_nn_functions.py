"""Layer functions outside nn.functional, what is public, and initialisation without recording."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import thalweg
from thalweg.tensor.fresh import is_fresh
from thalweg.tensor.functional import is_public

RNG = np.random.default_rng(0)
X, Y, Z = RNG.normal(size=(3, 4, 5)), RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
W, P, SIGNS = RNG.normal(size=4), np.abs(RNG.normal(size=(3, 4))), np.sign(RNG.normal(size=3))
LOGS = np.log(RNG.dirichlet(np.ones(4), (6, 2)))

CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("batch_norm", (X, W, W, W, abs(W), True, 0.1, 1e-5, False), {}),
    ("batch_norm", (X, W, W, W, abs(W), False, 0.1, 1e-5, False), {}),
    ("instance_norm", (X, W, W, None, None, True, 0.1, 1e-5, False), {}),
    ("embedding", (Y, np.array([[0, 1]])), {}),
    ("embedding", (Y, np.array([[0, 1]]), 1), {}),
    ("dropout", (Y, 0.5, False), {}),
    ("alpha_dropout", (Y, 0.5), {"train": False}),
    ("feature_alpha_dropout", (Y, 0.5, False), {}),
    ("binary_cross_entropy_with_logits", (Y, P), {}),
    ("binary_cross_entropy_with_logits", (Y, P), {"reduction": 2}),
    ("cosine_embedding_loss", (Y, Z, SIGNS), {"reduction": 1}),
    ("hinge_embedding_loss", (Y, np.sign(Z)), {}),
    ("kl_div", (Y, P), {"reduction": 1}),
    ("kl_div", (Y, P, 2), {"log_target": True}),
    ("margin_ranking_loss", (Y[0], Z[0], np.sign(W)), {}),
    ("poisson_nll_loss", (Y, P, True, False, 1e-8, 1), {}),
    ("triplet_margin_loss", (Y, Z, Z + 1), {"reduction": 2}),
    ("ctc_loss", (LOGS, np.array([[1, 2, 2], [3, 1, 1]]), np.array([6, 6]), np.array([3, 2])), {}),
    ("adaptive_max_pool1d", (X, 2), {}),
    ("max_pool1d_with_indices", (X, 2), {}),
    ("bilinear", (Y, Z, RNG.normal(size=(2, 4, 4))), {}),
    ("constant_pad_nd", (Y, [1, 2], 3.0), {}),
    ("convolution", (X, RNG.normal(size=(2, 4, 3)), None, [1], [0], [1], False, [0], 1), {}),
    ("convolution", (X, RNG.normal(size=(4, 2, 3)), None, [2], [0], [1], True, [1], 1), {}),
]


def convert(lib: Any, value: Any) -> Any:
    return lib.tensor(value.copy()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("name, args, kwargs", CALLS, ids=[c[0] for c in CALLS])
def test_top_level_form(name: str, args: Any, kwargs: Any) -> None:
    results = [
        getattr(lib, name)(*[convert(lib, a) for a in args], **kwargs) for lib in (thalweg, torch)
    ]
    ours, theirs = (r if isinstance(r, tuple) else (r,) for r in results)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6, atol=1e-7)


def test_in_place_form_and_bad_reduction() -> None:
    x = thalweg.tensor([-1.0, 2.0])
    assert thalweg.relu_(x) is x and x.tolist() == [0.0, 2.0]
    with pytest.raises(ValueError, match="7 is not a valid value for reduction"):
        thalweg.kl_div(x, x, 7)


def test_parts_of_other_functions_are_not_public() -> None:
    for name in ("standardize", "pick_class", "batch_norm_train", "lstm_layer", "view", "repeat"):
        assert not is_public(name)
        with pytest.raises(AttributeError):
            getattr(thalweg, name)
    for name in ("lstm_layer", "total_norm"):
        with pytest.raises(AttributeError):
            getattr(thalweg.nn.functional, name)
    assert thalweg.tensor([1.0, 2.0]).view(2, 1).shape == (2, 1)
    assert callable(thalweg.nn.functional.multi_head_attention_forward)


def test_initialisation_draws_the_numbers_that_recording_draws() -> None:
    bound = 1 / math.sqrt(5)
    thalweg.manual_seed(3)
    before = thalweg.rand(3)  # a draw under way when the layer is made
    layer = thalweg.nn.Linear(5, 7)
    between = thalweg.rand(3)
    table = thalweg.nn.Embedding(4, 3)
    assert is_fresh(layer.weight) and is_fresh(table.weight)
    thalweg.manual_seed(3)
    recorded = [
        thalweg.rand(3),
        thalweg.zeros(7, 5).uniform_(-bound, bound),
        thalweg.zeros(7).uniform_(-bound, bound),
        thalweg.rand(3),
        thalweg.zeros(4, 3).normal_(),
    ]
    found = [before, layer.weight, layer.bias, between, table.weight]
    for one, other in zip(found, recorded):
        # The same draws; native code may round a product and a sum at once.
        np.testing.assert_allclose(one.detach().numpy(), other.numpy(), rtol=2e-6, atol=2e-7)


def test_a_recorded_path_draws_anew_beside_initialisation() -> None:
    def walk(with_layer: bool) -> tuple[Any, Any]:
        thalweg.manual_seed(5)
        first = thalweg.rand(2)
        if with_layer:
            thalweg.nn.init.uniform_(thalweg.nn.Parameter(thalweg.tensor([0.0, 0.0])))
        second = thalweg.rand(2)
        return first.numpy(), second.numpy()

    plain, shifted, again = walk(False), walk(True), walk(False)
    np.testing.assert_array_equal(plain[1], again[1])
    np.testing.assert_array_equal(plain[0], shifted[0])
    assert (plain[1] != shifted[1]).all()


def test_refilling_a_saved_parameter_is_an_in_place_change() -> None:
    weight = thalweg.nn.Parameter(thalweg.tensor([1.0, 2.0]))
    loss = (weight * weight).sum()
    loss.item()  # flushed: the parameter stands in no trace
    thalweg.nn.init.ones_(weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
