"""The one path of a call: check, decide, record, send, settle, finish (DESIGN §2).

RULE: straight statements. Nothing is sent before its `Decided` is committed with all it takes, and nothing ends without
being written.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from toolgate.core import engine, runs
from toolgate.core.budget import Uncounted
from toolgate.core.bundle import Bundle
from toolgate.core.events import Place, asked_json, judged_json, permitted, refused, unread
from toolgate.core.explanation import Explanation, explain
from toolgate.core.freeze import disabled, frozen, stopped
from toolgate.core.model import (
    NOTHING_KNOWN,
    Asked,
    Call,
    Decision,
    Facts,
    Json,
    OpenedRun,
    Outcome,
    Permit,
    Principal,
    Refusal,
    Refused,
    Shadow,
    Situation,
    ValidCall,
    new,
)
from toolgate.core.quota import Standing
from toolgate.core.scope import subject_of
from toolgate.deadlines import Deadlines
from toolgate.exchange import Exchange, World, failed, labels
from toolgate.ports import LedgerError, RunEndedError, UpstreamError

_GOVERNING = frozenset({"budgets", "limits", "loops"})  # stages whose refusals say what is left


class _Judged(NamedTuple):
    """A call, what it was held against, and whether it was valid."""

    call: Call
    bundle: Bundle
    facts: Facts
    checked: ValidCall | Refusal


class Gateway:
    """Takes calls, answers outcomes. Holds the bundle; a call keeps the one it began with."""

    def __init__(self, world: World, bundle: Bundle) -> None:
        self._world = world
        self._deadlines = Deadlines(world.call_timeout_s)
        self.bundle = bundle
        self.situation: Situation = (
            NOTHING_KNOWN  # one reference, replaced whole: nothing is read on the path of a call
        )

    def swap(self, bundle: Bundle) -> None:
        """Serve new calls from another bundle: one reference, so no call sees two."""
        self.bundle = bundle

    def new_call(
        self, principal: Principal, asked: Asked, reason: str | None = None, run: OpenedRun | None = None
    ) -> Call:
        at_ms = self._world.now_ms()
        return new(Call, (self._world.new_id(at_ms), at_ms, principal, asked, reason, run))

    def explain(self, call: Call) -> Explanation:
        """Decide without recording, charging or sending."""
        bundle = self.bundle
        return explain(call, self._whole_facts(call), bundle)

    async def handle(self, call: Call) -> Outcome:
        """Take one call from its decision to its outcome. Never raises; what breaks is `internal.error`."""
        bundle, started = self.bundle, self._world.monotonic_s()
        try:
            facts = self._facts(call)
            checked = engine.check(call, facts, bundle)
            judged = new(_Judged, (call, bundle, facts, checked))
            decision = checked if isinstance(checked, Refusal) else engine.propose(checked, facts, bundle)
            if decision.shadow is not None:
                self._count_flip(decision, decision.shadow)
            place = new(Place, self._world.ledger.next_in_run(call))
            if isinstance(decision, Permit):
                short = await self._record(decision, judged, place)
                if short is None:
                    return await self._send(decision, judged, place, started)
                decision, judged = short, judged._replace(facts=self._facts(call))
            outcome: Outcome = await self._refuse(decision, judged, place)
        except LedgerError as error:
            outcome = failed("gateway.unavailable", f"the call cannot be recorded: {error}", "no")
        except Exception as error:  # noqa: BLE001  # INVARIANT: a defect refuses; it never forwards and never escapes
            self._world.meter.defect("deciding a call", error)
            outcome = failed("internal.error", "the gate met a defect while deciding this call", "no")
        self._world.meter.ended(*labels(outcome), self._world.monotonic_s() - started)
        return outcome

    def _facts(self, call: Call) -> Facts:
        return self._world.ledger.facts(engine.needs(call), call.at_ms, self.situation)

    def _whole_facts(self, call: Call) -> Facts:
        """With what a refusal tells beyond what a decision reads."""
        return self._facts(call)._replace(reserved=self._world.reserves.amounts)

    async def _refuse(self, refusal: Refusal, judged: _Judged, place: Place) -> Refused:
        """Write why nothing is sent, and what that means for the run. Nobody waits for the disk."""
        call, bundle, facts, checked = judged
        consequence = engine.consequence(call, refusal, facts, bundle)
        told = consequence.refusal
        if refusal.read is not None and "short" in refusal.read:
            self._world.meter.short(refusal.read["short"]["key"])
        asked = self._asked(call, told) if isinstance(checked, Refusal) else self._judged(checked)
        event = refused(call, consequence, bundle, place, asked)
        await self._world.ledger.append(event, consequence.guards)
        if consequence.stop is not None:
            await self._stop(judged, place, consequence.stop, told)
        return Refused(told, _governing(told, judged))

    async def _stop(self, judged: _Judged, place: Place, why: str, refusal: Refusal) -> None:
        call = judged.call
        event = runs.stopped(place.run, call.principal.id, why, refusal.code.code, call.at_ms)
        await self._world.ledger.record(event, ())  # waited for: people are told, and no restart may forget it
        self._world.tell(event)

    def _count_flip(self, decision: Decision, shadow: Shadow) -> None:
        operation = decision.valid.operation if isinstance(decision, Permit) else decision.operation
        if operation is not None:
            self._world.meter.flipped(operation.key, shadow.decision)

    def _judged(self, valid: ValidCall) -> dict[str, Json]:
        return judged_json(valid, self._world.mask(valid.arguments, valid.operation.signature.masks))

    def _asked(self, call: Call, refusal: Refusal) -> dict[str, Json]:
        masked = self._world.mask(asked_json(call, refusal), unread(call.asked, refusal))
        return dict(masked.arguments) if masked.sealed is None else {**masked.arguments, "sealed": masked.sealed}

    async def _record(self, permit: Permit, judged: _Judged, place: Place) -> Refusal | None:
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
        return engine.shortage(permit, short, self._whole_facts(judged.call), judged.bundle)

    async def _send(self, permit: Permit, judged: _Judged, place: Place, started: float) -> Outcome:
        world = self._world
        exchange = Exchange(world, permit, place.run, started, _standing(permit, judged))
        try:
            if world.ledger.freezes() is not judged.facts.freezes:
                closed = self._closed_meanwhile(permit.valid, judged)
                if closed is not None:
                    return await exchange.withhold(closed)
            with self._deadlines.one():
                return await exchange.settle(await world.upstream.send(permit))
        except UpstreamError as error:
            return await exchange.fail(error.code, error.detail, error.sent, why=error.why)
        except TimeoutError:
            return await exchange.fail("upstream.timeout", world.overdue, "unknown")
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
    call, bundle, facts, _ = judged
    guards = bundle.budgets.guards(checked, subject_of(call, facts.run.id))
    return None if isinstance(guards, Uncounted) else _standing(Permit(checked, guards), judged)
