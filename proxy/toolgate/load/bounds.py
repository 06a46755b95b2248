"""Budgets and limits that can bound nothing, and costs that a reply may keep to itself: what `toolgate check` notes of them.

RULE: said only of what holds in every environment: a budget for what one of them lacks is none too many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from toolgate.core.amounts import COUNTED, text_of
from toolgate.core.budget import EVERY_CALL, Budget, Match, fixed_amount, is_open
from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Operation

_SHOWN: Final = 3


def boundless(here: Bundle, everywhere: Iterable[Bundle]) -> tuple[str, ...]:
    """One sentence for each, in the order of the file, and one for each cost that replies say here."""
    # an environment without tools has nothing to bound
    notes = [dict.fromkeys(_notes(bundle)) for bundle in everywhere if bundle.catalog.allowed]
    common = [note for note in notes[0] if all(note in others for others in notes)] if notes else []
    return (*common, *_of_replies(here.catalog.allowed))


def _notes(bundle: Bundle) -> Iterator[str]:
    allowed = list(bundle.catalog.allowed)
    for budget in bundle.budgets.budgets:
        yield from _of_budget(budget, allowed)
    for limit in bundle.budgets.limits:
        if not _covered(limit.match, allowed):
            yield f"the limit `{limit.name}` covers no operation that is allowed"


def _of_budget(budget: Budget, allowed: list[Operation]) -> Iterator[str]:
    name, dimension = budget.name, budget.dimension
    covered = _covered(budget.match, allowed)
    if not covered:
        yield f"the budget `{name}` covers no operation that is allowed"
        return
    if dimension in COUNTED:
        return
    if budget.match != EVERY_CALL and not any(dimension in each.cost for each in covered):
        yield f"the budget `{name}` gives {dimension}, and nothing that it covers costs any"
    fixed = [each for each in covered if dimension in each.cost and not is_open(dimension, each)]
    if dear := [each for each in fixed if fixed_amount(dimension, each) > budget.given]:
        takes = min(fixed_amount(dimension, each) for each in dear)
        yield (
            f"the budget `{name}` gives {text_of(dimension, budget.given)} {dimension}, and {_named(dear)} "
            f"takes {text_of(dimension, takes)} or more a call: it is always refused"
        )


def _of_replies(allowed: Iterable[Operation]) -> Iterator[str]:
    silent: dict[str, list[Operation]] = {}
    for operation in allowed:
        for name, cost in operation.cost.items():
            if cost.settle is not None and cost.unpriced is None:
                silent.setdefault(name, []).append(operation)
    for name, operations in silent.items():
        yield (
            f"what {_named(operations)} costs in `{name}` its reply says; one that does not, as a stream or one over "
            "`max_response` may, costs the reserve: give the most it can cost as `unpriced`"
        )


def _covered(match: Match, allowed: Iterable[Operation]) -> list[Operation]:
    return [each for each in allowed if match.covers(each)]


def _named(operations: list[Operation]) -> str:
    shown = ", ".join(f"`{each.key}`" for each in operations[:_SHOWN])
    return f"{shown} and {len(operations) - _SHOWN} more" if len(operations) > _SHOWN else shown
