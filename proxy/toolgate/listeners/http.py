"""What answers on the agent listener: tools under `/{tool}/…`, the gate's own paths under `/-/`.

RULE: whatever is not under `/-/` is a call; there is no third kind of request.
"""

from __future__ import annotations

from typing import Final, Protocol

from toolgate.auth import Authenticator, AuthError
from toolgate.core.model import Principal, Refusal, Wire
from toolgate.listeners.answers import Answer, Request, Whole
from toolgate.listeners.calls import Calls
from toolgate.listeners.refusals import Refusals
from toolgate.listeners.wire import refuse

OWN_PREFIX: Final = "/-/"
_OWN_BODY_BYTES: Final = 1 << 20


class OwnApi(Protocol):
    async def answer(self, request: Request, principal: Principal) -> Answer: ...


class AgentFront:
    """Answers what agents send."""

    def __init__(self, calls: Calls, own: OwnApi, authenticator: Authenticator, refusals: Refusals) -> None:
        self._calls = calls
        self._own = own
        self._authenticate = authenticator.authenticate
        self._refusals = refusals

    @property
    def max_body(self) -> int:
        return max(self._calls.gateway.bundle.max_body, _OWN_BODY_BYTES)

    async def answer(self, request: Request) -> Answer:
        bodiless = request.method == "HEAD"
        try:
            principal = self._authenticate(request.token)
        except AuthError as error:
            return self._refusals.refused(refuse(error.code, error.detail), bodiless=bodiless)
        if request.path.startswith(OWN_PREFIX):
            return await self._own.answer(request, principal)
        asked = Wire(request.method, request.path, request.query, request.headers, request.body)
        return await self._calls.take(principal, asked, request.reason, bodiless=bodiless)

    def refused(self, refusal: Refusal, *, bodiless: bool) -> Whole:
        return self._refusals.refused(refusal, bodiless=bodiless)

    def broken(self, error: BaseException, *, bodiless: bool) -> Whole:
        return self._refusals.broken(error, bodiless=bodiless)
