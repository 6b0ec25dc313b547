"""Matrix products of every layout against NumPy in float64, on buffers with guarded edges."""

import itertools
import re
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from gemm_calls import contraction, expected, kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from native_runner import Runner, guarded

from thalweg.codegen.gemm_plan import choose
from thalweg.codegen.gemm_shape import analyse
from thalweg.codegen.gemm_tile import Numbers
from thalweg.codegen.objects import emit_object
from thalweg.codegen.target import AVX2, AVX512, NEON, host
from thalweg.core.errors import DTypeError
from thalweg.runtime.native import STACK_BYTES

FLOATS = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
INTS = (np.int8, np.uint8, np.int16, np.int32, np.int64)
# Of the sum of magnitudes, and of the result itself where it is rounded to a half type.
TOLERANCE = {"float32": (1e-6, 0), "float64": (2e-15, 0), "float16": (1e-6, 6e-4),
             "bfloat16": (1e-6, 4e-3)}  # fmt: skip

SHAPES = [
    ("mk,kn->mn", (70, 50), (50, 37)),
    ("mk,nk->mn", (70, 50), (37, 50)),
    ("km,kn->mn", (50, 70), (50, 37)),
    ("km,nk->mn", (50, 70), (37, 50)),
    ("mk,kn->nm", (45, 10), (10, 31)),
    ("mk,kn->mn", (3, 4), (4, 5)),
    ("mk,kn->mn", (3, 0), (0, 5)),
    ("mk,kn->mn", (1, 300), (300, 1)),
    ("mk,kn->mn", (1, 700), (700, 301)),
    ("mk,nk->mn", (1, 700), (301, 700)),
    ("mk,kn->mn", (333, 1100), (1100, 1)),
    ("mk,k->m", (33, 70), (70,)),
    ("km,k->m", (70, 33), (70,)),
    ("k,k->", (1000,), (1000,)),
    ("m,n->nm", (45,), (31,)),
    ("mk,kn->mn", (8, 600), (600, 200)),
    ("mk,nk->mn", (7, 600), (201, 600)),
    ("mk,kn->mn", (32, 700), (700, 97)),
    ("mk,kn->mn", (333, 129), (129, 5)),
    ("mk,kn->mn", (200, 257), (257, 290)),
    ("mk,nk->mn", (230, 530), (270, 530)),
    ("km,kn->mn", (530, 230), (530, 270)),
    ("mk,kn->mn", (194, 64), (64, 600)),
    ("km,kn->mn", (30000, 10), (30000, 40)),
    ("km,kn->mn", (4096, 10), (4096, 40)),
    ("mk,nk->mn", (20, 9000), (33, 9000)),
    ("bmk,bkn->bmn", (5, 33, 100), (5, 100, 31)),
    ("bmk,bkn->mbn", (3, 33, 100), (3, 100, 31)),
    ("bmk,bkn->mnb", (3, 33, 17), (3, 17, 31)),
    ("bmk,kn->bmn", (3, 33, 17), (17, 31)),
    ("mk,bkn->bmn", (33, 17), (3, 17, 31)),
    ("bqhd,bkhd->bhqk", (2, 33, 3, 16), (2, 40, 3, 16)),
    ("bhqk,bkhd->bqhd", (2, 3, 33, 40), (2, 40, 3, 16)),
    ("btc,hcd->bhtd", (2, 33, 24), (3, 24, 16)),
    ("bti,bto->io", (4, 30, 20), (4, 30, 70)),
    ("abmk,banmk->amn", (2, 3, 9, 20), (3, 2, 11, 9, 20)),
    ("ij,ij->ij", (20, 30), (20, 30)),
    ("ij,ij->i", (20, 300), (20, 300)),
    ("ij,ji->", (20, 30), (30, 20)),
]  # fmt: skip


def numbers(rng, shape, dtype):
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return np.asarray(rng.integers(limits.min, limits.max, shape, dtype, endpoint=True))
    return np.asarray(rng.normal(size=shape), dtype)


def assert_product(spec, x, y, out):
    want = expected(spec, x, y)
    if x.dtype.kind in "iu":
        np.testing.assert_array_equal(out, want)
        return
    scale = np.einsum(spec, abs(x.astype(np.float64)), abs(y.astype(np.float64)))
    of_scale, of_result = TOLERANCE[x.dtype.name]
    # Equal terms are rounded the same way each time, until a block of the sum ends.
    sides, result = spec.split("->")
    extents = dict(zip(sides.replace(",", ""), (*x.shape, *y.shape)))
    terms = np.prod([n for letter, n in extents.items() if letter not in result])
    of_scale += min(terms, 512) * 2.0**-25 if x.dtype != np.float64 else 0
    error = abs(out.astype(np.float64) - want)
    smallest = 6e-8 if x.dtype == np.float16 else 0
    assert (error <= of_scale * scale + of_result * abs(want) + smallest).all(), error.max()


def run(spec, x, y, seed=None, end=True, bases=None, kept=()):
    """The native result, with every buffer against a page that must not be touched."""
    bases = bases or (x, y)
    call = replace(contraction(spec, x, y, bases), kept=kept)
    out = guarded(np.full(call.shape, 77, x.dtype), end)
    Runner(kernel(call))(*(guarded(b, end) for b in bases), out, seed=seed)
    return out


@pytest.mark.parametrize(("spec", "x_shape", "y_shape"), SHAPES)
def test_shapes(spec, x_shape, y_shape):
    rng = np.random.default_rng(0)
    x, y = numbers(rng, x_shape, np.float32), numbers(rng, y_shape, np.float32)
    first = run(spec, x, y)
    assert_product(spec, x, y, first)
    assert run(spec, x, y, seed=1, end=False).tobytes() == first.tobytes()


@pytest.mark.parametrize("m", [31, 33, 50, 200])
@pytest.mark.parametrize("spec", ["mk,nk->mn", "mk,kn->mn"])
def test_operands_that_are_kept(spec, m):
    """Few rows, and a packed operand whose panels are fetched ahead."""
    rng = np.random.default_rng(3)
    x, y = (numbers(rng, shape, np.float32) for shape in ((m, 390), (390, 390)))
    out = run(spec, x, y, kept=(1,))
    assert_product(spec, x, y, out)
    launches = kernel(replace(contraction(spec, x, y), kept=(1,))).launches
    assert (1, 3) in [launch.packs for launch in launches]
    assert run(spec, x, y, seed=4, end=False, kept=(1,)).tobytes() == out.tobytes()


@pytest.mark.parametrize("dtype", [*FLOATS[1:], *INTS], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(
    ("spec", "x_shape", "y_shape"),
    [
        ("mk,kn->mn", (23, 37), (37, 43)),
        ("bmk,bnk->bmn", (2, 50, 65), (2, 33, 65)),
        ("mk,nk->mn", (3, 300), (21, 300)),
        ("mk,kn->mn", (9, 300), (300, 65)),
        ("mk,kn->mn", (230, 33), (33, 29)),
    ],
)
def test_dtypes(dtype, spec, x_shape, y_shape):
    rng = np.random.default_rng(1)
    x, y = numbers(rng, x_shape, dtype), numbers(rng, y_shape, dtype)
    assert_product(spec, x, y, run(spec, x, y, seed=2))


def test_every_way_to_read_and_split_is_among_the_shapes():
    plans = []
    for spec, x_shape, y_shape in SHAPES:
        call = contraction(spec, np.zeros(x_shape, np.float32), np.zeros(y_shape, np.float32))
        problem = analyse(call)
        plans.append(choose(problem, Numbers.of(problem.a.dtype, AVX2), AVX2))
    assert {p.a for p in plans} == {p.b for p in plans} == {"direct", "local", "shared"}
    assert any(p.splits > 1 for p in plans)


@given(st.integers(13, 192), st.integers(16, 4096), st.integers(65, 4096))
@settings(max_examples=60, deadline=None)
def test_units_that_pack_rows_of_b_read_long_pieces_of_them(m, k, n):
    x, y = np.empty((m, k), np.float32), np.empty((k, n), np.float32)
    problem = analyse(contraction("mk,kn->mn", x, y))
    plan = choose(problem, Numbers.of(problem.a.dtype, AVX2), AVX2)
    if plan.b == "local":
        assert plan.col_blocks == 1 or 4 * n / plan.col_blocks >= 256
        assert plan.depth * min(n, -(-n // plan.col_blocks)) * 4 <= STACK_BYTES


@st.composite
def contractions(draw):
    """A specification with letters in any order, their sizes, dtype, and views of the operands."""
    letters = iter("abcdefghij")
    kinds = draw(st.lists(st.sampled_from("bmnk"), min_size=0, max_size=6))
    named = [(next(letters), kind) for kind in kinds]
    size = {c: draw(st.sampled_from((1, 2, 3, 5, 8, 17, 20, 34))) for c, _ in named}
    left = draw(st.permutations([c for c, kind in named if kind != "n"]))
    right = draw(st.permutations([c for c, kind in named if kind != "m"]))
    result = draw(st.permutations([c for c, kind in named if kind != "k"]))
    spec = f"{''.join(left)},{''.join(right)}->{''.join(result)}"
    if np.prod([size[c] for c in size], dtype=float) > 2e6:
        size = dict.fromkeys(size, 3)
    views = [
        (
            draw(st.permutations(range(len(own)))),
            draw(st.lists(st.sampled_from((0, 0, 0, 1, 2)), min_size=len(own), max_size=len(own))),
            draw(st.lists(st.sampled_from((False, False, False, True)), min_size=len(own),
                          max_size=len(own))),
        )
        for own in (left, right)
    ]  # fmt: skip
    dtype = draw(st.sampled_from((*FLOATS, *INTS)))
    shapes = [tuple(size[c] for c in own) for own in (left, right)]
    return spec, shapes, views, dtype


def view(rng, shape, how, dtype):
    """A dense base and a view of it of ``shape``: permuted, cut out of more, repeated."""
    order, margins, repeated = how
    stored = [1 if r else n + m for n, m, r in zip(shape, margins, repeated)]
    base = np.asarray(numbers(rng, [stored[d] for d in order], dtype))
    seen = base.transpose(np.argsort(order)) if order else base
    cut = tuple(
        slice(None) if r else slice(m // 2, m // 2 + n) for n, m, r in zip(shape, margins, repeated)
    )
    return base, np.broadcast_to(seen[(*cut, ...)], shape)


@settings(max_examples=60, deadline=None)
@given(contractions(), st.integers(0, 1000), st.booleans())
def test_random_contractions_of_views(case, seed, end):
    spec, shapes, views, dtype = case
    rng = np.random.default_rng(seed)
    (x_base, x), (y_base, y) = (view(rng, s, v, dtype) for s, v in zip(shapes, views))
    out = run(spec, x, y, seed, end, (x_base, y_base))
    assert_product(spec, x, y, out)


@pytest.mark.parametrize("sizes", [(20, 30, 50), (7, 70, 800), (210, 600, 40), (5, 3, 2)])
@pytest.mark.parametrize("layout", ["mk,kn->mn", "km,nk->mn"])
def test_nan_and_inf_reach_the_results_that_they_belong_to_and_no_others(sizes, layout):
    size = dict(zip("mnk", sizes))
    left, right = layout.split("->")[0].split(",")
    rng = np.random.default_rng(3)
    x = numbers(rng, [size[c] for c in left], np.float32)
    y = numbers(rng, [size[c] for c in right], np.float32)
    x[-1, -1], y[-1, -1], x[0, 0], y[0, 0] = np.inf, np.nan, -np.inf, 0
    with np.errstate(invalid="ignore"):
        want = expected(layout, x, y)
    out = run(layout, x, y)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(out), np.isinf(want))


def test_empty_results_need_no_launch():
    for x_shape, y_shape in [((0, 3), (3, 4)), ((3, 4), (4, 0))]:
        call = contraction("mk,kn->mn", np.zeros(x_shape), np.zeros(y_shape))
        assert kernel(call).launches == ()


def test_planes_of_complex_numbers_are_no_business_of_the_template():
    x = np.zeros((2, 2), np.complex64)
    with pytest.raises(DTypeError, match="expected a product of real numbers, got complex64"):
        kernel(contraction("mk,kn->mn", x, x))


def test_long_sums_are_as_exact_as_blocked_ones():
    """In units of float32's rounding: a plain running sum of 16000 is near 40."""
    rng = np.random.default_rng(5)
    for m in (1, 4, 9):
        x, y = numbers(rng, (m, 16000), np.float32), numbers(rng, (16000, 128), np.float32)
        error = run("mk,kn->mn", x, y) - expected("mk,kn->mn", x, y)
        assert np.sqrt((error**2).mean()) < 20 * 2**-24 * np.sqrt(16000)


def test_views_merge_into_few_loops():
    """Heads split out of one tensor cost no loop but their own; a repeated weight none at all."""
    x, w = np.zeros((2, 33, 3, 16), np.float32), np.zeros((2, 40, 3, 16), np.float32)
    problem = analyse(contraction("bqhd,bkhd->bhqk", x, w))
    assert (problem.outer_count, problem.row.size, problem.col.size) == (6, 33, 40)
    repeated = np.broadcast_to(np.zeros((24, 16), np.float32), (5, 24, 16))
    call = contraction("bmk,bkn->bmn", np.zeros((5, 7, 24), np.float32), repeated)
    problem = analyse(call)
    assert (problem.outer_count, problem.row.size, problem.col.size) == (1, 35, 16)


@pytest.mark.parametrize("target", [AVX2, AVX512, NEON], ids=lambda t: t.name)
@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int64],
    ids=lambda d: np.dtype(d).name,
)  # fmt: skip
def test_every_target_assembles(target, dtype):
    for spec, x_shape, y_shape in [
        ("mk,nk->mn", (230, 530), (270, 530)),
        ("mk,kn->mn", (9, 300), (300, 100)),
        ("mk,nk->mn", (3, 300), (40, 300)),
        ("mk,nk->mn", (4, 300), (40, 300)),
        ("mk,kn->mn", (2, 300), (300, 100)),
    ]:
        call = contraction(spec, np.zeros(x_shape, dtype), np.zeros(y_shape, dtype))
        assert emit_object(kernel(call, target).text, target)


@pytest.mark.parametrize("target", [AVX2, AVX512, NEON], ids=lambda t: t.name)
def test_a_task_takes_little_of_the_stack(target):
    size = {"float": 4, "double": 8, "i32": 4}
    rng = np.random.default_rng(6)
    for _ in range(40):
        m, n = (int(rng.choice([3, 8, 33, 100, 160, 192, 256, 500])) for _ in range(2))
        k, dtype = int(rng.choice([64, 500, 4096])), rng.choice([np.float32, np.float64])
        x, y = np.empty((m, k), dtype), np.empty((k, n), dtype)
        text = kernel(contraction(str(rng.choice(["mk,kn->mn", "mk,kn->nm"])), x, y), target).text
        taken = [size[t] * int(c) for t, c in re.findall(r"alloca (\w+), i64 (\d+)", text)]
        assert sum(taken) <= STACK_BYTES - 4096, (m, n, k)


def test_equal_calls_give_equal_text():
    x, y = np.zeros((230, 64), np.float32), np.zeros((270, 64), np.float32)
    texts = {kernel(contraction("mk,nk->mn", x, y), host()).text for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.parametrize("m", [1, 2, 5, 6, 7, 16, 33])
def test_small_and_odd_sizes(m):
    rng = np.random.default_rng(4)
    for n, k in itertools.product((1, 7, 16, 17, 33), (1, 4, 9)):
        x, y = numbers(rng, (m, k), np.float32), numbers(rng, (k, n), np.float32)
        assert_product("mk,kn->mn", x, y, run("mk,kn->mn", x, y))
