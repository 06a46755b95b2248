"""What is asked: a generated API of any number of operations, its toolspec and settings, and the requests as bytes.

RULE: the same bytes go to the gate and to the pass-through.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOOL = "bench"
_POLICY = """\
@id("bench-reads")
permit (principal == Agent::"bench", action in Action::"read", resource);
@id("bench-writes")
permit (principal == Agent::"bench", action in Action::"write", resource);
@id("nothing-is-destroyed")
forbid (principal, action in Action::"destructive", resource);
"""
_COUNTED = "000042"  # counted up where no two requests are to be alike
_SPREAD = 16  # so many different operations are called, from the first to the last of the document


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request: what the gate must answer, and the most it may cost beside the pass-through.

    Where `counted` stands in a request, a number of as many digits is sent, and no two requests are the same.
    """

    name: str
    requests: Sequence[bytes]
    status: int
    at_most: float | None
    counted: str = ""


def write_gate(folder: Path, *, operations: int, upstream: int, ports: Sequence[int]) -> Path:
    """Write settings, policy, toolspec and document for a gate before `upstream`; return the settings file."""
    settings = write_folders(folder, "identity: {anonymous: bench}\n", operations=operations, ports=ports)
    (folder / "policies" / "bench.cedar").write_text(_POLICY)
    (folder / "toolspecs" / TOOL / "tool.yaml").write_text(
        f"tool: {TOOL}\nopenapi: openapi.json\n"
        f'environments:\n  prod: {{upstream: "http://127.0.0.1:{upstream}", allow: ["*"]}}\n'
        'operations:\n  "query*": {effect: read}\n  "*": {cost: {usd: 0.000001}}\n'
    )
    return settings


def write_folders(folder: Path, identity: str, *, operations: int, ports: Sequence[int]) -> Path:
    """Write what every gate here has: its settings and the document; return the settings file."""
    agent, admin, health = ports
    tool = folder / "toolspecs" / TOOL
    tool.mkdir(parents=True)
    (folder / "policies").mkdir()
    (tool / "openapi.json").write_text(json.dumps(document(operations)))
    settings = folder / "toolgate.yaml"
    settings.write_text(
        "environment: prod\nenvironments: [prod]\ntoolspecs: toolspecs/\npolicies: policies/\n"
        f"listen: {{agent: '127.0.0.1:{agent}', admin: '127.0.0.1:{admin}', health: '127.0.0.1:{health}'}}\n"
        f"{identity}"
    )
    return settings


def document(operations: int) -> Mapping[str, Any]:
    """An OpenAPI document: in turn a GET with parameters, a POST that only asks, and a POST that writes."""
    paths: dict[str, Any] = {}
    for number in range(operations):
        kind, resource = number % 3, number // 3
        if kind == 0:
            paths[f"/v1/resource{resource}/{{id}}"] = {"get": _operation(f"read{resource}", parameters=_parameters())}
        elif kind == 1:
            paths[f"/v1/resource{resource}/query"] = {"post": _operation(f"query{resource}", has_body=True)}
        else:
            paths[f"/v1/resource{resource}"] = {"post": _operation(f"create{resource}", has_body=True)}
    components = {"schemas": {"Order": _order()}}
    return {"openapi": "3.1.0", "info": {"title": "Bench", "version": "1"}, "paths": paths, "components": components}


def cases(operations: int, port: int) -> Sequence[Case]:
    """Every kind of request, spread over the operations of the document."""
    resources = spread(max(1, operations // 3))
    small, large = body(lines=1), body(lines=52)
    wrong = small.replace(b'"customer"', b'"custommer"')
    posts = [f"/v1/resource{number}/query" for number in resources]
    gets = [f"/v1/resource{number}/item-{number}?limit=20&order=asc" for number in resources]
    fresh = [f"/v1/resource{number}/item-{_COUNTED}?limit=20&order=asc" for number in resources]
    writes = [f"/v1/resource{number}" for number in resources]
    unknown = [f"/v2/resource{number}/query" for number in resources]
    return (
        Case("GET", [request("GET", path, port) for path in gets], 200, 1.3),
        Case("POST 200 B", [request("POST", path, port, small) for path in posts], 200, 1.3),
        Case("POST 6 kB", [request("POST", path, port, large) for path in posts], 200, 1.3),
        Case("GET, never seen before", [request("GET", path, port) for path in fresh], 200, 1.3, _COUNTED),
        *(
            Case(
                f"{name}, never seen before", [request("POST", path, port, said) for path in posts], 200, 1.3, _COUNTED
            )
            for name, said in (("POST 200 B", small), ("POST 6 kB", large))
        ),
        Case("POST 200 B, flushed write", [request("POST", path, port, small) for path in writes], 200, None),
        Case("refused: bad arguments", [request("POST", path, port, wrong) for path in posts], 422, 0.6),
        Case("refused, never seen before", [request("POST", path, port, wrong) for path in posts], 422, 0.6, _COUNTED),
        Case("refused: unknown operation", [request("POST", path, port, small) for path in unknown], 404, 0.6),
    )


def spread(resources: int) -> Sequence[int]:
    """Return so many numbers, from the first to the last."""
    count = min(_SPREAD, resources)
    return [index * (resources - 1) // max(1, count - 1) for index in range(count)]


def request(method: str, path: str, port: int, content: bytes = b"", headers: Sequence[str] = ()) -> bytes:
    """Write a request as a common client does."""
    head = [
        f"{method} /{TOOL}{path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "User-Agent: python-httpx/0.28.1",
        "Accept: */*",
        "Accept-Encoding: gzip, deflate",
        "Connection: keep-alive",
        *headers,
    ]
    if content:
        head += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*head, "", ""]).encode() + content


def body(*, lines: int) -> bytes:
    """Write an order of so many lines: about 200 bytes for one, 6 kB for 52."""
    line = {
        "sku": "ABC-12345",
        "quantity": 3,
        "price": 19.99,
        "note": "leave at the door, ring twice, thank you kindly",
    }
    order = {"customer": f"cust-{_COUNTED}", "currency": "EUR", "express": False, "lines": [line] * lines}
    return json.dumps(order).encode()


def _operation(name: str, *, parameters: Sequence[Any] = (), has_body: bool = False) -> Mapping[str, Any]:
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": f"The operation {name}.",
        "parameters": list(parameters),
        "responses": {"200": {"description": "ok"}},
    }
    if has_body:
        schema = {"$ref": "#/components/schemas/Order"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _parameters() -> Sequence[Mapping[str, Any]]:
    return (
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 64}},
        {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
        {"name": "cursor", "in": "query", "schema": {"type": "string", "maxLength": 64}},
        {"name": "order", "in": "query", "schema": {"type": "string", "enum": ["asc", "desc"]}},
    )


def _order() -> Mapping[str, Any]:
    line = {
        "type": "object",
        "required": ["sku", "quantity"],
        "additionalProperties": False,
        "properties": {
            "sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{5}$"},
            "quantity": {"type": "integer", "minimum": 1, "maximum": 1000},
            "price": {"type": "number", "minimum": 0},
            "note": {"type": "string", "maxLength": 200},
        },
    }
    return {
        "type": "object",
        "required": ["customer", "lines"],
        "additionalProperties": False,
        "properties": {
            "customer": {"type": "string", "minLength": 1, "maxLength": 64},
            "currency": {"type": "string", "enum": ["EUR", "USD", "GBP"]},
            "express": {"type": "boolean"},
            "lines": {"type": "array", "minItems": 1, "maxItems": 100, "items": line},
        },
    }
