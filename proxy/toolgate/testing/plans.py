"""Plans as values for tests: what an agent proposes, read from a file or written in a test.

    plan = read_plan("examples/weekly_digest.json")
    assert plan.steps[0].name == "FetchMetrics"
    assert "RemoveMetric" not in plan.steps
    assert plan.step("DetectAnomalies").timeout < ms(500)

RULE: a plan here is what would be proposed, no more: whether it is accepted is said by a gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from toolgate.core import plan as locked
from toolgate.core.bundle import BundleError
from toolgate.core.model import Json
from toolgate.core.planform import document_of, read
from toolgate.core.suggest import near
from toolgate.load.planfile import Document, faults_of, read_document


def ms(milliseconds: float) -> timedelta:
    """So many milliseconds, to compare with the timeout of a step."""
    return timedelta(milliseconds=milliseconds)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan."""

    id: str  # its stepId
    name: str  # the agent's own word for it; its id where it has none
    operation: str  # as the plan names it: `tool.operationId`
    depends_on: tuple[str, ...]  # stepIds
    arguments: Mapping[str, Json]  # literals, `$steps.ID.outputs.NAME`, `{"$constraint": …}`
    outputs: Mapping[str, str]  # by name: `$response…`
    timeout: timedelta  # of one attempt; `timedelta.max` where the plan bounds nothing
    budget: Mapping[str, Decimal]  # by the name of the cost
    attempts: int


class Steps(tuple[Step, ...]):
    """The steps in the plan's order. `"RemoveMetric" in steps` asks by name, and by id."""

    __slots__ = ()

    def __contains__(self, item: object) -> bool:
        if isinstance(item, str):
            return any(item in {step.name, step.id} for step in self)
        return super().__contains__(item)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan: a goal, and steps that wait for each other."""

    goal: str
    steps: Steps
    document: Mapping[str, Json]  # as it is proposed: the body of POST /-/plans

    def step(self, name: str) -> Step:
        """The step of this name or id."""
        for step in self.steps:
            if name in {step.name, step.id}:
                return step
        meant = near(name, [word for step in self.steps for word in (step.name, step.id)], 1)
        raise KeyError(f"the plan has no step `{name}`" + (f"; did you mean `{meant[0]}`?" if meant else ""))


def read_plan(source: str | Path | Mapping[str, Any]) -> Plan:
    """The plan of a JSON or YAML file, or of a document. Raises BundleError with everything that is wrong with its form."""
    if isinstance(source, Mapping):
        return plan_of(dict(source))
    return _read(read_document(Path(source).read_bytes(), str(source)))


def plan_of(document: Json) -> Plan:
    """The plan of a document. Raises BundleError as `read_plan`."""
    return _read(Document("plan", document))


def plan_from(plan: locked.Plan) -> Plan:
    """A plan as a gate has locked it: every attempt, name and operation written out."""
    return Plan(plan.goal, Steps(_step(each) for each in plan.steps), document_of(plan))


def _read(document: Document) -> Plan:
    faults = faults_of(document.value)
    if faults:
        raise BundleError(map(document.problem, faults))
    plan = read(document.value)
    return Plan(plan.goal, Steps(_step(each) for each in plan.steps), document.value)


def _step(step: locked.Step) -> Step:
    return Step(
        id=step.id,
        name=step.name,
        operation=step.operation,
        depends_on=step.depends_on,
        arguments=step.arguments,
        outputs=step.outputs,
        timeout=timedelta.max if step.timeout_ms is None else ms(step.timeout_ms),
        budget={name: Decimal(amount) for name, amount in step.budget.items()},
        attempts=step.attempts,
    )
