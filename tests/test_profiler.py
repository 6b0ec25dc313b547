"""The profiler: what runs is seen, with times, work and a trace that viewers read."""

import json

import numpy as np
import pytest

import thalweg
from thalweg.core import flags
from thalweg.profiler.events import EventList, FunctionEvent
from thalweg.profiler.machine import Roofline, roofline


def product():
    x = thalweg.ones(64, 64)
    result = thalweg.tanh(x @ x) + 1
    thalweg.synchronize()
    return result


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_kernels_and_steps_are_seen(backend):
    with flags.override(backend=backend), thalweg.profiler.profile() as seen:
        result = product()
    np.testing.assert_allclose(result.numpy(), np.full((64, 64), 2.0, np.float32), rtol=1e-6)
    events = seen.events()
    kinds = {event.kind for event in events}
    assert kinds == {"kernel" if backend == "native" else "python"}
    assert all(0 <= event.start <= event.end for event in events)
    if backend == "native":
        assert sum(event.flops for event in events) >= 2 * 64**3
    else:
        assert {"dot", "tanh", "add"} <= {event.name for event in events}


def test_nothing_is_seen_outside():
    seen = thalweg.profiler.profile()
    product()
    with seen:
        pass
    product()
    assert seen.events() == []


def test_marked_blocks_and_functions():
    @thalweg.profiler.record_function("outer")
    def outer():
        with thalweg.profiler.record_function("inner"):
            return product()

    with thalweg.profiler.profile() as seen:
        outer()
    spans = {e.name: e for e in seen.events() if e.kind == "block"}
    assert spans["outer"].start <= spans["inner"].start <= spans["inner"].end <= spans["outer"].end


def test_the_schedule_chooses_steps_and_hands_over_each_cycle():
    handed = []
    plan = thalweg.profiler.schedule(wait=1, warmup=1, active=2, repeat=2)
    with thalweg.profiler.profile(
        schedule=plan, on_trace_ready=lambda p: handed.append([e.name for e in p.events()])
    ) as seen:
        for step in range(8):
            with thalweg.profiler.record_function(f"step {step}"):
                pass
            seen.step()
    assert handed == [["step 2", "step 3"], ["step 6", "step 7"]]


def test_starting_twice_is_refused():
    with thalweg.profiler.profile() as seen, pytest.raises(RuntimeError, match="already started"):
        seen.start()


def events():
    return EventList(
        [
            FunctionEvent("a", "kernel", 0, 3_000, flops=6_000, bytes=100),
            FunctionEvent("b", "python", 3_000, 4_000),
            FunctionEvent("a", "kernel", 4_000, 5_000, flops=6_000, bytes=100),
            FunctionEvent("block", "block", 0, 5_000),
        ]
    )


def test_averages_add_up_by_name():
    averages = {row.key: row for row in events().averages()}
    a = averages["a"]
    assert (a.count, a.time, a.flops, a.bytes, a.mean) == (2, 4_000, 12_000, 200, 2_000)
    assert events().averages().total() == 5_000
    # 12,000 operations at 6e9 a second take 2 of the 4 microseconds.
    assert a.roofline_share(Roofline(6e9, 1e12)) == pytest.approx(0.5)
    assert averages["b"].roofline_share(Roofline(6e9, 1e12)) is None


def test_the_table_sorts_and_cuts():
    averages = events().averages()
    lines = averages.table(sort_by="count", row_limit=1).splitlines()
    assert lines[1].split()[:3] == ["a", "kernel", "2"]
    assert "b  " not in averages.table(row_limit=1)
    with pytest.raises(ValueError, match="sort_by is one of"):
        averages.table(sort_by="cuda_time_total")


def test_traces_are_read_back(tmp_path):
    thalweg.profiler.tensorboard_trace_handler(str(tmp_path / "runs"))(recorded())
    (file,) = (tmp_path / "runs").glob("*.pt.trace.json")
    rows = json.loads(file.read_text())["traceEvents"]
    assert rows and all({"name", "ph", "ts", "dur", "pid", "tid"} <= set(row) for row in rows)
    recorded().export_chrome_trace(tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def recorded():
    with thalweg.profiler.profile() as seen:
        product()
    return seen


def test_the_roofline_is_measured_once():
    found = roofline()
    assert found is roofline()
    assert 1e9 < found.flops < 1e13 and 1e8 < found.bandwidth < 1e13
    assert found.seconds(int(found.flops), 0) == pytest.approx(1.0, rel=1e-6)
