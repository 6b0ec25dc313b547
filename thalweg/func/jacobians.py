"""`jacrev`, `jacfwd`, `hessian`: whole matrices of derivatives, by vectorizing over a basis."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..core.dtypes import int64
from ..core.errors import ValueRangeError
from ..ir.node import Value, make_input
from ..ops.arithmetic import cast, constant
from ..ops.families import expand_front
from ..ops.link import ops
from ..passes.batching import batch
from ..tensor.capture import user_errors
from ..tensor.tree import unflatten
from .functions import Function, gradients_or_zeros, need_floats, trace_call
from .gradients import Argnums, like_arguments, push_forward


def jacrev(
    func: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:  # fmt: skip
    """The function that computes the Jacobian of ``func`` backwards: one pass for each element of
    the result, all of them at once.

    For a result of shape ``r`` and an argument of shape ``a`` it has the shape ``r + a``. Results
    and arguments ``argnums`` may be nested containers: the Jacobian is nested as the results and,
    in each place, as the arguments. ``chunk_size`` must be None or positive and has no effect.
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueRangeError("jacrev: `chunk_size` should be greater than 0.")

    def rows(function: Function, wrt: Sequence[Value]) -> list[list[Value]]:
        return [_pulled_basis(v, wrt) for v in function.results]

    return _jacobian("jacrev", func, argnums, has_aux, rows)


def jacfwd(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *,
    randomness: str = "error",
) -> Callable[..., Any]:  # fmt: skip
    """As `jacrev`, but forwards: one pass for each element of the arguments, all of them at once.

    Better where arguments are smaller than results. ``randomness`` has no effect: ``func`` is
    traced once, so random functions draw once.
    """

    def rows(function: Function, wrt: Sequence[Value]) -> list[list[Value]]:
        columns = [_pushed_basis(function.results, wrt, i) for i in range(len(wrt))]
        return [list(row) for row in zip(*columns)]

    return _jacobian("jacfwd", func, argnums, has_aux, rows)


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The function that computes the second derivatives of ``func``: forwards over backwards."""
    return jacfwd(jacrev(func, argnums), argnums)


def _jacobian(
    name: str, func: Callable[..., Any], argnums: Argnums, has_aux: bool,
    rows: Callable[[Function, Sequence[Value]], list[list[Value]]],
) -> Callable[..., Any]:  # fmt: skip
    @functools.wraps(func)
    @user_errors
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        function = trace_call(name, func, args, kwargs, has_aux)
        places = function.call.positions(argnums, name)
        wrt = [function.traced.inputs[i] for i in places]
        need_floats(name, wrt, "inputs")
        need_floats(name, function.results, "results")

        def build() -> list[Value]:
            side = function.traced.outputs[function.count :]
            return [*(v for row in rows(function, wrt) for v in row), *side]

        recorded = function.record(tuple(places), build)
        matrix = [
            like_arguments(function, argnums, recorded[i * len(wrt) : (i + 1) * len(wrt)])
            for i in range(function.count)
        ]
        result = unflatten(function.structure, matrix)
        if has_aux:
            return result, function.with_aux(recorded[function.count * len(wrt) :])
        return result

    return wrapper


def _basis(like: Value) -> Value:
    """Every unit tensor of the type of ``like``, stacked along a first dimension."""
    count = math.prod(like.shape)
    shape = (count, count)
    rows, columns = (ops.iota(shape=shape, dim=d, dtype=int64) for d in (0, 1))
    unit = cast(ops.eq(rows, columns), like.dtype)
    return ops.reshape(unit, shape=(count, *like.shape))  # type: ignore[no-any-return]


def _stacked(outputs: Sequence[Value], stand_in: Value) -> list[Value]:
    """``outputs`` for every unit tensor in the place of ``stand_in``."""
    size = math.prod(stand_in.shape)
    made, flags = batch(outputs, [stand_in], [_basis(stand_in)], [True], size)
    return [v if flag else expand_front(v, size) for v, flag in zip(made, flags)]


def _pulled_basis(output: Value, wrt: Sequence[Value]) -> list[Value]:
    """The derivatives of one result by each argument, by reverse mode."""
    seed = make_input(output.type)
    found = _stacked(gradients_or_zeros([output], [seed], wrt), seed)
    return [ops.reshape(v, shape=(*output.shape, *x.shape)) for v, x in zip(found, wrt)]


def _pushed_basis(outputs: Sequence[Value], wrt: Sequence[Value], at: int) -> list[Value]:
    """The derivatives of each result by argument ``at``, by forward mode."""
    x = wrt[at]
    tangent = make_input(x.type)
    tangents = [tangent if i == at else constant(0, v.dtype, v.shape) for i, v in enumerate(wrt)]
    found = _stacked(push_forward(outputs, wrt, tangents), tangent)
    made = []
    for value, output in zip(found, outputs):
        last = ops.permute(value, dims=(*range(1, value.ndim), 0))
        made.append(ops.reshape(last, shape=(*output.shape, *x.shape)))
    return made


__all__ = ["hessian", "jacfwd", "jacrev"]
