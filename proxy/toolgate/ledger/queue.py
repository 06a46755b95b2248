"""The ledger as the gateway sees it: the event loop's side of the queue.

RULE: bounded in events, in bytes and in time. An event is encoded when it comes, so the queue holds its bytes and
never the values of a call; when the queue is full, calls wait for room within the write deadline and are refused
after it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from toolgate.core.journal import encode
from toolgate.core.model import (
    NOTHING_KNOWN,
    Call,
    Charge,
    Event,
    Facts,
    Freeze,
    Guard,
    Json,
    Settlement,
    Short,
    Situation,
)
from toolgate.ledger.agreements import Agreements
from toolgate.ledger.moves import attempt_json
from toolgate.ledger.projection import Projection, Run
from toolgate.ledger.taken import NOTHING, PLAIN, UNCHANGED, Change, Settled, Taken, changes_of
from toolgate.ledger.writer import ENDED, Entry, Writer
from toolgate.ports import Journal, LedgerError, NoRoomError

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

    def next_in_run(self, call: Call) -> tuple[str, int]:
        begins = self._projection.begins(call)
        if begins is not None:
            # queued before the call's own record, so it stands before it in the journal
            self._append(self._loop or self._bind(), begins)
        run = self._projection.next_in_run(call)
        return run.id, run.number

    def balances(self) -> Mapping[str, int]:
        return self._projection.balances.amounts()

    def freezes(self) -> Mapping[str, Freeze]:
        return self._projection.freezes

    def runs(self) -> Sequence[Run]:
        """The runs that may still go on, and what has come of them."""
        return self._projection.runs()

    async def catch_up(self, named: str) -> bool:  # noqa: ARG002 (nobody else writes here)
        return False

    async def record(self, event: Event, guards: Sequence[Guard]) -> Short | None:
        loop = self._loop or self._bind()
        self._raise_if_unfit(event)
        if self._is_full() or self._for_room:
            await self._wait_for_room(loop)
        taken = NOTHING
        if guards:
            answer = self._projection.balances.take(guards, event.at_ms)
            if isinstance(answer, Short):
                return answer
            taken = answer
        done: asyncio.Future[None] = loop.create_future()
        entry = Entry(encode(event), taken, done, loop.time() + self._bounds.deadline_s)
        self._awaited.append(entry)
        self._queue(entry, event)
        if not self._flush_soon:
            self._flush_soon = True
            loop.call_soon(self._flush)
        if self._expiry is None:
            self._expiry = loop.call_at(entry.due_s, self._expire)
        try:
            await done
        except asyncio.CancelledError:
            if done.done() and not done.cancelled() and done.exception() is None:
                self._finish_unsent(entry)  # committed, and its caller is gone before it heard of it
            raise
        return None

    async def append(self, event: Event, guards: Sequence[Charge] = ()) -> None:
        loop = await self._room_to_append()
        if guards:
            taken = self._projection.balances.count(guards, event.at_ms)
            event = event._replace(data={**event.data, "charges": _said(taken.changes)})
            self._append(loop, event, taken)
        else:
            self._append(loop, event)

    async def finish(self, event: Event, settlement: Settlement) -> None:
        settled = self._projection.balances.settle(settlement, event.at_ms)  # also where nothing can be written
        try:
            loop = await self._room_to_append()
        except BaseException:
            self._projection.balances.give_back(settled.taken)  # the file does not have it either
            raise
        if settled is not UNCHANGED:
            event = event._replace(data={**event.data, **_settled_json(settled)})
        self._append(loop, event, settled.taken)

    @property
    def agreements(self) -> Agreements:
        """Plans and approvals: what gates of a store tell each other of them comes in here."""
        return self._projection.agreements

    def knows(self, run: str) -> bool:
        """Whether a run began here and may go on."""
        return self._projection.knows(run)

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

    def abandon(self) -> None:
        """Release the file where the gate could not begin: nothing is queued, and there may be no loop."""
        if self._writer is not None and not self._is_closed:
            self._is_closed = True
            self._writer.stop()
            self._writer.join()

    def settle(self, entries: list[Entry], why: str | None) -> None:
        """Tell the event loop how entries ended. Called by the writer's thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(self._settled, entries, why)

    def _bind(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        return self._loop

    async def _room_to_append(self) -> asyncio.AbstractEventLoop:
        loop = self._loop or self._bind()
        if self._is_closed:
            raise LedgerError(CLOSED)
        if self._is_full():
            self._raise_if_broken()
            await self._wait_for_room(loop)
        return loop

    def _append(self, loop: asyncio.AbstractEventLoop, event: Event, taken: Taken = NOTHING) -> None:
        self._queue(Entry(encode(event), taken), event)
        if self._flush_late is None and not self._flush_soon:
            self._flush_late = loop.call_later(LINGER_S, self._flush)

    def _queue(self, entry: Entry, event: Event) -> None:
        entry.then = self._projection.apply(event, entry.body)
        entry.moves = self._projection.agreements.follow(event)
        self._events += 1
        self._size += entry.size
        self._pending.append(entry)
        while self._projection.farewells and self._loop is not None:
            self._append(self._loop, self._projection.farewells.pop())

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
        self._events -= len(entries)
        self._size -= sum([len(entry.body.front) for entry in entries])
        for entry in entries:
            if why is not None:
                self._take_back(entry)
            else:
                if entry.then is not None:
                    entry.then()
                if entry.moves:
                    self._projection.agreements.commit(entry.moves)
            if entry.done is not None:
                self._tell(entry, entry.done, why)
        while self._awaited and self._awaited[0].is_over:
            self._awaited.popleft()
        self._let_in()
        if why is ENDED and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _take_back(self, entry: Entry) -> None:
        self._projection.balances.give_back(entry.taken)
        self._projection.take_back(entry.body)
        self._projection.agreements.take_back(entry.moves)

    def _tell(self, entry: Entry, done: asyncio.Future[None], why: str | None) -> None:
        if not done.done():
            done.set_result(None) if why is None else done.set_exception(LedgerError(why))
        elif why is None:
            self._finish_unsent(entry)

    def _finish_unsent(self, entry: Entry) -> None:
        """Say of a record whose caller gave up before it was written that nothing was sent, and give back what it took."""
        if self._loop is None or entry.body.kind != "Decided":
            return
        body, given_back = entry.body, _given_back(entry.taken)
        data = {"operation": body.operation, "outcome": "failed", "code": "gateway.unavailable", "sent": "no"}
        data |= attempt_json(entry.moves)
        self._projection.balances.give_back(entry.taken)
        if not self._is_closed:
            said = _settled_json(Settled(given_back))
            self._append(self._loop, Event("Finished", body.at_ms, data | said, body.call, body.run), given_back)

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

    def _raise_if_unfit(self, event: Event) -> None:
        """Raise where nothing can be written, or nothing more of this be remembered."""
        self._raise_if_broken()
        if event.call is None:
            why_not = self._projection.agreements.why_not(event)
            if why_not is not None:
                raise NoRoomError(why_not)

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


def _given_back(taken: Taken) -> Taken:
    return Taken(tuple(change._replace(amount=-change.amount) for change in changes_of(taken)))


def _settled_json(settled: Settled) -> dict[str, Json]:
    """What a `Finished` changes of balances, as it was changed, and what was spent beyond what was left."""
    changes = settled.taken.changes
    refunds = [change._replace(amount=-change.amount) for change in changes if change.amount < 0]
    extra = [change for change in changes if change.amount > 0]
    overrun = [{"key": charge.key, "amount": amount} for charge, amount in settled.overrun]
    said = {"refunds": _said(refunds), "extra": _said(extra), "overrun": overrun}
    return {name: entries for name, entries in said.items() if entries}


def _said(changes: Iterable[Change]) -> list[Json]:
    return [
        {"key": key, "amount": amount} if bucket == PLAIN else {"key": key, "amount": amount, "bucket": bucket}
        for key, bucket, amount, _ in changes
    ]
