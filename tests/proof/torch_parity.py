"""Calls of public functions run here and in PyTorch: values, dtypes, gradients, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from thalweg.core.dtypes import DType
from thalweg.ir.node import Value, make_input
from thalweg.ops import Call, Declined, Function
from thalweg.ops.evaluate import evaluate
from thalweg.passes.autodiff import depends_on, gradients
from thalweg.testing.samples import type_of


def calls_of(function: Function) -> list[Call]:
    """The function's calls; a NumPy scalar (a random number of shape ()) is a 0-d tensor."""
    if function.calls is None or isinstance(function.calls, Declined):
        return []

    def leaf(x: Any) -> Any:
        return np.asarray(x) if isinstance(x, np.generic) else x

    return [
        replace(c, args=map_leaves(c.args, leaf), kwargs=map_leaves(c.kwargs, leaf))
        for c in function.calls()
    ]


def no_twin(function: Function) -> str:
    """Why PyTorch has no function of this name to compare with (``calls.no_twin``), or ''."""
    return getattr(function.calls, "no_twin", "")


def map_leaves(item: Any, convert: Callable[[Any], Any]) -> Any:
    """``convert`` applied to everything that is not a plain list, tuple or dict."""
    if type(item) in (list, tuple):
        return type(item)(map_leaves(x, convert) for x in item)
    if type(item) is dict:
        return {k: map_leaves(v, convert) for k, v in item.items()}
    return convert(item)


@dataclass
class Bound:
    """A call with graph inputs in place of arrays."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: list[Value] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)


def bind(call: Call, convert: Callable[[np.ndarray], np.ndarray] = lambda a: a) -> Bound:
    bound = Bound()

    def leaf(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        bound.arrays.append(convert(x))
        bound.inputs.append(make_input(type_of(bound.arrays[-1])))
        return bound.inputs[-1]

    bound.args = map_leaves(call.args, leaf)
    bound.kwargs = map_leaves(call.kwargs, leaf)
    return bound


def flat(result: Any) -> list[Any]:
    """The leaves of nested tuples and lists (PyTorch's named tuples among them)."""
    if isinstance(result, (tuple, list)) and not isinstance(result, torch.Size):
        return [leaf for item in result for leaf in flat(item)]
    return [result]


def flat_values(result: Any) -> list[Value]:
    return [v for v in flat(result) if isinstance(v, Value)]


def to_torch(array: np.ndarray) -> torch.Tensor:
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(array, copy=True))


def from_torch(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.to(torch.float32)
    return tensor.numpy(force=True)


def torch_function(name: str) -> Callable[..., Any] | None:
    """PyTorch's function of this name: torch.X, else the Tensor method, else in-place X_."""
    found: Any = torch
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            break
    if callable(found):
        return found  # type: ignore[no-any-return]
    stem = name.removeprefix("Tensor.")
    if "." in stem:
        return None
    return getattr(torch.Tensor, stem, None) or getattr(torch.Tensor, stem + "_", None)


def in_float32(call: Call) -> Call | None:
    """The call with single-precision operands in place of double ones; None if it has none."""
    changed = False

    def leaf(x: Any) -> Any:
        nonlocal changed
        if isinstance(x, np.ndarray) and x.dtype in (np.float64, np.complex128):
            changed = True
            return x.astype(np.float32 if x.dtype == np.float64 else np.complex64)
        return x

    args, kwargs = map_leaves(call.args, leaf), map_leaves(call.kwargs, leaf)
    return replace(call, args=args, kwargs=kwargs) if changed else None


@dataclass
class Theirs:
    """PyTorch's side of a call."""

    results: list[Any]
    tensors: list[torch.Tensor]


def run_torch(function: Callable[..., Any], call: Call, grad: bool) -> Theirs:
    tensors: list[torch.Tensor] = []
    in_place = getattr(function, "__name__", "").endswith("_")

    def leaf(x: Any) -> Any:
        if isinstance(x, DType):
            return getattr(torch, x.name)
        if not isinstance(x, np.ndarray):
            return x
        t = to_torch(x)
        if grad and (t.is_floating_point() or t.is_complex()):
            t.requires_grad_()
        tensors.append(t)
        return t.clone() if in_place else t  # PyTorch refuses to change a leaf in place

    args, kwargs = map_leaves(call.args, leaf), map_leaves(call.kwargs, leaf)
    return Theirs(flat(function(*args, **kwargs)), tensors)


_TOLERANCE = {"float64": (1e-7, 1e-9), "float32": (2e-4, 2e-5)}


def differs(ours: np.ndarray, theirs: torch.Tensor, what: str) -> str:
    """How two results differ, or ''."""
    name = str(theirs.dtype).removeprefix("torch.")
    if ours.dtype.name != name:
        return f"{what}: dtype {ours.dtype.name}, PyTorch has {name}"
    if ours.shape != tuple(theirs.shape):
        return f"{what}: shape {list(ours.shape)}, PyTorch has {list(theirs.shape)}"
    expected = from_torch(theirs)
    if ours.dtype.kind in "iub":
        wrong = ours != expected
    else:
        real = {"complex128": "float64", "complex64": "float32"}.get(name, name)
        rtol, atol = _TOLERANCE.get(real, (2e-2, 2e-2))
        if ours.dtype.name == "bfloat16":
            ours = ours.astype(np.float32)
        with np.errstate(all="ignore"):
            wrong = ~np.isclose(ours, expected, rtol=rtol, atol=atol, equal_nan=True)
    if not wrong.any():
        return ""
    at = tuple(map(int, np.argwhere(wrong)[0]))
    return f"{what}: {ours[at]!r} at {at}, PyTorch has {expected[at]!r} ({wrong.sum()} differ)"


def compare(function: Function, call: Call) -> list[str]:
    """Complaints about one call of a public function, compared with PyTorch's."""
    twin = torch_function(function.name)
    if twin is None:
        return [f"PyTorch has no {function.name}: set calls.no_twin to the reason"]
    if call.error is not None:
        return _compare_error(function, twin, call)
    grad = call.grad and not function.host and not function.random
    with torch.random.fork_rng():
        try:
            theirs = run_torch(twin, call, grad)
        except RuntimeError as error:
            if not grad or "derivative for" not in str(error):
                raise
            grad = False  # PyTorch has no derivative to compare with
            theirs = run_torch(twin, call, grad)
    if function.host:
        ours = flat(function.impl(*call.args, **call.kwargs))
        return _compare_results(ours, theirs.results)
    bound, outputs, results = run_ours(function, call)
    if function.random:
        same = [np.zeros(r.shape, r.dtype) for r in results]
        return _compare_results(same, [torch.zeros_like(r) for r in theirs.results])
    found = _compare_results(results, theirs.results)
    if grad and not found:
        found = _compare_gradients(outputs, bound, theirs)
    return found


def run_ours(function: Function, call: Call) -> tuple[Bound, list[Any], list[Any]]:
    """The call here: its inputs, its results as values, and as arrays."""
    bound = bind(call)
    kwargs = {**bound.kwargs, **_stream(function, bound)}
    outputs = flat(function.impl(*bound.args, **kwargs))
    values = [v for v in outputs if isinstance(v, Value)]
    arrays = iter(evaluate(values, dict(zip(bound.inputs, bound.arrays))))
    results = [next(arrays) if isinstance(v, Value) else v for v in outputs]
    for value, array in zip(outputs, results):
        if isinstance(value, Value):
            expected = (value.shape, value.dtype.np)
            assert expected == (array.shape, array.dtype), f"{value.type} is {array.dtype} when run"
    return bound, outputs, results


def _stream(function: Function, bound: Bound) -> dict[str, Any]:
    if not function.random:
        return {}
    from thalweg.ops.random import Stream

    key = np.array([1234, 0], np.int64)
    value = make_input(type_of(key))
    bound.inputs.append(value)
    bound.arrays.append(key)
    return {"rng": Stream(value)}


def _compare_results(ours: list[Any], theirs: list[Any]) -> list[str]:
    if len(ours) != len(theirs):
        return [f"{len(ours)} results, PyTorch has {len(theirs)}"]
    found = []
    for i, (mine, other) in enumerate(zip(ours, theirs)):
        if isinstance(other, torch.Tensor):
            if not isinstance(mine, (np.ndarray, np.generic)):
                found.append(f"result {i}: {type(mine).__name__}, PyTorch has a tensor")
            else:
                found.append(differs(np.asarray(mine), other, f"result {i}"))
        elif mine != other:
            found.append(f"result {i}: {mine!r}, PyTorch has {other!r}")
    return [f for f in found if f]


def _compare_gradients(outputs: list[Any], bound: Bound, theirs: Theirs) -> list[str]:
    sources = [v for v in bound.inputs if v.dtype.category in ("float", "complex")]
    twins = [t for t in theirs.tensors if t.requires_grad]
    if not sources:
        return []
    active = depends_on([v for v in outputs if isinstance(v, Value)], sources, sources)
    rng = np.random.default_rng(9)
    chosen, cotangents, arrays = [], [], []
    for i, (value, other) in enumerate(zip(outputs, theirs.results)):
        if not isinstance(value, Value) or not isinstance(other, torch.Tensor):
            continue
        if (value in active) != other.requires_grad:
            return [f"result {i} has requires_grad={value in active}, PyTorch: not so"]
        if not other.requires_grad:
            continue
        cotangents.append(make_input(value.type))
        drawn = rng.normal(size=value.shape)
        if value.dtype.is_complex:
            drawn = drawn + 1j * rng.normal(size=value.shape)
        arrays.append(np.asarray(drawn).astype(value.dtype.np))
        chosen.append((value, other))
    if not chosen:
        return []
    ours = gradients([v for v, _ in chosen], cotangents, sources)
    expected = torch.autograd.grad(
        [t for _, t in chosen], twins, [to_torch(a) for a in arrays], allow_unused=True
    )
    known = dict(zip(bound.inputs, bound.arrays)) | dict(zip(cotangents, arrays))
    found = []
    for i, (mine, other, value) in enumerate(zip(ours, expected, sources)):
        array = (
            np.zeros(value.shape, value.dtype.np) if mine is None else evaluate([mine], known)[0]
        )
        twin = torch.zeros_like(twins[i]) if other is None else other
        found.append(differs(array, twin, f"gradient of tensor {i}"))
    return [f for f in found if f]


def _compare_error(function: Function, twin: Callable[..., Any], call: Call) -> list[str]:
    assert call.error is not None
    kind, fragment = call.error
    ours = raised(function, call)
    theirs = _raised(lambda: run_torch(twin, call, grad=False))
    if not isinstance(ours, kind):
        return [f"expected {kind.__name__}, got {ours!r}"]
    found = [] if fragment in str(ours) else [f"message lacks {fragment!r}: {ours}"]
    if theirs is None:
        return [*found, "PyTorch accepts this call"]
    # NotImplementedError is what PyTorch's dispatcher raises for dtypes; we raise its base.
    expected = RuntimeError if isinstance(theirs, NotImplementedError) else type(theirs)
    if not isinstance(ours, expected):
        found.append(f"raises {type(ours).__name__}, PyTorch raises {theirs!r}")
    return found


def raised(function: Function, call: Call) -> Exception | None:
    """What the call raises here, when recorded or when run."""
    if function.host:
        return _raised(lambda: function.impl(*call.args, **call.kwargs))
    return _raised(lambda: run_ours(function, call))


def _raised(run: Callable[[], Any]) -> Exception | None:
    try:
        run()
    except Exception as error:
        return error
    return None


def shown(call: Call) -> str:
    """A call in one line, arrays by their types."""

    def leaf(x: Any) -> Any:
        return f"{x.dtype}{list(x.shape)}" if isinstance(x, np.ndarray) else x

    args = [str(a) for a in map_leaves(call.args, leaf)]
    args += [f"{k}={v}" for k, v in map_leaves(call.kwargs, leaf).items()]
    text = f"({', '.join(args)})"
    return text if len(text) < 220 else text[:217] + "..."


def missing_names(names: Iterable[str]) -> list[str]:
    """Those of ``names`` under which PyTorch has nothing."""
    return [n for n in names if torch_function(n) is None]
