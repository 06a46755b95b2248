"""When what is taken means nothing any more: by its window, by the period in its key, or by the run that is in it.

RULE: follows from a charge or a key alone, and errs towards remembering.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from toolgate.core.model import Rolling
from toolgate.core.window import CALENDARS, period

_DAY_MS: Final = 86_400_000
_RUN: Final = re.compile(
    r"(?<![^:,])(?:(?:run|apr)_[0-9A-HJKMNP-TV-Z]{26}(?![^:,])|plan_[0-9A-HJKMNP-TV-Z]{26}(?![^:,/]))"
)
OF_TURN: Final = "p:"  # one attempt at a step
OF_PLAN: Final = (OF_TURN, "s:")
_LONGEST_MS: Final = 33 * _DAY_MS  # no calendar window lasts longer
_COLONS: Final = (
    4  # of `b:<budget>:<dimension>:<scope>:<period>`; a key without a period has fewer, and no part holds one
)


class Periods:
    """Knows which keys are of a calendar window that has passed: what was taken in it is never asked for again."""

    __slots__ = ("_current", "_day")

    def __init__(self) -> None:
        self._day = -1
        self._current: dict[int, str] = {}  # the names of this day, week and month, each of a length of its own

    def is_over(self, key: str, now_ms: int) -> bool:
        if not has_period(key):
            return False
        day = now_ms // _DAY_MS - 1  # a day later: calls of the last minute settle in this one
        if day != self._day:
            names = [period(window, day * _DAY_MS) for window in CALENDARS]
            self._current = {len(name): name for name in names}
            self._day = day
        of_key = key.rpartition(":")[2]
        return of_key < self._current.get(len(of_key), "")


def has_period(key: str) -> bool:
    """Whether a key is of a calendar window (`core.scope`)."""
    return key.count(":") == _COLONS


@lru_cache(maxsize=1024)  # INVARIANT: bounded, and follows from the key alone
def run_in(key: str) -> str | None:
    """The run a key is of, or the plan or the approval of one, where it is of one."""
    if key.startswith(OF_PLAN):
        return key.split(":", 2)[1]
    found = _RUN.search(key)
    return found[0] if found else None


def until_ms(key: str, rolling: Rolling | None, at_ms: int) -> int | None:
    """When nobody asks any more for what is taken at that time; None: time alone does not bring that."""
    if rolling is not None:
        return left_ms(rolling, at_ms)
    return at_ms + _LONGEST_MS if has_period(key) else None


def left_ms(rolling: Rolling, at_ms: int) -> int:
    """When what is taken now has left its window."""
    bucket, buckets = rolling
    # The bucket is `at_ms // its length`, so this is its length, or a little more.
    length_ms = at_ms // bucket + 1 if bucket > 0 else _DAY_MS
    return at_ms + (buckets + 1) * length_ms
