"""Writes that carry gradients into detached tensors: what was detached gets a history of its own,
and goes on sharing its memory. Every program runs under PyTorch and under thalweg."""

import pytest
import torch
from torch.autograd import Variable

import thalweg


def accumulates(library, weight, variable):
    """Attention with coverage, as recurrent decoders of early PyTorch keep it."""
    total = variable(library.zeros(2, 3).new_zeros(2, 3))
    shown = []
    for step in range(3):
        shown.append(library.cat((total.unsqueeze(1), total.unsqueeze(1)), 1))
        total += weight * (step + 1)
    return sum((each * each).sum() for each in [*shown, total]), (total,)


def added_to(library, weight, variable):
    base = library.ones(2, 3)
    made = base.detach()
    made += weight * 2
    return (made * made).sum(), (base, made)


def behind_data(library, weight, variable):
    base = library.ones(2, 3)
    made = base.data
    made.mul_(weight)
    return (made * made).sum(), (base, made)


def set_in_part(library, weight, variable):
    made = library.ones(2, 3).detach()
    made[0] = weight[0] * 3
    made[1] = made[0].clone() * weight[1]
    return (made * made).sum(), (made,)


def of_a_result(library, weight, variable):
    base = weight * 2
    made = base.detach()
    made.add_(weight)
    return (made * made).sum() + (base * 3).sum(), (base, made)


def read_in_between(library, weight, variable):
    made = library.ones(2, 3).detach()
    made += weight
    first = float(made.detach().sum())
    made *= weight
    return made.sum() * first, (made,)


def after_the_base_changed(library, weight, variable):
    base = library.ones(2, 3)
    made = base.detach()
    base += weight
    return (base * made).sum(), (made,)


@pytest.mark.parametrize(
    "program",
    [accumulates, added_to, behind_data, set_in_part, of_a_result, read_in_between,
     after_the_base_changed],
    ids=lambda program: program.__name__,
)  # fmt: skip
def test_gradients_flow_as_in_pytorch(program):
    found = []
    for library, variable in ((torch, Variable), (thalweg, thalweg.autograd.Variable)):
        for _ in range(2):  # recorded, then found again
            weight = library.arange(6.0).reshape(2, 3).add(1).requires_grad_()
            loss, shown = program(library, weight, variable)
            loss.backward()
            values = [weight.grad.tolist(), *(each.detach().tolist() for each in shown)]
            found.append((values, [each.requires_grad for each in shown]))
    assert found[0] == found[2] == found[3]
