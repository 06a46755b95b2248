"""A result told to a person: what was wanted, what came, which statements said so, and what nearly held.

RULE: whoever reads it can mend the policy or the case without running anything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from toolgate.core.model import Decision, Json, Permit
from toolgate.testing.running import Result
from toolgate.testing.wants import shadow_json

_LONGEST: Final = 400


def told(result: Result) -> Iterator[str]:
    """Tell why a case failed, a line each."""
    for key, wanted, got in result.differences:
        yield f"{key}: wanted {shown(wanted)}, came {shown(got)}"
    yield f"decided: {decision_told(result.decision)}"
    if not isinstance(result.decision, Permit):
        yield f"hint: {result.decision.recovery.hint}"
    yield from result.reasons


def decision_told(decision: Decision) -> str:
    """Tell a decision and who made it."""
    by = ", ".join(f"`{name}`" for name in decision.statements)
    if isinstance(decision, Permit):
        return f"permitted by {by}" if by else "permitted"
    who = f" by {by}" if by else ""
    return f"refused with {decision.code.code}{who}: {decision.detail}"


def shown(value: Json) -> str:
    """A wanted or given value as one would write it in a case, shortened."""
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def result_json(result: Result) -> Mapping[str, Json]:
    """A result for programs."""
    case = result.case
    return {
        "file": case.file,
        "line": case.line,
        "note": case.note,
        "matrix": case.label or None,
        "environment": result.environment,
        "passed": result.passed,
        "decision": decision_json(result.decision),
        "differences": [each._asdict() for each in result.differences],
        "reasons": list(result.reasons),
    }


def decision_json(decision: Decision) -> Mapping[str, Json]:
    """A decision for programs: what came, by which statements."""
    ends: dict[str, Json] = {"permit": isinstance(decision, Permit)}
    if not isinstance(decision, Permit):
        ends |= {"refusal": decision.code.code, "detail": decision.detail, "hint": decision.recovery.hint}
    return ends | {"statements": list(decision.statements), "would": shadow_json(decision.shadow)}
