"""What operators may do on the admin listener, by their roles.

RULE: each path of the admin API names the role it needs; whoever holds a wider one holds it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from toolgate.core.codes import CODES
from toolgate.core.model import Principal, Recovery, Refusal
from toolgate.listeners.answers import Answer
from toolgate.listeners.routes import Respond, Visit
from toolgate.listeners.voice import Voice

Role: TypeAlias = Literal["viewer", "approver", "admin"]  # viewer reads, approver grants, admin changes what serves
# Who holds a role: an admin is an approver, an approver a viewer.
_HOLDERS: Final[Mapping[Role, frozenset[str]]] = {
    "viewer": frozenset({"viewer", "approver", "admin"}),
    "approver": frozenset({"approver", "admin"}),
    "admin": frozenset({"admin"}),
}


def holds(role: Role, principal: Principal) -> bool:
    return not _HOLDERS[role].isdisjoint(principal.roles)


def requiring(role: Role, respond: Respond, voice: Voice) -> Respond:
    """Answer a path only for principals who hold the role."""

    async def answer(visit: Visit) -> Answer:
        if not holds(role, visit.principal):
            return voice.refused(_lacking(role), bodiless=visit.bodiless)
        return await respond(visit)

    return answer


def _lacking(role: Role) -> Refusal:
    hint = f"Use a token with the role `{role}`, or ask whoever runs this gate for it (`identity.issuers[].roles`)."
    return Refusal(
        CODES["policy.not_allowed"],
        f"this path needs the role `{role}`, which the token does not give",
        Recovery("escalate", hint),
        stage="authentication",
    )
