"""Wrong programs: PyTorch's exception type, and a message that names the mistake and its line."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from tensor_twins import outcome

import thalweg

# (program, words the message must contain). Each program is one expression or statement over
# `t` (the package) and a few tensors; see `names`.
SHAPES = [
    ("a + v4", ["3", "4"]),
    ("a.add_(v4)", ["3", "4"]),
    ("a.mul_(m23)", ["mul_", "3"]),
    ("a * m43.t()[:, :2]", ["3", "2"]),
    ("m23 @ m23", ["2", "3"]),
    ("t.mm(m23, m23)", ["2x3"]),
    ("t.mm(a, m23)", ["mm"]),
    ("t.bmm(m23, m23)", ["bmm", "3"]),
    ("t.mv(m23, v4)", ["2x3", "4"]),
    ("t.dot(a, v4)", ["[3]", "[4]"]),
    ("t.dot(m23, m23)", ["1D", "2D"]),
    ("t.matmul(t.ones(2, 3, 4), t.ones(3, 4, 5))", ["2", "3"]),
    ("t.matmul(t.tensor(1.0), a)", ["1D"]),
    ("m23.view(4)", ["4", "6"]),
    ("m23.view(-1, 4)", ["4", "6"]),
    ("m23.view(-1, -1)", ["one dimension"]),
    ("m23.reshape(5)", ["5", "6"]),
    ("m23.t().view(6)", ["view", "reshape"]),
    ("t.ones(2, 3, 4).t()", ["t()", "3"]),
    ("t.cat([m23, m43], 1)", ["[2, 3]", "[4, 3]"]),
    ("t.cat([])", ["cat"]),
    ("t.cat([a, m23])", ["1 and 2"]),
    ("t.stack([a, v4])", ["stack", "3", "4"]),
    ("t.stack([])", ["stack"]),
    ("a.expand(4)", ["expand", "3", "4"]),
    ("m23.expand(3)", ["expand"]),
    ("a.repeat()", ["repeat"]),
    ("m23.permute(0)", ["permute"]),
    ("m23.permute(0, 0)", ["dim 0"]),
    ("t.broadcast_to(a, (2, 4))", ["3", "4"]),
    ("m23.masked_fill(t.ones(3, 3).bool(), 0)", ["2", "3"]),
    ("a[t.tensor([True, False])]", ["mask", "2", "3"]),
    ("a[[0, 1], [0]]", ["too many", "1"]),
    ("a[t.tensor([0, 1])] = t.ones(3)", ["3", "2"]),
    ("a[0:2] = t.ones(3)", ["3", "2"]),
    ("m23[0] = t.ones(2, 3)", ["2", "3"]),
    ("a.copy_(v4)", ["3", "4"]),
    ("t.where(a > 0, a, v4)", ["3", "4"]),
    ("t.einsum('ij,jk->ik', m23, m23)", ["einsum"]),
    ("t.nn.functional.linear(m23, m23.t())", ["2", "3"]),
    ("t.nn.functional.mse_loss(a, v4)", ["3", "4"]),
    ("t.nn.functional.conv2d(t.ones(1, 3, 5, 5), t.ones(2, 4, 3, 3))", ["[1, 3, 5, 5]", "4"]),
    ("t.nn.functional.conv2d(t.ones(1, 1, 2, 2), t.ones(1, 1, 3, 3))", ["2", "3"]),
    ("t.nn.functional.cross_entropy(m23, t.tensor([0, 1, 2]))", ["2", "3"]),
    ("m23.unflatten(1, (2, 2))", ["[2, 2]", "3"]),
    ("t.outer(m23, a)", ["outer"]),
    ("t.linalg.inv(m23)", ["2", "3"]),
    ("m23.split([1, 3])", ["split"]),
    ("a.split(-1)", ["split"]),
    ("a.chunk(0)", ["chunk"]),
    ("t.tensor(1.0).chunk(2)", ["chunk"]),
    ("t.full((-2,), 1.0)", ["-2"]),
    ("t.zeros(2, -1)", ["-1"]),
    ("t.eye(-1)", ["-1"]),
    ("t.arange(0, 5, 0)", ["arange"]),
    ("t.arange(5, 0)", ["arange"]),
    ("m23.item()", ["6", "Scalar"]),
    ("bool(m23)", ["ambiguous"]),
    ("bool(t.ones(0))", ["ambiguous"]),
    ("t.ones(0).max()", ["max"]),
    ("t.allclose(a, v4)", ["3", "4"]),
]
DIMS = [
    ("m23.sum(2)", ["-2, 1", "2"]),
    ("m23.sum((0, 0))", ["dim"]),
    ("m23.mean(-3)", ["-2, 1", "-3"]),
    ("m23.softmax(2)", ["-2, 1", "2"]),
    ("m23.transpose(0, 2)", ["-2, 1", "2"]),
    ("m23.unsqueeze(4)", ["-3, 2", "4"]),
    ("m23.squeeze(2)", ["-2, 1", "2"]),
    ("m23.flatten(0, 3)", ["-2, 1", "3"]),
    ("m23.select(0, 2)", ["2"]),
    ("m23.select(3, 0)", ["-2, 1", "3"]),
    ("m23.narrow(0, 1, 3)", ["1", "3", "2"]),
    ("m23.size(5)", ["-2, 1", "5"]),
    ("m23.unbind(2)", ["-2, 1", "2"]),
    ("m23.cumsum(2)", ["-2, 1", "2"]),
    ("m23.argmax(2)", ["-2, 1", "2"]),
    ("m23.index_select(2, t.tensor([0]))", ["-2, 1", "2"]),
    ("m23.gather(2, t.zeros(2, 3).long())", ["-2, 1", "2"]),
    ("m23.topk(4)", ["topk"]),
    ("m23.diagonal(0, 0, 0)", ["diagonal"]),
    ("m23.permute(0, 2)", ["-2, 1", "2"]),
    ("m23.flip(2)", ["-2, 1", "2"]),
    ("m23.std(2)", ["-2, 1", "2"]),
    ("m23.sort(2)", ["-2, 1", "2"]),
    ("t.cat([a, a], 1)", ["-1, 0", "1"]),
    ("t.stack([a, a], 3)", ["-2, 1", "3"]),
    ("a[3]", ["3", "0"]),
    ("a[-4]", ["-4"]),
    ("m23[0, 0, 0]", ["too many", "2"]),
    ("t.tensor(1.0)[0]", ["0"]),
    ("a[0.5]", ["indices"]),
    ("a['x']", ["index"]),
    ("a[::-1]", ["step", "greater than zero"]),
    ("a[t.tensor([0.5])]", ["indices"]),
    ("a[t.tensor([5])].tolist()", ["5", "3"]),
    ("a.index_select(0, t.tensor([7])).tolist()", ["index"]),
    ("t.nn.functional.embedding(t.tensor([7]), m43).tolist()", ["index"]),
    ("t.nn.functional.one_hot(t.tensor([3]), 2).tolist()", ["2"]),
    ("a[t.tensor([4])] = 1.0; a.tolist()", ["4", "3"]),
]
TYPES = [
    ("t.ones(3).add_('x')", ["add", "str"]),
    ("a + 'x'", []),
    ("a + None", []),
    ("a @ 3", []),
    ("len(t.tensor(1.0))", ["0-d"]),
    ("iter(t.tensor(1.0))", ["0-d"]),
    ("t.tensor('x')", ["str"]),
    ("t.tensor([1, 'x'])", ["str"]),
    ("t.tensor(object())", ["object"]),
    ("t.tensor([[1, 2], [3]])", ["length"]),
    ("t.tensor([2**70])", ["64"]),
    ("t.from_numpy([1, 2])", ["list"]),
    ("t.cat(a)", ["cat"]),
    ("t.stack(3)", ["int"]),
    ("t.mm(a)", []),
    ("t.sum()", []),
    ("a.sum(nothing=1)", ["nothing"]),
    ("t.zeros('x')", []),
    ("t.zeros(2, dtype='float32')", ["dtype"]),
    ("a.view('x', 'y')", []),
    ("a.reshape(1.5)", []),
    ("i3.add_(0.5)", ["add_", "Float", "Long"]),
    ("i3.div_(2)", ["div_", "Float", "Long"]),
    ("i3 /= 2", ["Float", "Long"]),
    ("b3.add_(1)", ["add_", "Long", "Bool"]),
    ("t.add(a, a, out=t.zeros(3, dtype=t.int64))", ["add", "float32", "int64"]),
    ("~a", ["integer"]),
    ("a & a", ["bitwise_and"]),
    ("a << 1.5 | a", []),
    ("-b3", ["bool"]),
    ("b3 - b3", ["bool"]),
    ("i3.mean()", ["mean", "int64"]),
    ("i3.softmax(0)", ["softmax", "int64"]),
    ("i3.std()", ["std"]),
    ("m23 @ m23.t().double()", ["float32", "float64"]),
    ("a.dot(a.double())", ["float32", "float64"]),
    ("a[a]", ["indices"]),
    ("a.index_select(0, a)", ["index_select"]),
    ("m23.gather(1, m23)", ["gather", "int64"]),
    ("a.masked_fill(a, 0)", ["masked_fill", "bool"]),
    ("t.where(a, a, a)", ["bool"]),
    ("i3 ** -1", ["negative"]),
    ("t.allclose(a, a.double())", ["did not match"]),
    ("t.promote_types(1, 2)", []),
    ("t.nn.functional.cross_entropy(m23, t.ones(2))", []),
    ("t.nn.functional.embedding(a, m43)", ["embedding"]),
    ("t.bincount(a)", ["bincount"]),
    ("t.zeros(3, device='tpu9')", ["tpu9"]),
    ("t.ones(3).requires_grad_().numpy()", ["numpy", "detach"]),
    ("t.randint(5, 5, (2,))", ["from", "to"]),
    ("t.multinomial(t.zeros(3), 1).tolist()", []),
    ("t.normal(a, -1.0)", ["std"]),
    ("t.bernoulli(a + 5).tolist()", []),
    ("t.randperm(-1)", ["-1"]),
    ("t.nn.functional.dropout(a, 1.5)", ["1.5"]),
    ("t.linspace(0, 1, -1)", ["steps"]),
]
ALL = SHAPES + DIMS + TYPES


def names(t: Any) -> dict[str, Any]:
    return {
        "t": t, "a": t.ones(3), "v4": t.ones(4), "m23": t.ones(2, 3), "m43": t.ones(4, 3),
        "i3": t.tensor([1, 2, 3]), "b3": t.tensor([True, False, True]),
    }  # fmt: skip


def run(program: str, t: Any) -> None:
    exec(program, names(t))


@pytest.mark.parametrize("program", [p for p, _ in ALL])
def test_error_type_is_that_of_pytorch(program: str) -> None:
    """A subclass is as good; where PyTorch's dispatcher lacks a kernel we raise its base class."""
    theirs = outcome(lambda t: run(program, t), torch)
    ours = outcome(lambda t: run(program, t), thalweg)
    assert isinstance(theirs, Exception), f"PyTorch accepts it: {theirs!r}"
    expected = RuntimeError if isinstance(theirs, NotImplementedError) else type(theirs)
    assert isinstance(ours, expected), f"got {ours!r}, PyTorch raises {theirs!r}"


@pytest.mark.parametrize(("program", "words"), [row for row in ALL if row[1]])
def test_message_names_the_mistake(program: str, words: list[str]) -> None:
    error = outcome(lambda t: run(program, t), thalweg)
    assert isinstance(error, Exception)
    missing = [w for w in words if w not in str(error)]
    assert not missing, f"the message lacks {missing}: {error}"


def test_message_names_the_line() -> None:
    x, y = thalweg.ones(2, 3), thalweg.ones(4)
    with pytest.raises(RuntimeError) as caught:
        x + y  # a wrong sum
    assert re.search(r"test_errors\.py:\d+: x \+ y  # a wrong sum", str(caught.value))


LOCATED = [
    lambda: thalweg.ones(2) + thalweg.ones(3),
    lambda: thalweg.ones(2).add_(thalweg.ones(3)),
    lambda: thalweg.ones(2)[5],
    lambda: thalweg.ones(2).view(3),
    lambda: thalweg.ones(2).sum(4),
    lambda: thalweg.ones(2).backward(),
    lambda: thalweg.tensor([[1], [2, 3]]),
    lambda: thalweg.ones(2).item(),
    lambda: thalweg.ones(2).requires_grad_().add_(1),
    lambda: thalweg.ones(2).requires_grad_().numpy(),
    lambda: thalweg.cat([thalweg.ones(2), thalweg.ones(2, 2)]),
    lambda: thalweg.mm(thalweg.ones(2, 2), thalweg.ones(3, 3)),
    lambda: thalweg.autograd.grad(thalweg.ones(2).sum(), thalweg.ones(2)),
    lambda: thalweg.ones(2).__setitem__(5, 1.0),
    lambda: thalweg.nn.Linear(2, 2)(thalweg.ones(3)),
    lambda: thalweg.ones(2).to("cuda"),
    lambda: thalweg.zeros(-1),
    lambda: thalweg.ones(2).nonzero(wrong=1),
]


@pytest.mark.parametrize("program", LOCATED, ids=range(len(LOCATED)))
def test_every_kind_of_error_has_a_line(program: Any) -> None:
    line = program.__code__.co_firstlineno
    with pytest.raises((RuntimeError, IndexError, TypeError, ValueError)) as caught:
        program()
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert f"test_errors.py:{line}" in text


def test_there_are_many() -> None:
    assert len(ALL) >= 120 and len({p for p, _ in ALL}) == len(ALL)
