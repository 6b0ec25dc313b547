"""A scan as native steps: its body is planned once, and its records are laid out step after step.

No value is copied between steps of a scan. The stack of a carry's values is where the carry lives:
each step reads it at its own place there and writes the next one behind it (in front, in reverse).
Operands over all steps are read, and results over all steps written, where they stand.

Kernels that pack an operand which is the same in all steps do so in the first step; what was packed
has memory of its own for as long as the scan runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..codegen.copying import copy_kernel
from ..ir.node import Node
from ..runtime.native import NativeKernel
from ..runtime.native_program import Place
from .layout import Layout
from .steps import KernelStep, Launches, Step

_Parts = tuple[Sequence[Place], Sequence[Place], Sequence[Place]]


@dataclass
class ScanStep(Step):
    """``body`` computes carries and then results of one step from carries, operands of one step
    and constants; every output of it has memory of its own. The first workspace is the arena of
    the body, the others hold what is packed once, as `packed_sizes` lists it."""

    node: Node = field(kw_only=True)
    body: Layout = field(kw_only=True)

    def emit(
        self, reads: Sequence[Place], writes: Sequence[Place], workspaces: Sequence[Place]
    ) -> Launches:
        attrs, types = self.node.attrs, self.node.types
        carries, count, length = attrs["num_carry"], attrs["num_xs"], attrs["length"]
        init, xs, consts = _split(reads, carries, carries + count)
        graph = attrs["body"]
        results = len(graph.outputs)
        final, ys, stacks = _split(writes, carries, results)
        sizes = [t.nbytes for t in types[:carries]]
        x_sizes = [v.type.nbytes for v in graph.inputs[carries : carries + count]]
        y_sizes = [v.type.nbytes for v in graph.outputs[carries:]]
        if not length:
            yield from _copies(init, final, sizes)
            return
        arena, *packed = workspaces
        order = range(length - 1, -1, -1) if attrs["reverse"] else range(length)
        yield from _copies(init, _at(stacks, sizes, order[0]), sizes)
        for position, t in enumerate(order):
            last = position == length - 1
            following = final if last else _at(stacks, sizes, order[position + 1])
            bases = [
                arena, *_at(stacks, sizes, t), *_at(xs, x_sizes, t), *consts,
                *following, *_at(ys, y_sizes, t),
            ]  # fmt: skip
            yield from self._one(bases, packed, position == 0)

    def _one(self, bases: Sequence[Place], packed: Sequence[Place], first: bool) -> Launches:
        """The launches of one step; what is packed once goes to ``packed``, in the first step."""
        places = iter(packed)
        for number, launches in self.body.emit(bases):
            step = self.body.steps[number]
            once = step.once if isinstance(step, KernelStep) else ()
            for kernel, found in launches:
                for launch in once:
                    assert launch.packs is not None
                    found[launch.packs[1]] = next(places)
                if once and not first:
                    rest = tuple(each for each in kernel.launches if each not in once)
                    kernel = replace(kernel, launches=rest)
                yield kernel, found


def packed_sizes(steps: Sequence[Step]) -> list[int]:
    """Bytes of all that steps pack once."""
    sizes = []
    for step in steps:
        if not isinstance(step, KernelStep):
            continue
        for launch in step.once:
            assert launch.packs is not None
            first = len(step.reads) + len(step.writes)
            sizes.append(step.kernel.workspaces[launch.packs[1] - first])
    return sizes


def _split(places: Sequence[Place], one: int, two: int) -> _Parts:
    return places[:one], places[one:two], places[two:]


def _at(stacks: Sequence[Place], sizes: Sequence[int], t: int) -> list[Place]:
    """Where the elements of step ``t`` lie in stacks."""
    return [place.after(t * size) for place, size in zip(stacks, sizes)]


def _copies(
    sources: Sequence[Place], targets: Sequence[Place], sizes: Sequence[int]
) -> Iterator[tuple[NativeKernel, list[Place]]]:
    for source, target, size in zip(sources, targets, sizes):
        yield copy_kernel(size), [source, target]
