"""kill -9 at fixed points of the writer: nothing acknowledged is lost, and the chain holds (FT01, INV1, INV5, INV7)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.scenes import command, killed_after, run
from tests.ledger.world import START_MS, decided, ledger_filter, opened, take, taken

from toolgate.core.journal import Verified
from toolgate.core.model import OPENED_RUN_KEY, Pace
from toolgate.ledger import QueuedLedger

POINTS = {
    "taken": "out of the queue, nothing written",
    "linked": "given its place in the chain, nothing written",
    "inserted": "inside the transaction, before its commit",
    "followed": "inside the transaction that brings the tables up to date, before its commit",
    "committed": "committed, nobody told yet",
    "printed": "committed, told and printed",
}


@pytest.mark.parametrize("point", POINTS)
def test_everything_acknowledged_is_there_after_kill_9(path: Path, point: str) -> None:
    """Every record that returned stands in the reopened journal with its charge, once, in an unbroken chain."""
    said = run(command("kill", path, point))
    assert said.code == -9, said.errors
    held = opened(path)
    asyncio.run(held.close())
    rows = [row.event for row in held.journal.events(ledger_filter(kind="Decided"))]
    calls = [event["call"] for event in rows]
    assert isinstance(held.journal.verify(held.journal.head()), Verified)
    assert len(calls) == len(set(calls))
    assert said.acknowledged <= set(calls)
    assert len(said.acknowledged) > 20
    assert taken(held, "calls") == {"calls": len(calls)}


def test_the_next_gate_goes_on_from_there(path: Path) -> None:
    """What was written by the killed gate and by the next one is one chain, and every call has an outcome."""
    run(command("kill", path, "committed"))

    async def next_gate() -> None:
        held = opened(path)
        await held.record(decided(99_999), [take(1, 1_000_000)])
        await held.close()

    asyncio.run(next_gate())
    held = opened(path)
    asyncio.run(held.close())
    events = [row.event for row in held.journal.events(ledger_filter())]
    decided_calls = {event["call"] for event in events if event["event"] == "Decided"}
    finished_calls = [event["call"] for event in events if event["event"] == "Finished"]
    assert [event["clean"] for event in events if event["event"] == "WriterStarted"] == [True, False, True]
    assert set(finished_calls) == decided_calls - {"call-99999"}
    assert len(finished_calls) == len(set(finished_calls))


def test_no_balance_is_wrong_after_kill_9_under_load(path: Path) -> None:
    """INV7: whenever it dies, balances are what the journal says, and what was acknowledged is charged; again and again."""
    acknowledged: set[str] = set()
    for lines in (40, 333, 1_100):
        said = killed_after(command("bill", path), lines)
        assert said.code == -9, said.errors
        acknowledged |= said.acknowledged
        held = opened(path)
        balances, arrival_us = held.balances(), held.facts((), START_MS).levels.arrival_us(Pace("r:burst:ann", 1, 1))
        asyncio.run(held.close())
        assert isinstance(held.journal.verify(held.journal.head()), Verified)
        events = written(held)
        assert {key: amount for key, amount in spent(events).items() if amount} == balances
        permits = [event["call"] for event in events if event["event"] == "Decided" and "code" not in event]
        assert acknowledged <= set(permits)
        assert len(permits) <= balances["b:calls:calls:ann"] == len(permits)
        assert arrival_us >= START_MS * 1_000
        assert Counter(permits) == Counter(event["call"] for event in events if event["event"] == "Finished")


def test_plans_steps_and_approvals_are_what_the_journal_says_after_kill_9(path: Path) -> None:
    """INV17: whenever it dies, each cursor and each approval is what a reader of the journal would say it is."""
    for lines in (9, 100, 300):
        said = killed_after(command("agree", path), lines)
        assert said.code == -9, said.errors
        held = opened(path)
        events = written(held)
        told = Story().read(events)
        plans = {run.id: held.facts((OPENED_RUN_KEY + run.id,), START_MS).plan for run in held.runs()}
        approvals = {each.id: str(each.state) for each in held.facts((), START_MS + 3).approvals.listed(START_MS + 3)}
        balances = {key: amount for key, amount in held.balances().items() if amount}
        asyncio.run(held.close())
        assert isinstance(held.journal.verify(held.journal.head()), Verified)
        assert said.acknowledged <= {event["call"] for event in events if event["event"] == "Decided"}
        assert {run: plan.locked.digest for run, plan in plans.items() if plan is not None} == told.plans
        assert {
            (plan.locked.id, step): each[:2] for plan in plans.values() if plan for step, each in plan.steps.items()
        } == (told.steps)
        assert approvals == told.approvals
        assert balances == {key: amount for key, amount in spent(events).items() if amount and not key.startswith("p:")}
        assert [state for state, _ in told.steps.values()].count("running") == 0


class Story:
    """What a reader of the journal would say of plans, steps and approvals, line by line."""

    def __init__(self) -> None:
        self.plans: dict[str, str] = {}
        self.steps: dict[tuple[str, str], tuple[str | None, int]] = {}
        self.approvals: dict[str, str] = {}
        self._open: dict[str, tuple[tuple[str, str], str | None, str, str]] = {}

    def read(self, events: list[Mapping[str, Any]]) -> Story:
        for event in events:
            self._follow(event)
        return self

    def _follow(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "PlanLocked":
                self.plans[event["run"]] = event["digest"]
            case "ApprovalRequested":
                self.approvals[event["approval"]] = "pending"
            case "ApprovalGranted":
                self.approvals[event["approval"]] = "granted"
            case "ApprovalDeclined":
                self.approvals[event["approval"]] = "declined"
            case "Decided":
                self._begin(event)
            case "Finished":
                self._end(event)
            case _:
                pass

    def _begin(self, event: Mapping[str, Any]) -> None:
        at = event["plan"], event["step"]
        state, attempts = self.steps.get(at, (None, 0))
        self._open[event["call"]] = at, state, event["approval"], self.approvals[event["approval"]]
        self.steps[at] = "running", attempts + 1
        self.approvals[event["approval"]] = "used"

    def _end(self, event: Mapping[str, Any]) -> None:
        at, before, approval, was = self._open.pop(event["call"])
        assert at == (event["plan"], event["step"])
        attempts = self.steps[at][1]
        if event["sent"] == "no":
            self.steps[at] = before, attempts - 1
            self.approvals[approval] = was
        elif event["outcome"] != "completed":
            self.steps[at] = "unknown", attempts
        else:
            self.steps[at] = "done" if event["status"] < 400 else "failed", attempts


def written(held: QueuedLedger) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    while page := held.journal.events(ledger_filter(after=len(rows))):
        rows += [row.event for row in page]
    return rows


def spent(events: list[Mapping[str, Any]]) -> Counter[str]:
    """Add up what the journal says was taken and given back."""
    said: Counter[str] = Counter()
    for event in events:
        for name, sign in (("charges", 1), ("extra", 1), ("refunds", -1)):
            for change in event.get(name, ()):
                said[change["key"]] += sign * change.get("amount", 0)
    return said
