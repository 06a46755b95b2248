"""What all gates together have taken, for operators and metrics: read now and then, some keys at a time.

RULE: never on the path of a call, and at most once in a while however often it is asked for; what is shown may be that old.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from toolgate.ledger.redis import script
from toolgate.ledger.redis.link import Link
from toolgate.ledger.redis.script import Garbled

EVERY_MS: Final = 5_000


class Overview:
    """The balances of every key of the store."""

    def __init__(self, link: Link, clock: Callable[[], int]) -> None:
        self._link = link
        self._clock = clock
        self._amounts: Mapping[str, int] = {}
        self._is_reading = False
        self.read_ms: int | None = None  # when what is known was begun to be read

    @property
    def amounts(self) -> Mapping[str, int]:
        return self._amounts

    @property
    def is_due(self) -> bool:
        is_old = self.read_ms is None or self._clock() - self.read_ms >= EVERY_MS
        return is_old and not self._is_reading and self._link.broken is None

    async def read(self) -> None:
        """Read all there is, one group of keys after the other, behind whatever calls ask for."""
        self._is_reading = True
        began_ms, cursor, found = self._clock(), "0", dict[str, int]()
        try:
            while True:
                result = await self._link.wait(["scan", cursor])
                keys = list(result[2])
                found |= zip(keys, script.levels(result, len(keys)), strict=True)
                cursor = str(result[3])
                if cursor == "0":
                    break
        except (Garbled, IndexError, TypeError):
            return
        finally:
            self._is_reading = False
        self._amounts, self.read_ms = found, began_ms
