"""Promise 6 for plans and approvals: a `Decided`, with the plan it was held against, decides to itself again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.gateway.conftest import MASK_KEY
from tests.gateway.scene import AGENT, ALL, ASK, JSON, ONCALL, Scene, plan, scene, step

from toolgate.core.approval import MOST_PENDING, PENDING_MS, Approval, Asking
from toolgate.core.bundle import Bundle
from toolgate.core.engine import check, decide
from toolgate.core.locking import read_locked
from toolgate.core.model import Call, Event, Facts, Named, Permit, Refusal, Reply, RunFacts, Said
from toolgate.core.plan import Attempted, PlanFacts

PINNED = step("put", "putItem", "get", arguments={"id": "$steps.get.outputs.id", "body": {"n": 1}})
GET = step("get", outputs={"id": "$response.body#/id"}, attempts=2)
KINDS = ("PlanLocked", "Decided")


@dataclass(frozen=True)
class Remembered:
    """Approvals as a line tells of them."""

    told: Mapping[str, Any]

    def of(self, _digest: str, _at_ms: int) -> Approval | None:
        known = self.told.get("approval")
        return None if known is None else _approval(known, "call")

    def by_id(self, approval_id: str, _at_ms: int) -> Approval | None:
        known = self.told.get("approval", {})
        return _approval(known, "plan") if known.get("approval") == approval_id else None

    def pending(self, _principal: str, _at_ms: int) -> int:
        return int(self.told.get("waiting", 0))

    def listed(self, _at_ms: int) -> list[Approval]:
        return []


def _approval(known: Mapping[str, Any], kind: Any) -> Approval:
    roles = tuple(known["roles"])
    asking = Asking("", kind, "agent", "", roles, relies_on=known["relies_on"])
    by = tuple(zip(roles, known["by"], strict=False))
    return Approval(known["approval"], asking, 0, 0, known["state"], by, known.get("comment"))


def again(line: Mapping[str, Any], locked: Mapping[str, PlanFacts], bundle: Bundle) -> dict[str, Any]:
    """Decide once more from a line, the plans that were locked, and nothing else."""
    told, said = line.get("facts", {}), line.get("said", {})
    call = Call(line["call"], line["at_ms"], AGENT, Named(line["operation"], line["arguments"]), None, None, **said)
    known = told.get("plan")
    facts = Facts(run=RunFacts(line["run"]), plan=_plan(known, locked) if known else None, approvals=Remembered(told))
    checked = check(call, facts, bundle)
    decision = checked if isinstance(checked, Refusal) else decide(checked, facts, bundle)
    return _said(decision)


def _plan(told: Mapping[str, Any], locked: Mapping[str, PlanFacts]) -> PlanFacts:
    steps = {
        name: Attempted(state, told["attempts"].get(name, 1), told["outputs"].get(name, {}))
        for name, state in told["steps"].items()
    }
    return locked[told["digest"]]._replace(steps=steps)


def _said(decision: Permit | Refusal) -> dict[str, Any]:
    told: dict[str, Any] = {"statements": list(decision.statements)}
    if isinstance(decision, Permit):
        step_of = decision.step
        return told | {"decision": "permit", "step": step_of.step if step_of else None, "approval": decision.approval}
    hint = decision.recovery.hint
    return told | {"decision": "refuse", "code": decision.code.code, "detail": decision.detail, "hint": hint}


async def assert_again(desk: Scene) -> int:
    """Decide everything that was written once more; how much that was."""
    lines = await desk.events(*KINDS)
    locked = {}
    for each in lines:
        if each["event"] == "PlanLocked":
            plan_of = read_locked(Event("PlanLocked", each["at_ms"], each, run=each["run"]))
            locked[plan_of.digest] = PlanFacts(plan_of, {}, MASK_KEY)
    decided = [each for each in lines if each["event"] == "Decided"]
    for each in decided:
        told = again(each, locked, desk.bundle)
        assert {name: each.get(name) for name in told} == told
    return len(decided)


async def test_what_was_decided_of_a_plan_is_decided_again(shop: Bundle) -> None:
    """Out of order, changed, unplanned, a wrong name, done, tried in vain, permitted."""
    async with scene(shop) as desk:
        await desk.locked(GET, PINNED)
        await desk.put("a", n=1)
        desk.upstream.reply = Reply(500, JSON, b"{}")
        await desk.ask("getItem", id="a")
        desk.upstream.reply = Reply(200, JSON, b'{"id":"a"}')
        await desk.ask("getItem", said=Said(step="put"), id="a")
        await desk.ask("getItem", id="a")
        await desk.ask("getItem", id="a")
        await desk.ask("strictItem", id="a")
        await desk.put("b", n=1)
        await desk.put("a", n=2)
        await desk.put("a", n=1)
        desk.clock.advance(3600)
        await desk.put("a", n=1)

        assert 10 == await assert_again(desk)


async def test_what_was_decided_of_an_approval_is_decided_again(shop: Bundle) -> None:
    """Required, pending, granted, used, declined, expired, and one too many."""
    async with scene(shop, ALL + ASK) as desk:
        await desk.asked("a")
        await desk.put("a")
        await desk.granted("b")
        await desk.put("b")
        await desk.put("b")
        declined = await desk.asked("c")
        await desk.approvals.decline(declined.id, ONCALL, "no")
        await desk.put("c")
        desk.clock.at_ms += PENDING_MS
        await desk.put("a")
        for number in range(MOST_PENDING):
            await desk.put(f"i{number}")

        assert 8 + MOST_PENDING == await assert_again(desk)


async def test_what_was_decided_by_the_approval_of_a_plan_is_decided_again(shop: Bundle) -> None:
    """The line names the approval of the plan as a whole, and for which roles it speaks."""
    async with scene(shop, ALL + ASK, approve=("oncall",)) as desk:
        proposed = plan(step("put", "putItem", arguments={"id": "a", "body": {"n": 1}}))
        refused = await desk.plans.propose(AGENT, None, proposed)
        await desk.approvals.grant(str(refused.recovery.approval), ONCALL)
        await desk.plans.propose(AGENT, None, proposed)
        await desk.put("a", n=1)

        assert 1 == await assert_again(desk)


async def test_what_was_decided_after_a_hold_is_decided_again(shop: Bundle) -> None:
    """The line tells what it was decided by when it went on, not when it came."""
    async with scene(shop) as desk:
        desk.upstream.reply = Reply(200, JSON, b'{"id":"a"}')
        desk.upstream.held["shop.getItem"] = asyncio.Event()
        await desk.locked(GET, PINNED)
        first = asyncio.ensure_future(desk.ask("getItem", id="a"))
        second = asyncio.ensure_future(desk.put("a", n=1))
        async with asyncio.timeout(5):
            while not desk.holds.count:  # noqa: ASYNC110 (turns of the loop, no time)
                await asyncio.sleep(0)
        desk.upstream.held["shop.getItem"].set()
        await asyncio.gather(first, second)

        assert 2 == await assert_again(desk)
