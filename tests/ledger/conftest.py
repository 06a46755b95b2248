"""Every contract test runs over every kind of ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ledger.redis.stores import PATIENT_S, made_ready
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A server that behaves, for whoever asks for no fault."""
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        return made_ready(server.url, PATIENT_S)
    return "memory:" if request.param == "memory" else f"sqlite://{tmp_path / 'ledger.db'}"


@pytest.fixture(params=["memory", "sqlite"])
def journal_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """For what holds of a journal alone: where state is shared, an event stands in it once the store has answered."""
    return "memory:" if request.param == "memory" else f"sqlite://{tmp_path / 'ledger.db'}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a file ledger will be."""
    return tmp_path / "ledger.db"
