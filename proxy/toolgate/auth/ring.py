"""One issuer's keys as they are now, kept fresh beside the path of calls.

RULE: whoever authenticates reads what is here and never waits. Keys that cannot be read again serve on until they are
`max_stale_s` old, and no longer; a document that says less (a key rotated out) holds at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from toolgate.auth.errors import KeysUnavailableError
from toolgate.auth.issuer import FromSecret, FromUrl, Issuer, Source
from toolgate.auth.keyset import Keys, read_jwks, read_secret
from toolgate.auth.sources import read_source
from toolgate.auth.surroundings import Surroundings

_MAX_DOUBLINGS: Final = 10


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a source is read: every `usual_s`, and when a caller's token asks for it, but then not within `least_s`."""

    least_s: float
    usual_s: float
    retry_s: float  # after a failure; doubled with each one in a row


_FAR: Final = Pace(least_s=10.0, usual_s=300.0, retry_s=1.0)
_NEAR: Final = Pace(least_s=1.0, usual_s=5.0, retry_s=1.0)


def pace_of(source: Source) -> Pace:
    return _FAR if isinstance(source, FromUrl) else _NEAR


class Ring:
    """Holds the keys of one issuer."""

    def __init__(self, issuer: Issuer, world: Surroundings, *, pace: Pace | None = None) -> None:
        self.issuer = issuer
        self.looked = asyncio.Event()  # once the keys have been asked for, whatever came of it
        self._world = world
        self._pace = pace or pace_of(issuer.source)
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        self._document: bytes | None = None
        self._keys: Keys | None = None
        self._read_at_s = 0.0
        self._failures = 0

    def current(self) -> Keys | None:
        """The keys, unless they are too old to be trusted or have never been read."""
        is_fresh = self._world.monotonic_s() - self._read_at_s <= self.issuer.max_stale_s
        return self._keys if is_fresh else None

    @property
    def has_been_read(self) -> bool:
        return self._keys is not None

    @property
    def age_s(self) -> float:
        """How long ago the keys were read; infinity before the first time."""
        return self._world.monotonic_s() - self._read_at_s if self._keys is not None else float("inf")

    def ask(self) -> None:
        """Have the source read soon: a token names a key that is not here. Callers cannot make it a flood."""
        self._asked.set()

    def hurry(self) -> None:
        """Have the source read now: an operator asked for a reload."""
        self._hurried.set()
        self._asked.set()

    def read_now(self) -> None:
        """Read the source, here and now. For a start; blocks. Raises KeysUnavailableError."""
        self._take(read_source(self.issuer.source))

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        while True:
            await self._refresh()
            self.looked.set()
            await self._rest(self._pause_s())

    async def _rest(self, pause_s: float) -> None:
        """Wait for the next look: an operator is heard at once, a caller's unknown key after the least time only."""
        least_s = min(self._pace.least_s, pause_s)
        if not await _heard(self._hurried, least_s):
            await _heard(self._asked, pause_s - least_s)
        self._hurried.clear()
        self._asked.clear()

    async def _refresh(self) -> None:
        try:
            self._take(await _aside(lambda: read_source(self.issuer.source)))
        except KeysUnavailableError as why:
            self._fail(str(why))
        except Exception as error:  # noqa: BLE001  # INVARIANT: whatever breaks, the next look comes
            self._world.defect("reading an issuer's keys", error)
            self._fail("the gate met a defect")

    def _take(self, document: bytes) -> None:
        if document != self._document:
            keys = _keys(document, self.issuer)
            self._document, self._keys = document, keys
            self._world.log.info("issuer_keys_read", issuer=self.issuer.name, keys=len(keys))
            for why in keys.refused:
                self._world.log.warning("issuer_key_refused", issuer=self.issuer.name, why=why)
        elif self._failures:
            self._world.log.info("issuer_keys_read", issuer=self.issuer.name, keys=len(self._keys or ()))
        self._read_at_s, self._failures = self._world.monotonic_s(), 0

    def _fail(self, why: str) -> None:
        self._failures += 1
        serving = "those read before" if self.current() is not None else "none: its tokens are refused"
        self._world.log.warning("issuer_keys_not_read", issuer=self.issuer.name, why=why, serving=serving)

    def _pause_s(self) -> float:
        """How long until the next look, with a tenth of chance in it: replicas that started together ask apart."""
        pace, failures = self._pace, self._failures
        wanted_s = pace.retry_s * 2 ** min(failures - 1, _MAX_DOUBLINGS) if failures else pace.usual_s
        return min(wanted_s, pace.usual_s) * (0.9 + 0.2 * self._world.chance())


def _keys(document: bytes, issuer: Issuer) -> Keys:
    read = read_secret if isinstance(issuer.source, FromSecret) else read_jwks
    return read(document, issuer.algorithms)


async def _heard(event: asyncio.Event, within_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            return await event.wait()
    return False


async def _aside(work: Callable[[], bytes]) -> bytes:
    """Do blocking work in a thread that does not keep the process: a resolver may hang for longer than a drain takes."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()

    def settle(result: bytes | BaseException) -> None:
        if future.done():
            return
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)

    def run() -> None:
        try:
            result: bytes | BaseException = work()
        except BaseException as error:  # noqa: BLE001  # it is raised where it is awaited
            result = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, name="issuer-keys", daemon=True).start()
    return await future
