"""Runs the loop kernel of a primitive in the interpreter, beside the primitive's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import settings

from thalweg.core.dtypes import from_numpy
from thalweg.ir import loop_interp
from thalweg.ir.loop_text import parse_kernel, print_kernel
from thalweg.ir.loop_verify import verify
from thalweg.ir.loops import Kernel
from thalweg.ir.node import Node, make_input
from thalweg.ir.types import TensorType
from thalweg.ops import PRIMITIVES

Array = np.ndarray[Any, Any]

# The interpreter is slow: fewer examples than hypothesis's hundred, always the same ones.
few = settings(max_examples=40, deadline=None, derandomize=True)


def node_of(name: str, arrays: tuple[Array, ...], attrs: dict[str, Any]) -> Node:
    types = tuple(TensorType(a.shape, from_numpy(a.dtype)) for a in arrays)
    op = PRIMITIVES[name]
    return Node(op, tuple(map(make_input, types)), attrs, op.infer_types(types, attrs))


def kernel_of(name: str, arrays: tuple[Array, ...], attrs: dict[str, Any]) -> Kernel:
    """The kernel, proven in bounds, and equal to what its text parses to."""
    kernel = PRIMITIVES[name].lower.build(node_of(name, arrays, attrs))
    verify(kernel)
    assert parse_kernel(print_kernel(kernel)) == kernel
    return kernel


def interpret(kernel: Kernel, arrays: tuple[Array, ...], lanes: bool = True) -> list[Array]:
    """The kernel's results, flat. Its parameters are the operands, then results, workspaces."""
    buffers: dict[str, Array] = {}
    given = list(arrays)
    results = []
    for buffer in kernel.params:
        if buffer.mode == "in":
            buffers[buffer.name] = given.pop(0).reshape(buffer.shape)
        elif buffer.mode == "out":
            buffers[buffer.name] = np.empty(buffer.shape, buffer.dtype.np)
            results.append(buffers[buffer.name])
    assert not given, f"{kernel.name} has too few parameters"
    loop_interp.run(kernel, buffers, lanes=lanes)
    return [r.reshape(-1) for r in results]


def check(
    name: str, arrays: tuple[Array, ...], attrs: dict[str, Any], lanes: bool = True
) -> Kernel:
    """Assert that the kernel computes what the reference does."""
    kernel = kernel_of(name, arrays, attrs)
    with np.errstate(all="ignore"):
        wanted = PRIMITIVES[name].run(arrays, attrs)
    found = interpret(kernel, arrays, lanes)
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted):
        assert mine.dtype == theirs.dtype
        compare(mine, theirs.reshape(-1), str(attrs))
    return kernel


def compare(mine: Array, theirs: Array, what: str = "") -> None:
    """Equal integers; floats to a few roundings of their type (NaN and infinities alike)."""
    if mine.dtype.kind in "iub":
        np.testing.assert_array_equal(mine, theirs, what)
        return
    rtol = {2: 1e-2, 4: 2e-6, 8: 1e-14}[mine.dtype.itemsize]
    wide = np.float32 if mine.dtype.itemsize == 2 else mine.dtype
    a, b = mine.astype(wide), theirs.astype(wide)
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * 1e-3, err_msg=what)
