"""Where a tensor lives: device meshes and, per mesh axis, Split, Broadcast or Partial.

A tensor of the global view is one logical array. On every axis of a `DeviceMesh` it is either
cut along a dimension (`Split`), held whole by every rank (`Broadcast`) or held as terms that a
reduction would combine into the whole (`Partial`).

Invariant: a split of T elements over n ranks is balanced, the first ``T mod n`` ranks hold one
element more; a rank may hold none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Split:
    """Rank r of an axis holds the r-th balanced slice of dimension ``dim``."""

    dim: int

    def __str__(self) -> str:
        return f"S({self.dim})"


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Every rank of the axis holds the whole value."""

    def __str__(self) -> str:
        return "B"


@dataclass(frozen=True, slots=True)
class Partial:
    """Every rank holds a term; ``op`` ('sum', 'max', 'min', 'prod') over ranks is the value."""

    op: str = "sum"

    def __post_init__(self) -> None:
        if self.op not in ("sum", "max", "min", "prod"):
            raise ValueError(f"Partial(op): expected sum, max, min or prod, got {self.op!r}")

    def __str__(self) -> str:
        return f"P({self.op})"


Sbp: TypeAlias = Split | Broadcast | Partial
B = Broadcast()
P = Partial("sum")


def S(dim: int) -> Split:
    """`Split(dim)`, in the notation of the SBP papers (OneFlow, arXiv 2110.15032)."""
    return Split(dim)


def parse_sbp(text: str) -> Sbp:
    """Read one SBP as printed by ``str``: ``S(0)``, ``B`` or ``P(sum)``."""
    if text == "B":
        return B
    if text.startswith("S(") and text.endswith(")") and text[2:-1].isdigit():
        return Split(int(text[2:-1]))
    if text.startswith("P(") and text.endswith(")"):
        return Partial(text[2:-1])
    raise ValueError(f"expected an SBP such as S(0), B or P(sum), got {text!r}")


@dataclass(frozen=True, slots=True)
class DeviceMesh:
    """Ranks arranged as an n-dimensional grid with named axes.

    ``ranks`` lists the global rank ids in row-major order of ``shape``.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    ranks: tuple[int, ...]
    device_type: str = "cpu"

    def __post_init__(self) -> None:
        size = 1
        for extent in self.shape:
            size *= extent
        if len(self.axes) != len(self.shape) or size != len(self.ranks):
            raise ValueError(
                f"DeviceMesh: {len(self.axes)} axis names and {len(self.ranks)} ranks do not fit "
                f"the grid {self.shape}"
            )
        if len(set(self.ranks)) != len(self.ranks):
            raise ValueError(f"DeviceMesh: a rank occurs twice in {self.ranks}")

    def __str__(self) -> str:
        grid = ",".join(f"{a}={n}" for a, n in zip(self.axes, self.shape))
        return f"mesh({self.device_type};{grid};{','.join(map(str, self.ranks))})"


@dataclass(frozen=True, slots=True)
class Placement:
    """A mesh and one SBP for each of its axes."""

    mesh: DeviceMesh
    sbp: tuple[Sbp, ...]

    def __post_init__(self) -> None:
        if len(self.sbp) != len(self.mesh.shape):
            raise ValueError(
                f"Placement: {len(self.sbp)} SBPs for a mesh of {len(self.mesh.shape)} axes"
            )

    def __str__(self) -> str:
        return f"{self.mesh}<{' '.join(map(str, self.sbp))}>"


@dataclass(frozen=True, slots=True)
class Signature:
    """One legal way to run an op on the ranks of one mesh axis: an SBP for each operand."""

    ins: tuple[Sbp, ...]
    outs: tuple[Sbp, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.ins))}) -> ({', '.join(map(str, self.outs))})"


def split_sizes(extent: int, ranks: int) -> list[int]:
    """Sizes of the balanced split of ``extent`` elements over ``ranks`` ranks."""
    base, more = divmod(extent, ranks)
    return [base + (r < more) for r in range(ranks)]


def split_bounds(extent: int, ranks: int, rank: int) -> tuple[int, int]:
    """Half-open range of the elements that ``rank`` holds of a balanced split."""
    base, more = divmod(extent, ranks)
    start = rank * base + min(rank, more)
    return start, start + base + (rank < more)
