"""What has come of a run (`Facts.run`): counted live, and the same after any restart."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.ledger.world import BACK_TO_3, START_MS, Clock, calling, kinds, opened, run_of, told_of

from toolgate.core.model import Event, RunFacts
from toolgate.ledger import Bounds, Keep, QueuedLedger
from toolgate.ledger.writer import PRUNE_EVENTS
from toolgate.ports import LedgerError

IDLE_S = 60.0


NOTHING = (0, 0, 0, frozenset(), {})


def decided(run: str, operation: str | None, number: int, at_ms: int, code: str | None = None) -> Event:
    said = {"number": number, "operation": operation, "decision": "permit" if code is None else "refuse"}
    return Event("Decided", at_ms, said | ({"code": code} if code else {}), f"{run}-{number}", run)


def finished(run: str, operation: str, number: int, at_ms: int, **said: object) -> Event:
    return Event("Finished", at_ms, {"operation": operation, **said}, f"{run}-{number}", run)


async def permit(held: QueuedLedger, principal: str, operation: str, at_ms: int = START_MS) -> tuple[str, int]:
    run, number = held.next_in_run(calling(principal, at_ms))
    assert await held.record(decided(run, operation, number, at_ms), ()) is None
    return run, number


async def refuse(held: QueuedLedger, principal: str, operation: str | None, at_ms: int = START_MS) -> None:
    run, number = held.next_in_run(calling(principal, at_ms))
    await held.append(decided(run, operation, number, at_ms, "arguments.invalid" if operation else "tool.unknown"))


async def complete(held: QueuedLedger, principal: str, operation: str, status: int, at_ms: int = START_MS) -> None:
    run, number = await permit(held, principal, operation, at_ms)
    await held.append(finished(run, operation, number, at_ms, outcome="completed", status=status))


async def test_a_run_that_has_not_begun_has_done_nothing(url: str) -> None:
    """Nobody is in a run before the first call; other keys are balances all the same."""
    held = opened(url)
    assert told_of(held, "ann") == NOTHING
    await held.close()


async def test_every_decision_counts_and_only_permits_by_operation(url: str) -> None:
    """`calls` are all, `refusals` those refused, known operation or not; `by_operation` counts permits."""
    held = opened(url)
    for _ in range(3):
        run, _ = await permit(held, "ann", "shop.get")
    await permit(held, "ann", "shop.put")
    await refuse(held, "ann", "shop.put")
    await refuse(held, "ann", None)
    await permit(held, "bob", "shop.get")
    expected = RunFacts(run, 6, 2, 0, frozenset(), {"shop.get": 3, "shop.put": 1}, START_MS)
    assert run_of(held, "ann") == expected
    assert run_of(held, "bob").calls == 1
    await held.close()


@pytest.mark.parametrize(
    ("said", "completed"),
    [
        ({"outcome": "completed", "status": 200}, True),
        ({"outcome": "completed", "status": 399}, True),
        ({"outcome": "completed", "status": 400}, False),
        ({"outcome": "completed", "status": 500}, False),
        ({"outcome": "completed", "status": None}, False),
        ({"outcome": "unknown", "status": None}, False),
        ({"outcome": "failed", "code": "upstream.timeout", "sent": "unknown"}, False),
        ({"outcome": "failed", "code": "upstream.off_schema", "status": 200}, False),
    ],
)
async def test_an_operation_is_completed_by_an_answer_below_400(
    path: Path, said: dict[str, object], completed: bool
) -> None:
    """What the upstream refused or broke completes nothing, now and after a restart."""
    expected = frozenset({"shop.get"}) if completed else frozenset()
    held = opened(path)
    run, number = await permit(held, "ann", "shop.get")
    assert run_of(held, "ann").completed == frozenset()
    await held.append(finished(run, "shop.get", number, START_MS, **said))
    assert run_of(held, "ann").completed == expected
    await held.close()
    again = opened(path)
    assert run_of(again, "ann").completed == expected
    await again.close()


async def test_a_run_that_is_over_is_another_one(url: str) -> None:
    """After the idle time the next call begins anew, before it is made; what ends late changes no other run."""
    held = opened(url, idle_s=IDLE_S)
    run, number = await permit(held, "ann", "shop.get")
    assert run_of(held, "ann", START_MS + 60_000) == RunFacts(run, 1, 0, 60, frozenset(), {"shop.get": 1}, START_MS)
    later = START_MS + 60_001
    assert told_of(held, "ann", later) == NOTHING
    await permit(held, "ann", "shop.put", later)
    await held.append(finished(run, "shop.get", number, later, outcome="completed", status=200))
    facts = run_of(held, "ann", later)
    assert facts.id != run
    assert facts[1:6] == (1, 0, 0, frozenset(), {"shop.put": 1})
    await held.close()


async def test_age_is_whole_seconds_and_never_below_zero(url: str) -> None:
    """A clock set back makes no run younger than new."""
    held = opened(url)
    await permit(held, "ann", "shop.get")
    ages = [run_of(held, "ann", START_MS + ms).age_s for ms in (-5_000, 0, 999, 1_000, 61_999)]
    assert ages == [0, 0, 0, 1, 61]
    await held.close()


async def test_what_is_not_written_is_not_counted(url: str) -> None:
    """A decision whose record failed was none: its call was refused, and the journal does not have it."""
    reached, going = threading.Event(), threading.Event()

    def at(point: str) -> None:
        if point == "taken":
            reached.set()
            assert going.wait(30)

    held = opened(url, at=at, bounds=Bounds(deadline_s=0.05))
    held.next_in_run(calling("bob", START_MS))  # keeps the writer busy
    assert await asyncio.to_thread(reached.wait, 30)
    with pytest.raises(LedgerError, match="did not take the record"):
        await permit(held, "ann", "shop.get")
    going.set()
    await held.close()
    assert told_of(held, "ann") == NOTHING
    assert "Decided" not in kinds(held)


async def test_what_is_answered_is_a_view_and_can_not_be_changed(url: str) -> None:
    """No copy is made on the path of a call, and nobody who reads it can write."""
    held = opened(url)
    await permit(held, "ann", "shop.get")
    live = held.facts(["run:ann"], START_MS).run.by_operation
    with pytest.raises(TypeError):
        live["shop.get"] = 0  # type: ignore[index]
    await permit(held, "ann", "shop.get")
    assert dict(live) == {"shop.get": 2}
    await held.close()


async def test_a_long_run_is_counted_once_across_restarts(path: Path) -> None:
    """Counts kept beside the rows and rows not yet counted add up, whatever came between."""
    for turn in range(1, 5):
        held = opened(path)
        for _ in range(PRUNE_EVENTS // 2 + 7):
            await complete(held, "ann", "shop.get", 200)
        await refuse(held, "ann", None)
        facts = run_of(held, "ann")
        each = PRUNE_EVENTS // 2 + 7
        assert facts[1:6] == (turn * (each + 1), turn, 0, frozenset({"shop.get"}), {"shop.get": turn * each})
        await held.close()


async def test_what_is_written_down_meanwhile_is_what_the_rows_say(path: Path) -> None:
    """The writer counts as it goes; whoever counts the rows anew comes to the same."""
    held = opened(path)
    for number in range(PRUNE_EVENTS):
        await complete(held, "ann", f"shop.get{number % 3}", 200 if number % 3 else 404)
        await refuse(held, "bob", "shop.get")
    await held.close()
    with closing(sqlite3.connect(path)) as db:
        counted = db.execute("select row from counted").fetchone()[0]
        meanwhile = db.execute("select * from run_counts order by run, operation").fetchall()
        db.executescript(
            "delete from run_counts; update counted set row = 0; delete from events where row > " + str(counted)
        )
    await opened(path).close()
    with closing(sqlite3.connect(path)) as db:
        anew = db.execute("select * from run_counts order by run, operation").fetchall()
    assert counted > PRUNE_EVENTS
    assert meanwhile == [row for row in anew if any(row[2:])]


async def test_pruned_calls_stay_counted(path: Path) -> None:
    """`journal.keep` removes rows, never what they add up to."""
    held = opened(path, keep=Keep(size=200_000))
    for _ in range(2_500):
        await refuse(held, "ann", "shop.get")
    await complete(held, "ann", "shop.get", 200)
    expected = run_of(held, "ann")
    await held.close()
    assert "JournalPruned" in kinds(held)
    again = opened(path)
    assert run_of(again, "ann") == expected
    assert again.next_in_run(calling("ann", START_MS))[1] == 2_502
    await again.close()


async def test_a_file_of_before_is_counted_from_its_rows(path: Path) -> None:
    """A journal without counts gets them at its next start."""
    held = opened(path)
    await complete(held, "ann", "shop.get", 200)
    expected = run_of(held, "ann")
    await held.close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"{BACK_TO_3} drop table run_counts; drop table counted; pragma user_version = 2;")
    again = opened(path)
    assert run_of(again, "ann") == expected
    await again.close()


async def test_a_line_that_is_no_json_counts_for_nothing(path: Path) -> None:
    """A damaged old line keeps no gate from starting; `verify` is what finds it."""
    held = opened(path)
    await complete(held, "ann", "shop.get", 200)
    for _ in range(1_100):  # the newest thousand are verified at each start
        await refuse(held, "ann", None)
    await held.close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "update events set line = 'x' where kind = 'Finished'; delete from run_counts; update counted set row = 0"
        )
    again = opened(path)
    assert run_of(again, "ann")[1:5] == (1_101, 1_100, 0, frozenset())
    await again.close()


PRINCIPALS = st.sampled_from(["ann", "bob", "corp/eve", "é"])
OPERATIONS = st.sampled_from(["shop.get", "shop.put", "shop.remove"])


class RunsMachine(RuleBasedStateMachine):
    """A ledger, and the same run's facts worked out from a plain list of what happened."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.held = self.open()
        self.last: dict[str, int] = {}
        self.history: dict[str, list[tuple[str, str | None, bool]]] = {}
        self.began: dict[str, int] = {}

    def open(self) -> QueuedLedger:
        return opened(self.folder / "ledger.db", clock=self.clock, idle_s=IDLE_S)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.held.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def happened(self, principal: str, *what: tuple[str, str | None, bool]) -> None:
        now_ms = self.clock.now_ms
        if now_ms - self.last.get(principal, -(10**9)) > IDLE_S * 1000:
            self.history[principal], self.began[principal] = [], now_ms
        self.last[principal] = now_ms
        self.history[principal] += what

    @rule(
        principal=PRINCIPALS,
        operation=OPERATIONS,
        status=st.sampled_from([200, 204, 302, 404, 500]),
        times=st.integers(1, 90),
    )
    def complete(self, principal: str, operation: str, status: int, times: int) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(
                *(complete(self.held, principal, operation, status, self.clock.now_ms) for _ in range(times))
            )

        self.loop.run_until_complete(all_of_them())
        self.happened(principal, *[("permit", operation, status < 400)] * times)

    @rule(principal=PRINCIPALS, operation=OPERATIONS | st.none())
    def refuse(self, principal: str, operation: str | None) -> None:
        self.loop.run_until_complete(refuse(self.held, principal, operation, self.clock.now_ms))
        self.happened(principal, ("refuse", operation, False))

    @rule(passed_ms=st.integers(0, 45_000))
    def let_time_pass(self, passed_ms: int) -> None:
        self.clock.now_ms += passed_ms

    @rule()
    def restart(self) -> None:
        """What is rebuilt from the file equals what was live."""
        before = self.known()
        self.loop.run_until_complete(self.held.close())
        self.held = self.open()
        assert self.known() == before

    def known(self) -> dict[str, RunFacts]:
        """What is known of each principal's run; one that has not begun is promised another name each time."""
        facts = {name: run_of(self.held, name, self.clock.now_ms) for name in self.history}
        return {name: each if each.started_ms is not None else each._replace(id="") for name, each in facts.items()}

    @invariant()
    def facts_are_what_happened(self) -> None:
        for principal, done in self.history.items():
            facts = run_of(self.held, principal, self.clock.now_ms)
            if self.clock.now_ms - self.last[principal] > IDLE_S * 1000:
                assert facts[1:6] == NOTHING
                continue
            permits = [operation for how, operation, _ in done if how == "permit"]
            assert facts[1:6] == (
                len(done),
                len(done) - len(permits),
                (self.clock.now_ms - self.began[principal]) // 1000,
                frozenset(operation for _, operation, completed in done if completed),
                {operation: permits.count(operation) for operation in permits},
            )


TestRuns = RunsMachine.TestCase
TestRuns.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
