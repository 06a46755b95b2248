"""The last line of `decide`: what covers a call, what it takes, and the answer when it is used up."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.support.spending import (
    ANN,
    BURST,
    CALLS,
    FLIGHT,
    FREE,
    NOW_MS,
    QUERY,
    RUN,
    SPEND,
    THINK,
    WRITE,
    bundle,
    call,
    costing,
    decided,
    facts,
    permitted,
    refused,
)

from toolgate.core import engine
from toolgate.core.budget import Budget, Match
from toolgate.core.budgets import Budgets
from toolgate.core.events import Place as EventPlace
from toolgate.core.events import permitted as permitted_event
from toolgate.core.guards import taken_json
from toolgate.core.loop import Loops
from toolgate.core.model import (
    OWN,
    Charge,
    Facts,
    Known,
    OpenedRun,
    Pace,
    Permit,
    Place,
    Principal,
    Refusal,
    Rolling,
    RunFacts,
    Short,
)
from toolgate.core.scope import Subject
from toolgate.core.window import RollingWindow

DAILY = Budget("daily", ("principal",), "usd", 5_000_000, "day")


def test_a_call_is_charged_to_every_budget_that_covers_it() -> None:
    """Loops first, then limits, then budgets, each in the order of the file; a call that costs nothing takes no usd."""
    by = bundle([QUERY, FREE], CALLS, SPEND, DAILY, limits=[BURST, FLIGHT])

    assert (
        Pace("r:burst:ann,metrics", 100_000, 20),
        Place("c:in-flight:run_1", 4),
        Charge("b:run-calls:calls:run_1", 1, 50),
        Charge("b:run-spend:usd:run_1", 2_000, 500_000),
        Charge("b:daily:usd:ann:2026-11-22", 2_000, 5_000_000),
    ) == permitted(call(QUERY), by).guards
    assert ["calls"] == [
        each.key.split(":")[2] for each in permitted(call(FREE), by).guards if isinstance(each, Charge)
    ]


def test_every_scope_and_window_has_its_key() -> None:
    """Scopes in the order of the file, calendar periods at the end, rolling windows by bucket."""
    every = Budget("all", ("environment", "tool", "operation", "principal", "run"), "calls", 5, "week")
    rolling = Budget("roll", ("environment",), "calls", 5, RollingWindow(3600))

    assert (
        Charge("b:all:calls:prod,metrics,metrics.query,ann,run_1:2026-W47", 1, 5),
        Charge("b:roll:calls:prod", 1, 5, Rolling(NOW_MS // 60_000, 61)),
    ) == permitted(call(QUERY), bundle([QUERY], every, rolling)).guards


def test_a_match_says_what_is_covered() -> None:
    """A budget for writes takes nothing of a read."""
    writes = Budget("writes", ("run",), "calls", 5, match=Match(frozenset({WRITE.key})))
    by = bundle([QUERY, WRITE], writes)

    assert () == permitted(call(QUERY), by).guards
    assert (Charge("b:writes:calls:run_1", 1, 5),) == permitted(call(WRITE), by).guards


def test_a_budget_that_is_used_up_says_what_is_left_of_the_others() -> None:
    """The agent is told to finish, what it may still do, and nothing that changes from one call to the next is guessed."""
    by = bundle([QUERY], CALLS, SPEND, DAILY)
    told = facts(calls=38, spent=499_000)

    refusal = refused(call(QUERY), by, told)

    assert ("budget.exhausted", "BudgetExceeded", 403, "budgets", "finish") == (
        refusal.code.code, refusal.code.title, refusal.code.status, refusal.stage, refusal.recovery.action,
    )  # fmt: skip
    assert "the budget `run-spend` of 0.5 usd has 0.001 usd left, and this call takes 0.002" == refusal.detail
    assert (
        "Finish with what you have and report it; do not repeat this call. Calls that cost no usd are not affected. "
        "Still left: 12 of 50 calls (`run-calls`), 5 of 5 usd a day (`daily`)." == refusal.recovery.hint
    )
    others = {"b:run-calls:calls:run_1": 12, "b:daily:usd:ann:2026-11-22": 5_000_000}
    short = {"key": "b:run-spend:usd:run_1", "left": 1_000, "given": 500_000, "others": others}
    assert {"short": short} == refusal.read
    assert refusal.recovery.retry_after_s is None


def test_a_budget_with_a_window_says_when_it_begins_again() -> None:
    """Days in UTC; the time until then is told for whoever can wait."""
    told = Facts(Known({"b:daily:usd:ann:2026-11-22": 5_000_000}), RUN)

    refusal = refused(call(QUERY), bundle([QUERY], DAILY), told)

    assert "the budget `daily` of 5 usd a day is used up" == refusal.detail
    assert "It begins again at 2026-11-23T00:00Z." in refusal.recovery.hint
    assert 16 * 3600 == refusal.recovery.retry_after_s


def test_a_budget_of_calls_says_it_is_used_up() -> None:
    """One call takes one call: nothing more is said about that."""
    refusal = refused(call(FREE), bundle([FREE], CALLS), facts(calls=50))

    assert "the budget `run-calls` of 50 calls is used up" == refusal.detail
    assert refusal.code.hint == refusal.recovery.hint


def test_policy_comes_before_budgets() -> None:
    """Money last: a call that no policy allows is refused for that, whatever is left."""
    by = bundle([QUERY], CALLS, policy='@id("no") forbid (principal, action, resource);')

    assert "policy.denied" == refused(call(QUERY), by, facts(calls=50)).code.code


def test_a_run_that_lasted_too_long_ends() -> None:
    """Wall-clock of the run: a deadline and no charge; a new run has all of it."""
    by = bundle([FREE], Budget("run-time", ("run",), "seconds", 60))

    refusal = refused(call(FREE), by, facts())

    assert ("budget.deadline", "DeadlineExceeded") == (refusal.code.code, refusal.code.title)
    assert "the run is 60 s old, and the budget `run-time` gives it 60 s" == refusal.detail
    assert {"started_ms": NOW_MS - 60_000} == refusal.read
    assert isinstance(decided(call(FREE, at_ms=NOW_MS - 1), by), Permit)
    assert isinstance(decided(call(FREE), by, facts(RunFacts("run_2"))), Permit)
    assert (NOW_MS, None) == (by.budgets.deadline_ms(NOW_MS - 60_000), Budgets().deadline_ms(0))


def test_a_rate_asks_to_wait() -> None:
    """The rule, and how long; the same call may go through then."""
    told = Facts(Known(arrivals_us={"r:burst:ann,metrics": NOW_MS * 1000 + 2_150_000}), RUN)

    refusal = refused(call(QUERY), bundle([QUERY], limits=[BURST]), told)

    assert ("limit.rate", 429, True, 0.25) == (
        refusal.code.code, refusal.code.status, refusal.code.retryable, refusal.recovery.retry_after_s,
    )  # fmt: skip
    assert "the limit `burst` allows 10/s, 20 at once; the next call may come in 0.25 s" == refusal.detail


def test_concurrency_asks_to_wait() -> None:
    """All places are taken; nobody knows for how long."""
    told = Facts(Known(places={"c:in-flight:run_1": 4}), RUN)

    refusal = refused(call(QUERY), bundle([QUERY], limits=[FLIGHT]), told)

    assert ("limit.concurrency", 1.0) == (refusal.code.code, refusal.recovery.retry_after_s)
    assert "the limit `in-flight` allows 4 at once" == refusal.detail


def test_the_same_call_too_often_is_a_loop() -> None:
    """Counted by digest within the window, before limits and budgets."""
    by = bundle([QUERY], CALLS, limits=[BURST], loops=Loops(identical_calls=3, window_s=60))
    permit = permitted(call(QUERY, {"body": {"a": 1, "b": 2.0}}), by)
    guard = permit.guards[0]
    assert isinstance(guard, Charge)
    full = Facts(Known({guard.key: 3, "b:run-calls:calls:run_1": 50}), RUN)

    refusal = refused(call(QUERY, {"body": {"b": 2, "a": 1}}), by, full)

    assert ("loop.repeated_call", "LoopDetected", "loops") == (refusal.code.code, refusal.code.title, refusal.stage)
    assert "`metrics.query` was called with the same arguments 3 times within 60 s" == refusal.detail
    assert "budget.exhausted" == refused(call(QUERY, {"body": {"a": 2}}), by, full).code.code


def test_the_gate_itself_is_never_charged() -> None:
    """Its own readings are no calls of anybody."""
    reading = call(FREE, principal=OWN)

    assert () == bundle([FREE], CALLS, limits=[BURST]).budgets.guards(reading, Subject("run_1", "toolgate"))


def test_somebody_called_toolgate_is_charged() -> None:
    """The gate is known by identity: a name changes nothing."""
    by = bundle([FREE], CALLS)

    assert 1 == len(permitted(call(FREE, principal=Principal("toolgate")), by).guards)


def test_a_sub_run_is_charged_to_the_run_above_it() -> None:
    """The budget of the first run covers every run below it."""
    below = OpenedRun("run_3", NOW_MS + 1, ("run_1", "run_2"))

    assert (Charge("b:run-calls:calls:run_1", 1, 50),) == permitted(call(FREE, run=below), bundle([FREE], CALLS)).guards


def test_several_operations_at_once_take_the_most_of_each() -> None:
    """One request is one call, and costs what the dearest of its meanings costs."""
    dear = costing("metrics.dear", usd=9_000)
    valid = call(QUERY)._replace(also=(call(dear),))

    assert (
        Charge("b:run-calls:calls:run_1", 1, 50),
        Charge("b:run-spend:usd:run_1", 9_000, 500_000),
    ) == permitted(valid, bundle([QUERY, dear], CALLS, SPEND)).guards


@pytest.mark.parametrize("arguments", [{}, {"most": "many"}, {"most": -1}, {"most": True}, {"most": None}])
def test_a_cost_the_arguments_do_not_say_is_not_free(arguments: dict[str, Any]) -> None:
    """Refused with the place that must say it; the way forward is to say it."""
    by = bundle([THINK], Budget("tokens", ("run",), "tokens", 10**9))

    refusal = refused(call(THINK, arguments), by, facts())

    assert ("arguments.invalid", "budgets", "/most") == (refusal.code.code, refusal.stage, refusal.violations[0].path)
    assert "`/most` does not say what the call costs" == refusal.detail


def test_a_cost_nobody_counts_is_not_asked_for() -> None:
    """Without a budget in tokens, arguments need not say how many."""
    assert 1 == len(permitted(call(THINK), bundle([THINK], CALLS)).guards)


def test_a_guard_the_ledger_found_short_is_told_in_the_same_words() -> None:
    """Two calls share the last unit: the second one is told what it would have been told a moment later."""
    by, last = bundle([QUERY], CALLS), facts(calls=50)
    permit = permitted(call(QUERY), by)

    told = engine.shortage(permit, Short(permit.guards[0], 0), last, by)

    assert refused(call(QUERY), by, last) == told


def test_what_is_proposed_is_decided_but_for_its_guards() -> None:
    """Whoever records the call finds out whether they hold; of everything before them nothing is left out."""
    by, late = bundle([QUERY], CALLS, SPEND), Budget("short-runs", ("run",), "seconds", 30)
    last = facts(calls=50)

    proposed = engine.propose(call(QUERY), last, by)

    assert proposed == permitted(call(QUERY), by)
    assert isinstance(decided(call(QUERY), by, last), Refusal)
    assert refused(call(QUERY), bundle([QUERY], late), facts()) == engine.propose(
        call(QUERY), facts(), bundle([QUERY], late)
    )


def test_in_mode_audit_what_is_proposed_is_what_is_decided() -> None:
    """Nothing is refused there, so nobody else is asked: the shadow says at once what would have been."""
    by, last = bundle([QUERY], CALLS, mode="audit"), facts(calls=50)

    proposed = engine.propose(call(QUERY), last, by)

    assert decided(call(QUERY), by, last) == proposed
    assert proposed.shadow is not None
    assert "budget.exhausted" == proposed.shadow.code


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_the_journal_says_of_a_permit_what_it_takes(mode: str) -> None:
    """What is encoded once for all calls of an account is what this call takes: in mode audit no pace."""
    by = bundle([QUERY], CALLS, SPEND, limits=[BURST, FLIGHT], loops=Loops(identical_calls=3), mode=mode)
    permit = permitted(call(QUERY), by)

    event = permitted_event(permit, by, EventPlace("run_1", 1), {})

    assert orjson.loads(orjson.dumps(taken_json(permit.guards))) == orjson.loads(orjson.dumps(event.data["charges"]))


def test_mode_audit_counts_and_refuses_nothing() -> None:
    """The call goes through with what it would have been; everything is counted, also beyond what is given."""
    by = bundle([QUERY], CALLS, SPEND, limits=[BURST, FLIGHT], mode="audit")
    told = Facts(Known({"b:run-calls:calls:run_1": 50}, {}, {"c:in-flight:run_1": 4}), RUN)

    decision = engine.decide(call(QUERY), told, by)

    assert isinstance(decision, Permit)
    assert decision.shadow is not None
    assert ("refuse", "limit.concurrency") == (decision.shadow.decision, decision.shadow.code)
    assert ["c:in-flight:run_1", "b:run-calls:calls:run_1", "b:run-spend:usd:run_1"] == [
        guard.key for guard in decision.guards
    ]
    assert all(isinstance(guard, Charge | Place) and guard.given > 10**17 for guard in decision.guards)


def test_balances_are_those_a_caller_can_ask_for() -> None:
    """Budgets by run, principal and environment: those by operation have no one balance."""
    per_tool = Budget("per-tool", ("principal", "tool"), "calls", 5)
    budgets = Budgets((CALLS, DAILY, per_tool, Budget("t", ("run",), "seconds", 9)), (), Loops(), "prod")

    found = budgets.balances(Subject("run_1", "ann"), Known({"b:run-calls:calls:run_1": 51}), NOW_MS)

    assert [("run-calls", 51, 0, None), ("daily", 0, 5_000_000, 57_600.0)] == [
        (each.budget.name, each.taken, each.left, each.again_s) for each in found
    ]


def test_a_guard_leads_back_to_its_rule() -> None:
    """By name and dimension; the key of something else leads nowhere."""
    budgets = Budgets((CALLS, SPEND), (BURST,), Loops(), "prod")

    assert CALLS is budgets.budget_of(Charge("b:run-calls:calls:x", 1, 1))
    assert BURST is budgets.limit_of(Pace("r:burst:x,y", 1, 1))
    assert [None, None] == [
        budgets.budget_of(Charge("l:identical_calls:x", 1, 1)),
        budgets.limit_of(Charge("b:burst:calls:x", 1, 1)),
    ]
    assert ANN.id == "ann"


def held_by_others(reserved: int, *, taken: int) -> Refusal:
    levels = Known({"b:run-spend:usd:run_1": taken})
    told = Facts(levels, RUN, reserved={"b:run-spend:usd:run_1": reserved})
    return refused(call(QUERY), bundle([QUERY], SPEND, loops=Loops(denied_attempts=1)), told)


def test_what_calls_under_way_hold_is_waited_for() -> None:
    """It may be given back, so the call is no dead end, and counts neither as denied nor as repeated."""
    refusal = held_by_others(20_000, taken=499_000)

    assert ("budget.exhausted", "wait", 1.0) == (
        refusal.code.code,
        refusal.recovery.action,
        refusal.recovery.retry_after_s,
    )
    assert refusal.is_passing
    assert (
        "the budget `run-spend` of 0.5 usd has 0.001 usd left while calls under way hold 0.02, and this call takes 0.002"
        == (refusal.detail)
    )
    assert refusal.read is not None
    assert 20_000 == refusal.read["short"]["reserved"]
    by = bundle([QUERY], SPEND, loops=Loops(denied_attempts=1, identical_refusals=2))
    counted = engine.consequence(call(QUERY).call, refusal, facts(), by)
    assert ("", (), None) == (counted.signature, counted.guards, counted.stop)


def test_what_waiting_does_not_bring_is_the_end() -> None:
    """What is spent is spent, whatever little of it may come back."""
    refusal = held_by_others(500, taken=499_000)

    assert ("finish", False) == (refusal.recovery.action, refusal.is_passing)


def test_who_asks_for_too_much_is_told_how_much_there_is() -> None:
    """An amount that the arguments say can be made smaller."""
    by = bundle([THINK], Budget("t", ("run",), "tokens", 1_000_000_000))
    refusal = refused(call(THINK, {"most": 5000}), by, facts())

    assert ("fix_arguments", "Ask for at most 1000 (`/most`). Calls that cost no tokens are not affected.") == (
        refusal.recovery.action,
        refusal.recovery.hint,
    )


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        (
            Budget("n", ("run",), "calls", 0, match=Match(frozenset({"metrics.list"}))),
            "Other operations are not affected.",
        ),
        (
            Budget("n", ("run",), "calls", 0, match=Match(frozenset({"metrics.list", "a.b"}))),
            "Operations that `n` does not cover are not affected; `GET /-/run` lists those it does.",
        ),
        (Budget("n", ("run", "operation"), "calls", 0), "Other operations are not affected."),
        (Budget("n", ("run", "tool"), "calls", 0), "Other tools are not affected."),
    ],
)
def test_what_still_works_is_said(budget: Budget, told: str) -> None:
    """A budget that covers something bounds nothing else."""
    assert told in refused(call(FREE), bundle([FREE], budget), facts()).recovery.hint
