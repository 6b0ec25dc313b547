"""Random state: a seed and a counter, so that numbers do not depend on how work is split.

A random op reads the (seed, counter) pair as an operand of the graph and numbers its elements
from there; recording it advances the counter of the generator by the blocks it uses.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.device import Device
from ..core.errors import ArgumentError
from .tensor import Tensor
from .trace import Trace, local

if TYPE_CHECKING:
    from ..ops.random import Stream

_MASK = (1 << 64) - 1
DEFAULT_SEED = 67280421310721


class Generator:
    """A stream of random numbers: a 64-bit ``seed`` and the ``offset`` of the next block.

    Philox 4x32-10 (Salmon et al., SC 2011): block i of a stream is a pure function of (seed, i).
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = Device(device)
        self.seed_value = DEFAULT_SEED
        self.offset = 0

    def manual_seed(self, seed: int) -> Generator:
        """Restart the stream from ``seed`` (any integer, taken modulo 2**64)."""
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise ArgumentError(f"manual_seed expected an int, got {type(seed).__name__}")
        self.seed_value = int(seed) & _MASK
        self.offset = 0
        local.trace.rng.pop(self, None)
        return self

    def initial_seed(self) -> int:
        return self.seed_value

    def seed(self) -> int:
        """Restart from a seed that the operating system draws, and return it."""
        self.manual_seed(int.from_bytes(os.urandom(8)) >> 1)
        return self.seed_value

    def get_state(self) -> Tensor:
        """The state as a uint8 tensor of 16 elements: seed and offset, little-endian."""
        state = np.array([self.seed_value, self.offset], dtype="<u8").view(np.uint8).copy()
        return Tensor._from_array(state)

    def set_state(self, state: Tensor) -> Generator:
        """Restore what `get_state` returned. RuntimeError for anything else."""
        array = state._array()
        if array.dtype != np.uint8 or array.shape != (16,):
            raise RuntimeError(
                f"RNG state must be a uint8 tensor of 16 elements, got {state.dtype} of shape "
                f"{list(state.shape)}"
            )
        seed, offset = array.copy().view("<u8").tolist()
        self.seed_value, self.offset = seed, offset
        local.trace.rng.pop(self, None)
        return self

    def clone_state(self) -> Generator:
        made = Generator(self.device)
        made.seed_value, made.offset = self.seed_value, self.offset
        return made

    # ---- what the recorder uses

    @contextlib.contextmanager
    def recording(self, trace: Trace) -> Iterator[Stream]:
        """The graph-side stream at the generator's place in the trace."""
        from ..ops.random import Stream

        leaf, used = trace.rng[_current(self)]
        yield Stream(leaf._meta.value, used)

    def advance(self, trace: Trace, blocks: int) -> None:
        generator = _current(self)
        entry = trace.rng.get(generator)
        if entry is not None:  # else the trace was flushed meanwhile, and a new one starts anew
            entry[1] += blocks
        generator.offset += blocks

    @contextlib.contextmanager
    def as_default(self) -> Iterator[None]:
        """Let random functions draw from this generator."""
        before = _override.get("generator")
        _override["generator"] = self
        try:
            yield
        finally:
            _override["generator"] = before


_override: dict[str, Generator | None] = {"generator": None}
default_generator = Generator()


def _current(generator: Generator) -> Generator:
    other = _override["generator"]
    return other if generator is default_generator and other is not None else generator


def stream_for(trace: Trace, generator: Generator) -> Tensor:
    """The operand that carries the generator's state into the trace."""
    generator = _current(generator)
    entry = trace.rng.get(generator)
    if entry is None:
        pair = np.array([generator.seed_value, generator.offset], np.uint64).view(np.int64)
        entry = trace.rng[generator] = [Tensor._from_array(pair), 0]
    return entry[0]  # type: ignore[no-any-return]


def manual_seed(seed: int) -> Generator:
    """Seed the default generator; every random op of the process follows from it."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator."""
    return default_generator.get_state()


def set_rng_state(state: Tensor) -> None:
    """Restore the default generator."""
    default_generator.set_state(state)
