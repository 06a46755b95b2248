"""The gate's clock: wall time that no jump of the machine's clock moves.

RULE: it never goes back, and it goes forward as the monotonic clock does. A difference to the machine's clock is made good
by at most a thousandth of the time that passes, as time daemons do it, so no window of a budget is opened again or passed
over (FT31). What was journaled last is its floor at start, so neither does a restart with a clock set back.

WEAKNESS: a machine whose clock is wrong when the gate starts is wrong here too, and right again only after a restart. The
difference is in the metrics and in the journal (`ClockJumped`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from threading import Lock
from typing import Final, NamedTuple

from toolgate.core.model import Event

SLEW: Final = 1_000  # one part in so many: NTP's own daemons slew by one in 2,000
JUMP_MS: Final = 5_000  # a difference worth telling
_SECOND_NS: Final = 1_000_000_000
_LOOK_S: Final = 10.0
# What also counts while the machine sleeps: otherwise a laptop that wakes is hours behind.
_AWAKE_OR_NOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_MONOTONIC_NS: Final = partial(time.clock_gettime_ns, _AWAKE_OR_NOT)


class _Anchor(NamedTuple):
    """What the time was when the machine's clock was last looked at, and what of the difference the next second makes good."""

    at_ns: int
    monotonic_ns: int
    slew_ns: int


class Steady:
    """Wall time for everything that is decided and recorded. May be asked from any thread."""

    __slots__ = ("_anchor", "_latest_ns", "_lock", "_monotonic_ns", "_wall_ns")

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = _MONOTONIC_NS,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._lock = Lock()
        self._anchor = _Anchor(wall_ns(), monotonic_ns(), 0)
        self._latest_ns = self._anchor.at_ns

    def now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def latest_ms(self) -> int:
        """The latest time this or the machine's clock has ever shown: for what must stay expired once it was.

        SECURITY: a machine that was suspended or restored from a snapshot is behind by that here, and tokens expire all the
        same. A clock set forward by mistake keeps tokens expired until that time has come, or the gate is restarted.
        """
        latest_ns = self._latest_ns = max(self._latest_ns, self._wall_ns(), self._now_ns())
        return latest_ns // 1_000_000

    def not_before(self, at_ms: int) -> None:
        """Go on from a time that was journaled, where the machine's clock says it is earlier."""
        with self._lock:
            late_ns = at_ms * 1_000_000 - self._now_ns()
            if late_ns > 0:
                self._anchor = self._anchor._replace(at_ns=self._anchor.at_ns + late_ns)

    def offset_ms(self) -> int:
        """How far the machine's clock is ahead of this one; below zero: behind."""
        return (self._wall_ns() - self._now_ns()) // 1_000_000

    def _now_ns(self) -> int:
        anchor = self._anchor
        at_ns, monotonic_ns, slew_ns = anchor
        passed_ns = self._monotonic_ns() - monotonic_ns
        if passed_ns < _SECOND_NS:
            if passed_ns <= 0:
                return at_ns
            return at_ns + passed_ns + slew_ns * passed_ns // _SECOND_NS
        now_ns = anchor.at_ns + passed_ns + anchor.slew_ns
        now_ns += _within(self._wall_ns() - now_ns, (passed_ns - _SECOND_NS) // SLEW)
        self._look_again(anchor, now_ns, anchor.monotonic_ns + passed_ns)
        return now_ns

    def _look_again(self, before: _Anchor, now_ns: int, monotonic_ns: int) -> None:
        """Once a second: the machine's clock is read nowhere else on the path of a call."""
        slew_ns = _within(self._wall_ns() - now_ns, _SECOND_NS // SLEW)
        if self._lock.acquire(blocking=False):  # whoever comes second looks at the next call
            try:
                if self._anchor is before:
                    self._anchor = _Anchor(now_ns, monotonic_ns, slew_ns)
            finally:
                self._lock.release()


async def watch(clock: Steady, record: Callable[[Event], Awaitable[None]], look_s: float = _LOOK_S) -> None:
    """Write `ClockJumped` whenever the machine's clock has jumped; ends only by being cancelled."""
    told_ms = 0
    while True:
        offset_ms = clock.offset_ms()
        if abs(offset_ms - told_ms) >= JUMP_MS:
            await record(Event("ClockJumped", clock.now_ms(), {"offset_ms": offset_ms, "before_ms": told_ms}))
            told_ms = offset_ms
        await asyncio.sleep(look_s)


def _within(difference: int, most: int) -> int:
    return max(-most, min(difference, most))
