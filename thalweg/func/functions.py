"""A Python function of nested arguments as a graph: what all transformations begin with."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import ArgumentError, ShapeError, ValueRangeError
from ..ir.graph import substitute
from ..ir.node import Value
from ..ir.types import TensorType
from ..ops.arithmetic import constant
from ..passes.autodiff import gradients
from ..tensor.capture import Traced, record, trace_function, type_of
from ..tensor.tensor import Tensor
from ..tensor.tree import Structure, flatten, unflatten

Values = Sequence[Value]


@dataclass
class Call:
    """The tensors in the arguments of a call, in order; everything else is passed as it is."""

    leaves: list[Any]
    structure: Structure
    tensors: list[Tensor]

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.leaves, self.structure = flatten((tuple(args), dict(kwargs)))
        self.tensors = [leaf for leaf in self.leaves if isinstance(leaf, Tensor)]

    def rebuilt(self, tensors: Sequence[Any]) -> Any:
        """The pair (args, kwargs) with other tensors."""
        following = iter(tensors)
        leaves = [next(following) if isinstance(x, Tensor) else x for x in self.leaves]
        return unflatten(self.structure, leaves)

    def positions(self, argnums: int | tuple[int, ...], name: str) -> list[int]:
        """Which of the tensors belong to the positional arguments ``argnums``."""
        count = len(self.structure.children[0].children)
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        flags = self.rebuilt([_Mark(i) for i in range(len(self.tensors))])[0]
        found = []
        for number in numbers:
            if not -count <= number < count:
                raise ShapeError(f"{name}: got argnum={number}, but only {count} positional inputs")
            marked = flatten(flags[number])[0]
            for leaf in marked:
                if not isinstance(leaf, _Mark):
                    raise ArgumentError(
                        f"{name}: expected argument {number} to hold tensors only, got "
                        f"{type(leaf).__name__}"
                    )
            found += [leaf.place for leaf in marked]
        return found


@dataclass(frozen=True)
class _Mark:
    """Stands in the place of tensor number ``place``."""

    place: int


@dataclass
class Function:
    """A traced call: its ``call``, graph, and the ``structure`` of the results.

    With ``has_aux`` the function returns ``(results, aux)``; the tensors of ``aux`` are the last
    outputs of the graph, ``count`` the number of results before them.
    """

    name: str
    call: Call
    traced: Traced
    structure: Structure
    count: int
    aux: Any

    @property
    def operands(self) -> list[Tensor]:
        return [*self.call.tensors, *self.traced.captured]

    @property
    def results(self) -> tuple[Value, ...]:
        return self.traced.outputs[: self.count]

    def record(
        self, key: Hashable, build: Callable[[], Values], extra: Sequence[Tensor] = (),
        stand_ins: Values = (), operands: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Record what ``build()`` makes of the graph's own values, on the real operands (or those
        given). ``extra`` tensors replace the values ``stand_ins``, which ``build`` may use."""
        sources = (*self.traced.sources, *stand_ins)

        def made(values: list[Value]) -> Values:
            return substitute(build(), dict(zip(sources, values)))

        operands = [*(self.operands if operands is None else operands), *extra]
        return record(f"func.{self.name}", (self.traced.key, key), operands, made)

    def with_aux(self, tensors: Sequence[Tensor]) -> Any:
        """The auxiliary results, from the tensors recorded for them."""
        leaves, structure = self.aux
        following = iter(tensors)
        return unflatten(structure, [next(following) if x is _TENSOR else x for x in leaves])


_TENSOR = object()  # marks the place of a tensor among other auxiliary results


def trace_call(
    name: str,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    has_aux: bool = False,
    grad: bool | None = True,
    types: Sequence[TensorType] | None = None,
) -> Function:
    """Trace ``function(*args, **kwargs)``; ``types`` are those of the tensors if not their own."""
    call = Call(args, kwargs)

    def run(*handles: Tensor) -> tuple[Any, list[Tensor]]:
        given, keywords = call.rebuilt(handles)
        returned = function(*given, **keywords)
        aux: Any = None
        extra: list[Tensor] = []
        if has_aux:
            if not isinstance(returned, tuple) or len(returned) != 2:
                raise ShapeError(
                    f"{name}(f, has_aux=True): expected f to return a tuple (output, aux)"
                )
            returned, side = returned
            leaves, shape = flatten(side)
            extra = [x for x in leaves if isinstance(x, Tensor)]
            aux = ([_TENSOR if isinstance(x, Tensor) else x for x in leaves], shape)
        results, structure = flatten(returned)
        for value in results:
            if not isinstance(value, Tensor):
                # PyTorch's `vmap` raises a ValueError for this, the others a RuntimeError.
                raise (ValueRangeError if name == "vmap" else ShapeError)(
                    f"{name}(f): expected f to return only tensors, got {type(value).__name__}"
                )
        return (structure, len(results), aux), [*results, *extra]

    types = [type_of(t) for t in call.tensors] if types is None else types
    (structure, count, aux), traced = trace_function(name, run, types, grad)
    return Function(name, call, traced, structure, count, aux)


def gradients_or_zeros(outputs: Values, cotangents: Values, wrt: Values) -> list[Value]:
    """Gradients of floating-point outputs; zeros where there is no path."""
    pairs = [(v, c) for v, c in zip(outputs, cotangents) if v.dtype.category in FLOATS]
    found = gradients([v for v, _ in pairs], [c for _, c in pairs], wrt)
    return [constant(0, v.dtype, v.shape) if g is None else g for v, g in zip(wrt, found)]


FLOATS = ("float", "complex")


def need_floats(name: str, values: Values, what: str) -> None:
    for value in values:
        if value.dtype.category not in FLOATS:
            raise ShapeError(f"{name}: expected {what} of a floating dtype, got {value.type}")


__all__ = ["Call", "Function", "gradients_or_zeros", "need_floats", "trace_call"]
