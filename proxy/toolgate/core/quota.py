"""What a caller is told is left of the limits and budgets that govern its call (`RateLimit` headers).

RULE: only what the headers have a unit for: calls, bytes, calls at once. What is left of costs is told by `/-/run`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from toolgate.core.budget import BYTES, CALLS, Budget
from toolgate.core.guards import US_PER_MS
from toolgate.core.limit import Concurrency, Limit
from toolgate.core.model import Guard, Levels, Pace
from toolgate.core.window import Calendar, RollingWindow

Unit: TypeAlias = Literal["requests", "content-bytes", "concurrent-requests"]
_US_PER_S: Final = 1_000_000
_UNITS: Final[dict[str, Unit]] = {CALLS: "requests", BYTES: "content-bytes"}
_WINDOWS_S: Final = {"day": 86_400, "week": 604_800}  # a month has no length of its own


class Rule(NamedTuple):
    """What is told of a limit or budget, whoever asks and however it stands."""

    name: str
    unit: Unit
    given: int
    window_s: float | None = None  # what `given` is for; None: for as long as the run lasts, or for ever
    calendar: Calendar | None = None  # it is given anew
    again_s: float | None = None  # or so soon a part of it, however it stands
    moves: bool = False  # how soon there is more changes from call to call


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What callers are told of, of some guards. Equal to nothing but itself, so what follows from it is found at once."""

    rules: tuple[tuple[Rule, Guard], ...]


def rule_of_limit(limit: Limit) -> Rule:
    allows = limit.allows
    if isinstance(allows, Concurrency):
        return Rule(limit.name, "concurrent-requests", allows.given)
    return Rule(limit.name, "requests", allows.burst, allows.burst * allows.every_us / _US_PER_S, moves=True)


def rule_of_budget(budget: Budget, among: Iterable[Budget]) -> Rule | None:
    """None where the headers have no unit for it. A budget that gives both calls and bytes has a second name for its bytes."""
    unit, window = _UNITS.get(budget.dimension), budget.window
    if unit is None:
        return None
    has_twin = any(each.name == budget.name and each.dimension == CALLS for each in among)
    name = f"{budget.name}-{BYTES}" if budget.dimension == BYTES and has_twin else budget.name
    if isinstance(window, RollingWindow):
        return Rule(name, unit, budget.given, window.seconds, again_s=window.bucket_s)
    return Rule(name, unit, budget.given, _WINDOWS_S.get(window or ""), window, moves=window is not None)


class Standing(NamedTuple):
    """What governs a call, and where it is seen how that stands: levels are live, so it is read when it is told."""

    told: Told
    levels: Levels
    at_ms: int


def left_of_pace(pace: Pace, arrival_us: int, at_ms: int) -> tuple[int, int]:
    """What is left of a bucket of `burst` calls that fills up by one every `every_us`, and in how many microseconds
    there is more: 0 where it is full.
    """
    _, every_us, burst = pace
    ahead_us = arrival_us - at_ms * US_PER_MS
    if ahead_us <= 0:
        return burst, 0
    used = -(-ahead_us // every_us)
    if used > burst:  # noqa: PLR1730 (a call of `min` costs as much as all of this)
        used = burst
    return burst - used, ahead_us - (used - 1) * every_us
