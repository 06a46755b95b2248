"""The agent's paths about plans: propose one, try one, revise it, see how far it has come (DESIGN §9, §14).

RULE: whether a plan is good is said by `planning`, and never here. What belongs to another principal is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from toolgate.core.bundle import Bundle
from toolgate.core.cursor import states
from toolgate.core.journal import timestamp
from toolgate.core.model import Json, OpenedRun, Principal, Refusal
from toolgate.core.plan import LockedPlan, PlanFacts, Step
from toolgate.core.planform import document_of
from toolgate.listeners.answers import Answer
from toolgate.listeners.roles import requiring
from toolgate.listeners.routes import Respond, Visit, invalid, json_of, missing
from toolgate.listeners.unsaid import Discretion
from toolgate.listeners.voice import Voice
from toolgate.ports import LedgerError

_AS_JSON: Final = "Send the plan as one JSON object with `goal` and `steps`, as `Content-Type: application/json`."
_PROPOSE: Final = "Use the id or digest that POST /-/plans told you, or propose a plan there."
_YES: Final = frozenset({"1", "true"})
_NO: Final = frozenset({"0", "false"})


class PlanBook(Protocol):
    """What is done with plans (`toolgate.plans`). `propose` and `revise` raise LedgerError."""

    async def check(
        self, principal: Principal, run: OpenedRun | None, document: Json, revises: str | None = None
    ) -> LockedPlan | Refusal: ...
    async def propose(self, principal: Principal, run: OpenedRun | None, document: Json) -> PlanFacts | Refusal: ...
    async def revise(
        self, principal: Principal, run: OpenedRun | None, plan_id: str, document: Json
    ) -> PlanFacts | Refusal | None: ...
    async def catch_up(self, named: str) -> None: ...
    def show(self, principal: Principal, named: str) -> PlanFacts | None: ...
    def find(self, named: str) -> PlanFacts | None: ...
    def replans_left(self, locked: LockedPlan) -> int: ...


class PlansApi:
    """Answers `/-/plans` and `/-/plans/{plan}` to agents."""

    def __init__(
        self,
        plans: PlanBook,
        bundle: Callable[[], Bundle],
        discretion: Discretion,
        counted: Callable[[str], None],
        voice: Voice,
    ) -> None:
        self._plans = plans
        self._bundle = bundle
        self._discretion = discretion
        self._counted = counted
        self._voice = voice
        self.routes: Mapping[str, Respond] = {
            "POST /-/plans": self._propose,
            "PUT /-/plans/{plan}": self._revise,
            "GET /-/plans/{plan}": self._show,
        }

    async def _propose(self, visit: Visit) -> Answer:
        is_trial, document = _is_trial(visit), json_of(visit.request, "a plan", _AS_JSON)
        for fault in (is_trial, document):
            if isinstance(fault, Refusal):
                return self._refused(fault, visit)
        if is_trial:
            return await self._tried(visit, document)
        try:
            locked = await self._plans.propose(visit.principal, visit.caller.run, document)
        except LedgerError as error:
            return self._unwritten(error, visit)
        return await self._answered(locked, document, visit, status=201)

    async def _revise(self, visit: Visit) -> Answer:
        is_trial, document = _is_trial(visit), json_of(visit.request, "a plan", _AS_JSON)
        for fault in (is_trial, document):
            if isinstance(fault, Refusal):
                return self._refused(fault, visit)
        await self._plans.catch_up(visit.segment)
        known = self._plans.show(visit.principal, visit.segment)
        if known is None:
            return self._missing(visit)
        if is_trial:
            return await self._tried(visit, document, revises=known.locked.id)
        try:
            locked = await self._plans.revise(visit.principal, visit.caller.run, visit.segment, document)
        except LedgerError as error:
            return self._unwritten(error, visit)
        return self._missing(visit) if locked is None else await self._answered(locked, document, visit, status=200)

    async def _show(self, visit: Visit) -> Answer:
        await self._plans.catch_up(visit.segment)
        facts = self._plans.show(visit.principal, visit.segment)
        return self._missing(visit) if facts is None else visit.json(self._shown(facts))

    async def _tried(self, visit: Visit, document: Json, revises: str | None = None) -> Answer:
        """Whether it would be locked, and as what. Nothing is written."""
        tried = await self._plans.check(visit.principal, visit.caller.run, document, revises)
        if isinstance(tried, Refusal):
            return self._refused(await self._discretion.told(tried, document, visit.principal), visit)
        steps = [_step_json(step, "waiting" if step.depends_on else "ready") for step in tried.plan.steps]
        return visit.json(_head_json(tried, self._left(tried)) | {"plan": revises, "dry_run": True, "steps": steps})

    async def _answered(self, locked: PlanFacts | Refusal, document: Json, visit: Visit, *, status: int) -> Answer:
        if isinstance(locked, Refusal):
            self._counted(locked.code.code)
            return self._refused(await self._discretion.told(locked, document, visit.principal), visit)
        self._counted("locked")
        return visit.json(plan_json(locked, self._bundle(), self._left(locked.locked)), status)

    def _shown(self, facts: PlanFacts) -> Json:
        return shown_json(facts, self._bundle(), self._left(facts.locked))

    def _left(self, locked: LockedPlan) -> int:
        return self._plans.replans_left(locked)

    def _missing(self, visit: Visit) -> Answer:
        return self._refused(missing("plan", visit.segment, _PROPOSE), visit)

    def _refused(self, refusal: Refusal, visit: Visit) -> Answer:
        return self._voice.own_refused(refusal, bodiless=visit.bodiless)

    def _unwritten(self, error: LedgerError, visit: Visit) -> Answer:
        detail = f"the plan cannot be recorded: {error}"
        return self._voice.failed("gateway.unavailable", detail, "no", bodiless=visit.bodiless)


class PlansForOperators:
    """Answers `/-/plans/{plan}` on the admin listener: any principal's."""

    def __init__(self, plans: PlanBook, bundle: Callable[[], Bundle], voice: Voice) -> None:
        self._plans = plans
        self._bundle = bundle
        self._voice = voice
        self.routes: Mapping[str, Respond] = {"GET /-/plans/{plan}": requiring("viewer", self._show, voice)}

    async def _show(self, visit: Visit) -> Answer:
        await self._plans.catch_up(visit.segment)
        facts = self._plans.find(visit.segment)
        if facts is None:
            hint = "Use the id or digest of a plan, as `PlanLocked` in the journal has it."
            return self._voice.own_refused(missing("plan", visit.segment, hint), bodiless=visit.bodiless)
        told = shown_json(facts, self._bundle(), self._plans.replans_left(facts.locked))
        return visit.json(told | {"principal": facts.locked.principal})


def plan_json(facts: PlanFacts, bundle: Bundle, replans_left: int) -> dict[str, Json]:
    """A plan that is locked, and how far its run has come with it."""
    return _head_json(facts.locked, replans_left) | {"steps": steps_json(facts, bundle)}


def shown_json(facts: PlanFacts, bundle: Bundle, replans_left: int) -> dict[str, Json]:
    """The same with the plan itself, as it can be proposed again."""
    return plan_json(facts, bundle, replans_left) | {"document": document_of(facts.locked.plan)}


def steps_json(facts: PlanFacts, bundle: Bundle) -> list[dict[str, Json]]:
    """Each step in document order, and what it is in."""
    state = states(facts, bundle)
    return [_step_json(step, state[step.id]) for step in facts.locked.plan.steps]


def _step_json(step: Step, state: str) -> dict[str, Json]:
    return {"stepId": step.id, "name": step.name, "operationId": step.operation, "state": state}


def _head_json(locked: LockedPlan, replans_left: int) -> dict[str, Json]:
    return {
        "plan": locked.id,
        "digest": locked.digest,
        "revision": locked.revision,
        "environment": locked.environment,
        "run": locked.run,
        "goal": locked.plan.goal,
        "expires_at": timestamp(locked.expires_ms),
        "replans_left": replans_left,
    }


def _is_trial(visit: Visit) -> bool | Refusal:
    query = visit.query("dry_run")
    if isinstance(query, Refusal):
        return query
    text = query.get("dry_run", "0")
    if text not in _YES | _NO:
        return invalid("/dry_run", "enum", "`dry_run` is 1 or 0")
    return text in _YES
