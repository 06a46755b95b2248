"""Gates that share a store, each a process with a home and a journal of its own, before one upstream.

RULE: they know of each other by the store alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.gate import Gate
from tests.support.home import build, tool
from tests.support.redis_server import RedisServer
from tests.support.upstream import Upstream, book_of

from toolgate.ledger.redis.address import Access
from toolgate.ledger.redis.opening import reach
from toolgate.ledger.redis.upkeep import balances, begin


@dataclass(frozen=True, slots=True)
class Replicas:
    """Running gates, the store they share, and the book of what their upstream saw."""

    gates: list[Gate]
    store: RedisServer
    book: Path

    @property
    def seen(self) -> list[str]:
        return book_of(self.book)

    @property
    def kept(self) -> dict[str, int]:
        """What the store itself says is taken."""
        store = reach(self.store.url, Access())
        try:
            return balances(store)
        finally:
            store.close()

    def permits(self) -> list[str]:
        """Every permitted call of every journal."""
        return [call["call"] for gate in self.gates for call in gate.events("Decided") if call["decision"] == "permit"]


@contextmanager
def shared_store() -> Iterator[RedisServer]:
    """A server with a store on it, ready."""
    with RedisServer() as server:
        store = reach(server.url, Access())
        begin(store, "first", 0)
        store.close()
        yield server


def a_home(folder: Path, upstream: Upstream, store: RedisServer, budgets: dict[str, Any]) -> Path:
    settings = {
        "ledger": store.url,
        "redis": {"journal": "sqlite:state/ledger.db"},
        "keys": {"mask": "${file:key}", "run": "${file:key}"},
        "limits": {"in_flight": 256, "queue": 512},
    }
    folder.mkdir()
    (folder / "key").write_text("ab" * 32)
    build(folder, tool(upstream.url), **settings)
    (folder / "policies" / "budgets.yaml").write_text(json.dumps(budgets))
    return folder


@contextmanager
def replicas(folder: Path, count: int, calls: int) -> Iterator[Replicas]:
    """So many gates that may make so many calls together."""
    book = folder / "book.txt"
    budgets = {"budgets": [{"name": "all", "scope": ["principal"], "calls": calls}]}
    with ExitStack() as stack:
        store = stack.enter_context(shared_store())
        upstream = stack.enter_context(Upstream(book))
        homes = [a_home(folder / f"gate-{n}", upstream, store, budgets) for n in range(count)]
        yield Replicas([stack.enter_context(Gate(home)) for home in homes], store, book)
