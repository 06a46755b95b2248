"""Parts A to D of the attack catalogue over raw sockets: refused with a type, closed, and nothing behind them runs."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from tests.wire.attacks import PASSED, REFUSED, Passed, Refused
from tests.wire.coverage import COVERAGE, Later
from tests.wire.door import RUNS, heard, opened

from toolgate.core.codes import CODES
from toolgate.core.model import OpenedRun, Principal

TESTS = Path(__file__).resolve().parents[1]
CATALOGUE_FILE = TESTS.parents[1] / "shared" / "attacks.jsonl"
# How many attacks each part of the catalogue has.
CATALOGUE = {
    "A": 23, "B": 15, "C": 15, "D": 10, "E": 11, "F": 16, "G": 10, "H": 7, "I": 9, "J": 15, "K": 17, "L": 18, "M": 17,
    "N": 8, "O": 9, "P": 6, "Q": 7,
}  # fmt: skip


@pytest.mark.parametrize("attack", REFUSED, ids=str)
async def test_refused(attack: Refused) -> None:
    """One typed answer, then the end; the gateway sees nothing, and nothing sent is echoed as a traceback or a Server."""
    async with opened() as door:
        received = await door.say(attack.sent)
        (answer,) = heard(received, "GET")
        assert answer.code in attack.codes
        assert answer.status == CODES[answer.code].status
        assert answer.problem["sent"] == "no"
        assert answer.headers["connection"] == "close"
        assert "server" not in answer.headers
        assert answer.headers["toolgate-source"] == "gate"
        assert answer.headers["toolgate-call"] == answer.problem["call"]
        assert door.gateway.calls == []
        assert door.counts.defects == []
        assert door.counts.wire == [("agent", answer.code)]


@pytest.mark.parametrize("attack", [attack for attack in REFUSED if len(attack.sent) < 400], ids=str)
async def test_refused_byte_by_byte(attack: Refused) -> None:
    """How the bytes are cut into segments changes nothing, but that half an unknown method is no request at all."""
    async with opened() as door, door.connected() as peer:
        await door.accepted()
        (connection,) = door.listener.connections
        for byte in door.expand(attack.sent):
            connection.data_received(bytes((byte,)))
        (answer,) = heard(await peer.read_to_end())
        assert answer.code in (attack.codes if attack.id != "A34" else (*attack.codes, "request.framing"))
        assert door.gateway.calls == []


@pytest.mark.parametrize("passed", PASSED, ids=str)
async def test_passed(passed: Passed) -> None:
    """What is well formed reaches the gateway without what frames, routes or claims to be somebody."""
    async with opened() as door, door.connected() as peer:
        peer.send(passed.sent)
        assert (await peer.answer()).body == b"answered"
        (wire,) = door.gateway.wires
        assert wire.path == passed.path
        assert wire.headers == passed.headers
        assert wire.body == passed.body


@pytest.mark.parametrize("token", [b"eyJhbGciOiJub25lIn0.e30.", b"", b"null"])
async def test_a_token_never_falls_back_to_anonymous(token: bytes) -> None:
    """Without issuers no token verifies; the caller is refused and not taken for the workload."""
    async with opened() as door, door.connected() as peer:
        peer.send(b"GET /t/x HTTP/1.1\r\n{H}Toolgate-Token: " + token + b"\r\n\r\n")
        answer = await peer.answer()
        assert (answer.status, answer.code) == (401, "auth.invalid")
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert door.gateway.calls == []


@pytest.mark.parametrize("token", [b"r", b"", b"run_01KDMB4Y8M4Z2T9GJ6Q0V7R3XA", b"a.b"])
async def test_a_run_is_named_by_its_token_alone(token: bytes) -> None:
    """What is no run token names no run, and is not taken for none: the call would be charged to another run."""
    async with opened() as door, door.connected() as peer:
        peer.send(b"GET /t/x HTTP/1.1\r\n{H}Toolgate-Run: " + token + b"\r\n\r\n")
        answer = await peer.answer()
        assert (answer.status, answer.code) == (401, "auth.invalid")
        assert "POST /-/runs" in answer.problem["recovery"]["hint"]
        assert door.gateway.calls == []


async def test_a_run_token_reaches_the_gateway_as_its_run() -> None:
    """A call is made in the run its token names, and the header travels no further."""
    run = OpenedRun("run_1", 1, ("run_0",))
    async with opened() as door, door.connected() as peer:
        token = RUNS.mint(run, Principal("digest"))
        peer.send(b"GET /t/x HTTP/1.1\r\n{H}Toolgate-Run: " + token.encode() + b"\r\n\r\n")
        assert (await peer.answer()).body == b"answered"
        (call,) = door.gateway.calls
        assert call.run == run
        assert "toolgate-run" not in door.gateway.wires[0].headers


async def test_expect_is_honoured_only_after_the_gate() -> None:
    """`100 Continue` comes once the head has passed, never before, and never for a body too large."""
    async with opened() as door, door.connected() as peer:
        peer.send(b"POST /t/x HTTP/1.1\r\n{H}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.send(b"hi")
        assert (await peer.answer()).status == 200
        assert door.gateway.wires[0].body == b"hi"
    async with opened() as door:
        refused = await door.say(b"POST /t/../x HTTP/1.1\r\n{H}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert heard(refused)[0].code == "request.target"
        large = await door.say(b"POST /t/x HTTP/1.1\r\n{H}Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
        assert heard(large)[0].code == "arguments.too_large"


async def test_a_trailer_never_becomes_a_header_of_the_next_request() -> None:
    """The parser (aiohttp 3.14.5) adds the last trailer of a chunked body to the request behind it; so nothing comes behind it."""
    async with opened() as door:
        smuggled = b"1\r\nZ\r\n0\r\nToolgate-Reason: forged\r\n\r\nGET /second HTTP/1.1\r\n{H}\r\n"
        received = await door.say(b"POST /t/x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n" + smuggled)
        (answer,) = heard(received)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert [(call.asked.path, call.reason) for call in door.gateway.calls] == [("/t/x", None)]


async def test_a_call_names_its_plan_and_step() -> None:
    """`Toolgate-Plan` and `Toolgate-Step` arrive with the call they came with, and with no other; nothing is guessed."""
    async with opened() as door, door.connected() as peer:
        peer.send(b"GET /t/1 HTTP/1.1\r\n{H}Toolgate-Plan: plan_1\r\ntoolgate-step: fetch\r\n\r\n")
        await peer.answer()
        peer.send(b"GET /t/2 HTTP/1.1\r\n{H}Toolgate-Reason: to see\r\n\r\n")
        await peer.answer()

    assert [call[4:] for call in door.gateway.calls] == [(None, None, "plan_1", "fetch"), ("to see", None, None, None)]


async def test_the_request_before_a_bad_one_is_answered_first() -> None:
    """Requests in flight are not lost to bad bytes behind them, and the bad bytes are answered after them."""
    async with opened() as door, door.connected() as peer:
        peer.send(b"GET /t/1 HTTP/1.1\r\n{H}\r\n")
        assert (await peer.answer()).status == 200
        peer.send(b"GARBAGE\r\n\r\n")
        assert [answer.code for answer in heard(await peer.read_to_end())] == ["request.framing"]


async def test_the_same_header_block_is_not_a_way_around_the_target() -> None:
    """A header block that passed is remembered for the connection; the request line is judged every time."""
    async with opened() as door, door.connected() as peer:
        for _ in range(3):
            peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
            assert (await peer.answer()).status == 200
        peer.send(b"GET /t/../x HTTP/1.1\r\n{H}\r\n")
        assert (await peer.answer()).code == "request.target"
        assert len(door.gateway.calls) == 3


def test_every_attack_is_accounted_for() -> None:
    """Each attack of the catalogue says which tests make it, or why nothing can be tested yet."""
    assert Counter(attack[0] for attack in COVERAGE) == CATALOGUE
    if CATALOGUE_FILE.is_file():  # the catalogue itself is not part of this repository
        lines = CATALOGUE_FILE.read_text(encoding="utf-8").splitlines()
        assert {json.loads(line)["id"] for line in lines} == set(COVERAGE)


@pytest.mark.parametrize("attack", [each for each, where in COVERAGE.items() if isinstance(where, tuple)])
def test_every_attack_names_tests_that_exist(attack: str) -> None:
    """A pointer is a file below `tests/` and a test function in it; what is named in a reason exists too."""
    for pointer in COVERAGE[attack]:
        file, _, name = pointer.partition("::")
        assert name in functions_of(file), pointer


def test_the_attacks_in_bytes_are_those_that_say_so() -> None:
    """Who points at the tables is in them, and who is in them points at them."""
    for table, test in ((REFUSED, "test_refused"), (PASSED, "test_passed")):
        pointing = {each for each, where in COVERAGE.items() if f"wire/test_attacks.py::{test}" in pointers_of(where)}
        assert pointing == {attack.id for attack in table}


def test_what_is_later_says_why() -> None:
    """No attack is left out without a reason; a test that a reason leans on exists."""
    for where in COVERAGE.values():
        if isinstance(where, Later):
            assert where.why
            for name in re.findall(r"`(test_\w+)`", where.why):
                assert any(name in functions_of(file) for file in ("wire/test_attacks.py", "load/test_bundle.py"))


def pointers_of(where: tuple[str, ...] | Later) -> tuple[str, ...]:
    return where if isinstance(where, tuple) else ()


@cache
def functions_of(file: str) -> frozenset[str]:
    """The names of the functions at the top of a test file."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
