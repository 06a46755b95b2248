"""Who spends what, read out of the keys of a ledger."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.budget import Budget
from toolgate.core.scope import encoded
from toolgate.core.spending import Spender, looks_back, spending, spending_json
from toolgate.core.window import RollingWindow

AT_MS = 1_795_362_879_000  # 2026-11-22


def test_balances_are_sorted_by_their_budgets() -> None:
    """The present period only; what no budget gives and what is none of a budget's is left out."""
    daily = Budget("daily", ("principal", "tool"), "usd", 5_000_000, "day")
    rolling = Budget("rolling", ("run",), "calls", 3, RollingWindow(60))
    age = Budget("age", ("run",), "seconds", 900)
    balances = {
        "b:daily:usd:corp/alice,metrics:2026-11-22": 2_000_000,
        "b:daily:usd:corp/bob,metrics:2026-11-22": 6_000_000,
        "b:daily:usd:corp/bob,metrics:2026-11-21": 1,
        "b:rolling:calls:run_1": 2,
        "b:rolling:calls:run_2": 0,
        "b:gone:calls:run_1": 1,
        "b:rolling:usd:run_1": 1,
        "r:burst:x": 1,
        "l:denied_attempts:run_1": 4,
        "nonsense": 1,
    }
    first, second, third = spending((daily, rolling, age), balances, AT_MS, 1)

    assert (first.budget, first.spenders, first.taken) == (daily, 2, 8_000_000)
    assert first.most == (Spender({"principal": "corp/bob", "tool": "metrics"}, 6_000_000, 0),)
    assert (second.spenders, second.most) == (1, (Spender({"run": "run_1"}, 2, 1),))
    assert [0, 0, 0] == [each.overrun for each in (first, second, third)]
    assert (third.budget, third.spenders) == (age, 0)  # nobody takes of the age of a run


def test_what_was_billed_beyond_a_budget_is_told() -> None:
    """As far back as its window goes; of a calendar window the present period, which the key names."""
    daily = Budget("daily", ("principal",), "usd", 5_000_000, "day")
    rolling = Budget("rolling", ("run",), "usd", 3_000_000, RollingWindow(60))
    ever = Budget("ever", ("run",), "usd", 3_000_000)
    budgets = (daily, rolling, ever)
    keys = ("b:daily:usd:bob:2026-11-22", "b:rolling:usd:run_1", "b:ever:usd:run_1")
    day, minute = AT_MS - 86_400_000, AT_MS - 60_000
    overruns = {
        0: dict.fromkeys(keys, 7_000_000),
        day: {**dict.fromkeys(keys, 6_000_000), "b:daily:usd:bob:2026-11-21": 9},
        minute: dict.fromkeys(keys, 2_500_000),
    }
    found = spending(budgets, dict.fromkeys(keys, 3_000_000), AT_MS, 1, overruns)

    assert looks_back(budgets, AT_MS) == {0, day, minute}
    assert (
        [6_000_000, 2_500_000, 7_000_000]
        == [each.overrun for each in found]
        == [each.most[0].overrun for each in found]
    )
    assert ["6", "2.5", "7"] == [spending_json(each)["overrun"] for each in found]


@given(st.text(max_size=20))
def test_any_name_is_read_back(name: str) -> None:
    """A principal may be called anything; the key it stands in gives its name again."""
    budget = Budget("b", ("principal",), "calls", 9)
    (found,) = spending((budget,), {f"b:b:calls:{encoded(name)}": 1}, AT_MS, 5)

    assert [dict(spender.scope) for spender in found.most] == [{"principal": name}]
