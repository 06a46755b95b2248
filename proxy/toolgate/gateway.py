"""The one path of a call: check, decide, record, send, settle, finish (DESIGN §2).

RULE: straight statements. Nothing is sent before its `Decided` is committed with all it takes, and nothing ends without
being written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from toolgate.approvals import Approvals
from toolgate.core import engine, runs
from toolgate.core.approval import Approval
from toolgate.core.approving import request_json
from toolgate.core.budget import Uncounted
from toolgate.core.bundle import Bundle
from toolgate.core.events import Place, asked_json, judged_json, permitted, refused, unread
from toolgate.core.explanation import Explanation, explain
from toolgate.core.freeze import disabled, frozen, stopped
from toolgate.core.model import (
    NOTHING_KNOWN,
    NOTHING_SAID,
    Asked,
    Call,
    Decision,
    Event,
    Facts,
    Hold,
    Json,
    OpenedRun,
    Outcome,
    Overtaken,
    Permit,
    Principal,
    Refusal,
    Refused,
    RunFacts,
    Said,
    Shadow,
    Situation,
    ValidCall,
    new,
)
from toolgate.core.quota import Standing
from toolgate.core.review import opened
from toolgate.core.scope import subject_of
from toolgate.deadlines import Deadlines
from toolgate.exchange import Exchange, Kept, World, failed, labels
from toolgate.ports import LedgerError, RunEndedError, UpstreamError

_AGREED = frozenset({"plan", "approval"})  # stages that judge by what was agreed with the agent
_GOVERNING = frozenset({"budgets", "limits", "loops"})  # stages whose refusals say what is left


class _Judged(NamedTuple):
    """A call, what it was held against, and whether it was valid."""

    call: Call
    bundle: Bundle
    facts: Facts
    checked: ValidCall | Refusal
    until_ms: int | None = None  # so long at most is it held; the first time it is held says it


class Gateway:
    """Takes calls, answers outcomes. Holds the bundle; a call keeps the one it began with."""

    def __init__(self, world: World, bundle: Bundle) -> None:
        self._world = world
        self._deadlines = Deadlines(world.call_timeout_s)
        self.approvals = Approvals(world.ledger, world.tell, world.now_ms, world.new_id)
        self.bundle = bundle
        self.situation: Situation = (
            NOTHING_KNOWN  # one reference, replaced whole: nothing is read on the path of a call
        )

    def swap(self, bundle: Bundle) -> None:
        """Serve new calls from another bundle: one reference, so no call sees two."""
        self.bundle = bundle

    def new_call(
        self, principal: Principal, asked: Asked, said: Said = NOTHING_SAID, run: OpenedRun | None = None
    ) -> Call:
        at_ms = self._world.now_ms()
        reason, plan, step = said
        return new(Call, (self._world.new_id(at_ms), at_ms, principal, asked, reason, run, plan, step))

    def explain(self, call: Call) -> Explanation:
        """Decide without recording, charging or sending."""
        bundle = self.bundle
        return explain(call, self._whole_facts(call), bundle)

    async def handle(self, call: Call) -> Outcome:
        """Take one call from its decision to its outcome. Never raises; what breaks is `internal.error`."""
        started = self._world.monotonic_s()
        try:
            decision, judged = self._decide(call, self._facts(call))
            self._count_flip(decision, decision.shadow)
            place = new(Place, (*self._world.ledger.next_in_run(call), 0))
            while True:
                if isinstance(decision, Permit):
                    refused = await self._record(decision, judged, place)
                    if refused is None:
                        return await self._send(decision, judged, place, started)
                    if isinstance(refused, Overtaken):
                        decision, judged, place = self._decide_again(judged, call, place)
                        continue
                    decision, judged = refused, judged._replace(facts=self._facts(judged.call))
                again = judged if await self._is_news(decision, judged) else await self._held(decision.hold, judged)
                if again is None:
                    break
                decision, judged, place = self._decide_again(again, call, place)
            outcome: Outcome = await self._refuse(decision, judged, place)
        except LedgerError as error:
            outcome = failed("gateway.unavailable", f"the call cannot be recorded: {error}", "no")
        except Exception as error:  # noqa: BLE001  # INVARIANT: a defect refuses; it never forwards and never escapes
            self._world.meter.defect("deciding a call", error)
            outcome = failed("internal.error", "the gate met a defect while deciding this call", "no")
        self._world.meter.ended(*labels(outcome), self._world.monotonic_s() - started)
        return outcome

    def _decide(self, call: Call, facts: Facts) -> tuple[Decision, _Judged]:
        bundle = self.bundle
        checked = engine.check(call, facts, bundle)
        judged = new(_Judged, (call, bundle, facts, checked, None))
        return (checked if isinstance(checked, Refusal) else engine.propose(checked, facts, bundle)), judged

    async def _is_news(self, refusal: Refusal, judged: _Judged) -> bool:
        """Whether gates of the same store did something in its run that the refusal did not know of."""
        return refusal.stage in _AGREED and await self._world.ledger.catch_up(judged.facts.run.id)

    async def _held(self, hold: Hold | None, judged: _Judged) -> _Judged | None:
        """Wait until what a call depends on has ended, or its time is over; None: it is not held, or no longer."""
        if hold is None:
            return None
        until_ms = hold.until_ms if judged.until_ms is None else judged.until_ms
        left_ms = until_ms - self._world.now_ms()
        if left_ms <= 0:
            return None
        run, look = judged.facts.run.id, partial(self._has_ended, hold, judged)
        ended = await self._world.holds.wait(run, hold.plan, hold.step, left_ms / 1000, look)
        return None if ended is None else judged._replace(until_ms=until_ms if ended else 0)

    async def _has_ended(self, hold: Hold, judged: _Judged) -> bool:
        """Whether the step that a call is held for ended at another gate, or anything else became of its run there."""
        plan = judged.facts.plan
        learned = await self._world.ledger.catch_up(judged.facts.run.id)
        tried = plan.steps.get(hold.step) if plan is not None else None  # live
        return learned or tried is None or tried.state != "running"

    def _decide_again(self, held: _Judged, first: Call, place: Place) -> tuple[Decision, _Judged, Place]:
        """Judge a call that was held or overtaken as if it came now, by the bundle that serves now.

        SECURITY: it waited, and in that time somebody may have forbidden, frozen or finished what it is about.
        """
        call = held.call._replace(at_ms=self._world.now_ms())
        facts = self._facts(call)
        if facts.run.id != place.run:
            facts = facts._replace(run=RunFacts(place.run, stopped="it ended while this call was held"), plan=None)
        decision, judged = self._decide(call, facts)
        held_ms = call.at_ms - first.at_ms
        return decision, judged._replace(until_ms=held.until_ms), place._replace(held_ms=held_ms)

    def _facts(self, call: Call) -> Facts:
        return self._world.ledger.facts(engine.needs(call), call.at_ms, self.situation)

    def _whole_facts(self, call: Call) -> Facts:
        """With what a refusal tells beyond what a decision reads."""
        return self._facts(call)._replace(reserved=self._world.reserves.amounts)

    async def _refuse(self, refusal: Refusal, judged: _Judged, place: Place) -> Refused:
        """Write why nothing is sent, and what that means for the run. Nobody waits for the disk."""
        call, bundle, facts, checked, _ = judged
        refusal, asked_of = await self._asked_of(refusal, judged)
        consequence = engine.consequence(call, refusal, facts, bundle)
        told = consequence.refusal
        if refusal.read is not None and "short" in refusal.read:
            self._world.meter.short(refusal.read["short"]["key"])
        asked = self._asked(call, told) if isinstance(checked, Refusal) else self._judged(checked)
        event = refused(call, consequence, bundle, place, asked)
        if asked_of is not None:
            event, told = _with_approval(event, asked_of), opened(told, asked_of)
        await self._world.ledger.append(event, consequence.guards)
        if consequence.stop is not None:
            await self._stop(judged, place, consequence.stop, told)
        return Refused(told, _governing(told, judged))

    async def _asked_of(self, refusal: Refusal, judged: _Judged) -> tuple[Refusal, Approval | None]:
        """Have a person asked, where that is all that stands in the way."""
        asking, checked = refusal.opens, judged.checked
        if asking is None or isinstance(checked, Refusal):
            return refusal, None
        masked = self._world.mask(checked.arguments, checked.operation.signature.masks)
        shown = request_json(checked, masked.arguments, judged.bundle)
        asked = await self.approvals.open(replace(asking, request=shown))
        return (asked, None) if isinstance(asked, Refusal) else (refusal, asked)

    async def _stop(self, judged: _Judged, place: Place, why: str, refusal: Refusal) -> None:
        call = judged.call
        event = runs.stopped(place.run, call.principal.id, why, refusal.code.code, call.at_ms)
        await self._world.ledger.record(event, ())  # waited for: people are told, and no restart may forget it
        self._world.tell(event)

    def _count_flip(self, decision: Decision, shadow: Shadow | None) -> None:
        if shadow is None:
            return
        operation = decision.valid.operation if isinstance(decision, Permit) else decision.operation
        if operation is not None:
            self._world.meter.flipped(operation.key, shadow.decision)

    def _judged(self, valid: ValidCall) -> Mapping[str, Json]:
        return judged_json(valid, self._world.mask)

    def _asked(self, call: Call, refusal: Refusal) -> dict[str, Json]:
        masked = self._world.mask(asked_json(call, refusal), unread(call.asked, refusal))
        return dict(masked.arguments) if masked.sealed is None else {**masked.arguments, "sealed": masked.sealed}

    async def _record(self, permit: Permit, judged: _Judged, place: Place) -> Refusal | Overtaken | None:
        """Commit the permit with all it takes; a refusal where it was short or its run over, and nothing was written then."""
        ledger, reserves = self._world.ledger, self._world.reserves
        event = permitted(permit, judged.bundle, place, self._judged(permit.valid))
        reserved = engine.reserved(permit)
        reserves.hold(reserved)
        try:
            short = await ledger.record(event, permit.guards)
        except BaseException as error:
            reserves.release(reserved)
            if isinstance(error, RunEndedError):
                return stopped(judged.facts.run.id, error.why)
            raise
        if short is None:
            return None
        reserves.release(reserved)
        if isinstance(short, Overtaken):
            return short
        return engine.shortage(permit, short, self._whole_facts(judged.call), judged.bundle)

    async def _send(self, permit: Permit, judged: _Judged, place: Place, started: float) -> Outcome:
        world = self._world
        plan, taking = judged.facts.plan, permit.step
        kept = new(Kept, (place.run, plan.key if plan is not None and taking is not None else None))
        exchange = Exchange(world, permit, kept, started, _standing(permit, judged))
        try:
            if world.ledger.freezes() is not judged.facts.freezes:
                closed = self._closed_meanwhile(permit.valid, judged)
                if closed is not None:
                    return await exchange.withhold(closed)
            with self._deadlines.one():
                if taking is None or taking.timeout_ms is None:
                    return await exchange.settle(await world.upstream.send(permit))
                async with asyncio.timeout(taking.timeout_ms / 1000):
                    return await exchange.settle(await world.upstream.send(permit))
        except UpstreamError as error:
            return await exchange.fail(error.code, error.detail, error.sent, why=error.why)
        except TimeoutError:
            return await exchange.fail("upstream.timeout", exchange.overdue, "unknown")
        except asyncio.CancelledError:
            await exchange.fail("upstream.broken", "the call was given up before its answer came", "unknown")
            raise
        except Exception as error:  # noqa: BLE001  # INVARIANT: what was permitted is finished in the journal, whatever breaks
            world.meter.defect("sending a call", error)
            return await exchange.fail("internal.error", "the gate met a defect after permitting this call", "unknown")

    def _closed_meanwhile(self, valid: ValidCall, judged: _Judged) -> Refusal | None:
        """Whether the kill switch was thrown while the record was written: then it is not sent after all."""
        facts = self._facts(judged.call)
        return frozen(judged.call, facts) or disabled(valid, facts)


def _with_approval(event: Event, approval: Approval) -> Event:
    """A `Decided` with the id a person is asked under: its hint is the decision's own, so that it can be made again."""
    return event._replace(data={**event.data, "approval": approval.id})


def _standing(permit: Permit, judged: _Judged) -> Standing | None:
    """What governs a call that is permitted, where that is told."""
    guards, lasting = permit.guards, permit.lasting
    if not guards:
        return None
    told = judged.bundle.budgets.told(guards) if lasting is None else lasting.told
    return new(Standing, (told, judged.facts.levels, judged.call.at_ms)) if told.rules else None


def _governing(refusal: Refusal, judged: _Judged) -> Standing | None:
    """The same, for a call that was refused for it."""
    checked = judged.checked
    if refusal.stage not in _GOVERNING or isinstance(checked, Refusal):
        return None
    call, bundle, facts, *_ = judged
    guards = bundle.budgets.guards(checked, subject_of(call, facts.run.id))
    return None if isinstance(guards, Uncounted) else _standing(Permit(checked, guards), judged)
