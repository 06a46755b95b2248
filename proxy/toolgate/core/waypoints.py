"""What a call is told that is no step of its plan, or none now: why, and what may be done instead.

RULE: each refusal names a step that may be taken now, and where there is none, the one way on: wait, revise, finish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from toolgate.core.codes import CODES
from toolgate.core.model import Hold, Json, Recovery, Refusal, ValidCall, Violation
from toolgate.core.pinned import SURPLUS, UNANSWERED, hider, misfits, missing
from toolgate.core.suggest import Vocabulary, shortened
from toolgate.core.violations import MOST_VIOLATIONS
from toolgate.core.wiretext import echo, pointer

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.core.course import Course, Station
    from toolgate.core.plan import PlanFacts, Step, StepState

STAGE: Final = "plan"
_NAMED: Final = 3  # steps a hint names
_LISTED: Final = 20  # steps an answer lists
_AGAIN_S: Final = 1.0  # when a step has ended, nobody knows

States = Mapping[str, "StepState"]


class Follow(NamedTuple):
    """A call, and the plan it is held against."""

    valid: ValidCall
    plan: PlanFacts
    course: Course
    bundle: Bundle

    def station(self, at: int) -> Station:
        return self.course.stations[at]


def no_such_plan(valid: ValidCall, named: str) -> Refusal:
    """It names a plan, and its run has none."""
    return _plain(
        valid,
        "plan.stale",
        f"no plan is locked in this run, and the call names {echo(named)}",
        "Propose the plan again with POST /-/plans, or leave `Toolgate-Plan` out.",
    )


def no_plan(valid: ValidCall, step: str | None) -> Refusal:
    """Its operation needs a plan, or it names a step, and its run has no plan."""
    if step is not None:
        return _plain(
            valid, "plan.required", f"the call names the step {echo(step)}, and no plan is locked in this run"
        )
    return _plain(valid, "plan.required", f"`{valid.operation.key}` may be called as a step of a locked plan only")


def outdated(follow: Follow) -> Refusal | None:
    """The plan is not the one that is meant, its time is over, or the ground under it has changed."""
    locked, call = follow.plan.locked, follow.valid.call
    if call.plan is not None and call.plan not in {locked.id, locked.digest}:
        detail = (
            f"the call names the plan {echo(call.plan)}, and the plan of this run is `{locked.id}`, `{locked.digest}`"
        )
        return _plain(
            follow.valid, "plan.stale", detail, f"Read GET /-/plans/{locked.id} and follow the plan as it is now."
        )
    if call.at_ms >= locked.expires_ms:
        return _plain(follow.valid, "plan.expired", f"the time of plan `{locked.id}` is over")
    if follow.course.is_stale:
        detail = (
            f"what plan `{locked.id}` relies on has changed since it was locked: an operation of it, "
            "a policy on one, or who must agree to plans"
        )
        return _plain(follow.valid, "plan.stale", detail)
    return None


def unplanned(follow: Follow, every: States) -> Refusal:
    return _told(follow, "plan.unplanned", f"`{follow.valid.operation.key}` is not in the plan", every)


def misnamed(follow: Follow, named: str, at: int | None, every: States) -> Refusal:
    """It names a step that the plan does not have, or one of another operation."""
    if at is not None:
        step = follow.station(at).step
        detail = f"step `{step.id}` calls `{step.operation}`, not `{follow.valid.operation.key}`"
        return _told(follow, "plan.unplanned", detail, every)
    meant = Vocabulary(follow.course.places).near(named, 1)
    aid = f"; did you mean `{meant[0]}`?" if meant else ""
    return _told(follow, "plan.unplanned", f"the plan has no step {echo(named)}{aid}", every)


def ambiguous(follow: Follow, places: Sequence[int], every: States) -> Refusal:
    ids = [follow.station(at).step.id for at in places[:_LISTED]]
    way = " or ".join(f"`Toolgate-Step: {each}`" for each in ids[:_NAMED])
    return _told(
        follow,
        "plan.step_ambiguous",
        f"`{follow.valid.operation.key}` may be any of the steps {_listed(ids)}",
        every,
        hint=f"Say which step it is: send the call with {way}.",
        alternatives=tuple(ids),
    )


def changed(follow: Follow, candidates: Sequence[tuple[int, Mapping[str, Json]]], every: States) -> Refusal:
    """The operation is planned, and the arguments are none of those that were."""
    ids = [follow.station(at).step.id for at, _ in candidates]
    open_ones = [each for each, step_id in zip(candidates, ids, strict=True) if every[step_id] != "done"] or candidates
    found = [(violations_of(follow, at, arguments), at) for at, arguments in open_ones[:_LISTED]]
    violations, at = min(found, key=lambda each: len(each[0]))
    step = follow.station(at).step
    first = f": {violations[0].path} {violations[0].message}" if violations else ""
    told = _told(
        follow,
        "plan.arguments_changed",
        f"these are not the planned arguments of step `{step.id}`{first}",
        every,
        hint=f"{_mend(violations)} for step `{step.id}` and send the call again."
        if every[step.id] == "ready"
        else None,
        violations=violations[:MOST_VIOLATIONS],
    )
    stuck = [each for each in violations if each.keyword == UNANSWERED]
    return _unanswered(told, stuck, step, follow) if stuck else told


def _mend(violations: Sequence[Violation]) -> str:
    """What to do about these, in the words of a sentence's beginning."""
    surplus = [f"`{each.path}`" for each in violations if each.keyword == SURPLUS][:_NAMED]
    others = [f"`{each.path}`" for each in violations if each.keyword != SURPLUS][:_NAMED]
    ways = [f"leave {', '.join(surplus)} out"] if surplus else []
    if others or not surplus:
        ways.insert(0, f"set {', '.join(others) or 'the arguments'} as the plan has it")
    way = " and ".join(ways)
    return way[0].upper() + way[1:]


def _unanswered(told: Refusal, stuck: Sequence[Violation], step: Step, follow: Follow) -> Refusal:
    """It can never be sent as it is planned, whatever the call says: only another plan helps."""
    where = ", ".join(f"`{each.path}`" for each in stuck[:_NAMED])
    hint = (
        f"Revise the plan with PUT /-/plans/{follow.plan.locked.id}: "
        f'in step `{step.id}` leave {where} out, or write `{{"$constraint": {{…}}}}` there.'
    )
    return told._replace(recovery=told.recovery._replace(action="replan", hint=hint))


def violations_of(follow: Follow, at: int, arguments: Mapping[str, Json]) -> tuple[Violation, ...]:
    """Where the arguments are not what a step says."""
    station, hidden = follow.station(at), hider(follow.valid.operation.signature.masks)
    found: list[Violation] = []
    for name, pinned in station.pins:
        place = pointer("", name)
        if name in arguments:
            found += misfits(pinned, arguments[name], place, follow.plan, hidden)
        else:
            found.append(missing(pinned, place, hidden))
    return tuple(found)


def running(follow: Follow, at: int, every: States) -> Refusal:
    """The very step is on its way."""
    step = follow.station(at).step
    return _held(follow, step, f"step `{step.id}` is running; it is sent once at a time", every)


def waiting(follow: Follow, at: int, every: States) -> Refusal:
    """Something it depends on is not done yet: on its way, or not begun."""
    step, needed = follow.station(at).step, _needed(follow, at)
    unsure = next((need for need in needed if every[follow.station(need).step.id] == "unknown"), None)
    if unsure is not None:
        return unknown(follow, at, unsure, every)
    open_ones = [follow.station(need).step for need in needed if every[follow.station(need).step.id] != "done"]
    ids = tuple(each.id for each in open_ones)
    if all(every[each] == "running" for each in ids):
        return _held(follow, open_ones[0], f"step `{step.id}` waits for {_listed(ids)}, still running", every, ids)
    reason = _reason(follow, step, open_ones)
    detail = f"step `{step.id}` comes after {_listed(ids)}{f': {reason}' if reason else ''}"
    return _told(follow, "plan.out_of_order", detail, every, waiting_on=ids[:_LISTED])


def unknown(follow: Follow, at: int, unsure: int, every: States) -> Refusal:
    """A step may have been done or not, so that neither it nor what depends on it is sent."""
    step, doubtful = follow.station(at).step, follow.station(unsure).step
    after = "" if at == unsure else f", and step `{step.id}` comes after it"
    return _told(
        follow,
        "plan.outcome_unknown",
        f"whether step `{doubtful.id}` was done is not known{after}",
        every,
        hint=f"Find out whether step `{doubtful.id}` took effect, then revise the plan with "
        f"PUT /-/plans/{follow.plan.locked.id}: leave it out if it did, or give it another stepId to do it again.",
        waiting_on=() if at == unsure else (doubtful.id,),
    )


def failed(follow: Follow, at: int, every: States) -> Refusal:
    """No attempt is left, or what it depends on failed."""
    broken = [
        follow.station(need).step.id for need in _needed(follow, at) if every[follow.station(need).step.id] == "failed"
    ]
    if not broken:
        return exhausted(follow, at, every)
    step = follow.station(at).step
    detail = f"step `{step.id}` comes after {_listed(broken)}, which failed"
    return _told(follow, "plan.dependency_failed", detail, every, waiting_on=tuple(broken[:_LISTED]))


def exhausted(follow: Follow, at: int, every: States) -> Refusal:
    step = follow.station(at).step
    times = "once" if step.attempts == 1 else f"{step.attempts} times"
    detail = f"step `{step.id}` was sent {times}, as often as it may be, and did not succeed"
    return _told(follow, "plan.attempts_exhausted", detail, every, hint=_other(follow, every))


def done(follow: Follow, at: int, every: States) -> Refusal:
    step = follow.station(at).step
    return _told(follow, "plan.step_done", f"step `{step.id}` is done already", every)


def _held(follow: Follow, on: Step, detail: str, every: States, waiting_on: tuple[str, ...] = ()) -> Refusal:
    """Not yet: the gateway waits for a step, and tells this only when that did not help."""
    locked, call, rules = follow.plan.locked, follow.valid.call, follow.bundle.plans
    told = _told(
        follow,
        "plan.step_not_ready",
        detail,
        every,
        hint=f"Wait until step `{on.id}` has ended, then repeat this call.",
        waiting_on=waiting_on or (on.id,),
        retry_after_s=_AGAIN_S,
    )
    return told._replace(hold=Hold(call.at_ms + rules.hold_ms, locked.id, on.id)) if rules.hold_ms else told


def _needed(follow: Follow, at: int) -> tuple[int, ...]:
    return follow.station(at).needs


def _reason(follow: Follow, step: Step, before: Sequence[Step]) -> str | None:
    """The operator's own words on this order."""
    operations = {each.operation for each in before}
    fitting = (
        each.reason
        for each in follow.bundle.plans.order
        if each.operation == step.operation and not operations.isdisjoint(each.after)
    )
    return next((each for each in fitting if each), None)


def _told(  # noqa: PLR0913 (what an answer is made of)
    follow: Follow,
    code: str,
    detail: str,
    every: States,
    *,
    hint: str | None = None,
    alternatives: tuple[str, ...] | None = None,
    waiting_on: tuple[str, ...] = (),
    retry_after_s: float | None = None,
    violations: tuple[Violation, ...] = (),
) -> Refusal:
    row = CODES[code]
    ready = tuple(step_id for step_id, state in every.items() if state == "ready")[:_LISTED]
    recovery = Recovery(
        row.action,
        hint or _way(follow, every),
        ready if alternatives is None else alternatives,
        retry_after_s,
        waiting_on,
    )
    return Refusal(row, detail, recovery, STAGE, violations, operation=follow.valid.operation)


def _plain(valid: ValidCall, code: str, detail: str, hint: str | None = None) -> Refusal:
    row = CODES[code]
    return Refusal(row, detail, Recovery(row.action, hint or row.hint), STAGE, operation=valid.operation)


def _way(follow: Follow, every: States) -> str:
    """What may be done now, in one sentence."""
    steps = [each.step for each in follow.course.stations]
    ready = [each for each in steps if every[each.id] == "ready"]
    if ready:
        return f"Take {' or '.join(map(_spoken, ready[:_NAMED]))} now."
    on_its_way = next((each for each in steps if every[each.id] == "running"), None)
    if on_its_way is not None:
        return f"Wait until step `{on_its_way.id}` has ended, then take the next one."
    if all(state == "done" for state in every.values()):
        return "Every step is done; close the run with POST /-/run/finish."
    return f"No step can be taken any more; revise the plan with PUT /-/plans/{follow.plan.locked.id}."


def _other(follow: Follow, every: States) -> str:
    """The same, where a person should know."""
    if "ready" in every.values():
        return f"Tell a person that it failed. {_way(follow, every)}"
    return f"Tell a person that it failed, or revise the plan with PUT /-/plans/{follow.plan.locked.id}."


def _spoken(step: Step) -> str:
    called = f" ({shortened(step.name)})" if step.name != step.id else ""
    return f"step `{step.id}`{called}, `{step.operation}`,"


def _listed(ids: Sequence[str]) -> str:
    shown = [f"`{each}`" for each in ids[:_NAMED]]
    more = len(ids) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
