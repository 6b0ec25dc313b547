"""Loop nests of the ops that are kernels of their own: order, running results, scattered writes.

Each module here builds `loops.Kernel`s for the ops of one file of `ops`. They are loaded when a
kernel is first asked for: recording and the reference backend never need them.
"""

from __future__ import annotations

import importlib
from typing import Any

from ...ir.node import Node
from ..contract import LoopKernel


def kernel_from(module: str) -> LoopKernel:
    """The `LoopKernel` that ``build`` of ``ops/kernels/MODULE.py`` describes."""

    def build(node: Node) -> Any:
        return importlib.import_module(f"{__name__}.{module}").build(node)

    return LoopKernel(build)
