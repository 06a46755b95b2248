"""Whether guards hold: one arithmetic for the decision, for every ledger, and for what callers are told is left.

RULE: a guard is asked of the levels as they are, together with what the same call takes before it; nothing is taken here.
Redis runs the same arithmetic in its script (`ledger/*.lua`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, assert_never

from toolgate.core.model import Charge, Guard, Json, Levels, Pace, Place, Short

US_PER_MS: Final = 1_000
_US_PER_S: Final = 1_000_000
_OF_ONE_CALL: Final = frozenset({"p:", "s:", "a:", "l:"})  # kinds of keys that hardly two calls have in common


def first_short(guards: Sequence[Guard], levels: Levels, at_ms: int) -> Short | None:
    """The first guard that does not hold, each after what those before it take; None where all hold."""
    earlier: dict[str, int] = {}  # what this call takes already, by key
    for guard in guards:
        key = guard.key
        before = earlier.get(key, 0)
        if isinstance(guard, Charge):
            # SECURITY: no charge is a refund, so none makes room for the next.
            short, takes = charge_short(guard, levels.taken(guard) + before), max(guard.amount, 0)
        elif isinstance(guard, Pace):
            short, takes = pace_short(guard, _arrival_after(guard, before, levels, at_ms), at_ms), 1
        else:
            short, takes = place_short(guard, levels.held(guard) + before), 1
        if short is not None:
            return short
        earlier[key] = before + takes
    return None


def charge_short(charge: Charge, taken: int) -> Short | None:
    """Whether so much is left where so much is taken already."""
    _, amount, given, _ = charge
    return None if taken + amount <= given or amount <= 0 else Short(charge, max(given - taken, 0))


def pace_short(pace: Pace, arrival_us: int, at_ms: int) -> Short | None:
    """Whether the pace lets a call through now."""
    if arrival_us <= at_ms * US_PER_MS:
        return None
    left_s = wait_s(pace, arrival_us, at_ms)
    return None if left_s <= 0 else Short(pace, 0, left_s)


def place_short(place: Place, held: int) -> Short | None:
    """Whether a place is free where so many are held."""
    return None if held < place.given else Short(place, 0)


def left(guard: Guard, levels: Levels, at_ms: int) -> int:
    """How much of what it guards is left: an amount, calls that may come at once, or places."""
    match guard:
        case Charge():
            return max(guard.given - levels.taken(guard), 0)
        case Pace():
            return burst_left(guard, levels.arrival_us(guard), at_ms)
        case Place():
            return max(guard.given - levels.held(guard), 0)
        case _:
            assert_never(guard)


def burst_left(pace: Pace, arrival_us: int, at_ms: int) -> int:
    """How many calls the pace lets through at once now."""
    now_us = at_ms * US_PER_MS
    ahead_us = max(arrival_us - now_us, 0)
    return max(pace.burst - -(-ahead_us // pace.every_us), 0)


def next_arrival_us(pace: Pace, arrival_us: int, at_ms: int) -> int:
    """The theoretical arrival time after one more call."""
    return max(arrival_us, at_ms * US_PER_MS) + pace.every_us


def wait_s(pace: Pace, arrival_us: int, at_ms: int) -> float:
    """How long until the pace lets the next call through; 0 when it does now."""
    allowed_us = arrival_us - (pace.burst - 1) * pace.every_us
    return max(allowed_us - at_ms * US_PER_MS, 0) / _US_PER_S


def taken_json(guards: Iterable[Guard]) -> list[Json]:
    """What guards take, so that balances follow from the journal: an `amount` (in a `bucket`), a `pace`, a `place`."""
    return [_taken_json(guard) for guard in guards]


def lasting_of(guards: tuple[Guard, ...]) -> tuple[Guard, ...]:
    """Those that call after call takes alike, so that what follows from them may be remembered."""
    for at, guard in enumerate(guards):  # what a call takes of its step, its approval and loops stands first
        if guard.key[:2] not in _OF_ONE_CALL:
            return guards[at:]
    return ()


def _arrival_after(pace: Pace, before: int, levels: Levels, at_ms: int) -> int:
    arrival_us = levels.arrival_us(pace)
    return max(arrival_us, at_ms * US_PER_MS) + before * pace.every_us if before else arrival_us


def _taken_json(guard: Guard) -> dict[str, Json]:
    match guard:
        case Charge():
            key, amount, _, rolling = guard
            if rolling is None:
                return {"key": key, "amount": amount}
            return {"key": key, "amount": amount, "bucket": rolling.bucket}
        case Pace():
            return {"key": guard.key, "pace": guard.every_us}
        case Place():
            return {"key": guard.key, "place": 1}
        case _:
            assert_never(guard)
