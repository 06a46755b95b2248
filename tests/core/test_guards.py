"""Whether guards hold: amounts, paces (GCRA) and places, alone and together in one call."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.guards import burst_left, first_short, left, next_arrival_us, taken_json, wait_s
from toolgate.core.model import Charge, Guard, Known, Pace, Place, Rolling, Short

PACE = Pace("r:burst:ann", 100_000, 3)  # 10/s, three at once
NOTHING = Known()


@pytest.mark.parametrize(
    ("guards", "short"),
    [
        ([Charge("a", 4, 10)], None),
        ([Charge("a", 5, 10)], Short(Charge("a", 5, 10), 4)),
        ([Charge("a", 0, 3)], None),
        ([Charge("a", -3, 3)], None),
        ([Charge("a", 1, 3)], Short(Charge("a", 1, 3), 0)),
        ([Charge("a", 2, 10), Charge("a", 3, 10)], Short(Charge("a", 3, 10), 2)),
        ([Charge("b", 1, 1), Charge("a", 9, 10), Place("c", 0)], Short(Charge("a", 9, 10), 4)),
        ([Place("p", 3)], None),
        ([Place("p", 2)], Short(Place("p", 2), 0)),
        ([Place("p", 3), Place("p", 3)], Short(Place("p", 3), 0)),
    ],
)
def test_the_first_guard_that_does_not_hold_is_named(guards: Sequence[Guard], short: Short | None) -> None:
    """Each is asked after what the same call takes before it; what gives back always holds; left is never below zero."""
    assert short == first_short(guards, Known({"a": 6}, {}, {"p": 2}), 0)


def test_a_pace_lets_a_burst_through_and_then_one_at_a_time() -> None:
    """GCRA: three at once after a pause, then one every 100 ms, and the wait is told exactly."""
    arrival_us, at_ms = 0, 5_000
    for _ in range(3):
        assert wait_s(PACE, arrival_us, at_ms) == 0
        arrival_us = next_arrival_us(PACE, arrival_us, at_ms)

    assert 0.1 == wait_s(PACE, arrival_us, at_ms)
    assert 0.06 == wait_s(PACE, arrival_us, at_ms + 40)
    assert 0 == wait_s(PACE, arrival_us, at_ms + 100)


def test_one_call_that_takes_a_pace_twice_waits_for_both() -> None:
    """Two guards on one pace are two calls."""
    full = Known(arrivals_us={PACE.key: 1_000_000 + 2 * 100_000})

    assert first_short([PACE], full, 1_000) is None
    assert Short(PACE, 0, 0.1) == first_short([PACE, PACE], full, 1_000)


def test_what_is_left_is_told_for_every_kind() -> None:
    """Amounts, calls that may come at once, places; a balance above what is given now leaves nothing."""
    levels = Known({"a": 6}, {PACE.key: 1_150_000}, {"p": 2})

    assert (4, 0) == (left(Charge("a", 1, 10), levels, 0), left(Charge("a", 1, 5), levels, 0))
    assert (1, 3) == (left(PACE, levels, 1_000), left(PACE, levels, 9_000))
    assert (1, 0) == (left(Place("p", 3), levels, 0), left(Place("p", 1), levels, 0))


@given(st.lists(st.integers(0, 250), max_size=40), st.integers(1, 300_000), st.integers(1, 5))
def test_a_pace_never_lets_more_through_than_it_says(pauses_ms: list[int], every_us: int, burst: int) -> None:
    """In any stretch of time: at most the burst, and one more for each interval that has passed."""
    pace, arrival_us, at_ms, passed = Pace("r:x", every_us, burst), 0, 0, []
    for pause_ms in pauses_ms:
        at_ms += pause_ms
        before = burst_left(pace, arrival_us, at_ms)
        assert (before > 0) == (wait_s(pace, arrival_us, at_ms) == 0)
        if before:
            arrival_us = next_arrival_us(pace, arrival_us, at_ms)
            assert before - 1 == burst_left(pace, arrival_us, at_ms)
            passed.append(at_ms)
    for first, begin_ms in enumerate(passed):
        for count, end_ms in enumerate(passed[first:], 1):
            assert count <= burst + (end_ms - begin_ms) * 1000 // every_us


def test_the_journal_is_told_what_is_taken() -> None:
    """Amounts with the bucket of a rolling window, paces and places, by key."""
    guards = (Charge("b", 2, 9), Charge("l", 1, 3, Rolling(7)), PACE, Place("c", 4))

    assert [
        {"key": "b", "amount": 2},
        {"key": "l", "amount": 1, "bucket": 7},
        {"key": PACE.key, "pace": 100_000},
        {"key": "c", "place": 1},
    ] == taken_json(guards)
    assert first_short(guards, NOTHING, 0) is None
