"""What is left unsaid of a rejected plan where `disclosure: hide` holds.

RULE: a step on an operation that its principal cannot list is answered with the same bytes, whether the operation
exists, is not allowed here, or would be refused by policy; and nothing else in the answer names such an operation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from typing import Final

from toolgate.core.bundle import Bundle
from toolgate.core.codes import CODES
from toolgate.core.model import Json, Principal, Recovery, Refusal, Violation
from toolgate.core.planning import MOST_REPORTED
from toolgate.listeners.problem import Disclosure
from toolgate.listeners.tools import Listings

_CODE: Final = "tool.unknown"
_STEPS: Final = "/steps/"
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]+")
_RULE: Final = "this breaks a rule of the gate"


class Discretion:
    """What the refusal of a plan may tell its principal."""

    def __init__(self, bundle: Callable[[], Bundle], listings: Listings, disclosure: Disclosure) -> None:
        self._bundle = bundle
        self._listings = listings
        self._disclosure = disclosure

    async def told(self, refusal: Refusal, document: Json, principal: Principal) -> Refusal:
        if self._disclosure == "explain":
            return refusal
        bundle = self._bundle()
        listed = {each.operation.key for each in await self._listings.listed(bundle, principal)}
        operations = bundle.catalog.operations.values()
        seen = frozenset(name for each in operations if each.key in listed for name in (each.key, each.name))
        return unsaid(
            refusal,
            document,
            seen,
            Unseen(name for each in operations for name in (each.key, each.name) if name not in seen),
        )


class Unseen:
    """Names that are not to be told, found in sentences."""

    def __init__(self, names: Iterable[str]) -> None:
        every = frozenset(names)
        self._words = frozenset(name for name in every if _WORD.fullmatch(name))
        self._phrases = tuple(every - self._words)  # operationIds of vendors may be anything

    def named_in(self, text: str) -> bool:
        if any(word.rstrip(".") in self._words for word in _WORD.findall(text)):
            return True
        return any(phrase in text for phrase in self._phrases)


def unsaid(refusal: Refusal, document: Json, seen: Container[str], unseen: Unseen) -> Refusal:
    """A refusal of this document, told to somebody who sees some operations and is not to know of the others."""
    hidden = _hidden_steps(document, seen)
    if hidden.isdisjoint(map(_step_of, refusal.violations)):
        hidden = frozenset()
    others = tuple(each for each in refusal.violations if _step_of(each) not in hidden)
    if hidden and len(refusal.violations) >= MOST_REPORTED:
        others = ()  # SECURITY: where the list is cut would tell how much is wrong with the steps before
    kept = tuple(_quiet(each, unseen) for each in others)
    if kept == refusal.violations and not unseen.named_in(_said(refusal)):
        return refusal
    told = tuple(_no_such_operation(at) for at in sorted(hidden)[:MOST_REPORTED])
    code = refusal.code
    recovery = Recovery(code.action, code.hint, approval=refusal.recovery.approval)
    return Refusal(code, "the plan is not accepted", recovery, stage=refusal.stage, violations=(*told, *kept))


def _hidden_steps(document: Json, seen: Container[str]) -> frozenset[int]:
    steps = document.get("steps") if isinstance(document, dict) else None
    listed = enumerate(steps) if isinstance(steps, list) else ()
    named = ((at, step.get("operationId")) for at, step in listed if isinstance(step, dict))
    return frozenset(at for at, key in named if isinstance(key, str) and key not in seen)


def _step_of(violation: Violation) -> int:
    """The number of the step that a violation is in; -1: of the plan."""
    before, _, rest = violation.path.partition(_STEPS)
    number = rest.partition("/")[0]
    return int(number) if not before and number.isdecimal() else -1


def _no_such_operation(at: int) -> Violation:
    return Violation(
        f"{_STEPS}{at}/operationId", "operation", "there is no such operation", code=_CODE, hint=CODES[_CODE].hint
    )


def _quiet(violation: Violation, unseen: Unseen) -> Violation:
    text = " ".join(map(str, (violation.message, violation.expected, violation.suggestion, violation.hint)))
    if not unseen.named_in(text):
        return violation
    return Violation(violation.path, violation.keyword, _RULE, code=violation.code)


def _said(refusal: Refusal) -> str:
    recovery = refusal.recovery
    return " ".join((refusal.detail, recovery.hint, *recovery.alternatives))
