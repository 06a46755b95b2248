"""The one connection to the store, and everything that goes over it, in order and in groups.

RULE: the store has so long to answer, from when it was asked; then everybody who waits is refused, also who was not sent
yet. What nobody waits for is kept until the store has done it. While the store is not as it must be, nobody waits at all:
the link looks again by itself until it is.

A group is what has come while the group before it was under way: one round trip alone, and one for all under load.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from redis import exceptions
from redis.asyncio import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from toolgate.ledger.redis.address import Access, Address, arguments
from toolgate.ledger.redis.complaints import PASSING, by_state, by_word, complaint, word_of
from toolgate.ledger.redis.health import EVICTED, Health, evicted_key, sections
from toolgate.ledger.redis.patience import Patience
from toolgate.ledger.redis.script import Answer, Header, Operation, Result, answer, request, script
from toolgate.ports import LedgerError

GROUP: Final = 128
RETRY_S: Final = 0.25
CONNECT_S: Final = 2.0  # a call waits no longer than for an answer, but the next one finds the connection
QUEUE_S: Final = 2.0  # for a turn, behind others that the store is answering
BEAT_S: Final = 1.0
HEALTH_BEATS: Final = 5
BACKLOG: Final = 10_000  # operations that may be kept; what must not be lost is kept beyond that


@dataclass(slots=True, eq=False)
class Asked:
    """An operation on its way, and who waits for it."""

    operation: Operation
    done: asyncio.Future[Result] | None = None
    since_s: float = 0.0  # when whoever waits began to
    then: Callable[[Result], None] | None = None
    was_sent: bool = False  # so the store may have done it, whatever was heard of it
    was_resent: bool = False
    is_passing: bool = False  # of use now or not at all


@dataclass(slots=True)
class Known:
    """What the store is known to be at."""

    epoch: str
    owner: str
    seq: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True)
class Seams:
    """What the link needs of the gate, and what it tells it."""

    clock: Callable[[], int]
    on_time: Callable[[int, float], None] = lambda _ms, _took_s: (
        None
    )  # the store's time, in an answer that took so long
    on_freezes: Callable[[dict[str, str]], None] = lambda _: None
    on_epoch: Callable[[str], None] = lambda _: None
    on_beat: Callable[[], Operation] = lambda: ["look", []]


_BUSY: Final = "has more calls waiting for it than it answers in time"
_ENDED: Final = "is no longer asked: the gate is stopping"


class _Unfit(Exception):  # noqa: N818 (it never leaves this module)
    """The store is not as it must be: one half sentence."""


@dataclass(slots=True)
class Link:
    """Belongs to the event loop it is started in."""

    address: Address
    access: Access
    epoch_key: str
    known: Known
    seams: Seams
    broken: str | None = None  # one sentence; None while the store takes operations
    answer_s: float = 0.0
    _queue: deque[Asked] = field(default_factory=deque)
    _under_way: list[Asked] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _connection: Connection | None = None
    _health: Health = field(default_factory=Health)
    _beats: int = 0
    _is_closing: bool = False

    async def ask(self, asked: Asked) -> Result:
        """Wait for one operation. Raises LedgerError when the store is not as it must be, or too slow."""
        if self.broken is not None:
            raise LedgerError(_fact(self.broken))
        if len(self._queue) >= BACKLOG:
            raise LedgerError(self._sentence(_BUSY))
        loop = asyncio.get_running_loop()
        asked.done, asked.since_s = loop.create_future(), loop.time()
        self._put(asked)
        return await asked.done

    def post(self, operation: Operation, then: Callable[[Result], None] | None = None) -> bool:
        """Have an operation done that nobody waits for, however long that takes; False: there is no room for it."""
        if len(self._queue) >= BACKLOG:
            return False
        self.keep(operation, then)
        return True

    def keep(self, operation: Operation, then: Callable[[Result], None] | None = None) -> None:
        """Have an operation done that must not be lost, whatever else is kept."""
        self._put(Asked(operation, then=then))

    async def wait(self, operation: Operation) -> Result:
        """Have an operation done and wait for that, however long it takes."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.keep(operation, lambda result: None if done.done() else done.set_result(result))
        return await done

    @property
    def backlog(self) -> int:
        """Operations that are not known to be done."""
        return len(self._queue) + len(self._under_way)

    async def run(self) -> None:
        """Carry operations until everything is done after `close`, or the task is cancelled."""
        try:
            await self._run()
        finally:
            self._fail([], _ENDED)  # INVARIANT: nobody waits for a link that has ended
            await self._hang_up()

    def close(self) -> None:
        """Ask `run` to carry what is queued and end."""
        self._is_closing = True
        self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        beat_s = loop.time()  # at once: the first call finds the connection made
        while not (self._is_closing and (self.broken is not None or not self._queue)):
            await self._pause(beat_s)
            if self.broken is not None or loop.time() >= beat_s:
                beat_s = loop.time() + BEAT_S
                self._beats += 1
                self._queue.appendleft(Asked(self.seams.on_beat(), is_passing=True))
            if self._queue:
                await self._carry()

    def _put(self, asked: Asked) -> None:
        self._queue.append(asked)
        if self.broken is None:
            self._wake.set()

    async def _pause(self, until_s: float) -> None:
        """Until there is something to do; while the store is away, until it is time to look again."""
        loop = asyncio.get_running_loop()
        if self.broken is not None:
            until_s = loop.time() + RETRY_S
        elif self._queue:
            return
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until_s):
                await self._wake.wait()

    async def _carry(self) -> None:
        """One group there and back; what goes wrong with it is said to whoever waits."""
        group: list[Asked] = []
        try:
            if self._connection is None:
                await self._begin()
            group = self._group()
            said = await self._answer(group)
            self._heed(said)
        except Exception as error:  # noqa: BLE001 (INVARIANT: whatever answers there, and however, the link goes on)
            await self._hang_up()
            self._fail(group, str(error) if isinstance(error, _Unfit) else complaint(error))
            return
        except asyncio.CancelledError:
            self._fail(group, _ENDED)
            raise
        finally:
            self._under_way = []
        self.broken = None
        self._deliver(group, said.results)

    async def _begin(self) -> None:
        """Connect, however long that takes; whoever waits is refused when an answer would be overdue."""
        patience = Patience(self.access.timeout_s, lambda: self._fail([], complaint(TimeoutError())))
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._connect()
        finally:
            patience.end()

    def _group(self) -> list[Asked]:
        """The next operations, but those whose caller has gone or waited too long before they were sent."""
        group: list[Asked] = []
        latest_s = asyncio.get_running_loop().time() - QUEUE_S
        while self._queue and len(group) < GROUP:
            asked = self._queue.popleft()
            if asked.done is not None and asked.since_s < latest_s:
                _tell(asked, self._sentence(_BUSY))
            elif asked.done is None or not asked.done.done():
                asked.was_sent = True
                group.append(asked)
        self._under_way = group
        return group

    async def _answer(self, group: list[Asked]) -> Answer:
        """Ask the store, which has its time from here on."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as limit:
            patience = Patience(self.access.timeout_s, lambda: limit.reschedule(loop.time()))
            try:
                await self._look_after_health()
                return await self._exchange(group)
            finally:
                patience.end()

    async def _exchange(self, group: list[Asked]) -> Answer:
        """Send, once more over a new connection where the old one was gone, and once more to a new epoch."""
        try:
            said = await self._send(group)
        except (exceptions.ConnectionError, OSError):
            if self._connection is None:
                raise
            await self._hang_up()
            for asked in group:
                asked.was_resent = True
            said = await self._send(group)
        if said.state == "other":
            self._adopt(said)
            said = await self._send(group)
        if said.state != "done":
            raise _Unfit(by_state(said.state, ours_ms=self.seams.clock(), theirs_ms=said.now_ms))
        return said

    async def _send(self, group: list[Asked]) -> Answer:
        connection = self._connection or await self._connect()
        known = self.known
        header = Header(known.epoch, known.seq, known.version, known.owner, self.seams.clock(), self.access.skew_ms)
        sent_s = time.monotonic()  # the loop's own time stands still while it works
        payload = request(header, [asked.operation for asked in group])
        ours = script()
        try:
            said = await _command(connection, "EVALSHA", ours.sha, 1, self.epoch_key, payload)
        except exceptions.NoScriptError:
            said = await _command(connection, "EVAL", ours.text, 1, self.epoch_key, payload)
        found = answer(said, len(group))
        self.answer_s = time.monotonic() - sent_s
        self.seams.on_time(found.now_ms, self.answer_s)
        return found

    async def _connect(self) -> Connection:
        # Every wait has a deadline of ours. The library's own goes through `asyncio.wait_for`, which in Python 3.11 may lose
        # a cancellation, and with it the end of the task.
        given = arguments(self.address, self.access) | {"socket_timeout": None, "retry": Retry(NoBackoff(), 0)}
        connection = SSLConnection(**given) if self.address.tls else Connection(**given)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # the library's
            await self._judge_health(connection)
        except BaseException:
            await _disconnect(connection)
            raise
        self._connection = connection
        return connection

    async def _look_after_health(self) -> None:
        """What an operator may have changed meanwhile; asked beside the path of calls, once in a few beats."""
        if self._beats >= HEALTH_BEATS and self._connection is not None:
            self._beats = 0
            await self._judge_health(self._connection)

    async def _judge_health(self, connection: Connection) -> None:
        for section in sections():
            await _say(connection, "INFO", section)
        said = b"".join([await connection.read_response() for _ in sections()])
        why = self._health.judge(said.decode("utf-8", "replace"))
        if why == EVICTED and await self._is_begun_anew(connection):
            return
        if why is not None:
            raise _Unfit(why)

    async def _is_begun_anew(self, connection: Connection) -> bool:
        """Whether an operator has taken the loss; until then it is noted for gates that begin only now."""
        epoch = await _command(connection, "GET", self.epoch_key)
        if epoch is not None and epoch.decode("utf-8", "replace") != self.known.epoch:
            return True
        await _command(connection, "SET", evicted_key(self.epoch_key), self.known.epoch)
        return False

    def _adopt(self, said: Answer) -> None:
        """Go on with another epoch: only an operator begins one, and takes the loss by that."""
        self.known.epoch, self.known.seq, self.known.version = said.epoch, said.seq, ""
        self._health = Health()
        self.seams.on_epoch(said.epoch)

    def _heed(self, said: Answer) -> None:
        self.known.seq = max(self.known.seq, said.seq)
        if said.freezes is not None:
            self.known.version = said.version
            self.seams.on_freezes(said.freezes)

    def _deliver(self, group: list[Asked], results: list[Result]) -> None:
        again: list[Asked] = []
        for asked, result in zip(group, results, strict=True):
            if result[0] == "error":
                why = str(result[1]) if len(result) > 1 else ""
                self.broken = self._sentence(by_word(why))
                _tell(asked, self.broken)
                if asked.done is None and word_of(why) in PASSING:
                    again.append(asked)
                elif asked.then is not None:
                    asked.then(result)
            elif asked.done is not None:
                if not asked.done.done():
                    asked.done.set_result(result)
            elif asked.then is not None:
                asked.then(result)
        self._queue.extendleft(reversed(again))

    def _fail(self, group: list[Asked], why: str) -> None:
        """Refuse whoever waits; what nobody waits for stays first in line."""
        self.broken = self._sentence(why)
        everyone = [*group, *self._queue]
        self._queue = deque(asked for asked in everyone if asked.done is None and not asked.is_passing)
        for asked in everyone:
            _tell(asked, self.broken)

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await _disconnect(connection)

    def _sentence(self, why: str) -> str:
        return f"the state store {why}"  # SECURITY: agents are told this, and need not know where it is


async def _command(connection: Connection, *words: Any) -> Any:
    await _say(connection, *words)
    return await connection.read_response()


async def _say(connection: Connection, *words: Any) -> None:
    await connection.send_command(*words)


async def _disconnect(connection: Connection) -> None:
    with contextlib.suppress(Exception):
        await connection.disconnect(nowait=True)


def _tell(asked: Asked, why: str) -> None:
    if asked.done is not None and not asked.done.done():
        asked.done.set_exception(LedgerError(_fact(why)))


def _fact(sentence: str) -> str:
    """What is wrong, without what is to be done about it.

    SECURITY: agents are told this, and one with a shell would begin the store anew, which gives every budget back.
    """
    return sentence.partition(";")[0]
