"""What a run leaves on disk: its folder, configuration, metrics, TensorBoard events and curve.

runs/NAME/config.json               everything needed to repeat the run
runs/NAME/checkpoint.safetensors    all state, for `--resume`
runs/NAME/best.safetensors          the weights with the lowest validation loss
runs/NAME/metrics.jsonl             one JSON object a line, in order of steps
runs/NAME/curve.png                 loss over steps
runs/NAME/events.out.tfevents.*     the same numbers for TensorBoard
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Metric = dict[str, float]


class RunFolder:
    """The paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.checkpoint = path / "checkpoint.safetensors"
        self.best = path / "best.safetensors"
        self.metrics = path / "metrics.jsonl"
        self.curve = path / "curve.png"

    def read_config(self) -> dict[str, Any]:
        try:
            found = json.loads(self.config.read_text("utf-8"))
        except FileNotFoundError:
            raise RuntimeError(f"{self.path} is not a run folder: it has no config.json") from None
        except ValueError as error:
            raise RuntimeError(f"{self.config} is not valid JSON: {error}") from error
        if not isinstance(found, dict):
            raise RuntimeError(f"{self.config}: expected a JSON object")
        return found

    def write_config(self, config: dict[str, Any]) -> None:
        write_atomically(self.config, json.dumps(config, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` in one step, so that a reader or a crash never meets half a file."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, "utf-8")
    os.replace(part, path)


def latest_run(runs: Path) -> RunFolder | None:
    """The run under `runs` whose checkpoint was written last."""
    checkpoints = sorted(
        runs.glob("*/checkpoint.safetensors"), key=lambda path: path.stat().st_mtime_ns
    )
    return RunFolder(checkpoints[-1].parent) if checkpoints else None


def read_metrics(path: Path) -> list[Metric]:
    """All complete lines of a metrics file; a last line cut short by a crash is dropped."""
    found: list[Metric] = []
    if not path.exists():
        return found
    for line in path.read_text("utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break
        found.append(record)
    return found


class MetricsLog:
    """Appends metrics to the run folder, as JSON lines and as TensorBoard events.

    On resuming, records after the checkpoint's step are cut away: those steps will be made
    again, and with the same numbers.
    """

    def __init__(self, folder: RunFolder, resumed_at: int | None = None) -> None:
        self.records: list[Metric] = []
        if resumed_at is not None:
            before = read_metrics(folder.metrics)
            self.records = [record for record in before if record["step"] <= resumed_at]
        lines = "".join(json.dumps(record) + "\n" for record in self.records)
        write_atomically(folder.metrics, lines)
        self._file = folder.metrics.open("a", encoding="utf-8", buffering=1)
        self._events = EventLog.open(folder.path, resumed_at)

    @property
    def has_events(self) -> bool:
        return self._events is not None

    def add(self, step: int, **values: float) -> None:
        record: Metric = {"step": step, **values}
        self.records.append(record)
        self._file.write(json.dumps(record) + "\n")
        if self._events is not None:
            self._events.add(step, values)

    def flush(self) -> None:
        self._file.flush()
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()


class EventLog:
    """TensorBoard's own event writer, used without TensorFlow."""

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self._writer = EventFileWriter(str(folder))
        if resumed_at is not None:
            # Tells TensorBoard to forget what an earlier file holds from this step on.
            start = SessionLog(status=SessionLog.START)
            event = Event(wall_time=time.time(), step=resumed_at + 1, session_log=start)
            self._writer.add_event(event)

    @classmethod
    def open(cls, folder: Path, resumed_at: int | None) -> EventLog | None:
        """A log in `folder`, or None where TensorBoard is not installed."""
        try:
            return cls(folder, resumed_at)
        except ModuleNotFoundError:
            return None

    def add(self, step: int, values: dict[str, float]) -> None:
        entries = [self._summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]
        summary = self._summary(value=entries)
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def series(records: Iterable[Metric], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of the records that have `name`."""
    chosen = [record for record in records if name in record]
    return [record["step"] for record in chosen], [record[name] for record in chosen]


def smoothed(values: list[float], keep: float = 0.9) -> list[float]:
    """Exponential mean without bias towards the start."""
    result: list[float] = []
    total = weight = 0.0
    for value in values:
        total = keep * total + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        result.append(total / weight)
    return result


def draw_curve(path: Path, records: list[Metric], title: str) -> bool:
    """Write the loss curve as a PNG; False where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    steps, losses = series(records, "loss")
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8)
    axes.plot(steps, smoothed(losses), color="tab:blue", label="training (smoothed)")
    steps, losses = series(records, "val_loss")
    axes.plot(steps, losses, color="tab:orange", marker="o", markersize=4, label="validation")
    axes.set(title=title, xlabel="step", ylabel="loss (nats per byte)")
    axes.grid(alpha=0.3)
    axes.legend()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    FigureCanvasAgg(figure).print_png(str(part))
    os.replace(part, path)
    return True
