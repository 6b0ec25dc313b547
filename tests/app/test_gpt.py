"""The model against the same source run by PyTorch, and the text drawn from it."""

import inspect
import math
import sys
import types

import numpy as np
import pytest
import torch

import thalweg
from thalweg.app import gpt

SHAPE = gpt.Shape(layers=2, width=16, heads=2, length=12, vocabulary=32)


def under_torch():
    """The module's own source with only its import lines changed."""
    source = inspect.getsource(gpt)
    for ours, theirs in (
        ("import thalweg as torch\n", "import torch\n"),
        ("from thalweg import Tensor, nn\n", "from torch import Tensor, nn\n"),
        ("from thalweg.nn import functional as F\n", "from torch.nn import functional as F\n"),
        ("from __future__ import annotations\n", ""),
    ):
        assert source.count(ours) == 1
        source = source.replace(ours, theirs)
    module = types.ModuleType("gpt_under_torch")
    # dataclasses look their module up by name while the class is made.
    sys.modules[module.__name__] = module
    code = compile("from __future__ import annotations\n" + source, "gpt.py", "exec")
    exec(code, module.__dict__)
    return module


def model(seed=0, shape=SHAPE):
    thalweg.manual_seed(seed)
    return gpt.GPT(shape)


def tokens(*size, seed=0):
    return np.random.default_rng(seed).integers(0, SHAPE.vocabulary, size=size)


def test_loss_and_gradients_equal_pytorch_with_equal_weights():
    ours = model()
    module = under_torch()
    theirs = module.GPT(module.Shape(2, 16, 2, 12, 32))
    weights = {name: torch.tensor(value.numpy()) for name, value in ours.state_dict().items()}
    theirs.load_state_dict(weights)
    window = tokens(3, 13)
    our_loss = ours.loss(thalweg.from_numpy(window))
    their_loss = theirs.loss(torch.from_numpy(window))
    our_loss.backward()
    their_loss.backward()
    assert our_loss.item() == pytest.approx(their_loss.item(), rel=1e-5)
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        np.testing.assert_allclose(
            parameter.grad.numpy(), expected[name].grad.numpy(), rtol=1e-3, atol=1e-6, err_msg=name
        )


def test_scores_have_one_row_a_byte_and_do_not_see_the_future():
    row = tokens(1, 12)
    later = row.copy()
    later[0, 8:] = (later[0, 8:] + 1) % SHAPE.vocabulary
    with thalweg.no_grad():
        one = model()(thalweg.from_numpy(row)).numpy()
        two = model()(thalweg.from_numpy(later)).numpy()
    assert one.shape == (1, 12, 32)
    np.testing.assert_allclose(one[:, :8], two[:, :8], rtol=1e-5, atol=1e-6)
    assert not np.allclose(one[:, 8:], two[:, 8:])


def test_order_matters():
    row = tokens(1, 6)
    swapped = row[:, [1, 0, 2, 3, 4, 5]]
    with thalweg.no_grad():
        one = model()(thalweg.from_numpy(row)).numpy()[0, -1]
        two = model()(thalweg.from_numpy(np.ascontiguousarray(swapped))).numpy()[0, -1]
    assert not np.allclose(one, two, rtol=1e-4, atol=1e-5)


def test_the_head_is_tied_and_a_new_model_knows_nothing():
    made = model()
    assert made.head.weight is made.token.weight
    assert len(list(made.parameters())) == len({id(p) for p in made.parameters()})
    loss = made.loss(thalweg.from_numpy(tokens(8, 13))).item()
    assert loss == pytest.approx(math.log(SHAPE.vocabulary), rel=0.1)


def test_equal_seeds_make_equal_models():
    one, two, other = model(1).state_dict(), model(1).state_dict(), model(2).state_dict()
    assert all(np.array_equal(one[name].numpy(), two[name].numpy()) for name in one)
    assert not np.array_equal(one["token.weight"].numpy(), other["token.weight"].numpy())


def test_too_long_a_row_and_uneven_heads_are_refused():
    with pytest.raises(ValueError, match="at most 12 bytes a row, given 13"):
        model()(thalweg.from_numpy(tokens(1, 13)))
    with pytest.raises(ValueError, match="width 10"):
        gpt.Shape(layers=1, width=10, heads=2)


def test_drawing_text_is_repeatable_and_leaves_the_random_state_alone():
    made = model()
    before = np.asarray(thalweg.get_rng_state().numpy()).copy()
    one = list(gpt.generate(made, b"\x01", 20, seed=3))
    two = list(gpt.generate(made, b"\x01", 20, seed=3))
    assert one == two and len(one) == 20
    assert one != list(gpt.generate(made, b"\x01", 20, seed=4))
    assert np.array_equal(before, np.asarray(thalweg.get_rng_state().numpy()))
    assert made.training


def test_padding_does_not_change_what_is_drawn():
    made = model()
    made.eval()
    prompt = bytes([3, 5, 7])
    with thalweg.no_grad():
        row = thalweg.from_numpy(np.array([list(prompt)], dtype=np.int64))
        scores = made(row).numpy()[0, -1].astype(np.float64)
    cold = next(gpt.generate(made, prompt, 1, temperature=1e-4))
    assert cold == int(scores.argmax())


def test_drawing_goes_past_the_models_length_and_stops_when_asked():
    made = model()
    assert len(list(gpt.generate(made, b"\x01\x02", 15))) == 15
    drawn = []
    for byte in gpt.generate(made, b"\x01", 50, stop=lambda: len(drawn) >= 4):
        drawn.append(byte)
    assert len(drawn) == 4
    with pytest.raises(ValueError, match="prompt"):
        next(gpt.generate(made, b"", 1))
    with pytest.raises(ValueError, match="temperature above 0, given 0"):
        next(gpt.generate(made, b"\x01", 1, temperature=0))


def test_shown_text_cannot_steer_the_terminal():
    assert gpt.printable(b"def f():\n\treturn 1") == "def f():\n    return 1"
    assert gpt.printable("naïve".encode()) == "naïve"
    assert gpt.printable(b"\x1b[2J\xff\x00\r") == "·[2J···"
