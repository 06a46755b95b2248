"""What answers on the agent listener: tools under `/{tool}/…`, the gate's own paths under `/-/`.

RULE: whatever is not under `/-/` is a call; there is no third kind of request.
"""

from __future__ import annotations

from typing import Final, Protocol

from toolgate.auth import Authenticator, AuthError
from toolgate.core.model import OpenedRun, Principal, Refusal, Wire, new
from toolgate.listeners.answers import Answer, Caller, Request, Whole
from toolgate.listeners.calls import Calls
from toolgate.listeners.voice import Voice
from toolgate.listeners.wire import refuse

OWN_PREFIX: Final = "/-/"
_OWN_BODY_BYTES: Final = 1 << 20
_OPEN_A_RUN: Final = "Open a run with POST /-/runs and send its token as `Toolgate-Run`, or leave that header out."


class OwnApi(Protocol):
    async def answer(self, request: Request, caller: Caller) -> Answer: ...


class RunReader(Protocol):
    def read(self, token: str, principal: Principal) -> OpenedRun:
        """The run a token names for this principal, now. Raises AuthError."""
        ...


class AgentFront:
    """Answers what agents send."""

    def __init__(self, calls: Calls, own: OwnApi, authenticator: Authenticator, runs: RunReader, voice: Voice) -> None:
        self._calls = calls
        self._own = own
        self._authenticate = authenticator.authenticate
        self._read_run = runs.read
        self._voice = voice

    @property
    def max_body(self) -> int:
        return max(self._calls.gateway.bundle.max_body, _OWN_BODY_BYTES)

    async def answer(self, request: Request) -> Answer:
        bodiless = request.method == "HEAD"
        caller = self._caller(request)
        if isinstance(caller, Refusal):
            return self._voice.refused(caller, bodiless=bodiless)
        if request.path.startswith(OWN_PREFIX):
            return await self._own.answer(request, caller)
        asked = new(Wire, (request.method, request.path, request.query, request.headers, request.body))
        return await self._calls.take(caller, asked, request.said, bodiless=bodiless)

    def _caller(self, request: Request) -> Caller | Refusal:
        try:
            principal = self._authenticate(request.token)
        except AuthError as error:
            return refuse(error.code, error.detail)
        if request.run is None:
            return new(Caller, (principal, None))
        try:
            return Caller(principal, self._read_run(request.run, principal))
        except AuthError as error:
            return refuse(error.code, error.detail, _OPEN_A_RUN)

    def refused(self, refusal: Refusal, *, bodiless: bool) -> Whole:
        return self._voice.refused(refusal, bodiless=bodiless)

    def broken(self, error: BaseException, *, bodiless: bool) -> Whole:
        return self._voice.broken(error, bodiless=bodiless)
