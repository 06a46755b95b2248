"""What a case says is taken, by the names of budgets and limits: a case is one call, so a name means one key.

RULE: what a case does not speak of, nobody has taken of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from toolgate.core.amounts import COUNTED, MICRO, exactly
from toolgate.core.guards import US_PER_MS
from toolgate.core.loop import DENIED_ATTEMPTS, IDENTICAL_CALLS
from toolgate.core.model import Charge, Json, Pace, Place
from toolgate.core.scope import KeyParts, parse_key
from toolgate.load.casefile import FactsEntry

_US_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class CaseLevels:
    """Implements `core.model.Levels`."""

    amounts: Mapping[str, Json]  # by budget: an amount, or amounts by dimension
    running: Mapping[str, int]  # by limit
    wait_s: Mapping[str, float]  # by limit
    loops: Mapping[str, int]  # by rule
    at_ms: int

    def taken(self, charge: Charge) -> int:
        parts = parse_key(charge.key)
        if parts is None or parts.dimension is None:
            return self.loops.get(_name(parts), 0)
        said = self.amounts.get(parts.name, 0)
        amount = exactly(said.get(parts.dimension, 0) if isinstance(said, Mapping) else said) or 0
        return amount // MICRO if parts.dimension in COUNTED else amount

    def arrival_us(self, pace: Pace) -> int:
        wait_s = self.wait_s.get(_name(parse_key(pace.key)), 0.0)
        if wait_s <= 0:
            return 0
        return self.at_ms * US_PER_MS + round(wait_s * _US_PER_S) + (pace.burst - 1) * pace.every_us

    def held(self, place: Place) -> int:
        return self.running.get(_name(parse_key(place.key)), 0)


def levels_of(facts: FactsEntry, at_ms: int) -> CaseLevels:
    loops = facts.loops
    counted = {IDENTICAL_CALLS: loops.identical_calls, DENIED_ATTEMPTS: loops.denied_attempts}
    return CaseLevels(facts.taken, facts.running, facts.wait_s, counted, at_ms)


def _name(parts: KeyParts | None) -> str:
    return parts.name if parts is not None else ""
