"""What the journal says of plans: locked or refused; and the artifact that a locked plan is (DESIGN §9).

RULE: what a ledger knows of plans comes from these events alone. A document written here is complete: read again it is
the plan that was locked, whatever the rules say by then.

    PlanLocked   plan, digest, revision, relies_on, environment, principal, expires_ms, expansions, replaces, approval,
                 document                               `replaces`: the digest of what it was before; null for a new one
    PlanRefused  plan, digest, principal, code, violations          `plan`: the one it would have replaced, or null

    AgreedElsewhere   name, by       `name`: of a plan or an approval that another gate of the same store wrote, in its own
                                     journal, whole; `by`: that journal's writer

All stand under the run they are about.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from toolgate.core.events import violation_json
from toolgate.core.model import Event, Json, Refusal
from toolgate.core.plan import LockedPlan
from toolgate.core.planform import document_of, read

PLAN_LOCKED: Final = "PlanLocked"
PLAN_REFUSED: Final = "PlanRefused"
AGREED_ELSEWHERE: Final = "AgreedElsewhere"


def locked(plan: LockedPlan, replaces: str | None) -> Event:
    """A plan that calls are held against from now on."""
    data: dict[str, Json] = {
        "plan": plan.id,
        "digest": plan.digest,
        "revision": plan.revision,
        "relies_on": plan.relies_on,
        "environment": plan.environment,
        "principal": plan.principal,
        "expires_ms": plan.expires_ms,
        "expansions": plan.expansions,
        "replaces": replaces,
        "approval": plan.approval,
        "document": document_of(plan.plan),
    }
    return Event(PLAN_LOCKED, plan.locked_ms, data, run=plan.run)


def elsewhere(name: str, by: str, run: str, at_ms: int) -> Event:
    """What calls of this gate are held against from now on, and another gate has written."""
    return Event(AGREED_ELSEWHERE, at_ms, {"name": name, "by": by}, run=run)


class Proposal(NamedTuple):
    """Who proposed what, where."""

    principal: str
    run: str
    digest: str  # of the document as it came
    plan: str | None = None  # the one it was to replace


def rejected(proposal: Proposal, refusal: Refusal, at_ms: int) -> Event:
    """A plan that was proposed and not locked."""
    data: dict[str, Json] = {
        "plan": proposal.plan,
        "digest": proposal.digest,
        "principal": proposal.principal,
        "code": refusal.code.code,
        "violations": [violation_json(each) for each in refusal.violations],
    }
    return Event(PLAN_REFUSED, at_ms, data, run=proposal.run)


def read_locked(event: Event) -> LockedPlan:
    """Read a `PlanLocked`."""
    said = event.data
    return LockedPlan(
        id=said["plan"],
        digest=said["digest"],
        revision=said["revision"],
        relies_on=said["relies_on"],
        environment=said["environment"],
        principal=said["principal"],
        run=event.run or "",
        plan=read(said["document"]),
        locked_ms=event.at_ms,
        expires_ms=said["expires_ms"],
        expansions=said["expansions"],
        approval=said["approval"],
    )
