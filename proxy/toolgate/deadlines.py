"""The deadline every call has: one timer for all of them, and a number for each.

RULE: where `Deadlines.one` ends a block, the block raises TimeoutError, as `asyncio.timeout` does; a timer of its own for each
call would cost as much as deciding it. Its weakness: a deadline is noticed up to a tenth of its length, or half a second, late.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

_TICKS: Final = 10
_LONGEST_TICK_S: Final = 0.5


class Deadlines:
    """What is under way and must end within the same time. Belongs to the event loop it is first used in."""

    __slots__ = ("_loop", "_tick_s", "_timer", "_within_s", "open")

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._tick_s = min(within_s / _TICKS, _LONGEST_TICK_S)
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.open: set[Deadline] = set()

    def one(self) -> Deadline:
        """A deadline for the block it is entered with, in the task that enters it."""
        # Asked once: asking which loop runs is a system call (getpid) in CPython 3.11, and so is asking for its task.
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = loop.call_later(self._tick_s, self._sweep, loop)
        return Deadline(self, loop, loop.time() + self._within_s)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for each in self.open:
            each.pass_at(now_s)
        self._timer = loop.call_later(self._tick_s, self._sweep, loop) if self.open else None


class Deadline:
    """Cancels the task it was entered in once its time has passed, and turns that into TimeoutError."""

    __slots__ = ("_all", "_cancelling", "_due_s", "_loop", "_passed", "_task")

    def __init__(self, among: Deadlines, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        self._all = among
        self._loop = loop
        self._due_s = due_s
        self._passed = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a deadline needs a task to end")
        self._cancelling = task.cancelling()
        self._all.open.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._all.open.discard(self)
        task, self._task = self._task, None
        if self._passed and task is not None:
            is_ours = task.uncancel() <= self._cancelling
            if is_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError from error

    def pass_at(self, now_s: float) -> None:
        """End the block if its time is over."""
        if self._due_s <= now_s and not self._passed and self._task is not None:
            self._passed = True
            self._task.cancel()
