"""The form of a plan: what an agent proposes, as a document (DESIGN §9).

RULE: the published schema is what judges. `document_of` writes a plan out whole, and `read` reads that back as the same
plan: nothing of it is left to a bundle or a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import jsonschema_rs

from toolgate.core.canonical import digest
from toolgate.core.journal import total
from toolgate.core.model import Json, Violation
from toolgate.core.plan import Plan, Step
from toolgate.core.schema import Judge

LONGEST_TIMEOUT_MS: Final = 3_600_000
MOST_ATTEMPTS: Final = 10
NAME: Final = "[A-Za-z0-9_-]{1,64}"  # of a step or an output: it can stand in an expression, a header and a key
_AMOUNT: Final = r"^[0-9]{1,10}(?:\.[0-9]{1,6})?$"
_NAME_SCHEMA: Final[Mapping[str, Any]] = {"type": "string", "pattern": f"^{NAME}$"}

STEP_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["stepId", "operationId"],
    "additionalProperties": False,
    "properties": {
        "stepId": {**_NAME_SCHEMA, "description": "What the step is called in the plan: letters, digits, `_` and `-`."},
        "name": {
            "type": "string",
            "minLength": 1,
            "maxLength": 128,
            "description": "Your own word for the step, for people; default: its stepId.",
        },
        "operationId": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "description": "The operation it calls: `tool.operationId`, or the `tool__operationId` of GET /-/tools.",
        },
        "dependsOn": {
            "type": "array",
            "items": {"type": "string", "maxLength": 64},
            "uniqueItems": True,
            "maxItems": 1000,
            "description": "stepIds that must be done before this one may be called.",
        },
        "arguments": {
            "type": "object",
            "description": "The arguments object of the call: parameters by name, the body under `body`. A value is a literal "
            "(it must be sent exactly so), `$steps.ID.outputs.NAME` (what that step answered), "
            '`{"$constraint": {JSON Schema}}` (it must fit), or left out (it is free). `{"$literal": …}` is taken as it '
            "stands.",
        },
        "outputs": {
            "type": "object",
            "propertyNames": {"pattern": f"^{NAME}$"},
            "additionalProperties": {"type": "string", "maxLength": 1024},
            "maxProperties": 64,
            "description": "Names for parts of the answer that later steps use: `$response.body#/…` or `$response.header.Name`.",
        },
        "timeout": {
            "type": "integer",
            "minimum": 1,
            "maximum": LONGEST_TIMEOUT_MS,
            "description": "How long one attempt may take, in milliseconds.",
        },
        "budget": {
            "type": "object",
            "maxProperties": 16,
            "additionalProperties": {
                "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _AMOUNT}]
            },
            "description": "The most that all attempts of the step may cost, by the name of the cost: a number or decimal text.",
        },
        "attempts": {
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_ATTEMPTS,
            "description": "So often at most it is sent. Default: 1 where repeating may do it twice, else what the gate is set to.",
        },
    },
}
PLAN_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["goal", "steps"],
    "additionalProperties": False,
    "properties": {
        "goal": {
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "description": "What the plan is for, in a sentence that a person can approve.",
        },
        "steps": {
            "type": "array",
            "minItems": 1,
            "items": STEP_SCHEMA,
            "description": "The steps, in the order in which equal ones are taken.",
        },
    },
}


def faults_of_plan(document: Json) -> tuple[Violation, ...]:
    """What is wrong with the form of a plan beside its steps."""
    return tuple(_told(each, "", "the plan") for each in _frame_judge().violations(document))


def faults_of_step(document: Json, at: int) -> tuple[Violation, ...]:
    """What is wrong with the form of one step."""
    return tuple(_told(each, f"/steps/{at}", f"step {at}") for each in _step_judge().violations(document))


def read(document: Json) -> Plan:
    """Read a plan whose form is right. What `document_of` wrote comes back as it was."""
    return Plan(str(document["goal"]), tuple(_step(each) for each in document["steps"]))


def document_of(plan: Plan) -> dict[str, Json]:
    """Write a plan out whole: names, attempts and operation keys are there, whatever was proposed."""
    return {"goal": plan.goal, "steps": [step_json(step) for step in plan.steps]}


def step_json(step: Step) -> dict[str, Json]:
    """Write one step; what it says nothing of is left out."""
    written: dict[str, Json] = {"stepId": step.id, "name": step.name, "operationId": step.operation}
    if step.depends_on:
        written["dependsOn"] = list(step.depends_on)
    if step.arguments:
        written["arguments"] = dict(step.arguments)
    if step.outputs:
        written["outputs"] = dict(step.outputs)
    if step.timeout_ms is not None:
        written["timeout"] = step.timeout_ms
    if step.budget:
        written["budget"] = dict(step.budget)
    return written | {"attempts": step.attempts}


def digest_of(plan: Plan, revision: str, environment: str) -> str:
    """Name a plan as it is locked: nothing of it changes without another digest."""
    return digest({"plan": document_of(plan), "revision": revision, "environment": environment})


def size_of(steps: Iterable[Step]) -> int:
    """How much text steps are, in bytes."""
    return sum(len(total(step_json(step))) for step in steps)


def _step(document: Json) -> Step:
    step_id = str(document["stepId"])
    return Step(
        id=step_id,
        name=document.get("name", step_id),
        operation=document["operationId"],
        depends_on=tuple(document.get("dependsOn", ())),
        arguments=document.get("arguments", {}),
        outputs=document.get("outputs", {}),
        timeout_ms=document.get("timeout"),
        budget={name: str(amount) for name, amount in document.get("budget", {}).items()},
        attempts=document.get("attempts", 1),
    )


def _told(violation: Violation, base: str, what: str) -> Violation:
    message = violation.message.replace("the arguments", what).replace("of `/", f"of `{base}/")
    return violation._replace(path=base + violation.path, message=message, code="plan.form", hint=_hint(violation))


def _hint(violation: Violation) -> str:
    field = violation.path.split("/")[1] if violation.path else ""
    if violation.keyword == "unknown":
        return f"Write `{violation.suggestion}` instead." if violation.suggestion else "Leave it out."
    return _HINTS.get(field, "Write an object with `stepId`, `operationId` and what else the step has.")


_HINTS: Final[Mapping[str, str]] = {
    "goal": "Say in a sentence what the plan is for.",
    "steps": "Write a list of one step or more.",
    "stepId": "Use letters, digits, `_` and `-`, at most 64.",
    "name": "Write 1 to 128 characters, or leave it out.",
    "operationId": "Write `tool.operationId`, as GET /-/tools has it.",
    "dependsOn": "Write a list of stepIds, each once.",
    "arguments": "Write an object of arguments by name, the body under `body`.",
    "outputs": "Write names of letters, digits, `_` and `-`, each with `$response.body#/…` or `$response.header.Name`.",
    "timeout": f"Write milliseconds, from 1 to {LONGEST_TIMEOUT_MS}.",
    "budget": "Write amounts such as `0.05`, by the name of the cost.",
    "attempts": f"Write a number from 1 to {MOST_ATTEMPTS}.",
}


@cache
def _frame_judge() -> Judge:
    """The plan without its steps: each of those is judged by itself, so that each is told what is wrong with it."""
    steps = {**PLAN_SCHEMA["properties"]["steps"], "items": {}}
    return _judge({**PLAN_SCHEMA, "properties": {**PLAN_SCHEMA["properties"], "steps": steps}})


@cache
def _step_judge() -> Judge:
    return _judge(STEP_SCHEMA)


def _judge(schema: Mapping[str, Any]) -> Judge:
    return Judge(lambda: jsonschema_rs.Draft202012Validator(dict(schema), offline=True), schema, {})
