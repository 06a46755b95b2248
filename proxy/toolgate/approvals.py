"""What people are asked and what they answer: requested, granted, declined, revoked (DESIGN §10).

RULE: asked is in the journal, committed, before anybody hears of it. Of one thing one request is open at a time, and the
first answer that is written is the answer; who asked never gives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from toolgate.core import requests
from toolgate.core.approval import WAITING, Approval, Asking
from toolgate.core.approvers import answering_role, repeats, revoking
from toolgate.core.codes import CODES
from toolgate.core.model import Charge, Event, Principal, Recovery, Refusal
from toolgate.core.review import Matter, opened, reviewed, too_many, use_of
from toolgate.ports import Ledger

_SAID: Final[dict[str, tuple[str, str]]] = {
    "declined": ("approval.declined", "was declined"),
    "revoked": ("approval.declined", "was granted, and that was taken back"),
    "expired": ("approval.expired", "has expired"),
    "granted": ("approval.stale", "was granted already"),
    "used": ("approval.stale", "was granted and used already"),
}
_ENDED: Final = frozenset({"declined", "revoked", "expired"})  # whoever sees it is told so, whatever they may answer
_TRIES: Final = 4  # as many answer the same request at once


class _Answerable(NamedTuple):
    """A request that waits for an answer, the role it is answered in, and what nobody else may have taken by then."""

    approval: Approval
    role: str
    guards: tuple[Charge, ...] = ()


class Approvals:
    """Opens requests, tells how they stand, writes answers."""

    def __init__(
        self, ledger: Ledger, tell: Callable[[Event], None], now_ms: Callable[[], int], new_id: Callable[[int], str]
    ) -> None:
        """`tell` has people told; it never waits."""
        self._ledger = ledger
        self.tell = tell
        self._now_ms = now_ms
        self._new_id = new_id
        self._turn = asyncio.Lock()  # a request that is being written is not known to the next who asks the same

    async def open(self, asking: Asking) -> Approval | Refusal:
        """Ask a person, unless one is asked already. Raises LedgerError, and then nobody was asked."""
        async with self._turn:
            return await self._open(asking)

    async def settle(self, asking: Asking, matter: Matter) -> Approval | Refusal:
        """The grant that is used up now, or why a person is waited for, who is asked where nobody was. As `open`."""
        at_ms = self._now_ms()
        known = self._ledger.facts((), at_ms).approvals
        found = reviewed(asking, known.of(asking.digest, at_ms) if known is not None else None, matter)
        if isinstance(found, Approval) or found.opens is None:
            return found
        asked = await self.open(asking)
        return asked if isinstance(asked, Refusal) else opened(found, asked)._replace(opens=None)

    async def _open(self, asking: Asking) -> Approval | Refusal:
        await self.catch_up()
        at_ms = self._now_ms()
        known = self._ledger.facts((), at_ms).approvals
        waiting = known.of(asking.digest, at_ms) if known is not None else None
        if waiting is not None and waiting.state == "pending" and waiting.asking.relies_on == asking.relies_on:
            return waiting
        refusal = too_many(asking, known, at_ms)
        if refusal is not None:
            return refusal
        event = requests.requested(f"apr_{self._new_id(at_ms)}", asking, at_ms)
        await self._ledger.record(event, ())
        self.tell(event)
        return requests.asked(event)

    async def catch_up(self, named: str = WAITING) -> None:
        """Learn what other gates know of an approval, or of all that wait, before they are looked for."""
        await self._ledger.catch_up(named)

    def find(self, approval_id: str) -> Approval | None:
        """An approval as it is now, whoever asked for it: for operators."""
        at_ms = self._now_ms()
        known = self._ledger.facts((), at_ms).approvals
        return known.by_id(approval_id, at_ms) if known is not None else None

    def show(self, principal: Principal, approval_id: str) -> Approval | None:
        """The same for the principal who asked; another's is not there."""
        approval = self.find(approval_id)
        return approval if approval is not None and approval.asking.principal == principal.id else None

    def listed(self) -> Sequence[Approval]:
        """All that are known, the newest first."""
        at_ms = self._now_ms()
        known = self._ledger.facts((), at_ms).approvals
        return known.listed(at_ms) if known is not None else ()

    async def grant(
        self, approval_id: str, by: Principal, role: str | None = None, comment: str | None = None
    ) -> Approval | Refusal | None:
        """Say yes, in one of the roles that are asked; None where there is no such request. Raises LedgerError.

        Who said so already is told how it stands, and nothing is written.
        """
        return await self._answer(
            lambda: self._grantable(approval_id, by, role),
            lambda asked: requests.granted(asked.approval, by.id, asked.role, comment, self._now_ms()),
            approval_id,
        )

    async def decline(self, approval_id: str, by: Principal, comment: str | None = None) -> Approval | Refusal | None:
        """Say no: nobody else is asked any more. Otherwise as `grant`."""
        return await self._answer(
            lambda: self._declinable(approval_id, by),
            lambda asked: requests.declined(asked.approval, by.id, comment, self._now_ms()),
            approval_id,
        )

    async def revoke(self, approval_id: str, by: Principal, comment: str | None = None) -> Approval | Refusal | None:
        """Take a yes back that nothing has used. Otherwise as `grant`."""
        return await self._answer(
            lambda: self._revocable(approval_id, by),
            lambda asked: requests.revoked(asked.approval, by.id, comment, self._now_ms()),
            approval_id,
        )

    def _grantable(self, approval_id: str, by: Principal, role: str | None) -> _Answerable | Approval | Refusal | None:
        approval = self.find(approval_id)
        if approval is not None and repeats(by, approval, role):
            return approval  # its own yes again, whose answer may not have been heard
        return self._answerable(approval, by, role)

    def _declinable(self, approval_id: str, by: Principal) -> _Answerable | Approval | Refusal | None:
        approval = self.find(approval_id)
        if approval is not None and approval.state == "declined" and isinstance(answering_role(by, approval), str):
            return approval  # no is no, however often it is said
        return self._answerable(approval, by, None)

    def _revocable(self, approval_id: str, by: Principal) -> _Answerable | Approval | Refusal | None:
        approval = self.find(approval_id)
        if approval is None:
            return None
        fault = revoking(by, approval)
        if fault is not None:
            return fault
        match approval.state:
            case "granted":
                # INVARIANT: it takes the use that a call would take, so of the two one is written, on every ledger.
                return _Answerable(approval, "", (use_of(approval.id),))
            case "revoked":
                return approval
            case "pending":
                return _ungranted(approval)
            case _:
                return _over(approval)

    def _answerable(self, approval: Approval | None, by: Principal, role: str | None) -> _Answerable | Refusal | None:
        if approval is None:
            return None
        if approval.state in _ENDED:
            return _over(approval)
        in_role = answering_role(by, approval, role)
        if isinstance(in_role, Refusal):
            return in_role
        return _Answerable(approval, in_role) if approval.state == "pending" else _over(approval)

    async def _answer(
        self,
        answerable: Callable[[], _Answerable | Approval | Refusal | None],
        answer: Callable[[_Answerable], Event],
        approval_id: str,
    ) -> Approval | Refusal | None:
        """Write an answer and tell people; where another one was first, answer what that left to be answered."""
        await self.catch_up(approval_id)
        for _ in range(_TRIES):
            asked = answerable()
            if not isinstance(asked, _Answerable):
                return asked
            event = answer(asked)
            if await self._ledger.record(event, asked.guards) is None:
                return self._heard(asked.approval, event)
        return _contended(approval_id)

    def _heard(self, asked: Approval, event: Event) -> Approval | Refusal:
        now = self.find(asked.id)
        if now is None or not _holds(now, event):
            return _over(now or asked)
        self.tell(event)
        return now


def _holds(approval: Approval, answer: Event) -> bool:
    if answer.kind != requests.APPROVAL_GRANTED:
        return approval.state == ("declined" if answer.kind == requests.APPROVAL_DECLINED else "revoked")
    return requests.has_answered(approval, str(answer.data["by"]))


def _contended(approval_id: str) -> Refusal:
    """Others answer it at the same time, through other gates."""
    code = CODES["gateway.contended"]
    hint = f"Look how it stands with GET /-/approvals/{approval_id}, and answer again if it still waits."
    detail = f"somebody else is answering the request `{approval_id}` at the same time"
    return Refusal(code, detail, Recovery(code.action, hint), stage="approval")


def _ungranted(approval: Approval) -> Refusal:
    """There is no yes to take back."""
    code = CODES["approval.pending"]
    detail = f"the request `{approval.id}` is not granted, so there is nothing to take back"
    hint = f"Decline it with POST /-/approvals/{approval.id}/decline."
    return Refusal(code, detail, Recovery("finish", hint), stage="approval")


def _over(approval: Approval) -> Refusal:
    """It waits for no answer any more."""
    name, how = _SAID.get(approval.state, _SAID["granted"])
    code = CODES[name]
    return Refusal(
        code,
        f"the request `{approval.id}` {how}: no other answer counts",
        Recovery("finish", "Leave it; whoever needs it can ask anew."),
        stage="approval",
    )
