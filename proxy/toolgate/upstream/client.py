"""Permit → Reply: the whole of a call's way up, on one page.

RULE: what was judged is what is sent, once. There is no second attempt, no redirect, no cookie and no proxy here.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, cast

from toolgate.core.catalog import Target
from toolgate.core.model import Header, Permit, Reply, new
from toolgate.ports import UpstreamError
from toolgate.upstream.connection import Exchange
from toolgate.upstream.credentials import Credentials
from toolgate.upstream.dial import Dialer, Resolve, resolve
from toolgate.upstream.pool import Pool, Pooling
from toolgate.upstream.redact import Redactor
from toolgate.upstream.request import check_target, render

_MANY: Final = 256
_PLAIN: Final = frozenset({"", "identity"})


class Client:
    """Sends permitted calls to their upstreams. One for each process; belongs to the loop it first sends on."""

    def __init__(
        self,
        *,
        version: str,
        pooling: Pooling | None = None,
        resolver: Resolve = resolve,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agent = f"User-Agent: toolgate/{version}\r\n"
        self._pooling = pooling or Pooling()
        self._resolver = resolver
        self._environ = os.environ if environ is None else environ
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._origins: dict[Target, _Origin] = {}
        self._known: dict[int, tuple[Target, _Origin]] = {}  # by identity: hashing a target costs more than finding it

    async def send(self, permit: Permit) -> Reply:
        """Send the permitted request and return once its head has come. Raises UpstreamError."""
        operation, request = permit.valid.operation, permit.valid.request
        origin = self._origin(operation.target)
        prepared = origin.credentials.current()
        blocks = render(request, origin.target.base_path, prepared.added, self._agent)
        loop = self._loop
        if loop is None:  # asked once: in CPython 3.11 it is a system call (getpid)
            loop = self._loop = asyncio.get_running_loop()
        now, limits = loop.time(), operation.limits
        deadline, fresh = now + limits.timeout_s, operation.effect != "read"
        connection = origin.pool.ready(now, fresh=fresh) or await origin.pool.obtain(deadline, fresh=fresh)
        exchange = Exchange(connection, request.method, limits.timeout_s, limits.idle_timeout_s)
        connection.send(blocks, exchange, deadline)
        await exchange.answered()
        return _reply(exchange, prepared.redactor)

    def not_ready(self, target: Target) -> str | None:
        """One sentence that says which credential of a target cannot be read; None while all can."""
        try:
            self._origin(target).credentials.current()
        except UpstreamError as error:
            return error.why or error.detail
        return None

    async def close(self) -> None:
        """Close every connection. Exchanges still open end as broken."""
        for origin in self._origins.values():
            await origin.pool.close()
        self._origins.clear()
        self._known.clear()

    def _origin(self, target: Target | None) -> _Origin:
        found = self._known.get(id(target))
        if found is not None:
            return found[1]
        if target is None:
            raise UpstreamError(
                "internal.error", "the request was not sent: its operation has no upstream here", sent="no"
            )
        return self._learn(target)

    def _learn(self, target: Target) -> _Origin:
        """Find the origin by what the target says: a reload makes new targets that are equal to the old ones."""
        origin = self._origins.get(target)
        if origin is None:
            check_target(target)
            self._forget_unused()
            origin = _Origin(
                target, Credentials(target, self._environ, self._clock), Dialer(target, self._resolver), self._pooling
            )
            self._origins[target] = origin
        if len(self._known) >= _MANY:
            self._known.clear()
        self._known[id(target)] = target, origin  # holding the target keeps its id its own
        return origin

    def _forget_unused(self) -> None:
        if len(self._origins) >= _MANY:
            self._known.clear()
            self._origins = {target: origin for target, origin in self._origins.items() if not origin.pool.unused}


class _Origin:
    """Everything the client keeps for one target."""

    __slots__ = ("credentials", "pool", "target")

    def __init__(self, target: Target, credentials: Credentials, dialer: Dialer, pooling: Pooling) -> None:
        self.target = target
        self.credentials = credentials
        self.pool = Pool(dialer, pooling)


def _reply(exchange: Exchange, redactor: Redactor | None) -> Reply:
    response = exchange.response
    body: bytes | AsyncIterator[bytes] = response.take() if exchange.phase != "stream" else exchange
    if redactor is None:
        return new(Reply, (response.status, response.headers, body))
    if body != b"" and _is_coded(response.headers):
        raise _unreadable(exchange)
    headers = redactor.headers(response.headers)
    if isinstance(body, bytes):
        clean = redactor.whole(body)
        if clean is not body:
            headers = (*_without_length(headers), ("content-length", str(len(clean))))
        return Reply(response.status, headers, clean)
    # The length a stream will have is not known once parts of it may be replaced.
    return Reply(response.status, _without_length(headers), cast("AsyncIterator[bytes]", redactor.stream(exchange)))


def _is_coded(headers: tuple[Header, ...]) -> bool:
    return any(name == "content-encoding" and value.lower() not in _PLAIN for name, value in headers)


def _unreadable(exchange: Exchange) -> UpstreamError:
    """SECURITY: a credential could come back in a compressed answer unseen, so there is none of those (L08, L22)."""
    exchange.give_up()
    why = "the upstream compressed its answer though it was asked not to, and a credential in it could not be removed"
    return UpstreamError("upstream.broken", why, sent="unknown")


def _without_length(headers: tuple[Header, ...]) -> tuple[Header, ...]:
    return tuple(header for header in headers if header[0] != "content-length")
