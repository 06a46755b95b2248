"""Whatever happens in whatever order, plans, steps and approvals are what a model of a page says, now and after restarts."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.ledger.agreed import HOUR_MS, LOST, REFUSED, UNSENT, a_plan, an_asking, ask, attempt, end, guards_of, lock
from tests.ledger.world import START_MS, Clock, opened

from toolgate.core import requests as asking
from toolgate.core import runs as told
from toolgate.core.approval import GRANTED_MS, PENDING_MS
from toolgate.core.model import OPENED_RUN_KEY, Charge, OpenedRun, Settlement
from toolgate.core.plan import Attempted

RUNS = tuple(OpenedRun(f"run_{n:026d}", START_MS + 24 * HOUR_MS) for n in range(2))
STEPS = ("fetch", "publish")
MOST = 3  # attempts at a step
ENDS = {
    "done": ({"outputs": {"series": "d1"}}, "done"),
    "refused": (REFUSED, "failed"),
    "lost": (LOST, "unknown"),
    "unsent": (UNSENT, None),
}


@dataclass
class Known:
    """An approval as the model sees it."""

    until_ms: int
    state: str = "pending"
    used: bool = False

    def at(self, now_ms: int) -> str:
        if self.used:
            return "used"
        return "expired" if self.state in {"pending", "granted"} and now_ms >= self.until_ms else self.state


@dataclass
class Open:
    """A call that was permitted and has not ended."""

    run: OpenedRun
    step: str
    approval: str | None
    before: str | None


@dataclass
class Model:
    digests: dict[str, str] = field(default_factory=dict)  # by run
    steps: dict[tuple[str, str], tuple[str | None, int]] = field(default_factory=dict)
    approvals: dict[str, Known] = field(default_factory=dict)
    open: dict[str, Open] = field(default_factory=dict)


class AgreementsMachine(RuleBasedStateMachine):
    url: ClassVar[str] = "memory:"

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.folder = tempfile.TemporaryDirectory()
        self.model = Model()
        self.number = 0
        self.begun: dict[
            tuple[str, str], int
        ] = {}  # attempts before the last restart: their turns are asked for no more
        self.held = self.open()
        for run in RUNS:
            self.record(told.opened(run, "ann", {}, START_MS))

    def open(self) -> Any:
        path = f"sqlite://{Path(self.folder.name) / 'ledger.db'}"
        return opened(path if self.url == "sqlite:" else self.url, clock=self.clock)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.held.close())
        self.loop.close()
        self.folder.cleanup()

    def record(self, event: Any, guards: Any = ()) -> Any:
        return self.loop.run_until_complete(self.held.record(event, guards))

    def next(self, kind: str) -> str:
        self.number += 1
        return f"{kind}_{self.number:026d}"

    # -- what happens ----------------------------------------------------------------------------------------

    @rule(run=st.sampled_from(RUNS))
    def lock(self, run: OpenedRun) -> None:
        """A run's first plan, or a revision of it, which keeps what was done."""
        before = self.model.digests.get(run.id)
        digest = f"sha256:{self.next('d')}"
        self.record(lock(a_plan(id=plan_of(run), run=run.id, digest=digest, locked_ms=self.clock.now_ms), before))
        self.model.digests[run.id] = digest

    @rule(run=st.sampled_from(RUNS))
    def ask(self, run: OpenedRun) -> None:
        name = self.next("apr")
        self.record(ask(name, an_asking(f"sha256:{name}", run), self.clock.now_ms))
        self.model.approvals[name] = Known(self.clock.now_ms + PENDING_MS)

    @precondition(lambda self: self.model.approvals)
    @rule(data=st.data(), answers=st.lists(st.sampled_from(["grant", "decline"]), min_size=1, max_size=3))
    def answer(self, data: st.DataObject, answers: list[str]) -> None:
        """However many answer at once, the first one in the journal is heard, if anybody waits for it."""
        name = data.draw(st.sampled_from(sorted(self.model.approvals)))
        now_ms, known = self.clock.now_ms, self.model.approvals[name]
        approval = asking.asked(ask(name, an_asking(f"sha256:{name}", RUNS[0]), START_MS))
        events = [
            asking.granted(approval, f"eve-{n}", "lead", None, now_ms)
            if each == "grant"
            else asking.declined(approval, "eve", "no", now_ms)
            for n, each in enumerate(answers)
        ]

        async def all_at_once() -> None:
            await asyncio.gather(*(self.held.record(event, ()) for event in events))

        self.loop.run_until_complete(all_at_once())
        if known.state == "pending" and now_ms < known.until_ms:
            known.state = "granted" if answers[0] == "grant" else "declined"
            known.until_ms = now_ms + GRANTED_MS

    @precondition(lambda self: self.model.digests)
    @rule(data=st.data(), step=st.sampled_from(STEPS), count=st.integers(1, 4))
    def attempt(self, data: st.DataObject, step: str, count: int) -> None:
        """Of calls that come together one is let through, where an attempt is left and its approval is unused."""
        run = data.draw(st.sampled_from([run for run in RUNS if run.id in self.model.digests]))
        unused = sorted(name for name, known in self.model.approvals.items() if not known.used)
        name = data.draw(st.sampled_from([None, *unused]))
        charge = () if name is None else (Charge(f"a:{name}", 1, 1),)
        state, attempts = self.model.steps.get((plan_of(run), step), (None, 0))
        if self.begun.get((plan_of(run), step), 0) == MOST:
            return  # whoever decides after a restart knows of all that began before it, and wants none of their numbers
        # whoever decided before the one that runs began wants its number; nobody wants one more than there are
        number = attempts if state == "running" else min(attempts + 1, MOST)
        guards = (*guards_of(step, number, plan_of(run)), *charge)
        calls = [self.next("call") for _ in range(count)]
        said = {} if name is None else {"approval": name}

        async def all_at_once() -> list[Any]:
            events = [attempt(call, step, plan_of(run), **said)._replace(run=run.id) for call in calls]
            return await asyncio.gather(*(self.held.record(event, guards) for event in events))

        shorts = self.loop.run_until_complete(all_at_once())
        is_free = state != "running" and attempts < MOST
        assert [short is None for short in shorts] == [is_free, *[False] * (count - 1)]
        if is_free:
            self.model.open[calls[0]] = Open(run, step, name, state)
            self.model.steps[plan_of(run), step] = "running", attempts + 1
            if name is not None:
                self.model.approvals[name].used = True

    @precondition(lambda self: self.model.open)
    @rule(data=st.data(), how=st.sampled_from(sorted(ENDS)))
    def end(self, data: st.DataObject, how: str) -> None:
        call = data.draw(st.sampled_from(sorted(self.model.open)))
        opened_ = self.model.open.pop(call)
        plan, step, name = plan_of(opened_.run), opened_.step, opened_.approval
        said, state = ENDS[how]
        attempts = self.model.steps[plan, step][1]
        refunds = (
            (*guards_of(step, attempts, plan), *(() if name is None else (Charge(f"a:{name}", 1, 1),)))
            if state is None
            else ()
        )
        event = end(call, step, plan, **said)._replace(run=opened_.run.id)
        self.loop.run_until_complete(self.held.finish(event, Settlement(refunds)))
        self.model.steps[plan, step] = (state, attempts) if state else (opened_.before, attempts - 1)
        if state is None and name is not None:
            self.model.approvals[name].used = False

    @rule(passed_ms=st.sampled_from([1, 60_000, PENDING_MS - 1, PENDING_MS]))
    def let_time_pass(self, passed_ms: int) -> None:
        self.clock.now_ms += passed_ms

    # -- what must hold --------------------------------------------------------------------------------------

    @invariant()
    def facts_are_what_happened(self) -> None:
        now_ms = self.clock.now_ms
        for run in RUNS:
            facts = self.held.facts((OPENED_RUN_KEY + run.id,), now_ms)
            assert (facts.plan.locked.digest if facts.plan else None) == self.model.digests.get(run.id)
            steps = {} if facts.plan is None else facts.plan.steps
            known = {step: self.model.steps.get((plan_of(run), step), (None, 0)) for step in STEPS}
            assert {step: steps.get(step, Attempted())[:2] for step in STEPS} == known
        approvals = self.held.facts((), now_ms).approvals
        expected = {name: known.at(now_ms) for name, known in self.model.approvals.items()}
        assert {each.id: each.state for each in approvals.listed(now_ms)} == expected
        assert approvals.pending("ann", now_ms) == list(expected.values()).count("pending")

    @invariant()
    def nothing_is_sent_too_often(self) -> None:
        balances = self.held.balances()
        for (plan, step), (_, count) in self.model.steps.items():
            taken = [balances.get(f"p:{plan}:{step}#{number + 1}", 0) for number in range(MOST + 1)]
            begun = self.begun.get((plan, step), 0)
            assert taken[begun:] == ([1] * count + [0] * (MOST + 1 - count))[begun:]
        assert all(balances.get(f"a:{name}", 0) == known.used for name, known in self.model.approvals.items())


class SqliteMachine(AgreementsMachine):
    url = "sqlite:"

    @rule()
    def restart(self) -> None:
        """What was running may have been done; everything else is as it was."""
        self.loop.run_until_complete(self.held.close())
        self.held = self.open()
        self.begun = {at: count for at, (_, count) in self.model.steps.items()}
        for call in self.model.open.values():
            plan = plan_of(call.run)
            self.model.steps[plan, call.step] = "unknown", self.model.steps[plan, call.step][1]
        self.model.open.clear()


def plan_of(run: OpenedRun) -> str:
    return f"plan_{run.id[4:]}"


TestMemory = AgreementsMachine.TestCase
TestMemory.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
