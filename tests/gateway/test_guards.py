"""Budgets, limits and the kill switch on the path of a call: what is taken, what is settled, what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from tests.gateway.conftest import Outside

from toolgate.core.budget import Budget
from toolgate.core.budgets import Budgets
from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Catalog
from toolgate.core.cost import Cost
from toolgate.core.expressions import parse_expression
from toolgate.core.limit import Concurrency, Limit
from toolgate.core.loop import Loops
from toolgate.core.model import (
    Charge,
    Completed,
    Event,
    Failed,
    Freeze,
    Guard,
    Known,
    LoopFacts,
    OpenedRun,
    Place,
    Refused,
    Reply,
    RunFacts,
    Settlement,
    Short,
)
from toolgate.core.quota import Standing
from toolgate.ledger import open as open_ledger
from toolgate.listeners.ratelimit import ratelimit_lines
from toolgate.ports import RunEndedError, UpstreamError
from toolgate.testing.fakes import FakeClock, FakeLedger

CALLS = "b:run-calls:calls:run_agent"


def bounded(shop: Bundle, **given: object) -> Bundle:
    """The shop with five calls a run, two at once, and what else is said."""
    budgets = Budgets(
        (Budget("run-calls", ("run",), "calls", 5),),
        (Limit("in-flight", ("run",), Concurrency(2)),),
        given.get("loops", Loops()),  # type: ignore[arg-type]
        shop.environment,
    )
    return replace(shop, budgets=budgets)


def outside_of(shop: Bundle, **given: object) -> Outside:
    return Outside(bounded(shop, **given), FakeLedger(run=RunFacts("run_agent")))


def keys(guards: Sequence[Guard]) -> list[str]:
    return [guard.key for guard in guards]


def named(standing: Standing | None) -> list[str]:
    return [rule.name for rule, _ in standing.told.rules] if standing is not None else []


async def test_a_permit_takes_its_guards_with_its_record(shop: Bundle) -> None:
    """And gives its place back with its `Finished`."""
    outside = outside_of(shop)
    outcome = await outside.gateway.handle(outside.call())
    assert isinstance(outcome, Completed)
    assert keys(outside.ledger.taken) == ["c:in-flight:run_agent", CALLS]
    assert outside.ledger.settled == [Settlement(places=(Place("c:in-flight:run_agent", 2),))]
    assert named(outcome.standing) == ["in-flight", "run-calls"]


async def test_what_the_ledger_finds_short_is_refused_and_not_sent(shop: Bundle) -> None:
    """The decision saw enough left; whoever was quicker has it now."""
    outside = outside_of(shop)
    outside.ledger.short = Short(Charge(CALLS, 1, 5), 0)
    outcome = await outside.gateway.handle(outside.call())
    assert isinstance(outcome, Refused)
    assert outcome.refusal.code.code == "budget.exhausted"
    assert named(outcome.standing) == ["in-flight", "run-calls"]
    assert outside.upstream.sent == []
    assert outside.journal() == ["Decided refuse budget.exhausted"]
    assert [event.data["number"] for event in outside.ledger.events] == [1]


async def test_what_is_used_up_is_refused_before_anything_is_written_for_it(shop: Bundle) -> None:
    """The decision asks the ledger's levels."""
    outside = outside_of(shop)
    outside.ledger.levels = Known({CALLS: 5})
    outcome = await outside.gateway.handle(outside.call())
    assert isinstance(outcome, Refused)
    assert (outcome.refusal.code.code, outside.upstream.sent) == ("budget.exhausted", [])


@pytest.mark.parametrize(("sent", "refunded"), [("no", [CALLS]), ("unknown", []), ("yes", [])])
async def test_only_what_was_surely_not_sent_is_given_back(shop: Bundle, sent: str, refunded: list[str]) -> None:
    """A call that may have acted costs what it would have cost; its place is free either way."""
    outside = outside_of(shop)
    outside.upstream.reply = UpstreamError("upstream.broken", "it broke", sent=sent)  # type: ignore[arg-type]
    outcome = await outside.gateway.handle(outside.call())
    assert isinstance(outcome, Failed)
    assert named(outcome.standing) == ["in-flight", "run-calls"]
    settlement = outside.ledger.settled[0]
    assert keys(settlement.refunds) == refunded
    assert keys(settlement.places) == ["c:in-flight:run_agent"]


async def test_the_kill_switch_stops_what_is_recorded_and_not_yet_sent(shop: Bundle) -> None:
    """Immediate: a freeze that comes while the record is written keeps the call from being sent, and gives all back."""

    class Freezing(FakeLedger):
        async def record(self, event: Event, guards: Sequence[Guard]) -> Short | None:
            short = await super().record(event, guards)
            self.frozen = {"tool:shop": Freeze("eve", "an incident", 0)}
            return short

    outside = Outside(bounded(shop), Freezing(run=RunFacts("run_agent")))
    outcome = await outside.gateway.handle(outside.call())
    assert isinstance(outcome, Refused)
    assert outcome.refusal.code.code == "tool.disabled"
    assert outside.upstream.sent == []
    assert outside.journal() == ["Decided permit", "Finished refused tool.disabled"]
    assert keys(outside.ledger.settled[0].refunds) == [CALLS]
    assert outside.meter.outcomes == [("shop.getItem", "tool.disabled")]


async def test_a_refusal_takes_its_denied_attempt_and_may_stop_the_run(shop: Bundle) -> None:
    """The third time the same: the run is stopped, the journal has it, and people are told."""
    outside = outside_of(shop, loops=Loops(identical_refusals=2, denied_attempts=9))
    first = await outside.gateway.handle(outside.call("shop.none"))
    assert isinstance(first, Refused)
    assert outside.ledger.taken == [Charge("l:denied_attempts:run_agent", 1, 9)]
    outside.ledger.loops = LoopFacts(outside.ledger.events[0].data["signature"], 1)
    second = await outside.gateway.handle(outside.call("shop.none"))
    assert isinstance(second, Refused)
    assert second.refusal.code.code == "loop.repeated_refusal"
    assert [event.kind for event in outside.ledger.events] == ["Decided", "Decided", "RunStopped"]
    assert outside.ledger.events[2].run == "run_agent"
    assert outside.told == [outside.ledger.events[2]]


async def test_calls_made_at_once_are_refused_once(shop: Bundle) -> None:
    """An agent that asks for five things at once has read no answer yet: the run goes on, and the next two times count."""
    clock = FakeClock()
    ledger = open_ledger("memory:", clock=clock.now_ms)
    outside = Outside(replace(shop, budgets=Budgets(loops=Loops(identical_refusals=3))), ledger, clock=clock)  # type: ignore[arg-type]
    codes = []
    for _ in range(3):
        calls = [outside.gateway.handle(outside.call("shop.none")) for _ in range(5)]
        told = await asyncio.gather(*calls)
        codes.append([each.refusal.code.code for each in told if isinstance(each, Refused)])
        clock.advance(1)
    await ledger.close()
    assert codes == [["tool.unknown"] * 5] * 2 + [["loop.repeated_refusal", *["run.stopped"] * 4]]


async def test_a_call_in_an_opened_run_is_charged_there(shop: Bundle) -> None:
    """`Toolgate-Run` names the run whose budget pays."""
    ledger = open_ledger("memory:", clock=lambda: 1_700_000_000_000)
    outside = Outside(bounded(shop), ledger)  # type: ignore[arg-type]
    run = OpenedRun("run_0000000000000000000000000T", 1_800_000_000_000)
    outcomes = [
        await outside.gateway.handle(outside.call()._replace(run=run)),
        await outside.gateway.handle(outside.call()),
    ]
    balances = dict(ledger.balances())
    await ledger.close()
    assert [type(outcome) for outcome in outcomes] == [Completed, Completed]
    assert balances.pop(f"b:run-calls:calls:{run.id}") == 1
    assert list(balances.values()) == [1]


COMPLETE = Cost(10_000, parse_expression("$response.body#/usage/usd"))
SPEND = "b:run-spend:usd:run_agent"


def billing(shop: Bundle, given: int = 1_000_000, *, reply: Reply | None = None) -> Outside:
    """`getItem` costs a cent, or what its reply says."""
    priced = replace(shop.catalog.operations["shop.getItem"], cost={"usd": COMPLETE}, validate_responses="off")
    others = [each for each in shop.catalog.operations.values() if each.key != priced.key]
    budgets = Budgets((Budget("run-spend", ("run",), "usd", given),), (), Loops(), shop.environment)
    outside = Outside(
        replace(shop, catalog=Catalog([priced, *others]), budgets=budgets), FakeLedger(run=RunFacts("run_agent"))
    )
    if reply is not None:
        outside.upstream.reply = reply
    return outside


def of_type(media_type: str, body: bytes | AsyncIterator[bytes]) -> Reply:
    return Reply(200, (("content-type", media_type),), body)


async def chunks(*content: bytes) -> AsyncIterator[bytes]:
    for each in content:
        yield each


async def test_a_reply_that_does_not_say_what_it_cost_is_told_of(shop: Bundle) -> None:
    """In the journal and the metrics: what was charged is not what was billed."""
    outside = billing(shop, reply=of_type("application/json", b"{}"))
    await outside.gateway.handle(outside.call())

    finished = outside.ledger.events[-1].data
    assert ({"usd": 10_000}, "absent") == (finished["costs"], finished["unpriced"])
    assert [("shop.getItem", "absent")] == outside.meter.unpriced_replies


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_a_stream_of_events_is_settled_by_the_last_that_says_its_price(shop: Bundle, size: int) -> None:
    """It is passed on as it comes, and what it cost is known at its end."""
    content = b'data: {"usage":{"usd":9}}\n\ndata: {"x":1}\n\ndata: {"usage":{"usd":0.03}}\n\ndata: [DONE]\n\n'
    cut = [content[at : at + size] for at in range(0, len(content), size)]
    outside = billing(shop, reply=of_type("text/event-stream; charset=utf-8", chunks(*cut)))
    outcome = await outside.gateway.handle(outside.call())
    assert isinstance(outcome, Completed)
    assert not isinstance(outcome.reply.body, bytes)
    assert content == b"".join([chunk async for chunk in outcome.reply.body])

    finished = outside.ledger.events[-1].data
    assert ({"usd": 30_000}, None) == (finished["costs"], finished.get("unpriced"))
    assert [20_000] == [charge.amount for charge in outside.ledger.settled[0].extra]


async def test_a_stream_that_says_nothing_is_told_of(shop: Bundle) -> None:
    """Whoever asks for a stream must not be unseen."""
    outside = billing(shop, reply=of_type("text/event-stream", chunks(b"data: x\n\n")))
    outcome = await outside.gateway.handle(outside.call())
    assert isinstance(outcome, Completed)
    assert not isinstance(outcome.reply.body, bytes)
    assert [b"data: x\n\n"] == [chunk async for chunk in outcome.reply.body]
    assert [("shop.getItem", "event_stream")] == outside.meter.unpriced_replies


async def test_a_call_waits_for_what_calls_under_way_hold(shop: Bundle) -> None:
    """Until they have ended; then what they did not use is there for it, and what they used is gone."""
    outside = billing(shop, reply=of_type("text/event-stream", chunks(b"data: x\n\n")))
    outside.ledger.short = None
    first = await outside.gateway.handle(outside.call())
    outside.ledger.short = Short(Charge(SPEND, 10_000, 1_000_000), 5_000)
    told = []
    for _ in range(2):
        refused = await outside.gateway.handle(outside.call())
        assert isinstance(refused, Refused)
        told.append(refused.refusal.recovery.action)
        assert isinstance(first, Completed)
        assert not isinstance(first.reply.body, bytes)
        async for _ in first.reply.body:
            pass
    assert ["wait", "finish"] == told


async def test_in_audit_callers_are_told_what_is_really_left(shop: Bundle) -> None:
    """Everything is counted and nothing refused; what is left of a budget that is used up is nothing all the same."""
    outside = Outside(replace(bounded(shop), mode="audit"), FakeLedger(run=RunFacts("run_agent")))
    outside.ledger.levels = Known({CALLS: 7}, {}, {"c:in-flight:run_agent": 3})
    outcome = await outside.gateway.handle(outside.call())
    assert isinstance(outcome, Completed)
    assert outcome.standing is not None
    assert ratelimit_lines(outcome.standing).endswith('RateLimit: "in-flight";r=0, "run-calls";r=0\r\n')


async def test_a_run_that_was_stopped_meanwhile_is_told_so(shop: Bundle) -> None:
    """By whoever shares the ledger: the call is refused as every later one will be, and not as if the gate was broken."""

    class Ended(FakeLedger):
        async def record(self, event: Event, guards: Sequence[Guard]) -> Short | None:
            raise RunEndedError("in circles")

    outside = Outside(bounded(shop), Ended(run=RunFacts("run_agent")))
    outcome = await outside.gateway.handle(outside.call())
    assert isinstance(outcome, Refused)
    assert (outcome.refusal.code.code, outcome.refusal.is_passing) == ("run.stopped", False)
    assert "in circles" in outcome.refusal.detail
    assert outside.upstream.sent == []


async def test_a_short_stream_that_came_whole_is_settled_too(shop: Bundle) -> None:
    """What came in one piece with its head is a stream of events all the same."""
    outside = billing(shop, reply=of_type("text/event-stream", b'data: {"usage":{"usd":0.001}}'))
    await outside.gateway.handle(outside.call())

    assert [9_000] == [charge.amount for charge in outside.ledger.settled[0].refunds]
    assert "unpriced" not in outside.ledger.events[-1].data
