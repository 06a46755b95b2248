"""What every ledger promises the gateway: one act, one order, guards that hold, bounded waiting."""

from __future__ import annotations

import asyncio
import itertools
import threading
from pathlib import Path
from typing import cast

import orjson
import pytest
from tests.ledger.world import Clock, calling, decided, effect, finished, kinds, ledger_filter, opened, take, taken

from toolgate import ledger
from toolgate.core.journal import Verified, encode
from toolgate.core.model import Short
from toolgate.ledger import Bounds, Sync
from toolgate.ledger.chain import Tip
from toolgate.ledger.store import Store
from toolgate.ledger.writer import Rules, Seams, Writer
from toolgate.ports import LedgerError


async def test_what_is_recorded_is_in_the_journal_when_record_returns(url: str) -> None:
    """`record` returns after the commit, not before."""
    held = opened(url)
    assert await held.record(decided(1), ()) is None
    row = held.journal.call("call-1")[0]
    assert (row.event["event"], row.event["number"], row.event["run"]) == ("Decided", 1, "run_1")
    await held.close()


async def test_the_journal_keeps_the_order_of_the_calls(journal_url: str) -> None:
    """P06: 500 concurrent events, one writer, a gapless chain in the order they were given."""
    held = opened(journal_url)
    await asyncio.gather(*(held.record(decided(n), ()) if n % 3 else held.append(finished(n)) for n in range(500)))
    await held.close()
    rows = held.journal.events(ledger_filter())
    assert [row.event["call"] for row in rows if "call" in row.event] == [f"call-{n}" for n in range(500)]
    assert [row.event["seq"] for row in rows] == list(range(1, 503))
    assert isinstance(held.journal.verify(), Verified)


async def test_charges_are_taken_with_the_record(url: str) -> None:
    """The record and its charges are one act, and `facts` knows at once."""
    held = opened(url)
    assert taken(held, "calls", "usd") == {"calls": 0, "usd": 0}
    assert await held.record(decided(1), [take(1, 5), take(250, 1000, "usd")]) is None
    assert taken(held, "calls", "usd") == {"calls": 1, "usd": 250}
    await held.close()


async def test_a_failed_guard_writes_nothing_and_takes_nothing(url: str) -> None:
    """All charges or none: the answer is the guard that did not hold, and the journal does not mention the call."""
    held = opened(url)
    await held.record(decided(1), [take(4, 5)])
    short = await held.record(decided(2), [take(1, 10, "usd"), take(2, 5)])
    assert short == Short(take(2, 5), 1)
    assert taken(held, "calls", "usd") == {"calls": 4, "usd": 0}
    assert held.journal.call("call-2") == []
    await held.close()


async def test_a_guard_counts_every_charge_of_the_same_record(url: str) -> None:
    """Two charges on one key are judged together."""
    held = opened(url)
    assert await held.record(decided(1), [take(3, 5), take(3, 5)]) is not None
    assert await held.record(decided(2), [take(3, 5), take(2, 5)]) is None
    await held.close()


async def test_two_hundred_at_once_never_exceed_what_is_given(url: str) -> None:
    """INV7: limit 10, 200 concurrent calls, 10 admitted (SAFETY §0, finding 12)."""
    held = opened(url)
    answers = await asyncio.gather(*(held.record(decided(n), [take(1, 10)]) for n in range(200)))
    assert answers.count(None) == 10
    assert taken(held, "calls") == {"calls": 10}
    await held.close()
    assert kinds(held).count("Decided") == 10


async def test_what_is_queued_is_a_copy(journal_url: str) -> None:
    """Whoever changes an event's data after the call does not change the journal."""
    held = opened(journal_url)
    data = {"arguments": {"a": 1}}
    event = decided(1, **data)
    recording = asyncio.ensure_future(held.record(event, ()))
    await asyncio.sleep(0)
    data["arguments"]["a"] = 2
    await recording
    assert held.journal.call("call-1")[0].event["arguments"] == {"a": 1}
    await held.close()


async def test_an_implicit_run_counts_its_calls_and_ends_when_idle(url: str) -> None:
    """A run is per principal; after `idle_s` without a call the next one begins a new run, and the journal says so."""
    clock = Clock()
    held = opened(url, clock=clock, idle_s=60.0)
    first = [held.next_in_run(calling("ann", clock.now_ms + 30_000 * n)) for n in range(3)]
    bob = held.next_in_run(calling("bob", clock.now_ms))
    later = held.next_in_run(calling("ann", clock.now_ms + 60_000 + 60_001))
    assert [number for _, number in first] == [1, 2, 3]
    assert len({run for run, _ in [*first, bob, later]}) == 3
    assert (bob[1], later[1]) == (1, 1)
    await held.close()
    started = held.journal.events(ledger_filter(kind="RunStarted"))
    assert [(row.event["run"], row.event["principal"]) for row in started] == [
        (first[0][0], "ann"), (bob[0], "bob"), (later[0], "ann"),
    ]  # fmt: skip


async def test_a_clock_set_back_does_not_end_a_run(url: str) -> None:
    """Time that goes backwards is not idleness."""
    held = opened(url, idle_s=60.0)
    run, _ = held.next_in_run(calling("ann", 1_000_000))
    assert held.next_in_run(calling("ann", 10)) == (run, 2)
    assert held.next_in_run(calling("ann", 1_050_000)) == (run, 3)
    await held.close()


async def test_a_run_is_started_in_the_journal_before_its_first_call(url: str) -> None:
    """Whoever reads the journal forwards meets `RunStarted` first."""
    held = opened(url)
    held.next_in_run(calling("ann", 1))
    await held.record(decided(1), ())
    await held.close()
    assert kinds(held) == ["WriterStarted", "RunStarted", "Decided", "WriterStopped"]


async def test_a_closed_ledger_refuses(url: str) -> None:
    """After `close` nothing is taken and nothing hangs; closing twice is closing once."""
    held = opened(url)
    await held.close()
    await held.close()
    assert held.ready() == "the ledger is closed"
    with pytest.raises(LedgerError, match="the ledger is closed"):
        await held.record(decided(1), ())
    with pytest.raises(LedgerError, match="the ledger is closed"):
        await held.append(finished(1))


async def test_close_writes_what_is_queued(url: str) -> None:
    """INV5: a clean end loses nothing, not even what nobody waits for."""
    held = opened(url)
    for n in range(300):
        await held.append(finished(n))
    await held.close()
    assert kinds(held).count("Finished") == 300


class Gate:
    """Holds the writer's thread at a point until it is let go."""

    def __init__(self, point: str) -> None:
        self.point = point
        self._open = threading.Event()
        self.reached = threading.Event()

    def __call__(self, point: str) -> None:
        if point == self.point:
            self.reached.set()
            assert self._open.wait(30)

    def let_go(self) -> None:
        self._open.set()


async def held_at(url: str, gate: Gate, bounds: Bounds) -> ledger.QueuedLedger:
    """A ledger whose disk is stuck: the first event is taken and goes no further."""
    held = opened(url, at=gate, bounds=bounds)
    await held.append(finished(0))
    assert await asyncio.to_thread(gate.reached.wait, 30)
    return held


async def test_a_stuck_disk_refuses_within_the_deadline(url: str) -> None:
    """FT17: calls wait within their deadline and are refused; what was never begun is not written and costs nothing."""
    gate = Gate("taken")
    held = await held_at(url, gate, Bounds(deadline_s=0.05))
    with pytest.raises(LedgerError, match=r"did not take the record within 0.05 s"):
        await held.record(decided(1), [take(1, 5)])
    gate.let_go()
    await held.close()
    assert taken(held, "calls") == {"calls": 0}
    assert held.journal.call("call-1") == []


async def test_a_record_that_came_too_late_is_finished_as_unsent(url: str) -> None:
    """INV4: what was written for a call that was refused meanwhile says that nothing was sent."""
    gate = Gate("nowhere yet")
    held = opened(url, at=gate, bounds=Bounds(deadline_s=0.05))
    gate.point = "linked"
    with pytest.raises(LedgerError, match="did not take the record"):
        await held.record(decided(1), [])
    assert gate.reached.is_set()
    gate.let_go()
    while not (events := [row.event for row in held.journal.call("call-1")])[1:]:  # noqa: ASYNC110 (another thread)
        await asyncio.sleep(0)
    await held.close()
    assert [(event["event"], event.get("sent")) for event in events] == [("Decided", None), ("Finished", "no")]


async def test_a_full_queue_refuses_at_the_deadline(url: str) -> None:
    """Memory never grows with the backlog: what finds no room in time is refused, and not written later."""
    gate = Gate("taken")
    held = await held_at(url, gate, Bounds(events=3, deadline_s=0.05))
    await held.append(finished(1))
    await held.append(finished(2))
    assert held.depth == 3
    with pytest.raises(LedgerError, match="did not take the record"):
        await held.append(finished(3))
    gate.let_go()
    await held.close()
    assert finished_calls(held) == ["call-0", "call-1", "call-2"]


async def test_beyond_a_full_queue_calls_wait_in_order(url: str) -> None:
    """Whoever came first is written first, once there is room."""
    gate = Gate("taken")
    held = await held_at(url, gate, Bounds(events=3))
    await held.append(finished(1))
    await held.append(finished(2))
    waiting = [asyncio.ensure_future(held.append(finished(n))) for n in (3, 4)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    gate.let_go()
    await asyncio.gather(*waiting)
    await held.close()
    assert finished_calls(held) == [f"call-{n}" for n in range(5)]


def finished_calls(held: ledger.QueuedLedger) -> list[str]:
    return [row.event["call"] for row in held.journal.events(ledger_filter(kind="Finished"))]


async def test_the_queue_is_bounded_in_bytes(url: str) -> None:
    """A few large events fill the queue as well as many small ones."""
    gate = Gate("taken")
    held = await held_at(url, gate, Bounds(size=20_000, deadline_s=0.05))
    await held.append(finished(1, text="x" * 12_000))
    await held.append(finished(2, text="x" * 12_000))
    with pytest.raises(LedgerError, match="did not take the record"):
        await held.append(finished(3))
    gate.let_go()
    await held.close()


async def test_a_caller_that_goes_away_harms_nobody(url: str) -> None:
    """FT44: a cancelled record neither breaks the group it was in nor leaves a charge for what was not written."""
    gate = Gate("taken")
    held = await held_at(url, gate, Bounds())
    tasks = [asyncio.ensure_future(held.record(decided(n), [take(1, 100)])) for n in range(1, 4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    gate.let_go()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await held.close()
    assert [answers[0], answers[2]] == [None, None]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert taken(held, "calls")["calls"] == kinds(held).count("Decided")


async def test_the_first_line_names_the_writer_before_it(path: Path) -> None:
    """Cutting off a whole writer's tail is seen: the next writer names the head it found."""
    first = opened(path)
    await first.record(decided(1), ())
    await first.close()
    head = first.journal.head()
    second = opened(path)
    started = second.journal.events(ledger_filter(kind="WriterStarted"))
    await second.close()
    assert head is not None
    assert started[0].event["previous"] is None
    assert started[1].event["previous"] == {"writer": head.writer, "seq": head.seq, "hash": head.hash}
    assert (started[1].event["seq"], started[1].event["clean"]) == (1, True)


async def test_balances_and_runs_survive_a_restart(path: Path) -> None:
    """Where a run and a budget stood is read back from the file; a run that has been idle too long is over."""
    clock = Clock()
    first = opened(path, clock=clock)
    ann, number = first.next_in_run(calling("ann", clock.now_ms))
    await first.record(decided(number, principal="ann"), [take(7, 10)])
    await first.close()
    again = opened(path, clock=clock)
    assert taken(again, "calls") == {"calls": 7}
    assert await again.record(decided(9), [take(4, 10)]) is not None
    await again.close()
    assert ann.startswith("run_")


async def test_a_run_goes_on_after_a_restart(path: Path) -> None:
    """The number of a call is never given twice in one run."""
    clock = Clock()
    first = opened(path, clock=clock, idle_s=60.0)
    run, number = first.next_in_run(calling("ann", clock.now_ms))
    event = decided(number, principal="ann")
    await first.record(type(event)(event.kind, clock.now_ms, {"number": 5, "principal": "ann"}, "c", run), ())
    await first.close()
    clock.now_ms += 50_000
    second = opened(path, clock=clock, idle_s=60.0)
    assert second.next_in_run(calling("ann", clock.now_ms)) == (run, 6)
    await second.close()
    clock.now_ms += 200_000
    third = opened(path, clock=clock, idle_s=60.0)
    assert third.next_in_run(calling("ann", clock.now_ms))[1] == 1
    await third.close()


async def test_stdout_has_the_same_bytes_as_the_rows(url: str) -> None:
    """One encoding: every line printed is the line hashed and stored, and the head printed last is the journal's."""
    printed: list[bytes] = []
    held = opened(url, stdout=printed.append)
    await held.record(decided(1), ())
    await held.close()
    lines = b"".join(printed).splitlines()
    heads = [orjson.loads(text) for text in lines if orjson.loads(text)["event"] == "Head"]
    stored = [row.line for row in held.journal.events(ledger_filter())]
    assert [text for text in lines if orjson.loads(text)["event"] != "Head"] == stored
    head = held.journal.head()
    assert head is not None
    assert (heads[-1]["writer"], heads[-1]["seq"], heads[-1]["hash"]) == (head.writer, head.seq, head.hash)


async def test_a_broken_log_stream_does_not_break_the_journal(url: str) -> None:
    """Standard output is a copy: its trouble refuses no call and loses no row."""

    def stdout(_: bytes) -> None:
        raise BrokenPipeError

    held = opened(url, stdout=stdout)
    assert await held.record(decided(1), [take(1, 5)]) is None
    await held.close()
    assert taken(held, "calls") == {"calls": 1}
    assert kinds(held) == ["WriterStarted", "Decided", "WriterStopped"]


async def test_a_place_that_is_not_taken_goes_to_the_next(url: str) -> None:
    """Whoever gives up waiting for room does not keep others from it."""
    gate = Gate("taken")
    held = await held_at(url, gate, Bounds(events=1, deadline_s=5.0))
    waiting = [asyncio.ensure_future(held.append(finished(n))) for n in range(1, 5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[2].cancel()
    gate.let_go()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    await held.close()
    assert [answers[1], answers[3]] == [None, None]
    assert kinds(held).count("Finished") == 3


async def test_a_head_is_printed_every_thousand_events(url: str) -> None:
    """Also under load a cut tail is never longer than that."""
    printed: list[bytes] = []
    held = opened(url, stdout=printed.append)
    for n in range(2_100):
        await held.append(finished(n))
    await held.close()
    heads = [orjson.loads(text)["seq"] for text in b"".join(printed).splitlines() if b'"event":"Head"' in text]
    assert len(heads) == 4  # at the start, twice under way, at the end
    assert all(later - sooner <= 1_064 for sooner, later in itertools.pairwise(heads))


class Noting:
    """A store that remembers what it was asked to flush."""

    def __init__(self) -> None:
        self.flushed: list[bool] = []

    def write(self, rows: object, taken: object, *, flush: bool, moves: object = ()) -> None:
        self.flushed.append(flush)


@pytest.mark.parametrize(
    ("sync", "expected"), [("effects", [False, True]), ("all", [True, True]), ("off", [False, False])]
)
def test_only_groups_with_an_effect_are_flushed(sync: Sync, expected: list[bool]) -> None:
    """`journal.sync: effects` flushes what may change the world; `all` and `off` mean what they say."""
    store = Noting()
    writer = Writer(
        store=cast("Store", store),
        tip=Tip(),
        rules=Rules(sync),
        seams=Seams(Clock(), lambda: 0.0),
        stdout=None,
        settle=lambda _entries, _why: None,
    )
    writer.write_first([encode(decided(1)), encode(finished(1))])
    writer.write_first([encode(decided(2)), encode(effect(3))])
    assert store.flushed == expected


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://localhost", "`redis:` names a store that gates share and no journal"),
        ("sqlite:", "is not understood"),
        ("sqlite://relative/path", "is not understood"),
        ("sqlite:///x?mode=ro", "is not understood"),
        ("postgres://x", "use `sqlite:///absolute/path`, `sqlite:relative` or `memory:`"),
        ("", "is not understood"),
    ],
)
def test_an_address_that_is_no_ledger_says_what_to_write(url: str, says: str) -> None:
    """A wrong setting is named, with the forms that work."""
    with pytest.raises(LedgerError, match=says.replace("(", r"\(")):
        opened(url)


def test_addresses_name_files() -> None:
    """Three slashes are absolute, none is relative."""
    assert ledger.file_of("sqlite:///var/lib/x.db") == Path("/var/lib/x.db")
    assert ledger.file_of("sqlite:.toolgate/ledger.db") == Path(".toolgate/ledger.db")
    assert ledger.file_of("memory:") is None
