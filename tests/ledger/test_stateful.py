"""Any sequence of calls, failures, refusals, crashes, refunds, reloads and restarts: what was sent is what is charged.

The bill is charged and overrun together; charged is never more than given and never below zero; a refused call costs nothing but
its denied attempt; and after any restart the balances are what the journal says.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.ledger.world import START_MS, Clock, calling, ledger_filter, opened

from toolgate.core.journal import Verified
from toolgate.core.model import Charge, Event, Json, Pace, Place, Rolling, Settlement, Short
from toolgate.ledger import QueuedLedger

CALLS, USD, ROLLING, DENIED = "b:calls:calls:ann", "b:spend:usd:ann", "b:hour:usd:ann", "l:denied:ann"
PACE, PLACES = "r:burst:ann", "c:flight:ann"
BUCKET_MS = 60_000
BUCKETS = 61
MOST_PLACES = 6
ATTEMPTS = 9


@dataclass(frozen=True)
class Open:
    """A call that was recorded and has not ended."""

    id: str
    run: str
    usd: int
    bucket: int


class LedgerMachine(RuleBasedStateMachine):
    """A ledger beside plain numbers that say what must be in it."""

    url = "memory:"

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock(START_MS // BUCKET_MS * BUCKET_MS)
        self.held = self.opened()
        self.given = 20
        self.usd_given = 100
        self.open: list[Open] = []
        self.number = 0
        self.recorded = 0
        self.calls = 0
        self.bill = 0  # what the upstream asked for, in all
        self.overrun = 0
        self.settled_usd = 0  # of what has ended
        self.buckets: Counter[int] = Counter()
        self.denied = 0
        self.arrival_us = 0

    def opened(self) -> QueuedLedger:
        return opened(self.folder / "ledger.db" if self.url == "sqlite:" else self.url, clock=self.clock)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.held.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    # -- what the gateway does -------------------------------------------------------------------------------

    @property
    def usd_taken(self) -> int:
        return self.settled_usd + sum(call.usd for call in self.open)

    def rolling_taken(self) -> int:
        oldest = self.clock.now_ms // BUCKET_MS - BUCKETS
        return sum(amount for bucket, amount in self.buckets.items() if bucket > oldest)

    def guards(self, usd: int) -> list[Charge | Pace | Place]:
        rolling = Rolling(self.clock.now_ms // BUCKET_MS, BUCKETS)
        return [
            Pace(PACE, 1_000_000, 40),
            Place(PLACES, MOST_PLACES),
            Charge(CALLS, 1, self.given),
            Charge(USD, usd, self.usd_given),
            Charge(ROLLING, usd, 60, rolling),
        ]

    def expected(self, usd: int) -> str | None:
        """The key of the first guard that must not hold, or None."""
        now_us = self.clock.now_ms * 1_000
        if max(self.arrival_us, now_us) + 1_000_000 - now_us > 40 * 1_000_000:
            return PACE
        if len(self.open) >= MOST_PLACES:
            return PLACES
        if self.calls + 1 > self.given:
            return CALLS
        if usd and self.usd_taken + usd > self.usd_given:
            return USD
        return ROLLING if usd and self.rolling_taken() + usd > 60 else None

    def event(self, kind: str, call: str, run: str, **data: Json) -> Event:
        return Event(kind, self.clock.now_ms, {"principal": "ann", **data}, call, run)

    async def call(self, usd: int) -> None:
        run, number = self.held.next_in_run(calling("ann", self.clock.now_ms))
        self.number += 1
        name, guards, expected = f"call-{self.number}", self.guards(usd), self.expected(usd)
        said = [{"key": each.key, "amount": each.amount} for each in guards if isinstance(each, Charge)]
        recording = self.held.record(self.event("Decided", name, run, number=number, charges=said), guards)
        short = await recording
        assert (short.guard.key if isinstance(short, Short) else None) == expected
        if expected is None:
            self.recorded += 1
            self.calls += 1
            bucket = self.clock.now_ms // BUCKET_MS
            self.buckets[bucket] += usd
            self.arrival_us = max(self.arrival_us, self.clock.now_ms * 1_000) + 1_000_000
            self.open.append(Open(name, run, usd, bucket))

    @rule(costs=st.lists(st.integers(0, 25), max_size=12))
    def call_one_after_the_other(self, costs: Sequence[int]) -> None:
        """Each is admitted if and only if it fits after those before it, and the first guard that fails is named."""

        async def all_of_them() -> None:
            for usd in costs:
                await self.call(usd)

        self.loop.run_until_complete(all_of_them())

    @rule(count=st.integers(1, 40))
    def call_at_once(self, count: int) -> None:
        """However many come together, no more are admitted than fit."""

        async def all_of_them() -> list[Short | None]:
            return await asyncio.gather(
                *(
                    self.held.record(self.event("Decided", f"free-{n}", "run_1", charges=[]), [Place("c:x:ann", 7)])
                    for n in range(count)
                )
            )

        answers = self.loop.run_until_complete(all_of_them())
        assert answers.count(None) == min(count, 7)
        back = Settlement(places=(Place("c:x:ann", 7),))
        for _ in range(min(count, 7)):
            self.loop.run_until_complete(self.held.finish(self.event("Finished", "free", "run_1"), back))
        self.recorded += min(count, 7)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), cost=st.integers(0, 60))
    def complete(self, data: st.DataObject, cost: int) -> None:
        """The reply says what it cost: less is given back, more is taken of what is left, the rest is overrun."""
        call = data.draw(st.sampled_from(self.open))
        self.open.remove(call)
        more = cost - call.usd
        keys = (Charge(USD, abs(more), self.usd_given), Charge(ROLLING, abs(more), 60, Rolling(call.bucket, BUCKETS)))
        back = Settlement(
            refunds=keys if more < 0 else (), extra=keys if more > 0 else (), places=(Place(PLACES, MOST_PLACES),)
        )
        left = max(self.usd_given - self.usd_taken - call.usd, 0)
        taken = call.usd + (more if more <= 0 else min(more, left))
        in_window = sum(n for bucket, n in self.buckets.items() if call.bucket - BUCKETS < bucket)
        self.buckets[call.bucket] += more if more <= 0 else min(more, max(60 - in_window, 0))
        self.bill += cost
        self.overrun += cost - taken
        self.settled_usd += taken
        self.loop.run_until_complete(
            self.held.finish(self.event("Finished", call.id, call.run, outcome="completed", status=200), back)
        )

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def fail_unsent(self, data: st.DataObject) -> None:
        """What was surely not sent costs nothing."""
        call = data.draw(st.sampled_from(self.open))
        self.open.remove(call)
        refunds = tuple(each for each in self.guards(call.usd) if isinstance(each, Charge))[:2]
        rolling = Charge(ROLLING, call.usd, 60, Rolling(call.bucket, BUCKETS))
        back = Settlement((*refunds, rolling), places=(Place(PLACES, MOST_PLACES),))
        self.calls -= 1
        self.buckets[call.bucket] -= call.usd
        failed = self.event("Finished", call.id, call.run, outcome="failed", sent="no")
        self.loop.run_until_complete(self.held.finish(failed, back))

    @rule()
    def refuse(self) -> None:
        """A refusal takes a denied attempt, up to what is given, and nothing else."""
        self.number += 1
        event = self.event("Decided", f"call-{self.number}", "run_1", code="policy.denied")
        self.loop.run_until_complete(self.held.append(event, [Charge(DENIED, 1, ATTEMPTS)]))
        self.denied = min(self.denied + 1, ATTEMPTS)
        self.recorded += 1

    @rule(given=st.integers(0, 40), usd_given=st.integers(0, 200))
    def reload(self, given: int, usd_given: int) -> None:
        """An operator gives more or less: what was taken stays taken."""
        self.given, self.usd_given = given, max(usd_given, self.usd_taken)

    @rule(passed_ms=st.integers(0, 20 * BUCKET_MS))
    def let_time_pass(self, passed_ms: int) -> None:
        self.clock.now_ms += passed_ms

    # -- what must hold --------------------------------------------------------------------------------------

    @invariant()
    def balances_are_what_happened(self) -> None:
        balances = self.held.balances()
        levels = self.held.facts((), self.clock.now_ms).levels
        rolling = Charge(ROLLING, 0, 60, Rolling(self.clock.now_ms // BUCKET_MS, BUCKETS))
        assert balances.get(CALLS, 0) == self.calls
        assert balances.get(USD, 0) == self.usd_taken
        assert balances.get(DENIED, 0) == self.denied
        assert levels.taken(rolling) == self.rolling_taken()
        assert levels.held(Place(PLACES, MOST_PLACES)) == len(self.open)
        assert levels.arrival_us(Pace(PACE, 1_000_000, 40)) in {self.arrival_us, 0}
        assert all(amount >= 0 for amount in balances.values())

    @invariant()
    def the_bill_is_charged_and_overrun(self) -> None:
        assert self.bill == self.settled_usd + self.overrun
        assert self.usd_taken <= self.usd_given


class SqliteMachine(LedgerMachine):
    url = "sqlite:"

    @rule()
    def restart(self) -> None:
        """A restart forgets nothing but the places of calls that are gone; what a crash left open stays charged."""
        self.loop.run_until_complete(self.held.close())
        self.held = self.opened()
        self.settled_usd += sum(call.usd for call in self.open)
        self.bill += sum(call.usd for call in self.open)
        self.open.clear()
        if self.arrival_us <= self.clock.now_ms * 1_000:
            self.arrival_us = 0

    @invariant()
    def the_file_says_the_same(self) -> None:
        """The journal's lines add up to the balances, and the chain holds."""
        journal = self.held.journal
        self.loop.run_until_complete(self.settle_down())
        assert isinstance(journal.verify(journal.head()), Verified)
        rows = journal.events(ledger_filter())
        assert sum(row.event["event"] == "Decided" for row in rows) == self.recorded
        said: Counter[str] = Counter()
        for row in rows:
            for name, sign in (("charges", 1), ("extra", 1), ("refunds", -1)):
                for change in row.event.get(name, ()):
                    said[change["key"]] += sign * change["amount"]
        balances = self.held.balances()
        for key in (CALLS, USD, DENIED):
            assert said[key] == balances.get(key, 0)
        assert sum(each["amount"] for row in rows for each in row.event.get("overrun", ()) if each["key"] == USD) == (
            self.overrun
        )

    async def settle_down(self) -> None:
        """Until what was queued is written."""
        while self.held.depth:  # noqa: ASYNC110 (a condition of another thread)
            await asyncio.sleep(0)


TestMemory = LedgerMachine.TestCase
TestMemory.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
