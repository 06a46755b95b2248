"""A permitted call from its sending to its `Finished`: answers held to be judged, streams counted to their end.

RULE: every exchange is finished exactly once, also when the agent goes away or the answer breaks off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from toolgate.core import engine
from toolgate.core.codes import CODES
from toolgate.core.environment import written_way
from toolgate.core.events import finished, violation_json
from toolgate.core.mask import Masked
from toolgate.core.model import (
    Completed,
    Failed,
    Json,
    Outcome,
    Permit,
    Recovery,
    Refused,
    Reply,
    Sent,
    ValidCall,
    Violation,
)
from toolgate.ports import Ledger, LedgerError, Meter, Upstream, UpstreamError

Mask: TypeAlias = Callable[[Mapping[str, Json], tuple[str, ...]], Masked]


@dataclass(frozen=True, slots=True)
class World:
    """Everything the gateway needs from outside, given once by the composition root."""

    ledger: Ledger
    upstream: Upstream
    meter: Meter
    mask: Mask
    now_ms: Callable[[], int]  # wall clock: for records only
    monotonic_s: Callable[[], float]  # for durations and deadlines
    new_id: Callable[[], str]
    call_timeout_s: float = 300.0

    @property
    def overdue(self) -> str:
        """What a call is told that took longer than a call may take."""
        return f"no whole answer within the {self.call_timeout_s:g} s a call may take"


class Exchange:
    """One permitted call, until it is finished."""

    __slots__ = ("_permit", "_run", "_sent_at", "_started", "_world")

    def __init__(self, world: World, permit: Permit, run: str, started: float) -> None:
        self._world = world
        self._permit = permit
        self._run = run
        self._started = started  # when the gate took the call
        self._sent_at = world.monotonic_s()

    async def settle(self, reply: Reply) -> Outcome:
        """Judge the answer against its declared response, and finish now or when its stream ends."""
        operation = self._permit.valid.operation
        violations: tuple[Violation, ...] = ()
        if operation.validate_responses != "off" and operation.responses.can_judge:
            reply, violations = await _judged(reply, self._permit.valid)
        outcome = engine.settle(self._permit, reply, violations)
        if isinstance(outcome, Completed) and not isinstance(reply.body, bytes):
            return outcome._replace(reply=reply._replace(body=Streaming(self, outcome)))
        await self.finish(outcome, len(reply.body) if isinstance(reply.body, bytes) else 0, violations)
        return outcome

    async def fail(self, code: str, detail: str, sent: Sent, size: int = 0, *, why: str | None = None) -> Failed:
        """End without an answer; `why` is for the journal only."""
        outcome = failed(code, detail, sent, self._permit.valid)
        await self.finish(outcome, size, why=why)
        return outcome

    async def next_of(self, body: AsyncIterator[bytes]) -> bytes:
        """The next chunk. Raises UpstreamError once the call has taken longer than a call may take, also in silence."""
        left_s = self._started + self._world.call_timeout_s - self._world.monotonic_s()
        try:
            async with asyncio.timeout(left_s):
                chunk = await anext(body)
        except TimeoutError:
            raise UpstreamError("upstream.timeout", self._world.overdue, sent="unknown") from None
        if left_s < 0:  # a stream that never falls silent gives the timeout no turn
            raise UpstreamError("upstream.timeout", self._world.overdue, sent="unknown")
        return chunk

    async def finish(
        self, outcome: Outcome, size: int, violations: tuple[Violation, ...] = (), *, why: str | None = None
    ) -> None:
        world, now = self._world, self._world.monotonic_s()
        measured: dict[str, Json] = {"latency_ms": round((now - self._sent_at) * 1000, 3), "bytes": size}
        if why is not None:
            measured["why"] = why
        if violations:
            measured["off_schema"] = [violation_json(violation) for violation in violations]
        try:
            await world.ledger.append(finished(self._permit.valid, outcome, world.now_ms(), self._run, measured))
        except LedgerError as error:
            # The call was sent, so its answer still belongs to the agent; readiness tells the operator.
            world.meter.defect("finishing a call", error)
        world.meter.ended(*labels(outcome, self._permit.valid), now - self._started, now - self._sent_at)


class Streaming:
    """A streamed answer: passed on chunk by chunk, and finished when it ends, breaks off, or is given up.

    A class and not a generator: closing a generator that was never begun runs none of its code.
    """

    def __init__(self, exchange: Exchange, outcome: Completed) -> None:
        self._exchange = exchange
        self._outcome = outcome
        self._body = cast("AsyncIterator[bytes]", outcome.reply.body)
        self._size = 0
        self._ended = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._exchange.next_of(self._body)
        except StopAsyncIteration:
            self._ended = True
            await self._exchange.finish(self._outcome, self._size)
            raise
        except UpstreamError as error:
            self._ended = True
            await close_stream(self._body)
            await self._exchange.fail(error.code, error.detail, error.sent, self._size)
            raise
        self._size += len(chunk)
        return chunk

    async def aclose(self) -> None:
        if self._ended:
            return
        self._ended = True
        await close_stream(self._body)
        await self._exchange.fail("upstream.broken", "the agent left before the answer ended", "yes", self._size)


class _Resumed:
    """A stream that was begun: what was read of it, then the rest."""

    def __init__(self, begun: bytes, rest: AsyncIterator[bytes]) -> None:
        self._begun = begun
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._begun:
            begun, self._begun = self._begun, b""
            return begun
        return await anext(self._rest)

    async def aclose(self) -> None:
        await close_stream(self._rest)


def failed(code: str, detail: str, sent: Sent, valid: ValidCall | None = None) -> Failed:
    """A failure from the code table, with the way forward the operator wrote for it, if any."""
    row, operation = CODES[code], valid.operation if valid else None
    recovery = (written_way(operation, code) if operation else None) or Recovery(row.action, row.hint)
    return Failed(row, detail, recovery, sent, operation)


def labels(outcome: Outcome, valid: ValidCall | None = None) -> tuple[str | None, str]:
    """What a metric may say of an outcome: a registered operation and a code, `completed` or nothing else."""
    match outcome:
        case Completed():
            return (valid.operation.key if valid else None), "completed"
        case Refused(refusal):
            return (refusal.operation.key if refusal.operation else None), refusal.code.code
        case Failed():
            return (outcome.operation.key if outcome.operation else None), outcome.code.code


async def _judged(reply: Reply, valid: ValidCall) -> tuple[Reply, tuple[Violation, ...]]:
    """Hold a declared JSON answer, up to `max_response`, and say how it differs from its schema."""
    operation = valid.operation
    headers = dict(reply.headers)
    media_type = headers.get("content-type", "")
    if "content-encoding" in headers or not operation.responses.declared_json(reply.status, media_type):
        return reply, ()
    body = await held(reply.body, operation.limits.max_response)
    if not isinstance(body, bytes):
        return reply._replace(body=body), ()
    return reply._replace(body=body), operation.responses.violations(reply.status, media_type, body)


async def held(body: bytes | AsyncIterator[bytes], most: int) -> bytes | AsyncIterator[bytes]:
    """The whole body where it is at most `most` bytes, else the same stream, begun again from its first byte."""
    if isinstance(body, bytes):
        return body
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in body:
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                return _Resumed(b"".join(chunks), body)
    except BaseException:  # also a cancelled call must not leave the exchange open
        await close_stream(body)
        raise
    return b"".join(chunks)


async def close_stream(body: AsyncIterator[bytes]) -> None:
    """End a stream early, which ends its connection."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
