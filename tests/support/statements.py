"""Statements, operations and questions for tests of policies, made without files.

RULE: a statement is what Cedar's own parser makes of its text; an operation has no more than policies look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cedarpy
from cedarpy import pst

from toolgate.core.catalog import Operation, ResourceAt
from toolgate.core.expressions import parse_expression
from toolgate.core.kinds import Fields
from toolgate.core.model import Principal, Resource, RunFacts
from toolgate.core.policies import Policies
from toolgate.core.policy import Question, Statement

DIGEST = Principal("digest", ("digest",))
TOOL = Resource("Tool", "metrics")
NEW_RUN = RunFacts()
NOW_MS = 1_795_334_400_000  # 2026-11-22T08:00:00Z


@dataclass(frozen=True)
class DeclaredArguments:
    """A signature as policies see it: the schema of its arguments."""

    declared: Mapping[str, Any]
    bodies: Mapping[str, Any] = field(default_factory=dict)
    masks: tuple[()] = ()

    def schema(self) -> Mapping[str, Any]:
        return self.declared


def operation(
    key: str, effect: str = "read", arguments: Mapping[str, Any] | None = None, **resources: str
) -> Operation:
    """Return an operation; `resources` are its types and where their ids stand."""
    tool, _, name = key.partition(".")
    schema = {"type": "object", "properties": arguments or {}}
    return Operation(
        tool=tool, id=name, method="POST", template=f"/{name}", effect=effect, allowed=True,
        signature=DeclaredArguments(schema), responses=None, target=None, key=key, name=key.replace(".", "__"),
        resources=tuple(ResourceAt(kind, parse_expression(at), tool) for kind, at in resources.items()),
    )  # fmt: skip


def statements(text: str) -> list[Statement]:
    """Return the statements of a text; each has its `@id`, else `file:line`."""
    found = []
    for at, part in enumerate(filter(str.strip, split(text))):
        (template,) = cedarpy.PolicySet.from_str(part).to_pst().static_policies.values()
        notes = template.annotations
        named = notes.get("id", f"policies.cedar:{at + 1}")
        found.append(
            Statement(
                id=named, effect=template.effect, file="policies.cedar", line=at + 1, text=part.strip(),
                template=pst.Template(
                    named, template.effect, template.principal, template.action, template.resource, template.clauses, {}
                ),
                reason=notes.get("reason"), hint=notes.get("hint"), approval=notes.get("approval"),
                audit=notes.get("mode") == "audit",
            )
        )  # fmt: skip
    return found


def split(text: str) -> list[str]:
    """Split at the semicolons that end statements: those at the end of a line."""
    parts, current = [], ""
    for line in text.splitlines(keepends=True):
        current += line
        if line.rstrip().endswith(";"):
            parts.append(current)
            current = ""
    return [*parts, current]


def policies(
    text: str, operations: Sequence[Operation] = (), shapes: Mapping[str, Mapping[str, Fields]] | None = None
) -> Policies:
    return Policies(statements(text), len(operations), shapes or {})


def question(
    asked: Operation,
    arguments: Mapping[str, Any] | None = None,
    *,
    principal: Principal = DIGEST,
    resource: Resource = TOOL,
    environment: str = "prod",
    run: RunFacts = NEW_RUN,
    now_ms: int = NOW_MS,
) -> Question:
    return Question(principal, asked, resource, environment, arguments or {}, run, now_ms)
