"""A gateway over the shop and a real ledger in memory, with people who answer and an upstream that can be held back.

RULE: only the upstream and the clock are stand-ins; what is asked, granted, locked and counted goes the real way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from tests.gateway.conftest import MASK_KEY, with_mask
from tests.support.statements import statements

from toolgate.core.approval import Approval
from toolgate.core.bundle import Bundle
from toolgate.core.canonical import digest
from toolgate.core.course import Courses
from toolgate.core.ids import Ulids
from toolgate.core.model import Call, Event, Named, Outcome, Permit, Principal, Refusal, Refused, Reply, Said
from toolgate.core.plan import PlanFacts, PlanRules
from toolgate.core.policies import Policies
from toolgate.exchange import World
from toolgate.gateway import Gateway
from toolgate.ledger import QueuedLedger
from toolgate.ledger import open as open_ledger
from toolgate.plans import Plans
from toolgate.testing.fakes import FakeClock, FakeMeter, FakeUpstream

AGENT = Principal("agent")
ONCALL = Principal("olga", ("oncall",))
DBA = Principal("dora", ("dba",))
ALL = '@id("all") permit (principal, action, resource);\n'
ASK = '@id("ask") @approval("oncall") @reason("items are precious") forbid (principal, action == Action::"shop.putItem", resource);\n'
JSON = (("content-type", "application/json"),)


@dataclass
class Upstream(FakeUpstream):
    """Answers by operation; a call of an operation in `held` waits for its event first."""

    replies: dict[str, Reply | BaseException] = field(default_factory=dict)
    held: dict[str, asyncio.Event] = field(default_factory=dict)

    async def send(self, permit: Permit) -> Reply:
        self.sent.append(permit)
        key = permit.valid.operation.key
        if key in self.held:
            await self.held[key].wait()
        reply = self.replies.get(key, self.reply)
        if isinstance(reply, BaseException):
            raise reply
        return reply


@dataclass
class Scene:
    """A gateway, its ledger and its world."""

    bundle: Bundle
    ledger: QueuedLedger
    clock: FakeClock
    upstream: Upstream = field(default_factory=Upstream)
    meter: FakeMeter = field(default_factory=FakeMeter)
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        ids = Ulids(self.clock.now_ms, lambda size: next(self._entropy)[:size])
        self._entropy = (bytes([number % 251]) * 1024 for number in count(1))
        world = World(
            ledger=self.ledger,
            upstream=self.upstream,
            meter=self.meter,
            mask=with_mask,
            now_ms=self.clock.now_ms,
            monotonic_s=self.clock.monotonic_s,
            new_id=ids.at,
            call_timeout_s=10.0,
            tell=self.told.append,
        )
        self.gateway = Gateway(world, self.bundle)
        self.holds = world.holds
        self.approvals = self.gateway.approvals
        self.plans = Plans(self.ledger, self.approvals, self.gateway, self.clock.now_ms, ids.next)

    def call(self, operation: str, who: Principal = AGENT, said: Said | None = None, **arguments: Any) -> Call:
        return self.gateway.new_call(who, Named(f"shop.{operation}", arguments), said or Said())

    async def ask(self, operation: str, who: Principal = AGENT, said: Said | None = None, **arguments: Any) -> Outcome:
        return await self.gateway.handle(self.call(operation, who, said, **arguments))

    async def put(self, item: str = "a", **body: Any) -> Outcome:
        return await self.ask("putItem", id=item, body=body)

    async def asked(self, item: str = "a", **body: Any) -> Approval:
        """Put an item, for which a person is asked; what is asked."""
        refused = await self.put(item, **body)
        assert isinstance(refused, Refused), refused
        found = self.approvals.find(str(refused.refusal.recovery.approval))
        assert found is not None, refused
        return found

    async def granted(self, item: str = "a", **body: Any) -> Approval:
        """Ask for an item, and have it granted."""
        approval = await self.approvals.grant((await self.asked(item, **body)).id, ONCALL)
        assert isinstance(approval, Approval), approval
        return approval

    async def locked(self, *steps: Mapping[str, Any]) -> PlanFacts:
        """Lock a plan of these steps."""
        facts = await self.plans.propose(AGENT, None, plan(*steps))
        assert isinstance(facts, PlanFacts), facts
        return facts

    def reload(self, policies: str) -> None:
        """Serve by other statements from now on."""
        self.gateway.swap(ruled(self.bundle, policies, self.bundle.plans))

    async def events(self, *kinds: str) -> list[dict[str, Any]]:
        """What was written of these kinds, oldest first."""
        await self.ledger.record(Event("Mark", self.clock.at_ms, {}), ())  # what was queued before it is written then
        rows = self.ledger.journal.follow(0, lambda: False)
        return [dict(row.event) for row in rows if row.event["event"] in kinds]


def plan(*steps: Mapping[str, Any]) -> dict[str, Any]:
    return {"goal": "stock the shop", "steps": list(steps)}


def step(step_id: str, operation: str = "getItem", *after: str, **more: Any) -> dict[str, Any]:
    """A step; what is in `more` stands in it as it is."""
    told = {"stepId": step_id, "operationId": f"shop.{operation}", **more}
    return {**told, "dependsOn": list(after)} if after else told


def code_of(outcome: object) -> str:
    """What an outcome comes to: `completed`, or its code."""
    match outcome:
        case Refused(refusal):
            return refusal.code.code
        case Refusal():
            return outcome.code.code
        case _:
            return getattr(getattr(outcome, "code", None), "code", "completed")


def ruled(bundle: Bundle, policies: str, plans: PlanRules) -> Bundle:
    """The same tools under other rules, as a reload makes it: nothing that was compiled for the former is kept."""
    own = Policies(statements(policies), len(bundle.catalog.operations), bundle.shapes)
    revision = digest([policies, repr(plans)])
    return replace(bundle, policies=own, plans=plans, courses=Courses(bundle.courses.compiling), revision=revision)


@asynccontextmanager
async def scene(shop: Bundle, policies: str = ALL, **rules: Any) -> AsyncIterator[Scene]:
    """The shop under these statements and rules of plans."""
    clock = FakeClock()
    ledger = open_ledger("memory:", clock=clock.now_ms, key=lambda: MASK_KEY)
    try:
        yield Scene(ruled(shop, policies, PlanRules(**rules) if rules else shop.plans), ledger, clock)
    finally:
        await ledger.close()
