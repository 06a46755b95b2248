"""How long the store is waited for.

RULE: the store is not blamed for this process. A deadline that comes while the event loop is busy is noticed late, and the
answer may be there already, unread: so its last part begins only when the rest is noticed to be over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

LAST_PART_S: Final = 0.03


class Patience:
    """Calls `lost` once, after so long and the last part; `end` it before that."""

    __slots__ = ("_handle", "_lost")

    def __init__(self, after_s: float, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._handle = asyncio.get_running_loop().call_later(after_s, self._go_on)

    def end(self) -> None:
        self._handle.cancel()

    def _go_on(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(LAST_PART_S, self._lost)
