"""The plan that a case has locked in its run: `facts.plan`.

RULE: it is held to what every proposal is held to; a plan that no gate would lock decides the case as `plan.rejected`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from toolgate.core import engine
from toolgate.core.bundle import Bundle
from toolgate.core.mask import mask_key
from toolgate.core.model import Call, Facts, Refusal
from toolgate.core.outputs import output_digest
from toolgate.core.plan import Attempted, LockedPlan, Plan, PlanFacts, Step
from toolgate.core.planning import Now, lock, rejected, validated

if TYPE_CHECKING:
    from toolgate.load.casefile import PlanEntry
    from toolgate.testing.cases import Case

_ID: Final = "plan_test"
_GOAL: Final = "what the case says"
_CALL: Final = "call"  # the step of a plan that nothing is said of
_KEY: Final = mask_key(bytes(32))
_CHANGED: Final = "something else"
_UNSAID: Final = "unsaid"  # the digest of an answer that the case does not tell: no value has it


def plan_of(case: Case, call: Call, facts: Facts, bundle: Bundle) -> PlanFacts | Refusal | None:
    """The plan of the run and how far it has come; None: it has none. A refusal where it would not be locked."""
    entry = case.plan
    if entry is None:
        return None
    plan = _of_this_call(call, facts, bundle) if entry.steps is None else _of_steps(entry.steps, call, facts, bundle)
    if not isinstance(plan, Plan):
        return plan
    locked = lock(
        plan,
        bundle,
        plan_id=_ID,
        principal=call.principal.id,
        run=facts.run.id,
        at_ms=call.at_ms - entry.age_s * 1000,
    )
    return PlanFacts(_changed(locked) if entry.stale else locked, _attempted(entry, plan), _KEY)


def _of_this_call(call: Call, facts: Facts, bundle: Bundle) -> Plan | None:
    """A plan that has the call as its only step; None where the call can be no step."""
    valid = engine.check(call, facts, bundle)
    if isinstance(valid, Refusal) or valid.operation.key in bundle.plans.free:
        return None
    return Plan(_GOAL, (Step(_CALL, _CALL, valid.operation.key),))


def _of_steps(steps: list[object], call: Call, facts: Facts, bundle: Bundle) -> Plan | Refusal:
    found = validated({"goal": _GOAL, "steps": steps}, call.principal, bundle, Now(facts, call.at_ms, facts.run.id))
    return found if isinstance(found, Plan) else rejected(found)


def _changed(locked: LockedPlan) -> LockedPlan:
    return replace(locked, digest=_CHANGED, revision=_CHANGED, relies_on=_CHANGED)


def _outputs_of(plan: Plan, step_id: str) -> Iterable[str]:
    return next((each.outputs for each in plan.steps if each.id == step_id), ())


def _attempted(entry: PlanEntry, plan: Plan) -> dict[str, Attempted]:
    states, most = entry.states, {step.id: step.attempts for step in plan.steps}
    found: dict[str, Attempted] = {}
    for step_id in {**states, **entry.attempts}:
        state = states.get(step_id)
        attempts = entry.attempts.get(step_id, most[step_id] if state == "failed" else 1)
        said = {name: output_digest(value, _KEY) for name, value in entry.outputs.get(step_id, {}).items()}
        outputs = {**dict.fromkeys(_outputs_of(plan, step_id), _UNSAID), **said}
        found[step_id] = Attempted(state, attempts, outputs)
    return found
