"""What every ledger promises of guards: all or none with the record, settled with the `Finished`, the same after a restart."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.ledger.world import START_MS, Clock, decided, finished, kinds, ledger_filter, opened, take, taken

from toolgate.core.model import Charge, Guard, Pace, Place, Rolling, Settlement, Short
from toolgate.ledger import Bounds, QueuedLedger
from toolgate.ledger.balances import Balances
from toolgate.ledger.taken import PLAIN, Change, Taken
from toolgate.ports import LedgerError

MINUTE_MS = 60_000
PLACE = Place("c:in-flight:ann", 2)
PACE = Pace("r:burst:ann", 100_000, 3)  # ten a second, three at once


def rolling(amount: int, given: int, at_ms: int = START_MS) -> Charge:
    """A charge to a window of 60 minutes."""
    return Charge("b:hour:calls:ann", amount, given, Rolling(at_ms // MINUTE_MS, 61))


async def test_five_hundred_calls_at_once_against_a_budget_of_a_hundred(url: str) -> None:
    """INV7: exactly a hundred are admitted, and the balance says so."""
    held = opened(url)
    answers = await asyncio.gather(*(held.record(decided(n), [take(1, 100)]) for n in range(500)))
    assert answers.count(None) == 100
    assert taken(held, "calls") == {"calls": 100}
    await held.close()
    assert kinds(held).count("Decided") == 100


async def test_every_kind_of_guard_is_taken_or_none_is(url: str) -> None:
    """A record that is short of its last guard has taken nothing of those before it."""
    held = opened(url)
    all_of_them: list[Guard] = [take(1, 5), rolling(1, 5), PACE, PLACE]
    assert await held.record(decided(1), [*all_of_them, take(9, 5, "usd")]) == Short(take(9, 5, "usd"), 5)
    levels = held.facts((), START_MS).levels
    assert (levels.taken(take(0, 5)), levels.taken(rolling(0, 5))) == (0, 0)
    assert (levels.arrival_us(PACE), levels.held(PLACE)) == (0, 0)
    assert await held.record(decided(2), all_of_them) is None
    assert (levels.taken(take(0, 5)), levels.taken(rolling(0, 5))) == (1, 1)
    assert (levels.arrival_us(PACE), levels.held(PLACE)) == ((START_MS + 2) * 1_000 + 100_000, 1)
    await held.close()


async def test_what_takes_nothing_makes_no_room(url: str) -> None:
    """A charge below zero is no refund: the next charge of the same key finds what was there before it."""
    held = opened(url)
    assert await held.record(decided(1), [take(-3, 5), take(6, 5)]) == Short(take(6, 5), 5)
    assert await held.record(decided(2), [take(-3, 5), take(5, 5)]) is None
    assert held.facts((), START_MS).levels.taken(take(0, 5)) == 5
    await held.close()


async def test_a_rolling_window_gives_back_bucket_by_bucket(journal_url: str) -> None:
    """What was taken leaves the window with its own bucket, never all at once."""
    held = opened(journal_url)
    for minute in (0, 30):
        later_ms = START_MS + minute * MINUTE_MS
        assert await held.record(decided(minute), [rolling(5, 10, later_ms)]) is None
    full = START_MS + 45 * MINUTE_MS
    assert await held.record(decided(45), [rolling(1, 10, full)]) == Short(rolling(1, 10, full), 0)
    levels = held.facts((), START_MS).levels
    of = [levels.taken(rolling(0, 10, START_MS + minute * MINUTE_MS)) for minute in (45, 60, 61, 90, 91)]
    assert of == [10, 10, 5, 5, 0]
    await held.close()


async def test_a_pace_lets_a_burst_through_and_then_one_at_a_time(journal_url: str) -> None:
    """GCRA: three at once, then one every tenth of a second; who comes too early is told how long to wait."""
    held = opened(journal_url)
    clock_ms = [0, 0, 0, 0, 50, 100, 150, 200, 1_000, 1_000, 1_000, 1_000]
    answers = []
    for at_ms in clock_ms:
        event = decided(0)._replace(at_ms=START_MS + at_ms)
        short = await held.record(event, [PACE])
        answers.append(None if short is None else short.retry_after_s)
    assert answers == [None, None, None, 0.1, 0.05, None, 0.05, None, None, None, None, 0.1]
    await held.close()


async def test_a_place_is_held_until_the_call_is_finished(url: str) -> None:
    """Two at once; the third waits for one of them to end."""
    held = opened(url)
    assert [await held.record(decided(n), [PLACE]) for n in range(3)] == [None, None, Short(PLACE, 0)]
    await held.finish(finished(0), Settlement(places=(PLACE,)))
    assert await held.record(decided(3), [PLACE]) is None
    await held.close()


async def test_what_was_not_used_is_given_back(journal_url: str) -> None:
    """A refund is in the journal with the `Finished` it belongs to, and can be taken again."""
    held = opened(journal_url)
    await held.record(decided(1), [take(5, 5)])
    await held.finish(finished(1), Settlement(refunds=(take(2, 5),)))
    assert taken(held, "calls") == {"calls": 3}
    assert await held.record(decided(2), [take(2, 5)]) is None
    await held.close()
    assert held.journal.call("call-1")[1].event["refunds"] == [{"key": "calls", "amount": 2}]


async def test_what_cost_more_takes_what_is_left_and_no_more(journal_url: str) -> None:
    """Bill = charged + overrun: the balance stops at what is given, and the rest is said."""
    held = opened(journal_url)
    await held.record(decided(1), [take(60, 100, "usd")])
    await held.finish(finished(1), Settlement(extra=(take(55, 100, "usd"),)))
    assert taken(held, "usd") == {"usd": 100}
    assert await held.record(decided(2), [take(1, 100, "usd")]) == Short(take(1, 100, "usd"), 0)
    await held.close()
    event = held.journal.call("call-1")[1].event
    assert event["extra"] == [{"key": "usd", "amount": 40}]
    assert event["overrun"] == [{"key": "usd", "amount": 15}]
    ended_ms = event["at_ms"]
    assert [held.journal.overruns(since) for since in (0, ended_ms, ended_ms + 1)] == [{"usd": 15}, {"usd": 15}, {}]


async def test_a_budget_that_became_smaller_gives_nothing_back(url: str) -> None:
    """After a reload that gives less, extra takes nothing, and what is taken stays."""
    held = opened(url)
    await held.record(decided(1), [take(60, 100, "usd")])
    await held.finish(finished(1), Settlement(extra=(take(5, 50, "usd"),)))
    assert taken(held, "usd") == {"usd": 60}
    await held.close()


async def test_a_balance_is_never_below_zero(url: str) -> None:
    """Whatever is given back: a refund of more than there is, or a charge of less than nothing, is none."""
    held = opened(url)
    assert await held.record(decided(1), [take(-5, 5)]) is None
    await held.finish(finished(1), Settlement(refunds=(take(7, 5),)))
    assert taken(held, "calls") == {"calls": 0}
    await held.close()


async def test_a_refused_call_costs_its_denied_attempt_and_no_more(journal_url: str) -> None:
    """Attempts are counted up to what is given, and the line says what was counted."""
    held = opened(journal_url)
    attempt = Charge("l:denied_attempts:run_1", 1, 2)
    for n in range(3):
        await held.append(decided(n, code="policy.denied"), [attempt])
    assert held.balances() == {"l:denied_attempts:run_1": 2}
    await held.close()
    charges = [row.event["charges"] for row in held.journal.events(ledger_filter(kind="Decided"))]
    assert [[each["amount"] for each in row] for row in charges] == [[1], [1], [0]]


@dataclass
class Stuck:
    """A disk that fails on demand."""

    failing: bool = False

    def __call__(self, point: str) -> None:
        if self.failing and point == "linked":
            raise LedgerError("the disk is gone")


async def test_what_could_not_be_written_took_nothing(journal_url: str) -> None:
    """INV7: a failed record gives back charges, buckets, the pace's slot and the place."""
    disk = Stuck()
    held = opened(journal_url, at=disk)
    disk.failing = True
    guards: list[Guard] = [take(1, 5), rolling(1, 5), PACE, PLACE]
    with pytest.raises(LedgerError, match="the disk is gone"):
        await held.record(decided(1), guards)
    levels = held.facts((), START_MS).levels
    assert (levels.taken(take(0, 5)), levels.taken(rolling(0, 5)), levels.held(PLACE)) == (0, 0, 0)
    assert levels.arrival_us(PACE) <= (START_MS + 1) * 1_000
    disk.failing = False
    await until_ready(held)
    await held.close()


async def test_a_settlement_waits_for_the_disk_but_places_do_not(journal_url: str) -> None:
    """While nothing can be written, what ended gives its place back, and its refund is written later."""
    disk = Stuck()
    held = opened(journal_url, at=disk)
    await held.record(decided(1), [take(3, 5), PLACE])
    disk.failing = True
    with pytest.raises(LedgerError):
        await held.record(decided(2), ())
    await held.finish(finished(1), Settlement(refunds=(take(3, 5),), places=(PLACE,)))
    assert held.facts((), START_MS).levels.held(PLACE) == 0
    disk.failing = False
    await until_ready(held)
    await held.close()
    assert held.journal.call("call-1")[1].event["refunds"] == [{"key": "calls", "amount": 3}]


async def test_a_caller_that_leaves_before_its_record_pays_nothing(journal_url: str) -> None:
    """FT44: what was written all the same is finished as unsent, with its charges given back."""
    reached, going = threading.Event(), threading.Event()

    def at(point: str) -> None:
        if point == "linked":
            reached.set()
            assert going.wait(30)

    going.set()
    held = opened(journal_url, at=at)
    going.clear()
    reached.clear()
    recording = asyncio.ensure_future(held.record(decided(1), [take(3, 5), PLACE]))
    assert await asyncio.to_thread(reached.wait, 30)
    recording.cancel()
    going.set()
    await asyncio.gather(recording, return_exceptions=True)
    await settle_down(held)
    levels = held.facts((), START_MS).levels
    assert (levels.taken(take(0, 5)), levels.held(PLACE)) == (0, 0)
    await held.close()
    events = [row.event for row in held.journal.call("call-1")]
    assert [event.get("refunds") for event in events] == [None, [{"key": "calls", "amount": 3}]]


async def test_guards_of_all_kinds_survive_a_restart_but_places(path: Path) -> None:
    """Balances, buckets and paces are read back from the file; who held a place is gone, and so is the place."""
    clock = Clock()
    first = opened(path, clock=clock)
    await first.record(decided(1), [take(7, 10), rolling(3, 10), PACE, PLACE])
    await first.finish(finished(1), Settlement(refunds=(take(2, 10),), extra=(rolling(4, 10),)))
    before = first.facts((), START_MS).levels
    expected = (before.taken(take(0, 10)), before.taken(rolling(0, 10)), before.arrival_us(PACE))
    await first.close()
    again = opened(path, clock=clock)
    levels = again.facts((), START_MS).levels
    assert (levels.taken(take(0, 10)), levels.taken(rolling(0, 10)), levels.arrival_us(PACE)) == expected
    assert expected[:2] == (5, 7)
    assert levels.held(PLACE) == 0
    await again.close()


async def test_the_clock_is_told_where_the_journal_ended(path: Path) -> None:
    """FT31: a restart with a clock set back opens no window again, for the gate's clock begins at the last line."""
    told: list[int] = []
    first = opened(path, clock=Clock(START_MS + 5_000))
    await first.record(decided(1), ())
    await first.close()
    again = opened(path, clock=Clock(START_MS - 10_000_000), not_before=told.append)
    await again.close()
    assert told == [START_MS + 5_000]


async def until_ready(held: QueuedLedger) -> None:
    while held.ready() is not None:  # noqa: ASYNC110 (a condition of another thread)
        await asyncio.sleep(0.01)


async def settle_down(held: QueuedLedger) -> None:
    while held.depth:  # noqa: ASYNC110 (a condition of another thread)
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)


async def test_what_is_over_is_forgotten_and_what_is_not_is_kept(journal_url: str) -> None:
    """Memory is bounded by what may still be charged: past days, runs that ended and buckets that left go."""
    clock = Clock()
    held = opened(journal_url, clock=clock, idle_s=60.0, bounds=Bounds())
    day = 24 * 3_600_000
    for n in range(30):
        at_ms = START_MS + n * day
        clock.now_ms = at_ms
        run = f"run_{n:026d}"
        keys = [f"b:daily:calls:ann:{day_of(at_ms)}", f"b:run-calls:calls:{run}", "b:ever:calls:ann"]
        bucket = Rolling(at_ms // MINUTE_MS, 61)
        guards: list[Guard] = [Charge(key, 1, 1_000) for key in keys]
        guards += [Charge(f"l:identical_calls:{run},{n}", 1, 3, bucket), Pace(f"r:burst:{run}", 100_000, 3)]
        event = decided(n)._replace(at_ms=at_ms, run=run)
        assert await held.record(event, guards) is None
    balances = held.balances()
    assert balances["b:ever:calls:ann"] == 30
    assert balances[f"b:daily:calls:ann:{day_of(clock.now_ms)}"] == 1
    assert len(balances) < 30
    await held.close()


def test_what_the_steps_of_a_plan_take_is_forgotten_with_its_run() -> None:
    """All at once, also what a file brought back; and as long as the run may go on, none of it."""
    over: set[str] = set()
    balances = Balances(lambda run, _: run in over)
    plan = "plan_00000000000000000000000001"
    balances.restore([Change(f"p:{plan}:s0#1", PLAIN, 1)], {})
    of_plan: list[Guard] = [Charge(f"p:{plan}:s{n}#1", 1, 3) for n in range(5)]
    of_plan += [Charge(f"s:{plan}:s{n}:usd", 1, 3) for n in range(5)]
    others: list[Guard] = [Charge(f"b:ever:calls:{n}", 1, 9) for n in range(8)]
    assert isinstance(balances.take([*of_plan, *others[:4]], START_MS), Taken)
    assert 14 == len(balances.amounts())
    over.add(plan)
    assert isinstance(balances.take(others[4:], START_MS), Taken)
    assert {guard.key: 1 for guard in others} == balances.amounts()


def day_of(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
