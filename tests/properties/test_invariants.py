"""Invariants of a running gate, checked from outside it: by the upstream, by other parsers, by looking at every byte (SAFETY §4)."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.e2e.world import ask
from tests.support.books import assert_every_permit_ended_once, permits
from tests.support.scenes import Scene, served
from tests.support.upstream import Seen
from tests.support.waiting import until
from tests.wire.door import heard
from tests.wire.test_any_bytes import END, body_expected, mutated

from toolgate.core.bundle import Bundle
from toolgate.core.codes import CODES
from toolgate.core.model import Named, Principal
from toolgate.exchange import World
from toolgate.gateway import Gateway
from toolgate.load.bundle import Sources, load
from toolgate.ports import LedgerError
from toolgate.testing.fakes import FakeClock, FakeLedger, FakeMeter, FakeUpstream, no_mask

CANARY = "canary-7Fq2pZ9xW4"
NUMBERS = count()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One gate for every example of every property."""
    with served(tmp_path_factory.mktemp("invariants") / "home") as scene:
        yield scene
        assert scene.gate.get("plain-last").status == 200
        assert scene.gate.stop() == 0
        scene.assert_books_agree()
        assert_every_permit_ended_once(scene.gate)


# -- INV1 · INV4 · INV11 ---------------------------------------------------------------------------------------


def test_the_permit_is_committed_when_the_upstream_hears_of_it(tmp_path: Path) -> None:
    """INV1: the upstream itself looks into the journal as each request arrives, and finds its permit there, committed."""
    missing: list[str] = []
    ledger = tmp_path / "home" / "state" / "ledger.db"

    def witness(seen: Seen) -> None:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=5)) as db:
            found = db.execute(
                "select count(*) from events where kind = 'Decided' and code is null and instr(line, ?)",
                (json.dumps(seen.id),),
            ).fetchone()
        if found != (1,):
            missing.append(seen.id)

    with served(tmp_path / "home", witness=witness) as scene:
        with scene.load("witness") as load:
            until(lambda: len(scene.upstream.seen) > 400, "the load flows")
        assert scene.gate.stop() == 0
        assert missing == []
        scene.assert_books_agree(load)


def test_every_call_stands_in_the_journal_once(tmp_path: Path) -> None:
    """INV4: as many decisions as answers, each under the id the agent was given; each permit ended once; nothing on top."""
    with served(tmp_path / "home") as scene:
        with scene.load("count") as load:
            until(lambda: len(load.answers) > 600, "the load flows")
        assert scene.gate.stop() == 0

        told = {heard.headers["toolgate-call"] for heard in load.answers.values() if heard}
        decided = [event["call"] for event in scene.gate.events("Decided")]
        assert len(decided) == len(set(decided)) == len(load.answers)
        assert told <= set(decided)
        torn = [item for item, answer in load.answers.items() if answer is None]
        assert all(item.startswith("torn-") for item in torn)
        assert Counter(scene.seen) == Counter(permits(scene.gate).keys())
        assert_every_permit_ended_once(scene.gate)
        numbers = [event["number"] for event in scene.gate.events("Decided")]
        assert sorted(numbers) == list(range(1, len(decided) + 1))
        scene.assert_books_agree(load)


# -- INV2: whatever breaks before the permit is committed, nothing is sent ----------------------------------------


class Breaks:
    """A world in which one thing raises."""

    def __init__(self, bundle: Bundle, what: str, error: BaseException) -> None:
        def broken(*_given: object, **_named: object) -> Any:
            raise error

        async def broken_later(*_given: object) -> Any:
            raise error

        self.upstream, self.meter, clock, ids = FakeUpstream(), FakeMeter(), FakeClock(), count()
        ledger = FakeLedger()
        world = World(
            ledger=ledger,
            upstream=self.upstream,
            meter=self.meter,
            mask=no_mask,
            now_ms=clock.now_ms,
            monotonic_s=clock.monotonic_s,
            new_id=lambda _: f"call-{next(ids)}",
        )
        part, _, method = what.partition(".")
        if method:
            setattr(ledger, method, broken_later if method in {"record", "append"} else broken)
        else:
            world = replace(world, **{part: broken})
        self.gateway = Gateway(world, bundle)


STAGES = ("ledger.facts", "ledger.next_in_run", "ledger.record", "mask", "now_ms", "monotonic_s", "new_id")
ERRORS: tuple[BaseException, ...] = (
    RuntimeError("broken"),
    LedgerError("broken"),
    TimeoutError(),
    RecursionError(),
    MemoryError(),
    UnicodeError("broken"),
    StopAsyncIteration(),
    asyncio.CancelledError(),
    SystemExit(1),
    KeyboardInterrupt(),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_sent_whatever_breaks_before(scene: Scene, stage: str, error: BaseException) -> None:
    """INV2: an exception of any kind at any stage before the permit is written never forwards the call."""
    home = scene.gate.home
    bundle = load(Sources(home / "toolspecs", home / "policies", "prod", ("dev", "prod")))
    bundle.policies.reads_run = True  # as where a statement does: then every stage is asked
    breaks = Breaks(bundle, stage, error)

    async def call() -> None:
        made = breaks.gateway.new_call(Principal("agent"), Named("store.getItem", {"id": "plain-1"}))
        await breaks.gateway.handle(made)

    with suppress(BaseException):
        asyncio.run(call())

    assert breaks.upstream.sent == []


# -- INV18: what another parser reads from the wire is what was judged ----------------------------------------------

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp")), min_size=1, max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NOTES = st.fixed_dictionaries(
    {"text": st.text(max_size=30)},
    optional={
        "count": st.integers(-(2**63), 2**64 - 1),
        "share": st.floats(allow_nan=False, allow_infinity=False),
        "done": st.booleans(),
        "more": VALUES,
    },
)
ARGUMENTS = st.fixed_dictionaries(
    {"body": NOTES},
    optional={
        "tags": st.lists(TEXT, min_size=1, max_size=3),
        "page": st.integers(-(2**31), 2**31),
        "X-Origin-Of": st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20),
    },
)


@settings(max_examples=150)
@given(
    ARGUMENTS,
    st.text(
        st.characters(min_codepoint=0x20, max_codepoint=0x2FFF, exclude_categories=("Cs", "Cc", "Cf")), max_size=10
    ),
)
def test_what_the_upstream_reads_is_what_was_judged(scene: Scene, arguments: dict[str, Any], tail: str) -> None:
    """INV18: h11, urllib and json read from the bytes the very values that the journal says were permitted."""
    item = f"plain-{next(NUMBERS)}-{tail}"
    before = len(scene.upstream.seen)
    answer = scene.gate.call("POST", "/-/call", {"operation": "store.addNote", "arguments": {"id": item, **arguments}})
    if answer.status != 200:
        assert answer.json["sent"] == "no"
        assert answer.json["code"].startswith("arguments.")
        assert len(scene.upstream.seen) == before
        return

    [seen] = scene.upstream.seen[before:]
    [permit] = permits_of(scene, answer.headers["toolgate-call"])
    said = permit["arguments"]
    query = parse_qsl(
        seen.target.partition("?")[2], keep_blank_values=True, strict_parsing=bool(seen.target.partition("?")[2])
    )
    assert (seen.method, seen.target.partition("?")[0].count("/"), seen.id) == ("POST", 2, item)
    assert exactly({"id": seen.id, **read_query(query), **read_header(seen), "body": json.loads(seen.body)}) == exactly(
        {"id": item, **arguments}
    )
    assert exactly(readable(said)) == exactly({"id": item, **arguments})


def permits_of(scene: Scene, call: str) -> list[dict[str, Any]]:
    return [dict(row.event) for row in scene.gate.journal.call(call) if row.event["event"] == "Decided"]


def read_query(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    assert {name for name, _ in pairs} <= {"tags", "page"}
    tags = [value for name, value in pairs if name == "tags"]
    pages = [int(value) for name, value in pairs if name == "page"]
    assert len(pages) <= 1
    return ({"tags": tags} if tags else {}) | ({"page": pages[0]} if pages else {})


def read_header(seen: Seen) -> dict[str, Any]:
    values = [value for name, value in seen.headers if name == "x-origin-of"]
    assert len(values) <= 1
    return {"X-Origin-Of": values[0]} if values else {}


def readable(value: Any) -> Any:
    """A journal's integers beyond 64 bits of sign, as they were."""
    match value:
        case {"$integer": digits}:
            return int(digits)
        case dict():
            return {key: readable(each) for key, each in value.items()}
        case list():
            return [readable(each) for each in value]
    return value


def exactly(value: Any) -> str:
    """JSON text in which 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True)


# -- INV13: any bytes to the real thing -----------------------------------------------------------------------------


@settings(max_examples=150)
@given(st.binary(max_size=300) | mutated())
def test_any_bytes_get_a_typed_answer(scene: Scene, sent: bytes) -> None:
    """INV13: with everything behind the door real: codes of the table, never a traceback, and nothing sent that was not asked for."""
    before = len(scene.upstream.seen)
    host = b"Host: 127.0.0.1:%d\r\n" % scene.gate.ports["agent"]
    received = spoken(scene.gate.ports["agent"], sent.replace(b"{H}", host) + END)
    methods = ["GET" if body_expected(part) else "HEAD" for part in received.split(b"HTTP/1.1 ")[1:]]
    for answer in heard(received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"), *methods):
        assert b"Traceback" not in answer.body
        if answer.headers["content-type"] == "application/problem+json" and answer.body:
            assert CODES[answer.problem["code"]].status == answer.status
            assert answer.code != "internal.error"
    assert len(scene.upstream.seen) == before


def spoken(port: int, sent: bytes) -> bytes:
    """Send, say that that was all, and read to the end."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as talk, suppress(ConnectionError):
        talk.sendall(sent)
        talk.shutdown(socket.SHUT_WR)
        while data := talk.recv(65536):
            received += data
    return received


# -- INV15: a secret is nowhere but on its way up --------------------------------------------------------------------


def test_a_credential_is_nowhere_but_on_its_way_up(tmp_path: Path) -> None:
    """INV15: whatever is asked and whatever breaks, the canary is in no answer, log, metric, journal, file or argument."""
    secret = tmp_path / "token"
    secret.write_text(CANARY)
    credentials = {"header": "Authorization", "value": f"Bearer ${{file:{secret}}}"}
    with served(tmp_path / "home", environment={"credentials": credentials}) as scene:
        gate = scene.gate
        answers = [gate.get(f"{how}-1") for how in ("plain", "echo", "cut", "mute", "garbage", "drip")]
        answers += [gate.put("echo-2"), gate.call("GET", "/store/quick/held-1"), gate.call("DELETE", "/store/items/no")]
        answers += [
            gate.call("GET", path) for path in ("/-/tools", "/-/environment", "/-/openapi.json", "/-/tools?format=mcp")
        ]
        named = {"operation": "store.getItem", "arguments": {"id": "plain-3"}}
        answers += [gate.call("POST", "/-/explain", named), gate.call("GET", f"/store/items/{CANARY[:5]}")]
        answers += [
            ask(gate.ports["admin"], "GET", path) for path in ("/-/bundle", "/-/journal", "/-/runs", "/-/ready")
        ]
        answers += [ask(gate.ports["admin"], "POST", "/-/reload"), ask(gate.ports["health"], "GET", "/metrics")]
        answers.append(gate.ready())
        secret.write_text("")
        answers.append(gate.get("plain-4"))
        proc = Path(f"/proc/{gate.process.pid}")
        outside = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        assert "0 " in next(line for line in (proc / "limits").read_text().splitlines() if "core file" in line)
        gate.stop()

        carried = [seen for seen in scene.upstream.seen if ("authorization", f"Bearer {CANARY}") in seen.headers]
        assert len(carried) == len(scene.upstream.seen) >= 8
        files = [path for path in scene.gate.home.rglob("*") if path.is_file()]
        written = b"".join(path.read_bytes() for path in files)
        for text in (CANARY.encode(), b64(CANARY), b64(f"Bearer {CANARY}")):
            assert not [heard for heard in answers if text in heard.content or text in repr(heard.headers).encode()]
            assert text not in written
            assert text not in outside


def b64(text: str) -> bytes:
    """The part of its base64 that does not depend on what stands after it."""
    return b64encode(text.encode())[: len(text) // 3 * 4]


# -- INV10 · INV19: bounded in time and size ---------------------------------------------------------------------


@pytest.mark.parametrize("floods", [3, pytest.param(30, marks=pytest.mark.soak)])
def test_floods_leave_nothing_behind(tmp_path: Path, floods: int) -> None:
    """INV19: floods of every cheap kind; afterwards memory, files and series are what they were."""
    with served(tmp_path / "home", limits={"header_timeout_s": 0.5, "body_timeout_s": 0.5}) as scene:
        gate = scene.gate
        flood(scene, 1)
        until(lambda: connections(scene) == 0, "all connections are closed")
        memory, files, series = gate.status("VmRSS"), gate.open_files, len(metrics(scene).splitlines())
        for number in range(2, 2 + floods):
            flood(scene, number)
        until(lambda: connections(scene) == 0, "all connections are closed")
        until(lambda: gate.open_files <= files + 2, "all files are closed")

        assert gate.status("VmRSS") - memory < 12 * 1024
        assert len(metrics(scene).splitlines()) < series + len(CODES)  # each flood brings 200 names
        assert b"tool1_" not in metrics(scene)
        assert gate.get("plain-after").status == 200
        assert gate.stop() == 0
        scene.assert_books_agree()


def connections(scene: Scene) -> int:
    """Connections on the agents' door, counted by the kernel."""
    port = f":{scene.gate.ports['agent']:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" for row in rows)


def metrics(scene: Scene) -> bytes:
    return ask(scene.gate.ports["health"], "GET", "/metrics").content


def flood(scene: Scene, number: int) -> None:
    """Half-open heads, half-sent bodies, unknown names by the hundred, too many connections, refused calls, large bodies."""
    port = scene.gate.ports["agent"]
    host = b"Host: 127.0.0.1:%d\r\n" % port
    openings = (
        b"GET /store/items/plain-1 HTTP/1.1\r\n" + host + b"X-A: ",
        b"PUT /store/items/plain-1 HTTP/1.1\r\n"
        + host
        + b"Content-Type: application/json\r\nContent-Length: 900000\r\n\r\n{",
        b"",
    )
    peers = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    for peer, opening in zip(peers, openings * 100, strict=True):
        with suppress(OSError):
            peer.sendall(opening)
    with scene.load(f"flood{number}", workers=2) as load:
        until(lambda: len(load.answers) > 60, "calls are answered beside it")
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    with closing(connection):
        for name in range(200):
            connection.request("GET", f"/tool{number}_{name}/{'x' * 1000}?{name}=1")
            connection.getresponse().read()
        for size in range(8):
            connection.request("PUT", "/store/items/no-1", body=b"[" * (1 << 19) + bytes((size,)))
            connection.getresponse().read()
    for peer in peers:
        peer.close()
