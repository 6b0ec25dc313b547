"""Winograd's minimal filtering against the references, and when it is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conv_support import operand, plain_call, run_guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conv import Case, attrs_of, build, case, draw_operands, seen_as, stack_bytes

from thalweg.codegen import winograd as winograd_module
from thalweg.codegen.conv_problem import forward_problem, gradient_problem
from thalweg.codegen.conv_tile import tile_for
from thalweg.codegen.objects import emit_object
from thalweg.codegen.target import AVX2, AVX512, NEON, host
from thalweg.codegen.winograd import Winograd
from thalweg.codegen.winograd_plan import Cut, pays
from thalweg.codegen.winograd_transforms import maps
from thalweg.core import flags
from thalweg.core.dtypes import BY_NAME
from thalweg.ir.loops import Buffer
from thalweg.ops.contract import PRIMITIVES
from thalweg.runtime.native import STACK_BYTES, NativeKernel

KINDS = ("conv", "conv_input_grad")
BIG = case((4, 64, 28, 28), (64, 64, 3, 3), padding=1)


@pytest.mark.parametrize(("outputs", "taps"), [(2, 3), (4, 3), (2, 5), (3, 2)])
def test_maps_filter_exactly(outputs: int, taps: int) -> None:
    made = maps(outputs, taps)
    data, g, back = (np.array(m, object) for m in (made.data, made.filter, made.result))
    rng = np.random.default_rng(0)
    d, w = rng.integers(-9, 9, made.size), rng.integers(-9, 9, taps)
    expected = [int((d[i : i + taps] * w).sum()) for i in range(outputs)]
    assert list(back @ ((g @ w) * (data @ d))) == expected


def prepared(kind: str, given_case: Case, dtype: str, target: Any) -> tuple[Any, ...]:
    a, b, out = given_case.shapes(kind)
    params = [Buffer(n, BY_NAME[dtype], s) for n, s in zip("ab", (a, b))]
    operands = [operand(i, np.zeros(s, BY_NAME[dtype].np)) for i, s in enumerate((a, b))]
    call = plain_call(
        kind, operands, params, attrs_of(kind, given_case), seen_as(kind, out), BY_NAME[dtype]
    )
    stated = forward_problem if kind == "conv" else gradient_problem
    problem, x = stated(*operands, dict(call.attrs))
    return call, problem, x, target


def winograd(
    kind: str, given_case: Case, dtype: str = "float32", outputs: int = 2, target: Any = None
) -> NativeKernel:
    return Winograd(*prepared(kind, given_case, dtype, target or host()), outputs).build()


def check(kind: str, given_case: Case, dtype: str, outputs: int, seed: int = 0) -> None:
    out = given_case.shapes(kind)[2]
    operands = draw_operands(kind, given_case, dtype, seed)
    exact = [a.astype(np.float64) for a in operands]
    expected = PRIMITIVES[kind].run(exact, attrs_of(kind, given_case))[0]
    kernel = winograd(kind, given_case, dtype, outputs)
    result = run_guarded(
        kernel, operands, [(seen_as(kind, out), operands[0].dtype)], seed, front=bool(seed % 2)
    )[0].reshape(out)  # fmt: skip
    bound = {("float32", 2): 4e-6, ("float32", 4): 8e-6, ("float64", 2): 1e-14,
             ("float64", 4): 1e-13, ("float16", 2): 2e-3}[dtype, outputs]  # fmt: skip
    scale = max(float(np.abs(expected).max()), 1e-3)
    assert np.abs(result.astype(np.float64) - expected).max() <= bound * scale


@st.composite
def cases(draw: st.DrawFn) -> Case:
    groups = draw(st.sampled_from([1, 1, 2]))
    padding = tuple(draw(st.tuples(st.integers(-1, 3), st.integers(-1, 3))) for _ in range(2))
    taps = draw(st.sampled_from([3, 3, 5]))
    sizes = [draw(st.integers(max(taps - sum(p), 2), 18)) for p in padding]
    channels, rows = draw(st.integers(1, 24)), draw(st.integers(1, 20))
    x = (draw(st.integers(1, 3)), groups * channels, *sizes)
    return Case(x, (groups * rows, channels, taps, taps), (1, 1), padding, (1, 1), groups)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(given_case=cases(), seed=st.integers(0, 99))
def test_random_cases(kind: str, given_case: Case, seed: int) -> None:
    check(kind, given_case, "float64" if seed % 3 == 0 else "float32", 2, seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "outputs"), [("float16", 2), ("float32", 4), ("float64", 4)])
def test_element_types_and_larger_tiles(kind: str, dtype: str, outputs: int) -> None:
    check(kind, case((2, 9, 11, 14), (7, 9, 3, 3), padding=1), dtype, outputs)


@pytest.mark.parametrize(("together", "shared"), [(4, False), (2, False), (1, False), (4, True)])
@pytest.mark.parametrize("groups", [1, 2])
def test_every_way_through_the_patch(
    together: int, shared: bool, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole patches at once, or some of their rows at a time; patches of a task or of all."""
    cut = Cut(2, 24, together, shared)
    monkeypatch.setattr(winograd_module, "choose_cut", lambda *_: cut)
    given_case = case((3, 20 * groups, 13, 15), (40 * groups, 20, 3, 3), padding=1, groups=groups)
    names = [launch.symbol for launch in winograd("conv", given_case).launches]
    assert ("shared_patches" in names) is shared
    check("conv", given_case, "float32", 2)


@pytest.mark.parametrize("channels", [16, 64, 128, 256, 512])
def test_scratch_memory_is_bounded(channels: int) -> None:
    given_case = case((2, channels, 14, 14), (channels, channels, 3, 3))
    for target in (AVX2, AVX512, NEON):
        assert 0 < stack_bytes(winograd("conv", given_case, target=target)) <= STACK_BYTES


def test_chosen_where_it_pays() -> None:
    """Deep 3x3 and 5x5 layers; not first ones, few positions, strides, dilations, integers."""

    def chosen(
        given_case: Case, dtype: str = "float32", kind: str = "conv", lasting: bool = False
    ) -> bool:
        call, problem, _, _ = prepared(kind, given_case, dtype, AVX2)
        return pays(problem, tile_for(call.dtype, AVX2), lasting)

    assert chosen(BIG) and chosen(BIG, kind="conv_input_grad") and chosen(BIG, "float64")
    assert not chosen(BIG, "int32")
    assert not chosen(case((4, 3, 28, 28), (64, 3, 3, 3), padding=1))
    assert not chosen(case((1, 512, 2, 2), (512, 512, 3, 3), padding=1))
    assert not chosen(case((4, 64, 28, 28), (64, 64, 3, 3), stride=2, padding=1))
    assert not chosen(case((4, 64, 28, 28), (64, 64, 3, 3), dilation=2))
    assert chosen(case((4, 64, 28, 28), (64, 64, 5, 5)))
    assert not chosen(case((4, 64, 28, 28), (64, 64, 7, 7)))
    few = case((1, 512, 7, 7), (512, 512, 3, 3), padding=1)
    assert chosen(few, lasting=True) and not chosen(few), "few positions, filters kept"


def test_flag_switches_it_off() -> None:
    assert "winograd" in build("conv", BIG, "float32").name
    with flags.override(winograd=False):
        assert "winograd" not in build("conv", BIG, "float32").name


@pytest.mark.parametrize("target", [AVX512, NEON], ids=lambda t: t.name)
def test_assembles_for_other_targets(target: Any) -> None:
    kernel = winograd("conv", BIG, target=target)
    assert emit_object(kernel.text, target)
