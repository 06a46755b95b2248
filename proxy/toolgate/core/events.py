"""What the journal says of a call: `Decided` before anything is sent, `Finished` after (DESIGN §12).

RULE: a `Decided` holds everything needed to make the decision again; field names are part of the journal's format.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from toolgate.core.bodies import BODY, JsonBody
from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Operation
from toolgate.core.guards import taken_json
from toolgate.core.lasting import lasting_in
from toolgate.core.loop import Consequence
from toolgate.core.mask import Mask, MaskKey, unmask
from toolgate.core.model import (
    Asked,
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
    Shadow,
    ValidCall,
    Violation,
    Wire,
    new,
)
from toolgate.core.recent import OfThing
from toolgate.core.wiretext import pointer

# SECURITY: what an agent sends where nothing says which of it is secret, or did not send in the form its masks describe.
_UNREAD: Final = ("/query", "/headers", "/body", "/asked/arguments")
_SHORT: Final = 1024  # bytes of a body that are encoded again in less time than it takes to find out that they are JSON
_REMEMBERED: Final = 128  # refusals


class Place(NamedTuple):
    """Where a call stands: its run, its number in it, and how long it was held for a step it depends on."""

    run: str
    number: int
    held_ms: int = 0


def permitted(permit: Permit, bundle: Bundle, place: Place, judged: Mapping[str, Json]) -> Event:
    """`Decided: permit`. Written, and committed, before anything is sent."""
    (call, operation, *_), _, statements, shadow, read, step, approval, _, _ = permit
    data = _head(call, operation, bundle, place)
    data |= judged
    data["decision"] = "permit"
    data["statements"] = statements
    if step is not None:
        data["plan"], data["step"], data["attempt"] = step[:3]
    if approval is not None:
        data["approval"] = approval
    _add_read(data, read, shadow)
    data["charges"] = _taken(permit)
    return new(Event, ("Decided", call.at_ms, data, call.id, place.run, operation.effect != "read"))


def _taken(permit: Permit) -> list[Json]:
    """What a permit takes; what call after call takes is encoded once."""
    guards = permit.guards
    if not guards:
        return []
    lasting = lasting_in(permit)
    own = taken_json(guards[: len(guards) - lasting.count])
    return [*own, lasting.written] if lasting.count else own


def refused(call: Call, counted: Consequence, bundle: Bundle, place: Place, asked: Mapping[str, Json]) -> Event:
    """`Decided: refuse`. Nothing is sent; nobody waits for the disk."""
    refusal, signature = counted.refusal, counted.signature
    data = _head(call, refusal.operation, bundle, place)
    data |= asked
    data |= _REFUSALS.of(refusal)
    if signature:
        data["signature"] = signature
    return new(Event, ("Decided", call.at_ms, data, call.id, place.run, False))


def _refusal_json(refusal: Refusal) -> Mapping[str, Json]:
    """What a refusal says, whoever is told it. What it is counted by, the ledger adds."""
    data: dict[str, Json] = {
        "decision": "refuse",
        "stage": refusal.stage,
        "code": refusal.code.code,
        "detail": refusal.detail,
        "hint": refusal.recovery.hint,
        "violations": [violation_json(violation) for violation in refusal.violations],
        "statements": refusal.statements,
    }
    if refusal.read is not None and "plan" in refusal.read:
        data["plan"] = refusal.read["plan"]["id"]
    if refusal.recovery.approval is not None:
        data["approval"] = refusal.recovery.approval
    _add_read(data, refusal.read, refusal.shadow)
    return data


_REFUSALS: Final = OfThing(_refusal_json, _REMEMBERED)


def _add_read(data: dict[str, Json], read: Mapping[str, Json] | None, shadow: Shadow | None) -> None:
    """What policies read beyond the bundle and the arguments, and what audit would have changed."""
    if read is not None:
        data["facts"] = read
    if shadow is not None:
        data["would"] = {"decision": shadow.decision, "code": shadow.code, "statements": shadow.statements}


def finished(valid: ValidCall, outcome: Outcome, at_ms: int, run: str, measured: Mapping[str, Json]) -> Event:
    """`Finished`: how a permitted call ended. `measured` holds latency_ms, bytes and what was off schema."""
    key = valid.operation.key
    data: dict[str, Json]
    match outcome:
        case Completed():
            data = {"operation": key, "outcome": "completed", "status": outcome.reply.status, "sent": "yes"}
        case Failed(code, detail, _, sent):
            data = {"operation": key, "outcome": "failed", "code": code.code, "detail": detail, "sent": sent}
        case Refused(refusal):  # a Permit was made, so this cannot be; said rather than hidden
            data = {"operation": key, "outcome": "refused", "code": refusal.code.code, "sent": "no"}
    data |= measured
    return new(Event, ("Finished", at_ms, data, valid.call.id, run, False))


def judged_json(valid: ValidCall, mask: Mask) -> Mapping[str, Json]:
    """A request that was judged good, by its arguments; made once for those that nothing is masked in."""
    fitting = valid.fitting
    if fitting is not None and fitting.said is not None:
        return fitting.said
    masked = mask(valid.arguments, valid.operation.signature.masks)
    is_plain = masked.arguments is valid.arguments
    said: dict[str, Json] = {"method": valid.request.method, "path": valid.operation.path}
    said["arguments"] = _as_sent(valid) if is_plain else masked.arguments
    if masked.sealed is not None:
        said["sealed"] = masked.sealed
    if fitting is not None and is_plain:
        fitting.said = said
    return said


def _as_sent(valid: ValidCall) -> Mapping[str, Json]:
    """The arguments, a JSON body by the bytes that are sent: they say the same, and are encoded already."""
    request = valid.request
    if request.body is None or len(request.body) < _SHORT:
        return valid.arguments
    name, content_type = request.headers[0]  # a body's own header comes first
    body = valid.operation.signature.bodies.get(content_type) if name == "content-type" else None
    if body is None or not isinstance(body.reading, JsonBody):
        return valid.arguments
    return {**valid.arguments, BODY: orjson.Fragment(request.body)}


def asked_json(call: Call, refusal: Refusal) -> dict[str, Json]:
    """A request that was not judged good, as it came: another bundle may have to judge all of it (DESIGN §12, replay).

    Of what no operation here declares, only what decided is kept: who knows what else it holds.
    """
    is_known = refusal.operation is not None
    match call.asked:
        case Named(operation, arguments):
            return {"asked": {"operation": operation, "arguments": arguments} if is_known else {"operation": operation}}
        case Wire() as wire:
            line: dict[str, Json] = {"method": wire.method, "path": wire.path}
            if wire.query:
                line["query"] = wire.query
            if is_known:
                line |= _content_json(wire, refusal.operation)
            elif wire.body:
                line["body_bytes"] = len(wire.body)
            return line


def unread(asked: Asked, refusal: Refusal) -> tuple[str, ...]:
    """Where a request as it came may hold what must not be shown: pointers into what `asked_json` answers."""
    operation = refusal.operation
    if operation is None:
        return ("/query",) if isinstance(asked, Wire) and asked.query else ()
    masks = operation.signature.masks
    if not masks:
        return ()
    in_path = {pointer("", each.key) for each in operation.signature.parameters if each.location == "path"}
    return ("/path", *_UNREAD) if in_path.intersection(masks) else _UNREAD


def _content_json(wire: Wire, operation: Operation | None) -> dict[str, Json]:
    """The body, and those headers that the operation reads."""
    content: dict[str, Json] = {}
    headers = {name: wire.headers[name] for name in _headers_of(operation) if name in wire.headers}
    if headers:
        content["headers"] = headers
    if wire.body:
        content["content_type"] = wire.headers.get("content-type")
        content["body"] = _text(wire.body)
    return content


def _headers_of(operation: Operation | None) -> list[str]:
    names = ["content-encoding"]
    for each in operation.signature.parameters if operation else ():
        if each.location == "header":
            names.append(each.name.lower())
        elif each.location == "cookie" and "cookie" not in names:
            names.append("cookie")
    return names


def unsealed(decided: Mapping[str, Json], key: MaskKey) -> dict[str, Json]:
    """A `Decided` with what was masked put back. Raises ValueError when the key is another one, or the line was altered."""
    sealed = decided.get("sealed")
    if not isinstance(sealed, str):  # nothing was masked, or the line was too long to keep the seal
        return dict(decided)
    plain = {name: value for name, value in decided.items() if name != "sealed"}
    if "arguments" in plain:
        return plain | {"arguments": unmask(plain["arguments"], sealed, key)}
    return dict(unmask(plain, sealed, key))


def violation_json(violation: Violation) -> dict[str, Json]:
    """A violation as problems and the journal show it."""
    entry: dict[str, Json] = {
        "path": violation.path,
        "keyword": violation.keyword,
        "message": violation.message,
        "expected": violation.expected,
    }
    if violation.suggestion is not None:
        entry["suggestion"] = violation.suggestion
    if violation.code is not None:
        entry["code"] = violation.code
    if violation.hint is not None:
        entry["hint"] = violation.hint
    return entry


def _head(call: Call, operation: Operation | None, bundle: Bundle, place: Place) -> dict[str, Json]:
    _, _, principal, asked, reason, run, plan, step = call
    head: dict[str, Json] = {
        "number": place.number,
        "principal": principal.id,
        "roles": principal.roles,
        "environment": bundle.environment,
        "revision": bundle.revision,
        "operation": operation.key if operation else None,
        "effect": operation.effect if operation else None,
        "via": "http" if isinstance(asked, Wire) else "call",
    }
    if bundle.mode != "enforce":
        head["mode"] = bundle.mode
    if place.held_ms:
        head["held_ms"] = place.held_ms
    if reason is not None:
        head["reason"] = reason
    if run is not None and run.above:
        head["above"] = run.above  # whose budgets and freezes are its own
    if plan is not None or step is not None:
        head["said"] = {"plan": plan, "step": step}  # what the agent called it; what it is, the gate says
    if principal.on_behalf_of is not None:
        head["on_behalf_of"] = principal.on_behalf_of
        head["actor"] = principal.claims.get("act.sub")
    if principal.claims and principal.claims.get("environment", bundle.environment) != bundle.environment:
        head["claimed_environment"] = principal.claims["environment"]  # ignored: the deployment says where this is
    return head


def _text(body: bytes) -> Json:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"$base64": base64.b64encode(body).decode()}
