"""Every decision can be made again from its journal line (DESIGN §1, INV3): the same bundle, the line, nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import Outside
from tests.support.desk import bundle as desk_bundle
from tests.support.random_policies import PEOPLE, RUNS, Rule, bundles
from tests.support.random_tools import CALLS, HIDDEN, METRICS, random_tools, with_rules
from tests.support.statements import statements

from toolgate.core.bundle import Bundle
from toolgate.core.engine import check, decide
from toolgate.core.journal import GENESIS, encode, line, timestamp
from toolgate.core.model import (
    Asked,
    Call,
    Decision,
    Facts,
    Named,
    Permit,
    Principal,
    Refusal,
    ResourceCatalogue,
    RunFacts,
    Situation,
    Wire,
)
from toolgate.core.policies import Policies
from toolgate.testing.fakes import FakeClock, FakeLedger

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


def said(decision: Decision) -> dict[str, Any]:
    """What a decision says, in the words of the journal."""
    told: dict[str, Any] = {"decision": "permit" if isinstance(decision, Permit) else "refuse"}
    told["statements"] = list(decision.statements)
    if isinstance(decision, Refusal):
        told |= {"code": decision.code.code, "stage": decision.stage, "detail": decision.detail}
        told["hint"] = decision.recovery.hint
    if decision.shadow is not None:
        would = decision.shadow
        told["would"] = {"decision": would.decision, "code": would.code, "statements": list(would.statements)}
    return told


def written(outside: Outside, call: Call) -> dict[str, Any]:
    """Have the gateway take a call, and return the line of its `Decided`."""
    asyncio.run(outside.gateway.handle(call))
    event = outside.ledger.events[0]
    assert "Decided" == event.kind
    parsed: dict[str, Any] = json.loads(line(encode(event), "w", 1, timestamp(event.at_ms), GENESIS))
    return parsed


def again(decided: Mapping[str, Any], bundle: Bundle) -> dict[str, Any]:
    """Decide once more from the line."""
    facts = decided.get("facts", {})
    principal = Principal(
        decided["principal"], tuple(decided["roles"]), facts.get("claims", {}), decided.get("on_behalf_of")
    )
    call = Call(decided["call"], decided["at_ms"], principal, asked_of(decided))
    known = Facts(run=run_of(facts.get("run")), situation=situation_of(decided, bundle))
    checked = check(call, known, bundle)
    return said(checked if isinstance(checked, Refusal) else decide(checked, known, bundle))


def asked_of(decided: Mapping[str, Any]) -> Asked:
    if "asked" in decided:
        return Named(decided["asked"]["operation"], decided["asked"].get("arguments", {}))
    if "arguments" in decided:
        return Named(decided["operation"], decided["arguments"])
    return Wire(decided["method"], decided["path"], decided.get("query", ""))


def run_of(told: Mapping[str, Any] | None) -> RunFacts:
    if told is None:
        return RunFacts()
    return RunFacts(**{**told, "completed": frozenset(told.get("completed", ()))})


def situation_of(decided: Mapping[str, Any], bundle: Bundle) -> Situation:
    """The live resources: those the line tells of; those it names without telling of them exist, unless it says otherwise."""
    if not bundle.live:
        return Situation()
    listed: dict[str, Mapping[str, Any]] = {}
    if decided.get("stage") != "resources" and "s" in decided.get("arguments", {}):
        listed[decided["arguments"]["s"]] = {}
    for each in decided.get("facts", {}).get("resources", ()):
        listed[each["id"]] = each["attributes"]
    return Situation({"t": {"Metric": ResourceCatalogue("Metric", listed, 1)}})


def decides_to_itself(
    tools: Bundle,
    rules: dict[str, Rule],
    who: tuple[Principal, RunFacts, int],
    asked: tuple[str, dict[str, Any]],
    listed: Mapping[str, Mapping[str, Any]],
) -> None:
    principal, run, at_ms = who
    bundle = with_rules(tools, rules)
    outside = Outside(bundle, ledger=FakeLedger(run=run), clock=FakeClock(at_ms))
    outside.gateway.situation = Situation({"t": {"Metric": ResourceCatalogue("Metric", listed, at_ms)}})
    decided = written(outside, outside.gateway.new_call(principal, Named(*asked)))

    assert {key: decided[key] for key in again(decided, bundle) if key in decided} == again(decided, bundle)
    assert ("would" in decided) is ("would" in again(decided, bundle))


SAMPLE = {
    "rules": bundles(notes=NOTES),
    "who": st.tuples(PEOPLE, RUNS, MOMENTS),
    "asked": ASKED,
    "listed": LISTED,
}


@given(**SAMPLE)
@settings(max_examples=150, deadline=None)
def test_a_decided_decides_to_itself_again(live, rules, who, asked, listed):
    """Statements that read the run, claims, whom it is for, live attributes and the time: the line holds what they read."""
    decides_to_itself(live, rules, who, asked, listed)


@pytest.mark.soak
@given(**SAMPLE)
@settings(max_examples=10_000, deadline=None)
def test_a_long_walk(live, rules, who, asked, listed):
    """The same, for long."""
    decides_to_itself(live, rules, who, asked, listed)


@given(**SAMPLE)
@settings(max_examples=60, deadline=None)
def test_without_what_was_read_it_would_not(live, rules, who, asked, listed):
    """What statements do not read is not kept: neither claims, nor attributes, nor the run."""
    principal, run, at_ms = who
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
    bundle = replace(live, policies=Policies([only], live.catalog.operations.values(), live.shapes))
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
