"""Modules as functions of their parameters: `functional_call` and `stack_module_state`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..core.errors import ShapeError, ValueRangeError
from ..tensor.capture import user_errors
from ..tensor.functional import stack
from ..tensor.tensor import Tensor

State = Mapping[str, Any]


@user_errors
def functional_call(
    module: Any, parameter_and_buffer_dicts: State | Sequence[State], args: Any = None,
    kwargs: Mapping[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """``module(*args, **kwargs)`` with the parameters and buffers given in the place of its own.

    ``parameter_and_buffer_dicts`` maps dotted names to tensors; several such dictionaries must not
    share names. Names the module lacks have no effect, and what they do not name keeps its value
    (``strict``: RuntimeError for both). With
    ``tie_weights`` a tensor that the module holds under several names is replaced under all of
    them. ``args`` that is no tuple is the only argument. The module is as before afterwards.
    """
    if isinstance(parameter_and_buffer_dicts, Mapping):
        given = dict(parameter_and_buffer_dicts)
    elif isinstance(parameter_and_buffer_dicts, (list, tuple)):
        given = {}
        for one in parameter_and_buffer_dicts:
            repeated = sorted(given.keys() & one.keys())
            if repeated:
                raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of "
                                 "functional call is ambiguous")  # fmt: skip
            given.update(one)
    else:
        raise ValueRangeError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameter_and_buffer_dicts)}"
        )
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, given, tie_weights, strict):
        return module(*arguments, **(kwargs or {}))


def _places(module: Any) -> dict[str, tuple[Any, str]]:
    """Where each parameter and buffer stands: dotted name -> (owner, attribute), all names of a
    shared one included."""
    found = {}
    for prefix, owner in module.named_modules(remove_duplicate=False):
        lead = f"{prefix}." if prefix else ""
        for name in (*owner._parameters, *owner._buffers):
            found[lead + name] = (owner, name)
    return found


@contextlib.contextmanager
def _replaced(module: Any, given: dict[str, Any], tie: bool, strict: bool) -> Iterator[None]:
    places = _places(module)
    unknown = [name for name in given if name not in places]
    current = {name: owner.__dict__[key] for name, (owner, key) in places.items()}
    given = {n: v for n, v in given.items() if n in current}
    if tie:
        tied = {id(current[n]): v for n, v in given.items() if current[n] is not None}
        given = {n: tied[id(t)] for n, t in current.items() if id(t) in tied} | given
    missing = [n for n, t in current.items() if n not in given and t is not None]
    if strict and (unknown or missing):
        raise ShapeError(
            f"Error(s) in loading state for functional_call: unexpected names {unknown}, missing "
            f"names {missing}"
        )
    try:
        for name, tensor in given.items():
            owner, key = places[name]
            owner.__dict__[key] = tensor
        yield
    finally:
        for name in given:
            owner, key = places[name]
            owner.__dict__[key] = current[name]


@user_errors
def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers of modules of one architecture, each stacked along dimension 0.

    The stacked parameters are leaves that require gradients as the originals do. RuntimeError if
    there are no modules, or if they are of several classes or modes.
    """
    if not models:
        raise ShapeError("stack_module_state: Expected at least one model, got 0.")
    if len({m.training for m in models}) > 1:
        raise ShapeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if len({type(m) for m in models}) > 1:
        raise ShapeError("stack_module_state: Expected all models to be of the same class.")
    parameters = {}
    for name, first in models[0].named_parameters():
        made = stack([dict(m.named_parameters())[name].detach() for m in models], 0)
        parameters[name] = made.requires_grad_(first.requires_grad)
    buffers = {
        name: stack([dict(m.named_buffers())[name] for m in models], 0).detach()
        for name, _ in models[0].named_buffers()
    }
    return parameters, buffers


__all__ = ["functional_call", "stack_module_state"]
