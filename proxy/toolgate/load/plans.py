"""policies/plans.yaml: the operator's rules for plans, and what they mean for the operations there are (DESIGN §9).

RULE: what a rule names must be there, in some environment: a misspelt one would demand nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, model_validator

from toolgate.core.bundle import Problem
from toolgate.core.model import Effect
from toolgate.core.plan import NO_RULES, Ordering, PlanRules
from toolgate.core.planform import MOST_ATTEMPTS
from toolgate.load.budgets import unmatched
from toolgate.load.models import Fits, Strict, judged, listed
from toolgate.load.tools import matcher
from toolgate.load.toolspec import Glob
from toolgate.load.yaml import Parsed, Steps, strict_parse

FILE: Final = "plans.yaml"
_MOST_STEPS: Final = 1_000
_MONTH_S: Final = 31 * 86_400
_DEFAULTS: Final = NO_RULES

Role = Annotated[str, Fits(r"\S{1,256}", "must be a role: text without blanks")]
Reason = Annotated[str, Fits(r"[^\n\r]{1,300}", "must be one line of at most 300 characters")]
OPERATIONS: Final = "Operations or globs, as `tool.operationId` or `tool.*`."


class RequiredEntry(Strict):
    """Which calls must be steps of a locked plan."""

    effects: list[Effect] | None = Field(None, min_length=1, description="read, write, destructive.")
    operations: list[Glob] | None = Field(None, min_length=1, description=OPERATIONS)

    @model_validator(mode="after")
    def _some(self) -> RequiredEntry:
        if self.operations is None and self.effects is None:
            raise ValueError("is empty; name `effects` or `operations`, or leave `required_for` out")
        return self


class OrderEntry(Strict):
    """An operation that waits for others, in every plan that has both."""

    operation: Glob = Field(description="What waits: an operation or a glob.")
    after: list[Glob] = Field(min_length=1, description="What it waits for. " + OPERATIONS)
    reason: Reason | None = Field(None, description="Why, in a sentence the agent is told.")


class PlansFile(Strict):
    """policies/plans.yaml: when a plan is asked for, and what every plan must keep to."""

    api_version: Literal["toolgate/v1"] = Field("toolgate/v1", alias="apiVersion", description="May be left out.")
    required_for: RequiredEntry | None = Field(None, description="Calls that must be steps of a plan; left out: none.")
    order: list[OrderEntry] = Field(default_factory=list, description="What comes after what.")
    require: list[Glob] = Field(
        default_factory=list, description="Steps that no revision drops for free. " + OPERATIONS
    )
    free: list[Glob] = Field(default_factory=list, description="Calls outside plans, at any time. " + OPERATIONS)
    max_steps: Annotated[int, Field(ge=1, le=_MOST_STEPS)] = Field(_DEFAULTS.max_steps, description="Steps of a plan.")
    max_replans: Annotated[int, Field(ge=0, le=1_000)] = Field(
        _DEFAULTS.max_replans, description="So often a run may widen its plan; one that narrows it is free."
    )
    max_depth: Annotated[int, Field(ge=0, le=16)] = Field(
        _DEFAULTS.max_depth, description="Runs within runs; each needs an approval."
    )
    hold_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        _DEFAULTS.hold_ms, description="So long a call waits for a step it depends on; 0: not at all."
    )
    expires_s: Annotated[int, Field(ge=1, le=_MONTH_S)] = Field(
        _DEFAULTS.expires_s, description="So long a plan may be followed."
    )
    approve: list[Role] = Field(
        default_factory=list, description="Roles of which one person each must approve every plan."
    )
    attempts: Annotated[int, Field(ge=1, le=MOST_ATTEMPTS)] = Field(
        _DEFAULTS.attempts, description="So often a step is sent that may be repeated and does not say."
    )


class PlansSource(NamedTuple):
    """The file, read and not yet held against what it names."""

    file: PlansFile | None  # None where its form is wrong
    problems: tuple[Problem, ...]  # of its form
    parsed: Parsed
    shown: str

    def problem(self, steps: Steps, code: str, message: str) -> Problem:
        return Problem(self.shown, self.parsed.line(steps), code, message)


def read_plans(content: bytes, shown: str) -> PlansSource:
    """Raises BundleError where it is no YAML."""
    parsed = strict_parse(content, shown)
    return PlansSource(*judged(PlansFile, parsed, shown), parsed, shown)


def lowered(file: PlansFile, keys: frozenset[str]) -> PlanRules:
    """Return what the file means. `keys`: of every environment."""
    required = file.required_for
    operations = required.operations if required is not None else None
    return PlanRules(
        required_effects=frozenset(required.effects or ()) if required else frozenset(),
        required_operations=_matching(operations or (), keys),
        free=_matching(file.free, keys),
        order=tuple(_orderings(file, keys)),
        require=_matching(file.require, keys),
        max_steps=file.max_steps,
        max_replans=file.max_replans,
        max_depth=file.max_depth,
        hold_ms=file.hold_ms,
        expires_s=file.expires_s,
        approve=tuple(dict.fromkeys(file.approve)),
        attempts=file.attempts,
    )


def misnamed(source: PlansSource, keys: frozenset[str]) -> Iterator[Problem]:
    """Everything it names that is not there: read of what was written, for its form may be wrong elsewhere."""
    written = source.parsed.value
    for steps in (("required_for", "operations"), ("require",), ("free",)):
        for at, message in unmatched(listed(written, *steps), keys):
            yield source.problem((*steps, at), "operation.unmatched", message)
    for number, entry in enumerate(listed(written, "order")):
        for at, message in unmatched(listed(entry, "after"), keys):
            yield source.problem(("order", number, "after", at), "operation.unmatched", message)
        operation = [entry.get("operation")] if isinstance(entry, dict) else []
        for _, message in unmatched(operation, keys):
            yield source.problem(("order", number, "operation"), "operation.unmatched", message)


def _matching(patterns: Iterable[str], keys: frozenset[str]) -> frozenset[str]:
    return frozenset(key for pattern in patterns for key in filter(matcher(pattern), keys))


def _orderings(file: PlansFile, keys: frozenset[str]) -> Iterator[Ordering]:
    """One for each operation, so that globs are gone."""
    for entry in file.order:
        after = _matching(entry.after, keys)
        for key in sorted(_matching([entry.operation], keys)):
            if after - {key}:
                yield Ordering(key, after - {key}, entry.reason)


def contradictions(source: PlansSource, rules: PlanRules) -> Iterator[Problem]:
    """What no plan could keep to."""
    for key in sorted(rules.free & rules.required_operations):
        message = (
            f"`{key}` is in `free`, so that it is no step, and `required_for` wants it to be one; take it out of one"
        )
        yield source.problem(("free",), "plan.contradiction", message)
    for key in sorted(rules.free & rules.require):
        message = f"`{key}` is in `free`, so that it is no step, and `require` wants one; take it out of one"
        yield source.problem(("free",), "plan.contradiction", message)
    waits = {(rule.operation, each) for rule in rules.order for each in rule.after}
    for one, other in sorted(waits):
        if one < other and (other, one) in waits:
            message = f"`order` has `{one}` after `{other}` and the other way round, so that no plan can have both"
            yield source.problem(("order",), "plan.contradiction", message)
