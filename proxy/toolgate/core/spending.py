"""Who spends what: the balances of a ledger, read by the budgets they are of. For operators.

RULE: only what counts now is told: of a calendar window its present period. What a removed budget left is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import nlargest
from typing import NamedTuple

from toolgate.core.amounts import text_of
from toolgate.core.budget import EVERY_CALL, Budget
from toolgate.core.model import Json
from toolgate.core.scope import Scope, parse_key
from toolgate.core.window import RollingWindow, period, written


class Spender(NamedTuple):
    """What somebody has taken of a budget; amounts as in `Budget`."""

    scope: Mapping[Scope, str]
    taken: int
    left: int


class Spending(NamedTuple):
    """A budget, how many have taken of it, and those who have taken most."""

    budget: Budget
    spenders: int
    taken: int  # by all of them together
    most: tuple[Spender, ...]


def spending(budgets: Iterable[Budget], balances: Mapping[str, int], at_ms: int, most: int) -> tuple[Spending, ...]:
    """Sort balances by their budgets. Budgets in seconds have none: they are the age of each run."""
    found: dict[tuple[str, str], list[Spender]] = {}
    known = {(each.name, each.dimension): each for each in budgets}
    for key, taken in balances.items():
        parts = parse_key(key)
        budget = known.get((parts.name, parts.dimension or "")) if parts is not None and taken else None
        if parts is None or budget is None or parts.period != _present(budget, at_ms):
            continue
        scope = dict(zip(budget.scope, parts.scope, strict=False))
        found.setdefault((budget.name, budget.dimension), []).append(
            Spender(scope, taken, max(budget.given - taken, 0))
        )
    return tuple(_summed(budget, found.get(named, []), most) for named, budget in known.items())


def spending_json(each: Spending) -> dict[str, Json]:
    """How it is shown: amounts as decimal text."""
    budget = each.budget
    return {
        "budget": budget.name,
        "dimension": budget.dimension,
        "scope": budget.scope,
        "given": text_of(budget.dimension, budget.given),
        "window": written(budget.window).strip() or None,
        "operations": None if budget.match == EVERY_CALL else sorted(budget.match.operations or ()),
        "spenders": each.spenders,
        "taken": text_of(budget.dimension, each.taken),
        "most": [_spender_json(budget.dimension, spender) for spender in each.most],
    }


def _spender_json(dimension: str, spender: Spender) -> dict[str, Json]:
    amounts = {"taken": text_of(dimension, spender.taken), "left": text_of(dimension, spender.left)}
    return {"scope": spender.scope, **amounts}


def _summed(budget: Budget, spenders: list[Spender], most: int) -> Spending:
    total = sum(each.taken for each in spenders)
    return Spending(budget, len(spenders), total, tuple(nlargest(most, spenders, key=lambda each: each.taken)))


def _present(budget: Budget, at_ms: int) -> str | None:
    match budget.window:
        case None | RollingWindow():
            return None
        case calendar:
            return period(calendar, at_ms)
