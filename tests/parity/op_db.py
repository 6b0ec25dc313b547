"""PyTorch's own operator database as a judge: each of its samples run here and there.

``python -m tests.parity [NAME...]`` prints one line per name. Nothing of a sample is
ours: operands, arguments and bad inputs are those with which PyTorch tests itself.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from op_compare import (
    NotComparable,
    convert,
    describe,
    differs,
    flat,
    raised,
    settled,
    short_error,
)
from op_forms import aliases, by_keyword, empty_outputs, operators

import thalweg
from thalweg.core.errors import DTypeError, IndexOutOfRange
from thalweg.ops import FUNCTIONS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

DTYPES = (
    torch.float32, torch.float64, torch.int64, torch.bool, torch.float16, torch.bfloat16,
    torch.complex64,
)  # fmt: skip
NARROW = (torch.float16, torch.bfloat16, torch.complex64)
UNDEFINED = {"empty", "empty_like", "new_empty"}
"""Functions whose results hold no particular values."""
DENSE_HERE = {"to_sparse"}
"""Methods that exist so that programs run, but whose results PyTorch stores as it stores none here:
they count as absent."""

ABOUT_MEMORY = {"as_strided partial_views"}
"""Variants whose samples are about the memory behind a view, which values do not have."""

COARSE_COORDINATES = {"grid_sampler_2d", "nn.functional.grid_sample"}
"""Functions whose coordinates PyTorch computes in bfloat16: with its 8 bits they are off by up to a
whole element, by how much depends on the processor."""

Call = Callable[..., Any]


@dataclass
class Report:
    """What running one name showed: how many comparisons were made, and every complaint."""

    name: str
    checks: int = 0
    declined: int = 0
    problems: list[str] = field(default_factory=list)

    def note(self, where: str, found: str) -> None:
        self.checks += 1
        if found:
            self.problems.append(f"{where}: {found}")


def ours(name: str) -> Call | None:
    """The function of this public name here: thalweg.X, else the `Tensor` method, else X_."""
    if name in DENSE_HERE:
        return None
    found: Any = thalweg
    for part in name.split("."):
        try:
            found = getattr(found, part, None)
        except ImportError:
            found = None
        if found is None:
            break
    if callable(found):
        return found  # type: ignore[no-any-return]
    if "." in name:
        return None
    found = getattr(thalweg.Tensor, name, None) or getattr(thalweg.Tensor, name + "_", None)
    return found.fget if isinstance(found, property) else found


def entries() -> dict[str, list[Any]]:
    """The database by public name (a name can have several variants)."""
    named: dict[str, list[Any]] = {}
    for info in op_db:
        named.setdefault(info.name, []).append(info)
    return named


def supported() -> list[str]:
    """The names of the database that exist here."""
    return [name for name in entries() if ours(name) is not None]


def _swapped(function: Call) -> Call:
    return lambda first, second, *rest, **kwargs: function(second, first, *rest, **kwargs)


# Where the database holds a wrapper of the public function (by name, or name and variant): the
# same wrapper around ours.
WRAPPED: dict[str, Callable[[Call], Call]] = {
    "einsum": _swapped, "where": _swapped, "polygamma": _swapped, "special.polygamma": _swapped,
    "nn.functional.embedding": _swapped, "nn.functional.embedding_bag": _swapped,
    "linalg.pinv singular": lambda f: lambda a, b: f(a @ b.mT),
    "svd_lowrank": lambda f: lambda a, b, **options: f(a @ b.mT, **options),
    "pca_lowrank": lambda f: lambda a, b, **options: f(a @ b.mT, **options),
    "linalg.lstsq grad_oriented": lambda f: lambda a, b, driver: f(a, b, driver=driver)[:2],
}  # fmt: skip


def called(info: Any, function: Call) -> Call:
    """Our function in the form in which the database calls PyTorch's."""
    variant = info.variant_test_name
    if variant == "in_place":
        return _on_copy(getattr(thalweg.Tensor, info.name + "_"))
    if info.name.endswith("_") and not info.name.startswith("__"):
        return _on_copy(function)
    wrapper = WRAPPED.get(f"{info.name} {variant}") or WRAPPED.get(info.name)
    return wrapper(function) if wrapper else function


# ---- running one name


def seeded() -> None:
    torch.default_generator.manual_seed(7)  # torch.manual_seed looks for devices every time
    random.seed(7)
    np.random.seed(7)
    thalweg.manual_seed(7)


def spread(samples: list[Any], limit: int) -> list[Any]:
    """At most ``limit`` of them, evenly chosen: always the same ones."""
    if len(samples) <= limit:
        return samples
    return [samples[i * len(samples) // limit] for i in range(limit)]


def is_random(name: str, sample: Any) -> bool:
    function = FUNCTIONS.get(name)
    if name == "nn.functional.scaled_dot_product_attention":
        return bool(sample.kwargs.get("dropout_p"))
    if name == "nn.functional.multi_head_attention_forward":
        return sample.args[9] > 0 and bool(sample.kwargs.get("training", True))
    return function is not None and function.random


def run(
    name: str, infos: list[Any], limit: int = 200, function: Callable[..., Any] | None = None
) -> Report:
    """Every comparison of one public name (or of ``function`` in its place), with at most ``limit``
    samples per variant and dtype."""
    report = Report(name)
    function = function or ours(name)
    assert function is not None
    with warnings.catch_warnings(), np.errstate(all="ignore"), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        for info in infos:
            label = f"[{info.variant_test_name}] " if info.variant_test_name else ""
            if f"{name} {info.variant_test_name}" in ABOUT_MEMORY:
                continue
            call = called(info, function)
            for dtype in DTYPES:
                if dtype not in info.dtypes:
                    continue
                if dtype is torch.bfloat16 and name in COARSE_COORDINATES:
                    continue
                few = max(1, limit // 8) if dtype in NARROW else limit
                short = str(dtype).removeprefix("torch.")
                for sample in samples_of(info, dtype, few):
                    _run_sample(report, info, call, sample, f"{label}{short}")
            _run_errors(report, info, call, label, limit)
    return report


def _on_copy(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda input, *args, **kwargs: method(input.clone(), *args, **kwargs)


def samples_of(info: Any, dtype: torch.dtype, limit: int) -> list[Any]:
    seeded()
    grad = dtype == torch.float64 and info.supports_autograd
    samples = info.sample_inputs("cpu", dtype, requires_grad=grad, set_seed=False)
    return spread(list(islice(samples, 8 * limit)), limit)


def _run_sample(report: Report, info: Any, function: Any, sample: Any, label: str) -> None:
    where = f"{label} {describe(sample)}"
    seeded()
    theirs, refused = raised(info.op, sample.input, *sample.args, **sample.kwargs)
    made: list[tuple[Any, Any]] = []
    try:
        args = convert((sample.input, *sample.args), made)
        kwargs = convert(sample.kwargs, made)
    except NotComparable:
        return
    values = not (is_random(info.name, sample) or info.name in UNDEFINED)
    if refused is not None:
        return
    mine, error = raised(function, *args, **kwargs)
    if error is not None and "complex64" in label and isinstance(error, DTypeError):
        report.declined += 1  # complex numbers are data: few functions compute with them
        return
    if error is not None:
        report.note(where, f"raised {short_error(error)}")
        return
    mine, theirs = settled(info.name, sample, mine, theirs)
    found = _compare(mine, theirs, values)
    report.note(where, found)
    if not found and values and made:
        report.note(f"{where} gradient", _gradients(mine, theirs, made))
    if not found:
        _run_variants(report, info, sample, theirs, values, where)
        _run_forms(report, info, sample, theirs, values, where)


def _compare(mine: Any, theirs: Any, values: bool) -> str:
    mine, theirs = flat(mine), flat(theirs)
    if len(mine) != len(theirs):
        return f"{len(mine)} results, PyTorch has {len(theirs)}"
    for i, (a, b) in enumerate(zip(mine, theirs)):
        if found := differs(a, b, values):
            return f"result {i}: {found}" if len(mine) > 1 else found
    return ""


def _gradients(mine: Any, theirs: Any, made: list[tuple[Any, Any]]) -> str:
    """Gradients of the results weighted with random cotangents, or the complaint about them."""
    pairs = [(a, b) for a, b in zip(flat(mine), flat(theirs)) if getattr(b, "requires_grad", False)]
    if not pairs:
        return ""
    rng = np.random.default_rng(11)
    seeds = []
    for _, b in pairs:
        drawn = rng.normal(size=tuple(b.shape)) + 1j * rng.normal(size=tuple(b.shape))
        seeds.append(torch.from_numpy(np.asarray(drawn if b.is_complex() else drawn.real)).to(b))
    expected, refused = raised(
        torch.autograd.grad, [b for _, b in pairs], [x for _, x in made], seeds, allow_unused=True
    )
    if refused is not None:
        return ""  # PyTorch has no derivative for these arguments
    got, error = raised(
        thalweg.autograd.grad, [a for a, _ in pairs], [x for x, _ in made], convert(seeds, []),
        allow_unused=True,
    )  # fmt: skip
    if error is not None:
        return f"raised {short_error(error)}"
    for i, (a, b) in enumerate(zip(got, expected)):
        b = torch.zeros_like(made[i][1]) if b is None else b
        a = thalweg.zeros(tuple(b.shape), dtype=made[i][0].dtype) if a is None else a
        if found := differs(a, b.detach()):
            return f"of tensor {i}: {found}"
    return ""


def _run_variants(
    report: Report, info: Any, sample: Any, theirs: Any, values: bool, where: str
) -> None:
    """The method and the in-place method with the same sample."""
    dunder = info.name.startswith("__")
    for kind, variant in (("method", info.method_variant), ("in place", info.inplace_variant)):
        if variant is None or not isinstance(sample.input, torch.Tensor) or dunder:
            continue
        named = info.name.rpartition(".")[2] + ("_" if kind == "in place" else "")
        if not hasattr(torch.Tensor, named):
            continue
        method = getattr(thalweg.Tensor, named, None)
        if method is None:
            report.note(f"{kind}", "missing")
            continue
        made: list[tuple[Any, Any]] = []
        args = convert((sample.input.detach(), *sample.args), made)
        kwargs = convert(sample.kwargs, made)
        seeded()
        inner = getattr(torch.Tensor, named)
        source = sample.input.detach().clone()
        expected, refused = raised(inner, source, *sample.args, **sample.kwargs)
        mine, error = raised(method, *args, **kwargs)
        if refused is not None:
            report.note(f"{where} {kind}", _refusal(error, refused))
        elif error is not None:
            report.note(f"{where} {kind}", f"raised {short_error(error)}")
        else:
            found = _compare(*settled(info.name, sample, mine, expected), values)
            if not found and kind == "in place" and mine is not args[0]:
                found = "another tensor is returned"
            report.note(f"{where} {kind}", found)


def _run_forms(
    report: Report, info: Any, sample: Any, theirs: Any, values: bool, where: str
) -> None:
    """Operators, aliases, arguments by keyword and ``out=`` with the same sample."""
    tensor = isinstance(sample.input, torch.Tensor)
    if info.variant_test_name == "in_place" or info.name in WRAPPED:
        return
    first = sample.input.detach() if tensor else sample.input
    forms = [*aliases(info, ours)]
    if tensor and len(sample.args) < 2 and not sample.kwargs:
        forms += operators(info)
    for kind, reference, form in forms:
        _run_form(report, info, (kind, reference, form), (first, *sample.args), sample.kwargs,
                  values, where)  # fmt: skip
    function = ours(info.name)
    assert function is not None
    named = by_keyword(info, sample)
    if named is not None:
        form = ("by keyword", info.op, function)
        _run_form(report, info, form, (), {**named, **sample.kwargs}, values, where)
    outputs = empty_outputs(info, theirs)
    if outputs is not None and "out" not in sample.kwargs:
        form = ("out=", _keeping(info.op), _keeping(function))
        with torch.no_grad(), thalweg.no_grad():
            _run_form(report, info, form, (first, *sample.args), {**sample.kwargs, "out": outputs},
                      values, where)  # fmt: skip


def _keeping(function: Call) -> Call:
    """The function, with a complaint unless it gives back what was given as ``out``."""

    def call(*args: Any, out: Any, **kwargs: Any) -> Any:
        given = flat(function(*args, out=out, **kwargs))
        assert all(a is b for a, b in zip(given, flat(out), strict=True)), "not the given tensor"
        return out

    return call


def _run_form(
    report: Report, info: Any, form: tuple[str, Call, Call], args: Any, kwargs: Any,
    values: bool, where: str,
) -> None:  # fmt: skip
    kind, reference, function = form
    try:
        mine_args, mine_kwargs = convert(args, []), convert(kwargs, [])
    except NotComparable:
        return
    if "in-place" in kind:
        args = (args[0].clone(), *args[1:])
    seeded()
    expected, refused = raised(reference, *args, **kwargs)
    seeded()
    mine, error = raised(function, *mine_args, **mine_kwargs)
    if refused is not None:
        # `out` may have any dtype here, and an alias is the same function.
        if kind != "out=" and not kind.startswith("alias"):
            report.note(f"{where} {kind}", _refusal(error, refused))
    elif isinstance(error, DTypeError) and "complex64" in where:
        report.declined += 1
    elif error is not None:
        report.note(f"{where} {kind}", f"raised {short_error(error)}")
    elif kind == "by keyword":
        report.note(f"{where} {kind}", _compare(mine, expected, False))  # the values were compared
    else:
        sample = SimpleNamespace(input=args[0], args=args[1:], kwargs=kwargs,
                                 output_process_fn_grad=lambda r: r)  # fmt: skip
        report.note(
            f"{where} {kind}", _compare(*settled(info.name, sample, mine, expected), values)
        )


def _refusal(error: Exception | None, theirs: Exception, *stated: type[Exception]) -> str:
    """Whether what we raised is of PyTorch's type, or the complaint."""
    if error is None:
        return f"accepted, PyTorch raises {short_error(theirs)}"
    # NotImplementedError is what PyTorch's dispatcher raises for dtypes; we raise its base.
    kinds = [RuntimeError if k is NotImplementedError else k for k in (type(theirs), *stated)]
    # A position outside is an IndexError everywhere here.
    at_will = isinstance(error, IndexOutOfRange) and RuntimeError in kinds
    if at_will or isinstance(error, tuple(kinds)):
        return ""
    return f"raised {short_error(error)}, expected {kinds[0].__name__}"


def _run_errors(report: Report, info: Any, function: Any, label: str, limit: int) -> None:
    seeded()
    wrong = list(info.error_inputs("cpu")) if info.error_inputs_func is not None else []
    for bad in spread(wrong, max(limit, 8)):
        sample = bad.sample_input
        if info.name.startswith("__") and not isinstance(sample.input, torch.Tensor):
            continue  # no expression calls a number's method of this name with these
        _, refused = raised(info.op, sample.input, *sample.args, **sample.kwargs)
        if refused is None or "memory location" in str(refused) or "resiz" in str(refused):
            continue  # our operands never overlap in memory, and `out` always resizes
        try:
            args = convert((sample.input, *sample.args), [])
            kwargs = convert(sample.kwargs, [])
        except NotComparable:
            continue
        _, error = raised(function, *args, **kwargs)
        where = f"{label}error {describe(sample)}"
        if error is None and "out" in sample.kwargs and _about_dtype(refused):
            continue  # `out` may have any dtype to which the result can be cast
        report.note(where, _refusal(error, refused, bad.error_type))


def _about_dtype(error: Exception) -> bool:
    return any(word in str(error) for word in ("type", "Long tensor out"))
