"""What the journal says of a call: `Decided` before anything is sent, `Finished` after (DESIGN §12).

RULE: a `Decided` holds everything needed to make the decision again; field names are part of the journal's format.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Operation
from toolgate.core.mask import Masked
from toolgate.core.model import (
    Call,
    Completed,
    Event,
    Failed,
    Json,
    Named,
    Outcome,
    Permit,
    Refusal,
    Refused,
    ValidCall,
    Violation,
    Wire,
)

_REPLAYED: Final = ("arguments", "tool")  # stages that judge the request as it came, so it is kept as it came


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call stands: its run, and its number in it."""

    run: str
    number: int


def permitted(permit: Permit, bundle: Bundle, place: Place, masked: Masked) -> Event:
    """`Decided: permit`. Written, and committed, before anything is sent."""
    valid = permit.valid
    data = _head(valid.call, valid.operation, bundle, place)
    data["method"] = valid.request.method
    data["path"] = valid.operation.path
    data["arguments"] = masked.arguments
    if masked.sealed is not None:
        data["sealed"] = masked.sealed
    data["decision"] = "permit"
    data["statements"] = permit.statements
    data["charges"] = [{"key": charge.key, "amount": charge.amount} for charge in permit.charges]
    effectful = valid.operation.effect != "read"
    return Event("Decided", valid.call.at_ms, data, valid.call.id, place.run, effectful)


def refused(call: Call, refusal: Refusal, bundle: Bundle, place: Place, asked: Mapping[str, Json]) -> Event:
    """`Decided: refuse`. Nothing is sent; nobody waits for the disk."""
    data = _head(call, refusal.operation, bundle, place)
    data |= asked
    data |= {
        "decision": "refuse",
        "stage": refusal.stage,
        "code": refusal.code.code,
        "detail": refusal.detail,
        "hint": refusal.recovery.hint,
        "violations": [violation_json(violation) for violation in refusal.violations],
        "statements": refusal.statements,
    }
    return Event("Decided", call.at_ms, data, call.id, place.run)


def finished(valid: ValidCall, outcome: Outcome, at_ms: int, run: str, measured: Mapping[str, Json]) -> Event:
    """`Finished`: how a permitted call ended. `measured` holds latency_ms, bytes and what was off schema."""
    data: dict[str, Json] = {"operation": valid.operation.key}
    match outcome:
        case Completed():
            data |= {"outcome": "completed", "status": outcome.reply.status, "sent": "yes"}
        case Failed():
            data |= {"outcome": "failed", "code": outcome.code.code, "detail": outcome.detail, "sent": outcome.sent}
        case Refused():  # a Permit was made, so this cannot be; said rather than hidden
            data |= {"outcome": "refused", "code": outcome.refusal.code.code, "sent": "no"}
    data |= measured
    return Event("Finished", at_ms, data, valid.call.id, run)


def asked_json(call: Call, refusal: Refusal) -> dict[str, Json]:
    """The request as it came: whole where the decision judged it as such, else its line."""
    match call.asked:
        case Named(operation, arguments):
            return {"via": "call", "asked": {"operation": operation, "arguments": arguments}}
        case Wire(method, path, query, headers, body):
            line: dict[str, Json] = {"via": "http", "method": method, "path": path}
            if query:
                line["query"] = query
            if refusal.stage in _REPLAYED and body:
                line["content_type"] = headers.get("content-type")
                line["body"] = _text(body)
            return line


def violation_json(violation: Violation) -> dict[str, Json]:
    """A violation as problems and the journal show it."""
    shown: dict[str, Json] = {
        "path": violation.path,
        "keyword": violation.keyword,
        "message": violation.message,
        "expected": violation.expected,
    }
    if violation.suggestion is not None:
        shown["suggestion"] = violation.suggestion
    return shown


def _head(call: Call, operation: Operation | None, bundle: Bundle, place: Place) -> dict[str, Json]:
    head: dict[str, Json] = {
        "number": place.number,
        "principal": call.principal.id,
        "roles": call.principal.roles,
        "environment": bundle.environment,
        "revision": bundle.revision,
        "operation": operation.key if operation else None,
        "effect": operation.effect if operation else None,
        "via": "http" if isinstance(call.asked, Wire) else "call",
    }
    if call.reason is not None:
        head["reason"] = call.reason
    return head


def _text(body: bytes) -> Json:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"$base64": base64.b64encode(body).decode()}
