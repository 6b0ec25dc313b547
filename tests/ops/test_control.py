"""Control flow over tensors: values, gradients, captured tensors, nesting, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import thalweg
from thalweg import cond, scan, vmap, while_loop


def leaf(*shape, seed=0):
    """The same random leaf here and in PyTorch."""
    array = np.random.default_rng(seed).normal(size=shape)
    return thalweg.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)


def same(mine, other, tolerance=1e-10):
    np.testing.assert_allclose(
        mine.detach().numpy(), other.detach().numpy(), rtol=tolerance, atol=tolerance
    )


# ---- cond


@pytest.mark.parametrize("flag", [True, False])
def test_cond_takes_one_branch_with_its_gradient(flag):
    (x, tx), (w, tw) = leaf(3), leaf(3, seed=1)

    def run(sign):
        return cond(sign > 0, lambda a: (a * w).sin(), lambda a: a + w[1:2] * 2, (x,))

    y = run(thalweg.tensor(1.0 if flag else -1.0))
    expected = (tx * tw).sin() if flag else tx + tw[1:2] * 2
    same(y, expected)
    (y**2).sum().backward()
    (expected**2).sum().backward()
    same(x.grad, tx.grad)
    same(w.grad, tw.grad)


def test_cond_has_second_derivatives():
    x, tx = leaf(3)
    y = cond(x.sum() > 100, lambda a: a, lambda a: a**3, (x,))
    (g,) = thalweg.autograd.grad(y.sum(), x, create_graph=True)
    (t,) = torch.autograd.grad((tx**3).sum(), tx, create_graph=True)
    same(thalweg.autograd.grad(g.sum(), x)[0], torch.autograd.grad(t.sum(), tx)[0])


def test_cond_takes_and_returns_containers():
    x = thalweg.arange(3.0)
    found = cond(
        thalweg.tensor(True),
        lambda d, pair: {"sum": d["a"] + pair[0], "rest": [pair[1] * 2]},
        lambda d, pair: {"sum": d["a"] - pair[0], "rest": [pair[1]]},
        ({"a": x}, (x, x)),
    )
    assert found["sum"].tolist() == [0, 2, 4] and found["rest"][0].tolist() == [0, 2, 4]
    assert cond(False, lambda: 1, lambda: 2) == 2  # a Python bool: an ordinary call


def test_only_the_branch_taken_runs():
    x = thalweg.tensor([1.0, 2.0])

    def never(a):
        return while_loop(lambda v: thalweg.tensor(True), lambda v: v, (a,))[0]

    assert cond(x.sum() > 0, lambda a: a, never, (x,)).tolist() == [1, 2]


def test_recording_again_builds_nothing():
    """The second call walks the same path of the trie."""
    w = thalweg.ones(3)

    def run():
        thalweg.synchronize()
        x = thalweg.ones(3)
        return cond(x.sum() > 0, lambda a: a * w, lambda a: a, (x,))

    first, second = run(), run()
    assert first.tolist() == second.tolist() == [1, 1, 1]
    third, fourth = run()._meta, run()._meta
    assert third is fourth


# ---- while_loop


def test_while_loop():
    w = thalweg.ones(3)
    i, v = while_loop(
        lambda i, v: i < 5, lambda i, v: (i + 1, v * 2 + w), (thalweg.tensor(0), thalweg.zeros(3))
    )
    assert i.item() == 5 and v.tolist() == [31, 31, 31]
    (same_v,) = while_loop(lambda v: v.sum() < 0, lambda v: v + 1, (thalweg.ones(2),))
    assert same_v.tolist() == [1, 1]


def test_while_loop_results_require_no_gradient():
    x = thalweg.ones(2, requires_grad=True)
    (y,) = while_loop(lambda v: v.sum() < 10, lambda v: v * 2, (x,))
    assert not y.requires_grad and y.tolist() == [8, 8]


def test_while_loop_batched():
    """Examples stop at different steps."""
    starts = thalweg.tensor([1.0, 3.0, 50.0])
    found = vmap(lambda a: while_loop(lambda v: v < 20, lambda v: v * 2, (a,))[0])(starts)
    assert found.tolist() == [32, 24, 50]


# ---- scan


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_and_its_gradient(reverse):
    (x, tx), (h, th), (w, tw) = leaf(5, 3), leaf(3, seed=1), leaf(3, 3, seed=2)

    def step(carry, x):
        new = (carry @ w + x).tanh()
        return new, new * carry

    last, ys = scan(step, h, x, reverse=reverse)
    carry, stack = th, [None] * 5
    for t in reversed(range(5)) if reverse else range(5):
        new = (carry @ tw + tx[t]).tanh()
        carry, stack[t] = new, new * carry
    same(last, carry)
    same(ys, torch.stack(stack))
    (last.sum() + (ys**2).sum()).backward()
    (carry.sum() + (torch.stack(stack) ** 2).sum()).backward()
    for mine, other in ((x, tx), (h, th), (w, tw)):
        same(mine.grad, other.grad)


def test_scan_over_containers_and_without_xs():
    carry, ys = scan(
        lambda c, x: ({"n": c["n"] + x[0]}, (x[1], c["n"])),
        {"n": thalweg.tensor(0)},
        (thalweg.arange(4), thalweg.ones(4, 2)),
    )
    assert carry["n"].item() == 6
    assert ys[0].shape == (4, 2) and ys[1].tolist() == [0, 0, 1, 3]
    power, none = scan(lambda c, x: (c * 2, None), thalweg.tensor(1.0), None, length=10)
    assert power.item() == 1024 and none is None


def test_scan_of_no_steps():
    last, ys = scan(lambda c, x: (c + x, c), thalweg.ones(2), thalweg.zeros(0, 2))
    assert last.tolist() == [1, 1] and ys.shape == (0, 2)


def test_scan_draws_anew_in_each_step():
    thalweg.manual_seed(3)
    _, drawn = scan(lambda c, x: (c, thalweg.rand(2) + c), thalweg.zeros(2), None, length=4)
    after = thalweg.rand(2)
    thalweg.manual_seed(3)
    expected = np.stack([thalweg.rand(2).numpy() for _ in range(5)])
    np.testing.assert_array_equal(np.stack([*drawn.numpy(), after.numpy()]), expected)


def test_nested_control_flow_captures_through_both():
    (w, tw), (x, tx) = leaf(3), leaf(4, 3, seed=1)

    def step(c, row):
        c = cond(c.sum() > 1, lambda u: u * 0.5, lambda u: u + row * w, (c,))
        return c, c * w

    last, ys = scan(step, thalweg.zeros(3, dtype=thalweg.float64), x)
    carry, stack = torch.zeros(3, dtype=torch.float64), []
    for row in tx:
        carry = carry * 0.5 if carry.sum() > 1 else carry + row * tw
        stack.append(carry * tw)
    same(last, carry)
    (ys.sum() + last.sum()).backward()
    (torch.stack(stack).sum() + carry.sum()).backward()
    same(w.grad, tw.grad)
    same(x.grad, tx.grad)


def test_functions_may_work_in_place_on_their_own_tensors():
    def step(c, x):
        made = c.clone()
        made[0] = x
        made += 1
        view = made.view(2, 1)
        view.mul_(2)
        return made, view[0]

    last, ys = scan(step, thalweg.zeros(2), thalweg.tensor([1.0, 5.0]))
    assert last.tolist() == [12, 6] and ys.tolist() == [[4], [12]]


def test_autograd_inside():
    def slope(a):
        return thalweg.autograd.grad((a**3).sum(), a)[0]

    x = thalweg.tensor([1.0, 2.0])
    assert cond(x.sum() > 0, slope, lambda a: a, (x,)).tolist() == [3, 12]


def test_captured_values_that_are_known_may_be_read():
    limit = thalweg.tensor(3)
    x = thalweg.ones(2)
    found = cond(x.sum() > 0, lambda a: a * 2 if limit.item() > 2 else a, lambda a: a, (x,))
    assert found.tolist() == [2, 2]


# ---- what is refused, and that nothing is changed by it

X = thalweg.ones(3)
YES = thalweg.tensor(True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cond(YES, lambda a: a[:2], lambda a: a, (X,)), RuntimeError,
         r"tensor 0: true_fn returns float32\[2\], but false_fn float32\[3\]"),
        (lambda: cond(YES, lambda a: a, lambda a: (a, a), (X,)), RuntimeError, "true_fn returns"),
        (lambda: cond(YES, lambda a: 1.0, lambda a: a, (X,)), TypeError, "results of true_fn"),
        (lambda: cond(X > 0, lambda a: a, lambda a: a, (X,)), RuntimeError, "one element"),
        (lambda: cond(1, lambda a: a, lambda a: a, (X,)), TypeError, "bool or tensor, got int"),
        (lambda: cond(YES, lambda a: a, lambda a: a, (X, 3)), TypeError, "tensors as operands"),
        (lambda: cond(YES, lambda a: a, lambda a: a, X), TypeError, "tuple of operands"),
        (lambda: cond(YES, lambda a: a.add_(1), lambda a: a, (X,)), RuntimeError,
         "one of its arguments in place"),
        (lambda: cond(YES, lambda a: X.mul_(2), lambda a: a, (X,)), RuntimeError,
         "from outside of it in place"),
        (lambda: cond(YES, lambda a: X[:1].mul_(2), lambda a: a, (X,)), RuntimeError,
         "from outside of it in place"),
        (lambda: cond(YES, lambda a: a if a.sum() > 0 else -a, lambda a: a, (X,)), RuntimeError,
         "cannot be read by item"),
        (lambda: while_loop(lambda v: v.sum() < 9, lambda v: v[:1], (X,)), RuntimeError,
         "body_fn returns"),
        (lambda: while_loop(lambda v: v < 9, lambda v: v, (X,)), RuntimeError, "one element"),
        (lambda: while_loop(lambda v: v.sum() < 9, lambda v: v + thalweg.rand(3), (X,)),
         RuntimeError, "same numbers in every step"),
        (lambda: scan(lambda c, x: (c, x, x), X, X), TypeError, "a pair"),
        (lambda: scan(lambda c, x: (c[:1], x), X, X), RuntimeError, "a carry of"),
        (lambda: scan(lambda c, x: ((c, c), x), X, X), RuntimeError, "returns a carry"),
        (lambda: scan(lambda c, x: (c, x), X, (X, thalweg.ones(4))), RuntimeError, "one length"),
        (lambda: scan(lambda c, x: (c, x), X, None), RuntimeError, "one length"),
        (lambda: scan(lambda c, x: (c, 2.0), X, X), TypeError, "tensors as ys"),
    ],
)  # fmt: skip
def test_refused(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert __file__ in str(caught.value), "the error names the user's line"
    assert X.tolist() == [1, 1, 1] and X._version == 0
    assert (X + 1).tolist() == [2, 2, 2]  # the handle is as before


def test_backward_inside_is_refused():
    w = thalweg.ones(3, requires_grad=True)

    def bad(a):
        (a * w).sum().backward()
        return a

    with pytest.raises(RuntimeError, match="calls backward"):
        cond(YES, bad, lambda a: a, (X,))
    assert w.grad is None


def test_hooks_inside_are_refused():
    def bad(a):
        a = a * 2
        a.register_hook(lambda g: g)
        return a

    x = thalweg.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="hooks and custom"):
        cond(YES, bad, lambda a: a, (x,))


def test_a_tensor_that_escapes_has_no_value():
    kept = []

    def leak(a):
        kept.append(a * 2)
        return a

    cond(YES, leak, lambda a: a, (X,))
    with pytest.raises(RuntimeError, match="return it from the function"):
        kept[0].tolist()


def test_an_error_inside_leaves_everything_as_it_was():
    w = thalweg.ones(3) * 2  # pending

    def fails(a):
        a = a * w
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        cond(YES, fails, lambda a: a, (X,))
    assert (w + 1).tolist() == [3, 3, 3]
    with thalweg.no_grad(), pytest.raises(KeyError):
        cond(YES, fails, lambda a: a, (X,))
    assert thalweg.is_grad_enabled()
