"""The one renderer: an Outcome as HTTP (DESIGN §13).

RULE: the match is total and closed by `assert_never`. What an agent reads of a refusal is decided here and nowhere else.
"""

from __future__ import annotations

from math import ceil
from typing import Final, Literal, TypeAlias, assert_never

import orjson

from toolgate.core.bundle import Bundle
from toolgate.core.codes import CODES, Code
from toolgate.core.events import violation_json
from toolgate.core.model import (
    Completed,
    Failed,
    Json,
    Outcome,
    Recovery,
    Refusal,
    Refused,
    Sent,
    Violation,
)
from toolgate.listeners.answers import Answer, Whole, status_line
from toolgate.listeners.reply import reply_answer

Disclosure: TypeAlias = Literal["explain", "hide"]

_ALLOW: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXTRA: Final = {
    "request.method": f"Allow: {_ALLOW}\r\n",
    "auth.invalid": 'WWW-Authenticate: Bearer realm="toolgate", error="invalid_token"\r\n',
}
HIDDEN: Final = frozenset({"tool.unknown", "tool.disallowed"})
_UNKNOWN: Final = CODES["tool.unknown"]
# SECURITY: with `disclosure: hide` these are the same bytes whatever was refused, so nothing can be probed for.
_NOTHING_SAID: Final = Refusal(_UNKNOWN, "no such operation", Recovery(_UNKNOWN.action, _UNKNOWN.hint), stage="tool")


def render(
    outcome: Outcome, call_id: str, bundle: Bundle, *, disclosure: Disclosure = "explain", bodiless: bool = False
) -> Answer:
    """An outcome as an answer. `bodiless`: the answer to a HEAD, which has every header and no body."""
    match outcome:
        case Completed():
            return reply_answer(outcome, call_id, bodiless=bodiless)
        case Refused(refusal):
            shown = disclosed(refusal, disclosure)  # SECURITY: the status and the headers too
            problem = refusal_json(shown, call_id, bundle)
            return problem_answer(problem, shown.code, shown.recovery, bodiless=bodiless)
        case Failed():
            problem = failure_json(outcome, call_id, bundle)
            return problem_answer(problem, outcome.code, outcome.recovery, bodiless=bodiless)
        case _:
            assert_never(outcome)


def disclosed(refusal: Refusal, disclosure: Disclosure) -> Refusal:
    """What an agent may learn of a refusal."""
    return _NOTHING_SAID if disclosure == "hide" and refusal.code.code in HIDDEN else refusal


def refusal_json(refusal: Refusal, call_id: str, bundle: Bundle, disclosure: Disclosure = "explain") -> dict[str, Json]:
    """A refusal as the problem an agent reads: nothing was sent."""
    refusal = disclosed(refusal, disclosure)
    return _problem(
        refusal.code,
        call_id,
        bundle,
        title=refusal.title or refusal.code.title,
        detail=refusal.detail,
        sent="no",
        recovery=refusal.recovery,
        violations=refusal.violations,
        statements=refusal.statements,
    )


def failure_json(failure: Failed, call_id: str, bundle: Bundle) -> dict[str, Json]:
    """A failure as the problem an agent reads: `sent` says whether the upstream may have acted."""
    return _problem(
        failure.code,
        call_id,
        bundle,
        title=failure.code.title,
        detail=failure.detail,
        sent=failure.sent,
        recovery=failure.recovery,
        violations=failure.violations,
        statements=(),
    )


def problem_answer(problem: dict[str, Json], code: Code, recovery: Recovery, *, bodiless: bool = False) -> Whole:
    """A problem as `application/problem+json`."""
    body = orjson.dumps(problem, default=_shown)
    wait = f"Retry-After: {ceil(recovery.retry_after_s)}\r\n" if recovery.retry_after_s is not None else ""
    head = (
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\nToolgate-Call: {problem['call']}\r\n"
        f"Toolgate-Source: gate\r\nCache-Control: no-store\r\n{wait}{_EXTRA.get(code.code, '')}"
    )
    return Whole(status_line(code.status) + head.encode("ascii"), b"" if bodiless else body)


def _problem(  # noqa: PLR0913  # the fields of the format, by name
    code: Code,
    call_id: str,
    bundle: Bundle,
    *,
    title: str,
    detail: str,
    sent: Sent,
    recovery: Recovery,
    violations: tuple[Violation, ...],
    statements: tuple[str, ...],
) -> dict[str, Json]:
    return {
        "type": code.type,
        "title": title,
        "status": code.status,
        "detail": detail,
        "instance": f"urn:toolgate:call:{call_id}",
        "call": call_id,
        "code": code.code,
        "environment": bundle.environment,
        "retryable": code.retryable,
        "sent": sent,
        "recovery": _recovery(recovery),
        "violations": [violation_json(violation) for violation in violations],
        "statements": statements,
        "revision": bundle.revision,
    }


def _recovery(recovery: Recovery) -> dict[str, Json]:
    shown: dict[str, Json] = {
        "action": recovery.action,
        "hint": recovery.hint,
        "alternatives": recovery.alternatives,
    }
    if recovery.retry_after_s is not None:
        shown["retry_after_s"] = recovery.retry_after_s
    if recovery.waiting_on:
        shown["waiting_on"] = recovery.waiting_on
    if recovery.approval is not None:
        shown["approval"] = recovery.approval
    return shown


def _shown(value: object) -> str:
    """What JSON cannot hold, shown by its kind: a renderer never fails on what it was told."""
    return f"<{type(value).__name__}>"
