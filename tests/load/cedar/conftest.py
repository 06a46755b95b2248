"""A catalog of one tool, and policy files judged against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolgate.core.bundle import Bundle, Problem
from toolgate.load.bundle import Sources, load
from toolgate.load.policies import CedarFile, Judged, Standing, judge

ENVIRONMENTS = ("dev", "prod")


def body(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
OK = {"responses": {"200": {"description": "ok"}}}
NAME = {"name": "name", "in": "path", "required": True, "schema": TEXT}
QUERY = body(
    {
        "metric": TEXT,
        "cluster": TEXT,
        "limit": WHOLE,
        "ratio": {"type": "number"},
        "live": {"type": "boolean"},
        "tags": {"type": "array", "items": TEXT},
        "items": {"type": "array", "items": {"type": "object", "properties": {"name": TEXT, "n": WHOLE}}},
        "opts": {
            "type": "object",
            "properties": {"deep": {"type": "object", "properties": {"x": WHOLE}, "required": ["x"]}},
        },
        "meta": {"type": "object"},
        "any": {},
        "title": {"type": ["string", "integer"]},
        "odd name": TEXT,
        "note": {"type": ["string", "null"]},
    },
    ["metric", "live", "tags", "ratio", "limit"],
)
DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "Metrics", "version": "1"},
    "paths": {
        "/metrics": {
            "get": {
                "operationId": "listMetrics",
                "parameters": [
                    {"name": "per_page", "in": "query", "schema": WHOLE},
                    {"name": "q", "in": "query", "schema": TEXT},
                ],
                **OK,
            }
        },
        "/cluster": {"post": {"operationId": "queryCluster", "requestBody": QUERY, **OK}},
        "/metrics/{name}": {
            "delete": {"operationId": "removeMetric", "parameters": [NAME], **OK},
            "put": {"operationId": "flagMetric", "parameters": [NAME], **OK},
        },
    },
}
IN_DEV = {**DOCUMENT, "paths": {**DOCUMENT["paths"], "/reset": {"post": {"operationId": "reset", **OK}}}}
SPEC = """\
tool: metrics
openapi: metrics.json
environments:
  dev:
    openapi: dev.json
    upstream: "http://dev.example"
    allow: ["*"]
    resources: {Metric: {file: metrics.yaml}}
  prod:
    upstream: "http://prod.example"
    allow: ["*"]
    resources: {Metric: {file: metrics.yaml}}
operations:
  queryCluster: {effect: read}
  removeMetric: {effect: destructive, resources: [{type: Metric, at: "$args.name"}]}
  flagMetric: {resources: [{type: Metric, at: "$args.name"}]}
"""
IDS = {"Metric": frozenset({"cpu", "load"})}
CATALOGUE = "- {id: cpu, tier: critical, weight: 3}\n- {id: load, tier: standard}\n"


@pytest.fixture(scope="session")
def toolspecs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "toolspecs" / "metrics"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(DOCUMENT))
    (folder / "dev.json").write_text(json.dumps(IN_DEV))
    (folder / "tool.yaml").write_text(SPEC)
    (folder / "metrics.yaml").write_text(CATALOGUE)
    return folder.parent


@pytest.fixture(scope="session")
def bundle(toolspecs: Path) -> Bundle:
    return load(Sources(toolspecs, None, "prod", ENVIRONMENTS))


@pytest.fixture(scope="session")
def judged(bundle: Bundle) -> Callable[..., Judged]:
    """Judge texts as the files `policies/a.cedar`, `policies/b.cedar`, …"""
    standing = standing_of(bundle)

    def judge_all(*texts: str | bytes) -> Judged:
        files = [
            CedarFile(f"policies/{name}.cedar", f"{name}.cedar", text.encode() if isinstance(text, str) else text)
            for name, text in zip("abc", texts, strict=False)
        ]
        return judge(files, standing)

    return judge_all


def standing_of(bundle: Bundle) -> Standing:
    operations = tuple(bundle.catalog.operations.values())
    spent = frozenset({"calls", "usd"})
    elsewhere = bundle.catalog.elsewhere
    return Standing(bundle.environment, bundle.environments, operations, elsewhere, bundle.shapes, IDS, spent)


def told(problems: tuple[Problem, ...]) -> list[str]:
    return [f"{each.line}:{each.column} {each.code}: {each.message}" for each in problems]


def reading(condition: str) -> str:
    return f'permit (principal, action == Action::"metrics.queryCluster", resource)\nwhen {{ {condition} }};'
