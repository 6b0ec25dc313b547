"""`thalweg.func` against `torch.func`: values, structures, requires_grad, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import thalweg

PAIR = (thalweg, torch)
RNG = np.random.default_rng(0)
X, W, V = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2)), RNG.normal(size=4)


def same(mine, other, tolerance=1e-9):
    """Equal trees of tensors, in values and in whether they require gradients."""
    if isinstance(other, torch.Tensor):
        assert isinstance(mine, thalweg.Tensor)
        found, expected = mine.detach().numpy(), other.detach().numpy()
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
        assert mine.requires_grad == other.requires_grad
    elif isinstance(other, dict):
        assert mine.keys() == other.keys()
        for key in other:
            same(mine[key], other[key], tolerance)
    else:
        assert len(mine) == len(other)
        for a, b in zip(mine, other):
            same(a, b, tolerance)


def both(run, *arrays, tolerance=1e-9):
    """``run(library, *tensors)`` here and in PyTorch."""
    same(*(run(m, *(m.tensor(a) for a in arrays)) for m in PAIR), tolerance)


def loss(m):
    return lambda x, w: (m.tanh(x @ w) ** 2).sum()


def square(m):
    return lambda v: m.sin(v) * v.sum()


def pair(m):
    return lambda x, w: (m.exp(x) @ w, x.sum(0))


def scalar(m):
    return lambda v: (m.sin(v) * v.prod()).sum()


@pytest.mark.parametrize("argnums", [0, 1, -1, (0, 1), (1,)])
def test_grad(argnums):
    both(lambda m, x, w: m.func.grad(loss(m), argnums)(x, w), X, W)
    both(lambda m, x, w: m.func.grad_and_value(loss(m), argnums)(x, w), X, W)


def test_grad_of_containers_with_aux():
    def f(m):
        return lambda d, k=1: ((d["a"] * m.sin(d["b"])).sum() * k, {"twice": d["a"] * 2})

    both(lambda m, x: m.func.grad(f(m), has_aux=True)({"a": x, "b": x * 2}, k=3), X)
    both(lambda m, x: m.func.grad_and_value(f(m), has_aux=True)({"a": x, "b": x}), X)


def test_grad_where_nothing_depends():
    both(lambda m, x, w: m.func.grad(lambda a, b: b.sum(), (0, 1))(x, w), X, W)


def test_nested_grad():
    both(lambda m, v: m.func.grad(lambda u: m.func.grad(scalar(m))(u).pow(2).sum())(v), V)
    both(lambda m, v: m.func.grad(lambda u: m.func.grad(lambda t: (t * u).prod())(u).sum())(v), V)


def test_grad_within_autograd():
    def run(m, x, w):
        x.requires_grad_()
        slope = m.func.grad(loss(m))(x, w)
        (slope**2).sum().backward()
        return slope, x.grad

    both(run, X, W)


def test_grad_respects_the_inner_mode_only():
    def f(m):
        def inner(x):
            with m.no_grad():
                c = x.sum()
            return (x * c).sum()

        return inner

    def run(m, x):
        with m.no_grad():
            return m.func.grad(f(m))(x)

    both(run, X)


def test_grad_of_captured_parameters():
    def run(m, x, w):
        w.requires_grad_()
        slope = m.func.grad(lambda a: (a @ w).pow(2).sum())(x)
        slope.sum().backward()
        return slope, w.grad

    both(run, X, W)


def test_vjp_and_jvp():
    def pull(m, x, w):
        output, function = m.func.vjp(pair(m), x, w)
        ones = tuple(m.ones_like(o) for o in output)
        return output, function(ones), function(tuple(2 * o for o in ones))

    both(pull, X, W)
    both(lambda m, v: m.func.vjp(square(m), v)[1](v), V)
    both(lambda m, x, w: m.func.jvp(pair(m), (x, w), (x * 2, w + 1)), X, W)
    both(lambda m, v: m.func.jvp(lambda u: (u.sum(), u), (v,), (v,), has_aux=True), V)


def test_vjp_does_not_see_later_writes():
    x = thalweg.tensor(V)
    _, function = thalweg.func.vjp(lambda u: u**2, x)
    before = 2 * V
    x.zero_()
    np.testing.assert_allclose(function(thalweg.ones_like(x))[0].numpy(), before)


@pytest.mark.parametrize("name", ["jacrev", "jacfwd"])
def test_jacobians(name):
    both(lambda m, v: getattr(m.func, name)(square(m))(v), V)
    both(lambda m, x, w: getattr(m.func, name)(pair(m), argnums=(0, 1))(x, w), X, W)
    both(lambda m, v: getattr(m.func, name)(lambda u: (u * 2, u), has_aux=True)(v), V)
    both(lambda m, v: getattr(m.func, name)(lambda u: u[:0])(v), V)


def test_hessian():
    both(lambda m, v: m.func.hessian(scalar(m))(v), V)
    both(lambda m, x, w: m.func.hessian(loss(m), argnums=(0, 1))(x, w), X, W, tolerance=1e-8)


def test_vmap():
    both(lambda m, x: m.vmap(scalar(m))(x), X)
    both(lambda m, x: m.func.vmap(square(m), in_dims=1, out_dims=1)(x), X)
    both(lambda m, x: m.func.vmap(square(m), in_dims=-1, out_dims=-1)(x), X)
    both(lambda m, x, v: m.func.vmap(lambda a, b: (a * b, a.sum()), (0, None), (1, 0))(x, v), X, V)
    both(lambda m, x: m.func.vmap(lambda d: {"k": d["a"] + 1}, ({"a": 0},))({"a": x}), X)
    both(lambda m, x, v: m.func.vmap(lambda a, b=None: a + b, chunk_size=2)(x, b=x), X, V)
    both(lambda m, x, v: m.func.vmap(lambda a: v * 2, out_dims=0)(x), X, V)
    both(lambda m, v: m.vmap(m.vmap(lambda a, b: a * b, (0, None)), (None, 0))(v, v), V)


def test_vmap_of_derivatives_and_derivatives_of_vmap():
    both(lambda m, x: m.vmap(m.func.grad(scalar(m)))(x), X)
    both(lambda m, x: m.func.grad(lambda a: m.vmap(scalar(m))(a).sum())(x), X)
    both(lambda m, x: m.vmap(m.func.jacrev(square(m)))(x), X)
    both(lambda m, x: m.func.jacrev(m.vmap(square(m)))(x), X)


def test_vmap_randomness():
    thalweg.manual_seed(0)
    drawn = [thalweg.rand(2).numpy() for _ in range(4)]
    x = thalweg.tensor(X)
    for kind, count in (("different", 3), ("same", 1)):
        thalweg.manual_seed(0)
        found = thalweg.vmap(lambda a: thalweg.rand(2), randomness=kind)(x).numpy()
        expected = drawn[:3] if count == 3 else drawn[:1] * 3
        np.testing.assert_array_equal(found, np.stack(expected))
        np.testing.assert_array_equal(thalweg.rand(2).numpy(), drawn[count])
    thalweg.manual_seed(0)
    with pytest.raises(RuntimeError, match="randomness error mode"):
        thalweg.vmap(lambda a: a + thalweg.rand(4))(x)
    np.testing.assert_array_equal(thalweg.rand(2).numpy(), drawn[0])


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x, v: m.vmap(lambda a, b: a + b)(x, v[:2]),
        lambda m, x, v: m.vmap(lambda a: a)(v.sum()),
        lambda m, x, v: m.vmap(lambda a: a, in_dims=4)(x),
        lambda m, x, v: m.vmap(lambda a: a, in_dims=(0, 0))(x),
        lambda m, x, v: m.vmap(lambda a: a, in_dims=None)(x),
        lambda m, x, v: m.vmap(lambda a: a, in_dims=(None,))(x),
        lambda m, x, v: m.vmap(lambda a: a, out_dims=4)(x),
        lambda m, x, v: m.vmap(lambda a: a, randomness="x")(x),
        lambda m, x, v: m.vmap(lambda a: a, chunk_size=0)(x),
        lambda m, x, v: m.vmap(lambda a: 3)(x),
        lambda m, x, v: m.vmap(lambda a: a.sum().item() + a)(x),
        lambda m, x, v: m.vmap(lambda a: a + m.rand(4))(x),
        lambda m, x, v: m.vmap(lambda: 1)(),
        lambda m, x, v: m.func.grad(lambda a: a)(x),
        lambda m, x, v: m.func.grad(lambda a: (a.sum(), a))(x),
        lambda m, x, v: m.func.grad(lambda a: a.sum(), argnums=3)(x),
        lambda m, x, v: m.func.grad(lambda a: a.sum(), has_aux=True)(x),
        lambda m, x, v: m.func.jvp(lambda a: a, (x,), (v,)),
        lambda m, x, v: m.func.jvp(lambda a: a, (x,), (x, x)),
        lambda m, x, v: m.func.jvp(lambda a: a, x, x),
        lambda m, x, v: m.func.vjp(lambda a: a, x)[1](v),
        lambda m, x, v: m.func.functional_call(m.nn.Linear(4, 2), {"no": x}, (x,), strict=True),
        lambda m, x, v: m.func.functional_call(m.nn.Linear(4, 2), 3, (x,)),
        lambda m, x, v: m.func.functional_call(m.nn.Linear(4, 2), [{"bias": v}, {"bias": v}], (x,)),
        lambda m, x, v: m.func.functional_call(m.nn.Linear(4, 2), {"bias": v}, (x,), strict=True),
        lambda m, x, v: m.func.stack_module_state([]),
        lambda m, x, v: m.func.stack_module_state([m.nn.Linear(1, 1), m.nn.Tanh()]),
    ],
)
def test_refused_as_pytorch_does(call):
    errors = []
    for m in PAIR:
        with pytest.raises(Exception) as caught:
            call(m, m.tensor(X), m.tensor(V))
        errors.append(caught.value)
    mine, other = errors
    assert isinstance(mine, type(other)), f"{mine!r}; PyTorch: {other!r}"


def test_side_effects_are_refused():
    total = thalweg.zeros(4, dtype=thalweg.float64)
    with pytest.raises(RuntimeError, match="from outside of it in place"):
        thalweg.vmap(lambda a: total.add_(a))(thalweg.tensor(X))
    assert total.tolist() == [0] * 4


# ---- modules


def networks():
    """The same small network here and in PyTorch, with its parameters detached."""
    made = [m.nn.Sequential(m.nn.Linear(4, 5), m.nn.Tanh(), m.nn.Linear(5, 1)) for m in PAIR]
    state = made[0].state_dict()
    made[1].load_state_dict({k: torch.tensor(v.numpy()) for k, v in state.items()})
    return made


def test_functional_call_under_transformations():
    inputs = RNG.normal(size=(6, 4)).astype(np.float32)
    results = []
    for m, network in zip(PAIR, networks()):
        state = {k: v.detach() for k, v in network.named_parameters()}
        x = m.tensor(inputs)

        def error(p, x, m=m, network=network):
            return (m.func.functional_call(network, p, (x,)) ** 2).sum()

        own = dict(network.named_parameters())
        results.append(
            (
                m.func.grad(error)(state, x),
                m.vmap(m.func.grad(error), (None, 0))(state, x),
                m.func.jacrev(error)(own, x),
                m.func.functional_call(network, {"0.bias": m.ones(5)}, x),
                m.func.functional_call(network, {"no": m.ones(5)}, x, tie_weights=False),
            )
        )
        assert all(own[k] is v for k, v in network.named_parameters())
    same(*results, 1e-5)


def test_stack_module_state():
    networks = [thalweg.nn.Linear(4, 2) for _ in range(3)]
    parameters, buffers = thalweg.func.stack_module_state(networks)
    assert buffers == {} and all(p.requires_grad and p.is_leaf for p in parameters.values())
    x = thalweg.tensor(X.astype(np.float32))

    def call(p, x):
        return thalweg.func.functional_call(networks[0], p, (x,))

    found = thalweg.vmap(call, (0, None))(parameters, x)
    for result, network in zip(found, networks):
        np.testing.assert_allclose(
            result.detach().numpy(), network(x).detach().numpy(), rtol=1e-6, atol=1e-6
        )


def test_tied_weights_are_replaced_together():
    network = thalweg.nn.Sequential(thalweg.nn.Linear(3, 3), thalweg.nn.Linear(3, 3))
    network[1].weight = network[0].weight
    x, w = thalweg.ones(1, 3), thalweg.zeros(3, 3)
    tied = thalweg.func.functional_call(network, {"0.weight": w}, (x,))
    np.testing.assert_allclose(
        tied.detach().numpy()[0], network[1].bias.detach().numpy(), rtol=1e-6, atol=1e-6
    )
    untied = thalweg.func.functional_call(network, {"0.weight": w}, (x,), tie_weights=False)
    assert not thalweg.allclose(tied, untied)
