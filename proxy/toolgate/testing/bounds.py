"""What changes of what may be spent: budgets, limits, and how often is too often, in words as the file has them.

RULE: what is compared is what a call would be held against: in which order and with which comments it stands is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, assert_never

from toolgate.core.budget import EVERY_CALL, Budget, Match
from toolgate.core.budgets import Budgets
from toolgate.core.bundle import Bundle
from toolgate.core.limit import Allowance, Concurrency, Limit, Rate

_NOTHING: Final = "none"
_LOOPS: Final = ("identical_calls", "window_s", "identical_refusals", "denied_attempts")


class BoundChange(NamedTuple):
    """A budget, a limit or a rule on loops that is not what it was."""

    environment: str
    bound: str  # such as `budget run-spend`
    old: str
    new: str


class _Bound(NamedTuple):
    """What is compared of one, and how it is told."""

    told: str
    match: Match = EVERY_CALL


def bound_changes(old: Bundle, new: Bundle) -> Iterator[BoundChange]:
    """Return what changes in one environment, by name."""
    before, after = _bounds(old.budgets), _bounds(new.budgets)
    for name in sorted(before.keys() | after.keys()):
        was, is_now = before.get(name), after.get(name)
        if was == is_now:
            continue
        told = (was.told if was else _NOTHING), (is_now.told if is_now else _NOTHING)
        others = ", of other operations" if told[0] == told[1] else ""
        yield BoundChange(new.environment, name, told[0], told[1] + others)


def _bounds(budgets: Budgets) -> Mapping[str, _Bound]:
    given = {f"budget {each.name} ({each.dimension})": _budget(each) for each in budgets.budgets}
    limits = {f"limit {each.name}": _limit(each) for each in budgets.limits}
    rules = ((name, getattr(budgets.loops, name)) for name in _LOOPS)
    return {**given, **limits, **{f"loops {name}": _Bound(str(most)) for name, most in rules if most is not None}}


def _budget(budget: Budget) -> _Bound:
    return _Bound(f"{budget.spoken} by {', '.join(budget.scope)}{_for(budget.match)}", budget.match)


def _limit(limit: Limit) -> _Bound:
    return _Bound(f"{_allowance(limit.allows)} by {', '.join(limit.scope)}{_for(limit.match)}", limit.match)


def _allowance(allows: Allowance) -> str:
    match allows:
        case Rate(_, burst, written):
            return f"{written}, {burst} at once"
        case Concurrency(given):
            return f"{given} under way"
        case _:
            assert_never(allows)


def _for(match: Match) -> str:
    if match.operations is None:
        return ""
    count = len(match.operations)
    return f", for {count} operation{'' if count == 1 else 's'}"
