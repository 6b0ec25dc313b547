"""PyTorch's type promotion: which element type an operation on several operands computes in.

Two operands of one kind meet in a lattice (`promote_types`). Operands of different kinds do not
all count alike: tensors with dimensions outrank 0-d tensors, which outrank Python scalars, and a
lower kind changes the result only if its category (bool < int < float < complex) is higher.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from thalweg.core import dtypes
from thalweg.core.dtypes import ALL, DType
from thalweg.core.errors import ArgumentError, DTypeError

Scalar = bool | int | float | complex

# PyTorch added these late and promotes them with floating types only.
_BARE = frozenset({dtypes.uint16, dtypes.uint32, dtypes.uint64})


def _join(a: DType, b: DType) -> DType | None:
    """The least type above both; None where PyTorch defines none."""
    if a is b:
        return a
    if a.rank > b.rank:
        a, b = b, a
    if a in _BARE or b in _BARE:
        return b if a in _BARE and b.is_floating_point else None
    if a.rank < b.rank:
        wide = a is dtypes.float64 and b is dtypes.complex64
        return dtypes.complex128 if wide else b
    if a.itemsize != b.itemsize:
        return a if a.itemsize > b.itemsize else b
    # Equal size, same category, different types: neither holds the other's values.
    return dtypes.int16 if a.category == "int" else dtypes.float32


# Indexed by DType.index twice: promotion is on the path of every recorded op.
_TABLE: tuple[tuple[DType | None, ...], ...] = tuple(tuple(_join(a, b) for b in ALL) for a in ALL)


def _expect_dtype(function: str, argument: str, given: object) -> None:
    if not isinstance(given, DType):
        raise ArgumentError(
            f"{function}(): argument '{argument}' must be a dtype, not {type(given).__name__}"
        )


def promote_types(type1: DType, type2: DType) -> DType:
    """The smallest dtype of a category no lower than either that holds both; commutative.

    RuntimeError for uint16, uint32 and uint64 with anything but themselves and floating types.
    """
    _expect_dtype("promote_types", "type1", type1)
    _expect_dtype("promote_types", "type2", type2)
    joined = _TABLE[type1.index][type2.index]
    if joined is None:
        raise DTypeError(
            "Promotion for uint16, uint32, uint64 types is not supported, "
            f"attempted to promote {type1.name} and {type2.name}; convert one of them first"
        )
    return joined


def scalar_dtype(x: object) -> DType:
    """The dtype for which a scalar stands: bool, int64, or the default (complex) dtype.

    A NumPy scalar counts by its category alone, like a Python one. TypeError for anything else.
    """
    if isinstance(x, (bool, np.bool_)):
        return dtypes.bool_
    if isinstance(x, (int, np.integer)):
        return dtypes.int64
    if isinstance(x, (float, np.floating)):
        return dtypes.default_dtype()
    if isinstance(x, (complex, np.complexfloating)):
        return dtypes.default_complex_dtype()
    if isinstance(x, np.generic) and x.dtype == dtypes.bfloat16.np:
        return dtypes.default_dtype()
    raise ArgumentError(
        f"expected a scalar (bool, int, float or complex), got {type(x).__name__}: {x!r}"
    )


def _join_all(types: Iterable[DType]) -> DType | None:
    result: DType | None = None
    for each in types:
        result = each if result is None else promote_types(result, each)
    return result


def _outrank(higher: DType | None, lower: DType | None) -> DType | None:
    """Combine two priority classes: `lower` matters only where its category is higher."""
    if higher is None or lower is None:
        return higher if lower is None else lower
    if lower.is_complex and not higher.is_complex:
        # The size is the higher class's where it has one; no lattice, so any integer passes here.
        return higher.to_complex() if higher.is_floating_point else lower
    if higher.rank >= lower.rank:
        return higher
    return promote_types(higher, lower)


def result_type(
    dims: Sequence[DType],
    zeros: Sequence[DType] = (),
    scalars: Sequence[Scalar] = (),
) -> DType:
    """The dtype of an operation on these operands, which may come in any number.

    dims     dtypes of the tensors with at least one dimension
    zeros    dtypes of the 0-d tensors
    scalars  the Python scalars

    RuntimeError if two dtypes do not promote; ValueError if there is no operand at all.
    """
    lower = _outrank(_join_all(zeros), _join_all(scalar_dtype(x) for x in scalars))
    result = _outrank(_join_all(dims), lower)
    if result is None:
        raise ValueError("result_type: expected at least one operand, got none")
    return result


def can_cast(from_: DType, to: DType) -> bool:
    """Whether a result of type `from_` may be written to `to`: never to a lower category.

    All integer types count as one category here, signed or not, as in PyTorch.
    """
    _expect_dtype("can_cast", "from_", from_)
    _expect_dtype("can_cast", "to", to)
    return from_.rank <= to.rank
