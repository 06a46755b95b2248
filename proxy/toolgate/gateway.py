"""The one path of a call: check, decide, record, send, settle, finish (DESIGN §2).

RULE: straight statements. Nothing is sent before its `Decided` is committed, and nothing ends without being written.
"""

from __future__ import annotations

import asyncio

from toolgate.core import engine
from toolgate.core.bundle import Bundle
from toolgate.core.events import Place, asked_json, judged_json, permitted, refused, unread
from toolgate.core.explanation import Explanation, explain
from toolgate.core.model import (
    Asked,
    Call,
    Decision,
    Facts,
    Json,
    Outcome,
    Permit,
    Principal,
    Refusal,
    Refused,
    Shadow,
    Situation,
    ValidCall,
)
from toolgate.deadlines import Deadlines
from toolgate.exchange import Exchange, World, failed, labels
from toolgate.ports import LedgerError, UpstreamError


class Gateway:
    """Takes calls, answers outcomes. Holds the bundle; a call keeps the one it began with."""

    def __init__(self, world: World, bundle: Bundle) -> None:
        self._world = world
        self._deadlines = Deadlines(world.call_timeout_s)
        self.bundle = bundle
        self.situation = Situation()

    @property
    def situation(self) -> Situation:
        """What is known now of the environment: one reference, replaced whole; nothing is read on the path of a call."""
        return self._known.situation

    @situation.setter
    def situation(self, situation: Situation) -> None:
        self._known = Facts(situation=situation)

    def swap(self, bundle: Bundle) -> None:
        """Serve new calls from another bundle: one reference, so no call sees two."""
        self.bundle = bundle

    def new_call(self, principal: Principal, asked: Asked, reason: str | None = None) -> Call:
        at_ms = self._world.now_ms()
        return Call(self._world.new_id(), at_ms, principal, asked, reason)

    def explain(self, call: Call) -> Explanation:
        """Decide without recording, charging or sending."""
        bundle = self.bundle
        return explain(call, self._facts(call, bundle), bundle)

    async def handle(self, call: Call) -> Outcome:
        """Take one call from its decision to its outcome. Never raises; what breaks is `internal.error`."""
        bundle, started = self.bundle, self._world.monotonic_s()
        try:
            facts = self._facts(call, bundle)
            checked = engine.check(call, facts, bundle)
            decision = checked if isinstance(checked, Refusal) else engine.decide(checked, facts, bundle)
            if decision.shadow is not None:
                self._count_flip(decision, decision.shadow)
            if isinstance(decision, Refusal):
                outcome: Outcome = await self._refuse(call, decision, bundle, checked)
            else:
                return await self._permit(decision, bundle, started)
        except LedgerError as error:
            outcome = failed("gateway.unavailable", f"the journal cannot be written: {error}", "no")
        except Exception as error:  # noqa: BLE001  # INVARIANT: a defect refuses; it never forwards and never escapes
            self._world.meter.defect("deciding a call", error)
            outcome = failed("internal.error", "the gate met a defect while deciding this call", "no")
        self._world.meter.ended(*labels(outcome), self._world.monotonic_s() - started)
        return outcome

    def _facts(self, call: Call, bundle: Bundle) -> Facts:
        keys = engine.needs(call, bundle)
        return self._world.ledger.facts(keys, call.at_ms, self._known.situation) if keys else self._known

    async def _refuse(self, call: Call, refusal: Refusal, bundle: Bundle, checked: ValidCall | Refusal) -> Refused:
        place = Place(*self._world.ledger.next_in_run(call.principal.id, call.at_ms))
        asked = self._asked(call, refusal) if isinstance(checked, Refusal) else self._judged(checked)
        await self._world.ledger.append(refused(call, refusal, bundle, place, asked))
        return Refused(refusal)

    def _count_flip(self, decision: Decision, shadow: Shadow) -> None:
        operation = decision.valid.operation if isinstance(decision, Permit) else decision.operation
        if operation is not None:
            self._world.meter.flipped(operation.key, shadow.decision)

    def _judged(self, valid: ValidCall) -> dict[str, Json]:
        return judged_json(valid, self._world.mask(valid.arguments, valid.operation.signature.masks))

    def _asked(self, call: Call, refusal: Refusal) -> dict[str, Json]:
        masked = self._world.mask(asked_json(call, refusal), unread(call.asked, refusal))
        return dict(masked.arguments) if masked.sealed is None else {**masked.arguments, "sealed": masked.sealed}

    async def _permit(self, permit: Permit, bundle: Bundle, started: float) -> Outcome:
        world, valid = self._world, permit.valid
        place = Place(*world.ledger.next_in_run(valid.call.principal.id, valid.call.at_ms))
        if await world.ledger.record(permitted(permit, bundle, place, self._judged(valid)), permit.charges) is not None:
            raise LedgerError("a charge was not covered")  # no budgets yet, so no guard can fail
        exchange = Exchange(world, permit, place.run, started)
        try:
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
