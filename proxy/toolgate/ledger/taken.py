"""What records and settlements take of balances and paces: the values that a store keeps and that are given back.

RULE: values, and arithmetic on them alone; what is taken so far is for `ledger.balances` to know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain as chained
from typing import Final, NamedTuple

from toolgate.core.model import Charge, Guard, Pace, new
from toolgate.ledger.lapse import OF_TURN, until_ms

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


def sum_of(taken: Sequence[Taken]) -> list[tuple[str, int, int, int | None]]:
    """What several records and settlements come to, as changes by key and bucket.

    INVARIANT: turns of steps are not kept. No number is asked for again after a restart: the attempts are kept with the step.
    """
    sums: dict[tuple[str, int], tuple[int, int | None]] = {}
    last_ms = max([each.at_ms for each in taken], default=0)
    # Most calls that are written together take alike, but for a loop's guard.
    for guard, count in Counter(chained.from_iterable([each.guards for each in taken])).items():
        if type(guard) is Charge:
            key, amount, _, rolling = guard
            if amount > 0 and not key.startswith(OF_TURN):
                _add(sums, (key, PLAIN if rolling is None else rolling[0]), amount * count, until_ms(guard, last_ms))
    for each in taken:
        for key, bucket, amount, until in each.changes:
            if not key.startswith(OF_TURN):
                _add(sums, (key, bucket), amount, until)
    return [(*at, amount, until) for at, (amount, until) in sums.items() if amount]


def _add(
    sums: dict[tuple[str, int], tuple[int, int | None]], at: tuple[str, int], amount: int, until: int | None
) -> None:
    known = sums.get(at)
    sums[at] = amount if known is None else known[0] + amount, until


def change_of(charge: Charge, amount: int, at_ms: int) -> Change:
    rolling = charge.rolling
    return new(Change, (charge.key, PLAIN if rolling is None else rolling.bucket, amount, until_ms(charge, at_ms)))
