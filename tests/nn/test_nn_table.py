"""docs/nn.md: its names are PyTorch's, and what is absent has a reason."""

import copy

import pytest
import torch
from nn_parity import assert_close, to_thalweg

import thalweg
from thalweg.testing import nn_table

UNWRITTEN = {
    "nn.functional.conv_tbc", "nn.utils.parametrizations.orthogonal", "optim.Adafactor",
    "optim.Muon",
}  # fmt: skip


def test_names_are_those_of_the_installed_pytorch():
    assert nn_table.NAMES.read_text(encoding="utf-8") == nn_table.in_pytorch()


def test_what_is_absent_has_a_reason():
    missing = set(nn_table.absent())
    assert missing == {*nn_table.REASONS, *UNWRITTEN}
    assert all(nn_table.REASONS.values())


@pytest.mark.parametrize("kind", ["swa", "ema"])
def test_averaged_weights(kind):
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    ours = thalweg.nn.Sequential(thalweg.nn.Linear(3, 2), thalweg.nn.BatchNorm1d(2))
    ours.load_state_dict({k: to_thalweg(v) for k, v in theirs.state_dict().items()})

    def averaged(library, model):
        utils = library.optim.swa_utils
        average = utils.get_ema_multi_avg_fn(0.9) if kind == "ema" else None
        return utils.AveragedModel(model, multi_avg_fn=average, use_buffers=kind == "ema")

    mine, other = averaged(thalweg, ours), averaged(torch, theirs)
    for step in range(3):
        for library, model, average in ((thalweg, ours, mine), (torch, theirs, other)):
            with library.no_grad():
                for p in model.parameters():
                    p.add_(0.5 + step)
            average.update_parameters(model)
    assert list(mine.state_dict()) == list(other.state_dict())
    for name, value in other.state_dict().items():
        assert_close(mine.state_dict()[name], value)
    batches = torch.randn(4, 5, 3)
    thalweg.optim.swa_utils.update_bn([to_thalweg(b) for b in batches], mine)
    torch.optim.swa_utils.update_bn(list(batches), other)
    assert_close(mine.module[1].running_mean, other.module[1].running_mean)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_rates_of_weight_averaging(strategy):
    def rates(library):
        weight = library.nn.Parameter(library.ones(2))
        optimizer = library.optim.SGD([weight], lr=0.1)
        schedule = library.optim.swa_utils.SWALR(optimizer, 0.02, 3, strategy)
        found = []
        for _ in range(6):
            optimizer.step()
            schedule.step()
            found.append(float(optimizer.param_groups[0]["lr"]))
        return found

    assert rates(thalweg) == pytest.approx(rates(torch))


@pytest.mark.parametrize("transpose", [False, True])
def test_a_batch_norm_is_taken_into_the_convolution(transpose):
    thalweg.manual_seed(1)
    kind = thalweg.nn.ConvTranspose2d if transpose else thalweg.nn.Conv2d
    conv, norm = kind(3, 4, 2, bias=False), thalweg.nn.BatchNorm2d(4)
    norm(conv(thalweg.randn(5, 3, 6, 6)))
    conv.eval(), norm.eval()
    x = thalweg.randn(2, 3, 5, 5)
    fused = thalweg.nn.utils.fuse_conv_bn_eval(conv, norm, transpose)
    assert thalweg.allclose(fused(x), norm(conv(x)), atol=1e-5)
    linear, flat = thalweg.nn.Linear(3, 4).eval(), copy.deepcopy(norm)
    y = thalweg.randn(6, 3)
    flat.__class__ = thalweg.nn.BatchNorm1d
    fused = thalweg.nn.utils.fuse_linear_bn_eval(linear, flat)
    assert thalweg.allclose(fused(y), flat(linear(y)), atol=1e-5)
