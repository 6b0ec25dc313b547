"""thalweg: PyTorch's names, one lazily recorded graph, compiled whole.

``import thalweg as torch`` and write ordinary define-by-run code. Operations are recorded; reading
a value, printing, branching on data or ``optimizer.step()`` runs what is recorded so far.
"""

import importlib as _importlib
from math import e, inf, nan, pi
from typing import Any as _Any

from .core import flags as _flags
from .core.collector import uncollected as _uncollected
from .core.device import Device as device
from .core.device import get_default_device, set_default_device
from .core.dtypes import (
    ALL as _DTYPES,
)
from .core.dtypes import (
    BY_NAME as _BY_NAME,
)
from .core.dtypes import (
    FOREIGN as _FOREIGN,
)
from .core.dtypes import (
    DType as dtype,
)
from .core.dtypes import default_dtype as get_default_dtype
from .core.dtypes import (
    finfo,
    iinfo,
    set_default_dtype,
)
from .core.errors import OutOfMemoryError
from .core.promotion import can_cast, promote_types

with _uncollected():  # what is defined here stays
    _importlib.import_module(".tensor", __name__)

from .tensor import Parameter, Tensor
from .tensor import functional as _functional
from .tensor.attach import RECORDED as _RECORDED
from .tensor.attach import Layout as layout
from .tensor.attach import strided
from .tensor.budget import memory_budget
from .tensor.creation import as_tensor, asarray, from_numpy, scalar_tensor, tensor
from .tensor.file_memory import UntypedStorage
from .tensor.legacy import TYPES as _TYPES
from .tensor.legacy import set_default_tensor_type
from .tensor.modes import (
    eager,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .tensor.predicates import (
    allclose,
    are_deterministic_algorithms_enabled,
    broadcast_shapes,
    equal,
    get_num_threads,
    is_complex,
    is_floating_point,
    is_nonzero,
    is_tensor,
    numel,
    result_type,
    set_num_threads,
    synchronize,
    use_deterministic_algorithms,
)
from .tensor.printing import set_printoptions
from .tensor.rng import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from .tensor.size import Size

__version__ = "0.1.0"

if _flags.num_threads:  # given in the environment
    set_num_threads(_flags.num_threads)

for _dtype in (*_DTYPES, *_FOREIGN):
    globals()[_dtype.name] = _dtype
for _name, _dtype in _BY_NAME.items():
    globals().setdefault(_name, _dtype)
for _name, _function in _functional.namespace("").items():
    if not _name.startswith("__"):
        globals()[_name] = _function

globals().update(_TYPES)

newaxis = None
contiguous_format, preserve_format, channels_last = (
    layout("contiguous_format"), layout("preserve_format"), layout("channels_last"),
)  # fmt: skip

_SUBMODULES = {
    "nn", "optim", "data", "utils", "autograd", "linalg", "numpy", "tensorflow", "random", "ops",
    "func", "special", "fft", "testing", "runtime", "amp", "backends", "compiler", "cuda",
    "distributed", "distributions", "hub", "inspect", "jit", "masked", "mock_torch", "profiler",
    "signal",
}  # fmt: skip
_LAZY = {
    "save": "serialization", "load": "serialization", "graph_text": "tensor.inspect",
    "cond": "tensor.control", "while_loop": "tensor.control",
    "scan": "tensor.control", "vmap": "func", "compile": "compiler",
}  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _SUBMODULES:
        return _importlib.import_module(f"{__name__}.{name}")
    if name in _LAZY:
        return getattr(_importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    if _functional.is_public(name):  # one that was defined after the import
        return _RECORDED[name]
    raise AttributeError(f"module 'thalweg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, *_LAZY})


del _name, _dtype, _function
