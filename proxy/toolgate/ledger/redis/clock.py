"""The store's clock, as near as its answers tell it: what all gates of a store go by.

RULE: the windows of budgets are those of one clock. A gate takes its time from here, and the script refuses whoever is
further from the store's clock than it should be.
"""

from __future__ import annotations

import time
from typing import Final

_GOOD_S: Final = 0.02  # an answer that took longer says too little about the time


class StoreClock:
    """Wall time by this machine's clock and its difference to the store's."""

    __slots__ = ("_ahead_ns", "_wall_ns")

    def __init__(self, ahead_ns: int) -> None:
        self._ahead_ns = ahead_ns
        self._wall_ns = time.time_ns

    def wall_ns(self) -> int:
        return self._wall_ns() + self._ahead_ns

    def heed(self, theirs_ms: int, took_s: float) -> None:
        """Correct the difference by an answer that came just now."""
        if took_s <= _GOOD_S:
            self._ahead_ns = theirs_ms * 1_000_000 + int(took_s * 500_000_000) - self._wall_ns()
