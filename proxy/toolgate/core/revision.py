"""What a changed plan costs: one that narrows is free, one that widens is counted (DESIGN §9).

RULE: narrower is a partial order. A plan that narrows lets nothing through that the former would not have let through:
no step more, no earlier, with no other argument, no more often, longer or dearer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from toolgate.core.course import amount_in
from toolgate.core.pinned import Compile, pin
from toolgate.core.pinned import narrows as pin_narrows
from toolgate.core.wiretext import pointer

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.core.plan import Attempted, Plan, PlanFacts, PlanRules, Step


def narrows(old: Plan, new: Plan, facts: PlanFacts, bundle: Bundle) -> bool:
    """Whether a revision is free."""
    return not any(_widened(old, new, facts.steps, bundle))


def widened(old: Plan, new: Plan, facts: PlanFacts | None, bundle: Bundle) -> tuple[str, ...]:
    """Why it is not: a sentence for each thing that the new plan has more, or no longer asks for."""
    return tuple(_widened(old, new, facts.steps if facts else {}, bundle))


def _widened(old: Plan, new: Plan, sent: Mapping[str, Attempted], bundle: Bundle) -> Iterator[str]:
    former = {step.id: step for step in old.steps}
    kept = {step.id for step in new.steps}
    for step in new.steps:
        was = former.get(step.id)
        if was is None:
            yield f"step `{step.id}` is new"
        else:
            yield from _widened_step(was, step, bundle.courses.compiling)
    needed = {need: step.id for step in old.steps if step.id in kept for need in step.depends_on}
    for step in old.steps:
        if step.id not in kept:
            yield from _dropped(step, needed, sent, bundle.plans)


def _widened_step(was: Step, step: Step, compiling: Compile) -> Iterator[str]:
    if was.operation != step.operation:
        yield f"step `{step.id}` calls `{step.operation}`, not `{was.operation}`"
        return
    for each in was.depends_on:
        if each not in step.depends_on:
            yield f"step `{step.id}` no longer waits for `{each}`"
    for name, expression in was.outputs.items():
        if step.outputs.get(name) != expression:
            yield f"the output `{name}` of step `{step.id}` is another one now"
    yield from _unpinned(was, step, compiling)
    yield from _loosened(was, step)


def _unpinned(was: Step, step: Step, compiling: Compile) -> Iterator[str]:
    for name, value in was.arguments.items():
        place = f"`{pointer('', name)}` of step `{step.id}`"
        if name not in step.arguments:
            yield f"{place} is free now"
        elif not pin_narrows(pin(value, compiling), pin(step.arguments[name], compiling)):
            yield f"{place} is another value now"


def _loosened(was: Step, step: Step) -> Iterator[str]:
    if was.timeout_ms is not None and (step.timeout_ms is None or step.timeout_ms > was.timeout_ms):
        yield f"step `{step.id}` may take longer"
    if step.attempts > was.attempts:
        yield f"step `{step.id}` may be tried more often"
    for dimension, amount in was.budget.items():
        left = step.budget.get(dimension)
        if left is None or (amount_in(dimension, left) or 0) > (amount_in(dimension, amount) or 0):
            yield f"step `{step.id}` may cost more {dimension}"


def _dropped(step: Step, needed: Mapping[str, str], sent: Mapping[str, Attempted], rules: PlanRules) -> Iterator[str]:
    tried = sent.get(step.id)
    if step.id in needed:
        yield f"step `{step.id}` is dropped, and `{needed[step.id]}` waited for it"
    elif tried is not None and (tried.state is not None or tried.attempts):
        yield f"step `{step.id}` is dropped, and was sent already"
    elif step.operation in rules.require:
        yield f"step `{step.id}` is dropped, and `{step.operation}` is required"
    elif any(step.operation == rule.operation or step.operation in rule.after for rule in rules.order):
        yield f"step `{step.id}` is dropped, and `{step.operation}` stands in an order that is asked for"
