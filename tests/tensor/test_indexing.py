"""``x[...]`` and ``x[...] = y``: every kind of index, alone and mixed, against PyTorch."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from tensor_twins import agree, succeed

READS = [
    "0", "-1", "...", "None", "()", "True", "False", ":", "1:", ":-1", "::2", "1::2", "5:", "-2:",
    "2:1", "0, 1", "0, 1, 2", "..., 0", "0, ...", "..., 0, :", ":, 0", ":, 1:, ::2", "None, 0",
    "0, None", ":, None, 1", "..., None", "None, ..., None", "[0, 1]", "[0], [1]",
    "[[0, 1], [1, 0]]", "[0, 1], [2, 0]", ":, [0, 2]", "[0, 1], :, [1, 3]", ":, [0, 2], [1, 3]",
    "0, [1, 2]", "[1, 0], 2", "[0, 1], None, [1, 2]", "..., [0, 3]", "t.tensor([0, -1])",
    "t.tensor(1)", "t.tensor([[0], [1]]), t.tensor([0, 2])", "t.tensor([0, 1], dtype=t.int32)",
    "t.tensor([], dtype=t.int64)", "[]", "x > 5", "x[:, :, 0] > 5", "x[:, 0, 0] >= 0",
    "t.tensor([True, False])", "[True, False]", ":, t.tensor([True, False, True])",
    "t.tensor(True)", "t.tensor(False)", "None, True", "0, True", "t.tensor([False, False])",
    "x > 100", "np.array([0, 1])", "np.int64(1)", "np.array([True, False])", "np.array(1)",
    "(0, 1)", "slice(0, 1)", "slice(None), slice(1, None, 2)", "[slice(0, 1), 0]", "range(2)",
    "t.tensor([1, 0]), ..., t.tensor([2, 3])", "1, ..., [0, 2]", "[1], ..., None, 2",
    "t.tensor([0, 1]).bool()", "slice(t.tensor(0), t.tensor(1))", "::3, ::2, 1::2",
]  # fmt: skip


def tensor(t: Any, grad: bool = False) -> Any:
    x = t.arange(24, dtype=t.float64).reshape(2, 3, 4)
    return x.requires_grad_() if grad else x


def index(text: str, t: Any, x: Any) -> Any:
    class Taker:
        def __getitem__(self, item: Any) -> Any:
            return item

    return eval(f"taker[{text}]", {"taker": Taker(), "t": t, "x": x, "np": np, "slice": slice})


@pytest.mark.parametrize("text", READS)
def test_read(text: str) -> None:
    def body(t: Any) -> Any:
        x = tensor(t)
        y = x[index(text, t, x)]
        return y, y.is_contiguous()

    agree(body)


@pytest.mark.parametrize("text", READS)
def test_read_gradient(text: str) -> None:
    def body(t: Any) -> Any:
        x = tensor(t, grad=True)
        y = x[index(text, t, x.detach())]
        (y * y).sum().backward()
        return x.grad

    agree(body)


@pytest.mark.parametrize("text", READS)
def test_write_number(text: str) -> None:
    def body(t: Any) -> Any:
        x = tensor(t)
        x[index(text, t, x)] = -1
        return x

    agree(body)


@pytest.mark.parametrize("text", READS)
def test_write_tensor(text: str) -> None:
    def body(t: Any) -> Any:
        x = tensor(t)
        where = index(text, t, x)
        x[where] = x[where] * 2 + 100
        return x

    agree(body)


@pytest.mark.parametrize("text", READS)
def test_write_gradient(text: str) -> None:
    def body(t: Any) -> Any:
        x, y = tensor(t, grad=True), t.tensor(3.0, dtype=t.float64, requires_grad=True)
        z = x * 2
        z[index(text, t, x.detach())] = y
        (z * z.detach()).sum().backward()
        return x.grad, y.grad

    agree(body)


def broadcast_value(t: Any) -> Any:
    x = tensor(t)
    x[:, 1] = t.arange(4.0)
    x[0] = t.ones(1, 4)
    x[..., 2:] = t.tensor([7.0, 8.0])
    return x


def other_dtypes(t: Any) -> Any:
    x = t.zeros(3, dtype=t.int64)
    x[0] = 2.7
    x[1] = True
    x[2] = t.tensor(3.9)
    y = t.zeros(2, dtype=t.bool)
    y[0] = 5
    return x, y


def repeated_positions_accumulate(t: Any) -> Any:
    x = t.zeros(3)
    x.index_put_((t.tensor([0, 0, 2]),), t.ones(3), accumulate=True)
    y = t.zeros(3)
    y[[1, 1]] += 1
    return x, y


def view_of_view_is_written(t: Any) -> Any:
    x = tensor(t)
    x[0][1:][0] = -1
    x[1, :, ::2].t()[1] = -2
    return x


def advanced_reads_are_copies(t: Any) -> Any:
    x = tensor(t)
    y = x[[0]]
    y.zero_()
    z = x[0]
    z.zero_()
    return x, y._version, z._version


def sequence_values(t: Any) -> Any:
    x = t.zeros(2, 3)
    x[0] = t.tensor([1, 2, 3])
    x[1, :2] = t.tensor([True, False])
    return x


def augmented(t: Any) -> Any:
    x = tensor(t)
    x[0] += 1
    x[:, 0] *= 2
    x[x > 20] -= 5
    return x


def unpacking(t: Any) -> Any:
    a, b = tensor(t)
    first, *rest = t.arange(4)
    return a, b, first, rest


def iterating(t: Any) -> Any:
    return [row.sum() for row in tensor(t)], list(t.arange(3)), len(tensor(t))


def contains(t: Any) -> Any:
    x = tensor(t)
    return 3 in x, 3.5 in x, t.tensor(5.0) in x


def empty_tensors(t: Any) -> Any:
    x = t.zeros(0, 3)
    return x[:, 0], x[t.tensor([], dtype=t.int64)], x[x > 0], x[..., None]


PROGRAMS = [
    broadcast_value, other_dtypes, repeated_positions_accumulate, view_of_view_is_written,
    advanced_reads_are_copies, sequence_values, augmented, unpacking, iterating, contains,
    empty_tensors,
]  # fmt: skip


@pytest.mark.parametrize("body", PROGRAMS, ids=lambda f: f.__name__)
def test_program(body: Any) -> None:
    succeed(body)


@st.composite
def indices(draw: st.DrawFn) -> str:
    """A random mixture for a tensor of shape 2, 3, 4, mostly valid."""
    items, advanced = [], 0
    length = draw(st.integers(1, 3))
    for extent in (2, 3, 4)[:length]:
        kind = draw(st.integers(0, 5))
        if kind == 0:
            items.append(str(draw(st.integers(-extent, extent - 1))))
        elif kind == 1 and advanced < 2:
            count = draw(st.sampled_from([1, 2]))
            picked = [draw(st.integers(-extent, extent - 1)) for _ in range(count)]
            items.append(f"t.tensor({picked})")
            advanced += 1
        elif kind == 2 and advanced < 2:
            items.append(f"t.tensor({[draw(st.booleans()) for _ in range(extent)]})")
            advanced += 1
        else:
            start, stop = draw(st.integers(-5, 5)), draw(st.integers(-5, 5))
            items.append(f"{start}:{stop}:{draw(st.integers(1, 3))}")
    for extra in ("None", "..."):
        if draw(st.integers(0, 3)) == 0:
            items.insert(draw(st.integers(0, len(items))), extra)
    return ", ".join(items)


@given(indices())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_random_index(text: str) -> None:
    def body(t: Any) -> Any:
        x = tensor(t, grad=True)
        y = x[index(text, t, x)]
        z = x * 1
        z[index(text, t, x)] = 0.5
        (y.sum() + (z * z).sum()).backward()
        return y, z, x.grad

    agree(body)
