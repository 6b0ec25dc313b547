"""Whole kernels of the loop IR: what is emitted computes what the interpreter computes."""

import ctypes
import re

import numpy as np
import pytest
from loop_checks import check, results

from thalweg.codegen import streams
from thalweg.codegen.emit import emit
from thalweg.codegen.target import AVX2, host
from thalweg.core.dtypes import BY_NAME
from thalweg.ir.loop_text import parse_kernel
from thalweg.testing.native import compile_native

SOFTMAX = """
kernel softmax(in x: float32[R, N], out y: float32[R, N]) {
  for i in 0..R parallel {
    var peak: float32 = -inf:float32
    for j in 0..N vector { peak max= x[i, j] }
    var total: float32 = 0.0:float32
    for j in 0..N vector {
      let e = exp(x[i, j] - peak)
      total += e
      y[i, j] = e
    }
    let scale = 1.0:float32 / total
    for j in 0..N vector { y[i, j] = y[i, j] * scale }
  }
}
"""
LAYER_NORM = """
kernel norm(in x: float16[R, N], in w: float16[N], in b: float16[N], out y: float16[R, N]) {
  for i in 0..R parallel {
    var sum: float32 = 0.0:float32
    for j in 0..N vector { sum += float32(x[i, j]) }
    let mean = sum / N.0:float32
    var square: float32 = 0.0:float32
    for j in 0..N vector {
      let d = float32(x[i, j]) - mean
      square += d * d
    }
    let scale = rsqrt(square / N.0:float32 + 1e-05:float32)
    for j in 0..N vector {
      let d = (float32(x[i, j]) - mean) * scale
      y[i, j] = float16(fma(d, float32(w[j]), float32(b[j])))
    }
  }
}
"""
MATMUL = """
kernel matmul(in a: float32[6, 5], in b: float32[5, 8], out c: float32[6, 8]) {
  for i in 0..6 step 2 parallel {
    for j in 0..8 step 4 parallel {
      var acc: float32[2, 4] = 0.0:float32
      for k in 0..5 {
        for u in 0..2 { for v in 0..4 { acc[u, v] += a[i + u, k] * b[k, j + v] } }
      }
      for u in 0..2 { for v in 0..4 { c[i + u, j + v] = acc[u, v] } }
    }
  }
}
"""
PADDED = """
kernel padded(in x: float32[R, N], out y: float32[R, M]) {
  for i in 0..R parallel {
    for j in 0..M vector {
      var v: float32 = 7.0:float32
      if j >= 2 & j < N + 2 { v = x[i, j - 2] }
      y[i, j] = v
    }
  }
}
"""
EMBEDDING = """
kernel gather(in t: float64[9, N], in at: int64[R], out y: float64[R, N]) {
  for i in 0..R parallel {
    let row = at[i]
    for j in 0..N vector { if row >= 0 & row < 9 { y[i, j] = t[row, j] } else { y[i, j] = 0.0:float64 } }
  }
}
"""  # noqa: E501
HISTOGRAM = """
kernel histogram(in at: int32[N], in w: float32[N], inout y: float32[9]) {
  for i in 0..N vector {
    let k = int64(at[i])
    if k >= 0 & k < 9 { y[k] += w[i] }
  }
}
"""
LANE_BRANCHES = """
kernel branches(in x: float32[R, N], in n: int32[R, N], out y: float32[R, N], out z: int32[R, N]) {
  for i in 0..R parallel {
    for j in 0..N vector {
      var a: float32 = 1.0:float32
      var c: int32 = 0:int32
      for k in 0..6 {
        if int32(k) < n[i, j] {
          a = a * x[i, j]
          if a > 2.0:float32 { c += 1:int32 } else { a = a + 0.5:float32 }
        }
      }
      y[i, j] = a
      z[i, j] = c
    }
  }
}
"""
STACK = """
kernel stack(in x: float32[R, N], in at: int32[R, N], out y: float32[R, N]) {
  for i in 0..R parallel {
    for j in 0..N vector {
      var slots: float32[5] = 0.5:float32
      for k in 0..3 { slots[int64(at[i, j]) % 5] += x[i, j] * float32(k) }
      y[i, j] = slots[3] + slots[int64(at[i, j] + 1:int32) % 5]
    }
  }
}
"""
COLUMN_SUMS = """
kernel columns(in x: bfloat16[R, N], out y: float32[N]) {
  for j in 0..N vector {
    var sum: float32 = 0.0:float32
    for i in 0..R { sum += float32(x[i, j]) }
    y[j] = sum
  }
}
"""
PARTS = """
kernel parts(in x: float32[R, N], workspace w: float32[R], out y: float32[1]) {
  let third = x[0, 0] / 3.0:float32
  for i in 0..R parallel {
    var sum: float32 = 0.0:float32
    for j in 0..N vector { sum += x[i, j] * third }
    w[i] = sum
  }
  var all: float32 = 0.0:float32
  for i in 0..R vector { all += w[i] }
  y[0] = all
}
"""
FLAT = """
kernel flat(in x: float32[N], in m: bool[N], in h: bfloat16[N], out y: float32[N], out z: bool[N]) {
  for i in 0..N vector {
    let t = select(m[i], x[i], float32(h[i]))
    y[i] = tanh(t) * 2.0:float32
    z[i] = t > 0.0:float32
  }
}
"""
REVERSED = """
kernel reversed(in x: float32[R, N], out y: float32[R, N], out z: float32[N, R]) {
  for i in 0..R parallel {
    for j in 0..N vector {
      y[i, N - 1 - j] = x[i, N - 1 - j] + x[i, j] * float32(j)
      z[j, i] = x[i, j]
    }
  }
}
"""
STRIDED = """
kernel strided(in x: float32[R, M], out y: float32[R, N]) {
  for i in 0..R parallel {
    for j in 0..N vector { y[i, j] = max(x[i, 2 * j], x[i, 2 * j + 1]) }
  }
}
"""
SPLIT_INDEX = """
kernel split(in x: int32[R, N], out y: int64[R * N]) {
  for i in 0..R * N vector { y[i] = int64(x[i // N, i % N]) + i }
}
"""
TRIANGLE = """
kernel triangle(in x: float32[N, N], out y: float32[N, N]) {
  for i in 0..N parallel {
    for j in 0..i + 1 vector { y[i, j] = x[i, j] }
    for j in i + 1..N vector { y[i, j] = -1.0:float32 }
  }
}
"""
KERNELS = {
    "softmax": SOFTMAX, "norm": LAYER_NORM, "padded": PADDED, "embedding": EMBEDDING,
    "histogram": HISTOGRAM, "branches": LANE_BRANCHES, "stack": STACK, "columns": COLUMN_SUMS,
    "parts": PARTS, "flat": FLAT, "reversed": REVERSED, "strided": STRIDED,
    "split": SPLIT_INDEX, "triangle": TRIANGLE,
}  # fmt: skip


def kernel_of(text, rows, size):
    """A kernel with sizes filled in: R rows, N columns, M = 2 N + 1."""
    text = text.replace("N.0:float32", f"{size}.0:float32").replace("R * N]", f"{rows * size}]")
    for name, value in (("R", rows), ("N", size), ("M", 2 * size + 1)):
        text = re.sub(rf"\b{name}\b", str(value), text)
    return parse_kernel(text)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", [1, 7, 16, 37])
def test_kernels(name, size):
    check(kernel_of(KERNELS[name], 3, size), ulps=64, elsewhere=size == 37)


@pytest.mark.parametrize(
    ("rows", "size", "around"), [(64, 128, True), (65, 48, True), (65, 49, False)]
)
def test_large_results_are_written_around_the_cache(monkeypatch, rows, size, around):
    """Where rows are whole lines; a buffer that is not aligned is written as usual."""
    monkeypatch.setattr(streams, "LARGE", 1 << 12)
    kernel = kernel_of(LINES, rows, size)
    assert ("nontemporal" in emit(kernel, AVX2).text) is around
    check(kernel, ulps=2)


LINES = """
kernel lines(in x: float32[R, N], in m: float32[N], out y: float32[R, N], out z: bfloat16[R, N]) {
  for i in 0..R parallel {
    for j in 0..N vector {
      y[i, j] = x[i, j] * m[j]
      z[i, j] = bfloat16(x[i, j])
    }
  }
}
"""
TRANSPOSE = """
kernel transpose(in x: D[B, N, R], in w: D[N], out y: D[B, R, N]) {
  for b in 0..B parallel {
    for i in 0..R parallel {
      for j in 0..N vector { y[b, i, j] = VALUE }
    }
  }
}
"""


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int8", "int64", "bool"])
@pytest.mark.parametrize(("rows", "size"), [(8, 32), (37, 50), (9, 8), (300, 41)])
def test_transposes(dtype, rows, size):
    light = "x[b, j, i]" if dtype == "bool" else "x[b, j, i] + w[j]"
    text = TRANSPOSE.replace("VALUE", light).replace("D[", f"{dtype}[").replace("B", "2")
    check(kernel_of(text, rows, size), ulps=2, elsewhere=size == 50)


def test_a_transpose_with_much_to_compute():
    value = "exp(x[b, j, i]) * x[b, j, i] + sin(w[j] * x[b, j, i])"
    text = TRANSPOSE.replace("VALUE", value).replace("D[", "float32[").replace("B", "2")
    check(kernel_of(text, 19, 45), ulps=16)


def test_long_sums_are_as_exact_as_pairwise_ones():
    """Ten million numbers of one sign, in one row and down one column."""
    count = 10_000_000
    x = np.random.default_rng(0).random(count, np.float32)
    exact = x.sum(dtype=np.float64)
    for shape, text in (
        ([1, count], kernel_of(SUM, 1, count)), ([count, 1], kernel_of(COLUMN_SUM, count, 1)),
    ):  # fmt: skip
        found = results(text, {"x": x.reshape(shape), "y": np.zeros(1, np.float32)})["y"][0]
        assert abs(found - exact) / exact < 3e-7


SUM = """
kernel sums(in x: float32[R, N], out y: float32[1]) {
  for i in 0..1 parallel {
    var sum: float32 = 0.0:float32
    for j in 0..N vector { sum += x[i, j] }
    y[i] = sum
  }
}
"""
COLUMN_SUM = """
kernel sums(in x: float32[R, N], out y: float32[N]) {
  for j in 0..N vector {
    var sum: float32 = 0.0:float32
    for i in 0..R { sum += x[i, j] }
    y[j] = sum
  }
}
"""


def test_what_may_share_memory():
    """A result may take the place of an operand that is read for the last time with it."""
    pairs = lambda text: emit(kernel_of(text, 3, 32), AVX2).in_place  # noqa: E731
    text = "kernel k(in x: float32[N], in w: float32[N], out y: float32[N]) {{ for i in 0..N vector {{ {} }} }}"  # noqa: E501
    assert pairs(text.format("y[i] = x[i] + w[i]")) == ((0, 2), (1, 2))
    assert pairs(text.format("y[i] = x[i] + w[N - 1 - i]")) == ((0, 2),)
    assert pairs(text.format("y[i] = x[i] let t = w[i]")) == ((0, 2),)


@pytest.mark.parametrize("size", [33, 37])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_odd_sizes_in_place(dtype, size):
    """No element is computed twice where the result may lie in the operand's memory, and nothing
    past the end is touched."""
    text = f"""kernel k(in x: {dtype}[N], out y: {dtype}[N]) {{
        for i in 0..N vector {{ y[i] = x[i] + x[i] }}
    }}"""
    kernel = kernel_of(text, 3, size)
    native = emit(kernel, host())
    assert native.in_place == ((0, 1),)
    memory = np.arange(size + 1).astype(BY_NAME[dtype].np)
    expected = [*range(0, 2 * size, 2), size]  # the element behind the end stays
    code = compile_native(native)
    table = (ctypes.c_void_p * 2)(memory.ctypes.data, memory.ctypes.data)
    for launch in native.launches:
        entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        entry(code.addresses[launch.symbol])(ctypes.addressof(table), 0, launch.extent)
    assert memory.tolist() == expected


def test_the_text_is_the_same_every_time():
    for text in KERNELS.values():
        assert emit(kernel_of(text, 3, 37), AVX2).text == emit(kernel_of(text, 3, 37), AVX2).text


def test_launches():
    """Units are rows; long rows are cut; what follows through registers is one launch."""
    native = emit(kernel_of(PARTS, 500, 4000), AVX2)
    first, second = native.launches
    assert first.extent == 500 and 1 <= first.chunk < 500 and second.extent == 1
    assert native.workspaces == (2000,)
    flat = emit(kernel_of(FLAT, 1, 1 << 20), AVX2).launches[0]
    assert flat.extent > 8 and flat.chunk == 1


def test_operands_that_share_memory_with_a_result():
    """In passes over a row, as long as the operand is read before the row's result is stored."""
    text = """kernel f(in x: float32[512], in w: float32[64], out y: float32[512]) {
      let scale = w[3]
      for i in 0..8 parallel {
        var s: float32 = 0.0:float32
        for j in 0..64 vector { s += x[i * 64 + j] }
        let mean = s
        for j in 0..64 vector { y[i * 64 + j] = (x[i * 64 + j] - mean) * scale }
        %s
      }
    }"""
    for more, pairs in [
        ("", ((0, 2),)),
        ("for j in 0..64 vector { y[i * 64 + j] = y[i * 64 + j] * w[j] }", ((0, 2),)),
        ("for j in 0..64 vector { y[i * 64 + j] = x[i * 64 + j] }", ()),
        ("for j in 0..63 vector { y[i * 64 + j] = y[i * 64 + j + 1] }", ()),
        ("for k in 0..2 { for j in 0..64 vector { y[i * 64 + j] = w[j] } }", ()),
    ]:
        kernel = parse_kernel(text % more)
        assert emit(kernel, host()).in_place == pairs, more
