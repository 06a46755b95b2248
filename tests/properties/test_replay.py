"""Every decision can be made again from its journal line (DESIGN §1, INV3): the same bundle, the line, nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import Outside
from tests.support.desk import bundle as desk_bundle
from tests.support.random_policies import PEOPLE, RUNS, Rule, bundles
from tests.support.random_tools import CALLS, HIDDEN, METRICS, random_tools, with_rules
from tests.support.replaying import again
from tests.support.statements import statements

from toolgate.core.budget import Budget
from toolgate.core.budgets import Budgets
from toolgate.core.bundle import Bundle, Mode
from toolgate.core.journal import GENESIS, encode, line, timestamp
from toolgate.core.limit import Concurrency, Limit, Rate
from toolgate.core.loop import TOGETHER_MS, Loops
from toolgate.core.model import (
    Call,
    Freeze,
    LoopFacts,
    Named,
    OpenedRun,
    Principal,
    ResourceCatalogue,
    RunFacts,
    Situation,
)
from toolgate.core.policies import Policies
from toolgate.core.window import RollingWindow
from toolgate.testing.fakes import FakeClock, FakeLedger
from toolgate.testing.levels import CaseLevels

ATTRIBUTES = st.sampled_from(
    ({}, {"tier": "critical"}, {"tier": "low", "size": 3}, {"tier": None, "more": [1, {"__entity": 1}]})
)
LISTED = st.fixed_dictionaries(dict.fromkeys(METRICS, ATTRIBUTES))
ASKED = CALLS | st.sampled_from([(HIDDEN, {}), ("t.nothing", {}), ("t.read", {"n": "no number"})])
MOMENTS = st.sampled_from((0, 1_700_000_000_000, 1_795_334_400_000))
NOTES = ("", "", '@approval("oncall")', '@mode("audit")')


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return random_tools(tmp_path_factory.mktemp("live"), live=True)


def written(outside: Outside, call: Call) -> dict[str, Any]:
    """Have the gateway take a call, and return the line of its `Decided`."""
    asyncio.run(outside.gateway.handle(call))
    (event,) = (each for each in outside.ledger.events if each.kind == "Decided")
    parsed: dict[str, Any] = json.loads(line(encode(event), "w", 1, timestamp(event.at_ms), GENESIS))
    return parsed


@dataclass(frozen=True)
class Stand:
    """How things stand when a call comes, beside the run: what is taken, what is frozen, how often it was refused."""

    taken: Mapping[str, int] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)
    wait_s: Mapping[str, float] = field(default_factory=dict)
    loops: Mapping[str, int] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    stopped: str | None = None
    age_s: int = 0
    repeats: int = 0
    above: tuple[str, ...] = ()
    mode: Mode = "enforce"


def ledger_of(run: RunFacts, stand: Stand, refusal: str, at_ms: int) -> FakeLedger:
    return FakeLedger(
        run=run._replace(id="run_7", started_ms=at_ms - stand.age_s * 1000, stopped=stand.stopped),
        levels=CaseLevels(stand.taken, stand.running, stand.wait_s, stand.loops, at_ms),
        frozen={key: Freeze("eve", "billing\nalarm", at_ms) for key in stand.frozen},
        loops=LoopFacts(refusal, stand.repeats, at_ms - TOGETHER_MS),
    )


def decides_to_itself(
    tools: Bundle,
    rules: dict[str, Rule],
    who: tuple[Principal, RunFacts, int, Stand],
    asked: tuple[str, dict[str, Any]],
    listed: Mapping[str, Mapping[str, Any]],
) -> str:
    """Take a call, decide it again from its line, and return what was decided."""
    principal, run, at_ms, stand = who
    bundle = replace(with_rules(tools, rules), budgets=BUDGETS, mode=stand.mode)
    refusal = ""
    for _ in range(2):  # once to learn what would be refused, so that the second time it is refused again
        outside = Outside(bundle, ledger=ledger_of(run, stand, refusal, at_ms), clock=FakeClock(at_ms))
        outside.gateway.situation = Situation({"t": {"Metric": ResourceCatalogue("Metric", listed, at_ms)}})
        within = OpenedRun("run_7", at_ms, stand.above) if stand.above else None
        decided = written(outside, outside.gateway.new_call(principal, Named(*asked), run=within))
        refusal = decided.get("signature", "")

        told = again(decided, bundle)
        assert {key: decided.get(key) for key in told} == told
        assert ("would" in decided) is ("would" in told)
    return str(decided.get("code", "permit"))


BUDGETS = Budgets(
    (
        Budget("calls", ("run",), "calls", 5),
        Budget("day", ("principal", "tool"), "calls", 9, "day"),
        Budget("hour", ("environment",), "bytes", 100, RollingWindow(3600)),
        Budget("time", ("run",), "seconds", 60),
    ),
    (
        Limit("pace", ("principal",), Rate(50_000, 20, "20/s")),
        Limit("at-once", ("run",), Concurrency(4)),
    ),
    Loops(identical_calls=3, window_s=60, identical_refusals=3, denied_attempts=20),
    "prod",
)
FREE = Stand()
KNOWN = st.builds(
    Stand,
    taken=st.fixed_dictionaries({}, optional={"calls": st.integers(0, 7), "day": st.integers(7, 9), "hour": st.integers(98, 120)}),
    running=st.fixed_dictionaries({}, optional={"at-once": st.integers(2, 5)}),
    wait_s=st.fixed_dictionaries({}, optional={"pace": st.sampled_from((0.0, 0.05, 3.2))}),
    loops=st.fixed_dictionaries({}, optional={"identical_calls": st.integers(1, 3), "denied_attempts": st.integers(17, 20)}),
    frozen=st.sampled_from(((), (), (), ("everything",), ("principal:bob",), ("run:run_7",), ("run:run_1",), ("tool:t", "tool:u"))),
    stopped=st.sampled_from((None, None, None, "it went astray")),
    age_s=st.sampled_from((0, 59, 60, 61)),
    repeats=st.integers(0, 2),
    above=st.sampled_from(((), ("run_1",), ("run_0", "run_1"))),
    mode=st.sampled_from(("enforce", "enforce", "audit")),
)  # fmt: skip
SAMPLE = {
    "rules": bundles(notes=NOTES),
    "who": st.tuples(PEOPLE, RUNS, MOMENTS, st.just(FREE) | KNOWN),
    "asked": ASKED,
    "listed": LISTED,
}


@given(**SAMPLE)
@settings(max_examples=200, deadline=None)
def test_a_decided_decides_to_itself_again(live, rules, who, asked, listed):
    """Whatever was read, policies' facts and live attributes, freezes, balances, loops and the time: the line holds it."""
    decides_to_itself(live, rules, who, asked, listed)


@pytest.mark.soak
@given(**SAMPLE)
@settings(max_examples=10_000, deadline=None)
def test_a_long_walk(live, rules, who, asked, listed):
    """The same, for long."""
    decides_to_itself(live, rules, who, asked, listed)


def test_what_a_run_has_spent_is_kept(live: Bundle) -> None:
    """Statements read it of the budgets by run, so the line holds the balances they were told of, and no others."""
    (only,) = statements(
        '@id("only") permit (principal, action == Action::"u.read", resource) when { context.run.spent.calls > 2 };'
    )
    policies = Policies([only], len(live.catalog.operations), live.shapes)
    bundle = replace(live, policies=policies, budgets=BUDGETS)
    for taken, within, expected in (
        (3, None, "permit"),
        (2, None, "refuse"),
        (3, OpenedRun("run_7", 0, ("run_1",)), "permit"),
    ):
        stand = Stand(taken={"calls": taken, "day": 1})
        outside = Outside(bundle, ledger=ledger_of(RunFacts(), stand, "", 1_700_000_000_000))
        decided = written(outside, outside.gateway.new_call(Principal("ann"), Named("u.read", {}), run=within))
        told = again(decided, bundle)

        assert expected == decided["decision"]
        assert {f"b:calls:calls:{'run_1' if within else 'run_7'}": taken} == decided["facts"]["taken"]
        assert {key: decided.get(key) for key in told} == told


@pytest.mark.parametrize(
    ("code", "stand"),
    [
        ("permit", FREE),
        ("budget.exhausted", Stand(taken={"calls": 5, "day": 2})),
        ("budget.exhausted", Stand(taken={"hour": 100}, above=("run_1",))),
        ("budget.deadline", Stand(age_s=60)),
        ("limit.rate", Stand(wait_s={"pace": 3.2})),
        ("limit.concurrency", Stand(running={"at-once": 4})),
        ("loop.repeated_call", Stand(loops={"identical_calls": 3})),
        ("loop.repeated_refusal", Stand(taken={"calls": 5}, repeats=2)),
        ("budget.exhausted", Stand(taken={"calls": 5}, repeats=1)),
        ("budget.exhausted", Stand(taken={"calls": 5}, loops={"denied_attempts": 19})),
        ("gateway.frozen", Stand(frozen=("everything",))),
        ("run.stopped", Stand(frozen=("run:run_1",), above=("run_1",))),
        ("run.stopped", Stand(stopped="it went astray")),
        ("tool.disabled", Stand(frozen=("tool:u",))),
        ("permit", Stand(taken={"calls": 5}, mode="audit")),
    ],
)
def test_each_state_that_decides_is_kept(live: Bundle, code: str, stand: Stand) -> None:
    """What is frozen, stopped, taken, too fast, too often or too old: the line tells it."""
    (rule,) = (Rule("permit", *((each, lambda _: True) for each in ("principal", "action", "resource")), ()),)
    who = Principal("ann"), RunFacts(), 1_795_334_400_000, stand

    assert code == decides_to_itself(live, {"all": rule}, who, ("u.read", {}), {})


@given(**SAMPLE)
@settings(max_examples=60, deadline=None)
def test_without_what_was_read_it_would_not(live, rules, who, asked, listed):
    """What statements do not read is not kept: neither claims, nor attributes, nor the run."""
    principal, run, at_ms, _ = who
    bundle = with_rules(live, rules)
    outside = Outside(bundle, ledger=FakeLedger(run=run), clock=FakeClock(at_ms))
    outside.gateway.situation = Situation({"t": {"Metric": ResourceCatalogue("Metric", listed, at_ms)}})
    call = outside.gateway.new_call(
        replace(principal, claims=dict(principal.claims) | {"phone": "12345"}), Named(*asked)
    )

    assert "12345" not in json.dumps(written(outside, call))


@pytest.mark.parametrize(
    ("condition", "who"),
    [
        ("context.run.calls > 2", {"run": RunFacts(calls=3)}),
        ("context.run.refusals > 0", {"run": RunFacts(refusals=1)}),
        ("context.run.age_s > 5", {"run": RunFacts(age_s=6)}),
        ('context.run.completed.contains("t.read")', {"run": RunFacts(completed=frozenset({"t.read"}))}),
        ('context.run.by_operation["t.read"] > 0', {"run": RunFacts(by_operation={"t.read": 1})}),
        ('principal.hasTag("team") && principal.getTag("team") == "sre"', {"principal": Principal("ann", (), {"team": "sre"})}),
        ('principal in Role::"ops"', {"principal": Principal("ann", ("ops",))}),
        ('context has on_behalf_of && context.on_behalf_of == "bob"', {"principal": Principal("ann", on_behalf_of="bob")}),
        ('context.now > datetime("2020-01-01")', {"at_ms": 1_700_000_000_000}),
        ('resource has tier && resource.tier == "critical"', {"listed": {"cpu": {"tier": "critical"}}}),
    ],
)  # fmt: skip
def test_each_kind_of_fact_that_decides_is_kept(live: Bundle, condition: str, who: dict[str, Any]) -> None:
    """With it the call is permitted and without it not; either line decides to itself again."""
    (only,) = statements(
        f'@id("only") permit (principal, action == Action::"t.read", resource is Metric) when {{ {condition} }};'
    )
    bundle = replace(live, policies=Policies([only], len(live.catalog.operations), live.shapes))
    for given_here, expected in ((who, "permit"), ({}, "refuse")):
        clock = FakeClock(given_here.get("at_ms", 0))
        outside = Outside(bundle, ledger=FakeLedger(run=given_here.get("run", RunFacts())), clock=clock)
        listed = given_here.get("listed", {"cpu": {}})
        outside.gateway.situation = Situation({"t": {"Metric": ResourceCatalogue("Metric", listed, 1)}})
        principal = given_here.get("principal", Principal("ann"))
        decided = written(outside, outside.gateway.new_call(principal, Named("t.read", {"s": "cpu"})))
        assert expected == decided["decision"]
        told = again(decided, bundle)
        assert {key: decided[key] for key in told} == told


@pytest.mark.parametrize("name", ["draftFile", "sealFile"])
def test_twins_decide_to_themselves_again(tmp_path: Path, name: str) -> None:
    """One request that means several operations: the facts that either read are on the one line."""
    policies = """
    @id("draft") permit (principal, action == Action::"desk.draftFile", resource)
    when { principal.hasTag("team") && context.run.refusals == 1 && context.run.by_operation["desk.draftFile"] == 1 };
    @id("seal") permit (principal, action == Action::"desk.sealFile", resource)
    when { context.run.calls < 3 && context.run.by_operation["desk.sealFile"] == 2 && principal.hasTag("level") && context.now > datetime("2023-01-01") };
    """
    bundle = desk_bundle(tmp_path, policies)
    done = {"desk.draftFile": 1, "desk.sealFile": 2}
    for calls, claims in (
        (0, {"team": "a", "level": "b"}),
        (5, {"team": "a", "level": "b"}),
        (0, {"team": "a"}),
        (0, {}),
    ):
        outside = Outside(bundle, ledger=FakeLedger(run=RunFacts(calls=calls, refusals=1, by_operation=done)))
        call = outside.gateway.new_call(Principal("ann", (), claims), Named(f"desk.{name}", {"id": "x"}))
        decided = written(outside, call)
        told = again(decided, bundle)
        assert {key: decided[key] for key in told} == told
        assert ("permit" if (calls, len(claims)) == (0, 2) else "refuse") == decided["decision"]
