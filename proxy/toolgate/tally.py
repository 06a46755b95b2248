"""What budgets and limits have spent and refused since the start, and how they stand now: numbers for operators.

RULE: on the path of a call a count is an addition to a plain number; how budgets stand is read aside, every few seconds,
in a thread of its own. Names are those of the bundle's budgets and limits, so no caller can grow the series.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from toolgate.core.amounts import COUNTED, MICRO
from toolgate.core.budget import SECONDS
from toolgate.core.budgets import Budgets
from toolgate.core.guards import lasting_of
from toolgate.core.lasting import Lasting, lasting_in
from toolgate.core.model import Charge, Guard, Permit, Settlement
from toolgate.core.spending import Spending, spending

_LOOK_S: Final = 10.0
_MOST_ALIKE: Final = 1024
_BUDGET: Final = "b:"
_LIMITS: Final = ("r:", "c:")

Named = tuple[str, str]  # a budget and its dimension


@dataclass(slots=True, eq=False)
class _Alike:
    """Calls that took the same."""

    guards: tuple[Guard, ...]
    calls: int = 0


class Tally:
    """Counts by budget and by limit."""

    def __init__(self) -> None:
        self._spent: dict[Named, int] = {}
        self._alike: dict[Lasting, _Alike] = {}  # not added up yet; by identity, as an account has one
        self.refusals: dict[Named, int] = {}
        self.limited: dict[str, int] = {}  # by limit
        self.standing: tuple[Spending, ...] = ()

    def settle(self, permit: Permit, settlement: Settlement) -> None:
        """Count what a finished call came to."""
        lasting = lasting_in(permit)
        alike = self._alike.get(lasting) or self._begin(lasting, permit)
        alike.calls += 1
        for charge in settlement.refunds:
            self._add(charge, -charge.amount)
        for charge in settlement.extra:
            self._add(charge, charge.amount)

    @property
    def spent(self) -> Mapping[Named, int]:
        """What calls came to, as settled; in micro-units where it is a cost."""
        self._add_up()
        return self._spent

    def refuse(self, key: str) -> None:
        """Count a call that a guard did not cover, by the guard's key."""
        kind, (name, _, rest) = key[:2], key[2:].partition(":")
        if kind == _BUDGET:
            named = name, rest.partition(":")[0]
            self.refusals[named] = self.refusals.get(named, 0) + 1
        elif kind in _LIMITS:
            self.limited[name] = self.limited.get(name, 0) + 1

    async def watch(
        self,
        budgets: Callable[[], Budgets],
        balances: Callable[[], Mapping[str, int]],
        now_ms: Callable[[], int],
        look_s: float = _LOOK_S,
    ) -> None:
        """Look how budgets stand, again and again, until cancelled."""
        while True:
            given = [each for each in budgets().budgets if each.dimension != SECONDS]
            taken = dict(balances()) if given else {}
            # a hundred thousand runs take a while to sort, and no call waits for that
            self.standing = await asyncio.to_thread(spending, given, taken, now_ms(), 1)
            await asyncio.sleep(look_s)

    def _begin(self, lasting: Lasting, permit: Permit) -> _Alike:
        """INVARIANT: bounded; what is counted so far is added up when there are many, as when it is read."""
        if len(self._alike) >= _MOST_ALIKE:
            self._add_up()
        alike = self._alike[lasting] = _Alike(lasting_of(permit.guards))
        return alike

    def _add_up(self) -> None:
        for alike in self._alike.values():
            for guard in alike.guards:
                if isinstance(guard, Charge):
                    self._add(guard, guard.amount * alike.calls)
        self._alike.clear()

    def _add(self, charge: Charge, amount: int) -> None:
        named = _named(charge.key)
        if named is not None:
            self._spent[named] = self._spent.get(named, 0) + amount


def _named(key: str) -> Named | None:
    if not key.startswith(_BUDGET):
        return None
    name, dimension, _ = key[2:].split(":", 2)
    return name, dimension


def in_units(dimension: str, amount: int) -> float:
    """An amount as a metric shows it: dollars, not micro-dollars."""
    return amount if dimension in COUNTED else amount / MICRO
