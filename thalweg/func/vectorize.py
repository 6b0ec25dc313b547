"""`vmap`: a function of one example applied to a stack of examples, in one go."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import ArgumentError, DimError, ShapeError, ValueRangeError
from ..ir.node import Value
from ..ops.families import expand_front
from ..ops.link import ops
from ..passes.batching import batch
from ..tensor.capture import record, type_of, user_errors
from ..tensor.functional import cat, narrow
from ..tensor.random_keys import keys_for_runs, skip_runs
from ..tensor.tensor import Tensor
from ..tensor.tree import flatten, spread, unflatten
from .functions import Call, trace_call

Dims = int | tuple[Any, ...] | None
_RANDOMNESS = ("error", "same", "different")


def vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """The function that applies ``func`` to each slice of its arguments and stacks the results.

    ``in_dims`` says along which dimension each positional argument is sliced (None: it is shared by
    all examples): one int for all, or a tuple with an entry, possibly nested, for each argument.
    ``out_dims`` says where the stacked dimension stands in each result. Keyword arguments are
    shared by all examples. ``randomness`` decides about random functions in ``func``: "error",
    the "same" numbers for all examples, or "different" ones. ``chunk_size`` examples are computed
    at a time. Raises ValueError for dimensions that fit no argument or extents that differ, and
    RuntimeError where ``func`` draws random numbers unasked, reads values or has side effects.
    """
    if randomness not in _RANDOMNESS:
        raise ShapeError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )
    if chunk_size is not None and chunk_size <= 0:
        raise ValueRangeError(
            f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})"
        )

    @functools.wraps(func)
    @user_errors
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        dims, size = _in_dims(in_dims, args, kwargs)
        if chunk_size is None or size <= chunk_size:
            return _vmap(func, args, kwargs, dims, size, out_dims, randomness)
        parts = []
        for start in range(0, size, chunk_size):
            count = min(chunk_size, size - start)
            call = Call(args, kwargs)
            some = [
                t if d is None else narrow(t, d, start, count) for t, d in zip(call.tensors, dims)
            ]
            given, keywords = call.rebuilt(some)
            parts.append(_vmap(func, given, keywords, dims, count, out_dims, randomness))
        return _join(parts, out_dims)

    return wrapper


def _join(parts: Sequence[Any], out_dims: Any) -> Any:
    """Results of chunks, one after the other along their stacked dimensions."""
    _, structure = flatten(parts[0])
    columns = zip(*[flatten(part)[0] for part in parts])
    places = spread(out_dims, parts[0], "vmap(out_dims)")
    joined = [
        column[0] if dim is None else cat(list(column), dim) for column, dim in zip(columns, places)
    ]
    return unflatten(structure, joined)


def _in_dims(in_dims: Any, args: Any, kwargs: Any) -> tuple[list[int | None], int]:
    """The sliced dimension of every tensor in the arguments (None: shared), and how many slices."""
    if not isinstance(in_dims, (int, tuple)) or isinstance(in_dims, bool):
        raise ValueRangeError(
            f"vmap(in_dims={in_dims}): expected `in_dims` to be int or a (potentially nested) "
            f"tuple matching the structure of inputs, got: {type(in_dims)}."
        )
    if isinstance(in_dims, tuple) and len(in_dims) != len(args):
        raise ValueRangeError(
            f"vmap(in_dims={in_dims}): in_dims has {len(in_dims)} entries for {len(args)} "
            "positional arguments"
        )
    call = Call(args, kwargs)
    if not args and not kwargs:
        raise ValueRangeError("vmap(): got no inputs; maybe you forgot to add them, or you have "
                         "specified a function with no inputs")  # fmt: skip
    entries = [
        *spread(in_dims, tuple(args), f"vmap(in_dims={in_dims})"),
        *spread(None, dict(kwargs), "vmap"),
    ]
    dims: list[int | None] = []
    sizes: dict[int, None] = {}
    for leaf, dim in zip(call.leaves, entries):
        if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int)):
            raise ValueRangeError(
                f"vmap(in_dims={in_dims}): got in_dim={dim!r}, expected int or None"
            )
        if not isinstance(leaf, Tensor):
            if dim is not None and isinstance(in_dims, tuple):
                raise ValueRangeError(
                    f"vmap(in_dims={in_dims}): got in_dim={dim} for an input of type "
                    f"{type(leaf).__name__}, which is no tensor; use None for it"
                )
            continue
        if dim is not None:
            if not -leaf.ndim <= dim < leaf.ndim:
                raise ValueRangeError(
                    f"vmap(in_dims={in_dims}): got in_dim={dim} for some input, but that input is "
                    f"a Tensor of dimensionality {leaf.ndim} so expected in_dim to satisfy "
                    f"-{leaf.ndim} <= in_dim < {leaf.ndim}."
                )
            dim %= leaf.ndim
            sizes[leaf.shape[dim]] = None
        dims.append(dim)
    if len(sizes) > 1:
        raise ValueRangeError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{list(sizes)} for the mapped dimension"
        )
    if not sizes:
        raise ValueRangeError(f"vmap(in_dims={in_dims}): at least one tensor has to be mapped over")
    return dims, next(iter(sizes))


def _to_front(value: Value, dim: int) -> Value:
    order = (dim, *(d for d in range(value.ndim) if d != dim))
    return ops.permute(value, dims=order)  # type: ignore[no-any-return]


def _from_front(value: Value, dim: int) -> Value:
    rest = list(range(1, value.ndim))
    rest.insert(dim, 0)
    return ops.permute(value, dims=tuple(rest))  # type: ignore[no-any-return]


def _vmap(
    func: Callable[..., Any], args: Any, kwargs: Any, dims: Sequence[int | None], size: int,
    out_dims: Any, randomness: str,
) -> Any:  # fmt: skip
    call = Call(args, kwargs)
    types = []
    for tensor, dim in zip(call.tensors, dims):
        shape = tuple(n for i, n in enumerate(tensor.shape) if i != dim)
        types.append(type_of(tensor).with_shape(shape))
    function = trace_call("vmap", func, args, kwargs, grad=None, types=types)
    traced = function.traced
    if traced.random and randomness == "error":
        for generator, blocks in traced.random.items():
            generator.offset -= blocks
        raise ShapeError(
            "vmap: called random operation while in randomness error mode. Please either use the "
            "'same' or 'different' randomness flags on vmap or perform the randomness operation "
            "out of vmap"
        )
    example = unflatten(function.structure, traced.outputs)
    places = []
    for place, value in zip(
        spread(out_dims, example, f"vmap(out_dims={out_dims})"), traced.outputs
    ):
        if place is not None:
            if not isinstance(place, int):
                raise ArgumentError(f"vmap(out_dims={out_dims}): expected ints, got {place!r}")
            if not -value.ndim - 1 <= place <= value.ndim:
                raise DimError(
                    f"vmap(out_dims={out_dims}): Dimension out of range (expected to be in range "
                    f"of [{-value.ndim - 1}, {value.ndim}], but got {place})"
                )
            place %= value.ndim + 1
        places.append(place)
    different = randomness == "different"
    blocks = sum(traced.random.values())

    def build(values: list[Value]) -> list[Value]:
        operands, flags = list(values), [False] * len(values)
        for i, dim in enumerate(dims):
            if dim is not None:
                operands[i], flags[i] = _to_front(values[i], dim), True
        for i in traced.keys if different else ():
            position = len(dims) + i
            operands[position] = keys_for_runs(values[position], size, blocks)
            flags[position] = True
        outputs, stacked = batch(traced.outputs, traced.sources, operands, flags, size)
        return [_placed(v, flag, place, size) for v, flag, place in zip(outputs, stacked, places)]

    key = (traced.key, tuple(dims), tuple(places), size, different, traced.keys, blocks)
    results = record("func.vmap", key, [*call.tensors, *traced.captured], build)
    if different:
        skip_runs(traced.random, size)
    return unflatten(function.structure, results)


def _placed(value: Value, stacked: bool, place: int | None, size: int) -> Value:
    if place is None:
        if stacked:
            raise ValueRangeError(
                "vmap: out_dims is None for a result that differs between the examples"
            )
        return value
    return _from_front(value if stacked else expand_front(value, size), place)


__all__ = ["vmap"]
