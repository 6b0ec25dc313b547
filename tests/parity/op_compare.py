"""PyTorch's arguments as ours, and our results beside PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import thalweg

Call = Callable[..., Any]

# rtol, atol. Half precision is computed in float32 here and step by step in PyTorch.
_TOLERANCE = {
    "float64": (1e-6, 1e-8), "float32": (1e-3, 2e-5), "float16": (2e-2, 5e-2),
    "bfloat16": (4e-2, 4e-2), "complex64": (1e-3, 5e-5), "complex128": (1e-6, 1e-8),
}  # fmt: skip

# ---- conversion

_CODE = {"torch.nn.functional", "torch.testing._internal.common_methods_invocations"}


class NotComparable(Exception):
    """A sample that is about something outside a dense CPU tensor library."""


def convert(x: Any, made: list[tuple[Any, Any]]) -> Any:
    """PyTorch's argument as ours. Tensors that require gradients are added to ``made``."""
    if isinstance(x, torch.Tensor):
        if x.layout != torch.strided or x.is_quantized or x.device.type != "cpu":
            raise NotComparable(f"a {x.layout} tensor on {x.device}")
        if x.ndim > 64 or x.dtype == torch.complex32:
            raise NotComparable("more dimensions than NumPy has, or a dtype it lacks")
        tensor = thalweg.tensor(array(x), requires_grad=x.requires_grad)
        if x.requires_grad:
            made.append((tensor, x))
        return tensor
    if isinstance(x, (torch.dtype, torch.memory_format, torch.layout)):
        name = str(x).removeprefix("torch.")
        if not hasattr(thalweg, name):
            raise NotComparable(name)
        return getattr(thalweg, name)
    if isinstance(x, torch.device):
        return thalweg.device(str(x))
    if isinstance(x, (torch.Generator, torch.nn.Module)) or getattr(x, "__module__", "") in _CODE:
        raise NotComparable("an object made of PyTorch's functions")
    if isinstance(x, dict):
        if x.get("sparse"):
            raise NotComparable("a sparse gradient")
        return {k: convert(v, made) for k, v in x.items()}
    if type(x) in (list, tuple, torch.Size):
        items = [convert(v, made) for v in x]
        return items if isinstance(x, list) else tuple(items)
    return x


def array(x: torch.Tensor) -> np.ndarray:
    x = x.detach()
    if x.dtype == torch.bfloat16:
        return x.float().numpy(force=True).astype(thalweg.bfloat16.np)
    return x.contiguous().numpy(force=True).copy()


def flat(result: Any) -> list[Any]:
    if isinstance(result, (list, tuple)) and not isinstance(result, (torch.Size, thalweg.Size)):
        return [leaf for item in result for leaf in flat(item)]
    return [result]


# ---- comparison


def differs(mine: Any, theirs: Any, values: bool = True) -> str:
    """How one result differs from PyTorch's, or ''."""
    if not isinstance(theirs, torch.Tensor):
        if isinstance(theirs, (torch.dtype, torch.device, torch.Size)):
            mine, theirs = str(mine), str(theirs)
        if isinstance(theirs, (float, complex)):
            close = np.isclose(mine, theirs, rtol=1e-3, atol=1e-5, equal_nan=True)
            return "" if close else f"{mine!r}, PyTorch {theirs!r}"
        return "" if mine == theirs or not values else f"{mine!r}, PyTorch {theirs!r}"
    if not isinstance(mine, thalweg.Tensor):
        return f"{type(mine).__name__}, PyTorch has a tensor"
    name = str(theirs.dtype).removeprefix("torch.")
    if name == "complex32":
        return ""  # not a dtype here: half precision becomes complex64
    if mine.dtype.name != name:
        return f"dtype {mine.dtype.name}, PyTorch {name}"
    if tuple(mine.shape) != tuple(theirs.shape):
        return f"shape {list(mine.shape)}, PyTorch {list(theirs.shape)}"
    if mine.requires_grad != theirs.requires_grad:
        return f"requires_grad {mine.requires_grad}, PyTorch {theirs.requires_grad}"
    return unequal(array_of(mine), array(theirs), name) if values else ""


def array_of(mine: Any) -> np.ndarray:
    mine = mine.detach()
    return np.asarray(mine._array())


def unequal(mine: np.ndarray, theirs: np.ndarray, name: str) -> str:
    if name in _TOLERANCE:
        rtol, atol = _TOLERANCE[name]
        if name in ("float16", "bfloat16"):  # sums that cancel err by the size of their terms
            sizes = np.abs(theirs.astype(np.float64))
            atol *= 1 + 0.1 * float(np.max(sizes, initial=0, where=np.isfinite(sizes)))
        wide = np.complex128 if name.startswith("complex") else np.float64
        with np.errstate(all="ignore"):
            wrong = ~np.isclose(
                mine.astype(wide), theirs.astype(wide), rtol=rtol, atol=atol, equal_nan=True
            )
        if name in ("float16", "bfloat16"):
            # What overflows in PyTorch's intermediate results does not here.
            wrong &= np.isfinite(theirs) | np.isnan(mine)
    else:
        wrong = mine != theirs
    if not wrong.any():
        return ""
    at = tuple(map(int, np.argwhere(wrong)[0]))
    return f"{mine[at]!s} at {at}, PyTorch {theirs[at]!s} ({wrong.sum()} of {wrong.size} differ)"


def raised(function: Call, *args: Any, **kwargs: Any) -> tuple[Any, Exception | None]:
    """The result of a call, computed, and what it raised."""
    try:
        result = function(*args, **kwargs)
        for leaf in flat(result):
            if isinstance(leaf, thalweg.Tensor):
                array_of(leaf)
        return result, None
    except Exception as error:
        return None, error


def describe(sample: Any) -> str:
    def leaf(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            return f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}"
        if type(x) in (list, tuple):
            return type(x)(leaf(v) for v in x)
        return x

    parts = [f"{leaf(a)}" for a in (sample.input, *sample.args)]
    parts += [f"{k}={leaf(v)}" for k, v in sample.kwargs.items()]
    text = f"({', '.join(parts)})".replace("'", "").replace("torch.", "")
    return text if len(text) < 240 else text[:237] + "..."


# Decompositions that are unique only up to signs, phases or the completion of a basis.
GAUGE = {"svd", "linalg.svd", "linalg.eig", "linalg.eigh"}

# Where the dimension stands in functions that choose among equal elements as they like.
TIES = {"sort": 0, "argsort": 0, "mode": 0, "topk": 1, "kthvalue": 1}


def settled(name: str, sample: Any, mine: Any, theirs: Any) -> tuple[Any, Any]:
    """Both results without what is left open: signs of decompositions, and positions if ours are
    as good a choice as PyTorch's, without repetition (unless one is chosen) and of equal elements.
    """
    if name in GAUGE:
        # What the database leaves of a sample may still have a sign or phase a column.
        both = (flat(sample.output_process_fn_grad(r)) for r in (mine, theirs))
        return tuple(tuple(t.abs() for t in results) for results in both)  # type: ignore[return-value]
    x = sample.input
    if name not in TIES or sample.kwargs.get("stable") or not x.ndim:
        return mine, theirs
    dim = dict(enumerate(sample.args)).get(TIES[name], -1)
    dim = sample.kwargs.get("dim", dim)
    our, their = flat(mine), flat(theirs)
    if isinstance(dim, bool) or tuple(our[-1].shape) != tuple(their[-1].shape):
        return mine, theirs
    at = torch.from_numpy(array_of(our[-1]).astype(np.int64))
    lifted = [i if i.ndim == x.ndim else i.unsqueeze(dim) for i in (at, their[-1])]
    chosen = [torch.gather(x.detach(), dim, i) for i in lifted]
    distinct = bool((lifted[0].sort(dim).values.diff(dim=dim) > 0).all())
    if distinct and torch.allclose(*chosen, rtol=0, atol=0, equal_nan=True):
        return mine, (*their[:-1], at)
    return mine, theirs


def short_error(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:150] if lines else ''}"
