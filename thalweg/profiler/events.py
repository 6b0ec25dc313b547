"""What a profile holds: events, their averages as a table, and the trace that viewers read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .machine import Roofline

SORT_KEYS = {
    "self_cpu_time_total": "time", "cpu_time_total": "time", "cpu_time": "mean",
    "self_cpu_time": "mean", "count": "count", "flops": "flops", "bytes": "bytes",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FunctionEvent:
    """One launch, step or marked block. Times are nanoseconds from the profile's start;
    ``kind`` is 'kernel', 'python' or 'block'; flops and bytes are 0 where unknown."""

    name: str
    kind: str
    start: int
    end: int
    flops: int = 0
    bytes: int = 0

    @property
    def key(self) -> str:
        return self.name

    @property
    def cpu_time_total(self) -> float:
        """Microseconds."""
        return (self.end - self.start) / 1e3


@dataclass
class Average:
    """All events of one name."""

    key: str
    kind: str
    count: int = 0
    time: int = 0
    flops: int = 0
    bytes: int = 0

    @property
    def mean(self) -> float:
        return self.time / max(self.count, 1)

    @property
    def cpu_time_total(self) -> float:
        """Microseconds of all events together."""
        return self.time / 1e3

    self_cpu_time_total = cpu_time_total

    def roofline_share(self, machine: Roofline) -> float | None:
        """The least time this machine needs for the flops and bytes, over the time taken."""
        if not self.time or not (self.flops or self.bytes):
            return None
        return machine.seconds(self.flops, self.bytes) / (self.time * 1e-9)


class EventList(list[FunctionEvent]):
    """The events of a profile in the order in which they began."""

    def averages(self) -> Averages:
        """The events added up by name."""
        found: dict[tuple[str, str], Average] = {}
        for event in self:
            row = found.setdefault((event.kind, event.name), Average(event.name, event.kind))
            row.count += 1
            row.time += event.end - event.start
            row.flops += event.flops
            row.bytes += event.bytes
        return Averages(found.values())

    def chrome_trace(self) -> str:
        """JSON of the Trace Event Format: one row per kind of event, times in microseconds."""
        rows: list[dict[str, Any]] = []
        for event in self:
            rows.append(
                {
                    "name": event.name, "cat": event.kind, "ph": "X", "pid": os.getpid(),
                    "tid": event.kind, "ts": event.start / 1e3,
                    "dur": (event.end - event.start) / 1e3,
                    "args": {"flops": event.flops, "bytes": event.bytes},
                }
            )  # fmt: skip
        return json.dumps({"traceEvents": rows, "displayTimeUnit": "ms"})


class Averages(list[Average]):
    """One row per name; sorted by time unless `table` is told otherwise."""

    def __init__(self, rows: Iterable[Average]) -> None:
        super().__init__(sorted(rows, key=lambda row: -row.time))

    def total(self) -> int:
        """Nanoseconds of everything but marked blocks, which contain the rest."""
        return sum(row.time for row in self if row.kind != "block")

    def table(
        self, sort_by: str | None = None, row_limit: int = 100, max_name_column_width: int = 55,
        **options: Any,
    ) -> str:  # fmt: skip
        """The rows as text. ``sort_by`` is a key of `SORT_KEYS` (ValueError if not); with
        ``row_limit`` -1 all rows are shown. Other options of PyTorch's are ignored."""
        if sort_by is not None and sort_by not in SORT_KEYS:
            raise ValueError(f"table: sort_by is one of {', '.join(SORT_KEYS)}, got {sort_by!r}")
        rows = list(self)
        if sort_by is not None:
            rows.sort(key=lambda row: -getattr(row, SORT_KEYS[sort_by]))
        if row_limit >= 0:
            rows = rows[:row_limit]
        lines = list(_lines(rows, self.total(), max(max_name_column_width, 10)))
        return "\n".join(lines)


def _lines(rows: list[Average], total: int, width: int) -> Iterator[str]:
    from .machine import roofline

    machine = roofline() if any(row.flops or row.bytes for row in rows) else None
    head = ("name", "kind", "count", "total ms", "% time", "mean µs", "GFLOP/s", "GB/s", "% roof")
    cells = [head]
    for row in rows:
        seconds = row.time * 1e-9
        share = row.roofline_share(machine) if machine is not None else None
        name = row.key if len(row.key) <= width else row.key[: width - 1] + "…"
        cells.append(
            (
                name, row.kind, str(row.count), f"{row.time / 1e6:.3f}",
                f"{100 * row.time / total:.1f}" if total and row.kind != "block" else "",
                f"{row.mean / 1e3:.1f}",
                f"{row.flops / seconds / 1e9:.1f}" if row.flops and seconds else "",
                f"{row.bytes / seconds / 1e9:.1f}" if row.bytes and seconds else "",
                "" if share is None else f"{100 * share:.0f}",
            )
        )  # fmt: skip
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row_cells in cells:
        first, kind, *numbers = row_cells
        text = f"{first:{widths[0]}}  {kind:{widths[1]}}"
        yield text + "".join(f"  {c:>{w}}" for c, w in zip(numbers, widths[2:]))
    yield f"all kernels and steps: {total / 1e6:.3f} ms"
    if machine is not None:
        yield str(machine)
