"""`toolgate.testing`: plans as values, answers as records, a gate in the test's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.support.plans import loaded, project, proposal, step

from toolgate import testing
from toolgate.core.bundle import BundleError
from toolgate.core.plan import PlanRules
from toolgate.testing import Gate, Plan, Record, ms, read_plan
from toolgate.testing.records import typed, untyped

ASK = '@id("ask") @approval("oncall") @reason("it cannot be undone") forbid (principal, action == Action::"m.remove", resource);\n'
PLANNED = read_plan(
    proposal(
        step("a", outputs={"id": "$response.body#/id"}),
        step("b", "m.publish", "a", arguments={"body": {"title": "$steps.a.outputs.id", "body": {"$constraint": {}}}}),
    )
)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    bundle = await asyncio.to_thread(loaded, project(tmp_path, **{"policies__ask.cedar": ASK}))
    async with Gate.around(replace(bundle, plans=PlanRules())) as opened:
        yield opened


# -- plans as values ---------------------------------------------------------------------------------------


def test_a_plan_is_read_as_it_stands() -> None:
    """Steps have their names, or their ids; durations and amounts are durations and amounts."""
    written = step("a", name="Look", timeout=400, budget={"usd": "0.05"}, attempts=2)
    plan = read_plan(proposal(written, step("b", "m.detect", "a")))
    look, detect = plan.steps

    assert (look.name, look.timeout, look.budget, look.attempts) == ("Look", ms(400), {"usd": Decimal("0.05")}, 2)
    assert (detect.name, detect.timeout, detect.depends_on) == ("b", timedelta.max, ("a",))
    assert plan.document["steps"][0] == written


def test_steps_are_asked_for_by_name_or_id() -> None:
    """`in` compares names; what is neither a name nor a step is not in it."""
    plan = read_plan(proposal(step("a", name="Look")))

    assert "Look" in plan.steps
    assert "a" in plan.steps
    assert plan.steps[0] in plan.steps
    assert "Loo" not in plan.steps
    assert plan.step("Look") is plan.step("a")
    with pytest.raises(KeyError, match="did you mean `Look`"):
        plan.step("Loook")


@pytest.mark.parametrize("name", ["plan.json", "plan.yaml"])
def test_everything_wrong_with_a_file_is_said_with_its_line(tmp_path: Path, name: str) -> None:
    """A plan that is none is no plan in a test either."""
    path = tmp_path / name
    path.write_text('{"goal": "look",\n "steps": [\n  {"stepId": "a b", "operationId": "m.list",\n   "timeout": 0}]}')
    with pytest.raises(BundleError) as raised:
        read_plan(path)

    assert [(each.line, each.code) for each in raised.value.problems] == [(3, "plan.form"), (4, "plan.form")]
    with pytest.raises(BundleError):
        read_plan({"steps": []})


# -- records -----------------------------------------------------------------------------------------------


def test_members_of_an_answer_are_attributes() -> None:
    """Objects are records all the way down; any name can be a member."""
    value = {"cpu": {"avg": 1.5}, "items": [{"values": 1}], "odd name": None}
    record = typed(value)

    assert record.cpu.avg == 1.5
    assert record.items[0].values == 1
    assert record["odd name"] is None
    assert (record, list(record), len(record), "cpu" in record) == (value, list(value), 3, True)
    assert untyped(record) == value


def test_a_name_that_nobody_answered_fails() -> None:
    """A misspelt name is said with the one that is meant, and never is None."""
    record = Record({"average": 1})
    with pytest.raises(AttributeError, match="did you mean `average`"):
        _ = record.averge
    with pytest.raises(KeyError, match="which has `average`"):
        _ = record["total"]
    assert not hasattr(record, "total")


# -- the gate ----------------------------------------------------------------------------------------------


async def test_a_plan_is_followed_with_the_answers_of_the_apis(gate: Gate) -> None:
    """Bindings are resolved out of what was answered; what the plan leaves open is given by the test."""
    gate.apis.answers("m.query", lambda arguments: {"id": f"report of {arguments['body']['cluster']}"})
    gate.apis.answers("m.publish", {"ok": True})
    agent = gate.agent("ann", "digest")
    assert (await agent.propose(PLANNED)).code == "locked"
    assert agent.states == {"a": "ready", "b": "waiting"}
    outputs = await agent.follow({"b": {"body": {"body": "text"}}})

    assert outputs["a"].id == "report of a"
    assert [call.arguments for call in gate.apis.sent][1] == {"body": {"title": "report of a", "body": "text"}}
    assert set(agent.states.values()) == {"done"}
    assert agent.plan.steps[0].attempts == 3
    assert (agent.plan_id[:5], agent.plan_digest[:7]) == ("plan_", "sha256:")


async def test_what_is_not_so_fails_the_test_with_the_refusal(gate: Gate) -> None:
    """`follow` and `output` take for granted that it works; what the gate said stands in the failure."""
    gate.apis.fails("m.query", "upstream.broken", "unknown")
    agent = gate.agent("ann", "digest")
    await agent.propose(PLANNED)
    with pytest.raises(AssertionError, match=r"step `a`: upstream.broken"):
        await agent.follow()
    with pytest.raises(AssertionError, match="has not taken that step"):
        await agent.take("b")
    answer = await agent.call("m.hidden", {"name": "a"})
    assert answer.code == "tool.disallowed"
    with pytest.raises(AssertionError, match=r"no output: tool.disallowed \(403\)"):
        _ = answer.output


async def test_an_api_answers_only_what_was_said(gate: Gate) -> None:
    """A call the test did not think of is not answered with anything."""
    gate.apis.answers("m.quary", {})
    with pytest.raises(AssertionError, match=r"did you mean `m\.quary`"):
        await gate.agent("ann", "digest").call("m.query", {"body": {"cluster": "a"}})


async def test_an_answer_may_take_its_time(gate: Gate) -> None:
    """Calls can be made at once: what depends on a running step is held by the gate until that has ended."""
    asked, going = asyncio.Event(), asyncio.Event()

    async def slowly(_: Mapping[str, Any]) -> dict[str, str]:
        asked.set()
        await going.wait()
        return {"id": "r"}

    gate.apis.answers("m.query", slowly)
    gate.apis.answers("m.publish", None, status=204)
    agent = gate.agent("ann", "digest")
    await agent.propose(PLANNED)
    first = asyncio.ensure_future(agent.take("a"))
    second = asyncio.ensure_future(agent.call("m.publish", {"body": {"title": "r", "body": 1}}))
    await asked.wait()
    going.set()

    assert [(await each).code for each in (first, second)] == ["completed", "completed"]


async def test_a_person_agrees_and_the_same_call_goes_through(gate: Gate) -> None:
    """An approval is for one call: asked, told to people, granted, used; never granted by who asked."""
    gate.apis.answers("m.remove", None, status=204)
    agent = gate.agent("ann", "digest", "oncall")
    asked = await agent.call("m.remove", {"name": "a"})
    assert (asked.code, asked.approval is not None) == ("approval.required", True)
    assert [event.kind for event in gate.told] == ["ApprovalRequested"]
    with pytest.raises(AssertionError, match="cannot answer"):
        await gate.grant(asked.approval or "", "ann", "oncall")
    await gate.grant(asked.approval or "", "olga", "oncall", comment="go on")

    assert (await agent.call("m.remove", {"name": "a"})).code == "completed"
    assert (await agent.call("m.remove", {"name": "a"})).code == "approval.required"
    declined = await gate.decline((await agent.call("m.remove", {"name": "a"})).approval or "", "olga", "oncall")
    assert declined.state == "declined"
    assert (await agent.call("m.remove", {"name": "a"})).code == "approval.declined"


async def test_time_stands_still_until_it_is_moved(gate: Gate) -> None:
    """The plan ends when its time is over, and not before."""
    agent = await gate.agent("ann", "digest").in_new_run()
    await agent.propose(PLANNED)
    gate.clock.advance(3599)
    gate.apis.answers("m.query", {"id": "r"})
    assert (await agent.take("a")).code == "completed"
    gate.clock.advance(1)

    assert (await agent.call("m.publish", {"body": {"title": "r", "body": 1}})).code == "plan.expired"


async def test_runs_are_apart(gate: Gate) -> None:
    """A plan is a run's own; another run of the same agent has none."""
    agent = gate.agent("ann", "digest")
    await agent.propose(PLANNED)
    other = await agent.in_new_run(task="another")
    with pytest.raises(AssertionError, match="no plan is locked in the run of `ann`"):
        _ = other.plan
    assert (await agent.finish()).code == "plan.incomplete"
    assert (await other.finish()).code == "finished"


async def test_the_journal_is_the_gates_own(gate: Gate) -> None:
    """What is recorded is what serving records."""
    agent = gate.agent("ann", "digest")
    await agent.propose(PLANNED)
    kinds = [event["event"] for event in await gate.journal()]

    assert kinds[-1] == "PlanLocked"
    assert [event["plan"] for event in await gate.journal("PlanLocked")] == [agent.plan_id]


async def test_what_live_catalogues_list_is_said_by_the_test(gate: Gate) -> None:
    """A type that nobody lists is a mistake in the test."""
    gate.lists("Metric", {"cpu": {}})
    with pytest.raises(AssertionError, match="there is `Metric`"):
        gate.lists("Metrics", {})


def test_everything_that_ships_is_there() -> None:
    """Names are imported when they are asked for, and no others are."""
    assert [getattr(testing, name).__name__ for name in testing.__all__] == testing.__all__
    with pytest.raises(AttributeError, match="has no attribute `Gaet`"):
        _ = testing.Gaet  # type: ignore[attr-defined]
    assert isinstance(PLANNED, Plan)
