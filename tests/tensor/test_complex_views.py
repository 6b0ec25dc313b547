"""Views of complex numbers as pairs of real ones share memory, as in PyTorch."""

import numpy as np
import pytest
import torch

import thalweg

LIBRARIES = (thalweg, torch)


def parts(lib):
    c = lib.ones(2, 3, dtype=lib.complex64) * (2 + 1j)
    row, turned = c[1], c.t()
    c.real.mul_(3)
    turned.imag[0, 1] = 5
    row.real = lib.zeros(3)
    pairs = lib.view_as_real(c)
    pairs[0, 0] += 10
    facts = (c.real._base is c, c.real.stride(), c.imag.storage_offset(), row.imag.storage_offset(),
             pairs.stride(), c._version == pairs._version)  # fmt: skip
    return [c, row, turned, c.imag + 0, pairs], facts


def back_and_forth(lib):
    r = lib.arange(12.0).reshape(3, 4)
    c = lib.view_as_complex(r.view(3, 2, 2))
    c[0] *= 1j
    r[2] = 7
    c.imag[1] -= 1
    lib.view_as_real(c.t())[1, :, 0].neg_()
    return [r, c], (c._base is r, c.stride(), c.storage_offset())


def gradients(lib):
    z = lib.tensor([1 + 2j, 3 - 1j], dtype=lib.complex64, requires_grad=True)
    w = z * (2 - 1j)
    w.imag.mul_(3)
    w.real[0] = 4
    (w.abs() ** 2).sum().backward()
    return [w.detach(), z.grad], (w.real.requires_grad,)


@pytest.mark.parametrize("program", [parts, back_and_forth, gradients])
def test_programs_agree(program):
    for _ in range(2):  # a miss, then hits
        (ours, mine), (theirs, other) = (program(lib) for lib in LIBRARIES)
        assert mine == other
        for a, b in zip(ours, theirs):
            np.testing.assert_allclose(a.numpy(), b.resolve_conj().numpy(), rtol=1e-6)


def test_memory_shared_with_numpy():
    c = thalweg.ones(2, 2, dtype=thalweg.complex64)
    array = c.numpy()
    imag = c.t().imag
    imag[0, 1] = 9
    assert array[1, 0] == 1 + 9j
    array[0, 1] = 4 + 2j
    assert imag.tolist() == [[0.0, 9.0], [2.0, 0.0]]


@pytest.mark.parametrize("lib", LIBRARIES)
def test_real_tensors(lib):
    x = lib.ones(2)
    assert x.real is x
    x.real = lib.zeros(2)
    assert x.tolist() == [0.0, 0.0]
    with pytest.raises(RuntimeError):
        _ = x.imag
