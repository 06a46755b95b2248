"""What calls under way hold until their replies say what they cost: the part of what is taken that may come back.

RULE: belongs to the event loop; what was held is let go exactly once. It decides nothing: it tells a caller to wait where
waiting may help. Of gates that share a store, each knows its own calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from toolgate.core.model import Charge


class Reserves:
    """Amounts by key."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    @property
    def amounts(self) -> Mapping[str, int]:
        """A view, live."""
        return self._held

    def hold(self, charges: Iterable[Charge]) -> None:
        for charge in charges:
            self._held[charge.key] = self._held.get(charge.key, 0) + charge.amount

    def release(self, charges: Iterable[Charge]) -> None:
        for charge in charges:
            left = self._held.get(charge.key, 0) - charge.amount
            if left > 0:
                self._held[charge.key] = left
            else:
                self._held.pop(charge.key, None)
