"""From a target to a connection: the name, the address that is allowed, the handshake.

RULE: the address that was checked is the address that is connected to; TLS is verified or there is no connection.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn, TypeAlias, TypeVar

from toolgate.core.addresses import denied, is_address
from toolgate.core.catalog import Target
from toolgate.ports import UpstreamError
from toolgate.tls import client_context, connection_fault

Resolve: TypeAlias = Callable[[str, int], Awaitable[tuple[str, ...]]]
_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)

_MAX_ATTEMPTS: Final = 4


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class Dialer:
    """Opens connections to one target."""

    def __init__(self, target: Target, resolver: Resolve) -> None:
        self._target = target
        self._resolve = resolver
        self._place = f"`{target.host}:{target.port}`"
        self._literal = is_address(target.host)
        self._context: tuple[int, ssl.SSLContext] | None = None  # the CA file's mtime, and what was made of it

    @property
    def place(self) -> str:
        """The upstream as messages name it."""
        return self._place

    async def dial(self, make: Callable[[], _Protocol], connect_s: float) -> _Protocol:
        """Open one connection within `connect_s`. Raises UpstreamError with `sent` no."""
        try:
            async with asyncio.timeout(connect_s):
                context = await self._tls()
                return await self._attempt(await self._addresses(), make, context, connect_s)
        except TimeoutError:
            self._fail(f"did not accept a connection within {connect_s:.2g} s")

    async def _addresses(self) -> tuple[str, ...]:
        target = self._target
        if self._literal:
            return (target.host,)
        try:
            found = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            self._fail("has a name that cannot be resolved; check `upstream` in its tool.yaml")
        allowed = tuple(address for address in found if not denied(address))
        if not allowed:
            # SECURITY: a name may not lead to link-local or metadata addresses, whatever the resolver says.
            self._fail("resolves only to addresses that are never connected to (link-local, metadata)")
        return allowed[:_MAX_ATTEMPTS]

    async def _attempt(
        self,
        addresses: tuple[str, ...],
        make: Callable[[], _Protocol],
        context: ssl.SSLContext | None,
        connect_s: float,
    ) -> _Protocol:
        """Try each address in turn, all but the last with an equal share of the time; the last failure is told."""
        for address in addresses[:-1]:
            with suppress(OSError):  # TimeoutError and ssl.SSLError are OSErrors
                async with asyncio.timeout(connect_s / len(addresses)):
                    return await self._connect(address, make, context)
        try:
            return await self._connect(addresses[-1], make, context)
        except OSError as error:
            self._fail(connection_fault(error))

    async def _connect(self, address: str, make: Callable[[], _Protocol], context: ssl.SSLContext | None) -> _Protocol:
        loop = asyncio.get_running_loop()
        name = self._target.host if context else None
        _, protocol = await loop.create_connection(make, address, self._target.port, ssl=context, server_hostname=name)
        return protocol

    async def _tls(self) -> ssl.SSLContext | None:
        """The TLS context, made aside because reading the system's authorities takes long; again when its CA file changes."""
        target = self._target
        if target.scheme == "http":
            return None
        try:
            changed_ns = _changed_ns(target.ca_file)
            if self._context is None or self._context[0] != changed_ns:
                made = await asyncio.get_running_loop().run_in_executor(None, client_context, target.ca_file)
                self._context = (changed_ns, made)
        except (OSError, ssl.SSLError):
            self._fail(f"cannot be verified: its `ca_file` `{target.ca_file}` is missing or holds no certificates")
        return self._context[1]

    def _fail(self, what: str) -> NoReturn:
        raise UpstreamError("upstream.unreachable", f"the upstream {self._place} {what}", sent="no") from None


def _changed_ns(ca_file: str | None) -> int:
    return Path(ca_file).stat().st_mtime_ns if ca_file else 0
