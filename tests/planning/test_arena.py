"""Arenas: values that live at once never overlap, and hardly a byte is wasted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.planning.arena import Interval, arrange, live_bytes, rounded

INTERVALS = st.lists(
    st.builds(
        lambda size, first, length: Interval(size, first, first + length),
        st.integers(0, 5000), st.integers(0, 30), st.integers(0, 12),
    ), max_size=40,
)  # fmt: skip


@settings(max_examples=200)
@given(INTERVALS)
def test_nothing_overlaps(intervals: list[Interval]) -> None:
    offsets, total = arrange(intervals)
    placed = list(zip(intervals, offsets))
    for i, (one, a) in enumerate(placed):
        assert a % 64 == 0 and a + one.size <= total
        for other, b in placed[:i]:
            if one.first <= other.last and other.first <= one.last:
                assert a + one.size <= b or b + other.size <= a
    assert total >= live_bytes(intervals)


@given(INTERVALS)
def test_the_bound_is_what_lives_at_once(intervals: list[Interval]) -> None:
    at = [
        sum(rounded(i.size) for i in intervals if i.first <= t <= i.last)
        for t in range(max((i.last for i in intervals), default=0) + 1)
    ]
    assert live_bytes(intervals) == max(at, default=0)


def test_values_that_die_make_room() -> None:
    chain = [Interval(1000, i, i + 1) for i in range(50)]
    assert arrange(chain)[1] == live_bytes(chain) == 2 * rounded(1000)


def test_the_shape_of_a_training_step() -> None:
    """Activations live from the forward to the backward pass, nested like brackets."""
    layers = 40
    kept = [Interval(10_000 + 64 * (i % 7), i, 2 * layers - i) for i in range(layers)]
    passing = [Interval(7_000, t, t + 1) for t in range(2 * layers)]
    both = kept + passing
    assert arrange(both)[1] <= 1.02 * live_bytes(both)
