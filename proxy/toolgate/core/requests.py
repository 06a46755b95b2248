"""What the journal says of approvals: requested, granted, declined, revoked; and what is read out of that again.

RULE: what a ledger knows of approvals comes from these events alone. The first answer that is written counts; what comes
after it, or after its time, changes nothing, but that a grant nobody has used can be taken back.

    ApprovalRequested  approval, digest, kind, principal, on_behalf_of, actor, roles, operation, statements, why, request,
                       plan, step, relies_on, expires_ms
    ApprovalGranted    approval, by, role, comment, expires_ms, complete     `complete`: no other role is waited for
    ApprovalDeclined   approval, by, comment
    ApprovalRevoked    approval, by, comment     recorded with the single use of the grant, so that no call has it as well

All of them stand under the run they are about.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from toolgate.core.approval import GRANTED_MS, PENDING_MS, Approval, Asking
from toolgate.core.model import Event

if TYPE_CHECKING:
    from toolgate.core.model import Json

APPROVAL_REQUESTED: Final = "ApprovalRequested"
APPROVAL_GRANTED: Final = "ApprovalGranted"
APPROVAL_DECLINED: Final = "ApprovalDeclined"
APPROVAL_REVOKED: Final = "ApprovalRevoked"
ANSWERS: Final = frozenset({APPROVAL_GRANTED, APPROVAL_DECLINED, APPROVAL_REVOKED})


def requested(approval_id: str, asking: Asking, at_ms: int) -> Event:
    """Somebody is asked."""
    data: dict[str, Json] = {
        "approval": approval_id,
        "digest": asking.digest,
        "kind": asking.kind,
        "principal": asking.principal,
        "on_behalf_of": asking.on_behalf_of,
        "actor": asking.actor,
        "roles": list(asking.roles),
        "operation": asking.operation,
        "statements": list(asking.statements),
        "why": asking.why,
        "request": dict(asking.request),
        "plan": asking.plan,
        "step": asking.step,
        "relies_on": asking.relies_on,
        "expires_ms": at_ms + PENDING_MS,
    }
    return Event(APPROVAL_REQUESTED, at_ms, data, run=asking.run)


def granted(approval: Approval, by: str, role: str, comment: str | None, at_ms: int) -> Event:
    """Somebody said yes; it may be used once everybody did."""
    complete = not waited_for(approval, besides=role)
    data: dict[str, Json] = {
        "approval": approval.id,
        "by": by,
        "role": role,
        "comment": comment,
        "expires_ms": at_ms + GRANTED_MS if complete else approval.expires_ms,
        "complete": complete,
    }
    return Event(APPROVAL_GRANTED, at_ms, data, run=approval.asking.run)


def declined(approval: Approval, by: str, comment: str | None, at_ms: int) -> Event:
    """Somebody said no, and nobody else is asked any more."""
    data: dict[str, Json] = {"approval": approval.id, "by": by, "comment": comment}
    return Event(APPROVAL_DECLINED, at_ms, data, run=approval.asking.run)


def revoked(approval: Approval, by: str, comment: str | None, at_ms: int) -> Event:
    """Somebody took a yes back."""
    data: dict[str, Json] = {"approval": approval.id, "by": by, "comment": comment}
    return Event(APPROVAL_REVOKED, at_ms, data, run=approval.asking.run)


def waited_for(approval: Approval, besides: str | None = None) -> tuple[str, ...]:
    """The roles that have not said yes."""
    said = {role for role, _ in approval.granted_by}
    return tuple(role for role in approval.asking.roles if role not in said and role != besides)


def asked(event: Event) -> Approval:
    """Read an `ApprovalRequested`."""
    said = event.data
    asking = Asking(
        digest=said["digest"],
        kind=said["kind"],
        principal=said["principal"],
        run=event.run or "",
        roles=tuple(said["roles"]),
        operation=said["operation"],
        statements=tuple(said["statements"]),
        why=said["why"],
        request=said["request"],
        plan=said["plan"],
        step=said["step"],
        on_behalf_of=said["on_behalf_of"],
        actor=said["actor"],
        relies_on=said["relies_on"],
    )
    return Approval(said["approval"], asking, event.at_ms, said["expires_ms"])


def answered(approval: Approval, event: Event) -> Approval:
    """What an answer makes of it. INVARIANT: only of one that still waits for it, and twice by nobody."""
    said, by = event.data, str(event.data["by"])
    state = approval_at(approval, event.at_ms).state
    if event.kind == APPROVAL_REVOKED:
        return replace(approval, state="revoked", comment=said["comment"]) if state == "granted" else approval
    if state != "pending":
        return approval
    if event.kind == APPROVAL_DECLINED:
        return replace(approval, state="declined", comment=said["comment"])
    role = str(said["role"])
    if has_answered(approval, by) or (approval.asking.roles and role not in waited_for(approval)):
        return approval
    told = replace(approval, granted_by=(*approval.granted_by, (role, by)), comment=said["comment"])
    if waited_for(told):
        return told
    return replace(told, state="granted", expires_ms=said["expires_ms"])


def has_answered(approval: Approval, by: str) -> bool:
    """SECURITY: two roles are two people; whoever has both is one."""
    return any(each == by for _, each in approval.granted_by)


def approval_at(approval: Approval, at_ms: int) -> Approval:
    """The same as it is at a time: what was not answered, or not used, by then is expired."""
    if approval.state in {"pending", "granted"} and at_ms >= approval.expires_ms:
        return replace(approval, state="expired")
    return approval
