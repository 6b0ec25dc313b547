"""The other ways of making one call: operators, aliases, keywords in place of positions, ``out=``.

`op_db` runs each with the samples of the database here and there. Whether a form exists is
PyTorch's answer: it is tried there first.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch

Call = Callable[..., Any]
Form = tuple[str, Call, Call]
"""Name, PyTorch's call and ours."""


def operators(info: Any) -> Iterator[Form]:
    """``x + y`` and ``x += y`` where the database has them for the name."""
    for kind, variant in (
        ("operator", info.operator_variant), ("in-place operator", info.inplace_operator_variant)
    ):  # fmt: skip
        if variant is not None:
            yield kind, variant, variant


def aliases(info: Any, ours: Callable[[str], Call | None]) -> Iterator[Form]:
    """The further public names of the same function, with their methods."""
    for alias in info.aliases:
        theirs = alias.op
        if theirs is None:
            continue
        mine = ours(alias.name.removeprefix("torch.")) or _missing(alias.name)
        yield f"alias {alias.name}", theirs, mine


def _missing(name: str) -> Call:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise AttributeError(f"no {name}")

    return call


def by_keyword(info: Any, sample: Any) -> dict[str, Any] | None:
    """All arguments of the sample by PyTorch's names for them, or None where PyTorch takes them
    only by position."""
    given = (sample.input, *sample.args)
    for names in _parameters(info.name):
        if len(names) < len(given):
            continue
        named = dict(zip(names, given))
        if set(named) & set(sample.kwargs):
            continue
        try:
            info.op(**named, **sample.kwargs)
        except Exception:
            continue
        return named
    return None


@functools.cache
def _parameters(name: str) -> tuple[tuple[str, ...], ...]:
    """The names of parameters, one tuple for each overload."""
    found: Any = torch
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        return ()  # a method, whose first operand has no name
    lists: list[tuple[str, ...]] = []
    with contextlib.suppress(TypeError, ValueError):  # a function without a Python signature
        lists.append(tuple(inspect.signature(found).parameters))
    aten = name.rpartition(".")[2]
    for prefix in ("", "linalg_", "special_", "fft_"):
        for schema in torch._C._jit_get_schemas_for_operator(f"aten::{prefix}{aten}"):
            names = tuple("input" if a.name == "self" else a.name for a in schema.arguments)
            lists.append(names)
            lists.append(tuple("self" if n == "input" else n for n in names))
            if prefix == "linalg_":
                lists.append(tuple("A" if n == "input" else n for n in names))
    return tuple(dict.fromkeys(lists))


def empty_outputs(info: Any, result: Any) -> Any:
    """Empty tensors of the result's dtypes for ``out=``, or None if there is no such form."""
    if not info.supports_out:
        return None
    if isinstance(result, torch.Tensor):
        return torch.empty(0, dtype=result.dtype)
    if isinstance(result, tuple) and all(isinstance(r, torch.Tensor) for r in result):
        return tuple(torch.empty(0, dtype=r.dtype) for r in result)
    return None
