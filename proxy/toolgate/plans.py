"""Plans as agents propose and revise them: validated, approved where that is asked for, locked (DESIGN §9).

RULE: a plan is in the journal, committed, before its agent hears that it is locked. No plan is ever locked and waiting:
what needs a person is refused until one said yes, and proposed again it is judged again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Final, NamedTuple, Protocol, TypeVar

from toolgate.approvals import Approvals
from toolgate.core import locking, runs
from toolgate.core.approval import Approval, ApprovalKind, Asking
from toolgate.core.approvers import actor_of
from toolgate.core.bundle import Bundle
from toolgate.core.canonical import digest
from toolgate.core.codes import CODES
from toolgate.core.freeze import frozen
from toolgate.core.loop import consequence
from toolgate.core.model import (
    OPENED_RUN_KEY,
    PLAN_KEY,
    RUN_KEY,
    Call,
    Charge,
    Facts,
    Json,
    Named,
    OpenedRun,
    Principal,
    Recovery,
    Refusal,
    Situation,
)
from toolgate.core.plan import LockedPlan, PlanFacts
from toolgate.core.planform import document_of
from toolgate.core.planning import Now, lock, rejected, validating
from toolgate.core.review import Matter, use_of
from toolgate.core.revision import narrows, widened
from toolgate.ports import Ledger, NoRoomError

T = TypeVar("T")
_LIMIT: Final = "plan.replan_limit"
_ESCALATED: Final = "That escalates it to human review; until then the locked plan holds."
_SHOWN: Final = 5  # things a person is told that the plan has more


class _Desk(NamedTuple):
    """A proposal and what it is judged by."""

    call: Call  # that calls nothing: who proposes, in what run, when
    facts: Facts
    bundle: Bundle
    document: Json
    former: PlanFacts | None  # the plan of the run, which it would replace


class _Terms(NamedTuple):
    """What it takes to lock a plan."""

    locked: LockedPlan
    asks: ApprovalKind | None = None  # a person must agree first


class Ground(Protocol):
    """What plans are judged by: what is served now, and what exists there."""

    @property
    def bundle(self) -> Bundle: ...
    @property
    def situation(self) -> Situation: ...


class Plans:
    """Locks plans, and tells of them."""

    def __init__(
        self,
        ledger: Ledger,
        approvals: Approvals,
        ground: Ground,
        now_ms: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._ledger = ledger
        self._approvals = approvals
        self._ground = ground
        self._now_ms = now_ms
        self._new_id = new_id

    # -- what is done ------------------------------------------------------------------------------------------

    async def propose(self, principal: Principal, run: OpenedRun | None, document: Json) -> PlanFacts | Refusal:
        """Lock a plan in the run this is asked in; where it has one, that is revised. Raises LedgerError."""
        await self._catch_up(principal, run)
        desk = self._desk(principal, run, document)
        self._begin(desk)
        closed = frozen(desk.call, desk.facts)
        return closed if closed is not None else await self._settle(desk)

    async def revise(
        self, principal: Principal, run: OpenedRun | None, plan_id: str, document: Json
    ) -> PlanFacts | Refusal | None:
        """Replace the plan of the run this is asked in; None where it is no plan of this principal. Raises LedgerError."""
        await self.catch_up(plan_id)
        await self._catch_up(principal, run)
        known = self.show(principal, plan_id)
        if known is None:
            return None
        desk = self._desk(principal, run, document)
        closed = frozen(desk.call, desk.facts)
        if closed is not None:
            return closed
        if desk.former is None or desk.former.locked.id != known.locked.id:
            return _of_another_run(known.locked, desk.facts)
        return await self._settle(desk)

    async def check(
        self, principal: Principal, run: OpenedRun | None, document: Json, revises: str | None = None
    ) -> LockedPlan | Refusal:
        """What would be locked, or why not. Nothing is written, and nobody is asked."""
        await self._catch_up(principal, run)
        desk = self._desk(principal, run, document)
        known = self.show(principal, revises) if revises is not None else None
        if known is not None and (desk.former is None or desk.former.locked.id != known.locked.id):
            return _of_another_run(known.locked, desk.facts)
        terms = await self._terms(desk)
        return terms if isinstance(terms, Refusal) else terms.locked

    # -- what is known -----------------------------------------------------------------------------------------

    async def catch_up(self, named: str) -> None:
        """Learn what other gates know of a plan, or of that of a run, before it is looked for."""
        await self._ledger.catch_up(named)

    def show(self, principal: Principal, named: str) -> PlanFacts | None:
        """A plan of this principal by id or digest, and how far it has come; another's is not there."""
        keys = (PLAN_KEY + named, RUN_KEY + principal.id)
        found = self._ledger.facts(keys, self._now_ms()).plan
        return found if found is not None and found.locked.principal == principal.id else None

    def find(self, named: str) -> PlanFacts | None:
        """Whoever's plan: for operators."""
        return self._ledger.facts((PLAN_KEY + named,), self._now_ms()).plan

    def replans_left(self, locked: LockedPlan) -> int:
        """How many expansions are left before a person must agree to each."""
        return max(self._ground.bundle.plans.max_replans - locked.expansions, 0)

    # -- one proposal ------------------------------------------------------------------------------------------

    def _desk(self, principal: Principal, run: OpenedRun | None, document: Json) -> _Desk:
        at_ms = self._now_ms()
        key = RUN_KEY + principal.id if run is None else OPENED_RUN_KEY + run.id
        facts = self._ledger.facts((key,), at_ms, self._ground.situation)
        return _Desk(
            Call("", at_ms, principal, Named("", {}), run=run), facts, self._ground.bundle, document, facts.plan
        )

    async def _catch_up(self, principal: Principal, run: OpenedRun | None) -> None:
        key = RUN_KEY + principal.id if run is None else OPENED_RUN_KEY + run.id
        await self.catch_up(self._ledger.facts((key,), self._now_ms()).run.id)

    def _begin(self, desk: _Desk) -> None:
        """A run that a proposal begins is begun before anything is written under it."""
        if desk.facts.run.started_ms is None:
            self._ledger.next_in_run(desk.call)

    async def _settle(self, desk: _Desk) -> PlanFacts | Refusal:
        terms = await self._terms(desk)
        if isinstance(terms, Refusal):
            return await self._refuse(desk, terms)
        former, locked = desk.former, terms.locked
        if former is not None and former.locked.digest == locked.digest and desk.call.at_ms < former.locked.expires_ms:
            return former  # the same again: it is locked already
        if terms.asks is None:
            return await self._lock(desk, locked)
        granted = await self._approvals.settle(_asking(desk, terms), _matter(desk, terms.asks))
        if isinstance(granted, Approval):
            return await self._lock(desk, replace(locked, approval=granted.id))
        return await self._wait(desk, terms.asks, granted)

    async def _terms(self, desk: _Desk) -> _Terms | Refusal:
        """The plan as it would be locked, and what that takes; or everything that is wrong with it."""
        call, bundle, former = desk.call, desk.bundle, desk.former
        run = desk.facts.run.id
        charged = call.run.above[0] if call.run is not None and call.run.above else run
        plan = await _in_turns(
            validating(desk.document, call.principal, bundle, Now(desk.facts, call.at_ms, charged, former))
        )
        if isinstance(plan, tuple):
            return rejected(plan)
        plan_id = f"plan_{self._new_id()}" if former is None else former.locked.id
        locked = lock(plan, bundle, plan_id=plan_id, principal=call.principal.id, run=run, at_ms=call.at_ms)
        asks: ApprovalKind | None = "plan" if bundle.plans.approve else None
        if former is None:
            return _Terms(locked, asks)
        expansions = former.locked.expansions
        if call.at_ms < former.locked.expires_ms and narrows(former.locked.plan, plan, former, bundle):
            # SECURITY: a plan that is only narrowed gets no more time, or its expiry would mean nothing
            return _Terms(replace(locked, expansions=expansions, expires_ms=former.locked.expires_ms), asks)
        locked = replace(locked, expansions=expansions + 1)
        return _Terms(locked, "replan" if locked.expansions > bundle.plans.max_replans else asks)

    async def _lock(self, desk: _Desk, locked: LockedPlan) -> PlanFacts | Refusal:
        former = desk.former.locked if desk.former is not None else None
        guards = [_turn(locked, former)]
        if locked.approval is not None:
            guards.append(use_of(locked.approval))
        try:
            short = await self._ledger.record(locking.locked(locked, former.digest if former else None), guards)
        except NoRoomError as error:
            return _crowded(str(error))
        if short is not None:
            return _contended(locked)
        keys = (PLAN_KEY + locked.id, RUN_KEY + locked.principal)
        found = self._ledger.facts(keys, self._now_ms()).plan
        return found if found is not None else _contended(locked)

    async def _refuse(self, desk: _Desk, refusal: Refusal) -> Refusal:
        """Write what was proposed in vain. SECURITY: it counts as a denied attempt, or an agent could propose without end."""
        call, facts = desk.call, desk.facts
        told = consequence(call, refusal, facts, desk.bundle)
        former = desk.former.locked.id if desk.former is not None else None
        proposal = locking.Proposal(call.principal.id, facts.run.id, digest(desk.document), former)
        await self._ledger.append(locking.rejected(proposal, refusal, call.at_ms), told.guards)
        if told.stop is not None:
            event = runs.stopped(facts.run.id, call.principal.id, told.stop, refusal.code.code, call.at_ms)
            await self._ledger.record(event, ())
            self._approvals.tell(event)
        return told.refusal

    async def _wait(self, desk: _Desk, asks: ApprovalKind, refusal: Refusal) -> Refusal:
        """A person is asked: an expansion too many is told as that, and written."""
        if asks != "replan" or refusal.code.code != "approval.required":
            return refusal
        code, most = CODES[_LIMIT], desk.bundle.plans.max_replans
        told = refusal._replace(
            code=code,
            detail=f"exceeded max retries ({most}): this plan was expanded as often as it may be (`max_replans`)",
            recovery=refusal.recovery._replace(action=code.action, hint=f"{refusal.recovery.hint} {_ESCALATED}"),
            stage="plan",
        )
        return await self._refuse(desk, told)


async def _in_turns(work: Generator[None, None, T]) -> T:
    """Do work in parts, and let calls go on between them."""
    while True:
        try:
            next(work)
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]
        await asyncio.sleep(0)


def _asking(desk: _Desk, terms: _Terms) -> Asking:
    principal, locked = desk.call.principal, terms.locked
    former = desk.former.locked if desk.former is not None else None
    asked = {
        "kind": terms.asks,
        "principal": [principal.id, principal.on_behalf_of, actor_of(principal)],
        "run": locked.run,
        "environment": locked.environment,
        "document": document_of(locked.plan),
        "replaces": former.digest if former is not None else None,
    }
    return Asking(
        digest=digest(asked),
        kind=terms.asks or "plan",
        principal=principal.id,
        run=locked.run,
        roles=desk.bundle.plans.approve,
        why=_why(desk, terms),
        request={
            "goal": locked.plan.goal,
            "environment": locked.environment,
            "revision": locked.revision,
            "document": asked["document"],
            "replaces": asked["replaces"],
        },
        plan=former.id if former is not None else None,
        on_behalf_of=principal.on_behalf_of,
        actor=actor_of(principal),
        relies_on=locked.relies_on,
    )


def _why(desk: _Desk, terms: _Terms) -> str:
    if terms.asks == "replan":
        most = desk.bundle.plans.max_replans
        added = widened(desk.former.locked.plan, terms.locked.plan, desk.former, desk.bundle) if desk.former else ()
        told = "; ".join(added[:_SHOWN])
        return f"the plan would be expanded once more than the {most} times it may be{f': {told}' if told else ''}"
    return "every plan is approved before it is followed (`approve` of plans.yaml)"


def _matter(desk: _Desk, asks: ApprovalKind) -> Matter:
    if desk.former is None:
        return Matter("this plan", "this same POST /-/plans")
    what = "this expansion of the plan" if asks == "replan" else "this revision of the plan"
    return Matter(what, f"this same PUT /-/plans/{desk.former.locked.id}")


def _turn(locked: LockedPlan, former: LockedPlan | None) -> Charge:
    """The guard on taking a plan's place: of two that were proposed at once, one is locked."""
    # The time beside the digest: a plan may come back to what it was before.
    key = f"v:{locked.run}:none" if former is None else f"v:{former.id}:{former.locked_ms},{former.digest[-16:]}"
    return Charge(key, 1, 1)


def _crowded(detail: str) -> Refusal:
    hint = "Finish runs that are done with POST /-/run/finish, go on in one that is open, or propose a shorter plan."
    return Refusal(CODES["plan.rejected"], detail, Recovery("finish", hint), stage="plan")


def _contended(locked: LockedPlan) -> Refusal:
    code = CODES["gateway.contended"]
    detail = f"another plan was locked in the run `{locked.run}` at the same time"
    return Refusal(code, detail, Recovery(code.action, code.hint), stage="plan")


def _of_another_run(locked: LockedPlan, facts: Facts) -> Refusal:
    code = CODES["plan.stale"]
    detail = f"the plan `{locked.id}` is that of the run `{locked.run}`, and this is asked in `{facts.run.id}`"
    hint = "Send the Toolgate-Run token of the plan's own run, or propose a plan in this run with POST /-/plans."
    return Refusal(code, detail, Recovery(code.action, hint), stage="plan")
