"""What this gate knows of the store's levels: what the last script returned.

RULE: never asked of the store on the path of a call. The store judges every guard itself, so what is old here can only
refuse too much for a moment: what goes down by itself (places, windows that move) counts for a second, and whatever was
asked for and is old is looked at again, beside the path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from toolgate.core.guards import first_short
from toolgate.core.model import Charge, Guard, Pace, Place, Short

FRESH_MS: Final = 1_000
_MOST: Final = 200_000  # keys; about 30 MB
_MOST_WANTED: Final = 1_000


class _Level(NamedTuple):
    value: int
    seen_ms: int


class StoreLevels:
    """Implements `core.model.Levels`."""

    __slots__ = ("_clock", "_known", "_on_want", "_wanted")

    def __init__(self, clock: Callable[[], int], on_want: Callable[[], None]) -> None:
        self._clock = clock
        self._on_want = on_want
        self._known: dict[str, _Level] = {}
        self._wanted: dict[str, Guard] = {}

    def taken(self, charge: Charge) -> int:
        return self._level(charge, lasts=charge.rolling is None)

    def arrival_us(self, pace: Pace) -> int:
        return self._level(pace, lasts=True)

    def held(self, place: Place) -> int:
        return self._level(place, lasts=False)

    def short(self, guards: Sequence[Guard], at_ms: int) -> Short | None:
        """What is known to be short, and is not asked of the store; of what may be free again already, the store is asked."""
        lasting = [
            guard
            for guard in guards
            if isinstance(guard, Pace) or (isinstance(guard, Charge) and guard.rolling is None)
        ]
        return first_short(lasting, self, at_ms)

    def amounts(self, since_ms: int) -> Mapping[str, int]:
        """What was seen to be taken since then."""
        return {
            key[2:]: level.value
            for key, level in self._known.items()
            if level.seen_ms >= since_ms and key.startswith("c ")
        }

    def learn(self, guards: Sequence[Guard], values: Iterable[int]) -> None:
        now_ms = self._clock()
        for guard, value in zip(guards, values, strict=True):
            key = _key(guard)
            self._known.pop(key, None)  # the newest stand last
            self._known[key] = _Level(value, now_ms)
        if len(self._known) > _MOST:
            for key in list(islice(self._known, _MOST // 2)):
                del self._known[key]

    def drop(self, guards: Sequence[Guard]) -> None:
        """What is being given back is asked of the store."""
        for guard in guards:
            self._known.pop(_key(guard), None)

    def forget(self) -> None:
        """Everything is of a store that is no more."""
        self._known.clear()

    def wanted(self) -> list[Guard]:
        """What was asked for and is still old."""
        wanted, self._wanted = self._wanted, {}
        return [guard for key, guard in wanted.items() if self._is_old(self._known.get(key))]

    def _level(self, guard: Guard, *, lasts: bool) -> int:
        key = _key(guard)
        level = self._known.get(key)
        is_old = self._is_old(level)
        if is_old and len(self._wanted) < _MOST_WANTED:
            self._wanted[key] = guard
            self._on_want()
        return 0 if level is None or (is_old and not lasts) else level.value

    def _is_old(self, level: _Level | None) -> bool:
        return level is None or self._clock() - level.seen_ms > FRESH_MS


def _key(guard: Guard) -> str:
    match guard:
        case Charge(key):
            return f"c {key}"
        case Pace(key):
            return f"r {key}"
        case Place(key):
            return f"p {key}"
