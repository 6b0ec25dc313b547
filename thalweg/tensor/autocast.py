"""Automatic mixed precision: inside `autocast`, some functions choose the dtype they compute in.

Which functions do is PyTorch's policy for the CPU, function by function: matrix products and
convolutions take their operands to the lower dtype, what loses too much there takes them to
float32, and what joins tensors takes them to the widest among them. All else is unaffected.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from ..core.dtypes import DType, bfloat16, float16, float32
from ..core.errors import located
from .tensor import Tensor
from .trace import local

_LOWER = """
addmm addbmm baddbmm bmm mm matmul einsum tensordot chain_matmul corrcoef cov
linalg.vecdot linalg.multi_dot linalg.matmul linalg.matrix_power nn.functional.linear
nn.functional.conv1d nn.functional.conv2d nn.functional.conv3d nn.functional.conv_transpose1d
nn.functional.conv_transpose2d nn.functional.conv_transpose3d nn.functional.prelu
nn.functional.scaled_dot_product_attention
"""
_FLOAT32 = """
cdist cholesky cholesky_inverse cholesky_solve geqrf inverse logdet lu lu_solve nanquantile ormqr
pinverse prod qr quantile stft svd trace triangular_solve
nn.functional.adaptive_avg_pool3d nn.functional.adaptive_max_pool3d nn.functional.avg_pool3d
nn.functional.binary_cross_entropy nn.functional.binary_cross_entropy_with_logits
nn.functional.cosine_embedding_loss nn.functional.cross_entropy nn.functional.ctc_loss
nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d
nn.functional.grid_sample nn.functional.hinge_embedding_loss nn.functional.huber_loss
nn.functional.kl_div nn.functional.l1_loss nn.functional.margin_ranking_loss
nn.functional.max_unpool2d nn.functional.max_unpool3d
nn.functional.max_unpool1d nn.functional.mse_loss nn.functional.multi_margin_loss
nn.functional.multilabel_margin_loss nn.functional.nll_loss nn.functional.poisson_nll_loss
nn.functional.smooth_l1_loss nn.functional.soft_margin_loss nn.functional.triplet_margin_loss
"""
LOWER, FLOAT32 = frozenset(_LOWER.split()), frozenset(_FLOAT32.split())
_FLOAT32_FAMILIES = ("fft.", "linalg.")

WIDEST = frozenset(("cat", "concat", "concatenate", "stack", "index_copy"))


class _State:
    """What is in force in a thread: the lower dtype, None for off, and the default of it."""

    def __init__(self) -> None:
        self.dtype: DType | None = None
        self.default = bfloat16


def _state() -> _State:
    state = getattr(local, "autocast", None)
    if state is None:
        state = local.autocast = _State()
    return state


_used = False  # whether autocast was ever entered: until then, calls look no further


def casting(name: str, form: Callable[..., Any]) -> Callable[..., Any]:
    """A public function under autocast's policy: ``form`` itself if it has none."""
    if name in LOWER:
        choose: Callable[[DType, list[Tensor]], DType | None] = _lower
    elif name in FLOAT32 or name.startswith(_FLOAT32_FAMILIES):
        choose = _float32
    elif name in WIDEST:
        choose = _widest
    else:
        return form

    @functools.wraps(form)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not _used or (lower := _state().dtype) is None:
            return form(*args, **kwargs)
        target = choose(lower, list(_narrow_tensors((args, kwargs))))
        if target is None:
            return form(*args, **kwargs)
        args, kwargs = _cast(args, target), _cast(kwargs, target)
        with autocast("cpu", enabled=False):
            return form(*args, **kwargs)

    return call


def _lower(lower: DType, found: list[Tensor]) -> DType | None:
    return lower


def _float32(lower: DType, found: list[Tensor]) -> DType | None:
    return float32


def _widest(lower: DType, found: list[Tensor]) -> DType | None:
    kinds = {t.dtype for t in found}
    if len(kinds) < 2:
        return None
    return float32 if kinds != {lower} else lower


def _narrow_tensors(value: Any) -> Any:
    """Tensors in a nest whose dtype autocast may change."""
    if isinstance(value, Tensor):
        if value.dtype in _CASTABLE:
            yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _narrow_tensors(item)
    elif isinstance(value, dict):
        yield from _narrow_tensors(tuple(value.values()))


_CASTABLE = (float32, float16, bfloat16)


def _cast(value: Any, dtype: DType) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.dtype in _CASTABLE else value
    if type(value) in (tuple, list):
        return type(value)(_cast(item, dtype) for item in value)
    if type(value) is dict:
        return {k: _cast(v, dtype) for k, v in value.items()}
    return value


class autocast:
    """Let functions choose their dtype, for a ``with`` block or a decorated function.

    Args: ``device_type`` ("cpu"; for others nothing changes here), ``dtype`` (bfloat16 or
    float16; others switch it off with a warning), ``enabled``.
    """

    def __init__(self, device_type: str, dtype: DType | None = None, enabled: bool = True,
                 cache_enabled: bool | None = None) -> None:  # fmt: skip
        if not isinstance(device_type, str):
            raise located(ValueError(
                f"Expected `device_type` of type `str`, got: `{type(device_type)}`"
            ))  # fmt: skip
        self.device = device_type
        self.fast_dtype = dtype or _state().default
        if enabled and device_type == "cpu" and self.fast_dtype not in (bfloat16, float16):
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
                "CPU Autocast only supports dtypes of bfloat16, float16 currently.", stacklevel=2,
            )  # fmt: skip
            enabled = False
        self._enabled = enabled
        self._before: list[DType | None] = []

    def __enter__(self) -> autocast:
        global _used
        state = _state()
        self._before.append(state.dtype)
        if self.device == "cpu":
            _used = True
            state.dtype = self.fast_dtype if self._enabled else None
        return self

    def __exit__(self, *error: object) -> None:
        _state().dtype = self._before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with autocast(self.device, self.fast_dtype, self._enabled):
                return function(*args, **kwargs)

        return decorated


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` has an effect on a device: on the CPU only."""
    return device_type == "cpu"


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether functions choose their dtype now, on a device."""
    return device_type == "cpu" and _state().dtype is not None


def get_autocast_dtype(device_type: str) -> DType:
    """The lower dtype that is or would be used."""
    if device_type != "cpu":
        return float16
    return _state().dtype or _state().default


def set_autocast_dtype(device_type: str, dtype: DType) -> None:
    """The lower dtype that `autocast` uses by default."""
    if device_type == "cpu":
        _state().default = dtype


def set_autocast_enabled(device_type: str, enabled: bool) -> None:
    """Switch autocast on or off until further notice."""
    global _used
    if device_type == "cpu":
        _used = True
        _state().dtype = _state().default if enabled else None
