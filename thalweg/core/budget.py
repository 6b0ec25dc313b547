"""Budgets of memory for programs: what they are, and what is none."""

from __future__ import annotations

from .errors import ArgumentError, ValueRangeError

Budget = int | float  # bytes, or (float) a share of the arena that the program has without it


def checked_budget(budget: object) -> Budget:
    """The budget, if it is one: a positive number of bytes (int), or a share above 0 and up to 1
    of what the program takes without a budget (float)."""
    if isinstance(budget, bool) or not isinstance(budget, (int, float)):
        given = f"{type(budget).__name__}: {budget!r}"
        raise ArgumentError(
            f"memory_budget expects bytes (int) or a share of the program's memory (float), got "
            f"{given}"
        )
    if not (0 < budget <= 1 if isinstance(budget, float) else budget > 0):
        raise ValueRangeError(
            "memory_budget expects a positive number of bytes (int) or a share above 0 and up to 1 "
            f"(float), got {budget!r}"
        )
    return budget
