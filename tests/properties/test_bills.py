"""Whatever order calls come and end in: bill = charged + overrun, charged ≤ given, and nothing is ever below zero."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import orjson
from hypothesis import given
from hypothesis import strategies as st
from tests.support.spending import NOW_MS, Accounts, bundle, call, costing

from toolgate.core import engine
from toolgate.core.budget import Budget, request_bytes
from toolgate.core.limit import Concurrency, Limit
from toolgate.core.model import Charge, Facts, Permit, Reply, RunFacts, Sent
from toolgate.core.window import RollingWindow

FIXED = costing("t.fixed", usd=300_000)
ARGUED = costing("t.argued", usd="$args.most")
SETTLED = costing("t.settled", usd=(200_000, "$response.body#/cost"))
OPERATIONS = (FIXED, ARGUED, SETTLED)
GIVEN = {"calls": 7, "usd": 4_000_000, "bytes": 60}
RUN = RunFacts("run_1", started_ms=NOW_MS)
BY = bundle(
    OPERATIONS,
    Budget("calls", ("run",), "calls", GIVEN["calls"]),
    Budget("usd", ("principal",), "usd", GIVEN["usd"]),
    Budget("bytes", ("environment",), "bytes", GIVEN["bytes"]),
    limits=[Limit("at-once", ("run",), Concurrency(3))],
)
ROLLING = bundle(OPERATIONS, Budget("roll", ("run",), "usd", GIVEN["usd"], RollingWindow(60)))


@dataclass(frozen=True)
class Attempt:
    """One call: what it asks for, and how it ends if it is permitted."""

    operation: int
    most: int
    body: bytes
    sent: Sent
    said: int | None  # micro-units the reply bills; None: it says nothing
    size: int
    waits: int  # so many others begin before it ends
    pause_ms: int


ATTEMPTS = st.builds(
    Attempt,
    operation=st.integers(0, 2),
    most=st.integers(0, 3),
    body=st.binary(max_size=12),
    sent=st.sampled_from(("no", "unknown", "yes", "yes")),
    said=st.none() | st.integers(0, 900_000),
    size=st.integers(0, 20),
    waits=st.integers(0, 4),
    pause_ms=st.integers(0, 20_000),
)


def billed(attempt: Attempt, permit: Permit) -> Counter[str]:
    """What the upstream would write on the bill, by a model that knows nothing of guards."""
    if attempt.sent == "no":
        return Counter()
    usd = (300_000, attempt.most * 1_000_000, 200_000)[attempt.operation]
    if permit.valid.operation is SETTLED and attempt.sent == "yes" and attempt.said is not None:
        usd = attempt.said
    return Counter(calls=1, usd=usd, bytes=request_bytes(permit.valid) + attempt.size)


def end(attempt: Attempt, permit: Permit, accounts: Accounts) -> None:
    reply = None
    if attempt.sent == "yes":
        said = {} if attempt.said is None else {"cost": attempt.said / 1_000_000}
        reply = Reply(200, (), orjson.dumps(said))
    bill = engine.billed(permit, attempt.sent, reply)
    accounts.settle(engine.settlement(permit, attempt.sent, bill, attempt.size))


@given(st.lists(ATTEMPTS, max_size=25))
def test_the_bill_is_what_was_charged_and_what_ran_over(attempts: list[Attempt]) -> None:
    """Whatever ends when: each dimension adds up exactly, and no balance leaves its bounds."""
    accounts, bill = Accounts(), Counter[str]()
    running: list[tuple[int, Attempt, Permit]] = []
    for number, attempt in enumerate(attempts):
        for ending in [each for each in running if each[0] <= number]:
            end(*ending[1:], accounts)
            running.remove(ending)
        valid = call(OPERATIONS[attempt.operation], {"most": attempt.most}, body=attempt.body)
        decision = engine.decide(valid, Facts(accounts, RUN), BY)
        before = accounts.balances.copy()
        if not isinstance(decision, Permit):
            assert before == accounts.balances
            continue
        assert accounts.take(decision.guards, NOW_MS) is None, "what decide permits, the ledger takes"
        bill += billed(attempt, decision)
        running.append((number + attempt.waits, attempt, decision))
        for key, taken in accounts.balances.items():
            assert 0 <= taken <= GIVEN[key.split(":")[2]]
        assert all(0 <= held <= 3 for held in accounts.places.values())
    for ending in running:
        end(*ending[1:], accounts)
    total = accounts.balances + accounts.overrun
    assert bill == Counter({key.split(":")[2]: amount for key, amount in total.items() if amount})
    assert not any(accounts.places.values())
    assert all(taken <= GIVEN[key.split(":")[2]] for key, taken in accounts.balances.items())


@given(st.lists(ATTEMPTS, max_size=40))
def test_no_rolling_window_holds_more_than_is_given(attempts: list[Attempt]) -> None:
    """In any stretch as long as the window: what was permitted and surely not given back is at most what is given."""
    accounts, at_ms, spent = Accounts(), NOW_MS, []
    for attempt in attempts:
        at_ms += attempt.pause_ms
        decision = engine.decide(call(FIXED, at_ms=at_ms), Facts(accounts, RUN), ROLLING)
        if isinstance(decision, Permit):
            (charge,) = decision.guards
            assert isinstance(charge, Charge)
            accounts.take(decision.guards, at_ms)
            spent.append((at_ms, charge.amount))
    for begin_ms, _ in spent:
        assert sum(amount for when, amount in spent if begin_ms <= when < begin_ms + 60_000) <= GIVEN["usd"]
