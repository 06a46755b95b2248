"""A server of the test's own, to be misused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.ledger.redis.stores import made_ready
from tests.support.redis_server import RedisServer


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as own:
        yield own


@pytest.fixture
def url(server: RedisServer) -> str:
    """A store on it, ready."""
    return made_ready(server.url)
