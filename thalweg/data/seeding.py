"""Random orders as pure functions of (seed, epoch), never of what else ran before."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from thalweg.data import _tensors

_MASK = (1 << 64) - 1


class Stream(IntEnum):
    """Independent random streams under one key: a split does not correlate with a shuffle."""

    ORDER = 1
    SPLIT = 2
    WORKER = 3


def random_stream(seed: int, step: int, stream: Stream) -> np.random.Generator:
    """A NumPy generator determined by its three arguments alone."""
    key = np.random.SeedSequence([seed & _MASK, step & _MASK, int(stream)])
    return np.random.Generator(np.random.Philox(key))


def mixed_seed(*parts: int) -> int:
    """A 63-bit seed that depends on every part; used for worker processes and their batches."""
    words = np.random.SeedSequence([part & _MASK for part in parts]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


class EpochKey:
    """Hands out one (seed, step) key an epoch, and can be set back to any earlier epoch.

    Without a generator the key is (the default seed, number of epochs begun). With one it is the
    generator's seed and offset, and each epoch moves the offset on by one, so that two users of
    one generator never draw the same order.
    """

    def __init__(self, generator: Any = None) -> None:
        self.generator = generator
        self._seed: int | None = None
        self._epoch = 0

    def seed(self) -> int:
        """The seed that the next epoch's order depends on."""
        if self.generator is not None:
            return int(self.generator.initial_seed()) & _MASK
        return _tensors.initial_seed() if self._seed is None else self._seed

    def take(self) -> tuple[int, int]:
        """The key of the epoch that begins now."""
        seed = self.seed()
        if self.generator is None:
            step, self._epoch = self._epoch, self._epoch + 1
        else:
            step = int(self.generator.offset)
            self._set_generator(seed, step + 1)
        return seed, step

    def state_dict(self) -> dict[str, int]:
        """Seed and step of the next epoch."""
        step = self._epoch if self.generator is None else int(self.generator.offset)
        return {"seed": self.seed(), "step": step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue as if the next epoch were the one the state was taken before."""
        seed, step = int(state["seed"]), int(state["step"])
        if self.generator is None:
            self._seed, self._epoch = seed, step
        else:
            self._set_generator(seed, step)

    def _set_generator(self, seed: int, offset: int) -> None:
        # Seeding first: it drops what was recorded for tensors at the generator's former offset.
        self.generator.manual_seed(seed)
        self.generator.offset = offset
