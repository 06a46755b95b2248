"""Who spends what: the balances of a ledger, read by the budgets they are of. For operators.

RULE: only what counts now is told: of a calendar window its present period. What a removed budget left is nobody's. What
replies billed beyond a budget is in no balance: the journal says it, as far back as the budget's window goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import nlargest
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from toolgate.core.amounts import text_of
from toolgate.core.budget import EVERY_CALL, Budget
from toolgate.core.model import Json
from toolgate.core.scope import Scope, parse_key
from toolgate.core.window import RollingWindow, Window, period, written

_DAY_MS: Final = 86_400_000
_DAYS: Final = {"day": 1, "week": 7, "month": 31}

Overruns: TypeAlias = Mapping[int, Mapping[str, int]]  # since when: of which key how much

_NO_OVERRUNS: Final[Overruns] = MappingProxyType({})
_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class Spender(NamedTuple):
    """What somebody has taken of a budget; amounts as in `Budget`."""

    scope: Mapping[Scope, str]
    taken: int
    left: int
    overrun: int = 0  # billed beyond what was left


class Spending(NamedTuple):
    """A budget, how many have taken of it, and those who have taken most."""

    budget: Budget
    spenders: int
    taken: int  # by all of them together
    overrun: int
    most: tuple[Spender, ...]


def looks_back(budgets: Iterable[Budget], at_ms: int) -> frozenset[int]:
    """Since when overruns are to be known."""
    return frozenset(_since_ms(each.window, at_ms) for each in budgets)


def spending(
    budgets: Iterable[Budget], balances: Mapping[str, int], at_ms: int, most: int, overruns: Overruns = _NO_OVERRUNS
) -> tuple[Spending, ...]:
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
            Spender(
                scope,
                taken,
                max(budget.given - taken, 0),
                overruns.get(_since_ms(budget.window, at_ms), _NOTHING).get(key, 0),
            )
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
        "overrun": text_of(budget.dimension, each.overrun),
        "most": [_spender_json(budget.dimension, spender) for spender in each.most],
    }


def _spender_json(dimension: str, spender: Spender) -> dict[str, Json]:
    amounts = {"taken": spender.taken, "left": spender.left, "overrun": spender.overrun}
    return {"scope": spender.scope, **{name: text_of(dimension, amount) for name, amount in amounts.items()}}


def _summed(budget: Budget, spenders: list[Spender], most: int) -> Spending:
    total, overrun = sum(each.taken for each in spenders), sum(each.overrun for each in spenders)
    return Spending(budget, len(spenders), total, overrun, tuple(nlargest(most, spenders, key=lambda each: each.taken)))


def _since_ms(window: Window, at_ms: int) -> int:
    """When a window begins at the earliest: a calendar period is told by the key itself."""
    match window:
        case None:
            return 0
        case RollingWindow(seconds):
            return at_ms - seconds * 1000
        case calendar:
            return at_ms - _DAYS[calendar] * _DAY_MS


def _present(budget: Budget, at_ms: int) -> str | None:
    match budget.window:
        case None | RollingWindow():
            return None
        case calendar:
            return period(calendar, at_ms)
