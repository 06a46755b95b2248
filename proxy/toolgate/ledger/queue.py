"""The ledger as the gateway sees it: the event loop's side of the queue.

RULE: bounded in events, in bytes and in time. An event is encoded when it comes, so the queue holds its bytes and
never the values of a call; when the queue is full, calls wait for room within the write deadline and are refused
after it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from toolgate.core.journal import Body, encode
from toolgate.core.model import NOTHING_KNOWN, Charge, Event, Facts, Situation
from toolgate.ledger.projection import Projection
from toolgate.ledger.writer import ENDED, Entry, Writer
from toolgate.ports import Journal, LedgerError

LINGER_S: Final = 0.02  # an event nobody waits for waits this long for company: one transaction fewer a call
CLOSED: Final = "the ledger is closed"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be on its way to the disk, and how long a call waits for it."""

    events: int = 4_096
    size: int = 16 << 20
    deadline_s: float = 5.0


class QueuedLedger:
    """See `ports.Ledger`. Belongs to the event loop it is first used in."""

    def __init__(self, projection: Projection, bounds: Bounds, journal: Journal) -> None:
        self.journal = journal
        self._projection = projection
        self._bounds = bounds
        self._writer: Writer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._events = 0
        self._size = 0
        self._pending: list[Entry] = []
        self._flush_soon = False
        self._flush_late: asyncio.TimerHandle | None = None
        self._awaited: deque[Entry] = deque()
        self._expiry: asyncio.TimerHandle | None = None
        self._for_room: deque[asyncio.Future[None]] = deque()
        self._ended: asyncio.Future[None] | None = None
        self._is_closed = False

    def attach(self, writer: Writer) -> None:
        """Begin: from here on the writer's thread runs."""
        self._writer = writer
        writer.start()

    @property
    def depth(self) -> int:
        """Events on their way to the disk."""
        return self._events

    @property
    def written(self) -> int:
        """Events written since the start."""
        return self._writer.written if self._writer else 0

    def facts(self, keys: Iterable[str], at_ms: int, situation: Situation = NOTHING_KNOWN) -> Facts:
        return self._projection.facts(keys, at_ms, situation)

    async def record(self, event: Event, charges: Sequence[Charge]) -> Facts | None:
        loop = self._loop or self._bind()
        self._raise_if_broken()
        if self._is_full() or self._for_room:
            await self._wait_for_room(loop)
        if charges:
            short = self._projection.reserve(charges)
            if short is not None:
                return short
        done: asyncio.Future[None] = loop.create_future()
        entry = Entry(encode(event), charges, done, loop.time() + self._bounds.deadline_s)
        self._awaited.append(entry)
        self._queue(entry, event)
        if not self._flush_soon:
            self._flush_soon = True
            loop.call_soon(self._flush)
        if self._expiry is None:
            self._expiry = loop.call_at(entry.due_s, self._expire)
        await done
        return None

    async def append(self, event: Event) -> None:
        loop = self._loop or self._bind()
        if self._is_closed:
            raise LedgerError(CLOSED)
        if self._is_full():
            self._raise_if_broken()
            await self._wait_for_room(loop)
        self._append(loop, event)

    def next_in_run(self, principal: str, at_ms: int) -> tuple[str, int]:
        run, is_new = self._projection.next_in_run(principal, at_ms)
        if is_new:
            # queued before the call's own record, so it stands before it in the journal
            self._append(self._loop or self._bind(), Event("RunStarted", at_ms, {"principal": principal}, run=run.id))
        return run.id, run.number

    def ready(self) -> str | None:
        if self._is_closed:
            return CLOSED
        return self._writer.broken if self._writer else CLOSED

    async def close(self) -> None:
        """Write what is queued and release the file. Raises LedgerError when something could not be written."""
        if self._is_closed or self._writer is None:
            return
        loop = self._loop or self._bind()
        self._is_closed = True
        self._ended = loop.create_future()
        self._flush()
        self._writer.stop()
        await self._ended
        self._writer.join()
        for timer in (self._expiry, self._flush_late):
            if timer is not None:
                timer.cancel()
        if self._writer.broken is not None:
            raise LedgerError(f"the last events could not be written: {self._writer.broken}")

    def settle(self, entries: list[Entry], why: str | None) -> None:
        """Tell the event loop how entries ended. Called by the writer's thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(self._settled, entries, why)

    def _bind(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        return self._loop

    def _append(self, loop: asyncio.AbstractEventLoop, event: Event) -> None:
        self._queue(Entry(encode(event)), event)
        if self._flush_late is None and not self._flush_soon:
            self._flush_late = loop.call_later(LINGER_S, self._flush)

    def _queue(self, entry: Entry, event: Event) -> None:
        self._projection.count(entry.body, event.data)
        self._events += 1
        self._size += entry.size
        self._pending.append(entry)

    def _flush(self) -> None:
        """Hand everything of this turn of the loop to the writer at once."""
        self._flush_soon = False
        if self._flush_late is not None:
            self._flush_late.cancel()
            self._flush_late = None
        if self._pending and self._writer is not None:
            pending, self._pending = self._pending, []
            self._writer.put(pending)

    def _settled(self, entries: list[Entry], why: str | None) -> None:
        for entry in entries:
            self._events -= 1
            self._size -= entry.size
            if why is not None:
                self._projection.release(entry.charges)
                self._projection.take_back(entry.body)
            if entry.done is not None:
                self._tell(entry.done, entry.body, why)
        while self._awaited and self._awaited[0].is_over:
            self._awaited.popleft()
        self._let_in()
        if why is ENDED and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _tell(self, done: asyncio.Future[None], body: Body, why: str | None) -> None:
        if not done.done():
            done.set_result(None) if why is None else done.set_exception(LedgerError(why))
        elif why is None:
            self._finish_unsent(body)

    def _finish_unsent(self, body: Body) -> None:
        """Say of a record whose caller gave up before it was written that nothing was sent."""
        if self._loop is not None and not self._is_closed:
            data = {"operation": body.operation, "outcome": "failed", "code": "gateway.unavailable", "sent": "no"}
            self._append(self._loop, Event("Finished", body.at_ms, data, body.call, body.run))

    def _expire(self) -> None:
        """Refuse records that waited longer than the deadline; those not yet begun are not written either."""
        self._expiry = None
        loop = self._loop
        awaited = self._awaited
        if loop is None:
            return
        now_s = loop.time()
        while awaited:
            done = awaited[0].done
            if done is not None and not done.done():
                if awaited[0].due_s > now_s:
                    self._expiry = loop.call_at(awaited[0].due_s, self._expire)
                    return
                done.set_exception(LedgerError(_too_slow(self._bounds)))
            awaited.popleft()

    def _is_full(self) -> bool:
        return self._events >= self._bounds.events or self._size >= self._bounds.size

    def _raise_if_broken(self) -> None:
        why = self.ready()
        if why is not None:
            if self._writer is not None:
                self._writer.turned_away += 1
            raise LedgerError(why)

    async def _wait_for_room(self, loop: asyncio.AbstractEventLoop) -> None:
        turn: asyncio.Future[None] = loop.create_future()
        self._for_room.append(turn)
        try:
            async with asyncio.timeout(self._bounds.deadline_s):
                await turn
        except TimeoutError:
            raise LedgerError(_too_slow(self._bounds)) from None
        except asyncio.CancelledError:
            if turn.done():
                self._let_in()  # the place was given and will not be taken: the next in line gets it
            raise
        finally:
            if turn in self._for_room:
                self._for_room.remove(turn)
        self._raise_if_broken()

    def _let_in(self) -> None:
        """Wake as many as there is room for, first come first served."""
        room = self._bounds.events - self._events
        while self._for_room and room > 0 and self._size < self._bounds.size:
            turn = self._for_room.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1


def _too_slow(bounds: Bounds) -> str:
    return f"the journal did not take the record within {bounds.deadline_s:g} s: the disk is slow or stuck"
