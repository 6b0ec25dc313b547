"""`grad`, `grad_and_value`, `vjp`, `jvp`: derivatives of functions of tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import ArgumentError, ShapeError
from ..ir.node import Value, make_input
from ..ops.arithmetic import constant
from ..passes.autodiff import gradients
from ..tensor.capture import type_of, user_errors
from ..tensor.functional import clone
from ..tensor.tensor import Tensor
from ..tensor.tree import Structure, flatten, unflatten
from .functions import FLOATS, Function, gradients_or_zeros, need_floats, trace_call

Argnums = int | tuple[int, ...]


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Any:
    """The function that computes the gradient of ``func``, whose result is one real number.

    The gradient is taken with respect to the positional arguments ``argnums`` (tensors, or nested
    containers of them) and has their structure. With ``has_aux``, ``func`` returns ``(output,
    aux)`` and the gradient function ``(gradient, aux)``. RuntimeError unless the result is a 0-d
    tensor of a floating dtype.
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        derivative, value = _grad_and_value("grad", func, argnums, has_aux, args, kwargs)
        return (derivative, value[1]) if has_aux else derivative

    return wrapper


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Any:
    """As `grad`, but the function returns the pair (gradient, value); with ``has_aux`` that is
    ``(gradient, (value, aux))``."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return _grad_and_value("grad_and_value", func, argnums, has_aux, args, kwargs)

    return wrapper


@user_errors
def _grad_and_value(
    name: str, func: Callable[..., Any], argnums: Argnums, has_aux: bool, args: Any, kwargs: Any
) -> tuple[Any, Any]:
    traced = trace_call(name, func, args, kwargs, has_aux)
    if traced.structure.kind is not None:
        raise ShapeError(
            f"Expected f({_words(has_aux)}) to return a tensor, got {traced.structure!r}"
        )
    (value,) = traced.results
    if value.ndim:
        raise ShapeError(
            f"Expected f({_words(has_aux)}) to return a scalar tensor, got tensor with "
            f"{value.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
        )
    need_floats(name, [value], "a result")
    places = traced.call.positions(argnums, name)
    wrt = [traced.traced.inputs[i] for i in places]
    need_floats(name, wrt, "inputs")

    def build() -> list[Value]:
        found = gradients_or_zeros([value], [constant(1, value.dtype, ())], wrt)
        return [*found, *traced.traced.outputs]

    recorded = traced.record(("grad", tuple(places)), build)
    derivative = like_arguments(traced, argnums, recorded[: len(wrt)])
    result: Any = recorded[len(wrt)]
    if has_aux:
        result = (result, traced.with_aux(recorded[len(wrt) + 1 :]))
    return derivative, result


def _words(has_aux: bool) -> str:
    return "*args, has_aux=True" if has_aux else "*args"


def like_arguments(traced: Function, argnums: Argnums, tensors: Sequence[Any]) -> Any:
    """One tensor for each in the arguments ``argnums``, in their structure."""
    args = traced.call.structure.children[0].children
    numbers = (argnums,) if isinstance(argnums, int) else argnums
    following = iter(tensors)
    made = []
    for number in numbers:
        structure = args[number]
        made.append(unflatten(structure, [next(following) for _ in range(_leaves(structure))]))
    return made[0] if isinstance(argnums, int) else tuple(made)


def _leaves(structure: Structure) -> int:
    return 1 if structure.kind is None else sum(map(_leaves, structure.children))


@user_errors
def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """``func(*primals)`` and the function that pulls cotangents back through it.

    Returns ``(output, vjp_fn)``, with ``has_aux`` ``(output, vjp_fn, aux)``. ``vjp_fn`` takes
    cotangents in the structure, shapes and dtypes of ``output`` and returns a tuple of one gradient
    for each primal. RuntimeError for cotangents that do not fit.
    """
    traced = trace_call("vjp", func, primals, {}, has_aux)
    inputs = list(traced.traced.inputs)
    need_floats("vjp", inputs, "primals")
    traced.call.positions(tuple(range(len(primals))), "vjp")
    # Later writes to the operands must not change what vjp_fn computes.
    kept = [clone(t) for t in traced.operands]
    recorded = traced.record("value", lambda: traced.traced.outputs)
    output = unflatten(traced.structure, recorded[: traced.count])
    stand_ins = [make_input(v.type) for v in traced.results]

    @user_errors
    def vjp_fn(*cotangents: Any) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        leaves = _fitting("vjp_fn", given, traced.structure, traced.results)
        found = traced.record(
            "pull", lambda: gradients_or_zeros(traced.results, stand_ins, inputs), leaves,
            stand_ins, kept,
        )  # fmt: skip
        return like_arguments(traced, tuple(range(len(primals))), found)

    if has_aux:
        return output, vjp_fn, traced.with_aux(recorded[traced.count :])
    return output, vjp_fn


def _fitting(name: str, given: Any, structure: Structure, like: Sequence[Value]) -> list[Tensor]:
    """The leaves of ``given``, which must be as the values ``like`` in ``structure``."""
    leaves, found = flatten(given)
    if found != structure:
        raise ShapeError(f"{name}: expected the structure {structure!r}, got {found!r}")
    for i, (leaf, value) in enumerate(zip(leaves, like)):
        if not isinstance(leaf, Tensor):
            raise ArgumentError(f"{name}: expected tensors, got {type(leaf).__name__}")
        if type_of(leaf) != value.type:
            raise ShapeError(f"{name}: tensor {i}: expected {value.type}, got {type_of(leaf)}")
    return leaves


@user_errors
def jvp(
    func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False,
    has_aux: bool = False,
) -> Any:  # fmt: skip
    """``func(*primals)`` and its directional derivative along ``tangents``.

    Both are tuples of the same structure, shapes and dtypes. Returns ``(output, tangent of the
    output)``, with ``has_aux`` ``(output, tangent, aux)``. The vector-Jacobian product is linear in
    its cotangent; differentiating it with respect to that once more gives the forward derivative
    (Townsend, "A new trick for calculating Jacobian vector products", 2017), so every op that can
    be differentiated backwards can be forwards. ``strict`` has no effect: a tangent that does not
    depend on the primals is zero.
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise ShapeError("jvp(f, primals, tangents): expected primals and tangents as tuples")
    traced = trace_call("jvp", func, primals, {}, has_aux)
    inputs = traced.traced.inputs
    directions = _fitting("jvp", tangents, traced.call.structure.children[0], inputs)
    need_floats("jvp", inputs, "primals")
    stand_ins = [make_input(v.type) for v in inputs]

    def build() -> list[Value]:
        return [*traced.traced.outputs, *push_forward(traced.results, inputs, stand_ins)]

    recorded = traced.record("jvp", build, directions, stand_ins)
    every = len(traced.traced.outputs)
    output = unflatten(traced.structure, recorded[: traced.count])
    tangent = unflatten(traced.structure, recorded[every:])
    if has_aux:
        return output, tangent, traced.with_aux(recorded[traced.count : every])
    return output, tangent


def push_forward(
    outputs: Sequence[Value], inputs: Sequence[Value], tangents: Sequence[Value]
) -> list[Value]:
    """The directional derivatives of ``outputs``: zeros for those that do not depend on inputs."""
    chosen = [v for v in outputs if v.dtype.category in FLOATS]
    cotangents = [make_input(v.type, requires_grad=True) for v in chosen]
    pairs = [
        (g, t) for g, t in zip(gradients(chosen, cotangents, inputs), tangents) if g is not None
    ]
    found = gradients([g for g, _ in pairs], [t for _, t in pairs], cotangents)
    known = dict(zip(chosen, found))
    return [_or_zeros(known.get(v), v) for v in outputs]


def _or_zeros(grad: Value | None, like: Value) -> Value:
    return constant(0, like.dtype, like.shape) if grad is None else grad


__all__ = ["Argnums", "grad", "grad_and_value", "jvp", "like_arguments", "push_forward", "vjp"]
