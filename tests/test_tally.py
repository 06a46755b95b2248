"""What budgets spent and refused, as operators count it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tests.listeners.test_metrics import series
from tests.support.spending import call, costing
from tests.wire.door import FakeLog

from toolgate.core.budget import Budget
from toolgate.core.budgets import Budgets
from toolgate.core.model import Charge, Guard, Pace, Permit, Place, Settlement
from toolgate.metrics import Metrics
from toolgate.tally import Tally

AT_MS = 1_700_000_000_000
USD, CALLS = "[('budget', 'spend'), ('dimension', 'usd')]", "[('budget', 'spend'), ('dimension', 'calls')]"


def usd(amount: int) -> Charge:
    return Charge("b:spend:usd:run_1", amount, 1_000_000)


def permit_of(*guards: Guard) -> Permit:
    return Permit(call(costing("bank.pay")), guards)


def test_what_is_spent_is_what_calls_came_to() -> None:
    """Held, less what came back, plus what was more; in dollars; loops, paces and places are no money."""
    metrics = Metrics(FakeLog())
    permit = permit_of(
        usd(500_000),
        Charge("l:identical_calls:run_1,ab", 1, 3),
        Pace("r:burst:x", 1, 1),
        Place("c:at-once:x", 1),
    )
    metrics.settled(permit, Settlement(refunds=(usd(450_000),)))
    metrics.settled(permit, Settlement(extra=(usd(100_000),)))
    metrics.settled(permit_of(Charge("b:spend:calls:run_1", 1, 9)), Settlement())
    counted = series(metrics.exposition())

    assert counted[f"toolgate_budget_spent_total{USD}"] == 0.65
    assert counted[f"toolgate_budget_spent_total{CALLS}"] == 1
    assert [name for name in counted if name.startswith("toolgate_budget_spent")] == [
        f"toolgate_budget_spent_total{CALLS}",
        f"toolgate_budget_spent_total{USD}",
    ]


def test_many_who_spend_are_added_up_and_not_kept() -> None:
    """Calls that took alike are counted first; however many accounts there are, what they came to is exact."""
    tally = Tally()
    for number in range(3_000):
        tally.settle(permit_of(Charge(f"b:spend:usd:run_{number}", 7, 1_000_000)), Settlement())
        tally.settle(permit_of(Charge("l:identical_calls:run_1,ab", 1, 3), usd(1)), Settlement())

    assert {("spend", "usd"): 24_000} == tally.spent
    assert {("spend", "usd"): 24_000} == tally.spent


def test_refusals_are_counted_by_what_was_short() -> None:
    """A budget by name and dimension, a limit by name; whose scope it was is in no label."""
    metrics = Metrics(FakeLog())
    for key in (
        "b:spend:usd:corp/alice:2023-11-14",
        "b:spend:usd:corp/bob:2023-11-14",
        "r:burst:a",
        "c:burst:a",
        "l:x:y",
    ):
        metrics.short(key)
    counted = series(metrics.exposition())

    assert counted[f"toolgate_budget_refusals_total{USD}"] == 2
    assert counted["toolgate_limit_refusals_total[('limit', 'burst')]"] == 2
    assert "alice" not in str(counted)


async def test_how_budgets_stand_is_looked_at_aside() -> None:
    """The least left, and how many take of it; an untouched budget has all of it left."""
    tally, looked = Tally(), asyncio.Semaphore(0)
    budgets = Budgets((Budget("spend", ("run",), "usd", 1_000_000), Budget("fresh", (), "calls", 7)))

    def balances() -> Mapping[str, int]:
        looked.release()
        return {"b:spend:usd:run_1": 250_000, "b:spend:usd:run_2": 900_000}

    task = asyncio.ensure_future(tally.watch(lambda: budgets, balances, lambda: AT_MS, look_s=0.001))
    async with asyncio.timeout(5):
        await looked.acquire()
        await looked.acquire()  # the first look is over
    task.cancel()
    metrics = Metrics(FakeLog())
    metrics.tally = tally
    counted = series(metrics.exposition())

    assert counted[f"toolgate_budget_left{USD}"] == 0.1
    assert counted[f"toolgate_budget_spenders{USD}"] == 2
    assert counted["toolgate_budget_left[('budget', 'fresh'), ('dimension', 'calls')]"] == 7


def test_stops_are_counted() -> None:
    """What is frozen by kind, the kinds nothing is frozen of too; runs that were stopped by why."""
    metrics = Metrics(FakeLog())
    metrics.freezes = lambda: ("everything", "tool:a", "tool:b:c")
    metrics.run_stopped("loop.repeated_refusal")
    metrics.run_stopped("anything an agent says")
    counted = series(metrics.exposition())

    assert [counted[f"toolgate_frozen[('kind', '{kind}')]"] for kind in ("everything", "principal", "run", "tool")] == [
        1, 0, 0, 2,
    ]  # fmt: skip
    assert counted["toolgate_runs_stopped_total[('code', 'loop.repeated_refusal')]"] == 1
    assert counted["toolgate_runs_stopped_total[('code', '_unknown')]"] == 1


def test_replies_that_say_no_price_are_counted_and_told_of_sparsely() -> None:
    """The first, the tenth, the hundredth of a kind: whoever causes them does not write the log. An error is no news."""
    log = FakeLog()
    metrics = Metrics(log)
    for _ in range(120):
        metrics.unpriced("shop.getItem", "too_long")
        metrics.unpriced("shop.getItem", "status")

    labels = "[('operation', 'shop.getItem'), ('tool', 'shop'), ('why', 'too_long')]"
    assert series(metrics.exposition())[f"toolgate_unpriced_total{labels}"] == 120
    assert [each["count"] for each in log.named("reply_unpriced")] == [1, 10, 100]
    assert {each["why"] for each in log.named("reply_unpriced")} == {"too_long"}
