"""Tensors that nothing has used yet: made and filled at once, without being recorded.

A model's weights are initialised once, so recording it would miss the trie at every layer. The
numbers are those that the recorded functions give: random ones come from the same functions, the
same generator and the same counters, through the same compiler, one program for each shape.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import flags
from ..core.device import META, available, get_default_device
from ..core.dtypes import DType, default_dtype, int64
from ..core.errors import located
from ..ir.graph import Graph
from ..ir.node import make_input
from ..ir.types import TensorType
from ..ops.fill import read_size
from ..ops.function import FUNCTIONS
from ..ops.philox import Stream
from ..runtime.buffer import Buffer
from ..runtime.executor import executor
from ..runtime.program import Program
from .attach import RECORDED
from .flush import compiled
from .places import no_data
from .rng import Generator, _current, default_generator
from .tensor import Tensor
from .trace import local

_Key = tuple[Any, ...]

# How a random function fills a tensor of a kind: the program and the blocks it uses.
_programs: OrderedDict[_Key, tuple[Program, int]] = OrderedDict()
_PROGRAMS_KEPT = 256


def new_full(
    size: Sequence[int] | int, value: float, device: Any = None, dtype: DType | None = None
) -> Tensor:
    """A tensor full of one number. RuntimeError for a negative extent or an absent device."""
    kind = dtype or default_dtype()
    try:
        shape = read_size("full", (size,))
        place = get_default_device() if device is None else available(device)
    except Exception as error:
        raise located(error) from None
    if place is META:
        return no_data(shape, kind)
    if local.trace.scope is not None:
        return RECORDED["full"](shape, value, dtype=kind)  # type: ignore[no-any-return]
    made = np.full(shape, value, kind.np) if value else np.zeros(shape, kind.np)
    return Tensor._from_array(made)


def is_fresh(tensor: Tensor) -> bool:
    """Whether a new value of ``tensor`` concerns nothing else: no view, no array that shares its
    memory, nothing recorded since the last flush, and no function being traced."""
    return (
        tensor._trace is None
        and tensor._extra is None
        and not tensor._meta.views
        and tensor._buffer is not None
        and tensor._meta.is_leaf
        and local.trace.scope is None
        and not flags.eager
    )


def fill(tensor: Tensor, value: float) -> Tensor:
    """The fresh ``tensor``, now full of one number."""
    if tensor._meta.device is META:
        return tensor
    array = np.full(tensor._meta.shape, value, tensor._meta.dtype.np)
    return _refill(tensor, Buffer(array))


def draw(
    tensor: Tensor, name: str, numbers: tuple[float, ...], generator: Generator | None
) -> Tensor:
    """The fresh ``tensor``, now with what the random function ``name`` makes of it.

    ``numbers`` are the further arguments of the function.
    """
    if tensor._meta.device is META:
        return tensor
    source = _current(generator or default_generator)
    try:
        program, blocks = _program(tensor, name, numbers)
    except Exception as error:
        raise located(error) from None
    state = np.array([source.seed_value, source.offset], np.uint64).view(np.int64)
    (buffer,) = executor.submit(program, [Buffer(state)])
    source.offset += blocks
    # A trace under way counts from where it first drew; its next draw has to look again.
    local.trace.rng.pop(source, None)
    return _refill(tensor, buffer)


def _program(tensor: Tensor, name: str, numbers: tuple[float, ...]) -> tuple[Program, int]:
    meta = tensor._meta
    wanted = (name, meta.shape, meta.dtype, numbers)
    found = _programs.pop(wanted, None)
    if found is None:
        like = make_input(TensorType(meta.shape, meta.dtype))
        key = make_input(TensorType((2,), int64))
        stream = Stream(key)
        result = FUNCTIONS[name].impl(like, *numbers, rng=stream)
        found = (compiled(Graph((key,), (result,))), stream.used)
    _programs[wanted] = found
    if len(_programs) > _PROGRAMS_KEPT:
        _programs.popitem(last=False)
    return found


def _refill(tensor: Tensor, buffer: Buffer) -> Tensor:
    assert tensor._buffer is not None
    tensor._buffer.overwritten += 1
    tensor._buffer = buffer
    return tensor


__all__ = ["draw", "fill", "is_fresh", "new_full"]
