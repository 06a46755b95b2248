"""Who may answer what is asked of a person: whoever has a role that is asked for, and nobody who asked (DESIGN §10).

RULE: an answer is a person's own. Neither the requester, nor whom it acts for, nor who acts for it, nor anybody whose
own token is a delegated one can give it; and where two roles are asked for, two people answer.
"""

from __future__ import annotations

from typing import Final

from toolgate.core.approval import Approval, Asking
from toolgate.core.codes import CODES
from toolgate.core.model import Principal, Recovery, Refusal
from toolgate.core.requests import has_answered, waited_for

_ACTOR: Final = "act.sub"  # the claim that says who acts for a principal (RFC 8693 §4.1)
_ANYBODY: Final = (
    "approver",
    "admin",
)  # who answers where no role is named: whoever may answer at all (`listeners.roles`)
_ADMIN: Final = "admin"  # SECURITY: a no needs less than a yes
_ANOTHER: Final = "Ask another person who has the named role to answer."
_ANOTHER_DOOR: Final = (
    "Answer as somebody else: with a token of an `approver`, or, where there are no tokens, at the admin socket."
)


def actor_of(principal: Principal) -> str | None:
    """Who acts for a principal, where its token is a delegated one."""
    return principal.claims.get(_ACTOR)


def answering_role(by: Principal, approval: Approval, role: str | None = None) -> str | Refusal:
    """In which role this principal may answer, or why it may not. `role`: the one it means, where it has several."""
    fault = _of_the_asking(by, approval.asking) or _answered_before(by, approval)
    if fault is not None:
        return fault
    open_roles = waited_for(approval) or _ANYBODY
    held = [each for each in open_roles if each in by.roles]
    if role is None and held:
        return held[0]
    if role is not None and role in held:
        return role
    return _lacking(open_roles, role)


def revoking(by: Principal, approval: Approval) -> Refusal | None:
    """Why this principal may not take a grant back: whoever may have given it may, and an admin."""
    fault = _of_the_asking(by, approval.asking)
    roles = (*(approval.asking.roles or _ANYBODY), _ADMIN)
    if fault is not None or not set(by.roles).isdisjoint(roles):
        return fault
    return _refusal(f"only the role {' or '.join(f'`{each}`' for each in dict.fromkeys(roles))} takes this back")


def repeats(by: Principal, approval: Approval, role: str | None) -> bool:
    """Whether a yes is the one that this principal said already, and that counts still.

    One in another role is none: that is asked of another person.
    """
    said = {held for held, each in approval.granted_by if each == by.id}
    if not said or approval.state not in {"pending", "granted", "used"}:
        return False
    return role in said if role is not None else set(by.roles).isdisjoint(waited_for(approval))


def _of_the_asking(by: Principal, asking: Asking) -> Refusal | None:
    """SECURITY: an agent that reaches this door with a token of its own, or of whom it acts for, must not answer itself."""
    if by.on_behalf_of is not None and not by.claims:  # no token: a listener that the agent reaches as well
        return _refusal(f"`{by.id}` may be the agent itself, so it cannot answer", _ANOTHER_DOOR)
    if by.on_behalf_of is not None or actor_of(by) is not None:
        return _refusal("an answer is a person's own, and this token was given to somebody who acts for another")
    if by.id in {asking.principal, asking.on_behalf_of}:
        return _refusal(
            f"`{by.id}` asked for this, or it was asked for in its name, so it cannot answer",
            _ANOTHER if asking.roles else _ANOTHER_DOOR,
        )
    if asking.actor is not None and asking.actor in {by.id, by.id.partition("/")[2]}:
        return _refusal(f"`{by.id}` acted for the one who asked for this, so it cannot answer")
    return None


def _answered_before(by: Principal, approval: Approval) -> Refusal | None:
    if not has_answered(approval, by.id):
        return None
    return _refusal(f"`{by.id}` has granted this already, and each role it needs is answered by another person")


def _lacking(roles: tuple[str, ...], role: str | None) -> Refusal:
    named = " or ".join(f"`{each}`" for each in roles)
    if role is not None and role not in roles:
        return _refusal(f"this is not asked of the role `{role}`, but of {named}")
    return _refusal(
        f"this is asked of the role {named if role is None else f'`{role}`'}, which the token does not give"
    )


def _refusal(detail: str, hint: str = _ANOTHER) -> Refusal:
    return Refusal(CODES["policy.not_allowed"], detail, Recovery("escalate", hint), stage="approval")
