"""Tensors from data and back: dtype inference, shared memory, Python numbers, formatting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tensor_twins import Body, agree, succeed

DATA = [
    "1", "1.5", "True", "1 + 2j", "[]", "[[]]", "[[], []]", "[1, 2]", "[1, 2.5]", "[True, 2]",
    "[True, False]", "[1, 2j]", "[[1, 2], [3, 4]]", "(1, 2)", "[(1, 2), [3, 4]]", "range(4)",
    "float('nan')", "[float('inf'), -1]", "2 ** 40", "-5", "[[[1.0]]]", "np.ones((2, 3))",
    "np.arange(3)", "np.float32(2)", "np.float64(2)", "np.int32(7)", "np.array(True)",
    "np.array([1 + 1j])", "np.zeros((0, 2), np.float32)", "[np.float64(1), 2]",
    "[np.ones(2), np.zeros(2)]", "np.arange(6).reshape(2, 3).T", "np.arange(4)[::-1].copy()",
    "[t.tensor(1), t.tensor(2)]", "[t.tensor(1.5), 2]", "np.uint8(3)", "np.int8(-3)",
    "np.float16(1.5)", "[np.int32(1), np.int32(2)]", "0.1", "1e300", "1e-50", "-0.0",
]  # fmt: skip


def evaluate(text: str, t: Any) -> Any:
    return eval(text, {"t": t, "np": np})


@pytest.mark.parametrize("text", DATA)
def test_tensor(text: str) -> None:
    agree(lambda t: t.tensor(evaluate(text, t)))


FLOATING = ["float32", "float64", "float16", "complex64"]
WHOLE = ["int64", "bool", "uint8"]
# Of these PyTorch refuses some and casts others to integers, by the processor's choice.
FRACTIONS = ("nan", "inf", "1e300", "2 ** 40", "float32(", "float64(", "float16(", "tensor(1.5)")


@pytest.mark.parametrize(
    ("text", "dtype"),
    [(t, d) for t in DATA for d in FLOATING]
    + [(t, d) for t in DATA for d in WHOLE if not any(w in t for w in FRACTIONS)],
)
def test_tensor_of_dtype(text: str, dtype: str) -> None:
    agree(lambda t: t.tensor(evaluate(text, t), dtype=getattr(t, dtype)))


@pytest.mark.parametrize("text", DATA)
def test_as_tensor(text: str) -> None:
    agree(lambda t: t.as_tensor(evaluate(text, t)))


CREATION = [
    "t.zeros(2, 3)", "t.zeros((2, 3))", "t.zeros([2], dtype=t.int32)", "t.ones(())", "t.ones(0)",
    "t.full((2,), 3)", "t.full((2,), 3.5)", "t.full((2,), True)", "t.full((), 1j)",
    "t.full((2,), 3, dtype=t.float64)", "t.arange(5)", "t.arange(5.0)", "t.arange(1, 4)",
    "t.arange(0, 1, 0.25)", "t.arange(5, 0, -2)", "t.arange(3, dtype=t.float32)",
    "t.linspace(0, 1, 5)", "t.linspace(0, 10, 1)", "t.logspace(0, 2, 3)", "t.eye(3)",
    "t.eye(2, 3)", "t.eye(2, dtype=t.int64)", "t.zeros_like(t.ones(2, dtype=t.float64))",
    "t.ones_like(t.tensor([1]), dtype=t.float32)", "t.full_like(t.ones(2), 7)",
    "t.zeros(2, requires_grad=True)", "t.ones(2).new_zeros(3)", "t.ones(2).new_full((2,), 4)",
    "t.ones(2, dtype=t.float64).new_ones(2)", "t.tensor([1]).new_tensor([1.5, 2])",
    "t.scalar_tensor(3)", "t.Tensor([1, 2])", "t.Tensor(2, 3).shape[0]", "t.tril(t.ones(3, 3))",
    "t.empty(2, 3).shape[1]", "t.zeros(2, 3).size()[0]", "t.meshgrid(t.arange(2), t.arange(3))",
    "t.complex(t.ones(2), t.zeros(2))", "t.tensor([1.0, 2.0], requires_grad=True)",
    "t.from_numpy(np.arange(3.0))", "t.asarray([1, 2])", "t.tensor(t.ones(2))",
    "t.tensor([1.5]).to(t.int64)", "t.tensor([1, 2]).float()", "t.tensor(3).double()",
    "t.ones(2).to(t.ones(1, dtype=t.float64))", "t.ones(2).type(t.float64)",
    "t.ones(2).to('cpu', t.float16)", "t.tensor([0.0, 2.0]).bool()", "t.ones(2).to(dtype=t.int8)",
    "t.ones(2).type_as(t.tensor([1]))", "t.ones(2).half() + 1", "t.tensor([1, 2]) / 2",
    "t.tensor([300]).to(t.uint8)", "t.tensor([-1.7, 1.7]).int()", "t.ones(2).dtype",
    "t.ones(2).to(t.float64).device", "t.get_default_dtype()", "t.result_type(t.ones(1), 2)",
    "t.result_type(t.tensor([1]), 2.0)", "t.promote_types(t.int32, t.float16)",
]  # fmt: skip


@pytest.mark.parametrize("text", CREATION)
def test_creation(text: str) -> None:
    succeed(lambda t: evaluate(text, t))


READING = [
    "t.tensor(3).item()", "t.tensor([2.5]).item()", "t.tensor([[True]]).item()",
    "t.tensor(1 + 2j).item()", "t.tensor([[1, 2], [3, 4]]).tolist()", "t.tensor(1.5).tolist()",
    "t.zeros(0).tolist()", "t.zeros(2, 0).tolist()", "t.tensor([True]).tolist()",
    "t.tensor([1.5], dtype=t.bfloat16).tolist()", "int(t.tensor(3.7))", "float(t.tensor(3))",
    "bool(t.tensor([0.0]))", "bool(t.tensor(2))", "complex(t.tensor(1.0))", "len(t.ones(3, 2))",
    "t.tensor(2).__index__()", "[10, 20, 30][t.tensor(1)]", "list(range(t.tensor(3)))",
    "f'{t.tensor(3.14159):.2f}'", "f'{t.tensor(7):03d}'", "f'{t.tensor(2.0)}'",
    "'%d' % t.tensor(3)",
    "t.ones(2, 3).numel()", "t.ones(2, 3).dim()", "t.ones(2).ndim",
    "t.ones(2, 3).shape.numel()", "t.ones(2, 3).nelement()", "t.ones(2).element_size()",
    "t.ones(2, dtype=t.float64).nbytes", "t.ones(2, 3).stride()", "t.ones(2, 3).t().stride(0)",
    "t.ones(2, 3).is_contiguous()", "t.is_tensor(t.ones(1))", "t.is_tensor(1)",
    "t.ones(2).is_floating_point()", "t.tensor(1j).is_complex()", "t.tensor(1).is_signed()",
    "str(t.ones(2, 3).shape)", "tuple(t.ones(2, 3).size())", "t.ones(2, 3).shape == (2, 3)",
    "t.ones(2, 3).shape[1:]", "t.ones(2).numpy()", "t.tensor([1, 2]).numpy()",
    "np.asarray(t.ones(2))", "np.array(t.tensor([True]))", "np.add(t.ones(2), 1)",
    "t.ones(2).tolist() == [1, 1]", "t.equal(t.ones(2), t.ones(2))",
    "t.equal(t.ones(2), t.ones(3))",
    "t.allclose(t.ones(2), t.ones(2) + 1e-9)", "t.is_nonzero(t.tensor([3]))", "t.numel(t.ones(4))",
    "t.ones(2).is_leaf", "t.ones(2).type()",
    "max(t.tensor([1, 5, 2]))", "sum(t.tensor([1, 2]))", "sorted(t.tensor([3, 1]).tolist())",
    "t.finfo(t.float32).eps", "t.iinfo(t.int8).max", "t.tensor(5) in [t.tensor(5)]",
]  # fmt: skip


@pytest.mark.parametrize("text", READING)
def test_reading(text: str) -> None:
    succeed(lambda t: evaluate(text, t))


# ---- memory shared with NumPy


def from_numpy_shares(t: Any) -> Any:
    array = np.arange(4.0)
    x = t.from_numpy(array)
    array[0] = 10.0
    x[1] = 20.0
    x.mul_(2)
    array += 1
    return x, array, x.sum().item()


def from_numpy_in_a_graph(t: Any) -> Any:
    array = np.arange(3.0)
    x = t.from_numpy(array)
    y = x * 2
    first = y.tolist()
    array[0] = 5.0
    return first, (x * 2).tolist(), y


def from_numpy_keeps_strides(t: Any) -> Any:
    array = np.arange(6.0).reshape(2, 3).T
    x = t.from_numpy(array)
    x[0, 1] = -1
    return x, array, x.stride(), x.is_contiguous()


def from_numpy_view_writes(t: Any) -> Any:
    array = np.zeros((2, 3))
    t.from_numpy(array)[:, 1].fill_(4)
    t.from_numpy(array[0]).add_(1)
    return array


def from_numpy_of_what_nobody_else_holds(t: Any) -> Any:
    x = t.from_numpy(np.arange(6.0))
    array = np.arange(6.0)
    y = t.from_numpy(array)
    first = (x * 2 + y).sum().item()
    array[0] = 7.0
    x[1] = 3.0
    second = (x * 2 + y).sum().item()
    shown = x.numpy()
    shown[2] = 9.0
    return first, second, (x + y).tolist(), shown


def numpy_shares(t: Any) -> Any:
    x = t.zeros(3)
    array = x.numpy()
    array[0] = 1
    x[1] = 2
    x.add_(1)
    array *= 10
    return x, array, (x + 1).tolist()


def numpy_of_a_view(t: Any) -> Any:
    x = t.zeros(2, 3)
    row, column = x[0].numpy(), x[:, 1].numpy()
    row[0] = 5
    column[1] = 7
    x[1, 1] += 1
    return x, row, column


def numpy_then_view(t: Any) -> Any:
    x = t.zeros(2, 2)
    array = x.numpy()
    view = x.t()
    array[0, 1] = 3
    view[1, 1] = 4
    return view, array, x


def detached_numpy_shares(t: Any) -> Any:
    x = t.zeros(3, requires_grad=True)
    array = x.detach().numpy()
    array[0] = 9
    (x * x).sum().backward()
    return x, x.grad, array


def as_tensor_shares(t: Any) -> Any:
    array = np.zeros(3, np.float32)
    x, y = t.as_tensor(array), t.as_tensor(array, dtype=t.float64)
    array[0] = 1
    z = t.zeros(2)
    return x, y, t.as_tensor(z) is z


def tensor_copies(t: Any) -> Any:
    array = np.zeros(3)
    x = t.tensor(array)
    array[0] = 1
    y = t.tensor(x)
    x[1] = 2
    return x, y


def array_protocol_copies_dtype(t: Any) -> Any:
    x = t.ones(3)
    array = np.asarray(x, dtype=np.float64)
    array[0] = 5
    return x, array


def numpy_mixing(t: Any) -> Any:
    x = t.ones(3)
    return x * np.float64(2), np.float64(2) * x, x + np.int64(1), x.numpy() + 1


SHARING = [
    from_numpy_shares, from_numpy_in_a_graph, from_numpy_keeps_strides, from_numpy_view_writes,
    from_numpy_of_what_nobody_else_holds,
    numpy_shares, numpy_of_a_view, numpy_then_view, detached_numpy_shares, as_tensor_shares,
    tensor_copies, array_protocol_copies_dtype, numpy_mixing,
]  # fmt: skip


@pytest.mark.parametrize("body", SHARING, ids=lambda f: f.__name__)
def test_sharing(body: Body) -> None:
    succeed(body)


def test_default_dtype() -> None:
    def body(t: Any) -> Any:
        t.set_default_dtype(t.float64)
        try:
            return t.tensor(1.5), t.zeros(1), t.tensor([1, 2]) / 2, t.tensor(1j), t.tensor(1)
        finally:
            t.set_default_dtype(t.float32)

    succeed(body)


def test_sizes_by_keyword() -> None:
    import thalweg

    for make in (thalweg.zeros, thalweg.ones, thalweg.empty):
        assert make(size=(2, 3)).shape == (2, 3)


def test_an_array_that_nobody_else_holds_is_not_copied_again() -> None:
    import thalweg

    array = np.arange(6.0)
    held, own = thalweg.from_numpy(array), thalweg.from_numpy(np.arange(6.0))
    for _ in range(3):
        assert (held + own).tolist() == [0, 2, 4, 6, 8, 10]
    before = own._buffer
    for _ in range(3):
        assert (own * 2).tolist() == [0, 2, 4, 6, 8, 10]
    assert own._buffer is before and own._extra is not None and own._extra.exported is None
    array[0] = 5
    assert (held + own).tolist() == [5, 2, 4, 6, 8, 10]
