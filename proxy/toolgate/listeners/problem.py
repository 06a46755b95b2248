"""The one renderer: an Outcome as HTTP (DESIGN §13).

RULE: the match is total and closed by `assert_never`. What an agent reads of a refusal is decided here and nowhere else.
"""

from __future__ import annotations

from math import ceil
from typing import Final, Literal, TypeAlias, assert_never

import orjson

from toolgate.core.authorization import is_listed
from toolgate.core.bundle import Bundle
from toolgate.core.codes import CODES, Code
from toolgate.core.events import violation_json
from toolgate.core.explanation import Explanation, Stage
from toolgate.core.model import (
    Completed,
    Failed,
    Json,
    Outcome,
    Principal,
    Recovery,
    Refusal,
    Refused,
    Sent,
    Violation,
)
from toolgate.listeners.answers import Answer, Whole, status_line
from toolgate.listeners.ratelimit import ratelimit_lines
from toolgate.listeners.reply import reply_answer

Disclosure: TypeAlias = Literal["explain", "hide"]

_ALLOW: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXTRA: Final = {
    "request.method": f"Allow: {_ALLOW}\r\n",
    "auth.missing": 'WWW-Authenticate: Bearer realm="toolgate"\r\n',  # RFC 6750 §3.1: no error code without a token
    **dict.fromkeys(
        ("auth.invalid", "auth.expired"), 'WWW-Authenticate: Bearer realm="toolgate", error="invalid_token"\r\n'
    ),
}
_HIDDEN: Final = frozenset({"tool.unknown", "tool.disallowed", "policy.not_allowed"})
_UNKNOWN: Final = CODES["tool.unknown"]
# SECURITY: with `disclosure: hide` these are the same bytes whatever was refused, so nothing can be probed for.
_NOTHING_SAID: Final = Refusal(_UNKNOWN, "no such operation", Recovery(_UNKNOWN.action, _UNKNOWN.hint), stage="tool")


def render(outcome: Outcome, call_id: str, bundle: Bundle, *, bodiless: bool = False) -> Answer:
    """An outcome as an answer. `bodiless`: the answer to a HEAD, which has every header and no body."""
    match outcome:
        case Completed():
            return reply_answer(outcome, call_id, bodiless=bodiless)
        case Refused(refusal):
            problem = refusal_json(refusal, call_id, bundle)
            lines = ratelimit_lines(outcome.standing)
            return problem_answer(problem, refusal.code, refusal.recovery, lines=lines, bodiless=bodiless)
        case Failed():
            problem = failure_json(outcome, call_id, bundle)
            lines = ratelimit_lines(outcome.standing)
            return problem_answer(problem, outcome.code, outcome.recovery, lines=lines, bodiless=bodiless)
        case _:
            assert_never(outcome)


def disclosed(refusal: Refusal, disclosure: Disclosure, principal: Principal, bundle: Bundle) -> Refusal:
    """What this principal may learn of a refusal.

    SECURITY: with `hide`, what it may never call answers like what does not exist, whatever was wrong with the call.
    """
    if disclosure == "explain":
        return refusal
    operation = refusal.operation
    is_hidden = operation is not None and not is_listed(operation, principal, bundle)
    return _NOTHING_SAID if is_hidden or refusal.code.code in _HIDDEN else refusal


def refusal_json(refusal: Refusal, call_id: str, bundle: Bundle) -> dict[str, Json]:
    """A refusal as the problem an agent reads: nothing was sent."""
    return _problem(
        refusal.code,
        call_id,
        bundle,
        title=refusal.title or refusal.code.title,
        detail=refusal.detail,
        retryable=refusal.is_passing,
        sent="no",
        recovery=refusal.recovery,
        violations=refusal.violations,
        statements=refusal.statements,
    )


def stages_json(explanation: Explanation) -> list[dict[str, Json]]:
    """An explanation stage by stage; what was evaluated and what was nearly allowed, where a stage has it."""
    return [_stage_json(stage) for stage in explanation.stages]


def _stage_json(stage: Stage) -> dict[str, Json]:
    told: dict[str, Json] = {
        "stage": stage.stage,
        "result": stage.result,
        "reason": stage.reason,
        "statements": stage.statements,
    }
    if stage.applied:
        told["applied"] = [
            {"statement": statement, "effect": effect, "holds": holds} for statement, effect, holds in stage.applied
        ]
    if stage.near_misses:
        told["near_misses"] = [each._asdict() for each in stage.near_misses]
    return told


def failure_json(failure: Failed, call_id: str, bundle: Bundle) -> dict[str, Json]:
    """A failure as the problem an agent reads: `sent` says whether the upstream may have acted."""
    return _problem(
        failure.code,
        call_id,
        bundle,
        title=failure.code.title,
        detail=failure.detail,
        retryable=failure.code.retryable,
        sent=failure.sent,
        recovery=failure.recovery,
        violations=failure.violations,
        statements=(),
    )


def problem_answer(
    problem: dict[str, Json], code: Code, recovery: Recovery, *, lines: str = "", bodiless: bool = False
) -> Whole:
    """A problem as `application/problem+json`. `lines`: header lines of its own."""
    body = orjson.dumps(problem, default=_shown)
    wait = f"Retry-After: {ceil(recovery.retry_after_s)}\r\n" if recovery.retry_after_s is not None else ""
    head = (
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\nToolgate-Call: {problem['call']}\r\n"
        f"Toolgate-Source: gate\r\nCache-Control: no-store\r\n{wait}{lines}{_EXTRA.get(code.code, '')}"
    )
    return Whole(status_line(code.status) + head.encode("ascii"), b"" if bodiless else body)


def _problem(  # noqa: PLR0913  # the fields of the format, by name
    code: Code,
    call_id: str,
    bundle: Bundle,
    *,
    title: str,
    detail: str,
    retryable: bool,
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
        "retryable": retryable,
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
