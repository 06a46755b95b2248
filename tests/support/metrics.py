"""A tool of metrics: its operations, a resource of it, and policies made of a few statements over them."""

from __future__ import annotations

from typing import Any

from toolgate.core.kinds import Field, Fields
from toolgate.core.model import Resource
from toolgate.core.policies import Policies

from .statements import operation, policies

BODY = {
    "type": "object",
    "properties": {
        "metric": {"type": "string"},
        "amount": {"type": "number"},
        "count": {"type": "integer"},
        "labels": {"type": "object"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "items": {"type": "array", "items": {"type": "object", "properties": {"image": {"type": ["string", "null"]}}}},
        "title": {"type": ["string", "integer"]},
        "milestone": {"type": ["integer", "null"]},
    },
}
QUERY = operation("metrics.query", "read", {"body": BODY}, Metric="$args.body.metric")
LIST = operation("metrics.list", "read")
REMOVE = operation("metrics.remove", "destructive", {"name": {"type": "string"}}, Metric="$args.name")
PUBLISH = operation("reports.publish", "write", {"body": BODY})
OPERATIONS = (QUERY, LIST, REMOVE, PUBLISH)
SHAPES = {
    "metrics": {"Metric": Fields({"tier": Field("text", required=True), "cost": Field("decimal", required=False)})}
}
PERMIT = '@id("all") permit (principal, action, resource);\n'
UNKNOWN = {"__extn": {"fn": "unknown", "arg": "q"}}
EXAMPLE = """\
@id("digest-agent-reads")
permit (principal in Role::"digest", action in Action::"read", resource);
@id("digest-agent-removes")
permit (principal in Role::"digest", action == Action::"metrics.remove", resource);
@id("critical-metrics-stay")
forbid (principal, action == Action::"metrics.remove", resource is Metric) when { resource.tier == "critical" };
@id("big-changes-need-a-person") @approval("oncall")
forbid (principal, action in Action::"destructive", resource) when { context.environment == "prod" };
@id("soon-only-low") @mode("audit")
forbid (principal, action == Action::"metrics.remove", resource is Metric) unless { resource.tier == "low" };
"""


def metric(**attributes: Any) -> Resource:
    return Resource("Metric", "cpu", attributes)


def made(text: str) -> Policies:
    return policies(text, OPERATIONS, SHAPES)


def forbidding(condition: str) -> Policies:
    return made(PERMIT + f'@id("no") forbid (principal, action, resource) when {{ {condition} }};')


def body(**members: Any) -> dict[str, Any]:
    return {"body": members}
