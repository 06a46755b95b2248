"""What open runs weigh: as many as asked are opened over HTTP, then one call is made in each.

RULE: every run is opened and called in as an agent does it, and memory is the process's own, as the kernel counts it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from typing import Any

import httptools
import uvloop

from bench.processes import Running, memory_mb
from bench.report import OpenRuns

_CONNECTIONS = 32
_WITHIN_S = 600.0  # a gate that answers no more ends the run, and is told as that


class _Asking(asyncio.Protocol):
    """One connection: asks one request after the other, and keeps what was answered."""

    def __init__(self, requests: Iterator[bytes], answers: list[bytes]) -> None:
        self._requests = requests
        self._answers = answers
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status not in {200, 201}:
            self.done.set_exception(RuntimeError(f"answered {status}: {self._body[:500]!r}"))
            self._transport.close()
            return
        self._answers.append(self._body)
        self._next()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError("the gate closed the connection"))

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._transport.write(request)


def weigh(name: str, gate: Running, call: bytes, count: int) -> OpenRuns:
    """Open so many runs, then make this call in each."""
    before_mb = memory_mb(gate.pid)[0]
    opening = f"POST /-/runs HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\nContent-Length: 0\r\n\r\n".encode()
    opened = uvloop.run(_ask(gate.port, (opening for _ in range(count))))
    opened_mb = memory_mb(gate.pid)[0]
    tokens = (json.loads(answer)["token"] for answer in opened)
    uvloop.run(_ask(gate.port, _within(call, tokens)))
    return OpenRuns(name, count, before_mb, opened_mb, memory_mb(gate.pid)[0])


def _within(call: bytes, tokens: Iterable[str]) -> Iterator[bytes]:
    line, _, rest = call.partition(b"\r\n")
    return (b"%b\r\nToolgate-Run: %b\r\n%b" % (line, token.encode(), rest) for token in tokens)


async def _ask(port: int, requests: Iterator[bytes]) -> list[bytes]:
    answers: list[bytes] = []
    loop = asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(lambda: _Asking(requests, answers), "127.0.0.1", port) for _ in range(_CONNECTIONS)
    ]
    async with asyncio.timeout(_WITHIN_S):
        await asyncio.gather(*(protocol.done for _, protocol in pairs))
    return answers
