"""Epilogues of convolutions: what is fused behind them, through the whole lowering."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conv_support import dtype_of, operand, run_guarded
from test_conv import attrs_of, case, draw_operands, seen_as

from thalweg.codegen.target import host
from thalweg.codegen.templates import instantiate
from thalweg.core.dtypes import float16, float32
from thalweg.ir.anchor import AnchorCall, Epilogue
from thalweg.ir.loops import Binary, Buffer, Cast, Const, Let, Load, Store, Var
from thalweg.ops.contract import PRIMITIVES

CASES = {
    "product": case((2, 20, 7, 9), (13, 20, 3, 3), stride=2, padding=1),
    "winograd": case((3, 64, 14, 14), (64, 64, 3, 3), padding=1),
    "direct": case((2, 8, 11, 10), (8, 1, 3, 3), padding=1, groups=8),
    "splits": case((4, 8, 16, 16), (6, 8, 1, 1)),
    "no channels": case((2, 0, 4, 9), (3, 0, 2, 2)),
}


@pytest.mark.parametrize("kind", ["conv", "conv_input_grad", "conv_weight_grad"])
@pytest.mark.parametrize("name", CASES)
def test_bias_residual_relu_in_two_results(kind: str, name: str) -> None:
    """max(x + bias[channel] + residual, 0) as float16, and the sum itself as float32."""
    given_case = CASES[name]
    shape = seen_as(kind, given_case.shapes(kind)[2])
    rng = np.random.default_rng(5)
    operands = draw_operands(kind, given_case, "float32", 5)
    bias = rng.normal(size=shape[1]).astype(np.float32)
    residual = rng.normal(size=shape).astype(np.float32)
    arrays = [*operands, bias, residual]
    index = tuple(Var(n) for n in "ijk")
    total = Var("total", float32)
    summed = Var("x", float32) + Load("bias", (index[1],), float32)
    body = (
        Let("total", summed + Load("residual", index, float32)),
        Store("sum", index, total),
        Store("half", index, Cast(Binary("max", total, Const(0.0, float32)), float16)),
    )
    params = [Buffer(n, dtype_of(a), a.shape) for n, a in zip("ab", operands)]
    params += [Buffer("bias", float32, bias.shape), Buffer("residual", float32, shape)]
    params += [Buffer("half", float16, shape, "out"), Buffer("sum", float32, shape, "out")]
    attrs: dict[str, Any] = attrs_of(kind, given_case)
    call = AnchorCall(
        kind, tuple(sorted(attrs.items())), tuple(operand(i, a) for i, a in enumerate(operands)),
        shape, float32, tuple(params), Epilogue(("i", "j", "k"), "x", body),
    )  # fmt: skip
    made = run_guarded(
        instantiate(call, host()), arrays,
        [(shape, np.dtype(np.float16)), (shape, np.dtype(np.float32))], seed=4,
    )  # fmt: skip
    exact = [a.astype(np.float64) for a in operands]
    plain = PRIMITIVES[kind].run(exact, attrs)[0].reshape(shape)
    expected = plain + bias[:, None] + residual
    scale = float(np.abs(expected).max(initial=1.0))
    np.testing.assert_allclose(made[1], expected, rtol=0, atol=3e-6 * scale)
    np.testing.assert_allclose(made[0], np.maximum(expected, 0), rtol=1e-3, atol=1e-3 * scale)
