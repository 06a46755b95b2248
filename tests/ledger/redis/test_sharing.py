"""What gates of one store know of each other: what is taken, what is frozen, which runs are stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.redis.stores import kept, made_ready, prefix_of, settled
from tests.ledger.world import START_MS, Clock, calling, decided, finished, ledger_filter, opened, take
from tests.support.redis_server import RedisServer

from toolgate.core import runs as told
from toolgate.core.model import Charge, Freeze, OpenedRun, Pace, Place, Rolling, Settlement, Short
from toolgate.ledger.redis.ledger import SharedLedger
from toolgate.ledger.redis.opening import reach
from toolgate.ledger.redis.upkeep import begin_anew
from toolgate.ports import LedgerError, RunEndedError

PLACE = Place("c:in-flight:ann", 2)
BY = Freeze("ops/ann", "it deletes things", START_MS)


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    return made_ready(redis_server.url)


async def known(held: SharedLedger, condition: Any) -> None:
    """What another gate did has arrived here by itself."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (the link's own task)
            await asyncio.sleep(0.01)


def on(number: int, gate: str = "a") -> Any:
    """A permit by a call of that gate alone: ids are never shared."""
    return decided(number)._replace(call=f"{gate}-{number}")


def end_of(number: int, gate: str = "a", **data: Any) -> Any:
    return finished(number, **data)._replace(call=f"{gate}-{number}")


async def test_two_gates_spend_what_one_may(url: str) -> None:
    """INV7: 250 calls at once through each of two gates against 100: exactly 100."""
    gates = [opened(url), opened(url)]
    calls = [gates[n % 2].record(decided(n), [take(1, 100)]) for n in range(500)]
    answers = await asyncio.gather(*calls)
    for gate in gates:
        await gate.close()
    assert answers.count(None) == 100
    assert {Short(take(1, 100), 0)} == {answer for answer in answers if answer}
    assert kept(url) == {"calls": 100}


async def test_the_same_call_is_charged_once(url: str) -> None:
    """Request-keyed: whoever asks again for a call that has its guards is told so, and pays nothing more."""
    held = opened(url)
    assert await held.record(decided(1), [take(1, 5)]) is None
    assert await held.record(decided(1), [take(1, 5)]) is None
    await held.close()
    assert kept(url) == {"calls": 1}


async def test_what_was_not_used_is_given_back_to_everybody(url: str) -> None:
    """A refund is in the journal first, then in the store; and it is given back once."""
    first, second = opened(url), opened(url)
    await first.record(on(1), [take(5, 5), Charge("w", 3, 9, Rolling(START_MS // 60_000, 61))])
    refunds = (take(2, 5), Charge("w", 3, 9, Rolling(START_MS // 60_000, 61)))
    await first.finish(end_of(1), Settlement(refunds=refunds))
    await settled(first)
    assert await second.record(on(1, "b"), [take(2, 5)]) is None
    await first.close()
    await second.close()
    assert kept(url) == {"calls": 5, "w": 0}
    expected = [{"key": "calls", "amount": 2}, {"key": "w", "amount": 3, "bucket": START_MS // 60_000}]
    assert first.journal.call("a-1")[1].event["refunds"] == expected


async def test_what_cost_more_takes_what_is_left_for_everybody(url: str) -> None:
    """Bill = charged + overrun, by what is left in the store; the `Finished` says both."""
    first, second = opened(url), opened(url)
    await first.record(on(1), [take(50, 100, "usd")])
    await second.record(on(1, "b"), [take(30, 100, "usd")])
    await first.finish(end_of(1), Settlement(extra=(take(45, 100, "usd"),)))
    await settled(first)
    assert await second.record(on(2, "b"), [take(1, 100, "usd")]) == Short(take(1, 100, "usd"), 0)
    await first.close()
    await second.close()
    assert kept(url) == {"usd": 100}
    event = first.journal.call("a-1")[1].event
    assert event["extra"] == [{"key": "usd", "amount": 20}]
    assert event["overrun"] == [{"key": "usd", "amount": 25}]


async def test_what_cost_more_while_the_store_was_away_is_settled_when_it_is_back(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """The `Finished` says what is unsettled, and `Settled` what became of it: also across a restart of the gate."""
    with RedisServer() as server:
        url = made_ready(server.url)
        journal = tmp_path / "ledger.db"
        first = opened(url, journal=journal)
        await first.record(decided(1), [take(50, 100, "usd")])
        server.kill()
        await first.finish(finished(1), Settlement(extra=(take(70, 100, "usd"),)))
        await known(first, lambda: len(first.journal.call("call-1")) == 2)
        await first.close()
        assert first.journal.call("call-1")[1].event["unsettled"] == [{"key": "usd", "amount": 70, "given": 100}]
        server.start()
        again = opened(url, journal=journal)
        await again.append(told.implicit("run_2", "ann", START_MS))
        await settled(again)
        await again.close()
        assert kept(url) == {"usd": 100}
    events = [row.event for row in again.journal.call("call-1")]
    assert [event["event"] for event in events] == ["Decided", "Finished", "Settled"]
    assert events[2]["overrun"] == [{"key": "usd", "amount": 20}]


async def test_a_place_is_everybodys(url: str) -> None:
    """Two at once over all gates; who ends gives it to whoever asks next."""
    first, second = opened(url), opened(url)
    assert await first.record(on(1), [PLACE]) is None
    assert await second.record(on(1, "b"), [PLACE]) is None
    assert await first.record(on(2), [PLACE]) == Short(PLACE, 0)
    await second.finish(end_of(1, "b"), Settlement(places=(PLACE,)))
    await settled(second)
    assert await first.record(on(3), [PLACE]) is None
    await first.close()
    await second.close()


async def test_a_pace_is_everybodys(url: str) -> None:
    """GCRA over all gates: two at once, whoever they come through, then one every tenth of a second."""
    pace = Pace("r:burst:ann", 100_000, 2)
    gates = [opened(url), opened(url)]
    answers = []
    for number, at_ms in enumerate((0, 0, 0, 50, 100, 1_000, 1_000, 1_000)):
        short = await gates[number % 2].record(decided(number)._replace(at_ms=START_MS + at_ms), [pace])
        answers.append(short and short.retry_after_s)
    for gate in gates:
        await gate.close()
    assert answers == [None, None, 0.1, 0.05, None, None, None, 0.1]


async def test_a_window_that_moves_is_everybodys(url: str) -> None:
    """What was taken leaves the window with its own bucket."""
    gates = [opened(url), opened(url)]
    answers = []
    for number, minute in enumerate((0, 30, 45, 61, 61, 91)):
        at_ms = START_MS + minute * 60_000
        charge = Charge("w", 5, 10, Rolling(at_ms // 60_000, 61))
        answers.append(await gates[number % 2].record(decided(number)._replace(at_ms=at_ms), [charge]) is None)
    for gate in gates:
        await gate.close()
    assert answers == [True, True, False, True, False, True]


async def test_a_refused_call_costs_its_denied_attempt_everywhere(url: str) -> None:
    """Attempts are counted over all gates, up to what is given, and never twice for a call."""
    attempt = Charge("l:denied_attempts:ann", 1, 2)
    gates = [opened(url), opened(url)]
    for number in range(4):
        await gates[number % 2].append(decided(number, code="policy.denied"), [attempt])
    for gate in gates:
        await settled(gate)
        await gate.close()
    assert kept(url) == {"l:denied_attempts:ann": 2}


@pytest.mark.parametrize(
    ("kind", "name"), [("everything", None), ("principal", "digest"), ("tool", "metrics"), ("run", "run_1")]
)
async def test_a_freeze_holds_everywhere_at_once(url: str, kind: Any, name: str | None) -> None:
    """The kill switch: thrown at one gate, the very next record of another is written after it has it, and says who and why."""
    first, second = opened(url), opened(url)
    assert await second.record(on(1, "b"), [take(1, 9)]) is None
    await first.record(told.switched("freeze", kind, name, BY), ())
    key = "everything" if name is None else f"{kind}:{name}"
    assert key not in second.freezes()
    assert await second.record(on(2, "b"), [take(1, 9)]) is None
    assert (second.freezes()[key].who, second.freezes()[key].why) == (BY.who, BY.why)
    await second.record(told.switched("thaw", kind, name, BY), ())
    assert await first.record(on(3), [take(1, 9)]) is None
    await known(first, lambda: not first.freezes())
    await first.close()
    await second.close()
    rows = [row.event for row in second.journal.events(ledger_filter())]
    said = [event.get("action") or event["call"] for event in rows if event["event"] in {"KillSwitch", "Decided"}]
    assert said == ["b-1", "freeze", "b-2", "thaw"]
    assert kept(url) == {"calls": 3}


async def test_a_freeze_while_the_store_is_away_holds_here_and_then_everywhere() -> None:
    """What stops never waits; what lets go does."""
    with RedisServer() as server:
        url = made_ready(server.url)
        first, second = opened(url), opened(url)
        await first.record(on(1), ())
        await second.record(on(1, "b"), ())
        server.kill()
        await first.record(told.switched("freeze", "tool", "metrics", BY), ())
        assert "tool:metrics" in first.freezes()
        with pytest.raises(LedgerError, match="cannot be reached"):
            await first.record(told.switched("thaw", "tool", "metrics", BY), ())
        server.start()
        await known(second, lambda: "tool:metrics" in second.freezes())
        await first.close()
        await second.close()


@pytest.mark.parametrize("was_told", [False, True])
async def test_what_was_stopped_while_the_store_was_away_outlives_the_gate(tmp_path: Path, *, was_told: bool) -> None:
    """A gate that is restarted before the store is back tells it then: what stops is never lost, and what was let go stays so."""
    with RedisServer() as server:
        url = made_ready(server.url)
        journal = tmp_path / "ledger.db"
        first, second = opened(url, journal=journal), opened(url)
        await second.record(on(1, "b"), ())
        await first.record(told.opened(OpenedRun("run_1", START_MS + 10**9), "digest", {}, START_MS), ())
        for _ in range(2):
            await first.record(told.switched("freeze", "tool", "books", BY), ())
        await first.record(told.switched("thaw", "tool", "books", BY), ())
        server.kill()
        await first.record(told.switched("freeze", "tool", "metrics", BY), ())
        await first.record(told.stopped("run_1", "digest", "in circles", "loop.repeated_refusal", START_MS), ())
        if was_told:
            server.start()
            await settled(first)
            await second.record(told.switched("thaw", "tool", "metrics", BY), ())
            await known(first, lambda: not first.freezes())
        await first.close()
        if not was_told:
            server.start()
        again = opened(url, journal=journal)
        await again.append(told.implicit("run_9", "ann", START_MS))
        await settled(again)
        await settled(second)
        assert set(again.freezes()) == (set() if was_told else {"tool:metrics"})
        await known(second, lambda: set(second.freezes()) == set(again.freezes()))
        with pytest.raises(LedgerError, match="the run was stopped"):
            await second.record(on(2, "b"), ())
        await again.close()
        await second.close()


async def test_a_stopped_run_is_stopped_everywhere_until_it_is_thawed(url: str) -> None:
    """A run that goes in circles at one gate goes on at none; and a run below it does not either."""
    first, second = opened(url), opened(url)
    await first.append(
        told.stopped("run_1", "digest", "the same refusal three times", "loop.repeated_refusal", START_MS)
    )
    await settled(first)
    second.next_in_run(calling("digest", START_MS, OpenedRun("run_1", START_MS + 10**9)))
    with pytest.raises(RunEndedError) as ended:
        await second.record(on(1, "b"), [take(1, 9)])
    assert ended.value.why == "the same refusal three times"
    facts = lambda: second.facts(["opened:run_1"], START_MS).run.stopped  # noqa: E731
    await known(second, lambda: facts() == "the same refusal three times")
    below = on(2, "b")._replace(run="run_2")
    with pytest.raises(LedgerError, match="the run was stopped"):
        await second.record(below._replace(data={**below.data, "above": ("run_1",)}), [take(1, 9)])
    await first.record(told.switched("thaw", "run", "run_1", BY), ())
    await known(second, lambda: facts() is None)
    assert await second.record(on(3, "b"), [take(1, 9)]) is None
    await first.close()
    await second.close()


async def test_freezes_outlive_an_emptied_store() -> None:
    """FT25: what was frozen is frozen again in the store an operator began anew."""
    with RedisServer() as server:
        url = made_ready(server.url)
        first = opened(url)
        await first.record(told.switched("freeze", "tool", "metrics", BY), ())
        server.empty()
        server.start()
        store = reach(url.partition("#")[0], first._link.access)
        begin_anew(store, "second", 1)
        store.close()
        await known(first, lambda: server.ask("HEXISTS", f"{{{prefix_of(url)}}}:freezes", "tool:metrics"))
        await first.close()
        assert "StoreBegunAnew" in [row.event["event"] for row in first.journal.events(ledger_filter())]


async def test_a_gate_that_starts_learns_what_was_frozen_and_thawed_meanwhile(url: str, tmp_path: Path) -> None:
    """The store is right about what other gates did while this one was away."""
    journal = tmp_path / "ledger.db"
    first, second = opened(url, journal=journal), opened(url)
    await first.record(on(1), ())
    await first.record(told.switched("freeze", "tool", "metrics", BY), ())
    await first.close()
    await second.record(told.switched("thaw", "tool", "metrics", BY), ())
    await second.record(told.switched("freeze", "principal", "bob", BY), ())
    again = opened(url, journal=journal)
    assert "tool:metrics" in again.freezes()
    await again.append(told.implicit("run_9", "ann", START_MS))
    await known(again, lambda: set(again.freezes()) == {"principal:bob"})
    await again.close()
    await second.close()


async def test_what_is_known_is_what_the_last_script_said(url: str) -> None:
    """Facts cost no round trip; what is old is looked at beside the path, and counts meanwhile as far as it can only grow."""
    clock = Clock()
    first, second = opened(url, clock=clock), opened(url, clock=clock)
    await first.record(on(1), [take(3, 9), PLACE])
    levels = first.facts((), START_MS).levels
    assert (levels.taken(take(0, 9)), levels.held(PLACE)) == (3, 1)
    await second.record(on(1, "b"), [take(4, 9)])
    clock.now_ms += 2_000
    assert (levels.taken(take(0, 9)), levels.held(PLACE)) == (3, 0)
    await known(first, lambda: levels.taken(take(0, 9)) == 7)
    assert first.balances()["calls"] == 7
    await first.close()
    await second.close()


async def test_places_of_a_gate_that_is_gone_are_free_after_a_while(url: str, redis_server: RedisServer) -> None:
    """A living gate renews the places of its calls; nobody renews those of a dead one."""
    held = opened(url)
    await held.record(on(1), [PLACE])
    key = f"{{{prefix_of(url)}}}:place:{PLACE.key}"
    redis_server.ask("ZADD", key, 10**14, "dead#1")
    assert await held.record(on(2), [PLACE]) == Short(PLACE, 0)
    redis_server.ask("ZADD", key, 1, "dead#1")
    assert await held.record(on(3), [PLACE]) is None
    before = float(redis_server.ask("ZSCORE", key, "a-1#1"))
    await known(held, lambda: float(redis_server.ask("ZSCORE", key, "a-1#1")) > before)
    await held.close()
