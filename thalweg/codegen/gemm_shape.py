"""What a contraction is as a matrix product: its letters sorted into loops, and merged.

    "bqhd,bkhd->bhqk"   outer b, h; rows q; columns k; sum d
    "btc,cd->btd"       rows bt (merged: one stride reaches all of them); columns d; sum c

A letter is told by its strides, not by where it is written: one that does not move the right
operand is a row letter, even if the operand repeats itself along it. Left and right are exchanged
where that lets the columns run along the last dimension of the result. Exactly one axis each
becomes the rows, the columns and the inner sum of the product; whatever cannot be merged into those
is an outer loop around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..ir.anchor import AnchorCall, Epilogue, Operand
from ..ir.loops import Buffer, Expr, Load, Stmt, Store, Var, expressions, operands, walk


@dataclass(frozen=True, slots=True)
class Axis:
    """A loop of ``size`` steps that moves the operands by ``a`` and ``b`` elements a step.
    ``dim`` is the dimension of the result that it numbers, None for a sum."""

    size: int
    a: int
    b: int
    dim: int | None = None


NONE = Axis(1, 0, 0)


@dataclass(frozen=True, slots=True)
class Problem:
    """``result[outer, row, col] = sum over (sums, inner) of a * b``.

    Dimensions of the result that no axis names are always 0: their extent is 1, or they were
    merged into the next one.
    """

    a: Operand
    b: Operand
    outer: tuple[Axis, ...]
    row: Axis
    col: Axis
    sums: tuple[Axis, ...]
    inner: Axis

    def flipped(self) -> Problem:
        """The same product with left and right exchanged, and so rows and columns."""

        def flip(axis: Axis) -> Axis:
            return replace(axis, a=axis.b, b=axis.a)

        return Problem(
            self.b, self.a, tuple(map(flip, self.outer)), flip(self.col), flip(self.row),
            tuple(map(flip, self.sums)), flip(self.inner),
        )  # fmt: skip

    @property
    def outer_count(self) -> int:
        return math.prod(axis.size for axis in self.outer)

    @property
    def sum_count(self) -> int:
        return math.prod(axis.size for axis in self.sums)

    @property
    def depth(self) -> int:
        """How many products are summed for one element."""
        return self.sum_count * self.inner.size


def analyse(call: AnchorCall) -> Problem:
    """The loops of the contraction ``call.attrs['spec']`` of two operands."""
    left, right, result = _letters(dict(call.attrs)["spec"])
    x, y = call.operands
    sizes = dict(zip(left + right, x.shape + y.shape))
    axes = {
        letter: Axis(
            sizes[letter],
            x.strides[left.index(letter)] if letter in left else 0,
            y.strides[right.index(letter)] if letter in right else 0,
            result.index(letter) if letter in result else None,
        )
        for letter in dict.fromkeys(left + right)
        if sizes[letter] != 1
    }
    last = next((axes[letter] for letter in reversed(result) if letter in axes), None)
    if last is not None and _is_row(last):
        x, y = y, x
        axes = {letter: replace(axis, a=axis.b, b=axis.a) for letter, axis in axes.items()}
    kept = sorted((a for a in axes.values() if a.dim is not None), key=lambda a: a.dim or 0)
    rows = _merge(filter(_is_row, kept), call)
    cols = _merge((a for a in kept if a.a == 0 and not _is_row(a)), call)
    batch = _merge((a for a in kept if a.a != 0 and not _is_row(a)), call)
    sums = _merge(
        sorted((a for a in axes.values() if a.dim is None), key=lambda a: (-abs(a.a), -abs(a.b))),
        call,
    )
    row = max(rows, key=lambda a: a.size, default=NONE)
    col = cols[-1] if cols else NONE
    inner = max(sums, key=lambda a: (1 in (a.a, a.b) and a.size >= 16, a.size), default=NONE)
    outer = [*batch, *(a for a in rows if a is not row), *(a for a in cols if a is not col)]
    rest = tuple(axis for axis in sums if axis is not inner)
    return Problem(x, y, tuple(outer), row, col, rest, inner)


def _letters(spec: str) -> tuple[str, str, str]:
    inputs, _, result = spec.partition("->")
    left, _, right = inputs.partition(",")
    return left, right, result


def _is_row(axis: Axis) -> bool:
    return axis.b == 0 and (axis.a != 0 or axis.size == 0)


def _merge(axes: Iterable[Axis], call: AnchorCall) -> list[Axis]:
    """Neighbours made one where one stride reaches the elements of both, in both operands, and the
    epilogue sees one dimension where the result has two."""
    merged: list[Axis] = []
    for axis in axes:
        if merged:
            outer = merged[-1]
            follows = outer.a == axis.a * axis.size and outer.b == axis.b * axis.size
            if follows and _flat(call, outer.dim, axis.dim):
                merged[-1] = replace(axis, size=outer.size * axis.size)
                continue
        merged.append(axis)
    return merged


def _flat(call: AnchorCall, outer: int | None, inner: int | None) -> bool:
    """Whether the epilogue uses two dimensions of the result only side by side, as neighbouring
    indices of buffers of the same extent, so that (0, o * extent + i) serves as well as (o, i)."""
    if outer is None or inner is None:
        return outer is inner
    if any(call.shape[between] != 1 for between in range(outer + 1, inner)):
        return False
    names = call.epilogue.index[outer], call.epilogue.index[inner]
    shapes = {buffer.name: buffer for buffer in call.params}
    extent = call.shape[inner]
    return all(_side_by_side(stmt, names, extent, shapes) for stmt in walk(call.epilogue.body))


def _side_by_side(
    stmt: Stmt, names: tuple[str, str], extent: int, buffers: dict[str, Buffer]
) -> bool:
    def index_fits(buffer: str, index: tuple[Expr, ...]) -> bool:
        found = [e.name if isinstance(e, Var) else None for e in index]
        for dim, name in enumerate(found):
            if name == names[0] and found[dim + 1 : dim + 2] != [names[1]]:
                return False
            if name == names[1]:
                if dim == 0 or found[dim - 1] != names[0]:
                    return False
                if buffers[buffer].shape[dim] != extent:
                    return False
        return all(expr_fits(e) for e, name in zip(index, found) if name not in names)

    def expr_fits(expr: Expr) -> bool:
        if isinstance(expr, Var):
            return expr.name not in names
        if isinstance(expr, Load):
            return index_fits(expr.buffer, expr.index)
        return all(expr_fits(operand) for operand in operands(expr))

    if isinstance(stmt, Store):
        return index_fits(stmt.buffer, stmt.index) and expr_fits(stmt.value)
    return all(expr_fits(expr) for expr in expressions(stmt))


def plain_store(epilogue: Epilogue, shape: tuple[int, ...], params: tuple[Buffer, ...]) -> int:
    """The parameter into which the epilogue stores the bare result, in its place; -1 if it does
    anything else."""
    if len(epilogue.body) != 1 or not isinstance(epilogue.body[0], Store):
        return -1
    store = epilogue.body[0]
    at = next(k for k, buffer in enumerate(params) if buffer.name == store.buffer)
    same = (
        params[at].shape == shape
        and isinstance(store.value, Var)
        and store.value.name == epilogue.value
        and store.value.dtype is params[at].dtype
        and [getattr(e, "name", None) for e in store.index] == list(epilogue.index)
    )
    return at if same else -1
