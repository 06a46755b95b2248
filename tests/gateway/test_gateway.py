"""The one path of a call: what is written, what is sent, what comes back, whatever breaks on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from toolgate.core.codes import CODES
from toolgate.core.journal import encode
from toolgate.core.model import Completed, Event, Failed, Permit, Principal, Refused, Reply, Wire
from toolgate.ports import LedgerError, UpstreamError

JSON = (("content-type", "application/json"),)


class Stream:
    """A body in chunks that remembers whether it was closed; an exception among the chunks is raised."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self._chunks = iter(chunks)
        self.closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise StopAsyncIteration
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    async def aclose(self) -> None:
        self.closed = True


async def test_a_permitted_call_is_recorded_before_it_is_sent_and_finished_after(outside):
    """INV1: the `Decided` is committed when the upstream is asked; the `Finished` follows the answer."""
    seen_at_send: list[str] = []
    outside.upstream.send = _noting(outside, seen_at_send)

    outcome = await outside.gateway.handle(outside.call())

    assert isinstance(outcome, Completed)
    assert seen_at_send == ["Decided permit"]
    assert outside.journal() == ["Decided permit", "Finished completed"]


def _noting(outside, seen):
    async def send(permit: Permit) -> Reply:
        seen.extend(outside.journal())
        return Reply(200, JSON, b'{"id":"a1"}')

    return send


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("shop.nothing", {}, "tool.unknown"),
        ("shop.deleteItem", {"id": "a1"}, "tool.disallowed"),
        ("shop.getItem", {"idd": "a1"}, "arguments.invalid"),
    ],
)
async def test_a_refused_call_is_journaled_and_never_sent(outside, operation, arguments, code):
    """Refused means not sent, and the journal says why."""
    outcome = await outside.gateway.handle(outside.call(operation, **arguments))

    assert isinstance(outcome, Refused)
    assert outcome.refusal.code.code == code
    assert outside.upstream.sent == []
    assert outside.journal() == [f"Decided refuse {code}"]


async def test_what_was_journaled_decides_to_itself_again(outside):
    """Promise 6: the arguments in a `Decided` give the same decision when they are asked again."""
    await outside.gateway.handle(outside.call())
    again = outside.ledger.events[0].data

    outcome = await outside.gateway.handle(outside.call(again["operation"], **again["arguments"]))

    assert isinstance(outcome, Completed)
    assert outside.ledger.events[2].data["arguments"] == again["arguments"]


async def test_a_request_that_comes_again_is_sent_and_recorded_as_the_first_time(outside):
    """What is remembered of a request is the request: whatever was done with it before, the next one is the same."""
    wire = Wire(
        "PUT", "/shop/items/a1", headers={"content-type": "application/json"}, body=b'{"a": [1.0, {"b": null}]}'
    )

    for _ in range(3):
        await outside.gateway.handle(outside.gateway.new_call(Principal("agent"), wire))

    decided = [encode(event).front for event in outside.ledger.events if event.kind == "Decided"]
    told = {line.partition(b'"method":')[2] for line in decided}
    assert (3, 1) == (len(decided), len(told))
    assert b'"arguments":{"id":"a1","body":{"a":[1.0,{"b":null}]}}' in told.pop()
    assert {b'{"a":[1.0,{"b":null}]}'} == {permit.valid.request.body for permit in outside.upstream.sent}


async def test_without_a_journal_nothing_is_sent(outside):
    """Fail closed: a broken ledger refuses with `gateway.unavailable`, for permits and refusals alike."""
    outside.ledger.broken = LedgerError("the disk is full")

    permitted = await outside.gateway.handle(outside.call())
    refused = await outside.gateway.handle(outside.call("shop.nothing"))

    assert [permitted.code.code, permitted.sent] == ["gateway.unavailable", "no"]
    assert refused.code.code == "gateway.unavailable"
    assert outside.upstream.sent == []


async def test_an_answer_is_given_even_when_its_end_cannot_be_written(outside):
    """The call was sent: its answer belongs to the agent, and the defect to the operator."""

    async def send(_permit: Permit) -> Reply:
        outside.ledger.broken = LedgerError("the disk is full")
        return Reply(200, JSON, b'{"id":"a1"}')

    outside.upstream.send = send

    outcome = await outside.gateway.handle(outside.call())

    assert isinstance(outcome, Completed)
    assert [where for where, _ in outside.meter.defects] == ["finishing a call"]


@pytest.mark.parametrize(
    ("code", "sent"), [("upstream.unreachable", "no"), ("upstream.timeout", "unknown"), ("upstream.broken", "unknown")]
)
async def test_a_failed_send_is_honest_about_what_was_sent(outside, code, sent):
    """INV12: what the client knows of the sending is what the agent and the journal are told."""
    outside.upstream.reply = UpstreamError(code, "it did not work", sent=sent)

    outcome = await outside.gateway.handle(outside.call())

    assert isinstance(outcome, Failed)
    assert [outcome.code.code, outcome.sent] == [code, sent]
    assert outside.journal() == ["Decided permit", f"Finished failed {code}"]
    assert outside.ledger.events[1].data["sent"] == sent


@pytest.mark.parametrize("error", [RuntimeError("boom"), RecursionError(), ZeroDivisionError(), MemoryError()])
async def test_a_defect_while_sending_is_finished_as_unknown(outside, error):
    """INV13: whatever breaks after the permit is `internal.error` with `sent: unknown`, and is finished."""
    outside.upstream.reply = error

    outcome = await outside.gateway.handle(outside.call())

    assert [outcome.code.code, outcome.sent] == ["internal.error", "unknown"]
    assert outside.journal() == ["Decided permit", "Finished failed internal.error"]
    assert outside.meter.defects == [("sending a call", error)]


@pytest.mark.parametrize("error", [RuntimeError("boom"), RecursionError(), MemoryError()])
async def test_a_defect_while_deciding_never_forwards(outside, error):
    """INV2: a decision that cannot be made is a no."""

    class Broken:
        def find(self, *_asked):
            raise error

    outside.gateway.swap(replace(outside.gateway.bundle, catalog=Broken()))

    outcome = await outside.gateway.handle(outside.call())

    assert [outcome.code.code, outcome.sent] == ["internal.error", "no"]
    assert outside.upstream.sent == []


async def test_a_call_that_is_given_up_is_still_finished(outside):
    """A cancelled call was permitted, so the journal says how it ended."""
    asked = asyncio.Event()

    async def send(_permit: Permit) -> Reply:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    outside.upstream.send = send
    task = asyncio.ensure_future(outside.gateway.handle(outside.call()))
    await asked.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert outside.journal() == ["Decided permit", "Finished failed upstream.broken"]


async def test_a_stream_is_finished_when_it_ends(outside):
    """The journal counts every byte that was passed on, once the last one was."""
    outside.upstream.reply = Reply(
        200, (("content-type", "text/event-stream"),), Stream(b"data: 1\n\n", b"data: 2\n\n")
    )

    outcome = await outside.gateway.handle(outside.call())
    assert outside.journal() == ["Decided permit"]

    assert [chunk async for chunk in outcome.reply.body] == [b"data: 1\n\n", b"data: 2\n\n"]
    assert outside.journal() == ["Decided permit", "Finished completed"]
    assert outside.ledger.events[1].data["bytes"] == 18


async def test_a_stream_that_breaks_off_is_never_completed(outside):
    """INV12: half an answer is not an answer."""
    body = Stream(b"data: 1\n\n", UpstreamError("upstream.broken", "cut short", sent="unknown"))
    outside.upstream.reply = Reply(200, (("content-type", "text/event-stream"),), body)
    outcome = await outside.gateway.handle(outside.call())

    with pytest.raises(UpstreamError):
        [chunk async for chunk in outcome.reply.body]

    assert body.closed
    assert outside.journal() == ["Decided permit", "Finished failed upstream.broken"]


@pytest.mark.parametrize("read", [0, 1])
async def test_a_stream_that_nobody_reads_to_its_end_is_closed_and_finished(outside, read):
    """The agent left: the upstream's connection is ended, whether or not a chunk was read."""
    body = Stream(b"data: 1\n\n", b"data: 2\n\n")
    outside.upstream.reply = Reply(200, (("content-type", "text/event-stream"),), body)
    outcome = await outside.gateway.handle(outside.call())

    for _ in range(read):
        await anext(outcome.reply.body)
    await outcome.reply.body.aclose()
    await outcome.reply.body.aclose()

    assert body.closed
    assert outside.journal() == ["Decided permit", "Finished failed upstream.broken"]


async def test_a_stream_keeps_the_deadline_of_its_call(outside):
    """INV10: a stream that never ends does not outlive the time a call may take."""
    body = Stream(*[b"data: 1\n\n"] * 3)
    outside.upstream.reply = Reply(200, (("content-type", "text/event-stream"),), body)
    outcome = await outside.gateway.handle(outside.call())
    await anext(outcome.reply.body)
    outside.clock.advance(11)

    with pytest.raises(UpstreamError) as raised:
        await anext(outcome.reply.body)

    assert raised.value.code == "upstream.timeout"
    assert body.closed


async def test_a_stream_that_falls_silent_keeps_it_too(outside):
    """INV10: nothing comes any more, and the call is over all the same; the agent is not said to have left."""

    class Silent(Stream):
        async def __anext__(self) -> bytes:
            return await asyncio.Event().wait()

    body = Silent()
    outside.upstream.reply = Reply(200, (("content-type", "text/event-stream"),), body)
    outcome = await outside.gateway.handle(outside.call())
    outside.clock.advance(11)

    with pytest.raises(UpstreamError) as raised:
        await anext(outcome.reply.body)

    assert raised.value.code == "upstream.timeout"
    assert body.closed
    assert outside.journal() == ["Decided permit", "Finished failed upstream.timeout"]


async def test_an_answer_off_its_schema_is_reported_and_passed_on_by_default(outside):
    """`validate_responses: report`: the agent gets the answer, the journal what is wrong with it."""
    outside.upstream.reply = Reply(200, JSON, b'{"name":"a1"}')

    outcome = await outside.gateway.handle(outside.call())

    assert isinstance(outcome, Completed)
    assert outcome.reply.body == b'{"name":"a1"}'
    assert outside.ledger.events[1].data["off_schema"][0]["keyword"] == "required"


async def test_an_answer_off_its_schema_is_refused_where_the_tool_says_so(outside):
    """`validate_responses: refuse`: sent, answered, and not believed."""
    outside.upstream.reply = Reply(200, JSON, b'{"name":"a1"}')

    outcome = await outside.gateway.handle(outside.call("shop.strictItem"))

    assert [outcome.code.code, outcome.sent] == ["upstream.off_schema", "yes"]
    assert outcome.violations


async def test_a_declared_answer_is_held_up_to_its_limit_and_passed_on_beyond(outside):
    """An answer larger than `max_response` is not held in memory; nothing of it is lost."""
    outside.upstream.reply = Reply(200, JSON, Stream(b'{"id":"', b"x" * 64, b'"}'))

    outcome = await outside.gateway.handle(outside.call("shop.strictItem"))

    assert b"".join([chunk async for chunk in outcome.reply.body]) == b'{"id":"' + b"x" * 64 + b'"}'
    assert outside.journal() == ["Decided permit", "Finished completed"]


async def test_a_call_keeps_the_bundle_it_began_with(outside):
    """INV16: a reload while a call waits for its record does not mix two bundles."""
    recorded = outside.ledger.record
    newer = replace(outside.bundle, revision="sha256:newer")

    async def record(event: Event, charges):
        outside.gateway.swap(newer)
        return await recorded(event, charges)

    outside.ledger.record = record
    await outside.gateway.handle(outside.call())
    await outside.gateway.handle(outside.call())

    revisions = [event.data["revision"] for event in outside.ledger.events if event.kind == "Decided"]
    assert revisions == [outside.bundle.revision, "sha256:newer"]


async def test_every_call_is_counted_once_by_a_code_of_the_table(outside):
    """Metrics: one count a call, labelled with a registered operation and a catalogue code."""
    for operation in ("shop.getItem", "shop.nothing", "shop.deleteItem"):
        await outside.gateway.handle(outside.call(operation))

    assert outside.meter.outcomes == [
        ("shop.getItem", "completed"),
        (None, "tool.unknown"),
        ("shop.deleteItem", "tool.disallowed"),
    ]
    assert {code for _, code in outside.meter.outcomes} <= CODES.keys() | {"completed"}
