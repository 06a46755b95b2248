"""What records and settlements take of balances and paces: the values that a store keeps and that are given back.

RULE: values, and arithmetic on them alone; what is taken so far is for `ledger.balances` to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from toolgate.core.model import Charge, Guard, Pace, new
from toolgate.ledger.lapse import until_ms

PLAIN: Final = -1  # the bucket of an amount that is in none


class Change(NamedTuple):
    """An amount added to a balance; below zero: given back."""

    key: str
    bucket: int  # of a rolling window, or PLAIN
    amount: int
    until_ms: int | None = None  # when nobody asks for it any more, where time alone brings that


class Slot(NamedTuple):
    """One call let through by a pace."""

    pace: Pace
    before_us: int | None  # the pace's theoretical arrival time before this call, and after it
    after_us: int


class Taken(NamedTuple):
    """What one record took, as a store keeps it and as it is given back; or what a settlement changed."""

    changes: tuple[Change, ...] = ()
    guards: Sequence[Guard] = ()
    at_ms: int = 0
    slots: Sequence[Slot] = ()


class Settled(NamedTuple):
    """What became of a settlement: the changes, and what was not left for its extra charges."""

    taken: Taken
    overrun: tuple[tuple[Charge, int], ...] = ()


NOTHING: Final = Taken()
UNCHANGED: Final = Settled(NOTHING)


def changes_of(taken: Taken) -> list[Change]:
    """What a record or a settlement changed, one by one."""
    charged = [
        change_of(guard, max(guard.amount, 0), taken.at_ms) for guard in taken.guards if isinstance(guard, Charge)
    ]
    return [*taken.changes, *charged]


def change_of(charge: Charge, amount: int, at_ms: int) -> Change:
    rolling = charge.rolling
    return new(
        Change, (charge.key, PLAIN if rolling is None else rolling.bucket, amount, until_ms(charge.key, rolling, at_ms))
    )
