"""What a run's journal says of its plan and of what people were asked, told to a person.

RULE: made of events alone, any of which may be missing, shortened or forged: what cannot be read is not told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from toolgate.cli.console import counted, paint, printable
from toolgate.core.locking import PLAN_LOCKED, PLAN_REFUSED
from toolgate.core.model import Json
from toolgate.core.requests import APPROVAL_DECLINED, APPROVAL_GRANTED, APPROVAL_REQUESTED, APPROVAL_REVOKED

_ANSWERS: Final = {
    APPROVAL_GRANTED: ("granted", "green"), APPROVAL_DECLINED: ("declined", "red"), APPROVAL_REVOKED: ("revoked", "red"),
}  # fmt: skip
AGREEMENTS: Final = (PLAN_LOCKED, PLAN_REFUSED, APPROVAL_REQUESTED, *_ANSWERS)
_FAILED: Final = 400
_LONGEST: Final = 300


def plan_line(events: Iterable[Mapping[str, Json]]) -> str | None:
    """How far a run came with the plan it ended up with; None where it had none."""
    steps: dict[str, str] | None = None
    goal, done = "", set[str]()
    for event in events:
        match event.get("event"):
            case "PlanLocked":
                steps, goal = _steps(event), str(_document(event).get("goal", ""))
            case "Finished" if event.get("step") is not None and _is_done(event):
                done.add(str(event["step"]))
            case _:
                pass
    if steps is None:
        return None
    left = [step for step in steps if step not in done]
    told = f'plan "{_said(goal)}": {len(steps) - len(left):,} of {counted(len(steps), "step")} done'
    return f"{told}; not done: {', '.join(f'`{_said(step)}`' for step in left)}" if left else told


def names_of(events: Iterable[Mapping[str, Json]]) -> dict[str, str]:
    """What the agent calls each step, by its id."""
    return {step: name for event in events if event.get("event") == PLAN_LOCKED for step, name in _steps(event).items()}


def step_line(decided: Mapping[str, Json], names: Mapping[str, str]) -> str | None:
    """Which step of the plan a call was."""
    step = decided.get("step")
    if step is None:
        return None
    name = names.get(str(step))
    called = f" ({_said(name)})" if name is not None and name != step else ""
    attempt = decided.get("attempt")
    again = f", attempt {attempt}" if isinstance(attempt, int) and attempt > 1 else ""
    return f"`{_said(step)}`{called}{again}"


def agreement(event: Mapping[str, Json]) -> str:
    """One event about a plan or an approval, on one line."""
    at = _said(event.get("at"))
    match event.get("event"):
        case "PlanLocked":
            change = "revised" if event.get("replaces") else "locked"
            steps = counted(len(_steps(event)), "step")
            return f"{paint(change, 'green')}  {at}  plan {_said(event.get('plan'))}, {steps}"
        case "PlanRefused":
            return f"{paint('refused', 'red')}  {at}  a plan: {_said(event.get('code'))}, {_problems(event)}"
        case "ApprovalRequested":
            what = event.get("operation") or f"a {event.get('kind')}"
            why = f": {_said(event['why'])}" if event.get("why") else ""
            return f"{paint('asked', 'yellow')}  {at}  {_said(event.get('approval'))}, {_said(what)}{why}"
        case kind:
            done = paint(*_ANSWERS.get(str(kind), ("answered", "dim")))
            comment = f": {_said(event['comment'])}" if event.get("comment") else ""
            return f"{done}  {at}  {_said(event.get('approval'))}, by {_said(event.get('by'))}{comment}"


def _is_done(finished: Mapping[str, Json]) -> bool:
    status = finished.get("status")
    return finished.get("outcome") == "completed" and isinstance(status, int) and status < _FAILED


def _steps(locked: Mapping[str, Json]) -> dict[str, str]:
    """The names of a plan's steps by id, in document order."""
    steps = _document(locked).get("steps")
    listed = [each for each in steps if isinstance(each, dict)] if isinstance(steps, list) else []
    return {str(each.get("stepId")): str(each.get("name", each.get("stepId"))) for each in listed}


def _document(locked: Mapping[str, Json]) -> Mapping[str, Json]:
    document = locked.get("document")
    return document if isinstance(document, dict) else {}


def _problems(refused: Mapping[str, Json]) -> str:
    violations = refused.get("violations")
    return counted(len(violations) if isinstance(violations, list) else 0, "problem")


def _said(value: Json) -> str:
    text = printable(str(value)) if value is not None else "?"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
