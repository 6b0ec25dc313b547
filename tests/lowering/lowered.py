"""Kernels of lowered nodes, run in the loop interpreter on arrays."""

import numpy as np

from thalweg.ir.anchor import AnchorCall
from thalweg.ir.loop_interp import run
from thalweg.ir.loop_verify import verify
from thalweg.ir.loops import Buffer, Const, For, Kernel, Let, Load, Var, compute_dtype
from thalweg.lowering import lower_node
from thalweg.passes.fuse_space import is_anchor


def run_kernel(kernel: Kernel, arrays, lanes=True):
    """Verify a kernel, run it on the arrays of its operands: the flat arrays of its results."""
    verify(kernel)
    operands = [b for b in kernel.params if b.mode == "in"]
    results = [b for b in kernel.params if b.mode == "out"]
    assert len(operands) == len(arrays)
    given = {b.name: np.ascontiguousarray(a).reshape(b.shape) for b, a in zip(operands, arrays)}
    found = {b.name: np.zeros(b.shape, b.dtype.np) for b in results}
    run(kernel, {**given, **found}, lanes=lanes)
    return [found[b.name] for b in results]


def compare(found, expected, rtol=1e-6, atol=1e-12):
    """Flat results against arrays: exact for integers and bools, close for floats."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        theirs = np.asarray(theirs)
        assert ours.dtype == theirs.dtype
        if theirs.dtype.kind in "iub":
            np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs)
            continue
        if theirs.dtype.itemsize == 2:
            rtol, atol = 2e-2, 1e-3
        np.testing.assert_allclose(
            ours.reshape(theirs.shape).astype(np.float64), theirs.astype(np.float64), rtol, atol
        )


def run_anchor(call, op, attrs, arrays):
    """The op's reference on the call's strided operands, then the epilogue, element by element."""
    buffers = [np.ascontiguousarray(a).reshape(-1) for a in arrays]
    views = [
        np.lib.stride_tricks.as_strided(
            buffers[o.buffer][o.offset :],
            o.shape,
            [s * buffers[o.buffer].itemsize for s in o.strides],
        )
        for o in call.operands
    ]
    dtype = compute_dtype(call.dtype)
    (result,) = op.run([v.astype(dtype.np) for v in views], attrs)
    value = Buffer("anchor", dtype, call.shape)
    index = tuple(Var(n) for n in call.epilogue.index)
    body = (Let(call.epilogue.value, Load("anchor", index, dtype)), *call.epilogue.body)
    for name, extent in zip(reversed(call.epilogue.index), reversed(call.shape)):
        body = (For(name, Const(0), Const(extent), 1, body, "parallel"),)
    kernel = Kernel("epilogue", (value, *call.params), body)
    return run_kernel(kernel, [result.reshape(call.shape), *arrays])


def run_lowered(graph, arrays):
    """Every node of a graph by its lowering, or by its reference where it runs on the host."""
    known = dict(zip(graph.inputs, arrays))
    for node in graph.nodes:
        given = [known[v] for v in node.inputs]
        lowered = lower_node(node)
        if isinstance(lowered, Kernel):
            results = run_kernel(lowered, given)
        elif isinstance(lowered, AnchorCall):
            body = node.attrs["body"].nodes if "body" in node.attrs else (node,)
            (anchor,) = [n for n in body if is_anchor(n)]
            results = run_anchor(lowered, anchor.op, anchor.attrs, given)
        else:
            assert "body" not in node.attrs or node.attrs["body"] is None, node
            results = node.op.run(given, node.attrs)
        for value, result in zip(node.outputs, results):
            known[value] = np.asarray(result).reshape(value.shape)
    return [known[v] for v in graph.outputs]


def run_natively(graph, arrays):
    """Every node of a graph by its native kernel, or by its reference."""
    from thalweg.codegen.emit import emit
    from thalweg.codegen.target import host
    from thalweg.codegen.templates import instantiate
    from thalweg.testing.native import run_native

    known = dict(zip(graph.inputs, map(np.ascontiguousarray, arrays)))
    for node in graph.nodes:
        given = [np.ascontiguousarray(known[v]) for v in node.inputs]
        lowered = lower_node(node)
        if lowered is None:
            results = node.op.run(given, node.attrs)
        else:
            make = emit if isinstance(lowered, Kernel) else instantiate
            results = [np.zeros(v.shape, v.dtype.np) for v in node.outputs]
            run_native(make(lowered, host()), given, results, order=1)
        for value, result in zip(node.outputs, results):
            known[value] = np.asarray(result).reshape(value.shape)
    return [known[v] for v in graph.outputs]


def agree(found, expected, tolerance=2e-4):
    """Equal integers and bools, floats within a relative tolerance of the largest."""
    for ours, theirs in zip(found, expected, strict=True):
        ours, theirs = np.asarray(ours).reshape(theirs.shape), np.asarray(theirs)
        assert ours.dtype == theirs.dtype
        if theirs.dtype.kind in "iub":
            np.testing.assert_array_equal(ours, theirs)
        else:
            finite = np.abs(theirs[np.isfinite(theirs)])
            scale = float(finite.max()) if finite.size else 1.0
            np.testing.assert_allclose(ours, theirs, tolerance, tolerance * max(scale, 1e-3))
