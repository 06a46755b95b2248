"""Plans, steps and approvals as the ledger's tests see them: values, their events, and what a ledger says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.ledger.world import START_MS

from toolgate.core import locking
from toolgate.core import requests as asking
from toolgate.core.approval import Approval, Asking
from toolgate.core.model import OPENED_RUN_KEY, Charge, Event, Facts, OpenedRun, Settlement
from toolgate.core.plan import Attempted, LockedPlan, Plan, PlanFacts, Step

HOUR_MS = 3_600_000
RUN = OpenedRun("run_00000000000000000000000001", START_MS + HOUR_MS)
PLAN = "plan_00000000000000000000000001"
APPROVAL = "apr_00000000000000000000000001"
DIGEST = "sha256:asked"
STEPS = (
    Step("fetch", "FetchMetrics", "metrics.query", outputs={"series": "$response.body#/series"}, attempts=2),
    Step("publish", "Publish", "reports.publish", ("fetch",), {"body": {"n": 1, "x": 1.0, "big": 1 << 70}}),
)


def a_plan(*, digest: str = "sha256:plan", steps: Sequence[Step] = STEPS, **changed: Any) -> LockedPlan:
    locked = LockedPlan(
        id=PLAN,
        digest=digest,
        revision="rev-1",
        relies_on="sha256:relies",
        environment="prod",
        principal="ann",
        run=RUN.id,
        plan=Plan("weekly digest", tuple(steps)),
        locked_ms=START_MS,
        expires_ms=START_MS + HOUR_MS,
    )
    return replace(locked, **changed)


def lock(plan: LockedPlan, replaces: str | None = None) -> Event:
    return locking.locked(plan, replaces)


def an_asking(digest: str = DIGEST, run: OpenedRun = RUN, **said: Any) -> Asking:
    given: dict[str, Any] = {
        "kind": "call",
        "principal": "ann",
        "roles": ("lead",),
        "request": {"arguments": {"id": 7}},
    }
    return Asking(digest=digest, run=run.id, **(given | said))


def ask(approval: str = APPROVAL, asked: Asking | None = None, at_ms: int = START_MS) -> Event:
    return asking.requested(approval, asked or an_asking(), at_ms)


def an_approval(approval: str = APPROVAL, asked: Asking | None = None, at_ms: int = START_MS) -> Approval:
    return asking.asked(ask(approval, asked, at_ms))


def grant(approval: Approval, by: str = "eve", role: str = "lead", at_ms: int = START_MS + 1) -> Event:
    return asking.granted(approval, by, role, "looks right", at_ms)


def decline(approval: Approval, by: str = "eve", at_ms: int = START_MS + 1) -> Event:
    return asking.declined(approval, by, "not today", at_ms)


def revoke(approval: Approval, by: str = "eve", at_ms: int = START_MS + 1) -> Event:
    return asking.revoked(approval, by, "not this one", at_ms)


def attempt(call: str, step: str = "fetch", plan: str = PLAN, **said: Any) -> Event:
    """A permit of a step."""
    data = {"principal": "ann", "operation": "metrics.query", "decision": "permit", "plan": plan, "step": step}
    return Event("Decided", START_MS + 1, data | said, call, RUN.id)


def by_approval(call: str, approval: str = APPROVAL) -> Event:
    """A permit outside plans, by an approval."""
    return Event(
        "Decided", START_MS + 1, {"principal": "ann", "decision": "permit", "approval": approval}, call, RUN.id
    )


def end(call: str, step: str | None = "fetch", plan: str = PLAN, **said: Any) -> Event:
    """How it ended: well, unless told otherwise."""
    of_plan = {} if step is None else {"plan": plan, "step": step}
    return Event(
        "Finished",
        START_MS + 2,
        {"outcome": "completed", "status": 200, "sent": "yes", **of_plan, **said},
        call,
        RUN.id,
    )


UNSENT = {"outcome": "failed", "status": None, "sent": "no", "code": "upstream.unreachable"}
LOST = {"outcome": "failed", "status": None, "sent": "unknown", "code": "upstream.timeout"}
REFUSED = {"status": 503}


def guards_of(step: str = "fetch", number: int = 1, plan: str = PLAN) -> tuple[Charge]:
    """What the attempt of that number takes, as `core.cursor` has it."""
    return (Charge(f"p:{plan}:{step}#{number}", 1, 1),)


def given_back(step: str = "fetch", number: int = 1) -> Settlement:
    return Settlement(refunds=guards_of(step, number))


def facts_of(held: Any, run: OpenedRun = RUN, at_ms: int = START_MS) -> Facts:
    facts: Facts = held.facts((OPENED_RUN_KEY + run.id,), at_ms)
    return facts


def plan_of(held: Any, run: OpenedRun = RUN) -> PlanFacts:
    found = facts_of(held, run).plan
    assert found is not None
    return found


def steps_of(held: Any, run: OpenedRun = RUN) -> dict[str, Attempted]:
    """The cursor, as a value that does not change any more."""
    return {step: each._replace(outputs=dict(each.outputs)) for step, each in plan_of(held, run).steps.items()}


def state_of(held: Any, approval: str = APPROVAL, at_ms: int = START_MS + 1) -> str | None:
    found = held.facts((), at_ms).approvals.by_id(approval, at_ms)
    return None if found is None else str(found.state)
