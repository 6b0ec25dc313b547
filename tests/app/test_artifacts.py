"""What a run leaves on disk."""

import json
import os

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from thalweg.app.artifacts import (
    MetricsLog,
    RunFolder,
    draw_curve,
    latest_run,
    read_metrics,
    series,
    smoothed,
)


def events(folder):
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.append((event.step, value.tag, value.tensor.float_val[0]))
    return found


def test_metrics_are_json_lines_and_tensorboard_events(tmp_path):
    log = MetricsLog(RunFolder(tmp_path))
    log.add(1, loss=2.5, lr=0.125)
    log.add(1, val_loss=2.25)
    log.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "loss": 2.5, "lr": 0.125},
        {"step": 1, "val_loss": 2.25},
    ]
    assert events(tmp_path) == [(1, "loss", 2.5), (1, "lr", 0.125), (1, "val_loss", 2.25)]


def test_resuming_cuts_off_what_came_after_the_checkpoint(tmp_path):
    folder = RunFolder(tmp_path)
    log = MetricsLog(folder)
    for step in (1, 2, 3):
        log.add(step, loss=float(step))
    log.close()
    with folder.metrics.open("a") as file:
        file.write('{"step": 4, "lo')
    log = MetricsLog(folder, resumed_at=2)
    assert [record["step"] for record in log.records] == [1, 2]
    log.add(3, loss=30.0)
    log.close()
    assert series(read_metrics(folder.metrics), "loss") == ([1, 2, 3], [1.0, 2.0, 30.0])


def test_a_number_survives_the_file_exactly(tmp_path):
    folder = RunFolder(tmp_path)
    log = MetricsLog(folder)
    value = 2.3025851249694824
    log.add(1, loss=value)
    log.close()
    assert read_metrics(folder.metrics)[0]["loss"] == value


def test_the_curve_is_a_picture(tmp_path):
    records = [{"step": step, "loss": 5.0 / step} for step in range(1, 30)]
    records += [{"step": 0, "val_loss": 5.0}, {"step": 29, "val_loss": 0.5}]
    path = tmp_path / "curve.png"
    assert draw_curve(path, records, "title")
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
    assert path.stat().st_size > 5000
    assert list(tmp_path.iterdir()) == [path]
    assert draw_curve(path, [], "nothing yet")


def test_smoothing_has_no_bias_towards_the_start():
    assert smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert smoothed([]) == []
    assert smoothed([4.0, 0.0])[1] == pytest.approx(4.0 * 0.9 / 1.9)


def test_the_latest_run_is_the_one_saved_last(tmp_path):
    assert latest_run(tmp_path) is None
    for age, name in enumerate(["newer", "older"]):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "checkpoint.safetensors"
        path.write_bytes(b"")
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "empty").mkdir()
    assert latest_run(tmp_path).path == tmp_path / "newer"


def test_a_bad_configuration_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(RuntimeError, match="is not a run folder"):
        folder.read_config()
    folder.config.write_text('{"size": ')
    with pytest.raises(RuntimeError, match=r"config\.json is not valid JSON"):
        folder.read_config()
    folder.config.write_text("[]")
    with pytest.raises(RuntimeError, match="expected a JSON object"):
        folder.read_config()
    folder.write_config({"size": "tiny"})
    assert json.loads(folder.config.read_text()) == folder.read_config() == {"size": "tiny"}
