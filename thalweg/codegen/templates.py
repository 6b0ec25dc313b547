"""Kernel templates by name: functions from an `AnchorCall` and a target to a native kernel.

A module of templates registers them with `@template("gemm")` and is listed in `MODULES`, so that it
is imported when the first kernel is built and not before.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import TypeAlias

from ..core.errors import GraphError
from ..ir.anchor import AnchorCall
from ..runtime.native import NativeKernel
from .target import Target

Build: TypeAlias = Callable[[AnchorCall, Target], NativeKernel]

MODULES: tuple[str, ...] = ("attention", "attention_grad", "conv", "gemm")
TEMPLATES: dict[str, Build] = {}


def template(name: str) -> Callable[[Build], Build]:
    """Registers a template: equal calls and targets must give equal kernels."""

    def register(build: Build) -> Build:
        TEMPLATES[name] = build
        return build

    return register


@functools.cache
def _import_all() -> None:
    for module in MODULES:
        importlib.import_module(f".{module}", __package__)


def instantiate(call: AnchorCall, target: Target) -> NativeKernel:
    """The kernel that computes ``call`` on ``target``."""
    _import_all()
    if call.template not in TEMPLATES:
        raise GraphError(
            f"no kernel template {call.template!r}; there are {', '.join(sorted(TEMPLATES))}"
        )
    return TEMPLATES[call.template](call, target)
