"""What callers are told is left: exactly what guards say, and a wait that is long enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.budget import Budget
from toolgate.core.budgets import Budgets
from toolgate.core.guards import first_short, left
from toolgate.core.limit import Concurrency, Limit, Rate
from toolgate.core.model import Charge, Guard, Known, Pace, Place
from toolgate.core.quota import Rule, Standing, Told, left_of_pace
from toolgate.core.window import RollingWindow
from toolgate.listeners.ratelimit import ratelimit_lines

AT_MS = 1_700_000_000_000
BUDGETS = Budgets(
    (
        Budget("both", ("run",), "calls", 50),
        Budget("both", ("run",), "bytes", 10**15),
        Budget("spend", ("run",), "usd", 500_000),
        Budget("hourly", ("principal",), "calls", 9, RollingWindow(3600)),
        Budget("monthly", ("principal",), "bytes", 9, "month"),
    ),
    (Limit("burst", ("principal",), Rate(100_000, 20, "10/s")), Limit("at-once", ("run",), Concurrency(4))),
)


def told(*guards: Guard, **known: dict[str, int]) -> tuple[list[Rule], str]:
    """The rules that are told of some guards, and what is told to be left by them."""
    standing = Standing(BUDGETS.told(guards), Known(**known), AT_MS)
    return [rule for rule, _ in standing.told.rules], ratelimit_lines(standing).partition("\r\nRateLimit: ")[2]


def lines_of(*told: tuple[Rule, Guard], **known: dict[str, int]) -> str:
    return ratelimit_lines(Standing(Told(told), Known(**known), AT_MS))


def test_what_the_headers_have_a_unit_for() -> None:
    """Calls, bytes, calls at once; costs and loops are told elsewhere; a name stands once."""
    guards = (
        Charge("l:identical_calls:r,x", 1, 3),
        Place("c:at-once:r", 4),
        Charge("b:both:calls:r", 1, 50),
        Charge("b:both:bytes:r", 1, 10**15),
        Charge("b:spend:usd:r", 1, 500_000),
        Charge("b:gone:calls:r", 1, 1),
    )

    assert told(*guards, places={"c:at-once:r": 1}, balances={"b:both:calls:r": 51}) == (
        [
            Rule("at-once", "concurrent-requests", 4),
            Rule("both", "requests", 50),
            Rule("both-bytes", "content-bytes", 10**15),
        ],
        '"at-once";r=3, "both";r=0, "both-bytes";r=999999999999999\r\n',
    )


def test_windows_have_their_length_and_say_when_more_comes() -> None:
    """A rolling window gives some back each sixtieth; a month has no length of its own."""
    (hourly, monthly), left = told(Charge("b:hourly:calls:p", 1, 9), Charge("b:monthly:bytes:p:2023-11", 1, 9))

    until_december_s = 1_701_388_800 - AT_MS // 1000
    assert (hourly.window_s, hourly.again_s) == (3600, 60)
    assert (monthly.name, monthly.window_s) == ("monthly", None)
    assert left == f'"hourly";r=9;t=60, "monthly";r=9;t={until_december_s}\r\n'


@given(st.integers(1, 5_000_000), st.integers(1, 50), st.integers(0, 300_000_000))
def test_whoever_waits_as_long_as_told_gets_one_more(every_us: int, burst: int, ahead_us: int) -> None:
    """And not a millisecond earlier; after a pause everything is there and nothing is promised."""
    pace, arrival_us = Pace("r:burst:p", every_us, burst), AT_MS * 1000 + ahead_us
    is_left, again_us = left_of_pace(pace, arrival_us, AT_MS)
    levels = Known(arrivals_us={"r:burst:p": arrival_us})
    assert is_left == left(pace, levels, AT_MS)
    assert (again_us == 0) == (is_left == burst)
    if again_us == 0:
        return
    again_ms = AT_MS + -(-again_us // 1000)
    assert left(pace, levels, again_ms) > is_left
    assert left(pace, levels, again_ms - 1) == is_left
    assert first_short((pace,), levels, again_ms) is None


def test_headers_are_structured_fields() -> None:
    """Strings with parameters, whole seconds rounded up, integers of at most 15 digits."""
    lines = lines_of(
        (Rule("burst", "requests", 20, 0.2, moves=True), Pace("r:burst:p", 10_000, 20)),
        (Rule("both-bytes", "content-bytes", 10**15), Charge("b:both:bytes:r", 1, 10**15)),
        (Rule("at-once", "concurrent-requests", 4), Place("c:at-once:r", 4)),
        (Rule("hourly", "requests", 9, 30, again_s=0.5), Charge("b:hourly:calls:p", 1, 9)),
        arrivals_us={"r:burst:p": AT_MS * 1000 + 10_000},
        places={"c:at-once:r": 5},
        balances={"b:hourly:calls:p": 2},
    )

    assert lines == (
        'RateLimit-Policy: "burst";q=20;w=1, "both-bytes";q=999999999999999;qu="content-bytes", '
        '"at-once";q=4;qu="concurrent-requests", "hourly";q=9;w=30\r\n'
        'RateLimit: "burst";r=19;t=1, "both-bytes";r=999999999999999, "at-once";r=0, "hourly";r=7;t=1\r\n'
    )
    assert not ratelimit_lines(None)


def test_a_name_is_told_as_it_is_written() -> None:
    """Whatever stands in it: only figures change from call to call."""
    lines = lines_of(
        (Rule("100%d{0}", "requests", 9), Charge("a", 1, 9)),
        (Rule("100%d{0}", "requests", 9, calendar="day", moves=True), Charge("b", 1, 9)),
        balances={"a": 5, "b": 6},
    )

    until_day_s = -(-(86_400_000 - AT_MS % 86_400_000) // 1000)
    policy = 'RateLimit-Policy: "100%d{0}";q=9, "100%d{0}";q=9\r\n'
    assert f'{policy}RateLimit: "100%d{{0}}";r=4, "100%d{{0}}";r=3;t={until_day_s}\r\n' == lines
