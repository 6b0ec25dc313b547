"""Samples of ops as arrays and as graph nodes, and fresh data of the same kind as a sample's."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np

from ..core.dtypes import from_numpy
from ..ir.node import Node, Value, make_input
from ..ir.types import TensorType
from ..ops.contract import Array, Attrs, Declined, Primitive, Sample


def samples_of(op: Primitive) -> list[Sample]:
    """The op's samples with operands as arrays (a sample source may give NumPy scalars)."""
    source = op.field("samples")
    if isinstance(source, Declined):
        return []
    # A source made by a family helper takes nothing, one written as a method takes the op.
    made = source(op) if inspect.signature(source).parameters else source()
    return [
        Sample(tuple(map(np.asarray, s.arrays)), s.attrs, s.grad, s.error, s.name) for s in made
    ]


def type_of(array: Array) -> TensorType:
    """The tensor type of an array."""
    return TensorType(array.shape, from_numpy(array.dtype))


def apply(op: Primitive, arrays: Sequence[Array], attrs: Attrs) -> tuple[list[Value], Node]:
    """The op on fresh graph inputs of the arrays' types: these inputs, and the op's node."""
    inputs = [make_input(type_of(a)) for a in arrays]
    result = op(*inputs, **attrs)
    return inputs, (result if isinstance(result, Value) else result[0]).node


def describe(sample: Sample) -> str:
    """A sample in one line, to head a complaint."""
    operands = ", ".join(f"{a.dtype}{list(a.shape)}" for a in sample.arrays)
    attrs = ", ".join(f"{k}={_short(v)}" for k, v in sample.attrs.items())
    name = f"{sample.name}: " if sample.name else ""
    return f"{name}({operands})" + (f" {{{attrs}}}" if attrs else "")


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def finite(arrays: Sequence[Array]) -> bool:
    """Whether no array holds a NaN or an infinity."""
    return all(np.isfinite(a).all() for a in arrays if a.dtype.kind not in "iub")


def widen(array: Array) -> Array:
    """Floating-point arrays in double precision; others as they are."""
    if array.dtype.kind == "c":
        return array.astype(np.complex128)
    return array if array.dtype.kind in "iub" else array.astype(np.float64)


def redraw(rng: np.random.Generator, array: Array) -> Array:
    """Random data of the array's shape, dtype and domain.

    Floats become random mixtures of two of the array's own elements, so an interval that holds
    the sample holds the result; integers (which may be indices) are reordered.
    """
    kind = array.dtype.kind
    if array.size == 0:
        return array.copy()
    if kind == "b":
        density = rng.choice([0.15, 0.5, 0.85])
        return np.asarray(rng.random(array.shape) < density)
    shuffled = rng.permutation(array.ravel()).reshape(array.shape)
    if kind in "iu" or not finite([array]):
        return shuffled
    if array.size == 1:
        return np.asarray(array * rng.uniform(0.7, 1.0), dtype=array.dtype)
    other = rng.permutation(array.ravel()).reshape(array.shape)
    weight = rng.uniform(size=array.shape)
    return np.asarray(shuffled * weight + other * (1 - weight)).astype(array.dtype)
