"""Heads that came before: read without the parser, they mean what they meant to it, and nothing else becomes possible."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.attacks import REFUSED, Refused
from tests.wire.door import Door, heard, opened, until

from toolgate.core.model import Refusal
from toolgate.listeners.connection import Phase
from toolgate.listeners.familiar import MAX_BODY_BYTES, Familiar
from toolgate.listeners.wire import Block, Head, Rules, judge

ANY = Rules(None)
FIELDS = b"Host: gate\r\nAuthorization: Bearer secret\r\nToolgate-Reason: to see\r\n"
GET = b"GET /t/x?a=b HTTP/1.1\r\n" + FIELDS + b"\r\n"
POST = b"POST /t/x HTTP/1.1\r\n{H}Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n"


class Counting(Familiar):
    """Counts what it knew."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self.known = 0

    def read(self, data: bytes) -> tuple[Head, int] | None:
        found = super().read(data)
        self.known += found is not None
        return found


def counting(door: Door) -> Counting:
    door.listener.familiar = found = Counting(door.listener.rules)
    return found


def parsed(data: bytes) -> Head | None:
    """What the parser and the wire gate make of it; None: they refuse, or want more."""
    loop = asyncio.new_event_loop()
    try:
        messages, *_ = HttpRequestParser(BaseProtocol(loop), loop, 1 << 16).feed_data(data)
    except HttpProcessingError:
        return None
    finally:
        loop.close()
    if len(messages) != 1:
        return None
    head = judge(messages[0][0], ANY)
    return None if isinstance(head, Refusal) else head


def known(*requests: bytes) -> Familiar:
    familiar = Familiar(ANY)
    for data in requests:
        head = parsed(data)
        assert head is not None
        familiar.learn(data, len(data), head.block)
    return familiar


def block_of(data: bytes) -> Block:
    head = parsed(data)
    assert head is not None
    return head.block


LINES = st.one_of(
    st.tuples(
        st.sampled_from((b"GET", b"HEAD", b"POST", b"get", b"CONNECT", b"TRACE", b"QUERY", b"")),
        st.text(alphabet='/ab.%2f?#\\|[]{}"<>^`~:@&=é\t\x00', max_size=12).map(str.encode),
        st.sampled_from((b"HTTP/1.1", b"HTTP/1.0", b"http/1.1", b"RTSP/1.1", b"HTTP/1.1 ", b"HTTP/01.1")),
    ).map(b" ".join),
    st.binary(max_size=30),
)


@given(LINES)
def test_a_line_before_a_known_block_is_read_as_the_parser_reads_it(line: bytes) -> None:
    """Or not at all: the parser then says what is wrong with it."""
    data = line + GET[GET.index(b"\r\n") :]
    familiar = known(GET)
    for _ in range(2):  # the second time the line may be known too
        found = familiar.read(data)
        assert found is None or found == (parsed(data), len(data))


def test_what_is_plain_is_known() -> None:
    """Whatever its path and query are, and in every method an operation can have."""
    familiar = known(GET)
    for line in (b"GET /t/x?a=b", b"DELETE /t/y/", b"HEAD /t/x%20y?q=%C3%A9", b"PUT /.well-known/x"):
        data = line + GET[GET.index(b" HTTP") :]
        assert familiar.read(data) == (parsed(data), len(data))


STEP = b"Toolgate-Step: s1\r\n"
OF_A_STEP = GET.replace(b"Authorization", STEP + b"Authorization")


def test_a_block_is_known_whatever_step_it_names() -> None:
    """Calls of a plan differ in that and in nothing else; each is read as the parser reads it."""
    familiar = known(OF_A_STEP)
    for step in (b"s1", b"s2", b"!~", b"x" * 128):
        data = OF_A_STEP.replace(b"s1", step)
        assert familiar.read(data) == (parsed(data), len(data))


@given(st.one_of(st.binary(max_size=6), st.text(alphabet="s1 \t\r\n\x00:é", max_size=8).map(str.encode)))
def test_what_stands_for_a_step_is_read_as_the_parser_reads_it(step: bytes) -> None:
    """Or not at all: nothing that is no id, or is more than one, is taken for the id of a step."""
    data = OF_A_STEP.replace(b"s1", step)
    found = known(OF_A_STEP).read(data)
    assert found is None or found == (parsed(data), len(data))


@pytest.mark.parametrize(
    "data",
    [
        GET,
        OF_A_STEP.replace(b"s1", b""),
        OF_A_STEP.replace(b"s1", b"x" * 129),
        OF_A_STEP.replace(STEP, STEP + STEP),
        OF_A_STEP.replace(STEP, STEP + STEP.lower()),
        OF_A_STEP.replace(b"to see", b"Toolgate-Step: s2"),
        OF_A_STEP.replace(STEP, b"X: Toolgate-Step: s1\r\n"),
        OF_A_STEP.replace(STEP, STEP.lower()),
    ],
)
def test_only_the_id_of_a_step_may_differ(data: bytes) -> None:
    """A block without one, with a longer one, with two, or one that names it elsewhere is another block."""
    assert known(OF_A_STEP).read(data) is None


def test_a_block_without_a_step_is_no_block_with_one() -> None:
    """Neither stands in for the other."""
    familiar = known(GET)
    assert familiar.read(OF_A_STEP) is None


def test_nothing_but_one_whole_request_is_learned() -> None:
    """Bytes before it, behind it or missing of it: then nobody knows what the parser still holds."""
    familiar = Familiar(ANY)
    block = block_of(GET)

    assert not familiar.learn(GET, len(GET) + 1, block)
    assert not familiar.learn(GET[:-1], len(GET), block)
    assert not familiar.learn(b"\r\n" + GET, len(GET) + 2, block)
    assert not familiar.learn(GET.replace(b"\r\nAuth", b"\nAuth", 1) + b"X", len(GET), block)
    assert not familiar.learn(b"GET / HTTP/1.1\r\n\r\n" + GET, len(GET), block)
    assert familiar.read(GET) is None
    assert familiar.learn(GET, len(GET), block)
    assert familiar.read(GET) is not None


def test_what_is_known_is_bounded() -> None:
    """However many blocks and lines there are, however long."""
    large = GET.replace(b"to see", b"x" * 500)[:-2] + b"User-Agent: " + b"x" * 2000 + b"\r\n\r\n"
    body = b"POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    many = [GET.replace(b"to see", b"%d" % number) for number in range(300)]
    familiar = known(large, body + b"x" * (MAX_BODY_BYTES + 1), *many)

    assert familiar.read(large) is None
    assert familiar.read(body) is None
    assert familiar.read(many[0]) is None
    assert familiar.read(many[-1]) is not None


@pytest.mark.parametrize("attack", [attack for attack in REFUSED if len(attack.sent) < 400], ids=str)
async def test_attacks_on_a_connection_that_is_known(attack: Refused) -> None:
    """They are refused as ever, behind a request that was known and behind a known block of their own."""
    async with opened() as door:
        await door.say(b"GET /t/x HTTP/1.1\r\n" + attack.sent.partition(b"\r\n")[2] + b"\0")
        async with door.connected() as peer:
            for _ in range(2):
                peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
                assert (await peer.answer()).status == 200
            before = len(door.gateway.calls)
            peer.send(attack.sent)
            assert (await peer.answer()).code in attack.codes
            assert len(door.gateway.calls) == before


@pytest.mark.parametrize("cut", range(1, 170, 6))
async def test_a_known_head_is_one_however_it_is_cut(cut: int) -> None:
    """A body may come behind its head in parts, and the next request behind the body: each is answered, in order."""
    async with opened() as door, door.connected() as peer:
        familiar = counting(door)
        peer.send(POST + b"first")
        await peer.answer()
        (connection,) = door.listener.connections
        stream = door.expand(POST + b"again" + b"GET /t/y HTTP/1.1\r\n{H}\r\n")
        for part in (stream[:cut], stream[cut:]):
            connection.data_received(part)
        peer.send(b"POST /t/z HTTP/1.1\r\n{H}Connection: close\r\nContent-Length: 5\r\n\r\nthird")

        assert [answer.status for answer in heard(await peer.read_to_end())] == [200, 200, 200]
        assert [(wire.path, wire.body) for wire in door.gateway.wires] == [
            ("/t/x", b"first"), ("/t/x", b"again"), ("/t/y", b""), ("/t/z", b"third"),
        ]  # fmt: skip
        head = len(door.expand(POST))
        assert familiar.known >= (head <= cut < head + 5)


async def test_a_known_body_that_does_not_come_is_waited_for_no_longer() -> None:
    """Its head needed no parser; its body has the same deadline."""
    async with opened() as door, door.connected() as peer:
        familiar = counting(door)
        for body in (b"first", b"again"):
            peer.send(POST + body)
            await peer.answer()
        peer.send(POST + b"th")
        (connection,) = door.listener.connections
        await until(lambda: connection.phase == Phase.BODY)
        connection.expire()
        assert (await peer.answer()).code == "request.timeout"
        assert familiar.known == 2
        assert len(door.gateway.calls) == 2


async def test_known_requests_are_told_apart_by_what_they_carry() -> None:
    """Reason, run and body are those of the request they came with."""
    async with opened() as door, door.connected() as peer:
        familiar = counting(door)
        for reason in (b"one", b"two", b"one", b"two"):
            peer.send(b"GET /t/%b HTTP/1.1\r\n{H}Toolgate-Reason: %b\r\n\r\n" % (reason, reason))
            await peer.answer()

        assert [call.reason for call in door.gateway.calls] == ["one", "two", "one", "two"]
        assert familiar.known == 2
