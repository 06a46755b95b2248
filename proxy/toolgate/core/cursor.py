"""The plan line of `decide`: which step of its run's plan a call is, and whether that may be called now (DESIGN §9).

RULE: in a run with a plan every call is a step of it, but for the operations in `free`. A step is sent when all it
depends on is done, at most once at a time and at most `attempts` times: guards see to that, in every ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from toolgate.core import waypoints
from toolgate.core.budget import BYTES, Uncounted, amount_of, exhausted_step, uncounted
from toolgate.core.canonical import canonical
from toolgate.core.model import OWN, Charge, Json, Permit, Refusal, Short, Taking, ValidCall, new
from toolgate.core.outputs import plan_json
from toolgate.core.plan import NO_RULES, Attempted, PlanFacts, PlanRules, StepState
from toolgate.core.waypoints import Follow

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.core.catalog import Operation
    from toolgate.core.course import Course, Station
    from toolgate.core.model import Facts
    from toolgate.core.pinned import Answers

_Chosen: TypeAlias = tuple[int, Iterable[str]]  # the place of a step, and the steps that had to do with the choice
_NEVER: Final = Attempted()
_OF_BYTES: Final = f":{BYTES}"
# Several steps fit and none may be called now: the first of these states that one of them is in tells why.
_TELLING: Final[tuple[StepState, ...]] = ("running", "waiting", "unknown", "failed", "done")


def planned(permit: Permit, facts: Facts, bundle: Bundle) -> Permit | Refusal:
    """The permit as an attempt at a step, with the step's guards; or why it is none now."""
    valid, rules, plan = permit.valid, bundle.plans, facts.plan
    call = valid.call
    asks_for_no_plan = plan is None and rules is NO_RULES and call.plan is None and call.step is None
    if asks_for_no_plan or call.principal is OWN:
        return permit
    if _is_free(valid, rules):
        return permit if plan is None else permit._replace(read=_read(permit, plan, ()))
    if plan is None:
        refusal = _without_plan(valid, rules)
        return permit if refusal is None else refusal._replace(read=permit.read)
    return _followed(permit, new(Follow, (valid, plan, bundle.courses.of(plan.locked, bundle), bundle)))


def is_required(operation: Operation, rules: PlanRules) -> bool:
    """Whether calls of this operation must be steps of a plan."""
    if operation.key in rules.free:
        return False
    return operation.effect in rules.required_effects or operation.key in rules.required_operations


def states(facts: PlanFacts, bundle: Bundle) -> dict[str, StepState]:
    """How each step stands, in document order."""
    return _states(bundle.courses.of(facts.locked, bundle), facts.steps)


def ready(facts: PlanFacts, bundle: Bundle) -> tuple[str, ...]:
    """The steps that may be called now, in document order."""
    return tuple(step_id for step_id, state in states(facts, bundle).items() if state == "ready")


def spent(permit: Permit, short: Short, facts: Facts, bundle: Bundle) -> Refusal:
    """A step's guard did not hold: somebody else took it first, or the step's budget is used up."""
    taking, plan = permit.step, facts.plan
    if taking is None or plan is None:
        raise ValueError("a step's guard without a step")
    return _spent(permit, taking, short, plan, bundle)._replace(read=_read(permit, plan))


def _spent(permit: Permit, taking: Taking, short: Short, plan: PlanFacts, bundle: Bundle) -> Refusal:
    guard = short.guard
    follow = Follow(permit.valid, plan, bundle.courses.of(plan.locked, bundle), bundle)
    at = follow.course.places[taking.step]
    if guard.key.startswith("s:") and isinstance(guard, Charge):
        return exhausted_step(follow.course.stations[at].step, guard.key.rpartition(":")[2], short, permit.valid)
    every = states(plan, bundle)
    if every[taking.step] == "ready":  # as far as is known here: another gate has begun this very attempt
        return waypoints.running(follow, at, every)
    return _not_now(follow, (at,))


def _followed(permit: Permit, follow: Follow) -> Permit | Refusal:
    """The permit as an attempt at a step of the plan, or why it is none."""
    named = follow.valid.call.step
    found = waypoints.outdated(follow) or (_inferred(follow) if named is None else _named(follow, named))
    if isinstance(found, Refusal):
        return found._replace(read=_read(permit, follow.plan))
    at, weighed = found
    return _taking(permit, follow, at, _read(permit, follow.plan, weighed))


def _is_free(valid: ValidCall, rules: PlanRules) -> bool:
    """Whether all that the call means may be called beside the plan."""
    return bool(rules.free) and all(each.operation.key in rules.free for each in (valid, *valid.also))


def _read(permit: Permit, plan: PlanFacts, steps: Iterable[str] | None = None) -> dict[str, Json]:
    """What the decision read so far, and of the plan: these steps, or where it is told why not, all of them."""
    told = plan_json(plan, steps)
    return {"plan": told} if permit.read is None else {**permit.read, "plan": told}


def _weighed(follow: Follow, fitting: Sequence[int]) -> Iterable[str]:
    """The steps that had to do with which step a permitted call is. INVARIANT: without the others it is decided the same."""
    valid, course = follow.valid, follow.course
    lanes = (course.by_operation.get(each.operation.key) for each in (valid, *valid.also))
    found = [lane.reads for lane in lanes if lane is not None]
    found += [course.stations[at].judges for at in fitting]
    return dict.fromkeys(chain.from_iterable(found))


def _without_plan(valid: ValidCall, rules: PlanRules) -> Refusal | None:
    call = valid.call
    if call.plan is not None:
        return waypoints.no_such_plan(valid, call.plan)
    needing = next((each.operation for each in (valid, *valid.also) if is_required(each.operation, rules)), None)
    if needing is None and call.step is None:
        return None
    return waypoints.no_plan(valid, call.step if needing is None else None)


def _inferred(follow: Follow) -> _Chosen | Refusal:
    """The step that a call is which names none."""
    fitting = _fitting(follow)
    if isinstance(fitting, Refusal):
        return fitting
    at = _chosen(follow, fitting)
    return at if isinstance(at, Refusal) else (at, _weighed(follow, fitting))


def _chosen(follow: Follow, fitting: Sequence[int]) -> int | Refusal:
    """The place of the step that this call is, of those that it fits."""
    steps, stations = follow.plan.steps, follow.course.stations
    ready_now = [at for at in fitting if _is_ready(follow.course, at, steps)]
    if not ready_now:
        return _not_now(follow, fitting)
    if len(ready_now) > 1 and not _are_alike([stations[at] for at in ready_now]):
        return waypoints.ambiguous(follow, ready_now, _all(follow))
    return ready_now[0]


def _fitting(follow: Follow) -> list[int] | Refusal:
    """Every step of its operation that a call may be by its arguments."""
    valid, answers, course, _ = follow
    meant = [(each, course.by_operation.get(each.operation.key)) for each in (valid, *valid.also)]
    lanes = [(each.arguments, lane) for each, lane in meant if lane is not None]
    if not lanes:
        return waypoints.unplanned(follow, _all(follow))
    found = [at for arguments, lane in lanes for at in lane.fitting(arguments, answers, course.stations)]
    if found:
        return found
    return waypoints.changed(follow, [(at, given) for given, lane in lanes for at in lane.places], _all(follow))


def _named(follow: Follow, named: str) -> _Chosen | Refusal:
    """The step that a call names."""
    valid, answers, course, _ = follow
    at = course.places.get(named)
    if at is None:
        return waypoints.misnamed(follow, named, at, _all(follow))
    station = course.stations[at]
    own: ValidCall | None = valid
    if valid.operation.key != station.step.operation:
        own = next((each for each in valid.also if each.operation.key == station.step.operation), None)
    if own is None:
        return waypoints.misnamed(follow, named, at, _all(follow))
    if not _is_said(own, station, answers):
        return waypoints.changed(follow, [(at, own.arguments)], _all(follow))
    return (at, station.judges) if _is_ready(course, at, answers.steps) else _not_now(follow, (at,))


def _is_said(valid: ValidCall, station: Station, answers: Answers) -> bool:
    """Whether a call's arguments are what the step says; where it says literals alone, the same request is not held to them again."""
    fitting, literals = valid.fitting, station.literals
    if fitting is None or literals is None:
        return station.takes(valid.arguments, answers)
    if fitting.literals == literals:
        return True
    if not station.takes(valid.arguments, answers):
        return False
    fitting.literals = literals
    return True


def _is_ready(course: Course, at: int, steps: Mapping[str, Attempted]) -> bool:
    station = course.stations[at]
    tried = steps.get(station.step.id, _NEVER)
    if tried is not _NEVER and _own_state(station, tried) != "ready":
        return False
    for need in station.needs:  # noqa: SIM110 (a generator costs as much as what it asks)
        if steps.get(course.stations[need].step.id, _NEVER).state != "done":
            return False
    return True


def _own_state(station: Station, tried: Attempted) -> StepState:
    """How a step stands by its own attempts."""
    if tried.state in {"done", "running"}:
        return tried.state
    if tried.state == "unknown" and not station.is_idempotent:
        return "unknown"
    return "failed" if tried.attempts >= station.step.attempts else "ready"


def _states(course: Course, steps: Mapping[str, Attempted]) -> dict[str, StepState]:
    found: list[StepState] = ["waiting"] * len(course.stations)
    for at in course.order:
        station = course.stations[at]
        own = _own_state(station, steps.get(station.step.id, _NEVER))
        if own == "ready":
            own = "failed" if station.is_stuck(steps) else _among([found[need] for need in station.needs])
        found[at] = own
    return {station.step.id: found[at] for at, station in enumerate(course.stations)}


def _among(needed: Sequence[StepState]) -> StepState:
    """How a step stands by what it depends on."""
    if "failed" in needed:
        return "failed"
    return "ready" if all(state == "done" for state in needed) else "waiting"


def _all(follow: Follow) -> dict[str, StepState]:
    return _states(follow.course, follow.plan.steps)


def _not_now(follow: Follow, fitting: Sequence[int]) -> Refusal:
    """Why none of the steps that this call may be can be called now."""
    every = _all(follow)
    ids = [follow.course.stations[at].step.id for at in fitting]
    first = {every[each]: at for each, at in reversed(list(zip(ids, fitting, strict=True)))}
    state = next(each for each in _TELLING if each in first)
    at = first[state]
    match state:
        case "running":
            return waypoints.running(follow, at, every)
        case "waiting":
            return waypoints.waiting(follow, at, every)
        case "unknown":
            return waypoints.unknown(follow, at, at, every)
        case "failed":
            return waypoints.failed(follow, at, every)
        case _:
            return waypoints.done(follow, at, every)


def _are_alike(stations: Iterable[Station]) -> bool:
    """Whether steps are interchangeable: equal in operation and in what they say of the arguments."""
    return len({(each.step.operation, canonical(each.step.arguments)) for each in stations}) == 1


def _taking(permit: Permit, follow: Follow, at: int, read: Mapping[str, Json]) -> Permit | Refusal:
    valid, guards, statements, shadow, _, _, approval, asks, _ = permit
    station, plan = follow.course.stations[at], follow.plan.locked.id
    step = station.step
    budget = _budget(station, valid, plan) if station.budget else ()
    if isinstance(budget, Uncounted):
        return uncounted(valid, budget)._replace(read=read)
    attempt = follow.plan.steps.get(step.id, _NEVER).attempts + 1
    of_bytes = tuple([charge for charge in budget if charge.key.endswith(_OF_BYTES)]) if budget else ()
    taking = new(Taking, (plan, step.id, attempt, station.wanted, step.timeout_ms, of_bytes))
    # INVARIANT: one attempt by each number; who takes the next number knows how the one before has ended
    turn = new(Charge, (f"p:{plan}:{step.id}#{attempt}", 1, 1, None))
    return new(Permit, (valid, (*guards, turn, *budget), statements, shadow, read, taking, approval, asks, None))


def _budget(station: Station, valid: ValidCall, plan: str) -> Sequence[Charge] | Uncounted:
    charges = []
    for dimension, given in station.budget:
        amount = amount_of(dimension, valid)
        if isinstance(amount, Uncounted):
            return amount
        if amount:
            charges.append(Charge(f"s:{plan}:{station.step.id}:{dimension}", amount, given))
    return charges
