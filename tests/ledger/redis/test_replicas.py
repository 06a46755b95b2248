"""Several gates, one store: together they spend what one may, and what one that died left is settled by its journal."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.redis.stores import kept, prefix_of
from tests.ledger.world import ledger_filter, opened
from tests.support.redis_server import RedisServer

from toolgate.core.journal import Verified
from toolgate.ledger import FileJournal
from toolgate.ledger.redis.recovery import own, writers

BUDGET = "b:daily:calls:ann:2026-11-22"


def replica(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.ledger.redis.replica", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))}  # noqa: PTH109 (text)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> dict[str, int]:
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return {word: int(number) for word, number in (line.split() for line in said.splitlines())}


def test_four_replicas_spend_what_one_may(server: RedisServer, url: str, tmp_path: Path) -> None:
    """INV7: 4 processes, 125 calls each at once against a budget of 100: exactly 100 are admitted, none fails."""
    gates = [replica("spend", url, tmp_path / f"{n}.db", 125, 100) for n in range(4)]
    said = [ended(gate) for gate in gates]
    assert sum(each["failed"] for each in said) == 0
    assert sum(each["admitted"] for each in said) == 100
    assert kept(url) == {BUDGET: 100}
    journals = [FileJournal(tmp_path / f"{n}.db") for n in range(4)]
    assert sum(len(journal.events(ledger_filter(kind="Decided"))) for journal in journals) == 100


@pytest.mark.parametrize("sent_before", [1, 60, 300])
def test_kill_9_under_load_leaves_no_balance_wrong(
    server: RedisServer, url: str, tmp_path: Path, sent_before: int
) -> None:
    """What was recorded is charged, what was not is given back, and each as its journal says: also by the third start."""
    journal = tmp_path / "ledger.db"
    sent: list[str] = []
    for _ in range(2):
        gate = replica("load", url, journal)
        assert gate.stdout is not None
        sent += [gate.stdout.readline().split()[1] for _ in range(sent_before)]
        gate.kill()
        rest, _ = gate.communicate(timeout=60)
        sent += [line.split()[1] for line in rest.splitlines() if line.startswith("sent ")]
    for _ in range(2):
        ended(replica("recover", url, journal))
        held = FileJournal(journal)
        assert isinstance(held.verify(), Verified)
        rows = [row.event for row in held.events(ledger_filter())]
        permitted = {event["call"] for event in rows if event["event"] == "Decided"}
        assert set(sent) <= permitted
        assert kept(url) == said_by(rows)
        assert server.ask("KEYS", f"{{{prefix_of(url)}}}:open:*") == []
        assert server.ask("ZCARD", f"{{{prefix_of(url)}}}:place:c:in-flight:ann") == 0


async def test_a_journal_knows_its_writers_also_when_their_first_lines_are_pruned(tmp_path: Path) -> None:
    """The leases of a gate that ran for longer than its journal is kept are settled all the same: the next writer names it."""
    for _ in range(3):
        await opened(tmp_path / "ledger.db").close()
    journal = FileJournal(tmp_path / "ledger.db")
    rows = journal.events(ledger_filter(kind="WriterStarted", order="newest"))
    third, second, first = [row.event["writer"] for row in rows]
    assert writers(journal) == [third, second, first]
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("delete from events where row <= ?", (rows[1].row,))
    db.close()
    assert own([second, first], journal) == [second]


def said_by(rows: list[Any]) -> dict[str, int]:
    """The balances that follow from a journal: what was held, less what was given back, and what was taken more."""
    calls = usd = 0
    for event in rows:
        if event["event"] == "Decided":
            calls, usd = calls + 1, usd + 10
        for each in event.get("refunds", ()):
            calls -= each["amount"] * (each["key"] == "calls")
            usd -= each["amount"] * (each["key"] == "usd")
        for each in event.get("extra", ()):
            usd += each["amount"]
    return {"calls": calls, "usd": usd}
