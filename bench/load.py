"""The load generator, in its own process: keep-alive connections over loopback (`python -m bench.load`, orders on stdin).

An order is one line of JSON, answered by one line: `{"port", "pid", "requests", "counted", "connections", "warm_up_s",
"seconds", "rate"}`. Where `counted` stands in a request, a running number is sent. Without `rate` the loop is closed:
each connection asks again as soon as it has its answer, and the figures are cost and throughput at saturation. With `rate` it is open: requests are due at fixed times whether or
not earlier ones have been answered, and a latency counts from then, waiting for a connection included. A closed loop's latencies
leave out the waiting that a stalled server causes (coordinated omission): read percentiles from the open one only.

RULE: CPU time is the measured process's own, read from the kernel at the first and the last request.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httptools
import uvloop

from bench.processes import cpu_s


@dataclass(slots=True)
class Tally:
    """What came back in one measurement."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    lost: int = 0


class Asking(asyncio.Protocol):
    """One connection, one request at a time; `idle` is called with it after each answer."""

    def __init__(self, idle: Any, lost: Any) -> None:
        self._idle = idle
        self._lost = lost
        self._due_s = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._parser = httptools.HttpResponseParser(self)

    def ask(self, request: bytes, due_s: float) -> None:
        self._due_s = due_s
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._idle(self, self._parser.get_status_code(), time.perf_counter() - self._due_s)

    def connection_lost(self, _: Exception | None) -> None:
        self._lost(self)


class Closed:
    """Each connection asks again at once, until the time is over."""

    def __init__(self, order: Mapping[str, Any], requests: Iterator[bytes]) -> None:
        self.tally = Tally()
        self._requests = requests
        self._until_s = 0.0
        self._asking = 0
        self._done = asyncio.Event()
        self._order = order

    async def run(self, seconds: float) -> None:
        self._until_s = time.perf_counter() + seconds
        connections = await _connect(self._order, self._answered, self._lost)
        self._asking = len(connections)
        for connection in connections:
            connection.ask(next(self._requests), time.perf_counter())
        await asyncio.wait_for(self._done.wait(), seconds + 30)
        for connection in connections:
            connection.transport.abort()

    def _answered(self, connection: Asking, status: int, latency_s: float) -> None:
        self.tally.statuses[status] += 1
        self.tally.latencies_s.append(latency_s)
        now_s = time.perf_counter()
        if now_s < self._until_s:
            connection.ask(next(self._requests), now_s)
            return
        self._ended_one()

    def _lost(self, _: Asking) -> None:
        if not self._done.is_set():
            self.tally.lost += 1
            self._ended_one()

    def _ended_one(self) -> None:
        self._asking -= 1
        if self._asking == 0:
            self._done.set()


class Open:
    """Requests are due at a fixed rate; one that finds no idle connection waits, and its waiting counts."""

    def __init__(self, order: Mapping[str, Any], requests: Iterator[bytes]) -> None:
        self.tally = Tally()
        self._requests = requests
        self._rate = float(order["rate"])
        self._order = order
        self._idle: deque[Asking] = deque()
        self._due: deque[float] = deque()
        self._left = 0
        self._done = asyncio.Event()

    async def run(self, seconds: float) -> None:
        connections = await _connect(self._order, self._answered, self._lost)
        self._idle.extend(connections)
        self._left = int(seconds * self._rate)
        start_s = time.perf_counter()
        for number in range(self._left):
            if (ahead_s := start_s + number / self._rate - time.perf_counter()) > 0:
                await asyncio.sleep(ahead_s)
            # Due from now: that our own timer (1 ms) woke us late is not the server's doing.
            self._due.append(time.perf_counter())
            self._ask_next()
        await asyncio.wait_for(self._done.wait(), 30)
        for connection in connections:
            connection.transport.abort()

    def _ask_next(self) -> None:
        if self._due and self._idle:
            self._idle.popleft().ask(next(self._requests), self._due.popleft())

    def _answered(self, connection: Asking, status: int, latency_s: float) -> None:
        self.tally.statuses[status] += 1
        self.tally.latencies_s.append(latency_s)
        self._idle.append(connection)
        self._ended_one()
        self._ask_next()

    def _lost(self, _: Asking) -> None:
        if not self._done.is_set():
            self.tally.lost += 1
            self._ended_one()

    def _ended_one(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._done.set()


async def _connect(order: Mapping[str, Any], idle: Any, lost: Any) -> list[Asking]:
    loop = asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(lambda: Asking(idle, lost), "127.0.0.1", order["port"])
        for _ in range(order["connections"])
    ]
    return [protocol for _, protocol in pairs]


async def measure(order: Mapping[str, Any]) -> Mapping[str, Any]:
    requests = _requests(order)
    await Closed(order, requests).run(order["warm_up_s"])
    loop = Open(order, requests) if order.get("rate") else Closed(order, requests)
    cpu_before_s, started_s = cpu_s(order["pid"]), time.perf_counter()
    await loop.run(order["seconds"])
    spent_s, took_s = cpu_s(order["pid"]) - cpu_before_s, time.perf_counter() - started_s
    tally = loop.tally
    calls = sum(tally.statuses.values())
    latencies_s = sorted(tally.latencies_s) or [float("nan")]
    return {
        "calls": calls,
        "lost": tally.lost,
        "statuses": {str(status): count for status, count in tally.statuses.items()},
        "cpu_us": 1e6 * spent_s / max(1, calls),
        "per_s": calls / took_s,
        "p50_ms": 1e3 * latencies_s[len(latencies_s) // 2],
        "p99_ms": 1e3 * latencies_s[int(len(latencies_s) * 0.99)],
    }


def _requests(order: Mapping[str, Any]) -> Iterator[bytes]:
    """The requests in turn, each with a number of its own where `counted` stands."""
    in_turn = itertools.cycle([text.encode() for text in order["requests"]])
    counted = order["counted"].encode()
    if not counted:
        return in_turn
    width = len(counted)
    return (text.replace(counted, b"%0*d" % (width, number % 10**width)) for number, text in enumerate(in_turn))


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(uvloop.run(measure(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
