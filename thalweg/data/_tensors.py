"""The one place where data loading touches tensors: NumPy arrays in, tensors out, and back.

Everything else in this package works on NumPy arrays, so that a worker process can build a whole
batch without recording or executing a single operation. The engine is imported at call time: this
package is itself imported while the top-level package is still being put together.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_PACKAGE = __name__.partition(".")[0]
_MASK = (1 << 64) - 1


def _engine() -> Any:
    return importlib.import_module(_PACKAGE)


def is_tensor(value: object) -> bool:
    """Whether `value` is a Tensor."""
    return isinstance(value, _engine().Tensor)


def wrap(array: Array) -> Any:
    """A Tensor over the memory of `array`."""
    return _engine().from_numpy(array)


def unwrap(tensor: Any) -> Array:
    """The values of a Tensor as an array, cut off from the gradient graph."""
    array: Array = tensor.detach().cpu().numpy()
    return array


def stack(tensors: list[Any]) -> Any:
    """Tensors of one shape along a new first dimension, keeping their gradient graph."""
    return _engine().stack(tensors)


def settle() -> None:
    """Compute what is recorded and wait: a fork then finds no thread in the middle of work."""
    _engine().synchronize()


def initial_seed() -> int:
    """The seed last given to `manual_seed`, as a non-negative 64-bit number."""
    return int(_engine().initial_seed()) & _MASK


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and this package's default generators of the calling process."""
    import random

    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    _engine().manual_seed(seed)
