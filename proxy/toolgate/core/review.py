"""What has come of asking a person: the grant that may be used, or why nothing goes on yet (DESIGN §10).

RULE: one way for calls, plans and runs alike. A grant is taken by a guard with its id, so it is used once on every
ledger; what was asked under other rules, or not answered in time, is asked anew at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from toolgate.core.approval import MOST_PENDING, Approval, Approvals, Asking
from toolgate.core.codes import CODES
from toolgate.core.model import Charge, Json, Recovery, Refusal

if TYPE_CHECKING:
    from toolgate.core.catalog import Operation

STAGE: Final = "approval"
USES: Final = "a:"
_ASK_AGAIN_S: Final = 5.0  # nobody answers faster, and an agent that waits has better to do than to ask


class Matter(NamedTuple):
    """What a person is asked about, in words."""

    what: str  # "`metrics.removeMetric` on Metric `x`", "this plan"
    repeat: str  # what is sent again once it is granted: "this same call"
    operation: Operation | None = None
    instead: str | None = None  # what may be done without anybody: the `@hint` of a statement


def reviewed(asking: Asking, known: Approval | None, matter: Matter) -> Approval | Refusal:
    """The grant to use, or why a person is waited for. `known`: the newest approval with the digest of the asking."""
    if known is None or known.state == "used":
        return _required(asking, matter)
    match known.state:
        case "declined" | "revoked":
            return _declined(asking, known, matter)
        case "pending" | "granted" if known.asking.relies_on != asking.relies_on:
            what = f"what `{known.id}` relies on has changed since it was asked for"
            return _again("approval.stale", what, asking, matter)
        case "granted":
            return known
        case "pending":
            return _pending(asking, known, matter)
        case _:
            return _again("approval.expired", _unused(known), asking, matter)


def use_of(approval_id: str) -> Charge:
    """The guard on the single use of a grant."""
    return Charge(USES + approval_id, 1, 1)


def opened(refusal: Refusal, approval: Approval) -> Refusal:
    """A refusal with `opens` as it is told, now that a person is asked."""
    hint = _by_id(refusal.recovery.hint, approval.asking.roles, approval.id)
    return refusal._replace(recovery=refusal.recovery._replace(hint=hint, approval=approval.id))


def unasked(refusal: Refusal, after: Refusal) -> Refusal:
    """Nobody is asked for what would not be sent then either: what stands in the way comes first."""
    hint = f"Nobody was asked yet: {after.detail}. {after.recovery.hint}"
    read = {**(refusal.read or {}), **(after.read or {})}  # what stands in the way was read too
    return refusal._replace(opens=None, recovery=after.recovery._replace(hint=hint), read=read)


def too_many(asking: Asking, approvals: Approvals | None, at_ms: int) -> Refusal | None:
    """SECURITY: whoever has to answer a flood of requests ends up agreeing to them."""
    if approvals is None or approvals.pending(asking.principal, at_ms) < MOST_PENDING:
        return None
    code = CODES["approval.too_many"]
    detail = f"{MOST_PENDING} requests of `{asking.principal}` wait for an answer already"
    recovery = Recovery(code.action, code.hint, retry_after_s=_ASK_AGAIN_S)
    return Refusal(code, detail, recovery, stage=STAGE, statements=asking.statements)


def known_json(approval: Approval) -> dict[str, Json]:
    """What a decision read of an approval: enough to decide it again."""
    told: dict[str, Json] = {
        "approval": approval.id,
        "state": approval.state,
        "roles": approval.asking.roles,
        "by": [by for _, by in approval.granted_by],
        "relies_on": approval.asking.relies_on,
    }
    return told if approval.comment is None else {**told, "comment": approval.comment}


def spoken_roles(roles: Sequence[str]) -> str:
    """Whom to ask, as a sentence says it."""
    return f"a person in {' and another in '.join(f'`{role}`' for role in roles)}" if roles else "an operator"


def _required(asking: Asking, matter: Matter) -> Refusal:
    detail = f"{matter.what} needs the approval of {spoken_roles(asking.roles)}"
    instead = f" {matter.instead}" if matter.instead else ""
    told = f"{detail}: {asking.why}" if asking.why else detail
    return _refusal("approval.required", told, _hint(asking.roles, matter) + instead, asking, matter)


def _again(name: str, what: str, asking: Asking, matter: Matter) -> Refusal:
    return _refusal(name, f"{what}, so it is asked for anew", _hint(asking.roles, matter), asking, matter)


def _pending(asking: Asking, known: Approval, matter: Matter) -> Refusal:
    detail = f"{matter.what} waits for the approval of {spoken_roles(asking.roles)}"
    hint = _by_id(_hint(asking.roles, matter), asking.roles, known.id)
    refusal = _refusal("approval.pending", detail, hint, asking, matter)
    recovery = refusal.recovery._replace(approval=known.id, retry_after_s=_ASK_AGAIN_S)
    return refusal._replace(recovery=recovery, opens=None)


def _declined(asking: Asking, known: Approval, matter: Matter) -> Refusal:
    said = f": {' '.join(known.comment.split())}" if known.comment else ""
    instead = f" {matter.instead}" if matter.instead else ""
    code = CODES["approval.declined"]
    what = (
        f"a person declined {matter.what}"
        if known.state == "declined"
        else f"a person took the yes to {matter.what} back"
    )
    refusal = _refusal(code.code, what + said, code.hint + instead, asking, matter)
    return refusal._replace(recovery=refusal.recovery._replace(approval=known.id), opens=None)


def _refusal(name: str, detail: str, hint: str, asking: Asking, matter: Matter) -> Refusal:
    code = CODES[name]
    return Refusal(
        code,
        detail,
        Recovery(code.action, hint),
        stage=STAGE,
        statements=asking.statements,
        operation=matter.operation,
        opens=asking,
    )


def _unused(known: Approval) -> str:
    if known.granted_by and len(known.granted_by) >= len(known.asking.roles):
        return f"`{known.id}` was granted and not used in time"
    return f"`{known.id}` was not answered in time"


def _hint(roles: Sequence[str], matter: Matter) -> str:
    return f"{_ask(roles)} this; repeat {matter.repeat} after it is granted."


def _by_id(hint: str, roles: Sequence[str], approval_id: str) -> str:
    """The same hint with the id to ask for, and where the agent sees how it stands."""
    told = f"{_ask(roles)} `{approval_id}` (GET /-/approvals/{approval_id} says how it stands)"
    return hint.replace(f"{_ask(roles)} this", told, 1)


def _ask(roles: Sequence[str]) -> str:
    return f"Ask {spoken_roles(roles)} to grant"
