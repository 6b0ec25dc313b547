"""Steps: what a native program does one after another, and the pointers each needs.

A step reads and writes values of a graph. Once memory is planned, `Step.emit` says which kernels
to launch on which pointers: one for most nodes, several for a scan, none for a host step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..codegen.copying import copy_kernel
from ..core.dtypes import int64
from ..ir.node import Node, Value
from ..ir.types import TensorType
from ..runtime.native import Launch, NativeKernel
from ..runtime.native_program import Place

Launches = Iterator[tuple[NativeKernel, list[Place]]]


class CopyOp:
    """The op of nodes that planning adds where a value has to stand in two places."""

    name = "copy"

    def infer_types(
        self, inputs: tuple[TensorType, ...], attrs: Mapping[str, Any]
    ) -> tuple[TensorType, ...]:
        return inputs


COPY = CopyOp()


class ExtentOp:
    """The op of nodes that planning adds to find the smallest and the largest of integers."""

    name = "extent"

    def infer_types(
        self, inputs: tuple[TensorType, ...], attrs: Mapping[str, Any]
    ) -> tuple[TensorType, ...]:
        return (TensorType((2,), int64),)


EXTENT = ExtentOp()


def extent_of(value: Value) -> Value:
    """int64[2]: the smallest and the largest element of ``value``, as a node."""
    return Node(EXTENT, (value,), {}, EXTENT.infer_types((), {})).out


def copied(value: Value) -> Value:
    """A copy of ``value``, as a node."""
    return Node(COPY, (value,), {}, (value.type,)).out


@dataclass
class Step:
    """``in_place`` are pairs (operand, result) that may share memory. ``counts`` are the ops that
    the step computes."""

    name: str
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]
    location: tuple[str, int] | None = None
    workspaces: tuple[int, ...] = ()
    in_place: tuple[tuple[int, int], ...] = ()
    counts: Counter[str] = field(default_factory=Counter)

    def emit(
        self, reads: Sequence[Place], writes: Sequence[Place], workspaces: Sequence[Place]
    ) -> Launches:
        """The launches, in order."""
        raise NotImplementedError


@dataclass
class KernelStep(Step):
    """One kernel on operands, results and workspaces. ``once`` are the launches that pack operands
    which many runs of the step find unchanged: they need not run again as long as what they made,
    which has no workspace among the step's, is held for them."""

    kernel: NativeKernel = field(kw_only=True)
    once: tuple[Launch, ...] = ()

    def emit(
        self, reads: Sequence[Place], writes: Sequence[Place], workspaces: Sequence[Place]
    ) -> Launches:
        yield self.kernel, [*reads, *writes, *workspaces]


@dataclass
class PythonStep(Step):
    """A node that runs on the host, by ``run(arrays, attrs)``."""

    run: Any = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def emit(
        self, reads: Sequence[Place], writes: Sequence[Place], workspaces: Sequence[Place]
    ) -> Launches:
        return iter(())


def kernel_step(
    node: Node, kernel: NativeKernel, counts: Counter[str] | None = None,
    kept: Sequence[int] = (),
) -> KernelStep:  # fmt: skip
    """The step of a node that has a kernel. ``kept`` are operands that many runs of the step find
    unchanged."""
    once = tuple(each for each in kernel.launches if each.packs and each.packs[0] in kept)
    held = {each.packs[1] for each in once if each.packs}
    first = len(node.inputs) + len(node.outputs)
    workspaces = tuple(0 if first + i in held else n for i, n in enumerate(kernel.workspaces))
    pairs = tuple((operand, result - len(node.inputs)) for operand, result in kernel.in_place)
    counts = Counter([node.op.name]) if counts is None else counts
    return KernelStep(
        kernel.name, node.inputs, node.outputs, node.location, workspaces, pairs, counts,
        kernel=kernel, once=once,
    )  # fmt: skip


def copy_step(node: Node) -> KernelStep:
    """The step of a node of `COPY`."""
    return kernel_step(node, copy_kernel(node.inputs[0].type.nbytes), Counter())
