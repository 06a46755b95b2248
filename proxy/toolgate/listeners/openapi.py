"""Our own API as an OpenAPI 3.1 document, made from the tables the gate itself answers by.

RULE: nothing is listed that the listener does not answer; every code comes from `core/codes.py`.
"""

from __future__ import annotations

from typing import Final, get_args

import orjson

from toolgate.core.approval import ApprovalState
from toolgate.core.codes import CODES
from toolgate.core.model import Json
from toolgate.core.plan import StepState
from toolgate.core.planform import PLAN_SCHEMA
from toolgate.listeners.tools import FORMATS
from toolgate.listeners.wire import MAX_ID_CHARS, MAX_REASON_CHARS

_TEXT: Final[Json] = {"type": "string"}
_TEXTS: Final[Json] = {"type": "array", "items": _TEXT}
_ACTIONS: Final = (
    "fix_arguments", "use_alternative", "wait", "retry", "request_approval", "take_step", "replan", "escalate",
    "finish", "stop",
)  # fmt: skip


def own_document(version: str) -> bytes:
    """Render the document once; it does not depend on the bundle."""
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Toolgate: the agent's own API",
                "version": version,
                "description": "Tools stand under `/{tool}/…` and are described by `GET /-/tools`.",
            },
            "paths": _paths(),
            "components": {"schemas": _schemas(), "headers": _headers(), "responses": _responses()},
        }
    )


_ID: Final[Json] = {"in": "path", "required": True, "schema": {"type": "string"}}
_RUN_TOKEN: Final[Json] = {
    "name": "Toolgate-Run",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The token of the run this is part of; without it, the principal's implicit run.",
}


def _paths() -> Json:
    shape = {
        "name": "format",
        "in": "query",
        "schema": {"enum": list(FORMATS)},
        "description": "Another maker's shape.",
    }
    return {
        "/-/tools": {"get": _answers("listTools", "What may be called here.", "Tools", parameters=[shape])},
        "/-/call": {"post": _asks("callTool", "Call an operation by name: same path, same answer as by its URL.")},
        "/-/explain": {
            "post": _asks(
                "explainCall", "Say stage by stage how a call would be decided; nothing is sent.", "Explanation"
            )
        },
        "/-/environment": {
            "get": _answers("getEnvironment", "Where the agent is and what exists there.", "Environment")
        },
        "/-/runs": {"post": _opens_run()},
        "/-/run": {
            "get": _answers("getRun", "What has come of the run this is asked in.", "Run", parameters=[_RUN_TOKEN])
        },
        "/-/run/finish": {"post": _finishes_run()},
        **_plan_paths(),
        "/-/openapi.json": {"get": _answers("getOpenapi", "This document.", None)},
        "/-/live": {"get": _answers("isLive", "The process answers.", None)},
        "/-/ready": {"get": _answers("isReady", "Calls can be taken; 503 says why not.", "Ready", unready=True)},
    }


def _answers(
    operation_id: str, summary: str, schema: str | None, *, parameters: Json = (), unready: bool = False
) -> dict[str, Json]:
    shown = {"$ref": f"#/components/schemas/{schema}"} if schema else {}
    content = {"application/json": {"schema": shown}}
    told = {"200": {"description": summary, "content": content}, "default": {"$ref": "#/components/responses/Problem"}}
    if unready:
        told["503"] = {"description": "Not ready; `reason` says why.", "content": content}
    described: dict[str, Json] = {"operationId": operation_id, "summary": summary, "responses": told}
    if parameters:
        described["parameters"] = parameters
    return described


def _asks(operation_id: str, summary: str, schema: str | None = None) -> dict[str, Json]:
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/CallByName"}}}}
    said = [
        {"name": f"Toolgate-{name}", "in": "header", "schema": {"type": "string", "maxLength": most}}
        for name, most in (("Reason", MAX_REASON_CHARS), ("Plan", MAX_ID_CHARS), ("Step", MAX_ID_CHARS))
    ]
    return {**_answers(operation_id, summary, schema), "requestBody": body, "parameters": [*said, _RUN_TOKEN]}


def _opens_run() -> Json:
    """A run is made, so the answer is 201; the body may be left out."""
    asks = _answers(
        "openRun", "Open a run; its token names it in `Toolgate-Run`.", "OpenedRun", parameters=[_RUN_TOKEN]
    )
    asks["responses"]["201"] = asks["responses"].pop("200")
    return asks | _carries("NewRun")


def _finishes_run() -> Json:
    asks = _answers("finishRun", "Close it: no call of it is taken any more.", "Run", parameters=[_RUN_TOKEN])
    return asks | _carries("RunEnd")


def _plan_paths() -> Json:
    trial = {
        "name": "dry_run", "in": "query", "schema": {"enum": ["0", "1"]},
        "description": "1: only say whether it would be locked.",
    }  # fmt: skip
    named = {**_ID, "name": "plan", "description": "Its id or digest."}
    proposes = _answers(
        "proposePlan", "Propose a plan; what is accepted is locked.", "Plan", parameters=[trial, _RUN_TOKEN]
    )
    proposes["responses"] |= {"201": {**proposes["responses"]["200"], "description": "Locked."}}
    proposes["responses"]["200"]["description"] = "It would be locked (`dry_run`)."
    revises = _answers("revisePlan", "Replace the plan of the run.", "Plan", parameters=[named, trial, _RUN_TOKEN])
    shows = _answers("getPlan", "A plan, and what each of its steps is in.", "Plan", parameters=[named])
    approval = {**_ID, "name": "approval", "description": "As `recovery.approval` of a refusal named it."}
    waits = _answers("getApproval", "Whether a person has answered.", "Approval", parameters=[approval])
    return {
        "/-/plans": {"post": proposes | _carries("NewPlan", is_required=True)},
        "/-/plans/{plan}": {"put": revises | _carries("NewPlan", is_required=True), "get": shows},
        "/-/approvals/{approval}": {"get": waits},
    }


def _carries(schema: str, *, is_required: bool = False) -> Json:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"requestBody": {"required": is_required, "content": content}}


def _responses() -> Json:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _headers()}
    return {"Problem": {"description": "The answer is no, or it failed.", "headers": headers, "content": problem}}


def _headers() -> Json:
    return {
        "Toolgate-Call": {"description": "The id of this call; the journal has it.", "schema": _TEXT},
        "Toolgate-Source": {"description": "Who speaks.", "schema": {"enum": ["upstream", "gate"]}},
        "RateLimit-Policy": {"description": "The limits and budgets that govern the call.", "schema": _TEXT},
        "RateLimit": {"description": "What is left of them.", "schema": _TEXT},
        "Retry-After": {"description": "Seconds until the call may be repeated.", "schema": {"type": "integer"}},
    }


def _schemas() -> dict[str, Json]:
    return {
        "CallByName": {
            "type": "object",
            "properties": {
                "operation": {"type": "string", "description": "`tool.operationId`"},
                "name": {"type": "string", "description": "the `name` of `/-/tools`"},
                "arguments": {
                    "type": ["object", "string"],
                    "description": "parameters by name, the request body under `body`; or the JSON text of that object",
                },
            },
            "oneOf": [{"required": ["operation"]}, {"required": ["name"]}],
            "additionalProperties": False,
        },
        "Tools": _object(
            {"revision": _TEXT, "environment": _TEXT, "tools": {"type": "array", "items": _tool()}}, "tools"
        ),
        "Explanation": _object({"decision": {"type": "object"}, "stages": {"type": "array", "items": _stage()}}),
        "Environment": _object(
            {
                "environment": _TEXT,
                "revision": _TEXT,
                "mode": {"enum": ["enforce", "audit"]},
                "policy": _TEXT,
                "tools": {"type": "array"},
                "resources": {"type": "object"},
                "expectations": {"type": "array"},
            }
        ),
        **_runs(),
        **_plans(),
        "Ready": _object(
            {"bundle": _object({"revision": _TEXT, "last_error": {"type": ["string", "null"]}}), "reason": _TEXT},
            "bundle",
        ),
        "Problem": _problem(),
    }


def _runs() -> dict[str, Json]:
    or_null: Json = {"type": ["string", "null"]}
    amounts = {"given": _TEXT, "taken": _TEXT, "left": _TEXT}
    budget = _object({
        "budget": _TEXT, "dimension": _TEXT, "scope": _TEXTS, **amounts, "again_s": {"type": ["number", "null"]},
        "operations": {"type": ["array", "null"], "items": _TEXT, "description": "what it covers; null: every call"},
    })  # fmt: skip
    count: Json = {"type": "integer"}
    return {
        "NewRun": {
            "type": "object",
            "properties": {
                "parent": {"type": "string", "description": "the id of the run this is asked in"},
                "labels": {"type": "object", "additionalProperties": _TEXT, "maxProperties": 16},
            },
            "additionalProperties": False,
        },
        "OpenedRun": _object({"run": _TEXT, "token": _TEXT, "expires_at": _TEXT}),
        "Run": _object(
            {
                "run": _TEXT, "parent": or_null, "expires_at": or_null, "deadline_at": or_null, "age_s": count,
                "calls": count, "refusals": count, "stopped": or_null, "frozen": or_null,
                "balances": {"type": "object", "additionalProperties": _object(amounts)},
                "budgets": {"type": "array", "items": budget}, "plan": or_null,
                "steps": {"type": "array", "items": _plan_step()},
                "finished": {"const": True},
            },
            "run", "calls", "refusals", "balances",
        ),
    }  # fmt: skip


def _plans() -> dict[str, Json]:
    return {
        "NewPlan": PLAN_SCHEMA,
        "Plan": _object(
            {
                "plan": {"type": ["string", "null"], "description": "null: a new one that was only tried"},
                "digest": _TEXT, "revision": _TEXT, "environment": _TEXT, "run": _TEXT, "goal": _TEXT,
                "expires_at": _TEXT, "replans_left": {"type": "integer"},
                "steps": {"type": "array", "items": _plan_step()},
                "document": {"$ref": "#/components/schemas/NewPlan"}, "dry_run": {"const": True},
            },
            "plan", "digest", "revision", "environment", "run", "goal", "expires_at", "replans_left", "steps",
        ),
        "Approval": _object({
            "approval": _TEXT, "state": {"enum": list(get_args(ApprovalState))}, "expires_at": _TEXT,
            "comment": {"type": ["string", "null"]},
        }),
        "RunEnd": {
            "type": "object",
            "properties": {
                "incomplete": {"type": "boolean", "description": "true: close it although its plan is not done"},
            },
            "additionalProperties": False,
        },
    }  # fmt: skip


def _plan_step() -> Json:
    states = {"enum": list(get_args(StepState))}
    return _object({"stepId": _TEXT, "name": _TEXT, "operationId": _TEXT, "state": states})


def _tool() -> Json:
    return _object({
        "operation": _TEXT, "name": _TEXT, "method": _TEXT, "path": _TEXT,
        "effect": {"enum": ["read", "write", "destructive"]}, "description": _TEXT,
        "arguments": {"type": "object"}, "requires_approval": {"type": "boolean"},
    }, "name")  # fmt: skip


def _stage() -> Json:
    results = {"enum": ["passed", "refused", "not reached"]}
    return _object({"stage": _TEXT, "result": results, "reason": _TEXT, "statements": _TEXTS})


def _problem() -> Json:
    recovery = _object(
        {
            "action": {"enum": list(_ACTIONS)}, "hint": _TEXT, "alternatives": _TEXTS,
            "retry_after_s": {"type": "number"}, "waiting_on": _TEXTS, "approval": _TEXT,
        },
        "action", "hint", "alternatives",
    )  # fmt: skip
    violation = _object(
        {
            "path": _TEXT, "keyword": _TEXT, "message": _TEXT, "expected": {}, "suggestion": _TEXT,
            "code": _TEXT, "hint": _TEXT,
        },
        "path", "keyword", "message",
    )  # fmt: skip
    return _object({
        "type": {"type": "string", "format": "uri"}, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT,
        "instance": {"type": "string", "format": "uri"}, "call": _TEXT, "code": {"enum": list(CODES)},
        "environment": _TEXT, "retryable": {"type": "boolean"}, "sent": {"enum": ["no", "unknown", "yes"]},
        "recovery": recovery, "violations": {"type": "array", "items": violation}, "statements": _TEXTS,
        "revision": _TEXT,
    })  # fmt: skip


def _object(properties: dict[str, Json], *required: str) -> Json:
    return {"type": "object", "properties": properties, "required": list(required or properties)}
