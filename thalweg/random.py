"""`torch.random`: seeds and states of the default generator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from .tensor.rng import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, device_type: str = "cpu") -> Iterator[None]:
    """Whatever is drawn inside leaves no trace: afterwards the default generator is as before.

    ``enabled=False`` does nothing. ``devices`` beyond the CPU hold no generators here.
    """
    state = get_rng_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            set_rng_state(state)


__all__ = ["Generator", "default_generator", "fork_rng", "get_rng_state", "initial_seed",
           "manual_seed", "seed", "set_rng_state"]  # fmt: skip
