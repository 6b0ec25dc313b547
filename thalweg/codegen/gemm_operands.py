"""The operands of a product in its kernel: where their elements lie, and packing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ir.anchor import AnchorCall, Operand
from ..runtime.native import Launch, NativeKernel
from .builder import Function, Int, Module, Val
from .gemm_finish import in_place
from .gemm_pack import Pack
from .gemm_plan import Plan
from .gemm_shape import Axis, Problem
from .gemm_tile import LINE, Numbers

ARGUMENTS = [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]
PACK_CHUNK, PACK_UNIT = 1 << 15, 1 << 17  # elements packed by a call at least, by a unit at most
SEVERAL = 4  # panels, beside which the last one costs little


@dataclass(frozen=True, slots=True)
class Side:
    """One operand as the driver sees it: its own axis, the panels along it, how it is read, and
    the blocks that its panels are dealt out to."""

    operand: Operand
    axis: Axis
    letter: str
    how: str
    width: int
    panels: int
    blocks: int
    stride: int  # elements from one packed panel to the next
    pad: bool  # a last panel that is not full is packed at full width

    def step(self, axis: Axis) -> int:
        return axis.a if self.letter == "a" else axis.b

    @property
    def most(self) -> int:
        """Panels of the largest block."""
        return -(-self.panels // self.blocks)

    @property
    def whole_rows(self) -> bool:
        """Whether packing reads rows across all panels of a block."""
        return self.step(self.axis) == 1

    @property
    def tail(self) -> int:
        """Positions of a last panel that is not full; 0 if all are."""
        return self.axis.size % self.width


class Operands:
    """What the loops of a kernel need to know of its two operands."""

    def __init__(self, call: AnchorCall, problem: Problem, plan: Plan, numbers: Numbers) -> None:
        self.call, self.problem, self.plan, self.numbers = call, problem, plan, numbers
        m, n, k = problem.row.size, problem.col.size, problem.inner.size
        self.columns = plan.vectors * numbers.lanes
        self.a = Side(
            problem.a, problem.row, "a", plan.a, plan.rows, -(-m // plan.rows), plan.row_blocks,
            self._panel_stride(plan.rows), False,
        )  # fmt: skip
        self.b = Side(
            problem.b, problem.col, "b", plan.b, self.columns, -(-n // self.columns),
            plan.col_blocks, self._panel_stride(self.columns), True,
        )  # fmt: skip
        self.steps = max(1, -(-k // plan.depth))  # blocks of the inner sum
        self.blocks = max(1, problem.sum_count * self.steps if problem.depth else 1)
        self.module = Module()
        self.workspaces: list[int] = []
        self.shared = [side for side in (self.b, self.a) if side.how == "shared"]
        self.packed_at = {
            side.letter: self._workspace(
                self._outer_count(side) * self.blocks * side.panels * side.stride * numbers.bytes
            )
            for side in self.shared
        }

    def _panel_stride(self, width: int) -> int:
        """An odd number of cache lines, so that a step of many panels, written one after another,
        lies in many sets of the cache."""
        lines = -(-self.plan.depth * width * self.numbers.bytes // LINE)
        return (lines | 1) * LINE // self.numbers.bytes

    def _workspace(self, size: int) -> int:
        self.workspaces.append(max(64, -(-size // 64) * 64))
        return len(self.call.params) + len(self.workspaces) - 1

    def _kernel(self, name: str, launches: Sequence[Launch]) -> NativeKernel:
        problem = self.problem
        results = problem.outer_count * problem.row.size * problem.col.size
        return NativeKernel(
            name, self.module.text(), tuple(launches), tuple(self.workspaces),
            in_place=in_place(self.call), flops=2 * results * problem.depth,
            bytes=sum(p.size * p.dtype.itemsize for p in self.call.params),
        )  # fmt: skip

    # --- addresses ------------------------------------------------------------------------------

    def _outer_count(self, side: Side) -> int:
        count = 1
        for axis in self.problem.outer:
            count *= axis.size if side.step(axis) else 1
        return count

    def _outer_index(self, f: Function, outer: Sequence[Int]) -> Callable[[Side], Int]:
        """The number of the packed copy that an iteration of the outer loops reads."""

        def index(side: Side) -> Int:
            number: Int = 0
            for axis, at in zip(self.problem.outer, outer):
                if side.step(axis):
                    number = f.add(f.mul(number, axis.size), at)
            return number

        return index

    def _origin(self, f: Function, side: Side, outer: Sequence[Int]) -> Val:
        """The address of an operand's first element for an iteration of the outer loops."""
        base = f.load("ptr", f.gep("ptr", f.param("args"), side.operand.buffer))
        at: Int = side.operand.offset
        for axis, index in zip(self.problem.outer, outer):
            at = f.add(at, f.mul(index, side.step(axis)))
        return f.gep(self.numbers.memory, base, at)

    def _block(self, f: Function, block: Int) -> tuple[Int, Int, list[Int]]:
        """Of a block of the sum: where it starts in the inner sum, its depth, the outer sums."""
        k, depth = self.problem.inner.size, self.plan.depth
        step = f.rem(block, self.steps)
        start = f.mul(step, depth)
        size: Int = min(k, depth) if self.steps == 1 else depth
        if self.steps > 1 and k % depth:
            size = f.min(f.sub(k, start), depth)
        return start, size, self._split(f, f.div(block, self.steps), self.problem.sums)

    def _split(self, f: Function, number: Int, axes: Sequence[Axis]) -> list[Int]:
        found: list[Int] = []
        for axis in reversed(axes):
            found.insert(0, f.rem(number, axis.size) if axis is not axes[0] else number)
            number = f.div(number, axis.size)
        return found

    def _advance(self, f: Function, side: Side, start: Int, sums: Sequence[Int]) -> Int:
        """How far a block of the sum lies behind the first, in the operand."""
        at = f.mul(start, side.step(self.problem.inner))
        for axis, index in zip(self.problem.sums, sums):
            at = f.add(at, f.mul(index, side.step(axis)))
        return at

    def _packed(self, f: Function, side: Side, outer: Int, block: Int, panel: Int) -> Val:
        """The address of a packed panel."""
        base = f.load("ptr", f.gep("ptr", f.param("args"), self.packed_at[side.letter]))
        number = f.add(f.mul(f.add(f.mul(outer, self.blocks), block), side.panels), panel)
        return f.gep(self.numbers.register, base, f.mul(number, side.stride))

    # --- packing --------------------------------------------------------------------------------

    def _pack_launch(self, side: Side) -> Launch:
        elements = self._outer_count(side) * side.axis.size * self.problem.depth
        most = max(1, min(PACK_UNIT, elements // 8) // self.plan.depth)
        group = max(1, min(most // side.width, side.panels))
        count = self._outer_count(side) * self.blocks * -(-side.panels // group)
        name = f"pack_all_{side.letter}"
        with (
            self.module.function(name, ARGUMENTS) as f,
            f.loop(f.param("lo"), f.param("hi")) as unit,
        ):
            self._pack_unit(f, side, group, unit)
        chunk = max(1, min(PACK_CHUNK * count // max(elements, 1), -(-count // 4)))
        packs = side.operand.buffer, self.packed_at[side.letter]
        return Launch(name, count, chunk, packs)

    def _pack_unit(self, f: Function, side: Side, size_of_group: int, unit: Int) -> None:
        """A group of panels of one block of the sum."""
        groups = -(-side.panels // size_of_group)
        group, rest = f.rem(unit, groups), f.div(unit, groups)
        block, number = f.rem(rest, self.blocks), f.div(rest, self.blocks)
        start, size, sums = self._block(f, block)
        own = [axis for axis in self.problem.outer if side.step(axis)]
        indices = dict(zip(own, self._split(f, number, own)))
        outer = [indices.get(axis, 0) for axis in self.problem.outer]
        source = f.gep(
            self.numbers.memory, self._origin(f, side, outer), self._advance(f, side, start, sums)
        )
        first = f.mul(group, size_of_group)
        count = f.min(f.sub(side.panels, first), size_of_group)
        target = self._packed(f, side, number, block, first)
        self._pack(f, side, source, target, size, first, count)

    def _pack(
        self, f: Function, side: Side, source: Val, target: Val, depth: Int, first: Int, count: Int
    ) -> None:
        """``count`` panels from number ``first`` of the operand's block at ``source`` on."""
        memory, register, width = self.numbers.memory, self.numbers.register, side.width

        def pack(panel: Int, tail: bool, count: Int) -> None:
            at = f.mul(f.mul(f.add(first, panel), width), side.step(side.axis))
            self.packs[side.letter, tail].call(
                f, f.gep(memory, source, at),
                f.gep(register, target, f.mul(panel, side.stride)), depth, count,
            )  # fmt: skip

        if not side.tail:
            pack(0, False, count)
            return
        full = f.min(f.sub(side.panels - 1, first), count)
        if side.panels > 1:
            pack(0, False, full)
        if isinstance(full, int) and isinstance(count, int):
            if full < count:
                pack(full, True, 1)
            return
        with f.when(f.test("slt", full, count)):
            pack(full, True, 1)

    def _either_panel(
        self, f: Function, side: Side, panel: Int, act: Callable[[bool], None]
    ) -> None:
        """``act(tail)`` for a panel that may be the last, not full one."""
        if not side.tail:
            act(False)
        elif side.panels == 1:
            act(True)
        else:
            full = f.test("slt", panel, side.panels - 1)
            f.either(full, lambda: act(False), lambda: act(True))

    def _panels(self, f: Function, side: Side, block: Int) -> tuple[Int, Int]:
        """The first panel of a block and how many there are: as even as can be."""
        first = f.div(f.mul(block, side.panels), side.blocks)
        if side.panels % side.blocks == 0:
            return first, side.panels // side.blocks
        following = f.div(f.mul(f.add(block, 1), side.panels), side.blocks)
        return first, f.sub(following, first)

    def _each_panel(
        self, f: Function, side: Side, first: Int, count: Int, act: Callable[[Int, bool], None]
    ) -> None:
        """``act(panel, tail)`` for the panels of a block, the last one apart if it is not full."""
        if not side.tail:
            with f.loop(0, count) as panel:
                act(panel, False)
            return
        full = f.min(f.sub(side.panels - 1, first), count)
        if side.panels > 1:
            with f.loop(0, full) as panel:
                act(panel, False)
        if isinstance(full, int) and isinstance(count, int):
            if full < count:
                act(full, True)
            return
        with f.when(f.test("slt", full, count)):
            act(full, True)

    def _pack_functions(self) -> None:
        """The packing functions that some block needs: for full panels, and for the last one."""
        self.packs: dict[tuple[str, bool], Pack] = {}
        for side in (self.b, self.a):
            across, along = side.step(side.axis), side.step(self.problem.inner)
            if side.how != "direct" and side.axis.size >= side.width:
                self.packs[side.letter, False] = Pack(
                    f"pack_{side.letter}",
                    self.numbers,
                    side.width,
                    side.width,
                    across,
                    along,
                    side.stride,
                )
            if side.tail and (side.how != "direct" or side.pad):
                width = side.width if side.pad else side.tail
                self.packs[side.letter, True] = Pack(
                    f"pack_last_{side.letter}",
                    self.numbers,
                    width,
                    side.tail,
                    across,
                    along,
                    side.stride,
                )
        for pack in self.packs.values():
            pack.emit(self.module)
