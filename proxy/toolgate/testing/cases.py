"""Golden cases: a call in, a decision out, in YAML that needs no Python to read (DESIGN §19).

    - note: a deny beats an allow
      call: {operation: metrics.removeMetric, arguments: {name: node_cpu}}
      want: {refusal: tool.disallowed, hint: "Call …"}

RULE: only the keys a case lists are compared; an unknown key is an error, so that no check is skipped silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from toolgate.core import engine
from toolgate.core.bundle import Bundle
from toolgate.core.events import violation_json
from toolgate.core.model import Asked, Call, Decision, Facts, Json, Named, Permit, Principal, Refusal, Wire
from toolgate.load.yaml import strict_load

_CASE_KEYS: Final = {"note", "call", "want"}
_CALL_KEYS: Final = {"operation", "arguments", "method", "path", "query", "headers", "body", "size", "principal"}


@dataclass(frozen=True, slots=True)
class Case:
    """One golden case: what is asked, and what must come of it."""

    note: str
    file: Path
    asked: Asked
    principal: Principal
    want: Mapping[str, Json]


def read_cases(folder: Path) -> list[Case]:
    """Read every `*.yaml` under `folder`, in order of their names.

    Raises ValueError naming the file and the note when a case has a key this runner does not know.
    """
    return [_case(raw, file) for file in sorted(folder.rglob("*.yaml")) for raw in strict_load(file).value]


def differences(case: Case, bundle: Bundle) -> list[str]:
    """Decide the case and name each listed expectation that does not hold; empty when all do."""
    call = Call("01TESTCASE", 0, case.principal, case.asked)
    decision = engine.explain(call, Facts(), bundle).decision
    return [
        f"{key}: wanted {wanted!r}, got {got!r}"
        for key, wanted in case.want.items()
        if (got := _got(key, decision)) != wanted
    ]


def _case(raw: Mapping[str, Any], file: Path) -> Case:
    note, asked = raw.get("note", "?"), raw["call"]
    unknown = (raw.keys() - _CASE_KEYS) | (asked.keys() - _CALL_KEYS) | (raw["want"].keys() - _READERS.keys())
    if unknown:
        raise ValueError(f"{file.name}: `{note}`: unknown keys {sorted(unknown)}")
    return Case(note, file, _asked(asked), Principal(asked.get("principal", "agent")), raw["want"])


def _asked(raw: Mapping[str, Any]) -> Asked:
    if "operation" in raw:
        return Named(raw["operation"], raw.get("arguments", {}))
    body = raw.get("body", b" " * raw.get("size", 0))  # `size`: so many spaces, where only the length matters
    headers = {name.lower(): value for name, value in raw.get("headers", {}).items()}
    if not isinstance(body, (str, bytes)):
        body = orjson.dumps(body)
        headers.setdefault("content-type", "application/json")
    encoded = body.encode() if isinstance(body, str) else body
    return Wire(raw["method"], raw["path"], raw.get("query", ""), headers, encoded)


def _got(key: str, decision: Decision) -> Json:
    return _READERS[key](decision)


def _request(decision: Decision) -> Json:
    if not isinstance(decision, Permit):
        return None
    request = decision.valid.request
    return {
        "method": request.method,
        "target": request.target,
        "headers": dict(request.headers),
        "body": request.body.decode() if request.body is not None else None,
    }


def _of_refusal(read: Callable[[Refusal], Json]) -> Callable[[Decision], Json]:
    return lambda decision: read(decision) if isinstance(decision, Refusal) else None


_READERS: Final[dict[str, Callable[[Decision], Json]]] = {
    "permit": lambda decision: isinstance(decision, Permit),
    "operation": lambda decision: decision.valid.operation.key if isinstance(decision, Permit) else None,
    "arguments": lambda decision: dict(decision.valid.arguments) if isinstance(decision, Permit) else None,
    "request": _request,
    "refusal": _of_refusal(lambda refusal: refusal.code.code),
    "title": _of_refusal(lambda refusal: refusal.title or refusal.code.title),
    "stage": _of_refusal(lambda refusal: refusal.stage),
    "detail": _of_refusal(lambda refusal: refusal.detail),
    "hint": _of_refusal(lambda refusal: refusal.recovery.hint),
    "alternatives": _of_refusal(lambda refusal: list(refusal.recovery.alternatives)),
    "statements": _of_refusal(lambda refusal: list(refusal.statements)),
    "violations": _of_refusal(lambda refusal: [violation_json(violation)["path"] for violation in refusal.violations]),
    "suggestions": _of_refusal(lambda refusal: [violation.suggestion for violation in refusal.violations]),
}
