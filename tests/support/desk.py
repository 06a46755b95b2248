"""A desk of notes: one tool whose arguments are of every kind that policies read, and policies as a test writes them.

RULE: a test says its statements and what is asked over the socket; between the two there is nothing but the product.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.listeners.served import DIGEST, Served, Told, serving_bundle

from toolgate.auth import Authenticator
from toolgate.core.bundle import Bundle, Mode
from toolgate.listeners.problem import Disclosure
from toolgate.load.bundle import Sources, load

ALL = '@id("all") permit (principal, action, resource);\n'
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 100}}
_FILTER = {
    "name": "filter", "in": "query", "style": "deepObject", "explode": True,
    "schema": {"type": "object", "properties": {"kind": {"type": "string"}}},
}  # fmt: skip
_KIND = {"type": "object", "properties": {"kind": {"type": "string"}}}
NOTE = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "owner": _KIND,
        "either": {"oneOf": [{"type": "string"}, _KIND]},
        "open": {"type": "object"},
        "anything": {},
        "weight": {"type": "number"},
        "count": {"type": "integer"},
        "milestone": {"type": ["integer", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "parts": {"type": "array", "items": _KIND},
    },
}
_LISTED = {
    "type": "object",
    "required": ["notes"],
    "properties": {
        "notes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "rank"],
                "properties": {
                    "id": {"type": "string"},
                    "rank": {"type": "integer"},
                    "tier": {"type": "string"},
                    "owner": _KIND,
                },
            },
        }
    },
}


def _operation(name: str, *parameters: Any, body: Any = None, answer: Any = None) -> dict[str, Any]:
    content = {"content": {"application/json": {"schema": answer}}} if answer else {}
    said: dict[str, Any] = {
        "operationId": name,
        "parameters": parameters,
        "responses": {"200": {"description": "ok", **content}},
    }
    if body is not None:
        both = ("application/json", "application/x-www-form-urlencoded")
        said["requestBody"] = {"required": True, "content": {each: {"schema": body} for each in both}}
    return said


DOCUMENT: Mapping[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "desk", "version": "1"},
    "paths": {
        "/notes": {"post": _operation("writeNote", _FILTER, body=NOTE), "get": _operation("listNotes", answer=_LISTED)},
        "/notes/{id}": {"get": _operation("readNote", _ID), "delete": _operation("dropNote", _ID)},
        "/pairs/{id}": {"get": _operation("readPair", _ID)},
        "/files/{id}#draft": {"put": _operation("draftFile", _ID)},
        "/files/{id}#final": {"put": _operation("sealFile", _ID)},
        "/scrolls/{id}": {"get": _operation("readScroll", _ID | {"allowReserved": True})},
        "/secrets/{id}": {"get": _operation("readSecret", _ID)},
    },
}
NOTES = {"n1": {"tier": "critical", "owner": {"kind": "team"}}, "n2": {"tier": "low"}, "n3": {}}
_LIVE = {"operation": "listNotes", "items": "$response.body#/notes"}


def tool(**changes: Any) -> dict[str, Any]:
    """The toolspec; `live` makes the catalogue a live one."""
    catalogue = {"from": _LIVE} if changes.pop("live", False) else {"file": "notes.json"}
    at = {"type": "Note", "at": "$args.id"}
    here = {
        "upstream": "http://127.0.0.1:9",
        "allow": ["*"],
        "deny": ["readSecret"],
        "resources": {"Note": catalogue},
    }
    return {
        "tool": "desk",
        "openapi": "openapi.json",
        "environments": {
            "dev": {"upstream": "http://127.0.0.1:9", "allow": ["*"], "resources": {"Note": {"file": "notes.json"}}},
            "prod": here | changes,
        },
        "operations": {
            "dropNote": {"effect": "destructive", "resources": [at]},
            "readNote": {"resources": [at]},
            "readPair": {"resources": [at]},
        },
    }


def write(folder: Path, policies: str, **changes: Any) -> Path:
    """Write the project: toolspecs and policies."""
    desk = folder / "toolspecs" / "desk"
    desk.mkdir(parents=True, exist_ok=True)
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "desk.cedar").write_text(policies)
    notes = changes.pop("notes", NOTES)
    (desk / "openapi.json").write_text(json.dumps(DOCUMENT))
    (desk / "tool.yaml").write_text(json.dumps(tool(**changes)))
    (desk / "notes.json").write_text(json.dumps([{"id": name, **attributes} for name, attributes in notes.items()]))
    return folder


def bundle(folder: Path, policies: str = ALL, mode: Mode = "enforce", **changes: Any) -> Bundle:
    write(folder, policies, **changes)
    return load(Sources(folder / "toolspecs", folder / "policies", "prod", ("dev", "prod"), mode))


@dataclass(frozen=True)
class Desk:
    """A desk that is served."""

    served: Served

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Told:
        typed = {"Content-Type": "application/json"} if body is not None else {}
        return await self.served.ask(method, path, data=body, headers=typed | headers)

    async def write(self, body: bytes | str, query: str = "", **headers: str) -> Told:
        """Send a note as the bytes an agent makes."""
        return await self.ask(
            "POST", f"/desk/notes{query}", body.encode() if isinstance(body, str) else body, **headers
        )

    async def call(self, operation: str, arguments: str, **headers: str) -> Told:
        """Call by name, with the arguments as JSON text that nobody has read."""
        said = f'{{"operation": "desk.{operation}", "arguments": {arguments}}}'
        return await self.ask("POST", "/-/call", said.encode(), **headers)

    async def decided(self, count: int) -> list[dict[str, Any]]:
        """The first decisions of the journal, oldest first, once there are so many."""
        await self.served.written(count)
        told = await self.served.ask("GET", "/-/journal?kind=Decided&limit=1000", door="admin")
        return sorted((row["event"] for row in told.json["events"]), key=lambda event: event["seq"])

    @property
    def sent(self) -> list[Any]:
        return [permit.valid for permit in self.served.upstream.sent]


def said(told: Told) -> str:
    """What an answer comes to: `completed`, or the code that refuses."""
    return str(told.json["code"]) if told.headers["Toolgate-Source"] == "gate" else "completed"


@contextlib.asynccontextmanager
async def desk(
    folder: Path,
    policies: str = ALL,
    *,
    disclosure: Disclosure = "explain",
    who: Authenticator = DIGEST,
    mode: Mode = "enforce",
    **changes: Any,
) -> AsyncIterator[Desk]:
    async with serving_bundle(bundle(folder, policies, mode, **changes), disclosure, who) as served:
        yield Desk(served)
