"""From what an agent proposes to a plan that can be locked: everything that is wrong with it, at once (DESIGN §9).

RULE: nothing is repaired, and nothing is refused that might work: what only a call can tell (a policy that reads
arguments, a resource that a binding names) is left to the call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from toolgate.core import costing, fitting, ordering
from toolgate.core.catalog import Absent, Operation
from toolgate.core.codes import CODES
from toolgate.core.course import is_idempotent
from toolgate.core.model import Json, Principal, Recovery, Refusal, Violation
from toolgate.core.plan import LockedPlan, Plan, Step
from toolgate.core.planform import digest_of, faults_of_plan, faults_of_step, read
from toolgate.core.proposal import NOTHING_GOES_ON, Draft, Graph, Now, Proposal
from toolgate.core.reliance import relies_on
from toolgate.core.wiretext import echo, is_deceptive

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle

__all__ = ["PROBLEMS", "Now", "lock", "rejected", "validated", "validating"]

MOST_REPORTED: Final = 200
_AT_ONCE: Final = 100  # steps that are judged without a break
_OF_A_STEP: Final = 2  # slashes in `/steps/0`
_LONG: Final = 10  # digits: a name of an argument may be any number
# What can be wrong with a plan. A problem that a call would be refused for as well has that code.
PROBLEMS: Final[Mapping[str, str]] = {
    "plan.form": "the document is not a plan: a key that is unknown or missing, a value of another kind",
    "plan.too_many_steps": "more steps than `max_steps` of plans.yaml",
    "plan.repeated": "two steps have one stepId",
    "plan.dependency": "`dependsOn` names a step that the plan does not have",
    "plan.cycle": "steps wait for each other, so that none of them could begin",
    "plan.binding": "an expression reads an output that there is not, or one of a step that it does not wait for",
    "plan.output": "an output is no expression of a reply",
    "plan.constraint": "a constraint is no JSON Schema that can be enforced",
    "plan.secret": "a value that is a secret stands in the plan",
    "plan.free": "the operation is called outside plans (`free` of plans.yaml), so that it is no step",
    "plan.order": "an order of plans.yaml is broken",
    "plan.timeout": "a timeout that cannot hold",
    "plan.budget": "a budget of a step that bounds nothing, or is no amount",
    "plan.sent": "a step that was sent already is changed, or its stepId is used again",
    "tool.unknown": "no operation has this name",
    "tool.disallowed": "the operation is not allowed in this environment",
    "arguments.invalid": "a literal does not fit the operation's schema",
    "arguments.malformed": "the literals cannot be sent: a value that no request can hold",
    "arguments.media_type": "a literal body is in no form that the operation takes",
    "arguments.too_large": "a literal body is larger than the operation takes",
    "environment.resource_not_found": "a literal names a resource that the catalogue does not hold",
    "environment.resource_omitted": "the literals leave out a resource that must be covered",
    "policy.not_allowed": "no statement can ever permit the step to this principal",
    "budget.exhausted": "the steps together cost more than a budget has left, or one attempt more than its step gives",
}


def validated(
    document: Json, principal: Principal | None, bundle: Bundle, now: Now = NOTHING_GOES_ON
) -> Plan | tuple[Violation, ...]:
    """The plan, or everything that is wrong with it.

    `principal`: whose; None: what only holds for somebody is not asked. `now`: what a running gate knows.
    """
    work = validating(document, principal, bundle, now)
    while True:
        try:
            next(work)
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]


def validating(
    document: Json, principal: Principal | None, bundle: Bundle, now: Now
) -> Generator[None, None, Plan | tuple[Violation, ...]]:
    """The same in parts: of a long plan each takes a while, and whoever serves others lets them go on in between."""
    wrong = list(_form(document, bundle.plans.max_steps))
    steps = document.get("steps") if isinstance(document, dict) else None
    if not isinstance(steps, list) or len(steps) > bundle.plans.max_steps:
        return tuple(wrong)
    drafts, faults = _drafts(steps, principal, bundle)
    wrong += faults
    proposal = Proposal(Graph(drafts, {each["stepId"] for each in steps if _has_id(each)}), principal, bundle, now)
    for check in _CHECKS:
        if len(steps) > _AT_ONCE:
            yield
        wrong += islice(check(proposal), MOST_REPORTED)  # each tells in the order of the document
    if wrong:
        return _reported(wrong)
    plan = read({**document, "steps": [each.document for each in drafts]})
    return replace(
        plan, steps=tuple(_completed(step, each, bundle) for step, each in zip(plan.steps, drafts, strict=True))
    )


def lock(  # noqa: PLR0913 (what a locked plan is made of)
    plan: Plan,
    bundle: Bundle,
    *,
    plan_id: str,
    principal: str,
    run: str,
    at_ms: int,
    expansions: int = 0,
    approval: str | None = None,
) -> LockedPlan:
    """The plan as a versioned artifact."""
    return LockedPlan(
        id=plan_id,
        digest=digest_of(plan, bundle.revision, bundle.environment),
        revision=bundle.revision,
        relies_on=relies_on(plan, bundle),
        environment=bundle.environment,
        principal=principal,
        run=run,
        plan=plan,
        locked_ms=at_ms,
        expires_ms=at_ms + bundle.plans.expires_s * 1000,
        expansions=expansions,
        approval=approval,
    )


def rejected(violations: Sequence[Violation]) -> Refusal:
    """What is told of a plan that cannot be locked."""
    code, first = CODES["plan.rejected"], violations[0]
    at_least = "at least " if len(violations) == MOST_REPORTED else ""
    more = f" (and {at_least}{len(violations) - 1} more)" if len(violations) > 1 else ""
    place = f"`{first.path}`: " if first.path else ""
    return Refusal(
        code,
        f"{place}{first.message}{more}",
        Recovery(code.action, code.hint),
        stage="plan",
        violations=tuple(violations),
    )


_PLAN_HINT: Final = "Send an object with `goal` and `steps` as JSON."


def _form(document: Json, most: int) -> Iterator[Violation]:
    if not isinstance(document, dict):
        yield Violation("", "type", "a plan is an object with `goal` and `steps`", code="plan.form", hint=_PLAN_HINT)
        return
    yield from faults_of_plan(document)
    goal, steps = document.get("goal"), document.get("steps")
    if isinstance(goal, str) and is_deceptive(goal):
        yield _unreadable("/goal", goal)
    if isinstance(steps, list) and len(steps) > most:
        message = f"has {len(steps)} steps, and a plan may have {most}"
        yield Violation("/steps", "maxItems", message, most, code="plan.too_many_steps", hint="Plan less at a time.")


def _drafts(steps: list[Json], principal: Principal | None, bundle: Bundle) -> tuple[list[Draft], list[Violation]]:
    """Each step as far as it has the form of one, with its operation where that can be called.

    SECURITY: what a step cannot call says nothing more: neither its schema, nor its costs, nor its timeouts.
    """
    drafts: list[Draft] = []
    wrong: list[Violation] = []
    for at, document in enumerate(steps):
        faults = faults_of_step(document, at)
        wrong += faults
        if not isinstance(document, dict):
            continue
        lost = _lost(faults)
        sound = {name: value for name, value in document.items() if name not in lost} if lost else document
        if is_deceptive(sound.get("name", "")):
            wrong.append(_unreadable(f"/steps/{at}/name", sound["name"]))
        called = _called(sound["operationId"], at, principal, bundle) if "operationId" in sound else None
        if isinstance(called, Violation):
            wrong.append(called)
        drafts.append(Draft(at, sound, called if isinstance(called, Operation) else None, lost))
    return drafts, wrong


def _lost(faults: Iterable[Violation]) -> frozenset[str]:
    """The keys of a step that have no form, and those that were meant by keys that there are not."""
    keys = {each.path.split("/")[3] for each in faults if each.path.count("/") > _OF_A_STEP}
    return frozenset(keys.union(each.suggestion for each in faults if each.suggestion))


def _called(named: str, at: int, principal: Principal | None, bundle: Bundle) -> Operation | Violation:
    found = bundle.catalog.named(named)
    if isinstance(found, Absent):
        return _unknown(at, named, found)
    return fitting.uncallable(found, at, principal, bundle) or found


def _completed(step: Step, draft: Draft, bundle: Bundle) -> Step:
    """The step with all that it left to the gate written out."""
    operation = draft.called
    default = bundle.plans.attempts if is_idempotent(operation) else 1
    return replace(
        step,
        operation=operation.key,
        budget={name: costing.written(name, amount) for name, amount in draft.document.get("budget", {}).items()},
        attempts=draft.document.get("attempts", default),
    )


def _reported(wrong: Iterable[Violation]) -> tuple[Violation, ...]:
    """Each once, by place; no more than an answer can hold."""
    once = {(each.path, each.message): each for each in wrong}
    return tuple(sorted(once.values(), key=_place)[:MOST_REPORTED])


def _place(violation: Violation) -> tuple[tuple[int, str], ...]:
    tokens = violation.path.split("/")
    return tuple((int(token), "") if token.isdecimal() and len(token) < _LONG else (-1, token) for token in tokens)


def _has_id(document: Json) -> bool:
    return isinstance(document, dict) and isinstance(document.get("stepId"), str)


def _unknown(at: int, named: str, absent: Absent) -> Violation:
    meant = absent.near[:1]
    aid = f"; did you mean `{meant[0]}`?" if meant else ""
    hint = f"Use `{meant[0]}`, or another operation of GET /-/tools." if meant else "Use an operation of GET /-/tools."
    return Violation(
        f"/steps/{at}/operationId",
        "operation",
        f"{echo(named)} is not a known operation{aid}",
        suggestion=meant[0] if meant else None,
        code="tool.unknown",
        hint=hint,
    )


def _unreadable(path: str, text: str) -> Violation:
    message = f"{echo(text)} has characters that cannot be seen"
    return Violation(path, "text", message, code="plan.form", hint="Write it in plain text, on one line.")


_CHECKS: Final[tuple[Callable[[Proposal], Iterable[Violation]], ...]] = (
    ordering.repeated,
    ordering.dangling,
    ordering.cycles,
    ordering.unbound,
    ordering.disordered,
    ordering.overdue,
    fitting.unwritable,
    fitting.ill_fitting,
    costing.unaffordable,
    ordering.changed_after_sending,
)
