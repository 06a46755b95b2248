"""The worked example's own tests: the weekly digest as a plan, in a gate in this process (DESIGN §20, stories 2, 5, 6).

Written with what `toolgate.testing` ships, as anybody's tests of their own agents would be.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.example.conftest import CRITICAL

from toolgate.testing import Agent, Gate, Plan, ms


def edited(plan: Plan, step: str, **changes: Any) -> dict[str, Any]:
    """The document of a plan with one step changed."""
    steps = [{**each, **changes} if each["stepId"] == step else each for each in plan.document["steps"]]
    return {**plan.document, "steps": steps}


def without(plan: Plan, *dropped: str) -> dict[str, Any]:
    """The document of a plan without some steps, and without what waits for them."""
    kept = [each for each in plan.document["steps"] if each["stepId"] not in dropped]
    return {**plan.document, "steps": kept}


async def locked(gate: Gate, plan: Plan) -> Agent:
    agent = gate.agent()
    assert (await agent.propose(plan)).code == "locked"
    return agent


async def test_the_plan_is_what_was_reviewed_and_its_digest_what_was_measured(gate: Gate, plan: Plan) -> None:
    """Story 6: plans are artifacts, steps typed units, answers typed outputs. The four assertions, as they are written."""
    agent = await locked(gate, plan)
    outputs = await agent.follow()
    step, summary = plan.step("DetectAnomalies"), outputs["summary"]

    assert plan.steps[0].name == "FetchMetrics"
    assert "RemoveMetric" not in plan.steps
    assert summary.cpu.avg < 95
    assert step.timeout < ms(500)


async def test_the_digest_is_the_sum_of_what_the_steps_answered(gate: Gate, plan: Plan) -> None:
    """What is published is bound to what was fetched, member by member; nothing of it is the agent's own."""
    agent = await locked(gate, plan)
    await agent.follow()
    *fetched, digest = gate.apis.sent

    assert [call.step for call in fetched] == ["fetch", "throttle", "memory", "disk", "detect"]
    assert {each["avg"] for each in digest.arguments["body"]["metrics"]} == {31.5, 0.0, 2.0e9, 8.0e10}
    assert (await agent.finish()).code == "finished"


async def test_a_plan_without_data_is_not_locked(gate: Gate, plan: Plan) -> None:
    """Story 2: "Summary cannot be generated before data availability" is said of the plan, before anything is called."""
    answer = await gate.agent().propose(edited(plan, "summary", dependsOn=["detect"]))

    assert answer.code == "plan.rejected"
    assert {each.code for each in answer.violations} == {"plan.order", "plan.binding"}
    assert any("Summary cannot be generated before data availability" in each.message for each in answer.violations)
    assert gate.apis.sent == []


async def test_what_is_wrong_with_a_plan_is_said_all_at_once(gate: Gate, plan: Plan) -> None:
    """Each problem has its place, its code and its hint."""
    wrong = edited(plan, "fetch", operationId="metrics.queryClustr", timeout=0)
    wrong["steps"][4] = {**wrong["steps"][4], "dependsOn": ["fetchh"]}
    answer = await gate.agent().propose(wrong)
    found = {each.path: each.code for each in answer.violations}

    assert found["/steps/0/timeout"] == "plan.form"
    assert found["/steps/4/dependsOn/0"] == "plan.dependency"
    assert all(each.hint for each in answer.violations)


@pytest.mark.parametrize(
    ("step", "arguments", "code"),
    [
        ("reports.publish", {"body": {"title": "Weekly digest", "cluster": "eu-1"}}, "arguments.invalid"),
        ("anomaly.detect", {"body": {"series": [{"at": 1, "value": 2}]}}, "plan.out_of_order"),
        ("metrics.queryCluster", {"body": {"cluster": "eu-1", "metric": "node_load1"}}, "plan.arguments_changed"),
        ("metrics.flagMetric", {"name": "node_cpu", "body": {"reason": "odd"}}, "plan.unplanned"),
        ("metrics.removeMetric", {"name": "node_cpu"}, "policy.denied"),
    ],
)
async def test_drift_is_refused_with_a_step_that_may_be_taken(
    gate: Gate, plan: Plan, step: str, arguments: dict[str, Any], code: str
) -> None:
    """Story 2: merged, reordered, changed and invented steps are refused; the hint names what is ready now."""
    agent = await locked(gate, plan)
    answer = await agent.call(step, arguments)

    assert answer.code == code
    assert gate.apis.sent == []
    if code in {"plan.out_of_order", "plan.unplanned"}:
        assert answer.alternatives == ("fetch", "throttle", "memory", "disk")
        assert "`fetch` (FetchMetrics)" in answer.hint


async def test_a_skipped_step_is_named_when_the_run_is_closed(gate: Gate, plan: Plan) -> None:
    """Story 2: what was not done cannot be passed over in silence."""
    agent = await locked(gate, plan)
    await agent.take("FetchMetrics")
    answer = await agent.finish()
    assert answer.code == "plan.incomplete"
    assert answer.alternatives == ("throttle", "memory", "disk", "detect")

    assert (await agent.finish(incomplete=True)).code == "finished"
    (ended,) = await gate.journal("RunFinished")
    assert ended["complete"] is False
    assert ended["skipped"] == ["throttle", "memory", "disk", "detect", "summary"]


async def test_an_invented_figure_does_not_get_into_the_digest(gate: Gate, plan: Plan) -> None:
    """A value that is bound to an earlier answer is that answer, or the call is refused naming the place."""
    agent = await locked(gate, plan)
    for step in ("fetch", "throttle", "memory", "disk", "detect"):
        await agent.take(step)
    nicer = [{"name": name, "avg": 50.0 if name == "node_cpu" else figure} for name, figure in CRITICAL.items()]
    answer = await agent.take("summary", {"body": {"metrics": nicer}})
    assert answer.code == "plan.arguments_changed"
    assert [each.path for each in answer.violations] == ["/body/metrics/0/avg"]

    assert (await agent.take("summary")).output.summary.cpu.avg == 31.5


async def test_no_digest_without_a_plan(gate: Gate) -> None:
    """`required_for`: what is published is a step of a plan; what comes before it in the decision still comes first."""
    agent = gate.agent()
    for metric in ("node_cpu", "node_memory_available_bytes"):
        assert (await agent.call("metrics.queryCluster", {"body": {"cluster": "eu-1", "metric": metric}})).output
    metrics = [{"name": name, "avg": 1.0} for name in CRITICAL]
    answer = await agent.call("reports.publish", {"body": {"title": "Mine", "cluster": "eu-1", "metrics": metrics}})

    assert answer.code == "plan.required"
    assert "POST /-/plans" in answer.hint


async def test_planning_again_and_again_ends_with_a_person(gate: Gate, plan: Plan) -> None:
    """Story 5: PlanRegenerationLimitError, exceeded max retries (2), and a person is asked; the locked plan still holds."""
    agent = await locked(gate, plan)
    widened = [
        {**plan.document, "steps": [*plan.document["steps"], *map(reflection, range(count))]} for count in (1, 2, 3)
    ]
    assert [(await agent.revise(each)).code for each in widened[:2]] == ["locked", "locked"]
    answer = await agent.revise(widened[2])

    assert (answer.code, answer.status) == ("plan.replan_limit", 403)
    assert answer.detail.startswith("exceeded max retries (2)")
    assert answer.approval is not None
    assert (await agent.take("fetch")).code == "completed"


def reflection(number: int) -> dict[str, Any]:
    body = {"series": "$steps.fetch.outputs.series", "threshold": 4 + number}
    return {
        "stepId": f"reflect{number}",
        "operationId": "anomaly.detect",
        "dependsOn": ["fetch"],
        "arguments": {"body": body},
    }


async def test_leaving_out_the_look_for_anomalies_is_not_free(gate: Gate, plan: Plan) -> None:
    """`require`: a revision that drops the step counts as an expansion, and says so by what is left of `max_replans`."""
    agent = await locked(gate, plan)
    anomalies = {**plan.step("summary").arguments["body"], "anomalies": []}
    document = without(plan, "detect")
    document["steps"][-1] = {
        **document["steps"][-1],
        "dependsOn": ["fetch", "throttle", "memory", "disk"],
        "arguments": {"body": anomalies},
    }
    assert (await agent.revise(document)).code == "locked"
    (_, revised) = await gate.journal("PlanLocked")

    assert revised["expansions"] == 1
