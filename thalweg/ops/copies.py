"""Views as copies: functions whose results have storage of their own where a view would share
its operand's, and those that give a tensor with a view of it overwritten (``*_scatter``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..core.dtypes import int64
from ..core.errors import ShapeError
from ..ir.node import Value
from .arithmetic import cast
from .function import FUNCTIONS, Call, function
from .link import ops
from .named import public
from .shape_functions import narrow as _narrow
from .shape_functions import to_shape
from .splitting import split as _split


def _example(*shape: int) -> Any:
    return np.random.default_rng(23).normal(size=shape)


def _copy(name: str, *, method: bool = False) -> None:
    """Register ``NAME_copy``: what the view ``NAME`` shows, with storage of its own."""
    view = FUNCTIONS[name]

    @wraps(view.impl)
    def impl(*args: Any, **kwargs: Any) -> Any:
        return view.impl(*args, **kwargs)

    impl.__name__ = impl.__qualname__ = f"{name}_copy"
    impl.__doc__ = f"What `{name}` shows, as a tensor with storage of its own."

    def calls() -> Iterator[Call]:
        assert view.calls is not None
        yield from (call for call in view.calls() if call.error is None)

    function(f"{name}_copy", method=method, calls=calls)(impl)


for _name in (
    "diagonal", "expand", "permute", "split_with_sizes", "squeeze", "t", "transpose", "unbind",
    "unfold", "unsqueeze", "view",
):  # fmt: skip
    _copy(_name)


def _narrow_calls() -> Iterator[Call]:
    yield Call((_example(3, 5), 1, 1, 3))
    yield Call((_example(3, 5), -1, 0, 2))
    yield Call((_example(3, 5), 2, 0, 0), error=(RuntimeError, "dim"))


@function("narrow_copy", method=True, calls=_narrow_calls)
def narrow_copy(input: Value, dim: int, start: int, length: int) -> Value:
    """What `narrow` shows, as a tensor with storage of its own."""
    if dim >= input.ndim:
        raise ShapeError(f"narrow_copy: invalid dim {dim} for a {input.ndim}-dimensional tensor")
    return _narrow(input, dim, start, length)  # type: ignore[no-any-return]


def _alias_calls() -> Iterator[Call]:
    yield Call((_example(2, 3),))
    yield Call((_example(),))


@function("alias_copy", calls=_alias_calls)
def alias_copy(input: Value) -> Value:
    """The tensor, with storage of its own."""
    return input


@function("resolve_conj", method=True, out=False, calls=_alias_calls)
def resolve_conj(input: Value) -> Value:
    """The tensor itself: conjugates are values here, never marks on a tensor."""
    return input


@function("resolve_neg", method=True, out=False, calls=_alias_calls)
def resolve_neg(input: Value) -> Value:
    """The tensor itself: negatives are values here, never marks on a tensor."""
    return input


def _unsafe_chunk_calls() -> Iterator[Call]:
    yield Call((_example(5, 4), 2))
    yield Call((_example(5, 4), 3, 1))


@function("unsafe_chunk", method=True, out=False, calls=_unsafe_chunk_calls)
def unsafe_chunk(input: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    """`chunk` whose pieces have storage of their own."""
    return public.chunk(input, chunks, dim)  # type: ignore[no-any-return]


@function("unsafe_split", method=True, out=False, calls=_unsafe_chunk_calls)
def unsafe_split(input: Value, split_size: int, dim: int = 0) -> tuple[Value, ...]:
    """`split` whose pieces have storage of their own."""
    return _split(input, split_size, dim)  # type: ignore[no-any-return]


# ---- a tensor with a view of it overwritten


def _overwritten(op: str, input: Value, src: Value, show: Callable[[Value], Value]) -> Value:
    """``input`` with ``src`` in the place of ``show(input)``."""
    count = input.type.numel
    positions = ops.iota(shape=(count,), dim=0, dtype=int64)
    at = show(to_shape(positions, input.shape))
    if at.shape != src.shape:
        raise ShapeError(
            f"{op}: expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(at.shape)}"
        )
    flat, taken = to_shape(input, (count,)), to_shape(at, (at.type.numel,))
    new = to_shape(cast(src, input.dtype), taken.shape)
    return to_shape(public.scatter(flat, 0, taken, new), input.shape)


# ---- strides


def _strided_calls() -> Iterator[Call]:
    yield Call((_example(3, 3), (2, 2), (1, 2)))
    yield Call((_example(3, 3), (2, 2), (1, 1), 3))
    yield Call((_example(4), (), ()))
    yield Call((_example(4), (5,), (1,)), error=(RuntimeError, "out of bounds"))


@function("as_strided_copy", calls=_strided_calls)
def as_strided_copy(
    input: Value, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Value:
    """The same as `as_strided`, which is a copy here too."""
    return public.as_strided(input, size, stride, storage_offset)  # type: ignore[no-any-return]


def _strided_scatter_calls() -> Iterator[Call]:
    yield Call((_example(3, 3), _example(2, 2), (2, 2), (1, 2), 1), grad=False)
    yield Call((_example(3, 3), _example(3), (2, 2), (1, 2)), error=(RuntimeError, "expected src"))


@function("as_strided_scatter", method=True, out=False, calls=_strided_scatter_calls)
def as_strided_scatter(
    input: Value, src: Value, size: Sequence[int], stride: Sequence[int],
    storage_offset: int | None = None,
) -> Value:  # fmt: skip
    """``input`` with ``src`` in the place of its elements `as_strided_copy` takes."""
    return _overwritten(
        "as_strided_scatter", input, src,
        lambda x: public.as_strided(x, size, stride, storage_offset),
    )  # fmt: skip
