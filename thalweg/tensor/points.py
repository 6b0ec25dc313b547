"""Points: values at which the backward pass leaves the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ir.node import Value

if TYPE_CHECKING:
    from .flush import History
    from .tensor import Tensor


class Point:
    """A value at which the backward pass leaves the graph; ``slot`` orders points."""

    __slots__ = ("slot",)

    def __init__(self, slot: int) -> None:
        self.slot = slot


class HistoryPoint(Point):
    """An input of this trace that an earlier, flushed trace computed."""

    __slots__ = ("history", "value")

    def __init__(self, slot: int, history: History, value: Value) -> None:
        super().__init__(slot)
        self.history = history
        self.value = value


class HookPoint(Point):
    """A result whose gradient hooks want to see, or that keeps its gradient."""

    __slots__ = ("tensor",)

    def __init__(self, slot: int, tensor: Tensor) -> None:
        super().__init__(slot)
        self.tensor = tensor


class FunctionPoint(Point):
    """Output ``index`` of a custom `autograd.Function` call."""

    __slots__ = ("call", "index")

    def __init__(self, slot: int, call: Any, index: int) -> None:
        super().__init__(slot)
        self.call = call
        self.index = index
