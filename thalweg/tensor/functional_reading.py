"""Functional faces that read tensors first, because the shape of their result depends on them.

Masks become positions, tensors of repeats or of cuts become numbers; what is then recorded has a
known shape and gradients. Importing this module puts the faces into `RECORDED` and on `Tensor`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..core.errors import ArgumentError, DTypeError, ShapeError, located
from ..ops.host import interleave_positions, largest_class
from ..ops.parameters import Parameters
from .arguments import complaint, spelled
from .attach import RECORDED
from .tensor import Tensor

_MASKS = ("bool", "uint8")


def face(name: str, *, method: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a function in place of the registered one called ``name``; errors name the user's
    statement."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        shape = SimpleNamespace(parameters=Parameters.of(function), public=True, name=name)

        def call(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            try:
                return function(*args, **(spelled(shape, kwargs) if kwargs else kwargs))
            except Exception as error:
                error = complaint(name, error)
                raise located(error) from error.__cause__

        call.__name__ = call.__qualname__ = function.__name__
        call.__doc__ = function.__doc__
        call.__wrapped__ = function  # type: ignore[attr-defined]
        RECORDED[name] = call
        if method:
            setattr(Tensor, name, call)
        return call

    return register


def _number(name: str, value: Any) -> int:
    """The value of a 0-d integer tensor."""
    if value.dtype.category != "int" or value.ndim:
        raise ShapeError(
            f"{name} must be an 0-dim integral Tensor, got {value.dtype} of shape "
            f"{list(value.shape)}"
        )
    return int(value.item())


# ---- masks


@face("masked_select")
def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """1-d: the elements of the broadcast ``input`` where the bool ``mask`` holds.

    RuntimeError for a mask that is not bool, or shapes that do not broadcast.
    """
    if mask.dtype.name != "bool":
        raise DTypeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype}")
    input, mask = RECORDED["broadcast_tensors"](input, mask)
    chosen = input[mask] if input.ndim else input.reshape(1)[mask.reshape(1)]
    if out is None:
        return chosen
    out.resize_(chosen.shape)
    return out.copy_(chosen)  # type: ignore[no-any-return]


def _positions(indices: Sequence[Any]) -> tuple[Any, ...]:
    """Indices with every mask replaced by the positions where it holds."""
    made: list[Any] = []
    for index in indices:
        if isinstance(index, Tensor) and index.dtype.name in _MASKS:
            found = np.nonzero(np.atleast_1d(index._array()))
            made += [Tensor._from_array(p.astype(np.int64)) for p in found]
        else:
            made.append(index)
    return tuple(made)


_put = RECORDED["index_put"]
_put_in_place = Tensor.index_put_  # type: ignore[attr-defined]


@face("index_put")
def index_put(
    input: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool = False
) -> Tensor:
    """``input`` with ``values`` put (or added) where ``input[indices]`` reads; None is ``:``, a
    bool tensor its true positions."""
    return _put(input, _positions(indices), values, accumulate)  # type: ignore[no-any-return]


@face("index_put_")
def index_put_(
    input: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool = False
) -> Tensor:
    """In-place version of `index_put`."""
    return _put_in_place(input, _positions(indices), values, accumulate)  # type: ignore[no-any-return]


# ---- tensors where numbers are expected


_repeat = RECORDED["repeat_interleave"]
_cut = RECORDED["tensor_split"]
_narrow = RECORDED["narrow"]
_hot = RECORDED["nn.functional.one_hot"]


@face("repeat_interleave")
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element ``repeats`` times in a row along ``dim`` (None: of the flattened tensor).

    ``repeats`` is a number or an int tensor with one number per element; alone, as in
    ``repeat_interleave(repeats)``, it repeats its own positions. RuntimeError for sizes that
    differ and negative numbers.
    """
    if repeats is None:
        if input.ndim != 1:
            raise ShapeError(
                f"repeat_interleave only accept 1D vector as repeat, got {input.ndim}D"
            )
        return Tensor._from_array(interleave_positions(input._array(), len(input)))
    if not isinstance(repeats, Tensor):
        return _repeat(input, repeats, dim, output_size=output_size)  # type: ignore[no-any-return]
    if dim is None or not input.ndim:
        input, dim = input.reshape(-1), 0
    at = interleave_positions(repeats._array(), input.size(dim))
    if output_size is not None and output_size != len(at):
        raise ShapeError(f"allocated size does not match required size {len(at)}: {output_size}")
    return input.index_select(dim, Tensor._from_array(at))  # type: ignore[no-any-return]


@face("tensor_split")
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> Any:
    """Views along ``dim``: a number of them, as equal as can be, or cut at the positions given
    (a sequence or a 1-d int64 tensor). RuntimeError for other tensors and 0-d ``input``."""
    given = indices_or_sections
    if isinstance(given, Tensor):
        if given.dtype.name != "int64" or given.ndim > 1:
            raise ShapeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or "
                f"one-dimensional int64 tensor, got {given.dtype} of shape {list(given.shape)}"
            )
        given = given.tolist() if given.ndim else int(given)
    return _cut(input, given, dim)


@face("narrow")
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """``length`` elements from ``start`` (a number or a 0-d int tensor) on along ``dim``: a view.

    IndexError for a start outside, RuntimeError for too great a length or a 0-d ``input``.
    """
    begin = _number("start", start) if isinstance(start, Tensor) else start
    return _narrow(input, dim, begin, length)  # type: ignore[no-any-return]


@face("nn.functional.one_hot", method=False)
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 (..., num_classes): 1 at each class number, 0 elsewhere; -1 stands for one class more
    than the largest of ``tensor``, which is read. RuntimeError for a ``tensor`` that is not int64,
    and for an empty one without ``num_classes``; IndexError, when read, for classes outside."""
    if not isinstance(tensor, Tensor):
        raise ArgumentError(f"one_hot(): argument 'tensor' must be Tensor, not {type(tensor)}")
    if num_classes == -1 and tensor.dtype.name == "int64":
        values = tensor._array()
        num_classes = largest_class(values)
        if values.min() < 0:
            raise ShapeError("Class values must be non-negative.")
    return _hot(tensor, num_classes)  # type: ignore[no-any-return]
