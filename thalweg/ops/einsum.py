"""Einstein summation: an equation over any number of operands as a chain of pairwise `dot`s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.errors import ArgumentError, ShapeError, ValueRangeError
from ..ir.node import Value
from .function import Call, function
from .link import ops
from .matmul import contract
from .named import public

_ELLIPSIS = "..."
_SUBLIST = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _hidden(position_from_right: int) -> str:
    """The letter of a dimension that an ellipsis covers."""
    return chr(0x2460 + position_from_right)


def _from_sublists(args: Sequence[Any]) -> tuple[str, list[Value]]:
    """``(x, [0, 1], y, [1, 2], [0, 2])`` as an equation and its operands."""

    def text(sublist: Sequence[Any]) -> str:
        for n in sublist:
            if n is not Ellipsis and not 0 <= n < len(_SUBLIST):
                raise ValueRangeError(f"einsum(): expected subscripts in [0, 52), got {n}")
        return "".join(_ELLIPSIS if n is Ellipsis else _SUBLIST[n] for n in sublist)

    pairs = len(args) // 2
    equation = ",".join(text(args[2 * i + 1]) for i in range(pairs))
    if len(args) % 2:
        equation += "->" + text(args[-1])
    return equation, [args[2 * i] for i in range(pairs)]


def _subscripts(text: str, value: Value, position: int) -> str:
    """One letter per dimension of the operand; the ellipsis is spelled out from the right."""
    before, dots, after = text.partition(_ELLIPSIS)
    named = before + after
    if not (named == "" or (named.isascii() and named.isalpha())):
        raise ShapeError(
            f"einsum(): invalid subscript given in '{text}', subscripts must be in [a-zA-Z]"
        )
    covered = value.ndim - len(named)
    if covered < 0 or (covered and not dots):
        raise ShapeError(
            f"einsum(): the number of subscripts in the equation ({len(named)}) does not match the "
            f"number of dimensions ({value.ndim}) for operand {position}"
            + ("" if dots else " and no ellipsis was given")
        )
    return before + "".join(_hidden(covered - 1 - i) for i in range(covered)) + after


def _result(text: str | None, inputs: list[str]) -> str:
    """The letters of the result; without "->" those that occur once, in alphabetical order."""
    letters = "".join(inputs)
    hidden = "".join(sorted({c for c in letters if not c.isascii()}, reverse=True))
    if text is None:
        named = sorted(c for c in set(letters) if c.isascii() and letters.count(c) == 1)
        return hidden + "".join(named)
    before, dots, after = text.partition(_ELLIPSIS)
    result = before + (hidden if dots else "") + after
    for c in before + after:
        if result.count(c) > 1:
            raise ShapeError(f"einsum(): output subscript {c} appears more than once in the output")
        if c not in letters:
            raise ShapeError(
                f"einsum(): output subscript {c} does not appear in the equation for any input "
                "operand"
            )
    return result


def _take_diagonals(value: Value, letters: str) -> tuple[Value, str]:
    """A letter that occurs twice in one operand walks along the diagonal."""
    for c in dict.fromkeys(letters):
        while letters.count(c) > 1:
            i = letters.index(c)
            j = letters.index(c, i + 1)
            if value.shape[i] != value.shape[j]:
                raise ShapeError(
                    f"einsum(): subscript {c} is repeated for an operand but the sizes don't "
                    f"match, {value.shape[j]} != {value.shape[i]}"
                )
            value = public.diagonal(value, 0, i, j)
            letters = letters[:i] + letters[i + 1 : j] + letters[j + 1 :] + c
    return value, letters


def _sum_out(value: Value, letters: str, keep: str) -> tuple[Value, str]:
    dims = tuple(i for i, c in enumerate(letters) if c not in keep)
    if not dims:
        return value, letters
    return ops.reduce_sum(value, dims=dims), "".join(c for c in letters if c in keep)


def _drop(value: Value, letters: str, extents: dict[str, int]) -> tuple[Value, str]:
    """Without the dimensions of extent 1 that another operand has at full extent: they would
    only be repeated."""
    kept = [i for i, c in enumerate(letters) if value.shape[i] == extents[c]]
    if len(kept) == len(letters):
        return value, letters
    shape = tuple(value.shape[i] for i in kept)
    return ops.reshape(value, shape=shape), "".join(letters[i] for i in kept)


def _calls() -> Iterator[Call]:
    rng = np.random.default_rng(6)

    def of(*shapes: tuple[int, ...]) -> list[Any]:
        return [rng.normal(size=s) for s in shapes]

    cases: list[Any] = [
        ("ij,jk->ik", (3, 4), (4, 5)),
        ("ij,jk", (3, 4), (4, 5)),
        ("ji", (3, 4)),
        ("ii", (3, 3)),
        ("ii->i", (3, 3)),
        ("...ij->...ji", (2, 3, 4)),
        ("ij->", (3, 4)),
        ("bij, bjk -> bik", (2, 3, 4), (2, 4, 5)),
        ("bn,anm,bm->ba", (2, 3), (4, 3, 5), (2, 5)),
        ("i,j->ij", (3,), (4,)),
        ("...a,...a->...", (2, 3, 4), (3, 4)),
        ("ij,ij->j", (3, 4), (3, 4)),
        ("...,...", (2, 3), (2, 1)),
        ("ab,b...->a...", (2, 3), (3, 4, 5)),
        ("ijk,ilk->i", (2, 3, 4), (2, 5, 4)),
        ("ij,jk->ik", (3, 1), (4, 5)),
        ("iij,j->ji", (3, 3, 4), (4,)),
        (",->", (), ()),
        ("ij,jk->ik", (0, 4), (4, 5)),
        ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
        ("...ii->...i", (2, 3, 3)),
    ]
    for equation, *shapes in cases:
        yield Call((equation, *of(*shapes)))
    x, y = of((3, 4), (4, 5))
    yield Call((x, [0, 1], y, [1, 2], [0, 2]))
    yield Call((x, [0, 1], y, [1, 2]))
    yield Call((x, [Ellipsis, 1], y, [1, 2], [Ellipsis, 2]))
    for equation, operands, message in [
        ("ij,jk->iq", (x, y), "output subscript q does not appear"),
        ("ij,jk->ii", (x, y), "appears more than once"),
        ("ij,jk", (x, x), "does not broadcast with previously seen size"),
        ("ijk", (x,), "does not match the number of dimensions"),
        ("ij,jk", (x,), "operands were provided"),
        ("i1", (x,), "invalid subscript"),
    ]:
        yield Call((equation, *operands), error=(RuntimeError, message))


@function("einsum", calls=_calls)
def einsum(*equation_and_operands: Any) -> Value:
    """Sum of products in index notation, ``einsum("bij,bjk->bik", x, y)``.

    Letters may repeat in one operand (diagonal); ``...`` covers dimensions that broadcast;
    without ``->`` the result has the letters that occur once, in alphabetical order. Subscripts
    may also be given as lists of numbers after each operand. Operands meet from left to right.
    """
    given = equation_and_operands
    if not given:
        raise ValueRangeError("einsum(): must specify the equation string and at least one operand")
    if isinstance(given[0], str):
        equation, operands = given[0], list(given[1:])
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
    else:
        equation, operands = _from_sublists(given)
    for position, operand in enumerate(operands):
        if not isinstance(operand, Value):
            raise ArgumentError(
                f"einsum(): expected Tensor as element {position}, got {type(operand).__name__}"
            )
    if not operands:
        raise ValueRangeError("einsum(): must specify the equation string and at least one operand")
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(operands):
        more = "more" if len(texts) > len(operands) else "fewer"
        raise ShapeError(
            f"einsum(): {more} operands were provided in the equation ({len(texts)}) than as "
            f"arguments ({len(operands)})"
        )
    names = [_subscripts(t, v, i) for i, (t, v) in enumerate(zip(texts, operands))]
    result = _result(right if arrow else None, names)
    terms = [_take_diagonals(v, n) for v, n in zip(operands, names)]
    extents: dict[str, int] = {}
    for position, (value, letters) in enumerate(terms):
        for c, extent in zip(letters, value.shape):
            seen = extents.get(c, 1)
            if extent != 1 and seen not in (1, extent):
                raise ShapeError(
                    f"einsum(): subscript {c} has size {extent} for operand {position} which does "
                    f"not broadcast with previously seen size {seen}"
                )
            extents[c] = extent if seen == 1 else seen
    terms = [_drop(v, n, extents) for v, n in terms]
    value, letters = terms[0]
    for i, (other, names_other) in enumerate(terms[1:], 1):
        later = result + "".join(n for _, n in terms[i + 1 :])
        value, letters = _sum_out(value, letters, later + names_other)
        other, names_other = _sum_out(other, names_other, later + letters)
        shared = letters + "".join(c for c in names_other if c not in letters)
        target = "".join(c for c in shared if c in later)
        if set(target) == set(result) and i == len(terms) - 1:
            target = result
        value = contract(value, other, f"{letters},{names_other}->{target}", "einsum")
        letters = target
    value, letters = _sum_out(value, letters, result)
    dims = tuple(letters.index(c) for c in result)
    return value if dims == tuple(range(len(dims))) else ops.permute(value, dims=dims)
