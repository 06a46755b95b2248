"""What a reply says its call cost, whole or event by event, and what is known where it says nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import pytest
from tests.support.spending import NOW_MS, bundle, call, costing

from toolgate.core import engine
from toolgate.core.budget import Budget
from toolgate.core.cost import Bill, Cost
from toolgate.core.eventstream import EventReader
from toolgate.core.expressions import parse_expression
from toolgate.core.model import Facts, Permit, Reply, RunFacts

USAGE = parse_expression("$response.body#/usage/usd")
JSON = ("content-type", "application/json")


def permitted(unpriced: int | None = None) -> Permit:
    operation = replace(costing("model.think"), cost={"usd": Cost(10_000, USAGE, unpriced)})
    facts = Facts(run=RunFacts("run_1", started_ms=NOW_MS))
    decision = engine.decide(call(operation), facts, bundle([operation], Budget("spend", ("run",), "usd", 10**9)))
    assert isinstance(decision, Permit)
    return decision


async def _endless() -> AsyncIterator[bytes]:
    yield b"{"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (None, "no_reply"),
        (Reply(500, (JSON,), b"{}"), "status"),
        (Reply(200, (JSON, ("content-encoding", "gzip")), b"\x1f\x8b"), "encoded"),
        (Reply(200, (("content-type", "text/html"),), b"<html>"), "no_json"),
        (Reply(200, (JSON,), _endless()), "too_long"),
        (Reply(200, (JSON,), b'{"usage"'), "unreadable"),
        (Reply(200, (JSON,), b'{"usage":{"usd":5},"usage":{"usd":0}}'), "unreadable"),
        (Reply(200, (JSON,), b'{"usage":{"usd":5,"usd":0}}'), "unreadable"),
        (Reply(200, (JSON,), b"{}"), "absent"),
    ],
)
def test_a_reply_that_says_nothing_says_why(reply: Reply | None, why: str) -> None:
    """Nobody shall take what was held for what was billed."""
    assert Bill({}, why) == engine.billed(permitted(), "yes", reply)  # type: ignore[arg-type]


def test_a_reply_that_says_it_is_priced() -> None:
    """Also after a byte order mark, which is no part of JSON and harms nobody."""
    reply = Reply(200, (JSON,), b'\xef\xbb\xbf{"usage":{"usd":0.03}}')

    assert Bill({"usd": 30_000}) == engine.billed(permitted(), "yes", reply)
    assert Bill() == engine.billed(permitted(), "no", None)


@pytest.mark.parametrize(
    ("reply", "sent", "amounts"),
    [
        (Reply(200, (JSON,), b"{}"), "yes", {"usd": 100_000}),
        (None, "unknown", {"usd": 100_000}),
        (Reply(429, (JSON,), b"{}"), "yes", {}),
        (Reply(200, (JSON,), b'{"usage":{"usd":0.001}}'), "yes", {"usd": 1_000}),
    ],
)
def test_an_unpriced_reply_costs_what_the_operator_gave_for_it(
    reply: Reply | None, sent: str, amounts: dict[str, int]
) -> None:
    """So that nobody pays less by keeping the reply from saying it; an error leaves what was held."""
    assert amounts == engine.billed(permitted(100_000), sent, reply).amounts  # type: ignore[arg-type]


def test_an_unpriced_reply_is_charged() -> None:
    """It is taken beyond the reserve, as any bill is."""
    permit = permitted(100_000)
    bill = engine.billed(permit, "yes", Reply(200, (JSON,), b"{}"))

    settled = engine.settlement(permit, "yes", bill, 0)

    assert [90_000] == [each.amount for each in settled.extra]
    assert {"usd": 100_000} == settled.costs


EVENTS = b'event: x\r\ndata: {"a":\r\ndata: 1}\r\n\r\n: note\n\ndata:two\ndata\n\nid: 7\n\ndata: [DONE]'


def read(chunks: Iterable[bytes], most: int = 1 << 20) -> list[bytes]:
    reader = EventReader(most)
    found = [event for chunk in chunks for event in reader.feed(chunk)]
    return [*found, *reader.end()]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 10])
def test_events_are_the_same_however_the_stream_is_cut(size: int) -> None:
    """Lines end in any of three ways, and a line end may lie across two chunks."""
    chunks = [EVENTS[at : at + size] for at in range(0, len(EVENTS), size)]

    assert [b'{"a":\n1}', b"two\n", b"[DONE]"] == read(chunks)


@pytest.mark.parametrize("size", [1, 50, 1 << 10])
def test_an_event_without_end_is_left_out(size: int) -> None:
    """What is held is bounded; the next event is read all the same."""
    content = b"data: " + b"x" * 900 + b"\ndata: y\n\ndata: z\n\n"
    chunks = [content[at : at + size] for at in range(0, len(content), size)]

    assert b"z" == read(chunks, 100)[-1]
