"""Taking calls: so many at once, so many waiting, the rest refused at once (attack O06).

RULE: a place is held until the answer is written or given up, streams included.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from toolgate.core.bundle import Bundle
from toolgate.core.model import (
    NOTHING_SAID,
    Asked,
    Call,
    OpenedRun,
    Outcome,
    Principal,
    Refusal,
    Refused,
    Said,
    Situation,
)
from toolgate.listeners.answers import Answer, Caller, Streamed
from toolgate.listeners.problem import Disclosure, disclosed, render
from toolgate.listeners.retelling import Retelling
from toolgate.listeners.wire import refuse

if TYPE_CHECKING:
    from toolgate.core.explanation import Explanation


class Gateway(Protocol):
    """What listeners need of the gateway."""

    @property
    def bundle(self) -> Bundle: ...
    @property
    def situation(self) -> Situation: ...
    def new_call(
        self, principal: Principal, asked: Asked, said: Said = NOTHING_SAID, run: OpenedRun | None = None
    ) -> Call: ...
    async def handle(self, call: Call) -> Outcome: ...
    def explain(self, call: Call) -> Explanation: ...


class Places:
    """So many places, and a bounded queue for them in order of arrival."""

    def __init__(self, in_flight: int, queue: int, wait_s: float = 10.0) -> None:
        self._most = in_flight
        self._queue_most = queue
        self._wait_s = wait_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.taken = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def try_take(self) -> bool:
        """Take a free place at once, if nobody waits before us."""
        if self.taken >= self._most:
            return False
        self.taken += 1
        return True

    async def wait(self) -> bool:
        """Wait for a place; False when too many wait already, or for too long."""
        if len(self._waiting) >= self._queue_most:
            return False
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except TimeoutError:
            return self._gave_up(turn)
        except asyncio.CancelledError:
            if self._gave_up(turn):
                self.leave()
            raise
        return True

    def _gave_up(self, turn: asyncio.Future[None]) -> bool:
        """Leave the queue; True when the turn came at the same moment, so that the place is ours after all."""
        if turn.done() and not turn.cancelled():
            return True
        self._waiting.remove(turn)
        return False

    def leave(self) -> None:
        """Give the place to whoever waits longest, or back."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1


class Calls:
    """Has calls handled and their outcomes rendered."""

    def __init__(self, gateway: Gateway, places: Places, disclosure: Disclosure) -> None:
        self.gateway = gateway
        self.disclosure = disclosure
        self._places = places
        self._retelling = Retelling()

    def declares(self, method: str, path: str, query: str) -> bool:
        """Whether an operation declares that this path may have its encoded slashes (see `wire.Rules`).

        SECURITY: with `disclosure: hide` the wire says nothing of it, or it would tell what exists before anybody knows
        who asks; a path that no operation declares is then `tool.unknown`, like any other.
        """
        return self.disclosure == "hide" or bool(self.gateway.bundle.catalog.declaring(method, path, query))

    async def take(self, caller: Caller, asked: Asked, said: Said, *, bodiless: bool = False) -> Answer:
        """One call, from what was asked to its rendered outcome."""
        call = self.gateway.new_call(caller.principal, asked, said, caller.run)
        if not self._places.try_take() and not await self._places.wait():
            refusal = refuse("gateway.overloaded", "the gate has as many calls in flight and waiting as it takes")
            return render(Refused(refusal), call.id, self.gateway.bundle, bodiless=bodiless)
        answer: Answer | None = None
        try:
            bundle = self.gateway.bundle  # read in the same step as the gateway pins it
            outcome = await self.gateway.handle(call)
            if isinstance(outcome, Refused):
                outcome = _told(outcome, disclosed(outcome.refusal, self.disclosure, caller.principal, bundle))
                answer = self._retelling.render(outcome, call.id, bundle, bodiless=bodiless)
            else:
                answer = render(outcome, call.id, bundle, bodiless=bodiless)
        finally:
            if not isinstance(answer, Streamed):
                self._places.leave()
        return replace(answer, body=_Placed(answer.body, self._places)) if isinstance(answer, Streamed) else answer


def _told(refused: Refused, refusal: Refusal) -> Refused:
    """SECURITY: what is disclosed of a refusal is all that is told: quotas would show which rule met it."""
    return refused if refusal is refused.refusal else Refused(refusal)


class _Placed:
    """A streamed body that gives its place back when it is closed."""

    def __init__(self, body: AsyncIterator[bytes], places: Places) -> None:
        self._body = body
        self._places: Places | None = places

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._body)

    async def aclose(self) -> None:
        places, self._places = self._places, None
        try:
            close = getattr(self._body, "aclose", None)
            if close is not None:
                await close()
        finally:
            if places is not None:
                places.leave()
