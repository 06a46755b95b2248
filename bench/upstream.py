"""The upstream of the benchmark: answers 1 kB of JSON as cheaply as Python can (`python -m bench.upstream PORT`).

RULE: it reads whole requests before it answers, so nothing is measured that a real API could not do.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httptools
import uvloop

_BODY = json.dumps({"items": [{"id": number, "name": f"item-{number}", "value": number / 7} for number in range(18)]})
REPLY = (
    f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n"
    f"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n{_BODY}"
).encode()


class Answering(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_complete(self) -> None:
        self._transport.write(REPLY)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port, backlog=512)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
