"""Any sequence of calls, ends, crashes and outages at two gates of one store: nobody spends what was not given."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.ledger.redis.stores import kept, made_ready, settled
from tests.ledger.world import START_MS, Clock, decided, finished, ledger_filter, opened, take
from tests.support.redis_server import RedisServer

from toolgate.core.guards import taken_json
from toolgate.core.model import Charge, Event, Place, Rolling, Settlement
from toolgate.ledger import FileJournal
from toolgate.ledger.redis.ledger import SharedLedger
from toolgate.ports import LedgerError

GIVEN = {"calls": 20, "usd": 100, "w": 30}
PLACE = Place("c:in-flight:ann", 6)


def window(amount: int) -> Charge:
    return Charge("w", amount, GIVEN["w"], Rolling(START_MS // 60_000, 61))


class Gates(RuleBasedStateMachine):
    """Two gates with journals of their own. What must hold is asked of the store and of the journals, not of the gates."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.url = made_ready(self.server.url)
        self.held: list[SharedLedger] = [self.open(0), self.open(1)]
        self.open_calls: list[tuple[int, int, int]] = []  # gate, call, usd held
        self.number = 0
        self.paused = False

    def open(self, gate: int) -> SharedLedger:
        """A gate begins with an event of its own, and by that with what was left open."""
        held: SharedLedger = opened(self.url, journal=self.journal(gate), clock=Clock())
        self.loop.run_until_complete(held.append(Event("BundleLoaded", START_MS, {})))
        return held

    def journal(self, gate: int) -> Path:
        return self.folder / f"{gate}.db"

    def teardown(self) -> None:
        if self.paused:
            self.server.go_on()
        for held in self.held:
            self.loop.run_until_complete(held.close())
        for gate in (0, 1):  # what was left open is judged by the journals, as after a stop
            held = self.open(gate)
            self.loop.run_until_complete(settled(held))
            self.loop.run_until_complete(held.close())
        assert self.said() == {"calls": 0, "usd": 0, "w": 0} | kept(self.url)
        self.loop.close()
        shutil.rmtree(self.folder)

    @rule(gate=st.sampled_from([0, 1]), amounts=st.lists(st.integers(0, 30), min_size=1, max_size=12))
    def call_at_once(self, gate: int, amounts: list[int]) -> None:
        held = self.held[gate]

        async def one(number: int, usd: int) -> None:
            guards = [take(1, GIVEN["calls"]), take(usd, GIVEN["usd"], "usd"), window(usd % 5), PLACE]
            with suppress(LedgerError):
                if await held.record(decided(number, charges=taken_json(guards)), guards) is None:
                    self.open_calls.append((gate, number, usd))

        async def all_of_them() -> None:
            await asyncio.gather(*(one(self.number + n, usd) for n, usd in enumerate(amounts)))

        self.loop.run_until_complete(all_of_them())
        self.number += len(amounts)

    @precondition(lambda self: self.open_calls)
    @rule(
        which=st.integers(0, 100), end=st.sampled_from(["unsent", "as held", "more", "less"]), more=st.integers(1, 60)
    )
    def finish(self, which: int, end: str, more: int) -> None:
        gate, number, usd = self.open_calls.pop(which % len(self.open_calls))
        refunds: tuple[Charge, ...] = ()
        extra: tuple[Charge, ...] = ()
        match end:
            case "unsent":
                refunds = (take(1, GIVEN["calls"]), take(usd, GIVEN["usd"], "usd"), window(usd % 5))
            case "less":
                refunds = (take(usd // 2, GIVEN["usd"], "usd"),)
            case "more":
                extra = (take(more, GIVEN["usd"], "usd"),)
        settlement = Settlement(refunds, extra, (PLACE,))
        with suppress(LedgerError):
            self.loop.run_until_complete(self.held[gate].finish(finished(number), settlement))

    @rule(turns=st.integers(0, 30))
    def let_some_happen(self, turns: int) -> None:
        async def turn() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    @rule(gate=st.sampled_from([0, 1]))
    def crash(self, gate: int) -> None:
        """Everything the gate had not said yet is never said; another begins with its journal."""
        held = self.held[gate]

        async def die() -> None:
            tasks = [task for task in (held._carrying, *held._background) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.loop.run_until_complete(die())
        held._local.abandon()
        self.open_calls = [each for each in self.open_calls if each[0] != gate]
        self.server.go_on()
        self.paused = False
        self.held[gate] = self.open(gate)
        self.loop.run_until_complete(self.until_ready())

    @precondition(lambda self: not self.paused)
    @rule()
    def pause(self) -> None:
        self.server.pause()
        self.paused = True

    @precondition(lambda self: self.paused)
    @rule()
    def go_on(self) -> None:
        self.server.go_on()
        self.paused = False
        self.loop.run_until_complete(self.until_ready())

    async def until_ready(self) -> None:
        async with asyncio.timeout(10):
            for held in self.held:
                while held.ready() is not None:  # noqa: ASYNC110 (the link looks again by itself)
                    await asyncio.sleep(0.01)

    @precondition(lambda self: not self.paused)
    @invariant()
    def nobody_spends_what_was_not_given(self) -> None:
        amounts = kept(self.url)
        assert all(0 <= amounts.get(key, 0) <= given for key, given in GIVEN.items())

    @precondition(lambda self: not self.paused)
    @rule()
    def settle_down(self) -> None:
        """Once everything is said, the store is at what the journals say."""
        for held in self.held:
            self.loop.run_until_complete(settled(held))
        for held in self.held:
            self.loop.run_until_complete(settled(held))
        assert self.said() == {"calls": 0, "usd": 0, "w": 0} | kept(self.url)

    def said(self) -> dict[str, int]:
        """The balances that follow from both journals."""
        total = {"calls": 0, "usd": 0, "w": 0}
        for gate in (0, 1):
            for row in FileJournal(self.journal(gate)).events(ledger_filter()):
                add(total, row.event)
        return total


def add(total: dict[str, int], event: Any) -> None:
    for each in (*event.get("charges", ()), *event.get("extra", ())):
        if "amount" in each:
            total[each["key"]] += each["amount"]
    for each in event.get("refunds", ()):
        total[each["key"]] -= each["amount"]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(appendonly=False) as own:
        yield own


def test_any_sequence_at_two_gates(server: RedisServer) -> None:
    """INV7: charged ≤ given at every moment, and the store is what the journals say whenever everything is said."""
    machine = type("Served", (Gates,), {"server": server})
    how = settings(
        max_examples=25, stateful_step_count=20, deadline=None, phases=[Phase.generate]
    )  # shrinking: minutes
    run_state_machine_as_test(machine, settings=how)
