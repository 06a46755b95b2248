"""What a call came to: by its reply, by its bytes, or by what was held where neither says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.support.spending import (
    BURST,
    CALLS,
    FLIGHT,
    FREE,
    QUERY,
    SPEND,
    THINK,
    bundle,
    call,
    costing,
    facts,
    permitted,
    refused,
)

from toolgate.core import engine
from toolgate.core.budget import Budget
from toolgate.core.model import (
    Charge,
    Permit,
    Place,
    Reply,
    Sent,
    Settlement,
)


def think(*, most: int = 100, given: int = 10**9) -> Permit:
    spend = Budget("spend", ("run",), "usd", given)
    return permitted(
        call(THINK, {"most": most}), bundle([THINK], Budget("t", ("run",), "tokens", 10**9), spend, limits=[FLIGHT])
    )


def reply(body: Any, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Reply(200, tuple(headers.items()), content)


def settlement(permit: Permit, sent: Sent, reply: Reply | None, size: int = 0) -> Settlement:
    return engine.settlement(permit, sent, engine.billed(permit, sent, reply), size)


def changes(charges: tuple[Charge, ...]) -> dict[str, int]:
    return {charge.key: charge.amount for charge in charges}


def test_the_reply_says_what_a_call_costs() -> None:
    """Less is given back, more is taken; amounts of several places are added up, and rounded up to the millionth."""
    settled = settlement(think(), "yes", reply({"usage": {"in": 30, "out": 12.5}}, **{"X-Cost": "0.0600000001"}))

    assert {"b:t:tokens:run_1": 57_500_000} == changes(settled.refunds)
    assert {"b:spend:usd:run_1": 10_001} == changes(settled.extra)
    assert {"tokens": 42_500_000, "usd": 60_001} == settled.costs
    assert (Place("c:in-flight:run_1", 4),) == settled.places


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        {"usage": {}},
        {"usage": {"in": -5}},
        {"usage": {"in": 1, "out": "x"}},
        [],
        b'{"usage":{"a":NaN}}',
        b"[" * 100_000,
    ],
)
def test_a_reply_that_says_nothing_leaves_what_was_held(body: Any) -> None:
    """What cannot be read never makes a call cheaper, and never ends in an error."""
    settled = settlement(think(), "yes", reply(body))

    assert ((), ()) == (settled.refunds, settled.extra)
    assert {"tokens": 100_000_000, "usd": 50_000} == settled.costs


def test_what_was_surely_not_sent_is_given_back() -> None:
    """All of it, and its place; the rate is not: the call came."""
    permit = permitted(call(QUERY), bundle([QUERY], CALLS, SPEND, limits=[BURST, FLIGHT]))

    settled = settlement(permit, "no", None)

    assert {"b:run-calls:calls:run_1": 1, "b:run-spend:usd:run_1": 2_000} == changes(settled.refunds)
    assert ((), 1, {}) == (settled.extra, len(settled.places), dict(settled.costs))


def test_what_may_have_been_sent_stays_charged() -> None:
    """Nobody knows what the upstream did: what was held is the bill."""
    permit = permitted(call(QUERY), bundle([QUERY], CALLS, SPEND, limits=[FLIGHT]))

    settled = settlement(permit, "unknown", None)

    assert ((), (), {"usd": 2_000}, 1) == (settled.refunds, settled.extra, dict(settled.costs), len(settled.places))


@pytest.mark.parametrize(
    ("body", "size", "held", "refund", "extra"), [(None, 0, 1, 1, 0), (None, 9, 1, 0, 8), (b"12345", 4, 5, 0, 4)]
)
def test_bytes_are_those_of_both_bodies(body: bytes | None, size: int, held: int, refund: int, extra: int) -> None:
    """What is sent is held, at least 1 so that nothing goes through where nothing is left; the reply's are added."""
    permit = permitted(call(FREE, body=body), bundle([FREE], Budget("b", ("run",), "bytes", 100)))
    settled = settlement(permit, "yes", None, size)

    assert (Charge("b:b:bytes:run_1", held, 100),) == permit.guards
    assert (refund, extra) == (sum(changes(settled.refunds).values()), sum(changes(settled.extra).values()))


def test_what_the_reply_settles_holds_something() -> None:
    """A reserve of nothing would let calls through when nothing is left."""
    free = costing("model.free", usd=(0, "$response.header.X-Cost"))
    by = bundle([free], SPEND)

    assert (Charge("b:run-spend:usd:run_1", 1, 500_000),) == permitted(call(free), by).guards
    assert "budget.exhausted" == refused(call(free), by, facts(spent=500_000)).code.code


def test_only_a_bill_in_the_body_needs_the_body() -> None:
    """A header is there before the body is, so a stream stays one."""
    header = costing("m.header", usd=(5, "$response.header.X-Cost"))

    assert engine.reads_reply(think())
    assert not engine.reads_reply(permitted(call(header), bundle([header], SPEND)))
