"""A small project for `toolgate serve`: one tool, whose operations do whatever the id in the path names.

RULE: an item's id is `{how}-{anything}`; how the upstream answers is read from it (see `upstream.ANSWERS`), so that a
test chooses a fault by choosing an argument, and the argument names the call in every book that is kept of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.policies import permit_all

_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 100}}
_ITEM = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
_ANSWERS = {"200": {"description": "ok", "content": {"application/json": {"schema": _ITEM}}}}
_NOTE = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "done": {"type": "boolean"},
        "more": {},
    },
    "additionalProperties": False,
}


def operation(name: str, *parameters: Mapping[str, Any], body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {"operationId": name, "parameters": [_ID, *parameters], "responses": _ANSWERS}
    if body is not None:
        said["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return said


def _query(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


DOCUMENT: Mapping[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "store", "version": "1"},
    "paths": {
        "/items/{id}": {
            "get": operation("getItem"),
            "put": operation("putItem", body={"type": "object"}),
            "delete": operation("removeItem"),
        },
        "/quick/{id}": {"get": operation("quickItem")},
        "/notes/{id}": {
            "post": operation(
                "addNote",
                _query("tags", {"type": "array", "items": {"type": "string"}}),
                _query("page", {"type": "integer"}),
                {"name": "X-Origin-Of", "in": "header", "schema": {"type": "string", "pattern": "^[!-~]*$"}},
                body=_NOTE,
            )
        },
    },
}


def tool(upstream: str, **environment: Any) -> dict[str, Any]:
    """The toolspec; `environment` goes into the environment the gate runs in."""
    here = {"upstream": upstream, "allow": ["getItem", "putItem", "quickItem", "addNote"]} | environment
    return {
        "tool": "store",
        "openapi": "openapi.json",
        "environments": {"dev": {"upstream": upstream, "allow": ["*"]}, "prod": here},
        "operations": {"*": {"timeout_s": 5.0, "idle_timeout_s": 5.0}, "quickItem": {"timeout_s": 0.3}},
    }


def build(home: Path, spec: Mapping[str, Any], **settings: Any) -> Path:
    """Write the project; JSON is YAML. `settings` are added to the settings file, section by section."""
    (home / "toolspecs" / "store").mkdir(parents=True)
    permit_all(home)
    write(home / "toolspecs" / "store" / "openapi.json", DOCUMENT)
    write(home / "toolspecs" / "store" / "tool.yaml", spec)
    write(
        home / "toolgate.yaml",
        {
            "environment": "prod",
            "environments": ["dev", "prod"],
            "listen": {"agent": "127.0.0.1:0", "admin": "127.0.0.1:0", "health": "127.0.0.1:0"},
            "ledger": "sqlite:state/ledger.db",
            "log": {"format": "json"},
        }
        | settings,
    )
    return home


def write(path: Path, value: Any) -> None:
    """Replace a file as editors do, so that no reader sees half of it."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(json.dumps(value))
    aside.replace(path)
