"""Attention and transformer stacks: outputs, weights, masks and gradients as PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from nn_parity import (
    assert_close,
    assert_same_behaviour,
    load_weights,
    make_pair,
    message,
    text,
    to_thalweg,
)

import thalweg
from thalweg import nn

# PyTorch's remarks about its fast paths and about mixing mask types.
pytestmark = [
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),
    pytest.mark.filterwarnings("ignore:Support for mismatched"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]

VARIANTS: list[dict[str, Any]] = [
    {},
    {"bias": False, "batch_first": True},
    {"add_bias_kv": True},
    {"add_zero_attn": True, "add_bias_kv": True},
    {"kdim": 3, "vdim": 5},
]


def label(options: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in options.items()) or "plain"


def random_biases(theirs: Any) -> None:
    """Biases start at zero, where a mistake with them could not be seen."""
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)


def attend_pair(options: dict[str, Any]) -> tuple[Any, Any]:
    ours, theirs = make_pair("MultiheadAttention", 4, 2, **options)
    random_biases(theirs)
    load_weights(ours, theirs)
    return ours, theirs


def inputs(options: dict[str, Any], length: int = 3, source: int = 5) -> list[torch.Tensor]:
    widths = (4, options.get("kdim", 4), options.get("vdim", 4))
    shape = (length, source, source)
    if options.get("batch_first"):
        return [torch.randn(2, n, w, requires_grad=True) for n, w in zip(shape, widths)]
    return [torch.randn(n, 2, w, requires_grad=True) for n, w in zip(shape, widths)]


def both(ours: Any, theirs: Any, tensors: list[torch.Tensor], **options: Any) -> tuple[Any, Any]:
    our_options = {
        key: to_thalweg(value) if isinstance(value, torch.Tensor) else value
        for key, value in options.items()
    }
    return ours(*map(to_thalweg, tensors), **our_options), theirs(*tensors, **options)


@pytest.mark.parametrize("options", VARIANTS, ids=label)
def test_attention(options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    ours, theirs = attend_pair(options)
    assert text(ours) == text(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_same_behaviour(ours, theirs, inputs(options))
    assert_same_behaviour(ours, theirs, [*inputs(options), None, False])


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("kind", ["bool", "float", "per head"])
@pytest.mark.parametrize("options", VARIANTS[:4], ids=label)
def test_masks(options: dict[str, Any], kind: str, need_weights: bool) -> None:
    torch.manual_seed(2)
    ours, theirs = attend_pair(options)
    mask = torch.rand(3, 5) > 0.6
    mask[:, 0] = False  # a row with nothing to attend to has no defined result
    padding = torch.tensor([[False] * 5, [False, True, False, True, False]])
    if kind == "per head":
        mask = torch.stack([mask] * 4) & (torch.rand(4, 1, 1) > 0.3)
    if kind == "float":
        mask, padding = torch.randn(3, 5), torch.zeros(2, 5).masked_fill(padding, -math.inf)
    got, expected = both(
        ours,
        theirs,
        inputs(options),
        attn_mask=mask,
        key_padding_mask=padding,
        need_weights=need_weights,
    )
    assert_close(got, expected)


def test_self_attention_causal_and_per_head_weights() -> None:
    torch.manual_seed(3)
    ours, theirs = attend_pair({})
    x = torch.randn(5, 2, 4)
    causal = torch.nn.Transformer.generate_square_subsequent_mask(5)
    our_causal = nn.Transformer.generate_square_subsequent_mask(5)
    assert_close(our_causal, causal)
    y = to_thalweg(x)
    for need_weights in (True, False):
        for average in (True, False):
            options = {"need_weights": need_weights, "average_attn_weights": average}
            got = ours(y, y, y, attn_mask=our_causal, is_causal=True, **options)
            expected = theirs(x, x, x, attn_mask=causal, is_causal=True, **options)
            assert_close(got, expected)


def test_unbatched_attention() -> None:
    torch.manual_seed(4)
    for options in ({}, {"batch_first": True}):
        ours, theirs = attend_pair(options)
        tensors = [torch.randn(3, 4), torch.randn(5, 4), torch.randn(5, 4)]
        assert_close(*both(ours, theirs, tensors))
        padding = torch.tensor([False, True, False, False, True])
        assert_close(*both(ours, theirs, tensors, key_padding_mask=padding))


def test_dropout_of_weights_only_in_training() -> None:
    ours, _ = make_pair("MultiheadAttention", 4, 2, dropout=0.5)
    x = thalweg.ones((40, 1, 4))
    _, weights = ours(x, x, x, average_attn_weights=False)
    dropped = (weights.detach().numpy() == 0).mean()
    assert 0.3 < dropped < 0.7
    _, weights = ours.eval()(x, x, x)
    assert (weights.detach().numpy() > 0).all()


ATTENTION_MISTAKES: dict[str, Any] = {
    "rank": lambda t, m: m(t.ones(4), t.ones(4), t.ones(4)),
    "key rank": lambda t, m: m(t.ones(3, 2, 4), t.ones(3, 4), t.ones(3, 4)),
    "width": lambda t, m: m(t.ones(3, 2, 6), t.ones(3, 2, 6), t.ones(3, 2, 6)),
    "source": lambda t, m: m(t.ones(3, 2, 4), t.ones(3, 2, 4), t.ones(5, 2, 4)),
    "padding rank": lambda t, m: m(
        t.ones(3, 2, 4), t.ones(3, 2, 4), t.ones(3, 2, 4), key_padding_mask=t.ones(3)
    ),
    "mask shape": lambda t, m: m(
        t.ones(3, 2, 4), t.ones(3, 2, 4), t.ones(3, 2, 4), attn_mask=t.ones(2, 3)
    ),
    "mask per head": lambda t, m: m(
        t.ones(3, 2, 4), t.ones(3, 2, 4), t.ones(3, 2, 4), attn_mask=t.ones(3, 3, 3)
    ),
    "causal hint alone": lambda t, m: m(
        t.ones(3, 2, 4), t.ones(3, 2, 4), t.ones(3, 2, 4), is_causal=True
    ),
}


@pytest.mark.parametrize("name", ATTENTION_MISTAKES)
def test_attention_mistakes_raise_torchs_error_types(name: str) -> None:
    mistake = ATTENTION_MISTAKES[name]
    with pytest.raises((AssertionError, RuntimeError)) as theirs:
        mistake(torch, torch.nn.MultiheadAttention(4, 2))
    with pytest.raises(theirs.type) as ours:
        mistake(thalweg, nn.MultiheadAttention(4, 2))
    assert message(ours.value)


def test_integer_masks_are_refused() -> None:
    x = thalweg.ones((3, 2, 4))
    with pytest.raises(RuntimeError, match="attn_mask: only bool and floating"):
        nn.MultiheadAttention(4, 2)(x, x, x, attn_mask=thalweg.ones((3, 3), dtype=thalweg.int64))


LAYERS: list[dict[str, Any]] = [
    {},
    {"norm_first": True, "batch_first": True},
    {"activation": "gelu", "bias": False},
]


@pytest.mark.parametrize("options", LAYERS, ids=label)
def test_encoder_layer(options: dict[str, Any]) -> None:
    torch.manual_seed(5)
    ours, theirs = make_pair("TransformerEncoderLayer", 4, 2, 6, 0.0, **options)
    random_biases(theirs)
    load_weights(ours, theirs)
    assert text(ours) == text(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_same_behaviour(ours, theirs, [torch.randn(5, 2, 4, requires_grad=True)], 1e-4)
    ours.eval(), theirs.eval()
    with torch.no_grad():
        assert_close(*both(ours, theirs, [torch.randn(5, 2, 4)]), 1e-4)


@pytest.mark.parametrize("options", LAYERS, ids=label)
def test_decoder_layer(options: dict[str, Any]) -> None:
    torch.manual_seed(6)
    ours, theirs = make_pair("TransformerDecoderLayer", 4, 2, 6, 0.0, **options)
    random_biases(theirs)
    load_weights(ours, theirs)
    assert text(ours) == text(theirs)
    length = 2 if options.get("batch_first") else 5
    batch = 5 if options.get("batch_first") else 2
    x = torch.randn(length, batch, 4, requires_grad=True)
    memory = torch.randn(length, batch, 4, requires_grad=True)
    assert_same_behaviour(ours, theirs, [x, memory], 1e-4)


def test_encoder_and_decoder_stacks_with_masks() -> None:
    torch.manual_seed(7)

    def build(t: Any) -> tuple[Any, Any]:
        n = t.nn
        encoder = n.TransformerEncoder(n.TransformerEncoderLayer(4, 2, 6, 0.0), 2, n.LayerNorm(4))
        decoder = n.TransformerDecoder(n.TransformerDecoderLayer(4, 2, 6, 0.0), 2)
        return encoder, decoder

    for ours, theirs in zip(build(thalweg), build(torch)):
        load_weights(ours, theirs)
        assert text(ours) == text(theirs)
        decoding = theirs.__class__.__name__.endswith("Decoder")
        tensors = [torch.randn(5, 2, 4, requires_grad=True) for _ in range(1 + decoding)]
        mask = torch.nn.Transformer.generate_square_subsequent_mask(5)
        padding = torch.zeros(2, 5).masked_fill(torch.arange(5) > 3, -math.inf)
        name = "tgt_" if decoding else ""
        options = {
            f"{name}mask": mask,
            ("tgt" if decoding else "src") + "_key_padding_mask": padding,
        }
        assert_close(*both(ours, theirs, tensors, **options), 1e-4)


def test_copies_of_a_layer_are_independent() -> None:
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 6), 2)
    assert stack.layers[0].linear1.weight is not stack.layers[1].linear1.weight
    first, second = (layer.linear1.weight.detach().numpy() for layer in stack.layers)
    assert (first == second).all()


@pytest.mark.parametrize("batch_first", [False, True])
def test_whole_transformer(batch_first: bool) -> None:
    torch.manual_seed(8)
    ours, theirs = make_pair("Transformer", 4, 2, 2, 1, 6, 0.0, batch_first=batch_first)
    assert text(ours) == text(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    shape = (2, 5, 4) if batch_first else (5, 2, 4)
    tensors = [torch.randn(*shape, requires_grad=True) for _ in range(2)]
    assert_same_behaviour(ours, theirs, tensors, 1e-4)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5)
    assert_close(*both(ours, theirs, tensors, tgt_mask=mask, tgt_is_causal=True), 1e-4)
    with pytest.raises(RuntimeError, match="batch number of src and tgt must be equal"):
        wrong = thalweg.ones((3, 5, 4) if batch_first else (5, 3, 4))
        ours(to_thalweg(tensors[0]), wrong)
    with pytest.raises(RuntimeError, match="feature number of src and tgt"):
        ours(thalweg.ones((2, 2, 3)), thalweg.ones((2, 2, 3)))
