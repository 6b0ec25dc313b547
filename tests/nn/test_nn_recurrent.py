"""Recurrent layers and cells: outputs, states and gradients as PyTorch's, padded and packed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nn_parity import assert_close, assert_same_behaviour, make_pair, text, to_thalweg

import thalweg
from thalweg import nn
from thalweg.nn.utils import rnn as ours_rnn

# PyTorch's note about its own kernels.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bias": False},
    {"bidirectional": True, "batch_first": True},
    {"num_layers": 2, "bidirectional": True},
]
PROJECTED: list[dict[str, Any]] = [
    {"proj_size": 2},
    {"proj_size": 2, "num_layers": 2, "bidirectional": True, "batch_first": True, "bias": False},
]
LAYERS = [(name, options) for name in ("RNN", "LSTM", "GRU") for options in OPTIONS]
LAYERS += [("LSTM", options) for options in PROJECTED]
LAYERS += [("RNN", {"nonlinearity": "relu", "num_layers": 2})]


def label(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(f"{k}={v}" for k, v in value.items())


def states(name: str, options: dict[str, Any], batch: int | None) -> Any:
    """Random initial states of the right shapes; with ``batch=None``, unbatched."""
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    middle = () if batch is None else (batch,)
    hidden = torch.randn(count, *middle, options.get("proj_size") or 4, requires_grad=True)
    if name != "LSTM":
        return hidden
    return hidden, torch.randn(count, *middle, 4, requires_grad=True)


def nested(value: Any) -> Any:
    return tuple(map(to_thalweg, value)) if isinstance(value, tuple) else to_thalweg(value)


def weighted(result: Any) -> Any:
    """A scalar that depends on every part of a result, each part differently."""
    output, state = result
    parts = [output, *(state if isinstance(state, tuple) else (state,))]
    return sum((part * part * (number + 1)).sum() for number, part in enumerate(parts))


def assert_same_with_states(ours: Any, theirs: Any, x: Any, hx: Any) -> None:
    x = x.requires_grad_()
    our_x, our_hx = to_thalweg(x), nested(hx)
    our_result, their_result = ours(our_x, our_hx), theirs(x, hx)
    assert_close(our_result, their_result)
    weighted(our_result).backward()
    weighted(their_result).backward()
    assert_close(our_x.grad, x.grad, 1e-4, "gradient of the input")
    for one, other in zip(
        our_hx if isinstance(hx, tuple) else (our_hx,), hx if isinstance(hx, tuple) else (hx,)
    ):
        assert_close(one.grad, other.grad, 1e-4, "gradient of a state")
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters()):
        assert_close(one.grad, other.grad, 1e-4, f"gradient of {name}")


@pytest.mark.parametrize(("name", "options"), LAYERS, ids=label)
def test_layer_without_states(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    ours, theirs = make_pair(name, 3, 4, **options)
    assert text(ours) == text(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [len(group) for group in ours.all_weights] == [len(g) for g in theirs.all_weights]
    assert_same_behaviour(ours, theirs, [torch.randn(5, 2, 3, requires_grad=True)], 1e-4)


@pytest.mark.parametrize(("name", "options"), LAYERS, ids=label)
def test_layer_with_states(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(2)
    ours, theirs = make_pair(name, 3, 4, **options)
    batch = 5 if options.get("batch_first") else 2
    x = torch.randn(5, 2, 3)
    assert_same_with_states(ours, theirs, x, states(name, options, batch))


@pytest.mark.parametrize(("name", "options"), LAYERS, ids=label)
def test_unbatched_layer(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(3)
    ours, theirs = make_pair(name, 3, 4, **options)
    assert_same_with_states(ours, theirs, torch.randn(5, 3), states(name, options, None))


@pytest.mark.parametrize("sort", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize(("name", "options"), LAYERS, ids=label)
def test_packed_layer(name: str, options: dict[str, Any], sort: bool) -> None:
    torch.manual_seed(4)
    ours, theirs = make_pair(name, 3, 4, **options)
    lengths = [5, 3, 3, 1] if sort else [3, 1, 5, 3]
    x = torch.randn(5, 4, 3, requires_grad=True)
    our_x, hx = to_thalweg(x), states(name, options, 4)
    our_hx = nested(hx)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=sort)
    our_packed = ours_rnn.pack_padded_sequence(our_x, lengths, enforce_sorted=sort)
    (our_out, our_state), (out, state) = ours(our_packed, our_hx), theirs(packed, hx)
    assert isinstance(our_out, ours_rnn.PackedSequence)
    assert_close(our_out.data, out.data)
    assert_close(our_out.batch_sizes, out.batch_sizes)
    assert_close(our_state, state)
    weighted((our_out.data, our_state)).backward()
    weighted((out.data, state)).backward()
    assert_close(our_x.grad, x.grad, 1e-4)
    for (parameter, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters()):
        assert_close(one.grad, other.grad, 1e-4, parameter)
    assert_close(ours(our_packed)[1], theirs(packed)[1])


def test_dropout_between_layers_only_in_training() -> None:
    ours, theirs = make_pair("LSTM", 3, 4, num_layers=2, dropout=1.0)
    x = torch.randn(5, 2, 3)
    # Everything between the layers dropped: the second layer sees only zeros.
    assert_close(ours(to_thalweg(x))[0], theirs(x)[0])
    ours.eval(), theirs.eval()
    assert_close(ours(to_thalweg(x))[0], theirs(x)[0])
    with pytest.warns(UserWarning, match="num_layers greater than 1, but got dropout=0.5"):
        nn.LSTM(3, 4, dropout=0.5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells(name: str, bias: bool) -> None:
    torch.manual_seed(5)
    ours, theirs = make_pair(name, 3, 4, bias)
    assert text(ours) == text(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_same_behaviour(ours, theirs, [torch.randn(2, 3, requires_grad=True)])
    hidden = torch.randn(2, 4)
    hx = (hidden, torch.randn(2, 4)) if name == "LSTMCell" else hidden
    x = torch.randn(2, 3)
    assert_close(ours(to_thalweg(x), nested(hx)), theirs(x, hx))
    alone = tuple(part[0] for part in hx) if name == "LSTMCell" else hx[0]
    assert_close(ours(to_thalweg(x[0]), nested(alone)), theirs(x[0], alone))


def test_relu_cell_and_its_repr() -> None:
    ours, theirs = make_pair("RNNCell", 3, 4, nonlinearity="relu")
    assert text(ours) == text(theirs)
    assert_same_behaviour(ours, theirs, [torch.randn(2, 3, requires_grad=True)])


def test_wrong_states_are_described() -> None:
    x = thalweg.ones((5, 2, 3))
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 2, 4\), got \[1, 3, 4\]"):
        nn.GRU(3, 4)(x, thalweg.ones((1, 3, 4)))
    with pytest.raises(RuntimeError, match=r"Expected hidden\[1\] size \(1, 2, 4\)"):
        nn.LSTM(3, 4)(x, (thalweg.ones((1, 2, 4)), thalweg.ones((1, 2, 5))))
    with pytest.raises(RuntimeError, match="batched 3-D input, hx should also be 3-D but got 2-D"):
        nn.RNN(3, 4)(x, thalweg.ones((1, 4)))
    with pytest.raises(RuntimeError, match="sequence length to be larger than 0"):
        nn.RNN(3, 4)(thalweg.ones((0, 2, 3)))
    with pytest.raises(RuntimeError, match="inconsistent input_size: got 2 expected 3"):
        nn.GRUCell(3, 4)(thalweg.ones((1, 2)))


def test_flatten_parameters_keeps_everything() -> None:
    layer = nn.LSTM(3, 4)
    before = dict(layer.named_parameters())
    layer.flatten_parameters()
    assert dict(layer.named_parameters()) == before


def test_packing_and_padding_round_trip() -> None:
    torch.manual_seed(6)
    theirs_rnn = torch.nn.utils.rnn
    rows = [torch.randn(n, 2) for n in (2, 4, 1)]
    ours_rows = [to_thalweg(row) for row in rows]
    for batch_first in (True, False):
        for side in ("left", "right"):
            assert_close(
                ours_rnn.pad_sequence(ours_rows, batch_first, -1.0, side),
                theirs_rnn.pad_sequence(rows, batch_first, -1.0, side),
            )
    packed = ours_rnn.pack_sequence(ours_rows, enforce_sorted=False)
    expected = theirs_rnn.pack_sequence(rows, enforce_sorted=False)
    for one, other in zip(packed, expected):
        assert_close(one, other)
    for total in (None, 6):
        padded = ours_rnn.pad_packed_sequence(packed, True, -2.0, total)
        assert_close(padded, theirs_rnn.pad_packed_sequence(expected, True, -2.0, total))
    for one, other in zip(ours_rnn.unpack_sequence(packed), rows):
        assert_close(one, other)
    assert packed.double().data.dtype == thalweg.float64


def test_packing_mistakes() -> None:
    x = thalweg.ones((3, 2, 1))
    with pytest.raises(RuntimeError, match="sorted in decreasing order"):
        ours_rnn.pack_padded_sequence(x, [1, 3])
    with pytest.raises(RuntimeError, match="greater than 0"):
        ours_rnn.pack_padded_sequence(x, [1, 0])
    with pytest.raises(RuntimeError, match=r"3 \(batch_size=2\)"):
        ours_rnn.pack_padded_sequence(x, [3, 2, 1])
    with pytest.raises(RuntimeError, match=r"at most 3 .* got 4"):
        ours_rnn.pack_padded_sequence(x, [4, 1])
    packed = ours_rnn.pack_padded_sequence(x, [3, 1])
    with pytest.raises(ValueError, match="total_length=2 and max sequence length being 3"):
        ours_rnn.pad_packed_sequence(packed, total_length=2)
    with pytest.raises(RuntimeError, match="left or right, but got up"):
        ours_rnn.pad_sequence([x], padding_side="up")
