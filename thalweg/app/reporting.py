"""Progress that reads well on a terminal (one live line) and in a pipe (plain lines)."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TextIO

BAR = 10


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def quantity(value: float) -> str:
    """`87`, `4.2k`, `1.30M`."""
    if value >= 1e6:
        return f"{value / 1e6:.2f}M"
    if value >= 1e3:
        return f"{value / 1e3:.1f}k"
    return f"{value:.0f}"


class Rate:
    """Seconds a step over a recent window, and what is left of the run.

    Time spent validating or saving is counted apart (`skip`), so that it neither lowers the
    tokens per second shown nor is missing from the time left.
    """

    def __init__(self, steps: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.steps = steps
        self._clock = clock
        self._last = clock()
        self._spans: deque[float] = deque(maxlen=32)
        self._paused = 0.0
        self._timed = 0

    def tick(self) -> None:
        """A step has ended."""
        now = self._clock()
        self._spans.append(now - self._last)
        self._last = now
        self._timed += 1

    def skip(self) -> None:
        """Work between two steps that is not a step has ended."""
        now = self._clock()
        self._paused += now - self._last
        self._last = now

    @property
    def seconds_a_step(self) -> float:
        # The first step of a program also builds it; once there are others, they tell more.
        spans = list(self._spans)[1:] if 1 < self._timed <= 32 else list(self._spans)
        return sum(spans) / len(spans) if spans else 0.0

    def left(self, step: int) -> float:
        """Seconds until the last step, at the pace so far."""
        pause = self._paused / self._timed if self._timed else 0.0
        return (self.steps - step) * (self.seconds_a_step + pause)


class Progress:
    """Prints the state of a run. On a terminal one line is redrawn in place; elsewhere a plain
    line is printed every `every` steps and whenever there is a new validation loss."""

    def __init__(
        self, steps: int, every: int, stream: TextIO | None = None, live: bool | None = None
    ) -> None:
        self.stream = sys.stdout if stream is None else stream
        terminal = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.live = terminal if live is None else live
        self.steps = steps
        self.every = max(1, every)
        self._shown = False
        self._drawn_at = 0.0

    def say(self, text: str = "") -> None:
        """A line that stays."""
        self._erase()
        self.stream.write(text + "\n")
        self.stream.flush()

    def text(self, pieces: Iterable[str]) -> None:
        """Text that appears piece by piece."""
        self._erase()
        for piece in pieces:
            self.stream.write(piece)
            if self.live:
                self.stream.flush()
        self.stream.write("\n")
        self.stream.flush()

    def step(self, step: int, loss: float, rate: float, left: float, val: float | None) -> None:
        """`rate` is in tokens a second, `left` in seconds."""
        if not self.live:
            if step % self.every == 0 or step == self.steps:
                self.say(self._line(step, loss, rate, left, val, bar=False))
            return
        now = time.monotonic()
        if now - self._drawn_at < 0.1 and step != self.steps:
            return
        self._drawn_at = now
        line = self._line(step, loss, rate, left, val, bar=True)
        columns = shutil.get_terminal_size().columns
        self.stream.write("\r\x1b[K" + line[: columns - 1])
        self.stream.flush()
        self._shown = True

    def validation(self, step: int, loss: float, best: bool) -> None:
        mark = "  (best)" if best else ""
        self.say(f"step {step:>{len(str(self.steps))}}  validation loss {loss:.4f}{mark}")

    def close(self) -> None:
        """Leave the last state of the live line on the screen."""
        if self._shown:
            self.stream.write("\n")
            self.stream.flush()
            self._shown = False

    def _erase(self) -> None:
        if self._shown:
            self.stream.write("\r\x1b[K")
            self._shown = False

    def _line(
        self, step: int, loss: float, rate: float, left: float, val: float | None, bar: bool
    ) -> str:
        parts = [f"step {step:>{len(str(self.steps))}}/{self.steps}"]
        if bar:
            full = step * BAR // self.steps
            parts.append("[" + "#" * full + "." * (BAR - full) + "]")
        parts.append(f"loss {loss:.4f}")
        if val is not None:
            parts.append(f"val {val:.4f}")
        parts += [f"{quantity(rate)} tok/s", f"ETA {duration(left)}"]
        return "  ".join(parts)
