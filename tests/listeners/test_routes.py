"""The gate's own paths: matched exactly, one segment may be anything, and what is near is named."""

from __future__ import annotations

import pytest
from tests.wire.door import FakeCounts, FakeLog, small_bundle

from toolgate.core.model import Principal
from toolgate.listeners.answers import Answer, Caller, Request
from toolgate.listeners.routes import Respond, Routes, Visit
from toolgate.listeners.voice import Sampled, Voice

SAYS = Voice("admin", small_bundle, lambda: "own1", FakeCounts(), Sampled(FakeLog(), lambda: 0.0))


def saying(name: str) -> Respond:
    async def answer(visit: Visit) -> Answer:
        return visit.json({"name": name, "segment": visit.segment})

    return answer


ROUTES = Routes(
    {
        line: saying(line)
        for line in ("GET /-/asks", "GET /-/asks/{ask}", "POST /-/asks/{ask}/grant", "PUT /-/asks/{ask}", "GET /-/asks/all")
    },
    SAYS,
)  # fmt: skip


async def answered(method: str, path: str) -> bytes:
    answer = await ROUTES.answer(Request(method, path, "", {}, b""), Caller(Principal("ann")))
    return answer.body  # type: ignore[union-attr, return-value]


@pytest.mark.parametrize(
    ("method", "path", "line", "segment"),
    [
        ("GET", "/-/asks", "GET /-/asks", ""),
        ("GET", "/-/asks/a1", "GET /-/asks/{ask}", "a1"),
        ("PUT", "/-/asks/a1", "PUT /-/asks/{ask}", "a1"),
        ("POST", "/-/asks/a1/grant", "POST /-/asks/{ask}/grant", "a1"),
        ("GET", "/-/asks/all", "GET /-/asks/all", ""),
        ("GET", "/-/asks/grant", "GET /-/asks/{ask}", "grant"),
        ("GET", "/-/asks/sha256:0", "GET /-/asks/{ask}", "sha256:0"),
    ],
)
async def test_a_segment_stands_for_itself(method: str, path: str, line: str, segment: str) -> None:
    """What is written out goes before what is not; the segment arrives as it came."""
    assert b'{"name":"%b","segment":"%b"}' % (line.encode(), segment.encode()) == await answered(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/-/asks/"),
        ("GET", "/-/asks/a/b"),
        ("POST", "/-/asks/a1"),
        ("POST", "/-/asks//grant"),
        ("POST", "/-/asks/grant"),
        ("POST", "/-/asks/a/b/grant"),
        ("POST", "/-/asks/a1/grant/"),
        ("GET", "/-/asks/a1/grant"),
    ],
)
async def test_anything_else_is_not_there(method: str, path: str) -> None:
    """No segment is empty or two; a method that a path does not have is no path."""
    assert b'"code":"tool.unknown"' in await answered(method, path)
