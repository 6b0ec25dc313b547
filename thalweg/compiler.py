"""`torch.compiler`, and `torch.compile` as `compile`: every program is compiled anyway.

A function that PyTorch would compile by reading its bytecode is recorded here as it runs, and what
is recorded is compiled. So the decorators return their functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from .core.budget import checked_budget
from .tensor.budget import within

_T = TypeVar("_T")


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None,
    backend: Any = "inductor", mode: str | None = None, options: Any = None, disable: bool = False,
    memory_budget: int | float | None = None,
) -> Any:  # fmt: skip
    """``model``, or a decorator that returns its function. The options choose among PyTorch's
    ways to compile and have no counterpart. RuntimeError if both mode and options are given.

    ``memory_budget`` bounds the memory for temporary values of the programs that the model and its
    backward pass become, in bytes (int) or as a share of what they take without it (float, up to
    1): see `thalweg.memory_budget`."""
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time."
        )
    if memory_budget is None:
        return (lambda function: function) if model is None else model
    budget = checked_budget(memory_budget)
    return (lambda function: within(function, budget)) if model is None else within(model, budget)


def disable(fn: Any = None, recursive: bool = True, **kwargs: Any) -> Any:
    """``fn``: a function that PyTorch's compiler leaves alone."""
    return (lambda function: function) if fn is None else fn


def allow_in_graph(fn: _T) -> _T:
    """``fn``: a function that PyTorch's compiler takes as one operation."""
    return fn


def assume_constant_result(fn: _T) -> _T:
    """``fn``: a function whose result PyTorch's compiler takes as a constant."""
    return fn


def substitute_in_graph(original_fn: Any, **kwargs: Any) -> Callable[[_T], _T]:
    """A decorator that returns its function."""
    return lambda function: function


def reset() -> None:
    """Forget compiled code: PyTorch's, of which there is none."""


def cudagraph_mark_step_begin() -> None:
    """A mark for CUDA graphs, which are not used."""


def is_compiling() -> bool:
    """Whether PyTorch's compiler reads the caller: never."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def list_backends(*args: Any) -> list[str]:
    """PyTorch's compilers: none."""
    return []


@contextlib.contextmanager
def set_stance(*args: Any, **kwargs: Any) -> Iterator[None]:
    """How PyTorch's compiler treats new functions; there is nothing to choose."""
    yield


__all__ = ["allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin",
           "disable", "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends",
           "reset", "set_stance", "substitute_in_graph"]  # fmt: skip
