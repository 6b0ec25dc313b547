"""Convolution templates against the references, over random shapes and attributes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from conv_support import dtype_of, operand, plain_call, run_guarded
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.codegen.objects import emit_object
from thalweg.codegen.target import AVX2, AVX512, NEON, host
from thalweg.codegen.templates import instantiate
from thalweg.core.dtypes import BY_NAME
from thalweg.ir.loops import Buffer
from thalweg.ops.contract import PRIMITIVES, Template
from thalweg.ops.conv import out_extent
from thalweg.runtime.native import STACK_BYTES, NativeKernel

Ints = tuple[int, ...]
KINDS = ("conv", "conv_input_grad", "conv_weight_grad")


@dataclass(frozen=True)
class Case:
    x: Ints
    w: Ints
    stride: Ints
    padding: tuple[tuple[int, int], ...]
    dilation: Ints
    groups: int

    @property
    def y(self) -> Ints:
        rest = zip(self.x[2:], self.w[2:], self.stride, self.padding, self.dilation)
        return (self.x[0], self.w[0], *(out_extent(*r) for r in rest))

    @property
    def attrs(self) -> dict[str, Any]:
        return {
            "stride": self.stride, "padding": self.padding, "dilation": self.dilation,
            "groups": self.groups,
        }  # fmt: skip

    def shapes(self, kind: str) -> tuple[Ints, Ints, Ints]:
        """Of the two operands and the result."""
        return {
            "conv": (self.x, self.w, self.y),
            "conv_input_grad": (self.y, self.w, self.x),
            "conv_weight_grad": (self.x, self.y, self.w),
        }[kind]


def case(
    x: Ints, w: Ints, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> Case:
    d = len(x) - 2
    return Case(x, w, (stride,) * d, ((padding,) * 2,) * d, (dilation,) * d, groups)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    dims = draw(st.sampled_from([1, 2, 2, 2, 3]))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    most = {1: 40, 2: 14, 3: 7}[dims]
    batch = draw(st.integers(0, 3))
    cg, og = draw(st.integers(1, 20)), draw(st.integers(1, 14))
    if draw(st.booleans()) and groups > 1:
        cg, og = 1, draw(st.integers(1, 3))
    axes = []
    for _ in range(dims):
        kernel = draw(st.integers(1, 4))
        stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        low, high = draw(st.integers(-1, 3)), draw(st.integers(-1, 3))
        least = max(dilation * (kernel - 1) + 1 - low - high, 1, -low + 1, -high + 1)
        axes.append(
            (draw(st.integers(least, least + most)), kernel, stride, (low, high), dilation)
        )  # fmt: skip
    sizes, kernels, strides, padding, dilations = zip(*axes)
    return Case(
        (batch, groups * cg, *sizes), (groups * og, cg, *kernels), strides, padding, dilations,
        groups,
    )  # fmt: skip


def seen_as(kind: str, shape: Ints) -> Ints:
    """The three dimensions in which a template sees its result."""
    if kind == "conv_weight_grad":
        return (1, shape[0], math.prod(shape[1:]))
    return (shape[0], shape[1], math.prod(shape[2:]))


def attrs_of(kind: str, given: Case) -> dict[str, Any]:
    attrs = given.attrs
    return attrs if kind == "conv" else {**attrs, "shape": given.shapes(kind)[2]}


def build(kind: str, given: Case, dtype: str, target: Any = None) -> NativeKernel:
    a, b, out = given.shapes(kind)
    arrays = [np.zeros(s, BY_NAME[dtype].np) for s in (a, b)]
    params = [Buffer(n, BY_NAME[dtype], s) for n, s in zip("ab", (a, b))]
    call = plain_call(
        kind, [operand(i, x) for i, x in enumerate(arrays)], params, attrs_of(kind, given),
        seen_as(kind, out), BY_NAME[dtype],
    )  # fmt: skip
    return instantiate(call, target or host())


def draw_operands(kind: str, given: Case, dtype: str, seed: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    kind_of = BY_NAME[dtype].np
    if kind_of.kind in "iu":
        return [rng.integers(-4 if kind_of.kind == "i" else 0, 9, s).astype(kind_of)
                for s in given.shapes(kind)[:2]]  # fmt: skip
    return [rng.normal(size=s).astype(kind_of) for s in given.shapes(kind)[:2]]


def check(kind: str, given: Case, dtype: str = "float32", seed: int = 0) -> None:
    """The template's result, with guarded memory and shuffled chunks, is the reference's."""
    out = given.shapes(kind)[2]
    operands = draw_operands(kind, given, dtype, seed)
    exact = [a.astype(np.float64) if a.dtype.kind not in "iu" else a for a in operands]
    expected = PRIMITIVES[kind].run(exact, attrs_of(kind, given))[0]
    kernel = build(kind, given, dtype)
    result = run_guarded(
        kernel, operands, [(seen_as(kind, out), operands[0].dtype)], seed, front=bool(seed % 2)
    )[0].reshape(out)  # fmt: skip
    if operands[0].dtype.kind in "iu":
        np.testing.assert_array_equal(result, expected)
        return
    magnitude = PRIMITIVES[kind].run([np.abs(a) for a in exact], attrs_of(kind, given))[0]
    eps = {"float32": 2e-6, "float64": 5e-15, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    error = np.abs(result.astype(np.float64) - expected)
    assert (error <= eps * magnitude + eps * 1e-3).all(), (error / (magnitude + 1e-300)).max()


def stack_bytes(kernel: NativeKernel) -> int:
    """What a task takes from the stack at most: an entry function and two that it calls."""
    sizes = {"float": 4, "double": 8, "i64": 8}
    entries, called = [0], [0, 0]
    for text in kernel.text.split("\ndefine ")[1:]:
        found = re.findall(r" = alloca (\w+), i64 (\d+)", text)
        used = sum(sizes[type] * int(count) for type, count in found)
        (called if text.startswith("internal") else entries).append(used)
    return max(entries) + sum(sorted(called)[-2:])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(given_case=cases(), seed=st.integers(0, 99))
def test_random_cases(kind: str, given_case: Case, seed: int) -> None:
    check(kind, given_case, "float32" if seed % 3 else "float64", seed)


NAMED = {
    "deep": case((2, 70, 7, 7), (20, 70, 3, 3), padding=1),
    "one position left": case((1, 40, 7, 7), (14, 40, 3, 3), padding=1),
    "four positions left": case((1, 50, 14, 14), (13, 50, 1, 1)),
    "lines of three": case((3, 6, 3, 3), (8, 6, 3, 3), padding=1),
    "stem": case((1, 3, 40, 40), (7, 3, 7, 7), stride=2, padding=3),
    "eleven": case((1, 3, 47, 47), (8, 3, 11, 11), stride=4, padding=2),
    "pointwise": case((2, 33, 5, 9), (35, 33, 1, 1)),
    "strided pointwise": case((2, 17, 9, 9), (13, 17, 1, 1), stride=2),
    "patches": case((2, 3, 32, 32), (10, 3, 16, 16), stride=16),
    "whole image": case((3, 5, 30, 31), (4, 5, 30, 31)),
    "long line": case((2, 4, 1200), (6, 4, 5), padding=2),
    "depthwise": case((2, 9, 13, 14), (9, 1, 3, 3), padding=1, groups=9),
    "multiplier": case((2, 4, 11, 8), (12, 1, 5, 5), stride=2, padding=2, groups=4),
    "depthwise, strided": case((2, 5, 20, 23), (5, 1, 3, 3), stride=2, padding=1, groups=5),
    "depthwise line": case((2, 6, 130), (6, 1, 7), padding=3, groups=6),
    "depthwise volume": case((2, 3, 5, 6, 9), (3, 1, 3, 2, 3), padding=1, groups=3),
    "means of windows": case((6, 1, 12, 18), (1, 1, 2, 2), stride=2),
    "volume": case((1, 6, 5, 6, 7), (5, 6, 3, 3, 3), padding=1),
    "dilated": case((1, 5, 20, 20), (6, 5, 3, 3), padding=4, dilation=4),
    "no channels": case((2, 0, 4, 4), (3, 0, 2, 2)),
    "no filters": case((2, 3, 4, 4), (0, 3, 2, 2)),
    "no images": case((0, 3, 4, 4), (5, 3, 2, 2)),
    "one element": case((1, 1, 1, 1), (1, 1, 1, 1)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMED)
def test_named_cases(kind: str, name: str) -> None:
    check(kind, NAMED[name], seed=len(name))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32", "int64", "uint8"])
def test_element_types(kind: str, dtype: str) -> None:
    check(kind, case((2, 6, 9, 7), (5, 6, 3, 3), stride=2, padding=1), dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_views_as_operands(kind: str) -> None:
    """Operands seen through strides and an offset: part of the channels of a transposed array."""
    given_case = case((2, 4, 6, 5), (3, 4, 3, 2))
    shapes = given_case.shapes(kind)
    rng = np.random.default_rng(3)
    bases, operands, views = [], [], []
    for number, shape in enumerate(shapes[:2]):
        wide = (shape[0], shape[1] + 3, *shape[2:])
        base = rng.normal(size=wide[::-1])
        view = base.transpose(*reversed(range(base.ndim)))[:, 2 : 2 + shape[1]]
        strides = tuple(s // 8 for s in view.strides)
        offset = (view.ctypes.data - base.ctypes.data) // 8
        made = operand(number, view)
        operands.append(type(made)(number, offset, view.shape, strides, made.dtype))
        bases.append(base)
        views.append(view)
    attrs = attrs_of(kind, given_case)
    params = [Buffer(n, dtype_of(b), b.shape) for n, b in zip("ab", bases)]
    shape = seen_as(kind, shapes[2])
    call = plain_call(kind, operands, params, attrs, shape, dtype_of(bases[0]))
    result = run_guarded(instantiate(call, host()), bases, [(shape, bases[0].dtype)])[0]
    expected = PRIMITIVES[kind].run(views, attrs)[0]
    np.testing.assert_allclose(result.reshape(shapes[2]), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_nonfinite_values_stay_where_they_belong(kind: str) -> None:
    """NaN and infinity reach exactly the results that the reference says."""
    given_case = case((2, 3, 12, 11), (4, 3, 2, 2), stride=2, padding=1)
    operands = draw_operands(kind, given_case, "float64", 1)
    operands[0].flat[5], operands[0].flat[-1] = np.nan, np.inf
    shape = given_case.shapes(kind)[2]
    with np.errstate(invalid="ignore"):
        expected = PRIMITIVES[kind].run(operands, attrs_of(kind, given_case))[0]
    kernel = build(kind, given_case, "float64")
    result = run_guarded(kernel, operands, [(seen_as(kind, shape), operands[0].dtype)])[0]
    np.testing.assert_allclose(result.reshape(shape), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_chunks_does_not_matter(kind: str) -> None:
    given_case = case((3, 40, 12, 12), (30, 40, 3, 3), padding=1)
    operands = draw_operands(kind, given_case, "float32", 2)
    shape = seen_as(kind, given_case.shapes(kind)[2])
    kernel = build(kind, given_case, "float32")
    runs = [run_guarded(kernel, operands, [(shape, operands[0].dtype)], seed) for seed in range(3)]
    assert len({r[0].tobytes() for r in runs}) == 1
    assert max(launch.extent // launch.chunk for launch in kernel.launches) >= 4


@pytest.mark.parametrize("target", [AVX2, AVX512, NEON], ids=lambda t: t.name)
@pytest.mark.parametrize("kind", KINDS)
def test_assembles_for_every_target(kind: str, target: Any) -> None:
    for name in ("deep", "stem", "multiplier"):
        kernel = build(kind, NAMED[name], "float32", target)
        assert kernel.text == build(kind, NAMED[name], "float32", target).text
        assert emit_object(kernel.text, target)


@pytest.mark.parametrize("kind", KINDS)
def test_workspaces_stay_modest(kind: str) -> None:
    """They hold padded copies and packed weights, never the windows of a whole batch."""
    given_case = case((8, 128, 28, 28), (128, 128, 3, 3), padding=1)
    kernel = build(kind, given_case, "float32")
    operands = sum(4 * math.prod(s) for s in given_case.shapes(kind))
    assert sum(kernel.workspaces) <= 2 * operands


@pytest.mark.parametrize("target", [AVX2, AVX512, NEON], ids=lambda t: t.name)
@pytest.mark.parametrize("kind", KINDS)
def test_stack_is_bounded(kind: str, target: Any) -> None:
    wide = {
        "three": case((8, 256, 28, 28), (256, 256, 3, 3), padding=1),
        "one": case((8, 2048, 7, 7), (512, 2048, 1, 1)),
        "strided": case((8, 512, 15, 15), (512, 512, 3, 3), stride=2, padding=1),
        "five": case((8, 256, 28, 28), (256, 256, 5, 5), padding=2),
        "depthwise": case((8, 32, 112, 112), (32, 1, 7, 7), padding=3, groups=32),
        "patches": NAMED["patches"],
    }
    for name, given_case in wide.items():
        for dtype in ("float32", "float64"):
            used = stack_bytes(build(kind, given_case, dtype, target))
            assert 0 < used <= STACK_BYTES, (name, dtype, used)


def test_ops_name_their_templates_and_how_results_are_seen() -> None:
    shape = (2, 3, 4, 5)
    for kind in KINDS:
        op: Any = PRIMITIVES[kind]
        assert isinstance(op.lower, Template)
        assert op.seen(shape) == seen_as(kind, shape)
