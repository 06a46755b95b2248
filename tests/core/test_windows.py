"""Amounts and windows: exact decimals, calendar periods in UTC, rolling buckets; and the keys they make."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.amounts import MOST, at_most, exactly, text_of
from toolgate.core.model import Call, Named, OpenedRun, Principal
from toolgate.core.scope import KeyParts, Subject, key_of, parse_key, subject_of, template
from toolgate.core.window import Calendar, RollingWindow, again_s, begins_again, period

SUNDAY_MS = 1_795_305_600_000  # 2026-11-22T00:00:00Z
DAY_MS = 86_400_000
NOT_TOLD = (
    True,
    None,
    "",
    " 1",
    "-1",
    -1,
    -0.5,
    "1,5",
    "1_000",
    "nan",
    "inf",
    float("nan"),
    float("inf"),
    [1],
    {},
    "٣",
)


@pytest.mark.parametrize(
    ("value", "micro"),
    [("0.50", 500_000), (0.002, 2_000), (1e-06, 1), (5, 5_000_000), ("0", 0), (-0.0, 0), (Decimal("0.000001"), 1)],
)
def test_a_written_amount_is_exact(value: object, micro: int) -> None:
    """Numbers and decimal texts mean what they say, to the millionth."""
    assert (micro, micro) == (exactly(value), at_most(value))


@pytest.mark.parametrize("value", ["0.0000001", 1e-07, Decimal("0.00000150")])
def test_what_is_finer_than_a_millionth_is_no_written_amount(value: object) -> None:
    """A file says it exactly; what a reply says is rounded up."""
    assert exactly(value) is None
    assert at_most(value) in {1, 2}


@pytest.mark.parametrize("value", NOT_TOLD)
def test_what_is_no_amount_says_nothing(value: object) -> None:
    """Nothing below zero, no infinity, no other spelling."""
    assert (None, None) == (exactly(value), at_most(value))


def test_a_huge_amount_is_bounded() -> None:
    """No reply makes a number that a ledger cannot hold, or that takes long to write."""
    assert [MOST] * 4 == [at_most(value) for value in (10**5000, "1e60", Decimal("1e999999"), 1e300)]
    assert at_most(-(10**5000)) is None


def test_a_tiny_amount_is_not_nothing() -> None:
    """Rounding up holds for the smallest exponent too."""
    assert 1 == at_most("1e-999999")


@given(st.integers(0, MOST))
def test_an_amount_is_written_as_it_was_read(amount: int) -> None:
    """Decimal strings outside, whole numbers inside."""
    assert amount == exactly(text_of("usd", amount))
    assert str(amount) == text_of("calls", amount)


@pytest.mark.parametrize(
    ("window", "at_ms", "name", "begins", "left_s"),
    [
        ("day", SUNDAY_MS + DAY_MS - 1, "2026-11-22", "2026-11-23T00:00Z", 0.001),
        ("week", SUNDAY_MS, "2026-W47", "2026-11-23T00:00Z", 86_400),
        ("week", SUNDAY_MS + DAY_MS, "2026-W48", "2026-11-30T00:00Z", 7 * 86_400),
        ("month", SUNDAY_MS, "2026-11", "2026-12-01T00:00Z", 9 * 86_400),
        ("month", SUNDAY_MS + 20 * DAY_MS, "2026-12", "2027-01-01T00:00Z", 20 * 86_400),
        ("week", SUNDAY_MS + 40 * DAY_MS, "2026-W53", "2027-01-04T00:00Z", 3 * 86_400),
        ("day", 2_147_483_648_000, "2038-01-19", "2038-01-20T00:00Z", 74_752),
    ],
)
def test_a_calendar_window_has_a_name_and_an_end(
    window: Calendar, at_ms: int, name: str, begins: str, left_s: float
) -> None:
    """Days, ISO weeks and months in UTC, across the ends of years and of 32 bits."""
    assert (name, begins, left_s) == (period(window, at_ms), begins_again(window, at_ms), again_s(window, at_ms))


@given(st.sampled_from(["day", "week", "month"]), st.integers(-(2**63), 2**63))
def test_any_time_has_a_period(window: Calendar, at_ms: int) -> None:
    """A clock that is wrong by ages refuses or counts, but never ends the process."""
    assert period(window, at_ms)
    assert begins_again(window, at_ms)
    assert (again_s(window, at_ms) or 0) >= 0


@given(st.integers(0, 10**13), st.integers(0, 10**8), st.integers(60, 100_000))
def test_a_rolling_window_never_forgets_too_early(at_ms: int, later_ms: int, seconds: int) -> None:
    """What was taken less than the window ago is still summed; what is two windows old is not."""
    window = RollingWindow(seconds)
    before, now = window.at(at_ms), window.at(at_ms + later_ms)
    is_summed = now.bucket - now.buckets < before.bucket <= now.bucket

    if later_ms < seconds * 1000:
        assert is_summed
    if later_ms >= 2 * seconds * 1000:
        assert not is_summed


def test_what_never_begins_again_says_so() -> None:
    """A budget without a window has no time; a rolling one gives something back with its next bucket."""
    assert again_s(None, SUNDAY_MS) is None
    assert 60 == again_s(RollingWindow(3600), SUNDAY_MS)


def test_no_principal_makes_the_key_of_another() -> None:
    """Separators, braces and percent signs of an id are encoded, and read back."""
    written = template("b", ("daily", "usd"), ("principal", "tool"), {"tool": "metrics"})
    ids = ("corp/ann@x.org", "a,metrics:2026", "{run}", "%2C", "a:b", "é\n", "\ud800")
    keys = [
        key_of(written, Subject("r", subject_of(Call("c", 0, Principal(each), Named("o", {})), "r").principal))
        for each in ids
    ]

    assert "b:daily:usd:corp/ann@x.org,metrics" == keys[0]
    assert len(ids) == len(set(keys))
    for each, key in zip(ids[:-1], keys, strict=False):
        assert KeyParts("b", "daily", "usd", (each, "metrics"), None) == parse_key(key)


def test_a_key_is_read_again() -> None:
    """Each kind, with and without a period; what is none of ours is none."""
    assert KeyParts("b", "d", "usd", ("ann",), "2026-11-22") == parse_key("b:d:usd:ann:2026-11-22")
    assert KeyParts("r", "burst", None, ("ann", "t"), None) == parse_key("r:burst:ann,t")
    assert KeyParts("l", "denied_attempts", None, ("run_1",), None) == parse_key("l:denied_attempts:run_1")
    assert [None] * 5 == [parse_key(key) for key in ("", "x:y:z", "calls", "b:d:usd", "r:a")]


def test_a_sub_run_is_charged_to_the_first_run_above_it() -> None:
    """No agent gets a second budget by opening a run in its run."""
    named = Named("o", {})
    opened = OpenedRun("run_c", 0, ("run_a", "run_b"))

    assert "run_a" == subject_of(Call("c", 0, Principal("p"), named, run=opened), "run_c").run
    assert "run_c" == subject_of(Call("c", 0, Principal("p"), named, run=OpenedRun("run_c", 0)), "run_c").run
    assert "run_i" == subject_of(Call("c", 0, Principal("p"), named), "run_i").run
