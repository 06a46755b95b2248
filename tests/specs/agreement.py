"""How far the gate and schemathesis agree on one document, case by case.

RULE: a case that is not asked is counted under its reason; a disagreement is kept whole, so that it can be looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemathesis.errors import SerializationNotPossible
from schemathesis.generation.case import Case
from tests.specs.asking import TOOL, Request, ask, bundle_of, request_of
from tests.specs.generation import Budget, Mode, cases, document, mutations
from tests.specs.harmless import HARMLESS, Drawn
from tests.specs.settled import SETTLED, tame

from toolgate.core.bundle import Bundle
from toolgate.core.model import Refusal, ValidCall

LEAST_AGREEMENT = 0.99


@dataclass
class Agreement:
    """What came of the cases of one document in one mode."""

    name: str
    mode: Mode
    operations: set[str] = field(default_factory=set)
    asked: int = 0
    agreed: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    not_asked: Counter[str] = field(default_factory=Counter)
    disagreements: list[tuple[str, str]] = field(default_factory=list)  # what is said of it, the request

    @property
    def share(self) -> float:
        return self.agreed / self.asked if self.asked else 1.0

    def add(self, other: Agreement) -> None:
        self.operations |= other.operations
        self.asked += other.asked
        self.agreed += other.agreed
        self.codes += other.codes
        self.not_asked += other.not_asked
        self.disagreements += other.disagreements

    def __str__(self) -> str:
        verb = "accepted" if self.mode == "positive" else "refused"
        return (
            f"{self.name}: {len(self.operations)} operations, {self.asked} {self.mode} requests, {self.share:.2%} {verb}; "
            f"not asked: {dict(self.not_asked)}; refusals: {dict(self.codes)}"
        )


def measure(folder: Path, path: Path, mode: Mode, budget: Budget) -> Agreement:
    """Ask everything that is drawn for one document."""
    found = Agreement(path.name, mode)
    # Undeclared form fields are refused by default although an open schema has room for them (DESIGN §5,
    # `unknown_parameters`); schemathesis adds some to every form, so in positive mode the tool drops them.
    bundle = bundle_of(folder, path, "drop" if mode == "positive" else "refuse")
    for operation, case, request in _requests(path, mode, budget, found):
        found.operations.add(operation.label)
        _ask(bundle, case, request, found)
    return found


def _requests(path: Path, mode: Mode, budget: Budget, found: Agreement) -> Iterator[tuple[Any, Case, Request]]:
    whole = document(path)
    for operation, case in cases(path, mode, budget):
        tame(case)
        try:
            request = request_of(case)
        except SerializationNotPossible:
            found.not_asked["schemathesis cannot write it"] += 1
            continue
        reason = _reason_not_to_ask(Drawn(case, request, whole), mode)
        if reason is None:
            yield operation, case, request
        else:
            found.not_asked[reason] += 1


def _reason_not_to_ask(drawn: Drawn, mode: Mode) -> str | None:
    if drawn.request.is_too_long:
        return "request line over its limit"
    if mode == "positive":
        return next((each.name for each in SETTLED if each.holds(drawn.case)), None)
    return next((each.name for each in HARMLESS if each.holds(drawn)), None)


def _ask(bundle: Bundle, case: Case, request: Request, found: Agreement) -> None:
    answer = ask(bundle, request)
    if _is_of_its_twin(answer, case):
        # Another operation has this method and path but for what follows `#`, and the request fits that one (DESIGN §6).
        found.not_asked["fits its twin"] += 1
        return
    found.asked += 1
    if isinstance(answer, Refusal):
        found.codes[answer.code.code] += 1
    if _is_agreed(answer, found.mode):
        found.agreed += 1
    else:
        found.disagreements.append((_said(answer, case), f"{case.operation.label} {request}"[:600]))


def _is_agreed(answer: ValidCall | Refusal, mode: Mode) -> bool:
    if isinstance(answer, ValidCall):
        return mode == "positive"
    return mode == "negative" and answer.code.code.startswith(("arguments.", "request."))


def _said(answer: ValidCall | Refusal, case: Case) -> str:
    if isinstance(answer, Refusal):
        return f"{answer.code.code}: {answer.detail}"
    broken = (f"{each.operator} {each.parameter_location} {each.path} {each.keywords}" for each in mutations(case))
    return f"accepted: {', '.join(broken)}"


def _is_of_its_twin(answer: ValidCall | Refusal, case: Case) -> bool:
    return isinstance(answer, ValidCall) and answer.operation.path.removeprefix(f"/{TOOL}") != case.operation.path
