"""The approvals that were asked for in runs which may go on, and what has come of each.

RULE: belongs to the event loop. What an approval is follows from its events alone, by `core.requests`; an answer holds from
its commit on, and the first one that was committed is the answer. That it is used counts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from toolgate.core.approval import Approval
from toolgate.core.model import Event
from toolgate.core.requests import APPROVAL_DECLINED, APPROVAL_REVOKED, answered, approval_at, has_answered

_NOES: Final = {APPROVAL_DECLINED: "declined", APPROVAL_REVOKED: "revoked"}


class Requests:
    """Implements `core.approval.Approvals`."""

    __slots__ = ("_approvals", "_by_digest", "_by_run", "_pending", "_shown", "_told_used", "_used")

    def __init__(self) -> None:
        self._approvals: dict[str, Approval] = {}  # oldest first
        self._by_digest: dict[str, list[str]] = {}
        self._by_run: dict[str, list[str]] = {}
        self._pending: dict[str, list[str]] = {}  # by principal; with some that are pending no more
        self._shown: dict[str, list[str]] = {}  # by principal, those that people may still have to read
        self._used: dict[str, str] = {}  # by what
        self._told_used: dict[str, tuple[Approval, Approval]] = {}  # as it is, and as it is told that it is used

    # -- Approvals -------------------------------------------------------------------------------------------

    def of(self, digest: str, at_ms: int) -> Approval | None:
        asked = self._by_digest.get(digest)
        return self.by_id(asked[-1], at_ms) if asked else None

    def by_id(self, approval_id: str, at_ms: int) -> Approval | None:
        approval = self._approvals.get(approval_id)
        if approval is None:
            return None
        if approval_id in self._used:
            return self._as_used(approval)
        return approval_at(approval, at_ms)

    def pending(self, principal: str, at_ms: int) -> int:
        waiting = [each for each in self._pending.get(principal, ()) if self._is_pending(each, at_ms)]
        if waiting:
            self._pending[principal] = waiting
        else:
            self._pending.pop(principal, None)
        return sum(each not in self._used for each in waiting)

    def listed(self, at_ms: int) -> Sequence[Approval]:
        known = (self.by_id(each, at_ms) for each in reversed(self._approvals))
        return [approval for approval in known if approval is not None]

    def run_of(self, approval_id: str) -> str | None:
        approval = self._approvals.get(approval_id)
        return None if approval is None else approval.asking.run

    def answers(self, approval_id: str) -> int:
        """How many have answered so far."""
        approval = self._approvals.get(approval_id)
        return 0 if approval is None else len(approval.granted_by) + (approval.state == "declined")

    def has_answer(self, event: Event) -> bool:
        """Whether this answer is known."""
        approval = self._approvals.get(str(event.data["approval"]))
        if approval is None:
            return False
        if event.kind in _NOES:
            return approval.state == _NOES[event.kind]
        return has_answered(approval, str(event.data["by"]))

    def used_by(self, approval_id: str) -> str | None:
        """By what it was used."""
        return self._used.get(approval_id)

    def is_for_one_call(self, approval_id: str) -> bool:
        approval = self._approvals.get(approval_id)
        return approval is not None and approval.asking.kind == "call"

    # -- what happens ----------------------------------------------------------------------------------------

    def ask(self, approval: Approval) -> None:
        asking = approval.asking
        self._approvals[approval.id] = approval
        for known, key in self._indexes(approval):
            known.setdefault(key, []).append(approval.id)
        self._put_away(asking.principal, approval.asked_ms)

    def take_back(self, approval_id: str) -> None:
        """Forget one whose record could not be written."""
        approval = self._approvals.pop(approval_id, None)
        if approval is None:
            return
        self._used.pop(approval_id, None)
        self._told_used.pop(approval_id, None)
        for known, key in self._indexes(approval):
            _remove(known, key, approval_id)

    def answer(self, approval_id: str, event: Event) -> None:
        approval = self._approvals.get(approval_id)
        if approval is not None:
            self._approvals[approval_id] = answered(approval, event)

    def use(self, approval_id: str, by: str) -> None:
        self._used.setdefault(approval_id, by)

    def unuse(self, approval_id: str, by: str) -> None:
        if self._used.get(approval_id) == by:
            del self._used[approval_id]

    def forget(self, run: str) -> None:
        for approval_id in tuple(self._by_run.get(run, ())):
            self.take_back(approval_id)

    def _as_used(self, approval: Approval) -> Approval:
        """Made once: the approval of a plan is asked for with each of its calls."""
        known = self._told_used.get(approval.id)
        if known is None or known[0] is not approval:
            known = self._told_used[approval.id] = approval, replace(approval, state="used")
        return known[1]

    def _put_away(self, principal: str, at_ms: int) -> None:
        """SECURITY: requests may be long, and an agent may ask again and again: what nobody answers any more is dropped."""
        self.pending(principal, at_ms)
        shown = self._shown[principal]
        still = [each for each in shown if self._is_shown(self._approvals[each], at_ms)]
        for each in set(shown) - set(still):
            approval = self._approvals[each]
            self._approvals[each] = replace(approval, asking=replace(approval.asking, request={}))
            self._told_used.pop(each, None)
        self._shown[principal] = still

    def _is_shown(self, approval: Approval, at_ms: int) -> bool:
        """Whether somebody may still answer it or use it; what a plan or a run has used is never given back."""
        if approval.id in self._used and approval.asking.kind != "call":
            return False
        return approval_at(approval, at_ms).state in {"pending", "granted"}

    def _is_pending(self, approval_id: str, at_ms: int) -> bool:
        return approval_at(self._approvals[approval_id], at_ms).state == "pending"

    def _indexes(self, approval: Approval) -> tuple[tuple[dict[str, list[str]], str], ...]:
        asking = approval.asking
        return (
            (self._by_digest, asking.digest),
            (self._by_run, asking.run),
            (self._pending, asking.principal),
            (self._shown, asking.principal),
        )


def _remove(known: dict[str, list[str]], key: str, approval_id: str) -> None:
    left = [each for each in known.get(key, ()) if each != approval_id]
    if left:
        known[key] = left
    else:
        known.pop(key, None)
