"""Progress on a terminal and in a pipe."""

import io

import pytest

from thalweg.app.reporting import Progress, Rate, duration, quantity


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (754, "12:34"), (3723, "1:02:03")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(87, "87"), (4210, "4.2k"), (1_300_000, "1.30M")])
def test_quantity(value, text):
    assert quantity(value) == text


def test_rate_leaves_out_the_first_step_and_counts_validation_apart():
    clock = Clock()
    rate = Rate(10, clock)
    assert rate.seconds_a_step == 0 and rate.left(0) == 0
    clock.now = 50.0
    rate.tick()
    assert rate.seconds_a_step == 50.0
    clock.now = 52.0
    rate.tick()
    assert rate.seconds_a_step == 2.0
    clock.now = 56.0
    rate.skip()
    assert rate.seconds_a_step == 2.0
    # Eight steps left, each two seconds and a share of two seconds of other work.
    assert rate.left(2) == pytest.approx(8 * (2.0 + 2.0))


def test_rate_follows_a_change_of_pace():
    clock = Clock()
    rate = Rate(1000, clock)
    for pace in (1.0, 3.0):
        for _ in range(100):
            clock.now += pace
            rate.tick()
    assert rate.seconds_a_step == pytest.approx(3.0)


def test_a_pipe_gets_plain_lines_now_and_then():
    stream = io.StringIO()
    progress = Progress(100, every=10, stream=stream)
    assert not progress.live
    for step in range(1, 101):
        progress.step(step, 2.5, 1234.0, 61.0, None if step < 50 else 2.25)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "step  10/100  loss 2.5000  1.2k tok/s  ETA 1:01"
    assert lines[-1] == "step 100/100  loss 2.5000  val 2.2500  1.2k tok/s  ETA 1:01"
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_a_terminal_gets_one_line_redrawn_within_its_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    progress = Progress(4, every=1, stream=stream, live=True)
    for step in range(1, 5):
        progress._drawn_at = 0.0
        progress.step(step, 2.5, 1234.0, 61.0, 2.25)
    progress.validation(4, 2.25, best=True)
    progress.close()
    text = stream.getvalue()
    drawn, _, said = text.rpartition("\r\x1b[K")
    assert said == "step 4  validation loss 2.2500  (best)\n"
    assert "\n" not in drawn
    parts = drawn.split("\r\x1b[K")[1:]
    assert len(parts) == 4
    assert all(len(part) == 39 for part in parts)
    assert parts[1].startswith("step 2/4  [#####.....]")


def test_closing_leaves_the_last_line_on_the_screen():
    stream = io.StringIO()
    progress = Progress(4, every=1, stream=stream, live=True)
    progress.step(4, 1.0, 10.0, 0.0, None)
    progress.close()
    progress.close()
    assert stream.getvalue().endswith("ETA 0:00\n")


def test_text_is_written_as_it_comes():
    stream = io.StringIO()
    Progress(1, 1, stream=stream).text(iter(["a", "b\n", "c"]))
    assert stream.getvalue() == "ab\nc\n"
