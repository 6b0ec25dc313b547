"""Between options, checkpoints and the graph: checks, plain numbers, loaded tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import DType, bfloat16, default_dtype, float16, float32, float64
from ..core.errors import located
from ..ir.node import Value
from ..ops.arithmetic import cast
from ..ops.complex_ops import view_as_complex, view_as_real
from ..tensor import Tensor
from ..tensor.modes import no_grad


def plain(group: dict[str, Any]) -> dict[str, Any]:
    """A group's options with one-element tensors as numbers.

    Reading a pending tensor flushes, so it happens before a step begins to record.
    """
    return {
        k: v if k == "params" or v.__class__ in _PLAIN else _number(v) for k, v in group.items()
    }


_PLAIN = frozenset({bool, int, float, str, type(None)})


def _number(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.item()
    if isinstance(value, tuple):
        return tuple(_number(v) for v in value)
    return value


def row_rule(rule: Callable[..., Sequence[Value]]) -> Callable[..., Sequence[Value]]:
    """A rule for one row that sees neither half precision nor complex numbers.

    Half-precision rows are computed in float32 and rounded once: 0.999, a usual decay rate, is 1
    in bfloat16. A complex number is updated as the pair of its parts.
    """

    def whole(key: Any, numbers: Sequence[Value], *row: Value) -> Sequence[Value]:
        _, static, _ = key
        param = row[0]
        old = (param, *row[2:])
        if param.dtype is float16 or param.dtype is bfloat16:
            row = tuple(cast(value, float32) for value in row)
        elif param.dtype.is_complex:
            row = tuple(view_as_real(v) if v.dtype.is_complex else v for v in row)
        new = rule(static, numbers, *row)
        return [_like(value, before) for value, before in zip(new, old, strict=True)]

    return whole


def _like(value: Value, before: Value) -> Value:
    if before.dtype.is_complex and not value.dtype.is_complex:
        value = view_as_complex(value)
    return cast(value, before.dtype)


def stand_ins(rows: list[list[Tensor]], writes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Put copies in the place of tensors that are only written element by element: views, and
    tensors that share their memory with a NumPy array. The pairs of a tensor and its copy."""
    pairs = []
    for row in rows:
        for column in writes:
            extra = row[column]._extra
            if extra is not None and (extra.base is not None or extra.exported is not None):
                copy = row[column].detach().clone()
                pairs.append((row[column], copy))
                row[column] = copy
    return pairs


def write_back(pairs: list[tuple[Tensor, Tensor]]) -> None:
    """Give tensors the values of their `stand_ins`."""
    if pairs:
        with no_grad():
            for tensor, copy in pairs:
                tensor.copy_(copy)


def loaded(value: Any, dtype: DType | None = None) -> Any:
    """An entry of a loaded state dict as this optimizer's own: tensors (PyTorch's too) are copied,
    and cast to ``dtype`` if both are floating point; lists and dicts are taken apart."""
    if isinstance(value, dict):
        return {k: loaded(v, dtype) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(loaded(v, dtype) for v in value)
    if hasattr(value, "detach") and not isinstance(value, Tensor):
        value = Tensor._from_array(np.array(value.detach().cpu().numpy()))
    if not isinstance(value, Tensor):
        return value
    value = value.detach().clone()
    if dtype is None or not (dtype.is_floating_point and value.dtype.is_floating_point):
        return value
    return value.to(dtype)


def split_names(given: list[Any]) -> tuple[list[str], list[Any]]:
    """(Name, tensor) pairs taken apart; no names for tensors alone. ValueError for a mixture."""
    named = [isinstance(entry, tuple) for entry in given]
    if not any(named):
        return [], given
    if not all(named):
        raise located(ValueError("all optimizer params should be with/without names."))
    return [name for name, _ in given], [param for _, param in given]


def scalar(value: float) -> Tensor:
    """A 0-d state tensor, in the dtype that PyTorch gives to step counts."""
    dtype = float64 if default_dtype() is float64 else float32
    return Tensor._from_array(np.asarray(value, dtype.np))


def check(condition: bool, message: str) -> None:
    """ValueError unless an option is in range."""
    if not condition:
        raise located(ValueError(message))


def check_rate(lr: Any) -> None:
    """ValueError unless a learning rate is a number, or a one-element tensor, not below zero."""
    if isinstance(lr, Tensor):
        check(lr.numel() == 1, f"Tensor lr must be 1-element, but got {lr.numel()} elements")
        lr = lr.item()
    check(lr >= 0.0, f"Invalid learning rate: {lr}")


def check_betas(betas: Sequence[float]) -> None:
    """ValueError unless both decay rates are in [0, 1)."""
    for index in (0, 1):
        check(
            0.0 <= betas[index] < 1.0,
            f"Invalid beta parameter at index {index}: {betas[index]}",
        )


def check_not_negative(**options: float) -> None:
    """ValueError naming the first option below zero."""
    for name, value in options.items():
        check(value >= 0.0, f"Invalid {name} value: {value}")
