"""Waiting for what another process does.

RULE: a condition and a deadline, never a length of time; what did not come true is named. Only what an agent itself
does takes time: `think`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from toolgate.core.loop import TOGETHER_MS

_T = TypeVar("_T")
POLL_S = 0.005


def until(condition: Callable[[], _T], what: str, *, within_s: float = 15.0) -> _T:
    """Return the first true thing `condition` says."""
    limit_s = time.monotonic() + within_s
    while not (said := condition()):
        if time.monotonic() > limit_s:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(POLL_S)
    return said


def think() -> None:
    """Take as long as a model that reads an answer before it asks again: sooner calls were asked together."""
    time.sleep(TOGETHER_MS / 1000 + 0.01)
