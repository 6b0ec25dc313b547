"""`torch.utils.checkpoint`: which results a backward pass keeps is the compiler's decision.

In PyTorch a checkpointed function runs again in the backward pass instead of keeping its
intermediate results. Here the forward and backward pass are one graph, from which the compiler
chooses what to keep and what to compute again; a function given to `checkpoint` is recorded like
any other, with the same numbers, random ones included.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..core.errors import located


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
    context_fn: Callable[[], Any] | None = None, determinism_check: str = "default",
    debug: bool = False, preserve_rng_state: bool = True, early_stop: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """``function(*args, **kwargs)``. ValueError for keywords that the reentrant form lacks."""
    if use_reentrant and kwargs:
        raise located(ValueError(f"Unexpected keyword arguments: {','.join(kwargs)}"))
    if context_fn is None or use_reentrant:
        return function(*args, **kwargs)
    forward, _ = context_fn()
    with forward:
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """The functions or modules of a sequence, one after the other, on ``input``."""
    layers: Sequence[Any] = (
        list(functions.children()) if hasattr(functions, "children") else functions
    )
    for layer in layers:
        input = layer(input)
    return input


def noop_context_fn() -> tuple[Any, Any]:
    """Contexts for forward and recomputation that do nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """PyTorch's report of what differs between the two runs; there is one run."""
    yield


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Whether PyTorch stops the second run early; there is none."""
    yield
