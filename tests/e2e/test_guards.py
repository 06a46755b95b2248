"""Budgets, limits and the kill switch before a real upstream that writes down whatever reaches it.

RULE: what the upstream's book says is compared with what agents were told and with the journal; no number is the gate's own.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httptools
import pytest
from tests.e2e.world import Heard, ask
from tests.support.gate import Gate
from tests.support.home import build, tool, write
from tests.support.load import Load, reads, writes
from tests.support.upstream import Upstream
from tests.support.waiting import until

_ALL_AT_ONCE = {"connections": 600, "in_flight": 600, "queue": 600}


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(tmp_path / "book") as started:
        yield started


def _gate(home: Path, upstream: Upstream, budgets: Mapping[str, Any], **settings: Any) -> Gate:
    """A gate before the upstream whose policies folder has these budgets."""
    build(home, tool(upstream.url), **settings)
    write(home / "policies" / "budgets.yaml", budgets)
    return Gate(home)


def _calls(given: int, **more: Any) -> dict[str, Any]:
    return {"budgets": [{"name": "few", "scope": ["principal"], "calls": given, **more}]}


def _operate(gate: Gate, path: str, **body: Any) -> Heard:
    heard = ask(gate.ports["admin"], "POST", path, body)
    assert heard.status == 200, heard.content
    return heard


class _Asking(asyncio.Protocol):
    """One connection, one request; the status of its answer."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport = transport

    def ask(self) -> None:
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.status.set_result(self._parser.get_status_code())
        self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.status.done():
            self.status.set_exception(ConnectionError("closed without an answer"))


async def _at_once(port: int, count: int) -> Counter[int]:
    """Connect so many agents first, then have all of them ask."""
    loop = asyncio.get_running_loop()
    asking = []
    for number in range(count):
        request = f"GET /store/items/plain-{number} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        _, protocol = await loop.create_connection(lambda request=request: _Asking(request), "127.0.0.1", port)
        asking.append(protocol)
    for each in asking:
        each.ask()
    return Counter(await asyncio.gather(*(each.status for each in asking)))


@pytest.mark.parametrize("ledger", ["memory:", "sqlite:state/ledger.db"])
async def test_500_calls_at_once_against_a_budget_of_100(tmp_path: Path, upstream: Upstream, ledger: str) -> None:
    """Exactly 100 are answered and exactly 100 have reached the upstream, however they interleave."""
    with _gate(tmp_path / "home", upstream, _calls(100), ledger=ledger, limits=_ALL_AT_ONCE) as gate:
        statuses = await _at_once(gate.ports["agent"], 500)
        assert statuses == {200: 100, 403: 400}
        assert len(upstream.ids) == len(set(upstream.ids)) == 100


def test_a_call_that_was_surely_not_sent_is_given_back(tmp_path: Path, upstream: Upstream) -> None:
    """`sent: no` costs nothing: a budget of one call survives an upstream that is away."""
    home = tmp_path / "home"
    with _gate(home, upstream, _calls(1)) as gate:
        away = json.loads((home / "toolspecs" / "store" / "tool.yaml").read_text())
        away["environments"]["prod"]["upstream"] = "http://127.0.0.1:1"
        loaded = until(lambda: gate.bundles_loaded, "the first bundle is journaled")
        write(home / "toolspecs" / "store" / "tool.yaml", away)
        until(lambda: gate.bundles_loaded > loaded, "the reload")
        assert [gate.get(f"plain-{number}").json["code"] for number in range(2)] == ["upstream.unreachable"] * 2
        write(home / "toolspecs" / "store" / "tool.yaml", tool(upstream.url))
        until(lambda: gate.bundles_loaded > loaded + 1, "the second reload")
        assert [gate.get(f"plain-{number}").status for number in range(2)] == [200, 403]
        assert len(upstream.ids) == 1


def test_a_call_whose_end_nobody_knows_is_charged(tmp_path: Path, upstream: Upstream) -> None:
    """`sent: unknown` may have acted, so it counts."""
    with _gate(tmp_path / "home", upstream, _calls(1)) as gate:
        assert gate.get("mute-1").json["sent"] == "unknown"
        assert gate.get("plain-1").json["code"] == "budget.exhausted"


def test_a_stream_holds_its_place_until_it_ends(tmp_path: Path, upstream: Upstream) -> None:
    """Concurrency counts a reply that still flows; its end gives the place back and settles the call."""
    budgets = {"limits": [{"name": "one", "scope": ["principal"], "concurrency": 1}]}
    with _gate(tmp_path / "home", upstream, budgets) as gate:
        begun = gate.begin("GET", "/store/items/stream-1")
        answer = begun.getresponse()
        assert answer.read(9) == b"data: 1\n\n"
        refused = gate.get("plain-1")
        assert (refused.status, refused.json["code"]) == (429, "limit.concurrency")
        assert int(refused.headers["retry-after"]) >= 1
        upstream.released.set()
        assert answer.read() == b"data: 2\n\n"
        until(lambda: gate.get("plain-2").status == 200, "the place is free again")


def test_an_agent_that_goes_away_leaves_its_place(tmp_path: Path, upstream: Upstream) -> None:
    """A stream nobody reads any more is ended, settled and gives its place back."""
    budgets = {"limits": [{"name": "one", "scope": ["principal"], "concurrency": 1}]}
    with _gate(tmp_path / "home", upstream, budgets) as gate:
        begun = gate.begin("GET", "/store/items/endless-1")
        assert begun.getresponse().read(100)
        assert gate.get("plain-1").status == 429
        begun.close()
        until(lambda: gate.get("plain-2").status == 200, "the place is free again")


def test_the_bytes_of_a_stream_are_charged_when_it_ends(tmp_path: Path, upstream: Upstream) -> None:
    """What a reply weighed is taken of the budget once it is known, and the next call is refused."""
    budgets = {"budgets": [{"name": "volume", "scope": ["principal"], "bytes": 15}]}
    with _gate(tmp_path / "home", upstream, budgets) as gate:
        upstream.released.set()
        assert gate.get("stream-1").content == b"data: 1\n\ndata: 2\n\n"
        gate.finished(1)
        assert gate.get("plain-1").json["code"] == "budget.exhausted"


def test_a_rate_asks_to_wait_and_says_how_long(tmp_path: Path, upstream: Upstream) -> None:
    """Beyond the burst a call is told when to come again, in the header and in the problem."""
    budgets = {"limits": [{"name": "slow", "scope": ["principal"], "rate": "1/min", "burst": 2}]}
    with _gate(tmp_path / "home", upstream, budgets) as gate:
        heard = [gate.get(f"plain-{number}") for number in range(3)]
        assert [each.status for each in heard] == [200, 200, 429]
        assert 50 <= int(heard[-1].headers["retry-after"]) <= 60
        assert heard[-1].json["recovery"]["action"] == "wait"


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ({"everything": True}, "gateway.frozen"),
        ({"principal": "agent"}, "gateway.frozen"),
        ({"tool": "store"}, "tool.disabled"),
    ],
    ids=["everything", "principal", "tool"],
)
def test_the_kill_switch_is_immediate_under_load(
    tmp_path: Path, upstream: Upstream, named: dict[str, Any], code: str
) -> None:
    """Once a freeze is answered, nothing that was asked for after it reaches the upstream; a thaw lets calls through again."""
    with _gate(tmp_path / "home", upstream, {}) as gate, Load(gate.ports["agent"], "a", mix=(reads, writes)) as load:
        until(lambda: len(upstream.ids) > 50, "the load runs")
        assert _operate(gate, "/-/freeze", **named, why="drill").json["known"]
        after = [gate.get(f"plain-after-{number}") for number in range(20)]
        assert [each.json["code"] for each in after] == [code] * 20
        until(lambda: load.codes == {code}, "every worker is told")
        seen = len(upstream.ids)
        assert [gate.put(f"plain-later-{number}").json["code"] for number in range(20)] == [code] * 20
        assert len(upstream.ids) == seen
        assert "drill" in after[0].json["detail"]
        _operate(gate, "/-/thaw", **named, why="drill over")
        until(lambda: len(upstream.ids) > seen, "calls go through again")
    assert not {item for item in upstream.ids if "after" in item or "later" in item}


def test_a_freeze_survives_a_restart(tmp_path: Path, upstream: Upstream) -> None:
    """Neither a stop nor `kill -9` thaws anything; who froze it and why is still known."""
    with _gate(tmp_path / "home", upstream, {}) as gate:
        assert gate.get("plain-1").status == 200
        _operate(gate, "/-/freeze", everything=True, why="drill")
        gate.kill()
        gate.start()
        assert gate.get("plain-2").json["code"] == "gateway.frozen"
        (listed,) = ask(gate.ports["admin"], "GET", "/-/freezes").json["freezes"]
        assert (listed["kind"], listed["why"]) == ("everything", "drill")
        assert gate.stop() == 0
        gate.start()
        assert gate.get("plain-3").json["code"] == "gateway.frozen"
        _operate(gate, "/-/thaw", everything=True, why="drill over")
        assert gate.get("plain-4").status == 200
        assert upstream.ids == ["plain-1", "plain-4"]
        assert [event["action"] for event in gate.events("KillSwitch")] == ["freeze", "thaw"]


def test_a_frozen_run_stops_alone(tmp_path: Path, upstream: Upstream) -> None:
    """One run of a principal is frozen; its other runs go on."""
    with _gate(tmp_path / "home", upstream, {}) as gate:
        first, second = (gate.call("POST", "/-/runs", {}).json for _ in range(2))
        _operate(gate, "/-/freeze", run=first["run"], why="drill")
        told = [gate.call("GET", "/store/items/plain-1", **{"Toolgate-Run": each["token"]}) for each in (first, second)]
        assert [each.status for each in told] == [403, 200]
        assert told[0].json["code"] == "run.stopped"


def test_kill_9_under_load_spends_no_more_than_given(tmp_path: Path, upstream: Upstream) -> None:
    """Whatever a crash interrupts, all starts together send what one start may: never more, and what was sent is charged."""
    with _gate(tmp_path / "home", upstream, _calls(300)) as gate:
        for number in range(3):
            with Load(gate.ports["agent"], f"round{number}", mix=(reads, writes)):
                seen = len(upstream.ids)
                until(lambda seen=seen: len(upstream.ids) > seen + 40, "the load runs")
                gate.kill()
            gate.start()
        with Load(gate.ports["agent"], "last", mix=(reads, writes)) as load:
            until(lambda: "budget.exhausted" in load.codes, "the budget is used up")
        permitted = [event for event in gate.events("Decided") if event["decision"] == "permit"]
        assert len(permitted) == 300
        assert 300 - 3 * load.workers <= len(upstream.ids) <= 300
        assert gate.get("plain-no-more").json["code"] == "budget.exhausted"
