"""Calls that are held until a step they depend on has ended (DESIGN §9): agents call tools in parallel.

RULE: a held call waits for one `Finished` and for its time, whichever is first, and is decided again then; nothing is
remembered of it once it goes on. What ends at another gate it looks for now and then. At most 32 calls of a run are held at
once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

MOST_OF_A_RUN: Final = 32
_LOOK_S: Final = 0.15
Look: TypeAlias = Callable[[], Awaitable[bool]]  # whether there is something to decide again for


class Holds:
    """Who waits for which step. Belongs to the event loop."""

    __slots__ = ("_held", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], set[asyncio.Future[None]]] = {}  # by plan and step
        self._held: dict[str, int] = {}  # by run

    async def wait(self, run: str, plan: str, step: str, within_s: float, look: Look) -> bool | None:
        """Whether the step ended within so long; None where the run has as many calls held as it may have."""
        if self._held.get(run, 0) >= MOST_OF_A_RUN:
            return None
        with self._place(run):
            return await self._wait((plan, step), within_s, look)

    def ended(self, plan: str, step: str) -> None:
        """Let go whoever waits for this step."""
        for each in self._waiting.get((plan, step), ()):
            if not each.done():
                each.set_result(None)

    @property
    def count(self) -> int:
        """How many calls are held now."""
        return sum(self._held.values())

    async def _wait(self, key: tuple[str, str], within_s: float, look: Look) -> bool:
        ended = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(ended)
        try:
            async with asyncio.timeout(within_s):
                while not (await asyncio.wait((ended,), timeout=_LOOK_S))[0]:
                    if await look():
                        break
        except TimeoutError:
            return False
        finally:
            waiting.discard(ended)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]
        return True

    @contextmanager
    def _place(self, run: str) -> Iterator[None]:
        self._held[run] = self._held.get(run, 0) + 1
        try:
            yield
        finally:
            self._held[run] -= 1
            if not self._held[run]:
                del self._held[run]
