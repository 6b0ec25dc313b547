"""Weight gradients by Winograd's minimal filtering against the reference, and when it is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conv_support import operand, plain_call, run_guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conv import Case, attrs_of, build, case, draw_operands, seen_as, stack_bytes
from test_winograd import BIG, cases

from thalweg.codegen import winograd_weights
from thalweg.codegen.conv_problem import dense, forward_problem
from thalweg.codegen.objects import emit_object
from thalweg.codegen.target import AVX2, AVX512, NEON, host
from thalweg.codegen.winograd_weights import WinogradWeightGrad
from thalweg.core import flags
from thalweg.core.dtypes import BY_NAME
from thalweg.ir.anchor import Operand
from thalweg.ir.loops import Buffer
from thalweg.ops.contract import PRIMITIVES
from thalweg.runtime.native import STACK_BYTES, NativeKernel

KIND = "conv_weight_grad"
BOUND = {"float32": 4e-6, "float64": 1e-14, "float16": 2e-3}


def kernel_of(given_case: Case, dtype: str = "float32", target: Any = None) -> NativeKernel:
    x, g, w = given_case.shapes(KIND)
    params = [Buffer(n, BY_NAME[dtype], s) for n, s in zip("ab", (x, g))]
    operands = [operand(i, np.zeros(s, BY_NAME[dtype].np)) for i, s in enumerate((x, g))]
    call = plain_call(
        KIND, operands, params, attrs_of(KIND, given_case), seen_as(KIND, w), BY_NAME[dtype]
    )
    weight = Operand(-1, 0, w, dense(w), call.dtype)
    problem, _ = forward_problem(operands[0], weight, dict(call.attrs))
    return WinogradWeightGrad(call, problem, *operands, target or host()).build()


def check(given_case: Case, dtype: str, seed: int = 0) -> None:
    shape = given_case.shapes(KIND)[2]
    operands = draw_operands(KIND, given_case, dtype, seed)
    exact = [a.astype(np.float64) for a in operands]
    expected = PRIMITIVES[KIND].run(exact, attrs_of(KIND, given_case))[0]
    results = [(seen_as(KIND, shape), operands[0].dtype)]
    kernel = kernel_of(given_case, dtype)
    made = run_guarded(kernel, operands, results, seed, front=bool(seed % 2))[0].reshape(shape)
    size = max(float(np.abs(expected).max()), 1e-3)
    assert np.abs(made.astype(np.float64) - expected).max() <= BOUND[dtype] * size


@settings(max_examples=12, deadline=None)
@given(given_case=cases().filter(lambda c: c.groups == 1), seed=st.integers(0, 99))
def test_random_cases(given_case: Case, seed: int) -> None:
    check(given_case, ("float32", "float64", "float16")[seed % 3], seed)


def test_sums_go_on_from_stretch_to_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last stretch is shorter than the others."""
    given_case = case((3, 20, 13, 15), (40, 20, 3, 3), padding=1)
    whole = kernel_of(given_case)
    monkeypatch.setattr(winograd_weights, "DEPTH", 48)
    cut = kernel_of(given_case)
    assert len(cut.launches) > len(whole.launches)
    check(given_case, "float32")


def test_blocks_of_rows_and_panels() -> None:
    check(case((1, 120, 6, 7), (110, 120, 3, 3), padding=1), "float32")


@pytest.mark.parametrize("channels", [16, 512])
def test_scratch_memory_is_bounded(channels: int) -> None:
    given_case = case((2, channels, 14, 14), (channels, channels, 3, 3))
    for target in (AVX2, AVX512, NEON):
        assert 0 < stack_bytes(kernel_of(given_case, target=target)) <= STACK_BYTES


def test_chosen_where_it_pays() -> None:
    def chosen(given_case: Case, dtype: str = "float32") -> bool:
        return "winograd" in build(KIND, given_case, dtype).name

    assert chosen(BIG) and chosen(BIG, "float64")
    assert chosen(case((4, 64, 28, 28), (64, 64, 5, 5)))
    assert not chosen(BIG, "int32")
    assert not chosen(case((4, 3, 28, 28), (64, 3, 3, 3), padding=1))
    assert not chosen(case((1, 512, 2, 2), (512, 512, 3, 3), padding=1))
    assert not chosen(case((4, 64, 28, 28), (64, 64, 3, 3), stride=2, padding=1))
    assert not chosen(case((4, 64, 28, 28), (64, 64, 3, 3), dilation=2))
    with flags.override(winograd=False):
        assert not chosen(BIG)


@pytest.mark.parametrize("target", [AVX512, NEON], ids=lambda t: t.name)
def test_assembles_for_other_targets(target: Any) -> None:
    assert emit_object(kernel_of(BIG, target=target).text, target)
