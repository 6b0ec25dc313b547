"""`torch.overrides`: other classes than Tensor that take over torch's functions; there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from thalweg.tensor import Tensor


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether some argument takes functions over."""
    return False


has_torch_function_unary = has_torch_function


def has_torch_function_variadic(*args: Any) -> bool:
    """Whether some argument takes functions over."""
    return False


def handle_torch_function(
    public_api: Callable[..., Any], relevant_args: Iterable[Any], *args: Any, **kwargs: Any
) -> Any:
    """The function's result."""
    return public_api(*args, **kwargs)


def is_tensor_like(inp: Any) -> bool:
    """Whether ``inp`` is a tensor."""
    return isinstance(inp, Tensor)


def wrap_torch_function(dispatcher: Any) -> Callable[[Any], Any]:
    """A decorator that returns its function."""
    return lambda function: function


class TorchFunctionMode:
    """A block in which calls of functions would be taken over. Refused: none are."""

    def __enter__(self) -> TorchFunctionMode:
        raise NotImplementedError("thalweg's functions cannot be taken over by a mode")

    def __exit__(self, *error: object) -> None:
        return None


def resolve_name(f: Any) -> str | None:
    """A function's name."""
    return getattr(f, "__qualname__", None)
