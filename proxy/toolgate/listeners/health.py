"""Is the gate alive, is it ready, what are its numbers: for the kubelet and Prometheus, on a door of its own.

RULE: GET only, nothing configurable; of the configuration only its revision and the first thing wrong with a refused one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from toolgate.auth import Authenticator, AuthError
from toolgate.core.bundle import Bundle
from toolgate.core.model import Json, Principal, Refusal
from toolgate.listeners.answers import Answer, Caller, Request, Whole
from toolgate.listeners.routes import Respond, Routes, Visit
from toolgate.listeners.voice import Voice
from toolgate.listeners.wire import refuse

_NOBODY = Principal("-")
_BODY_BYTES = 64 * 1024


@dataclass(slots=True)
class Health:
    """How the process is. `unready` answers None, or one sentence that says why no call can be taken."""

    bundle: Callable[[], Bundle]
    unready: Callable[[], str | None]
    last_error: Callable[[], str | None]  # of the last reload that was refused, until one is taken
    draining: bool = False

    def reason(self) -> str | None:
        return "the gate is shutting down" if self.draining else self.unready()

    async def live(self, visit: Visit) -> Answer:
        return visit.json({"live": True})

    async def ready(self, visit: Visit) -> Answer:
        reason = self.reason()
        bundle = self.bundle()
        told: dict[str, Json] = {"bundle": {"revision": bundle.revision, "last_error": self.last_error()}}
        if bundle.mode != "enforce":
            told["mode"] = bundle.mode
        if reason is None:
            return visit.json(told)
        return visit.json(told | {"reason": reason}, status=503)

    @property
    def routes(self) -> Mapping[str, Respond]:
        return {"GET /-/live": self.live, "GET /-/ready": self.ready}


class OwnFront:
    """Answers on a listener that has nothing but the gate's own paths: health, or admin."""

    def __init__(self, routes: Mapping[str, Respond], voice: Voice, authenticator: Authenticator | None = None) -> None:
        self._routes = Routes(routes, voice)
        self._voice = voice
        self._authenticator = authenticator

    @property
    def max_body(self) -> int:
        return _BODY_BYTES

    async def answer(self, request: Request) -> Answer:
        principal = _NOBODY
        if self._authenticator is not None:
            try:
                principal = self._authenticator.authenticate(request.token)
            except AuthError as error:
                return self._voice.refused(refuse(error.code, error.detail), bodiless=request.method == "HEAD")
        return await self._routes.answer(request, Caller(principal))

    def refused(self, refusal: Refusal, *, bodiless: bool) -> Whole:
        return self._voice.refused(refusal, bodiless=bodiless)

    def broken(self, error: BaseException, *, bodiless: bool) -> Whole:
        return self._voice.broken(error, bodiless=bodiless)


def health_front(health: Health, exposition: Callable[[], bytes], content_type: str, voice: Voice) -> OwnFront:
    """The health listener: live, ready, metrics."""

    async def metrics(visit: Visit) -> Answer:
        return visit.bytes(exposition(), content_type=content_type)

    return OwnFront({**health.routes, "GET /metrics": metrics}, voice)
