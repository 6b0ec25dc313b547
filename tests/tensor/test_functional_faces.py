"""Functional faces that write into tensors, compared with PyTorch: values, state, gradients."""

import warnings

import numpy as np
import pytest
import torch

import thalweg
from thalweg.nn import functional as F

TF = torch.nn.functional


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def both(array, grad=False):
    """The same numbers here and in PyTorch."""
    ours, theirs = thalweg.tensor(array.tolist(), dtype=thalweg.float64), torch.tensor(array)
    return (ours.requires_grad_(), theirs.requires_grad_()) if grad else (ours, theirs)


def same(ours, theirs, **tolerance):
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs.detach().numpy(), **{"rtol": 1e-9, "atol": 1e-12, **tolerance}
    )


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (2, 3, 4, 2)])
@pytest.mark.parametrize("momentum", [0.1, 0.5, 1.0])
def test_batch_norm_trains_and_evaluates(shape, momentum):
    (w, tw), (b, tb) = both(drawn(3, seed=1), True), both(drawn(3, seed=2), True)
    (mean, tmean), (var, tvar) = both(drawn(3, seed=3)), both(drawn(3, seed=4) ** 2)
    for step in range(3):
        x, tx = both(drawn(*shape, seed=10 + step), True)
        y = F.batch_norm(x, mean, var, w, b, True, momentum)
        ty = TF.batch_norm(tx, tmean, tvar, tw, tb, True, momentum)
        (y * y * y).sum().backward()
        (ty * ty * ty).sum().backward()
        same(y, ty)
        same(x.grad, tx.grad)
        same(mean, tmean)
        same(var, tvar)
    same(w.grad, tw.grad)
    same(b.grad, tb.grad)
    x, tx = both(drawn(*shape), True)
    y, ty = F.batch_norm(x, mean, var, w, b), TF.batch_norm(tx, tmean, tvar, tw, tb)
    y.sum().backward()
    ty.sum().backward()
    same(y, ty)
    same(x.grad, tx.grad)
    assert not mean.requires_grad and mean.is_leaf


def test_batch_norm_without_statistics_and_its_errors():
    x, tx = both(drawn(4, 3, 2))
    same(F.batch_norm(x, None, None, training=True), TF.batch_norm(tx, None, None, training=True))
    ones = thalweg.ones(3, dtype=thalweg.float64)
    with pytest.raises(RuntimeError, match="running_mean must be defined in evaluation mode"):
        F.batch_norm(x, None, ones)
    with pytest.raises(RuntimeError, match="running_var must be defined in evaluation mode"):
        F.batch_norm(x, ones, None)
    with pytest.raises(RuntimeError, match="running_mean should contain 3 elements not 2"):
        F.batch_norm(x, ones[:2], ones, training=True)
    with pytest.raises(ValueError, match=r"Expected more than 1 value per channel when training"):
        F.batch_norm(x[:1, :, :1], None, None, training=True)


def test_batch_norm_of_an_empty_batch_leaves_statistics():
    mean, var = thalweg.zeros(3), thalweg.ones(3)
    assert F.batch_norm(thalweg.zeros(0, 3, 2), mean, var, training=True).shape == (0, 3, 2)
    assert mean.tolist() == [0, 0, 0] and var.tolist() == [1, 1, 1]


def test_instance_norm_with_and_without_own_statistics():
    x, tx = both(drawn(4, 3, 5), True)
    (w, tw), (b, tb) = both(drawn(3, seed=1), True), both(drawn(3, seed=2), True)
    (mean, tmean), (var, tvar) = both(drawn(3, seed=3)), both(drawn(3, seed=4) ** 2)
    for own in (True, False):
        y = F.instance_norm(x, mean, var, w, b, own, 0.3)
        ty = TF.instance_norm(tx, tmean, tvar, tw, tb, own, 0.3)
        (y * y * y).sum().backward()
        (ty * ty * ty).sum().backward()
        same(y, ty)
        same(mean, tmean)
        same(var, tvar)
    same(x.grad, tx.grad)
    same(w.grad, tw.grad)
    with pytest.raises(RuntimeError, match="Expected running_mean and running_var to be defined"):
        F.instance_norm(x, use_input_stats=False)
    with pytest.raises(ValueError, match="Expected more than 1 spatial element when training"):
        F.instance_norm(x[:, :, :1])


@pytest.mark.parametrize("norm_type", [2.0, 1.0])
def test_embedding_bounds_the_rows_it_uses(norm_type):
    at = np.array([[0, 2], [5, 2]])
    w, tw = both(drawn(6, 3) * 2, True)
    y = F.embedding(thalweg.tensor(at.tolist()), w, 5, 1.5, norm_type)
    ty = TF.embedding(torch.tensor(at), tw, 5, 1.5, norm_type)
    same(y, ty, rtol=1e-6)
    same(w, tw, rtol=1e-6)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    same(w.grad, tw.grad, rtol=1e-6)
    bags, tbags = F.embedding_bag, TF.embedding_bag
    w, tw = both(drawn(6, 3) * 2)
    y = bags(thalweg.tensor(at.tolist()), w, max_norm=1.0, norm_type=norm_type)
    same(y, tbags(torch.tensor(at), tw, max_norm=1.0, norm_type=norm_type), rtol=1e-6)
    same(w, tw, rtol=1e-6)


def test_embedding_divides_gradients_by_frequency():
    at = np.array([[0, 2, 2], [5, 2, 0]])
    w, tw = both(drawn(6, 3), True)
    y = F.embedding(thalweg.tensor(at.tolist()), w, scale_grad_by_freq=True)
    ty = TF.embedding(torch.tensor(at), tw, scale_grad_by_freq=True)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    same(y, ty)
    same(w.grad, tw.grad)


FLAGGED = [
    ("relu", ()), ("relu6", ()), ("elu", (0.7,)), ("selu", ()), ("celu", (2.0,)),
    ("leaky_relu", (0.2,)), ("hardtanh", (-0.5, 0.5)), ("threshold", (0.1, 2.0)), ("silu", ()),
    ("mish", ()), ("hardswish", ()), ("hardsigmoid", ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), FLAGGED)
@pytest.mark.parametrize("positional", [True, False])
def test_inplace_flag_writes_and_differentiates(name, args, positional):
    x, tx = both(drawn(3, 4), True)
    h, th = x * 1.5, tx * 1.5
    flag, keyword = ((True,), {}) if positional else ((), {"inplace": True})
    y = getattr(F, name)(h, *args, *flag, **keyword)
    ty = getattr(TF, name)(th, *args, *flag, **keyword)
    assert y is h
    assert ty is th
    same(h, th)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    same(x.grad, tx.grad, rtol=1e-7)  # PyTorch's 1/6 of hardsigmoid is a float32
    kept = x.detach() * 1.0
    before = kept.tolist()
    assert getattr(F, name)(kept, *args, inplace=False) is not kept
    assert kept.tolist() == before


def test_inplace_flag_refuses_leaves_and_numbers():
    x = thalweg.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        F.relu(x, inplace=True)
    with pytest.raises(TypeError, match="must be Tensor, not float"):
        F.relu(1.0, inplace=True)


@pytest.mark.parametrize("name", ["relu_", "elu_", "selu_", "celu_", "leaky_relu_", "hardtanh_"])
def test_underscored_activations(name):
    (x, tx) = both(drawn(3, 4))
    assert getattr(F, name)(x) is x
    same(x, getattr(TF, name)(tx))


def test_dropout_in_place():
    x = thalweg.ones(1000)
    y = F.dropout(x, 0.25, inplace=True)
    assert y is x
    np.testing.assert_allclose(np.unique(x.numpy()), [0.0, 4 / 3], rtol=1e-6)
    assert 650 < int((x != 0).sum()) < 850
    assert F.dropout(x, 0.5, False, True) is x
    assert F.dropout(x, 0.5, training=False) is not None


def test_attention_with_dropout_keeps_the_mean_and_follows_the_seed():
    q = thalweg.zeros(1, 64, 8)
    v = thalweg.ones(1, 64, 8)
    thalweg.manual_seed(3)
    first = F.scaled_dot_product_attention(q, q, v, dropout_p=0.5)
    thalweg.manual_seed(3)
    second = F.scaled_dot_product_attention(q, q, v, None, 0.5)
    assert (first == second).all()
    assert abs(float(first.mean()) - 1.0) < 0.05
    assert float(first.std()) > 0.05
    same(F.scaled_dot_product_attention(q, q, v), torch.ones(1, 64, 8), rtol=1e-6)
    with pytest.raises(RuntimeError, match="dropout probability has to be between 0 and 1"):
        F.scaled_dot_product_attention(q, q, v, dropout_p=1.5)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_triplet_loss_with_any_distance(swap, reduction):
    pairs = [both(drawn(5, 3, seed=s), True) for s in (1, 2, 3)]
    ours, theirs = zip(*pairs)
    options = {"swap": swap, "reduction": reduction, "margin": 0.7}

    def squared(a, b):
        return ((a - b) ** 2).sum(-1)

    for distance in (None, squared):
        y = F.triplet_margin_with_distance_loss(*ours, distance_function=distance, **options)
        ty = TF.triplet_margin_with_distance_loss(*theirs, distance_function=distance, **options)
        same(y, ty)
        y.sum().backward()
        ty.sum().backward()
    for a, b in pairs:
        same(a.grad, b.grad)
    with pytest.raises(ValueError, match="margin must be greater than 0"):
        F.triplet_margin_with_distance_loss(*ours, margin=0.0)


def test_older_arguments_of_losses_warn_and_choose_the_reduction():
    x, y = thalweg.ones(2, 3), thalweg.zeros(2, 3)
    for given, reduction, value in [
        ({"size_average": False}, "sum", 6.0), ({"size_average": True}, "mean", 1.0),
        ({"reduce": False}, "none", [[1.0] * 3] * 2), ({"reduce": True}, "mean", 1.0),
    ]:  # fmt: skip
        with pytest.warns(UserWarning, match=f"please use reduction='{reduction}' instead"):
            assert F.mse_loss(x, y, **given).tolist() == value


def test_losses_warn_of_broadcasting_at_the_users_line():
    with pytest.warns(UserWarning, match="Using a target size") as found:
        F.l1_loss(thalweg.ones(2, 3), thalweg.zeros(1, 3))
    assert found[0].filename == __file__
    with pytest.warns(UserWarning, match="'mean' divides the total loss"):
        F.kl_div(thalweg.zeros(2, 2), thalweg.ones(2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.l1_loss(thalweg.ones(2, 3), thalweg.zeros(2, 3))


def test_softmax_without_dim_warns():
    x, tx = both(drawn(2, 3, 4))
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        y = F.softmax(x)
    same(y, TF.softmax(tx, 0))
