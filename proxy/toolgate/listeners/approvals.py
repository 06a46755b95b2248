"""What is asked of people, over HTTP: agents see what has come of theirs, operators list, grant, decline and revoke (DESIGN §10).

RULE: who may answer is said by `core.approvers`, and never here. Whoever only has a role that is asked for sees what is
asked of that role; an agent sees its own and of them only whether it may go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias, get_args

from toolgate.core.approval import Approval, ApprovalState
from toolgate.core.journal import timestamp
from toolgate.core.model import Json, Principal, Refusal
from toolgate.core.requests import waited_for
from toolgate.core.suggest import near
from toolgate.listeners.answers import Answer
from toolgate.listeners.roles import holds
from toolgate.listeners.routes import Respond, Visit, invalid, json_of, missing, unknown_key, whole_number
from toolgate.listeners.voice import Voice
from toolgate.ports import LedgerError

_STATES: Final[tuple[str, ...]] = get_args(ApprovalState)
_DEFAULT_PAGE: Final = 100
_MAX_PAGE: Final = 1000
_KEYS: Final = ("comment", "role")
_MAX_COMMENT: Final = 512
_MAX_ROLE: Final = 256
_AS_JSON: Final = 'Send nothing, or one JSON object such as {"comment": "…"}, as `Content-Type: application/json`.'
_OF_AGENTS: Final = "Use the id that the refusal told in `recovery.approval`, or repeat the call that was refused."
_OF_OPERATORS: Final = "List what waits with GET /-/approvals."

End: TypeAlias = Callable[[str, Principal, str | None], Awaitable[Approval | Refusal | None]]


class ApprovalBook(Protocol):
    """What is done with approvals (`toolgate.approvals`). To answer one raises LedgerError; None: there is no such one."""

    async def catch_up(self, named: str = ...) -> None: ...
    def show(self, principal: Principal, approval_id: str) -> Approval | None: ...
    def find(self, approval_id: str) -> Approval | None: ...
    def listed(self) -> Sequence[Approval]: ...
    async def grant(
        self, approval_id: str, by: Principal, role: str | None, comment: str | None
    ) -> Approval | Refusal | None: ...
    async def decline(self, approval_id: str, by: Principal, comment: str | None) -> Approval | Refusal | None: ...
    async def revoke(self, approval_id: str, by: Principal, comment: str | None) -> Approval | Refusal | None: ...


class ApprovalsForAgents:
    """Answers `/-/approvals/{approval}` on the agent listener: the caller's own."""

    def __init__(self, approvals: ApprovalBook, voice: Voice) -> None:
        self._approvals = approvals
        self._voice = voice
        self.routes: Mapping[str, Respond] = {"GET /-/approvals/{approval}": self._show}

    async def _show(self, visit: Visit) -> Answer:
        await self._approvals.catch_up(visit.segment)
        approval = self._approvals.show(visit.principal, visit.segment)
        if approval is None:
            refusal = missing("approval", visit.segment, _OF_AGENTS)
            return self._voice.own_refused(refusal, bodiless=visit.bodiless)
        return visit.json(state_json(approval))


class ApprovalsApi:
    """Answers `/-/approvals…` on the admin listener."""

    def __init__(self, approvals: ApprovalBook, voice: Voice) -> None:
        self._approvals = approvals
        self._voice = voice
        self.routes: Mapping[str, Respond] = {
            "GET /-/approvals": self._list,
            "GET /-/approvals/{approval}": self._show,
            "POST /-/approvals/{approval}/grant": self._grant,
            "POST /-/approvals/{approval}/decline": self._ending(approvals.decline),
            "POST /-/approvals/{approval}/revoke": self._ending(approvals.revoke),
        }

    async def _list(self, visit: Visit) -> Answer:
        asked = _page_of(visit)
        if isinstance(asked, Refusal):
            return self._refused(asked, visit)
        state, limit = asked
        await self._approvals.catch_up()
        seen = [each for each in self._approvals.listed() if _may_see(visit.principal, each)]
        found = [each for each in seen if state in {None, each.state}]
        return visit.json({"approvals": [approval_json(each) for each in found[:limit]], "more": len(found) > limit})

    async def _show(self, visit: Visit) -> Answer:
        approval = await self._found(visit)
        return self._missing(visit) if approval is None else visit.json(approval_json(approval))

    async def _grant(self, visit: Visit) -> Answer:
        asked = _answer_of(visit)
        if isinstance(asked, Refusal):
            return self._refused(asked, visit)
        if await self._found(visit) is None:
            return self._missing(visit)
        role, comment = asked
        try:
            return self._told(await self._approvals.grant(visit.segment, visit.principal, role, comment), visit)
        except LedgerError as error:
            return self._unwritten(error, visit)

    def _ending(self, end: End) -> Respond:
        """Answer with a no, of which one is enough."""

        async def answer(visit: Visit) -> Answer:
            asked = _answer_of(visit)
            if isinstance(asked, Refusal):
                return self._refused(asked, visit)
            if await self._found(visit) is None:
                return self._missing(visit)
            role, comment = asked
            if role is not None:
                return self._refused(
                    invalid("/role", "unknown", "one no is enough: a `role` is named to grant only"), visit
                )
            try:
                return self._told(await end(visit.segment, visit.principal, comment), visit)
            except LedgerError as error:
                return self._unwritten(error, visit)

        return answer

    async def _found(self, visit: Visit) -> Approval | None:
        """SECURITY: what a principal may not see is not there."""
        await self._approvals.catch_up(visit.segment)
        approval = self._approvals.find(visit.segment)
        return approval if approval is not None and _may_see(visit.principal, approval) else None

    def _told(self, answered: Approval | Refusal | None, visit: Visit) -> Answer:
        if isinstance(answered, Refusal):
            return self._refused(answered, visit)
        if answered is None:
            return self._missing(visit)
        return visit.json(approval_json(answered))

    def _missing(self, visit: Visit) -> Answer:
        return self._refused(missing("approval", visit.segment, _OF_OPERATORS), visit)

    def _refused(self, refusal: Refusal, visit: Visit) -> Answer:
        return self._voice.own_refused(refusal, bodiless=visit.bodiless)

    def _unwritten(self, error: LedgerError, visit: Visit) -> Answer:
        detail = f"the answer cannot be recorded: {error}; nothing has changed"
        return self._voice.failed("gateway.unavailable", detail, "no", bodiless=visit.bodiless)


def _may_see(principal: Principal, approval: Approval) -> bool:
    return holds("viewer", principal) or not set(approval.asking.roles).isdisjoint(principal.roles)


def state_json(approval: Approval) -> dict[str, Json]:
    """What its requester is told."""
    return {
        "approval": approval.id,
        "state": approval.state,
        "expires_at": timestamp(approval.expires_ms),
        "comment": approval.comment,
    }


def approval_json(approval: Approval) -> dict[str, Json]:
    """What whoever answers sees: the request as it will be sent, and why a person is asked."""
    asking = approval.asking
    return state_json(approval) | {
        "kind": asking.kind,
        "asked_at": timestamp(approval.asked_ms),
        "principal": asking.principal,
        "on_behalf_of": asking.on_behalf_of,
        "actor": asking.actor,
        "run": asking.run,
        "plan": asking.plan,
        "step": asking.step,
        "operation": asking.operation,
        "request": dict(asking.request),
        "why": asking.why,
        "statements": asking.statements,
        "roles": asking.roles,
        "waiting_for": waited_for(approval) if approval.state == "pending" else (),
        "granted_by": [{"role": role, "by": by} for role, by in approval.granted_by],
        "digest": asking.digest,
    }


def _page_of(visit: Visit) -> tuple[str | None, int] | Refusal:
    """Which state is asked for, None: any; and how many."""
    query = visit.query("state", "limit")
    if isinstance(query, Refusal):
        return query
    limit = whole_number(query, "limit", _DEFAULT_PAGE, _MAX_PAGE)
    if isinstance(limit, Refusal):
        return limit
    state = query.get("state")
    if state is not None and state not in _STATES:
        return invalid("/state", "enum", f"`state` is one of {', '.join(_STATES)}", near(state, _STATES, 1))
    return state, limit or _DEFAULT_PAGE


def _answer_of(visit: Visit) -> tuple[str | None, str | None] | Refusal:
    """The role it is given in, and the comment; an empty body says neither."""
    if not visit.request.body:
        return None, None
    value = json_of(visit.request, "an answer", _AS_JSON)
    if isinstance(value, Refusal):
        return value
    if not isinstance(value, dict):
        return invalid("", "type", "an answer is an object with `comment` and `role`, both optional")
    unknown = unknown_key(value, _KEYS, "an answer has `comment` and `role`")
    if unknown is not None:
        return unknown
    role = _text(value, "role", _MAX_ROLE)
    if isinstance(role, Refusal):
        return role
    comment = _text(value, "comment", _MAX_COMMENT)
    return comment if isinstance(comment, Refusal) else (role, comment)


def _text(value: Mapping[str, Json], name: str, most: int) -> str | Refusal | None:
    text = value.get(name)
    if text is None:
        return None
    if not isinstance(text, str) or not 0 < len(text) <= most or not text.isprintable():
        return invalid(f"/{name}", "type", f"`{name}` is 1 to {most} printable characters on one line")
    return text
