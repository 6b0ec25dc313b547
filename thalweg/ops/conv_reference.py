"""NumPy convolution: windows as strided views, gathered into one matrix product per block.

A block is a part of the batch whose gathered windows fit a cache. Where each group has one
channel in and one or two out (depthwise), that would be a row of tiny products; there a sum of
shifted slices over the kernel's offsets is used instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

BLOCK = 1 << 19  # elements of gathered windows at a time


def padded(x: Array, padding: Pairs) -> Array:
    """``x`` with its trailing dimensions padded with zeros (or cropped, if negative)."""
    if not any(p for pair in padding for p in pair):
        return x
    lead = x.ndim - len(padding)
    space = [n + low + high for n, (low, high) in zip(x.shape[lead:], padding)]
    result = np.zeros((*x.shape[:lead], *space), x.dtype)
    into, source = _overlap(x.shape[lead:], padding)
    result[into] = x[source]
    return result


def _overlap(space: Ints, padding: Pairs) -> tuple[Any, Any]:
    """Indices into a padded and the original array that name the same elements."""
    into = [slice(max(low, 0), low + n + min(high, 0)) for n, (low, high) in zip(space, padding)]
    source = [slice(max(-low, 0), n + min(high, 0)) for n, (low, high) in zip(space, padding)]
    return (..., *into), (..., *source)


def windows(x: Array, kernel: Ints, out: Ints, stride: Ints, dilation: Ints) -> Array:
    """View [n, c, *kernel, *out] of a padded x: element k of the window at position p."""
    n, c, *steps = x.strides
    return np.lib.stride_tricks.as_strided(
        x,
        (*x.shape[:2], *kernel, *out),
        (n, c, *(s * d for s, d in zip(steps, dilation)), *(s * t for s, t in zip(steps, stride))),
        writeable=False,
    )


def offsets(kernel: Ints, out: Ints, stride: Ints, dilation: Ints) -> Iterator[tuple[Any, Any]]:
    """Each kernel offset with the index of the elements it meets in a padded [n, c, *space]."""
    for k in product(*map(range, kernel)):
        at = [
            slice(i * d, i * d + s * (o - 1) + 1, s) for i, d, s, o in zip(k, dilation, stride, out)
        ]
        yield k, (slice(None), slice(None), *at)


def _blocks(n: int, elements: int) -> Iterator[slice]:
    size = max(1, BLOCK // max(elements, 1))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _space(x: Ints, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints) -> Ints:
    return tuple(
        (n + low + high - d * (k - 1) - 1) // s + 1
        for n, k, s, (low, high), d in zip(x[2:], kernel, stride, padding, dilation)
    )


def _shallow(channels_in: int, channels_out: int) -> bool:
    return channels_in == 1 and channels_out <= 2


def _count(extents: Ints) -> int:
    return int(np.prod(extents, dtype=np.int64))


def convolve(
    x: Array, w: Array, stride: Ints, padding: Pairs, dilation: Ints, groups: int
) -> Array:
    """y of `conv`."""
    (n, c), (o, cg), kernel = x.shape[:2], w.shape[:2], w.shape[2:]
    out = _space(x.shape, kernel, stride, padding, dilation)
    y = np.zeros((n, o, *out), x.dtype)
    if 0 in y.shape or c == 0:
        return y
    x = padded(x, padding)
    if _shallow(cg, o // max(groups, 1)):
        parts = y.reshape(n, groups, o // groups, *out)
        taps = w.reshape(groups, o // groups, *kernel)
        for k, at in offsets(kernel, out, stride, dilation):
            tap = taps[(..., *k)].reshape(groups, o // groups, *(1,) * len(out))
            parts += x[at][:, :, None] * tap
        return y
    view = windows(x, kernel, out, stride, dilation)
    rows = w.reshape(groups, o // groups, cg * _count(kernel))
    order = (1, *range(2, 2 + len(kernel)), 0, *range(2 + len(kernel), view.ndim))
    for block in _blocks(n, c * _count(kernel + out)):
        columns = view[block].transpose(order)  # [c, *kernel, n, *out]
        part = np.matmul(rows, columns.reshape(groups, cg * _count(kernel), -1))
        y[block] = part.reshape(o, -1, *out).swapaxes(0, 1)
    return y


def input_gradient(
    g: Array, w: Array, shape: Ints, stride: Ints, padding: Pairs, dilation: Ints, groups: int
) -> Array:
    """gx of `conv`, of ``shape``: each window's gradient is added where the window was read."""
    (n, o), (_, cg), kernel, out = g.shape[:2], w.shape[:2], w.shape[2:], g.shape[2:]
    c = shape[1]
    space = [m + low + high for m, (low, high) in zip(shape[2:], padding)]
    full = np.zeros((n, c, *space), g.dtype)
    if 0 not in g.shape and 0 not in w.shape:
        if _shallow(cg, o // max(groups, 1)):
            parts = g.reshape(n, groups, o // groups, *out)
            taps = w.reshape(groups, o // groups, *kernel)
            for k, at in offsets(kernel, out, stride, dilation):
                tap = taps[(..., *k)].reshape(groups, o // groups, *(1,) * len(out))
                full[at] += parts[:, :, 0] * tap[:, 0] if o == groups else (parts * tap).sum(2)
        else:
            rows = w.reshape(groups, o // groups, cg * _count(kernel)).swapaxes(1, 2)
            for block in _blocks(n, c * _count(kernel + out)):
                columns = g[block].swapaxes(0, 1).reshape(groups, o // groups, -1)
                part = np.matmul(rows, columns).reshape(c, *kernel, -1, *out)
                target = full[block].swapaxes(0, 1)
                for k, at in offsets(kernel, out, stride, dilation):
                    target[at] += part[(slice(None), *k)]
    into, source = _overlap(shape[2:], padding)
    result = full[into]
    if result.shape == tuple(shape):
        return np.ascontiguousarray(result)
    cropped = np.zeros(shape, g.dtype)  # negative padding: elements that no window reads
    cropped[source] = result
    return cropped


def weight_gradient(
    x: Array, g: Array, shape: Ints, stride: Ints, padding: Pairs, dilation: Ints, groups: int
) -> Array:
    """gw of `conv`, of ``shape``."""
    n, c, o, cg = x.shape[0], x.shape[1], shape[0], shape[1]
    kernel, out = shape[2:], g.shape[2:]
    result = np.zeros(shape, x.dtype)
    if 0 in x.shape or 0 in g.shape or 0 in shape:
        return result
    x = padded(x, padding)
    if _shallow(cg, o // max(groups, 1)):
        parts = g.reshape(n, groups, o // groups, _count(out))
        for k, at in offsets(kernel, out, stride, dilation):
            columns = x[at].reshape(n, groups, 1, _count(out))
            result[(slice(None), 0, *k)] = (parts * columns).sum((0, 3)).reshape(o)
        return result
    view = windows(x, kernel, out, stride, dilation)
    order = (1, *range(2, 2 + len(kernel)), 0, *range(2 + len(kernel), view.ndim))
    total = result.reshape(groups, o // groups, cg * _count(kernel))
    for block in _blocks(n, c * _count(kernel + out)):
        columns = view[block].transpose(order).reshape(groups, cg * _count(kernel), -1)
        rows = g[block].swapaxes(0, 1).reshape(groups, o // groups, -1)
        total += np.matmul(rows, columns.swapaxes(1, 2))
    return result
