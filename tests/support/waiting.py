"""Waiting for what another process does.

RULE: a condition and a deadline, never a length of time; what did not come true is named.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

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
