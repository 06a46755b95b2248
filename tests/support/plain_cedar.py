"""Cedar as its documentation uses it: every statement, every argument, the public call. What the fast way is held against.

RULE: nothing of the product's slicing, projection or memory is used here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any

import cedarpy
from cedarpy import pst

from toolgate.core.policy import Question, Statement


def plainly(statements: Sequence[Statement], asked: Question) -> tuple[str, tuple[str, ...]]:
    """Rule on a question of the random vocabulary, whose values Cedar can hold."""
    built = cedarpy.PolicySet.from_pst(pst.PolicySet({}, {each.id: each.template for each in statements}, ()))
    result = cedarpy.is_authorized(request(asked), built, json.dumps(entities(asked)))
    effects = {each.id: each.effect for each in statements}
    if result.diagnostics.errors:
        return "error", tuple(sorted(each.split("`")[1] for each in result.diagnostics.errors))
    reasons = tuple(sorted(result.diagnostics.reasons))
    if not reasons:
        return "not_allowed", ()
    return {"permit": "allowed", "forbid": "denied"}[effects[reasons[0]]], reasons


def request(asked: Question) -> dict[str, Any]:
    return {
        "principal": {"type": "Agent", "id": asked.principal.id},
        "action": {"type": "Action", "id": asked.operation.key},
        "resource": {"type": asked.resource.type, "id": asked.resource.id},
        "context": context(asked),
    }


def context(asked: Question) -> dict[str, Any]:
    given = {name: value for name, value in asked.arguments.items() if value is not None}
    if "d" in given:
        given["d"] = {"__extn": {"fn": "decimal", "arg": f"{given['d']:.4f}"}}
    if "u" in given:
        given["u"] = {"integer" if isinstance(given["u"], int) else "string": given["u"]}
    if "o" in given:
        given["o"] = {name: value for name, value in given["o"].items() if name == "k" and value is not None}
    at = datetime.fromtimestamp(asked.now_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told: dict[str, Any] = {
        "environment": asked.environment,
        "args": given,
        "nulls": [f"/{name}" for name, value in asked.arguments.items() if value is None],
        "derived": {
            "count": {"/l": len(given["l"])} if "l" in given else {},
            "every": {"/l/*": given["l"]} if "l" in given else {},
        },
        "run": {
            "calls": asked.run.calls,
            "completed": sorted(asked.run.completed),
            "by_operation": {"t.read": 0, **asked.run.by_operation},
            "spent": {
                "calls": asked.run.spent.get("calls", 0),
                "usd": {
                    "__extn": {"fn": "decimal", "arg": f"{ceil(asked.run.spent.get('usd', 0) / 100) / 10_000:.4f}"}
                },
            },
        },
        "now": {"__extn": {"fn": "datetime", "arg": at}},
    }
    if asked.principal.on_behalf_of is not None:
        told["on_behalf_of"] = asked.principal.on_behalf_of
    return told


def entities(asked: Question) -> list[dict[str, Any]]:
    groups = (asked.operation.effect, asked.operation.tool)
    known = [
        {
            "uid": {"type": "Agent", "id": asked.principal.id},
            "attrs": {},
            "parents": [{"type": "Role", "id": role} for role in asked.principal.roles],
            "tags": dict(asked.principal.claims),
        },
        {
            "uid": {"type": "Action", "id": asked.operation.key},
            "attrs": {},
            "parents": [{"type": "Action", "id": group} for group in groups],
        },
    ]
    uid = {"type": asked.resource.type, "id": asked.resource.id}
    return [*known, {"uid": uid, "attrs": dict(asked.resource.attributes), "parents": []}]
