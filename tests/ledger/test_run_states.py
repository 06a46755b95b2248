"""Runs that are opened, finished and stopped, freezes and repeated refusals: known at once, and after any restart."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.ledger.world import BACK_TO_3, START_MS, Clock, calling, ledger_filter, opened

from toolgate.core import runs as told
from toolgate.core.journal import Verified
from toolgate.core.loop import TOGETHER_MS
from toolgate.core.model import Charge, Event, Facts, Freeze, LoopFacts, OpenedRun, Pace, Rolling, RunFacts
from toolgate.ledger import Keep, QueuedLedger
from toolgate.ledger.schema import VERSION
from toolgate.ports import LedgerError

HOUR_MS = 3_600_000
TOP = OpenedRun("run_0000000000000000000000000T", START_MS + HOUR_MS)
SUB = OpenedRun("run_0000000000000000000000000S", START_MS + HOUR_MS // 2, (TOP.id,))


def facts_of(held: QueuedLedger, run: OpenedRun | str, at_ms: int = START_MS) -> Facts:
    key = f"run:{run}" if isinstance(run, str) else f"opened:{run.id}"
    return held.facts([key], at_ms)


async def open_run(held: QueuedLedger, run: OpenedRun, principal: str = "ann") -> None:
    assert await held.record(told.opened(run, principal, {"task": "digest"}, START_MS), ()) is None


async def refuse(held: QueuedLedger, signature: str, run: OpenedRun | None = None, at_ms: int = START_MS) -> str:
    name, number = held.next_in_run(calling("ann", at_ms, run))
    data = {"number": number, "principal": "ann", "code": "policy.denied", "signature": signature}
    await held.append(Event("Decided", at_ms, data, f"{name}-{number}", name))
    return name


async def permit(held: QueuedLedger, run: OpenedRun | None = None, at_ms: int = START_MS) -> str:
    name, number = held.next_in_run(calling("ann", at_ms, run))
    data = {"number": number, "principal": "ann", "operation": "shop.get"}
    assert await held.record(Event("Decided", at_ms, data, f"{name}-{number}", name), ()) is None
    return name


async def again(held: QueuedLedger, path: Path, clock: Clock | None = None) -> QueuedLedger:
    await held.close()
    return opened(path, clock=clock)


async def test_a_call_knows_the_run_it_will_begin(journal_url: str) -> None:
    """The id that facts name is the one `next_in_run` gives, also when the call begins the run."""
    held = opened(journal_url)
    before = facts_of(held, "ann").run
    assert before == RunFacts(before.id)
    assert before.id.startswith("run_")
    assert facts_of(held, "ann").run.id == before.id
    assert held.next_in_run(calling("ann")) == (before.id, 1)
    assert facts_of(held, "ann").run.id == before.id
    await held.close()


async def test_an_opened_run_is_counted_by_its_own_name(journal_url: str) -> None:
    """Calls in an opened run count there, and in no other run of the same principal."""
    held = opened(journal_url)
    await open_run(held, TOP)
    assert facts_of(held, TOP).run == RunFacts(TOP.id, started_ms=START_MS)
    assert await permit(held, TOP) == TOP.id
    own = await permit(held)
    assert own != TOP.id
    facts = facts_of(held, TOP, START_MS + 5_000).run
    assert (facts.calls, facts.age_s, dict(facts.by_operation)) == (1, 5, {"shop.get": 1})
    await held.close()
    events = [row.event for row in held.journal.events(ledger_filter(kind="RunStarted"))]
    assert [event["run"] for event in events] == [TOP.id, own]


async def test_a_run_of_another_journal_is_adopted(journal_url: str) -> None:
    """A token that verifies names a run, also where its beginning was written elsewhere: the journal says so, once."""
    held = opened(journal_url)
    assert [await permit(held, SUB), await permit(held, SUB)] == [SUB.id, SUB.id]
    await held.close()
    events = [row.event for row in held.journal.events(ledger_filter(kind="RunStarted"))]
    assert [(event["run"], event["adopted"], event["above"]) for event in events] == [(SUB.id, True, [TOP.id])]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_stopped_run_is_stopped_until_it_is_thawed(path: Path, restarts: bool) -> None:
    """It, and every run below it; a restart changes nothing."""
    held = opened(path)
    await open_run(held, TOP)
    await open_run(held, SUB)
    await held.append(told.stopped(TOP.id, "ann", "the same refusal 3 times", "loop.repeated_refusal", START_MS))
    assert [facts_of(held, run).run.stopped for run in (TOP, SUB)] == ["the same refusal 3 times"] * 2
    if restarts:
        held = await again(held, path)
    assert [facts_of(held, run).run.stopped for run in (TOP, SUB)] == ["the same refusal 3 times"] * 2
    thaw = told.switched("thaw", "run", TOP.id, Freeze("eve", "looked at", START_MS))
    assert await held.record(thaw, ()) is None
    assert [facts_of(held, run).run.stopped for run in (TOP, SUB)] == [None, None]
    held = await again(held, path)
    assert facts_of(held, SUB).run.stopped is None
    await held.close()


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_finished_run_takes_no_more_calls(path: Path, restarts: bool) -> None:
    """An opened run stays finished as long as its token is good; an implicit one makes room for the next."""
    held = opened(path)
    await open_run(held, TOP)
    own = await permit(held)
    for run in (TOP.id, own):
        await held.record(told.finished(run, "ann", 1, (), START_MS), ())
    if restarts:
        held = await again(held, path)
    assert facts_of(held, TOP).run.stopped == "the agent finished this run"
    following = facts_of(held, "ann").run
    assert (following.id != own, following.stopped, following.calls) == (True, None, 0)
    await held.close()


async def test_whoever_finishes_a_stopped_run_does_not_begin_anew(journal_url: str) -> None:
    """SECURITY: an implicit run that was stopped stays the principal's run, whatever the agent says of it."""
    held = opened(journal_url)
    own = await permit(held)
    await held.append(told.stopped(own, "ann", "too often", "loop.repeated_refusal", START_MS))
    await held.append(told.finished(own, "ann", 1, (), START_MS))
    facts = facts_of(held, "ann").run
    assert (facts.id, facts.stopped) == (own, "too often")
    await held.close()


async def test_what_is_frozen_stays_frozen_across_restarts(path: Path) -> None:
    """Immediate, durable, with who and why; a thaw takes away exactly what it names."""
    held = opened(path)
    kinds: Sequence[tuple[told.Kind, str | None]] = (("everything", None), ("principal", "corp/ann"), ("tool", "shop"))
    for kind, name in kinds:
        recording = asyncio.ensure_future(
            held.record(told.switched("freeze", kind, name, Freeze("eve", "an incident", START_MS)), ())
        )
        await asyncio.sleep(0)
        assert len(held.freezes()) == 1 + kinds.index((kind, name))
        await recording
    expected = {
        key: Freeze("eve", "an incident", START_MS) for key in ("everything", "principal:corp/ann", "tool:shop")
    }
    held = await again(held, path)
    assert dict(facts_of(held, "ann").freezes) == expected == dict(held.freezes())
    await held.record(told.switched("thaw", "everything", None, Freeze("eve", "over", START_MS)), ())
    del expected["everything"]
    held = await again(held, path)
    assert dict(held.freezes()) == expected
    await held.close()


async def test_a_thaw_holds_only_once_it_is_written(journal_url: str) -> None:
    """Safe first: while the journal cannot be written, what is frozen stays frozen, and freezing more still works."""
    failing = False

    def at(point: str) -> None:
        if failing and point == "linked":
            raise LedgerError("the disk is gone")

    held = opened(journal_url, at=at)
    freeze = told.switched("freeze", "tool", "shop", Freeze("eve", "", START_MS))
    await held.record(freeze, ())
    failing = True
    with pytest.raises(LedgerError):
        await held.record(told.switched("thaw", "tool", "shop", Freeze("eve", "", START_MS)), ())
    assert "tool:shop" in held.freezes()
    failing = False
    await held.close()


@pytest.mark.parametrize("restarts", [False, True])
async def test_refusals_in_a_row_are_counted_by_what_they_say(path: Path, restarts: bool) -> None:
    """The same one again counts, where it was not asked together with it; another one, or a permit, begins anew."""
    held = opened(path)
    seen = []
    for at_ms, signature in enumerate("aabbbb"):
        await refuse(held, signature, at_ms=START_MS + min(at_ms, 4) * TOGETHER_MS)
        seen.append(facts_of(held, "ann").loops)
    if restarts:
        held = await again(held, path)
        seen.append(facts_of(held, "ann").loops)
    else:
        seen.append(seen[-1])
    await permit(held)
    seen.append(facts_of(held, "ann").loops)
    if restarts:
        held = await again(held, path)
    seen.append(facts_of(held, "ann").loops)
    counted = [("a", 1, 0), ("a", 2, 1), ("b", 1, 2), ("b", 2, 3), ("b", 3, 4), ("b", 3, 4), ("b", 3, 4)]
    told_at = [LoopFacts(name, repeats, START_MS + at * TOGETHER_MS) for name, repeats, at in counted]
    assert seen == [*told_at, LoopFacts(), LoopFacts()]
    await held.close()


async def test_budgets_of_an_opened_run_last_as_long_as_its_token(path: Path) -> None:
    """What a run and the runs below it spent is known until nobody can spend of it any more, and then it is forgotten."""
    clock = Clock()
    held = opened(path, clock=clock)
    await open_run(held, TOP)
    key = f"b:run-calls:calls:{TOP.id}"
    await held.record(Event("Decided", START_MS, {}, "call", TOP.id), [Charge(key, 1, 5)])
    clock.now_ms = START_MS + HOUR_MS - 1
    held = await again(held, path, clock)
    assert held.balances() == {key: 1}
    clock.now_ms = START_MS + HOUR_MS + 1_800_001
    held = await again(held, path, clock)
    for n in range(4):  # new runs push old ones out
        await permit(held, OpenedRun(f"run_{n:026d}", clock.now_ms + HOUR_MS), clock.now_ms)
        await held.record(
            Event("Decided", clock.now_ms, {}, "call", f"run_{n:026d}"),
            [Charge(f"b:run-calls:calls:run_{n:026d}", 1, 5)],
        )
    assert key not in held.balances()
    await held.close()


async def test_the_file_forgets_what_is_over(path: Path) -> None:
    """`journal.keep` or not: balances, buckets and paces that mean nothing any more are removed from the file."""
    clock = Clock()
    held = opened(path, clock=clock, keep=Keep())
    day_ms = 24 * HOUR_MS
    for n in range(1_200):
        run = f"run_{n:026d}"
        bucket = Rolling(START_MS // 1_000, 61)
        await held.append(Event("Filler", START_MS, {}))
        if n < 50:
            guards = [
                Charge(f"b:run:calls:{run}", 1, 5),
                Charge(f"b:daily:calls:{n}:2026-11-22", 1, 5),
                Charge(f"l:identical_calls:{run},x", 1, 5, bucket),
                Charge(f"b:ever:calls:{n}", 1, 5),
                Pace(f"r:burst:{run}", 1_000, 5),
            ]
            assert await held.record(Event("Decided", START_MS, {}, f"call-{n}", run), guards) is None
    clock.now_ms += 40 * day_ms
    held = await again(held, path, clock)
    for _ in range(1_200):  # enough for the writer to look
        await held.append(Event("Filler", clock.now_ms, {}))
    await held.close()
    with closing(sqlite3.connect(path)) as db:
        kept = [key for (key,) in db.execute("select key from balances")]
        paces = db.execute("select count(*) from paces").fetchone()[0]
    assert {key.partition(":")[2].partition(":")[0] for key in kept} == {"ever"}
    assert (len(kept), paces) == (50, 0)


def file_of_format_1(path: Path) -> None:
    """A journal as the version before wrote it, with the tables it had."""
    held = opened(path)

    async def use() -> None:
        await permit(held)
        await held.close()

    asyncio.run(use())
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"""
            {BACK_TO_3}
            drop table balances; drop table paces; drop table freezes; drop index runs_by_end;
            create table runs_1 (run text primary key, principal text not null, started_ms integer not null) without rowid;
            insert into runs_1 select run, principal, started_ms from runs;
            drop table runs;
            alter table runs_1 rename to runs;
            create index runs_by_start on runs (started_ms);
            create table balances (key text primary key, taken integer not null) without rowid;
            insert into balances values ('b:ever:calls:ann', 7);
            pragma user_version = 1;
        """)


async def test_a_file_of_the_version_before_is_taken_over(path: Path) -> None:
    """Its runs go on, its balances stay, its chain holds; and it is of this version from then on."""
    await asyncio.to_thread(file_of_format_1, path)
    held = opened(path)
    assert held.balances() == {"b:ever:calls:ann": 7}
    assert facts_of(held, "ann").run.calls == 1
    assert isinstance(held.journal.verify(), Verified)
    held = await again(held, path)
    assert held.balances() == {"b:ever:calls:ann": 7}
    await held.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma user_version").fetchone()[0] == VERSION
