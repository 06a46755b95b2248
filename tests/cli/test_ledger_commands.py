"""`toolgate ledger`: a store made ready, looked at, and filled from a file, by a person and on a real server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from tests.support.redis_server import RedisServer

from toolgate import ledger as ledgers
from toolgate.core import runs
from toolgate.core.model import Charge, Event, Freeze, Rolling

NOW_MS = time.time_ns() // 1_000_000  # windows that are over by the server's clock are not brought along
TODAY = f"b:daily:calls:ann:{datetime.fromtimestamp(NOW_MS / 1000, UTC):%Y-%m-%d}"
Toolgate = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as own:
        yield own


@pytest.fixture
def shared(folder: Path, server: RedisServer, toolgate: Toolgate) -> Callable[..., Result]:
    """`toolgate ledger …` with settings that name the server."""
    key = "ab" * 32
    (folder / "toolgate.yaml").write_text(
        f'environment: prod\nledger: {server.url}\nkeys: {{mask: "${{env:KEY}}", run: "${{env:KEY}}"}}\n'
    )
    return lambda *words: toolgate("ledger", *words, KEY=key)


def test_a_store_is_made_ready_once(shared: Callable[..., Result], server: RedisServer) -> None:
    """`init` twice is `init` once; `--accept-loss` begins anew with what is there."""
    first, again = shared("init"), shared("init")
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert first.output.endswith("is ready\n")
    assert again.output.endswith("was ready before; nothing was changed\n")
    epoch = server.ask("GET", "{toolgate}:epoch")
    anew = shared("init", "--accept-loss")
    assert "was begun anew with what it has" in anew.output
    assert server.ask("GET", "{toolgate}:epoch") != epoch


def test_a_store_that_lost_something_is_not_ready(shared: Callable[..., Result], server: RedisServer) -> None:
    """Once a gate has seen that keys were thrown away, `init` and `status` say so, until the loss is taken."""
    shared("init")
    server.ask("SET", "{toolgate}:evicted", server.ask("GET", "{toolgate}:epoch"))
    again, status = shared("init"), shared("status")
    assert (again.exit_code, "run `toolgate ledger init --accept-loss`" in again.stderr) == (3, True)
    assert (status.exit_code, "has thrown keys away" in status.output) == (1, True)
    assert shared("init", "--accept-loss").exit_code == 0
    assert shared("status").exit_code == 0


def test_status_says_whether_gates_can_use_it(shared: Callable[..., Result], server: RedisServer) -> None:
    """Exit code 1 while they cannot, and why."""
    before = shared("status")
    assert (before.exit_code, "never: run `toolgate ledger init`" in before.output) == (1, True)
    shared("init")
    ready = shared("status", "--json")
    told = json.loads(ready.output)
    assert (ready.exit_code, told["unfit"], told["open_calls"], told["persistence"]) == (0, None, 0, "append-only file")
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    unfit = shared("status")
    assert unfit.exit_code == 1
    assert "set its `maxmemory-policy` to `noeviction`" in unfit.output
    assert shared("init").exit_code == 3


def test_a_file_is_brought_into_the_store_once(
    shared: Callable[..., Result], server: RedisServer, folder: Path
) -> None:
    """What was spent and frozen before stays so; twice is once."""
    shared("init")
    asyncio.run(spend(folder / "old.db"))
    done = shared("migrate", "old.db")
    assert (done.exit_code, done.output.startswith("2 balances of `old.db` added")) == (0, True)
    assert server.ask("HGET", f"{{toolgate}}:taken:{TODAY}", "taken") == b"3"
    assert server.ask("HGET", "{toolgate}:taken:b:hour:calls:ann", NOW_MS // 60_000) == b"2"
    assert server.ask("HKEYS", "{toolgate}:freezes") == [b"tool:metrics"]
    twice = shared("migrate", "old.db")
    assert (twice.exit_code, twice.output.startswith("0 balances of `old.db` added")) == (0, True)
    assert server.ask("HGET", f"{{toolgate}}:taken:{TODAY}", "taken") == b"3"


def test_a_file_that_comes_again_brings_what_is_new(
    shared: Callable[..., Result], server: RedisServer, folder: Path
) -> None:
    """A gate that went on with its own ledger after a first try: only what it has spent since then is added."""
    shared("init")
    for _ in range(2):
        asyncio.run(spend(folder / "old.db"))
        assert shared("migrate", "old.db").output.startswith("2 balances of `old.db` added")
    assert server.ask("HGET", f"{{toolgate}}:taken:{TODAY}", "taken") == b"6"


def test_what_is_no_ledger_is_left_alone(shared: Callable[..., Result], folder: Path) -> None:
    """A file that is not there is not made, and one of somebody else is not touched."""
    shared("init")
    (folder / "notes.txt").write_text("milk")
    (folder / "empty.db").touch()
    before = sorted(folder.iterdir())
    for name, says in (
        ("old.db", "there is no journal at `old.db`"),
        ("notes.txt", "`notes.txt` cannot be read"),
        ("empty.db", "`empty.db` is not a journal of the gate"),
    ):
        refused = shared("migrate", name)
        assert (refused.exit_code, says in refused.stderr) == (3, True), refused.stderr
    assert sorted(folder.iterdir()) == before


async def spend(file: Path) -> None:
    held = ledgers.open(f"sqlite://{file}", clock=lambda: NOW_MS)
    charges = [Charge(TODAY, 3, 9), Charge("b:hour:calls:ann", 2, 9, Rolling(NOW_MS // 60_000))]
    await held.record(Event("Decided", NOW_MS, {"number": 1, "decision": "permit"}, "call", "run"), charges)
    await held.record(runs.switched("freeze", "tool", "metrics", Freeze("ann", "why", NOW_MS)), ())
    await held.close()


def test_an_own_ledger_needs_nothing(toolgate: Toolgate, folder: Path) -> None:
    """A file or memory is the gate's own affair."""
    (folder / "toolgate.yaml").write_text("environment: prod\nledger: 'memory:'\n")
    assert "needs nothing" in toolgate("ledger", "init").output
    assert "is this gate's own" in toolgate("ledger", "status").output
    (folder / "old.db").touch()
    assert toolgate("ledger", "migrate", "old.db").exit_code == 2


def test_a_store_that_is_not_there_is_named_and_its_secrets_are_not(toolgate: Toolgate, folder: Path) -> None:
    """One sentence, exit code 3; a password that cannot be read is named by its setting."""
    text = "environment: prod\nledger: redis://127.0.0.1:1/0\nkeys: {mask: '${env:KEY}', run: '${env:KEY}'}\n"
    (folder / "toolgate.yaml").write_text(text)
    gone = toolgate("ledger", "init", KEY="ab" * 32)
    assert (gone.exit_code, "`redis://127.0.0.1:1/0` cannot be reached" in gone.stderr) == (3, True)
    (folder / "toolgate.yaml").write_text(text + "redis: {password: '${env:NOT_SET}'}\n")
    unread = toolgate("ledger", "init", KEY="ab" * 32)
    assert (unread.exit_code, "wants a password that cannot be read (`redis.password`)" in unread.stderr) == (3, True)
