"""What a suite has shown: which statements decided a case, which codes occurred, which operations were asked for.

RULE: a statement is covered when it decided, not when it was looked at: a forbid that never forbade is untested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from toolgate.core.codes import CODES
from toolgate.testing.running import Result, Served, code_of, operation_of, statements_of

# Codes that arise before there is a call, beside one or after it was permitted; no case can bring them about.
_ELSEWHERE: Final = (
    "request.",
    "auth.",
    "plan.incomplete",
    "plan.recursion",
    "plan.replan_limit",
    "upstream.",
    "gateway.",
    "internal.",
)
DECIDED_CODES: Final = tuple(code for code in CODES if code == "gateway.frozen" or not code.startswith(_ELSEWHERE))


@dataclass(frozen=True, slots=True)
class Covered:
    """One statement, and how many cases it decided."""

    id: str
    effect: Literal["permit", "forbid"]
    file: str
    line: int
    cases: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the policies and of what they can answer a suite has shown."""

    statements: tuple[Covered, ...]  # as they stand in the files
    codes: Mapping[str, int]  # every code a decision can have → the cases it occurred in
    operations: Mapping[str, int]  # every allowed operation → the cases that asked for it

    @property
    def uncovered(self) -> tuple[Covered, ...]:
        return tuple(each for each in self.statements if not each.cases)

    @property
    def percent(self) -> int:
        """The share of covered statements, rounded down: 100 means all of them."""
        count = len(self.statements)
        return 100 * (count - len(self.uncovered)) // count if count else 100


def coverage(results: Sequence[Result], served: Iterable[Served]) -> Coverage:
    """Return what the results have shown of the bundles they were decided by."""
    bundles = tuple(each.bundle for each in served)
    decided = Counter(name for result in results for name in set(statements_of(result.decision)))
    codes = Counter(code_of(result.decision) for result in results)
    asked = Counter(operation_of(result.decision) for result in results)
    known = {each.id: each for bundle in bundles for each in bundle.policies.statements.values()}
    allowed = sorted({operation.key for bundle in bundles for operation in bundle.catalog.allowed})
    in_order = sorted(known.values(), key=lambda each: (each.file, each.line, each.id))
    return Coverage(
        statements=tuple(Covered(each.id, each.effect, each.file, each.line, decided[each.id]) for each in in_order),
        codes={code: codes[code] for code in DECIDED_CODES},
        operations={key: asked[key] for key in allowed},
    )
