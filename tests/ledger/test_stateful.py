"""Any sequence of records, appends, refusals and restarts: the journal holds exactly what was acknowledged."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.ledger.world import Clock, decided, finished, ledger_filter, opened, take

from toolgate.core.journal import Verified
from toolgate.ledger import QueuedLedger

GIVEN = 20


class LedgerMachine(RuleBasedStateMachine):
    """A ledger beside a list and a number that say what must be in it."""

    url = "memory:"

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.held = self.open()
        self.calls: list[str] = []
        self.taken = 0
        self.number = 0

    def open(self) -> QueuedLedger:
        return opened(self.folder / "ledger.db" if self.url == "sqlite:" else self.url, clock=self.clock)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.held.close())
        assert self.recorded() == self.calls
        self.loop.close()
        shutil.rmtree(self.folder)

    def recorded(self) -> list[str]:
        rows = self.held.journal.events(ledger_filter())
        return [row.event["call"] for row in rows if "call" in row.event]

    @rule(amounts=st.lists(st.integers(-3, 9), max_size=70))
    def record_together(self, amounts: list[int]) -> None:
        """Concurrent records: each is admitted if and only if it fits after those before it."""

        async def all_of_them() -> None:
            numbers = range(self.number, self.number + len(amounts))
            answers = await asyncio.gather(
                *(self.held.record(decided(n), [take(a, GIVEN)]) for n, a in zip(numbers, amounts, strict=True))
            )
            for n, amount, short in zip(numbers, amounts, answers, strict=True):
                fits = amount <= 0 or self.taken + amount <= GIVEN
                assert (short is None) == fits
                if fits:
                    self.taken += amount
                    self.calls.append(f"call-{n}")
            self.number += len(amounts)

        self.loop.run_until_complete(all_of_them())

    @rule()
    def append(self) -> None:
        self.loop.run_until_complete(self.held.append(finished(self.number)))
        self.calls.append(f"call-{self.number}")
        self.number += 1

    @rule(passed_ms=st.integers(-5_000, 60_000))
    def let_time_pass(self, passed_ms: int) -> None:
        self.clock.now_ms += passed_ms

    @invariant()
    def balance_is_what_was_admitted(self) -> None:
        assert self.held.facts(["calls"], 0).balances == {"calls": self.taken}


class SqliteMachine(LedgerMachine):
    url = "sqlite:"

    @rule()
    def restart(self) -> None:
        """A clean restart loses nothing and forgets nothing."""
        self.loop.run_until_complete(self.held.close())
        self.held = self.open()
        assert self.recorded() == self.calls

    @rule()
    def verify(self) -> None:
        """At any moment the chain holds, with its own head in it."""
        journal = self.held.journal
        assert isinstance(journal.verify(journal.head()), Verified)


TestMemory = LedgerMachine.TestCase
TestMemory.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
