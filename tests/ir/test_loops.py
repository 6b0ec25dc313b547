"""Kernels of the loop IR: their golden text, and what they compute against NumPy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from thalweg.core.dtypes import float32
from thalweg.core.errors import GraphError
from thalweg.ir.loop_interp import run
from thalweg.ir.loop_text import parse_kernel, print_kernel
from thalweg.ir.loop_verify import verify
from thalweg.ir.loops import (
    Accumulate,
    Alloc,
    Binary,
    Buffer,
    Const,
    For,
    Kernel,
    Load,
    Local,
    Store,
    Var,
)

RELU = """\
kernel relu(in x: float32[5, 7], out y: float32[5, 7]) {
  for i in 0..5 parallel {
    for j in 0..7 vector {
      y[i, j] = max(x[i, j], 0.0:float32)
    }
  }
}
"""

SOFTMAX = """\
kernel softmax(in x: float32[4, 9], out y: float32[4, 9]) {
  for i in 0..4 parallel {
    var peak: float32 = -inf:float32
    for j in 0..9 vector {
      peak max= x[i, j]
    }
    var total: float32 = 0.0:float32
    for j in 0..9 {
      let e = exp(x[i, j] - peak)
      total += e
      y[i, j] = e
    }
    let scale = 1.0:float32 / total
    for j in 0..9 vector {
      y[i, j] = y[i, j] * scale
    }
  }
}
"""

MATMUL = """\
kernel matmul(in a: float32[6, 5], in b: float32[5, 8], out c: float32[6, 8]) {
  for i in 0..6 step 2 parallel {
    for j in 0..8 step 4 parallel {
      var acc: float32[2, 4] = 0.0:float32
      for k in 0..5 {
        for u in 0..2 {
          for v in 0..4 {
            acc[u, v] += a[i + u, k] * b[k, j + v]
          }
        }
      }
      for u in 0..2 {
        for v in 0..4 {
          c[i + u, j + v] = acc[u, v]
        }
      }
    }
  }
}
"""

LAYER_NORM = """\
kernel norm(in x: float16[3, 10], in w: float16[10], in b: float16[10], out y: float16[3, 10]) {
  for i in 0..3 parallel {
    var mean: float32 = 0.0:float32
    for j in 0..10 {
      mean = mean + float32(x[i, j])
    }
    mean = mean / 10.0:float32
    var square: float32 = 0.0:float32
    for j in 0..10 {
      let d = float32(x[i, j]) - mean
      square = fma(d, d, square)
    }
    let scale = rsqrt(square / 10.0:float32 + 1e-05:float32)
    for j in 0..10 vector {
      let d = (float32(x[i, j]) - mean) * scale
      y[i, j] = float16(fma(d, float32(w[j]), float32(b[j])))
    }
  }
}
"""

TRANSPOSE = """\
kernel transpose(in x: bfloat16[5, 6], out y: bfloat16[6, 5]) {
  for j in 0..6 parallel {
    for i in 0..5 step 2 {
      for u in i..min(i + 2, 5) vector {
        y[j, u] = x[u, j]
      }
    }
  }
}
"""

GATHER = """\
kernel gather(in x: float64[4, 3], in at: int32[6], out y: float64[6, 3]) {
  for i in 0..6 parallel {
    let row = int64(at[i])
    for j in 0..3 vector {
      if row >= 0 & row < 4 {
        y[i, j] = x[row, j]
      } else {
        y[i, j] = nan:float64
      }
    }
  }
}
"""

SCATTER_ADD = """\
kernel scatter_add(in x: float32[7], in at: int64[7], inout y: float32[3]) {
  for i in 0..7 parallel {
    if at[i] >= 0 & at[i] < 3 {
      y[at[i]] += x[i]
    }
  }
}
"""

TRIANGLE = """\
kernel triangle(in x: int64[5, 5], out y: int64[5], workspace t: int64[5, 5]) {
  for i in 0..5 parallel {
    for j in 0..i + 1 {
      t[i, j] = x[i, j] // 3
    }
    y[i] = 0
    for j in 0..i + 1 {
      y[i] += t[i, j] % 4
    }
  }
}
"""

GOLDEN = [RELU, SOFTMAX, MATMUL, LAYER_NORM, TRANSPOSE, GATHER, SCATTER_ADD, TRIANGLE]
BOTH_WAYS = pytest.mark.parametrize("lanes", [True, False])
rng = np.random.default_rng(0)


def execute(text: str, lanes: bool, **buffers: np.ndarray) -> None:
    kernel = parse_kernel(text)
    verify(kernel)
    run(kernel, buffers, lanes=lanes)


@pytest.mark.parametrize("text", GOLDEN, ids=lambda text: text.split("(")[0].split()[1])
def test_golden_text_verifies_and_prints_unchanged(text: str) -> None:
    kernel = parse_kernel(text)
    verify(kernel)
    assert print_kernel(kernel) == text
    assert hash(parse_kernel(text)) == hash(kernel)


def test_relu_built_from_nodes_prints_the_golden_text() -> None:
    i, j = Var("i"), Var("j")
    value = Binary("max", Load("x", (i, j), float32), Const(0.0, float32))
    row = For("j", Const(0), Const(7), 1, (Store("y", (i, j), value),), "vector")
    body = For("i", Const(0), Const(5), 1, (row,), "parallel")
    params = (Buffer("x", float32, (5, 7)), Buffer("y", float32, (5, 7), "out"))
    kernel = Kernel("relu", params, (body,))
    assert print_kernel(kernel) == RELU
    assert parse_kernel(RELU) == kernel


def test_operators_build_the_same_nodes_as_the_parser() -> None:
    j = Var("j")
    x = Load("x", (8 - j - 1,), float32)
    term = (2 * x - 1) / (x + 0.5)
    body = (
        Alloc("acc", float32, (), Const(0.0, float32)),
        For("j", Const(0), Const(8), 1, (Accumulate("acc", (), -term, "add"),)),
        Store("y", (), Local("acc", (), float32)),
    )
    kernel = Kernel("k", (Buffer("x", float32, (8,)), Buffer("y", float32, (), "out")), body)
    text = print_kernel(kernel)
    assert (
        "acc += -((2.0:float32 * x[8 - j - 1] - 1.0:float32) / (x[8 - j - 1] + 0.5:float32))"
        in text
    )
    assert parse_kernel(text) == kernel
    verify(kernel)


@BOTH_WAYS
def test_relu(lanes: bool) -> None:
    x = rng.standard_normal((5, 7), np.float32)
    x[0, 0] = np.nan
    y = np.empty_like(x)
    execute(RELU, lanes, x=x, y=y)
    np.testing.assert_array_equal(y, np.maximum(x, 0))


@BOTH_WAYS
def test_softmax(lanes: bool) -> None:
    x = rng.standard_normal((4, 9), np.float32)
    y = np.empty_like(x)
    execute(SOFTMAX, lanes, x=x, y=y)
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=1e-6)


@BOTH_WAYS
def test_matmul(lanes: bool) -> None:
    a, b = rng.standard_normal((6, 5), np.float32), rng.standard_normal((5, 8), np.float32)
    c = np.empty((6, 8), np.float32)
    execute(MATMUL, lanes, a=a, b=b, c=c)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-5, atol=1e-6)


@BOTH_WAYS
def test_layer_norm_in_half_precision_rounds_only_at_the_end(lanes: bool) -> None:
    x, w, b = (rng.standard_normal(s).astype(np.float16) for s in ((3, 10), (10,), (10,)))
    y = np.empty_like(x)
    execute(LAYER_NORM, lanes, x=x, w=w, b=b, y=y)
    wide = x.astype(np.float64)
    scale = 1 / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    expected = (wide - wide.mean(1, keepdims=True)) * scale * w + b
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)


@BOTH_WAYS
def test_transpose_of_a_non_contiguous_input_and_output(lanes: bool) -> None:
    x = rng.standard_normal((10, 6)).astype(ml_dtypes.bfloat16)[::2]
    y = np.zeros((6, 10), ml_dtypes.bfloat16)
    execute(TRANSPOSE, lanes, x=x, y=y[:, ::2])
    np.testing.assert_array_equal(y[:, ::2], x.T)
    assert not y[:, 1::2].any()


@BOTH_WAYS
def test_gather_with_bad_rows_guarded(lanes: bool) -> None:
    x = rng.standard_normal((4, 3))
    at = np.array([3, 0, -1, 2, 4, 0], np.int32)
    y = np.empty((6, 3))
    execute(GATHER, lanes, x=x, at=at, y=y)
    good = (at >= 0) & (at < 4)
    np.testing.assert_array_equal(y[good], x[at[good]])
    assert np.isnan(y[~good]).all()


@BOTH_WAYS
def test_scatter_add_accumulates_repeated_places(lanes: bool) -> None:
    x, at = rng.standard_normal(7, np.float32), np.array([0, 2, 0, 9, 2, 2, -1])
    y = np.array([1, 2, 3], np.float32)
    expected = y.copy()
    for value, place in zip(x, at):
        if 0 <= place < 3:
            expected[place] += value
    execute(SCATTER_ADD, lanes, x=x, at=at, y=y)
    np.testing.assert_array_equal(y, expected)


@BOTH_WAYS
def test_loop_bounds_that_depend_on_the_lane(lanes: bool) -> None:
    x = rng.integers(-50, 50, (5, 5))
    y = np.empty(5, np.int64)
    execute(TRIANGLE, lanes, x=x, y=y)
    np.testing.assert_array_equal(y, np.tril(x // 3 % 4).sum(1))


@BOTH_WAYS
def test_accumulate_in_a_half_type_rounds_each_time(lanes: bool) -> None:
    text = """kernel k(in x: float16[4], out y: float16[]) {
      var acc: float16 = 2048.0:float16
      for i in 0..4 vector { acc += x[i] }
      y[] = acc
    }"""
    y = np.empty((), np.float16)
    execute(text, lanes, x=np.full(4, 1, np.float16), y=y)
    assert y == 2048  # 2049 is no float16, and every single sum rounds back to 2048


@BOTH_WAYS
def test_half_arithmetic_is_not_rounded_before_it_is_stored(lanes: bool) -> None:
    text = """kernel k(in x: float16[1], out y: float16[1], out z: float16[1]) {
      for i in 0..1 parallel {
        let wide = x[i] + 1.0:float16
        y[i] = wide - 1.0:float16
        z[i] = float16(x[i] + 1.0:float16) - 1.0:float16
      }
    }"""
    x, y, z = np.array([2**-12], np.float16), np.empty(1, np.float16), np.empty(1, np.float16)
    execute(text, lanes, x=x, y=y, z=z)
    assert y[0] == x[0]
    assert z[0] == 0


def test_the_two_ways_agree_bit_by_bit_on_an_elementwise_nest() -> None:
    text = """kernel k(in x: float32[6, 5], in s: float32[5], out y: float32[6, 5]) {
      for i in 0..6 parallel {
        for j in 0..5 vector {
          let t = tanh(x[i, j]) * erf(s[j])
          if t > 0.0:float32 { y[i, j] = pow(t, 1.5:float32) }
          else { y[i, j] = select(i % 2 == 0, sin(t), float32(truncdiv(i - j, 2))) }
        }
      }
    }"""
    x, s = rng.standard_normal((6, 5), np.float32), rng.standard_normal(5, np.float32)
    fast, slow = np.empty_like(x), np.empty_like(x)
    execute(text, True, x=x, s=s, y=fast)
    execute(text, False, x=x, s=s, y=slow)
    np.testing.assert_array_equal(fast.view(np.int32), slow.view(np.int32))


@BOTH_WAYS
@pytest.mark.parametrize(
    "body, message",
    [
        ("for i in 0..4 parallel { y[0] = x[i] }", "write and write the same element [0] of 'y'"),
        ("for i in 0..3 parallel { w[i + 1] = w[i] }", "read and write the same element"),
        ("for i in 1..4 vector { w[i - 1] = w[i] }", "the same element"),
        ("for i in 0..4 vector { w[i] = 1.0:float32 w[0] += x[i] }", "add and write"),
        (
            "for i in 0..4 vector { if i < 2 { w[0] += x[i] } else { w[0] max= x[i] } }",
            "add and max the same element [0] of 'w'",
        ),
        (
            "for i in 0..2 { for j in 0..2 { for k in 0..2 parallel { w[i + j] = x[k] } } }",
            "write and write",
        ),
        ("for i in 0..2 parallel { for j in 0..2 { w[i + j] = x[j] } }", "write and write"),
        (
            "for i in 0..4 parallel { y[i] = y[i] + x[i] }",
            "'y' is read at [0] before it is written",
        ),
        ("for i in 0..4 { y[i] += x[i] }", "'y' is read at [0] before it is written"),
        ("for i in 0..3 { y[i] = x[i] }", "out buffer 'y' was not written at [3]"),
        (
            "for i in 0..4 parallel { y[i] = x[n[i]] }",
            "of 'x' is out of bounds: expected 0 <= index",
        ),
        ("for i in 0..5 { y[i] = 0.0:float32 }", "< 4, got 4 (at i=4)"),
        ("for i in 0..4 parallel { let q = 7 // (i - 2) }", "integer division by zero (at i=2)"),
    ],
)
def test_mistakes_found_at_run_time(body: str, message: str, lanes: bool) -> None:
    params = "in x: float32[4], in n: int64[4], out y: float32[4], inout w: float32[4]"
    kernel = parse_kernel(f"kernel k({params}) {{ {body} }}")
    x, n = np.ones(4, np.float32), np.array([0, 1, -3, 2])
    y, w = np.full(4, 5, np.float32), np.full(4, 6, np.float32)
    with pytest.raises(GraphError) as error:
        run(kernel, {"x": x, "n": n, "y": y, "w": w}, lanes=lanes)
    assert message in str(error.value)
    assert (y == 5).all() and (w == 6).all()


@BOTH_WAYS
def test_what_looks_like_a_race_but_is_none(lanes: bool) -> None:
    text = """kernel k(in x: float32[4], inout y: float32[4], inout s: float32[]) {
      for t in 0..3 {
        for i in 0..4 parallel { y[i] = y[i] + x[i] s[] += x[0] }
        for i in 0..4 parallel { y[3 - i] = y[3 - i] * 2.0:float32 }
      }
    }"""
    y, s = np.zeros(4, np.float32), np.zeros((), np.float32)
    execute(text, lanes, x=np.ones(4, np.float32), y=y, s=s)
    np.testing.assert_array_equal(y, np.full(4, 14, np.float32))
    assert s == 12


@pytest.mark.parametrize(
    "buffers, message",
    [
        ({"x": np.ones(3, np.float32)}, "expected an array for buffer 'y'"),
        ({"x": np.ones(3, np.float32), "z": np.ones(1)}, "has no buffer 'z'"),
        ({"x": np.ones(3)}, "buffer 'x': expected float32[3], got float64[3]"),
        ({"x": np.ones(4, np.float32)}, "buffer 'x': expected float32[3], got float32[4]"),
        (
            {"x": np.ones(3, np.float32), "y": np.broadcast_to(np.float32(1), (3,))},
            "buffer 'y': expected a writeable array",
        ),
    ],
)
def test_arguments_that_do_not_fit(buffers: dict[str, np.ndarray], message: str) -> None:
    kernel = parse_kernel(
        "kernel k(in x: float32[3], out y: float32[3]) { for i in 0..3 { y[i] = x[i] } }"
    )
    with pytest.raises(GraphError) as error:
        run(kernel, buffers)
    assert message in str(error.value)


@BOTH_WAYS
def test_empty_buffers_run_no_iteration(lanes: bool) -> None:
    text = "kernel k(in x: float32[0, 3], out y: float32[0, 3]) { %s }"
    nest = "for i in 0..0 parallel { for j in 0..3 vector { y[i, j] = x[i, j] } }"
    x, y = np.empty((0, 3), np.float32), np.empty((0, 3), np.float32)
    execute(text % nest, lanes, x=x, y=y)
