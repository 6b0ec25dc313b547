"""Arguments by every name that PyTorch takes, and wrong ones refused by the name they have."""

import pytest
import torch

import thalweg


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, x: lib.sum(x, axis=0), lambda lib, x: x.sum(axis=1, keepdims=True),
        lambda lib, x: lib.add(x1=x, x2=x), lambda lib, x: lib.mul(other=x, input=x),
        lambda lib, x: lib.flatten(start_dim=0, input=x), lambda lib, x: lib.pow(x, exponent=2),
        lambda lib, x: lib.cat(tensors=[x, x], axis=1), lambda lib, x: lib.real(input=x),
        lambda lib, x: lib.transpose(input=x, dim1=0, dim0=1),
        lambda lib, x: lib.split(tensor=x, split_size_or_sections=2)[0],
        lambda lib, x: x.split(split_size=2)[0], lambda lib, x: lib.squeeze(dim=0, input=x[:1]),
        lambda lib, x: lib.linalg.norm(input=x), lambda lib, x: lib.linalg.inv(A=x @ x.mT)[0] * 0,
        lambda lib, x: lib.nn.functional.relu(input=x, inplace=0),
    ],
)  # fmt: skip
def test_names_of_arguments(call):
    data = [[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]]
    mine, theirs = call(thalweg, thalweg.tensor(data)), call(torch, torch.tensor(data))
    assert thalweg.allclose(mine, thalweg.tensor(theirs.numpy()))


def test_a_view_by_keyword_shares_memory():
    x = thalweg.zeros(1, 3)
    thalweg.squeeze(dim=0, input=x).add_(1)
    assert x.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: thalweg.sum(3),
            TypeError,
            "'input' .* must be Tensor, not int",
        ),
        (
            lambda x: thalweg.sum(x, dim=1.5),
            TypeError,
            "'dim' must be int or tuple",
        ),
        (lambda x: thalweg.sum(x, dim=1, axis=1), TypeError, "multiple values"),
        (lambda x: x.sum(nothing=1), TypeError, r"sum\(\) got an unexpected keyword"),
        (lambda x: x.cumsum(1 << 70), ValueError, "overflows a 64-bit integer"),
        (lambda x: x.softmax("last"), TypeError, "argument 'dim'"),
        (lambda x: thalweg.zeros(), TypeError, "missing 1 required"),
        (lambda x: x.reshape(), TypeError, "missing 1 required"),
        (lambda x: thalweg.einsum("i->", 1), TypeError, "expected Tensor as element 0"),
        (lambda x: float(x), ValueError, "only one element"),
        (lambda x: thalweg.is_complex(2), TypeError, "must be Tensor"),
        (lambda x: thalweg.Tensor.add_(2, 3), TypeError, "expected a Tensor, got int"),
    ],
)
def test_wrong_arguments_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call(thalweg.ones(2, 3))


def test_a_number_that_was_refused_is_refused_again() -> None:
    """Numbers that vary become tensors of their own, but only where a number may stand."""
    x = thalweg.tensor([1, 2, 3])
    for number in (2, 2, 3, 4):
        assert thalweg.ge(x, number).tolist() == [v >= number for v in (1, 2, 3)]
        with pytest.raises(TypeError):
            thalweg.ge(number, x)
