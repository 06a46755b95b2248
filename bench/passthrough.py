"""The yardstick: aiohttp's server and client back to back, judging nothing (`python -m bench.passthrough PORT UPSTREAM`).

RULE: it is written as well as its author can: low-level `web.Server`, uvloop, one session, no access log, no
decompression, bodies read whole and passed on as they are. A slow yardstick would flatter the gate.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from yarl import URL

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "host", "content-length", "server", "te", "upgrade"}
)


class PassThrough:
    def __init__(self, session: ClientSession, upstream: str) -> None:
        self._session = session
        self._upstream = upstream

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        url = URL(self._upstream + request.raw_path, encoded=True)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        body = await request.read() if request.body_exists else None
        sent = self._session.request(request.method, url, headers=headers, data=body, allow_redirects=False)
        async with sent as reply:
            kept = [(name, value) for name, value in reply.headers.items() if name.lower() not in _HOP_BY_HOP]
            return web.Response(status=reply.status, headers=kept, body=await reply.read())


async def _serve(port: int, upstream: str) -> None:
    session = ClientSession(
        connector=TCPConnector(limit=0, ttl_dns_cache=None),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        timeout=ClientTimeout(total=30),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )
    async with session:
        server = web.Server(PassThrough(session, upstream).handle, access_log=None, auto_decompress=False)
        await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=512)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
