"""How long a budget lasts before it is given again: calendar windows in UTC, and windows that roll.

RULE: everything is computed from the time of the call. Calendar windows are part of a key; rolling ones are buckets, of
which one more than the window has is summed, so that never more than the budget is taken within any whole window.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from toolgate.core.model import Rolling

Calendar: TypeAlias = Literal["day", "week", "month"]
CALENDARS: Final[tuple[Calendar, ...]] = ("day", "week", "month")
BUCKETS: Final = 60
_DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_LAST_DAY: Final = date.max.toordinal() - _EPOCH - 31  # far enough from the end that the next month has a name
_DECEMBER: Final = 12
NEVER_MS: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """The last so many seconds, in 60 buckets."""

    seconds: int

    def at(self, at_ms: int) -> Rolling:
        return _rolling(at_ms * BUCKETS // (self.seconds * 1000))

    @property
    def bucket_s(self) -> float:
        return self.seconds / BUCKETS


Window: TypeAlias = Calendar | RollingWindow | None  # None: for ever, or as long as the run lasts


def period(window: Calendar, at_ms: int) -> str:
    """Name the period a time lies in: `2026-11-22`, `2026-W47` or `2026-11`."""
    return _period(window, _day_of(at_ms))


def unmoved(window: Window, at_ms: int) -> tuple[int, int]:
    """From when until when amounts go where they go now: the same bucket, or the same period."""
    match window:
        case None:
            return 0, NEVER_MS
        case RollingWindow(seconds):
            bucket = window.at(at_ms).bucket
            return -(-bucket * seconds * 1000 // BUCKETS), -(-(bucket + 1) * seconds * 1000 // BUCKETS)
        case _:
            day = _day_of(at_ms)
            return day * _DAY_MS, (day + 1) * _DAY_MS


def again_s(window: Window, at_ms: int) -> float | None:
    """How long until something is given again; None where nothing ever is."""
    match window:
        case None:
            return None
        case RollingWindow():
            return window.bucket_s
        case _:
            return max(_next(window, _day_of(at_ms)) * _DAY_MS - at_ms, 0) / 1000


def written(window: Window) -> str:
    """The window as a sentence says it, after an amount: ` a day`."""
    match window:
        case None:
            return ""
        case RollingWindow(seconds):
            return f" in {seconds} s"
        case _:
            return f" a {window}"


def begins_again(window: Calendar, at_ms: int) -> str:
    """When the next period begins, as a message says it."""
    begins = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=_next(window, _day_of(at_ms)))
    return begins.strftime("%Y-%m-%dT%H:%MZ")


def _day_of(at_ms: int) -> int:
    return min(max(at_ms // _DAY_MS, 0), _LAST_DAY)


@lru_cache(maxsize=64)
def _rolling(bucket: int) -> Rolling:
    return Rolling(max(bucket, 0), BUCKETS + 1)


@lru_cache(maxsize=16)  # of all calls of a day, three are computed
def _period(window: Calendar, day: int) -> str:
    there = date.fromordinal(_EPOCH + day)
    match window:
        case "day":
            return there.isoformat()
        case "week":
            year, week, _ = there.isocalendar()
            return f"{year:04}-W{week:02}"
        case "month":
            return f"{there.year:04}-{there.month:02}"


@lru_cache(maxsize=16)
def _next(window: Calendar, day: int) -> int:
    """The first day of the next period, since 1970."""
    there = date.fromordinal(_EPOCH + day)
    match window:
        case "day":
            return day + 1
        case "week":
            return day + 8 - there.isoweekday()
        case "month":
            after = date(there.year + there.month // _DECEMBER, there.month % _DECEMBER + 1, 1)
            return after.toordinal() - _EPOCH
