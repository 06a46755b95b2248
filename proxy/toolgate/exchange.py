"""A permitted call from its sending to its `Finished`: answers held to be judged, streams counted to their end.

RULE: every exchange is finished exactly once, also when the agent goes away or the answer breaks off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from toolgate.core import engine
from toolgate.core.catalog import Operation
from toolgate.core.codes import CODES
from toolgate.core.cost import is_event_stream, is_json, settled
from toolgate.core.environment import written_way
from toolgate.core.events import finished, violation_json
from toolgate.core.eventstream import EventReader
from toolgate.core.mask import Mask, MaskKey
from toolgate.core.model import (
    Completed,
    Event,
    Failed,
    Json,
    Outcome,
    Permit,
    Recovery,
    Refusal,
    Refused,
    Reply,
    Sent,
    Settlement,
    Taking,
    ValidCall,
    Violation,
)
from toolgate.core.outputs import is_done, outputs_of
from toolgate.core.quota import Standing
from toolgate.holds import Holds
from toolgate.ports import Ledger, LedgerError, Meter, Upstream, UpstreamError
from toolgate.reserves import Reserves


@dataclass(frozen=True, slots=True)
class World:
    """Everything the gateway needs from outside, given once by the composition root."""

    ledger: Ledger
    upstream: Upstream
    meter: Meter
    mask: Mask
    now_ms: Callable[[], int]  # the gate's steady clock: what is decided and recorded goes by it
    monotonic_s: Callable[[], float]  # for durations and deadlines
    new_id: Callable[[int], str]  # of a call that came then
    call_timeout_s: float = 300.0
    tell: Callable[[Event], None] = lambda _: None  # people, that a run was stopped or that they are asked
    holds: Holds = field(default_factory=Holds)
    reserves: Reserves = field(default_factory=Reserves)  # of the calls under way

    @property
    def overdue(self) -> str:
        """What a call is told that took longer than a call may take."""
        return f"no whole answer within the {self.call_timeout_s:g} s a call may take"


class Kept(NamedTuple):
    """Where the end of a call is written: its run, and of a step the key that its outputs are digested with."""

    run: str
    key: MaskKey | None = None


class Exchange:
    """One permitted call, until it is finished."""

    __slots__ = ("_kept", "_permit", "_prices", "_reply", "_sent_at", "_standing", "_started", "_world")

    def __init__(self, world: World, permit: Permit, kept: Kept, started: float, standing: Standing | None) -> None:
        self._world = world
        self._permit = permit
        self._kept = kept
        self._started = started  # when the gate took the call
        self._standing = standing  # None: nothing governs the call
        self._reply: Reply | None = None  # as far as there is one
        self._prices: Prices | None = None  # of a stream of events that say what the call costs
        self._sent_at = world.monotonic_s()

    async def settle(self, reply: Reply) -> Outcome:
        """Judge the answer against its declared response, and finish now or when its stream ends."""
        operation = self._permit.valid.operation
        violations: tuple[Violation, ...] = ()
        if operation.validate_responses != "off" and operation.responses.can_judge:
            reply, violations = await _judged(reply, self._permit.valid)
        if engine.reads_reply(self._permit):
            reply = await self._read_price(reply)
        self._reply = reply
        outcome = engine.settle(self._permit, reply, violations, self._standing)
        if isinstance(outcome, Completed) and not isinstance(reply.body, bytes):
            outcome = outcome._replace(reply=reply._replace(body=Streaming(self, outcome)))
        else:
            await self.finish(outcome, len(reply.body) if isinstance(reply.body, bytes) else 0, violations)
        return outcome

    async def withhold(self, refusal: Refusal) -> Refused:
        """End a permitted call unsent, for what came to be known since it was permitted."""
        outcome = Refused(refusal)
        await self.finish(outcome, 0, why=refusal.detail)
        return outcome

    async def fail(self, code: str, detail: str, sent: Sent, size: int = 0, *, why: str | None = None) -> Failed:
        """End without an answer; `why` is for the journal only."""
        outcome = failed(code, detail, sent, self._permit.valid)
        await self.finish(outcome, size, why=why)
        return outcome if self._standing is None else outcome._replace(standing=self._standing)

    async def next_of(self, body: AsyncIterator[bytes]) -> bytes:
        """The next chunk. Raises UpstreamError once the call has taken longer than a call may take, also in silence."""
        left_s = self._left_s()
        try:
            async with asyncio.timeout(left_s):
                chunk = await anext(body)
        except TimeoutError:
            raise UpstreamError("upstream.timeout", self.overdue, sent="unknown") from None
        if left_s < 0:  # a stream that never falls silent gives the timeout no turn
            raise UpstreamError("upstream.timeout", self.overdue, sent="unknown")
        if self._prices is not None:
            self._prices.read(chunk)
        return chunk

    async def finish(
        self, outcome: Outcome, size: int, violations: tuple[Violation, ...] = (), *, why: str | None = None
    ) -> None:
        world, permit = self._world, self._permit
        now = world.monotonic_s()
        world.reserves.release(engine.reserved(permit))
        upstream_s = now - self._sent_at
        measured: dict[str, Json] = {"latency_ms": round(upstream_s * 1_000_000) / 1000, "bytes": size}
        if why is not None:
            measured["why"] = why
        if violations:
            measured["off_schema"] = [violation_json(violation) for violation in violations]
        settlement, taking = self._settlement(outcome, size, measured), permit.step
        if taking is not None:
            measured |= self._step_json(taking, outcome)
        try:
            event = finished(permit.valid, outcome, world.now_ms(), self._kept.run, measured)
            await world.ledger.finish(event, settlement)
        except LedgerError as error:
            # The call was sent, so its answer still belongs to the agent; readiness tells the operator.
            world.meter.defect("finishing a call", error)
        if taking is not None:
            world.holds.ended(taking.plan, taking.step)
        if permit.guards:
            world.meter.settled(permit, settlement)
        world.meter.ended(*labels(outcome, permit.valid), now - self._started, upstream_s)

    def _settlement(self, outcome: Outcome, size: int, measured: dict[str, Json]) -> Settlement:
        """What it comes to, and what is told of that."""
        permit, sent = self._permit, _sent(outcome)
        bill = engine.billed(permit, sent, self._reply, self._prices.end() if self._prices else None)
        settlement = engine.settlement(permit, sent, bill, size)
        if settlement.costs:
            measured["costs"] = settlement.costs
        if bill.unpriced is not None:
            measured["unpriced"] = bill.unpriced
            self._world.meter.unpriced(permit.valid.operation.key, bill.unpriced)
        return settlement

    @property
    def overdue(self) -> str:
        """What a call is told that took longer than it may take."""
        step, most_s = self._permit.step, self._world.call_timeout_s
        if step is None or step.timeout_ms is None or step.timeout_ms / 1000 >= most_s:
            return self._world.overdue
        return f"no whole answer within the {step.timeout_ms} ms the plan gives the step `{step.step}`"

    def _left_s(self) -> float:
        """How long its answer may still take: what is left of the call's own time, or of its step's."""
        now_s, step = self._world.monotonic_s(), self._permit.step
        left_s = self._started + self._world.call_timeout_s - now_s
        if step is None or step.timeout_ms is None:
            return left_s
        return min(left_s, self._sent_at + step.timeout_ms / 1000 - now_s)

    def _step_json(self, taking: Taking, outcome: Outcome) -> dict[str, Json]:
        """What step has ended; of one that is done, what later steps are held to."""
        told: dict[str, Json] = {"plan": taking.plan, "step": taking.step}
        if (
            taking.outputs is not None
            and self._kept.key is not None
            and isinstance(outcome, Completed)
            and is_done(outcome)
        ):
            told["outputs"] = outputs_of(outcome.reply, taking.outputs, self._kept.key)
        return told

    async def _read_price(self, reply: Reply) -> Reply:
        """Hold a JSON answer that says what the call cost; events are read as they pass, and a longer one says nothing."""
        headers, operation = dict(reply.headers), self._permit.valid.operation
        if is_json(headers):
            return reply._replace(body=await held(reply.body, operation.limits.max_response))
        if is_event_stream(headers):
            self._prices = Prices(operation, reply)
            if isinstance(reply.body, bytes):
                self._prices.read(reply.body)
        return reply


class Prices:
    """What the events of a stream say that the call cost: of each cost the last one that says it."""

    def __init__(self, operation: Operation, reply: Reply) -> None:
        self._terms = operation.terms
        self._reply = reply
        self._reader = EventReader(operation.limits.max_response)
        self._said: dict[str, int] = {}

    def read(self, chunk: bytes) -> None:
        self._learn(self._reader.feed(chunk))

    def end(self) -> Mapping[str, int]:
        """All that was said, also by an event that broke off before the line that ends it."""
        self._learn(self._reader.end())
        return self._said

    def _learn(self, events: Iterable[bytes]) -> None:
        for content in events:
            self._said |= settled(self._terms, self._reply._replace(body=content))


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
            operation = refusal.operation or (valid.operation if valid else None)
            return (operation.key if operation else None), refusal.code.code
        case Failed():
            return (outcome.operation.key if outcome.operation else None), outcome.code.code


def _sent(outcome: Outcome) -> Sent:
    match outcome:
        case Completed():
            return "yes"
        case Refused():
            return "no"
        case Failed():
            return outcome.sent


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
