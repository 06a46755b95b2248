"""Whether a run may be closed: what of its plan is not done, and what could be done of it now (DESIGN §9).

RULE: complete means every step done. What failed, or may have happened, is as little done as what was never tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from toolgate.core.bundle import Bundle
from toolgate.core.codes import CODES
from toolgate.core.cursor import states
from toolgate.core.model import Recovery, Refusal
from toolgate.core.plan import Plan, PlanFacts, StepState

_NAMED: Final = 10  # steps told in one sentence
_ANYWAY: Final = 'close the run as it is with {"incomplete": true}'
_AGAIN: Final = "Propose the plan again with POST /-/plans, without what is done"


def skipped(facts: PlanFacts | None, bundle: Bundle) -> tuple[str, ...]:
    """The steps of a run's plan that are not done; none where there is no plan."""
    if facts is None:
        return ()
    return tuple(step for step, state in states(facts, bundle).items() if state != "done")


def incomplete(facts: PlanFacts | None, bundle: Bundle, at_ms: int) -> Refusal | None:
    """Why a run is not to be closed yet, and what to do of it next; None where all of it is done."""
    if facts is None:
        return None
    state = {step: each for step, each in states(facts, bundle).items() if each != "done"}
    if not state:
        return None
    code, plan = CODES["plan.incomplete"], facts.locked.plan
    named = ", ".join(f"`{step}` is {each}" for step, each in list(state.items())[:_NAMED])
    more = f", and {len(state) - _NAMED} more" if len(state) > _NAMED else ""
    detail = f"{len(state)} of {len(plan.steps)} steps of the plan are not done: {named}{more}"
    running = tuple(step for step, each in state.items() if each == "running")
    if at_ms >= facts.locked.expires_ms or bundle.courses.of(facts.locked, bundle).is_stale:
        return Refusal(code, detail, Recovery("replan", f"{_AGAIN}, or {_ANYWAY}.", waiting_on=running), stage="plan")
    ready = tuple(step for step, each in state.items() if each == "ready")
    hint = _hint(facts.locked.id, plan, state)
    return Refusal(code, detail, Recovery(code.action, hint, ready, waiting_on=running), stage="plan")


def _hint(plan_id: str, plan: Plan, state: Mapping[str, StepState]) -> str:
    first = next((step for step in plan.steps if state.get(step.id) == "ready"), None)
    if first is not None:
        return f"Take the step `{first.id}` ({first.name}, `{first.operation}`) now, or {_ANYWAY}."
    running = next((step for step, each in state.items() if each == "running"), None)
    if running is not None:
        return f"Wait until the step `{running}` has ended, then ask again, or {_ANYWAY}."
    return f"Revise the plan with PUT /-/plans/{plan_id}, or {_ANYWAY}."
