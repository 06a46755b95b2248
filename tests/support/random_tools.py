"""The random vocabulary of policies as real tools: documents and a catalogue for what `random_policies` names.

RULE: every argument is a JSON text in the query, so that a call by name may give it any value its schema takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from tests.support.random_policies import ARGUMENT_OBJECTS, ARGUMENTS, Rule

from toolgate.core.bundle import Bundle
from toolgate.core.policies import Policies
from toolgate.load.bundle import Sources, load

KEYS = ("t.read", "t.write", "t.drop", "u.read")
HIDDEN = "t.purge"  # in another environment only
METRICS = {"abc": {"tier": "critical"}, "b": {"tier": "low", "size": 3}, "cpu": {}}
_LISTED = {
    "type": "object",
    "required": ["metrics"],
    "properties": {
        "metrics": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id"],
                "properties": {"id": {"type": "string"}, "tier": {"type": "string"}, "size": {"type": "integer"}},
            },
        }
    },
}
_METHODS = {"read": "get", "write": "post", "drop": "delete", "purge": "put"}


def _parameters() -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "content": {"application/json": {"schema": schema}}}
        for name, schema in ARGUMENTS.items()
    ]


def _document(names: Iterable[str], parameters: list[dict[str, Any]]) -> dict[str, Any]:
    paths: dict[str, Any] = {
        f"/{name}": {
            _METHODS[name]: {
                "operationId": name,
                "parameters": parameters,
                "responses": {"200": {"description": "ok"}},
            }
        }
        for name in names
    }
    content = {"application/json": {"schema": _LISTED}}
    paths["/metrics"] = {
        "get": {"operationId": "list", "responses": {"200": {"description": "ok", "content": content}}}
    }
    return {"openapi": "3.1.0", "info": {"title": "random", "version": "1"}, "paths": paths}


def _tools(*, live: bool) -> dict[str, dict[str, Any]]:
    upstream = {"upstream": "http://127.0.0.1:9"}
    listed = {"from": {"operation": "list", "items": "$response.body#/metrics"}} if live else {"file": "metrics.json"}
    at = [{"type": "Metric", "at": "$args.s"}]
    return {
        "t": {
            "tool": "t",
            "openapi": "openapi.json",
            "environments": {
                "dev": upstream | {"allow": ["*"], "resources": {"Metric": {"file": "metrics.json"}}},
                "prod": upstream | {"allow": ["read", "write", "drop", "list"], "resources": {"Metric": listed}},
            },
            "operations": {name: {"resources": at} for name in ("read", "write")}
            | {"drop": {"resources": at, "effect": "destructive"}},
        },
        "u": {
            "tool": "u",
            "openapi": "openapi.json",
            "environments": {each: upstream | {"allow": ["read"]} for each in ("dev", "prod")},
        },
    }


def random_tools(folder: Path, *, live: bool = False) -> Bundle:
    """Load the tools, with nothing permitted; `live`: the metrics are listed by the upstream."""
    documents = {
        "t": _document(("read", "write", "drop", "purge"), _parameters()),
        "u": _document(("read",), []),
    }
    for name, tool in _tools(live=live).items():
        (folder / name).mkdir(parents=True)
        (folder / name / "tool.yaml").write_text(json.dumps(tool))
        (folder / name / "openapi.json").write_text(json.dumps(documents[name]))
    (folder / "t" / "metrics.json").write_text(
        json.dumps([{"id": name, **attributes} for name, attributes in METRICS.items()])
    )
    return load(Sources(folder, None, "prod", ("dev", "prod")))


def with_rules(bundle: Bundle, rules: dict[str, Rule]) -> Bundle:
    """The same tools under other policies."""
    statements = [rule.statement(name) for name, rule in rules.items()]
    policies = Policies(statements, len(bundle.catalog.operations), bundle.shapes)
    return replace(bundle, policies=policies)


CALLS = st.tuples(
    st.sampled_from(KEYS),
    st.tuples(ARGUMENT_OBJECTS, st.sampled_from((None, "abc", "b", "cpu", "nothing"))).map(
        lambda drawn: {name: value for name, value in (drawn[0] | {"s": drawn[1]}).items() if name != "s" or value}
    ),
).map(lambda call: call if call[0] != "u.read" else (call[0], {}))
