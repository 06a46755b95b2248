"""What a case may want of a decision, and how each is read off it.

RULE: a want is compared with what the decision itself says, never with something worked out beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from toolgate.core.model import Decision, Json, Permit, Refusal, Shadow
from toolgate.load.casefile import WouldEntry


class Difference(NamedTuple):
    """One want that does not hold."""

    key: str
    wanted: Json
    got: Json


def differences(want: Mapping[str, Json], decision: Decision) -> tuple[Difference, ...]:
    """Return each want that does not hold, in the order a reader asks: the decision first."""
    wanted = ((key, _plain(want[key])) for key in _READERS if key in want)
    return tuple(Difference(key, value, got) for key, value in wanted if (got := _got(key, value, decision)) != value)


def _plain(value: Json) -> Json:
    """A wanted value as it is compared; the order of statements means nothing."""
    if not isinstance(value, WouldEntry):
        return value
    return {key: getattr(value, key) for key in sorted(value.model_fields_set)}


def _got(key: str, wanted: Json, decision: Decision) -> Json:
    got = _READERS[key](decision)
    if key == "statements":
        return wanted if isinstance(got, list) and sorted(got) == sorted(wanted) else got
    if key == "would" and isinstance(wanted, dict) and isinstance(got, dict):
        return _would(wanted, got)
    return got


def _would(wanted: Mapping[str, Json], got: Mapping[str, Json]) -> Json:
    """Only the keys that are wanted."""
    return {key: got.get(key) if key != "statements" else _in_order(wanted[key], got[key]) for key in wanted}


def _in_order(wanted: list[str], got: list[str]) -> list[str]:
    return wanted if sorted(wanted) == sorted(got) else got


def shadow_json(shadow: Shadow | None) -> Json:
    """What audit would have changed, in the words of a case."""
    if shadow is None:
        return None
    ends: dict[str, Json] = {"permit": True} if shadow.decision == "permit" else {"refusal": shadow.code}
    return ends | {"statements": list(shadow.statements)}


def _request(decision: Decision) -> Json:
    if not isinstance(decision, Permit):
        return None
    request = decision.valid.request
    return {
        "method": request.method,
        "target": request.target,
        "headers": dict(request.headers),
        "body": request.body.decode(errors="backslashreplace") if request.body is not None else None,
    }


def _operation(decision: Decision) -> Json:
    operation = decision.valid.operation if isinstance(decision, Permit) else decision.operation
    return operation.key if operation else None


def _of_refusal(read: Callable[[Refusal], Json]) -> Callable[[Decision], Json]:
    return lambda decision: read(decision) if isinstance(decision, Refusal) else None


_READERS: Final[Mapping[str, Callable[[Decision], Json]]] = {
    "permit": lambda decision: isinstance(decision, Permit),
    "refusal": _of_refusal(lambda refusal: refusal.code.code),
    "title": _of_refusal(lambda refusal: refusal.title or refusal.code.title),
    "stage": _of_refusal(lambda refusal: refusal.stage),
    "statements": lambda decision: list(decision.statements),
    "would": lambda decision: shadow_json(decision.shadow),
    "detail": _of_refusal(lambda refusal: refusal.detail),
    "hint": _of_refusal(lambda refusal: refusal.recovery.hint),
    "alternatives": _of_refusal(lambda refusal: list(refusal.recovery.alternatives)),
    "violations": _of_refusal(lambda refusal: [violation.path for violation in refusal.violations]),
    "suggestions": _of_refusal(lambda refusal: [violation.suggestion for violation in refusal.violations]),
    "operation": _operation,
    "arguments": lambda decision: dict(decision.valid.arguments) if isinstance(decision, Permit) else None,
    "request": _request,
}
