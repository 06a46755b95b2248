"""A run with a plan, over HTTP: what its agent is shown of it, and how it is closed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.listeners.served import Served, Told, serving_bundle, shop_bundle

from toolgate.core.model import Principal
from toolgate.load.bundle import Sources, load

PLAN = {
    "goal": "look and note",
    "steps": [
        {"stepId": "read", "name": "ReadItem", "operationId": "shop.getItem", "arguments": {"id": "hammer"}},
        {
            "stepId": "write",
            "operationId": "shop__putItem",
            "dependsOn": ["read"],
            "arguments": {"id": "hammer", "body": {}},
        },
    ],
}


async def begun(served: Served, plan: Any = PLAN) -> tuple[dict[str, str], dict[str, Any]]:
    """A run of its own with a locked plan: the header that names it, and the plan as it was told."""
    token = (await served.ask("POST", "/-/runs")).json["token"]
    headers = {"Toolgate-Run": token}
    told = await served.ask("POST", "/-/plans", json=plan, headers=headers)
    assert told.status == 201, told.body
    locked: dict[str, Any] = told.json
    return headers, locked


async def taken(served: Served, headers: dict[str, str], step: str) -> Told:
    if step == "read":
        return await served.ask("GET", "/shop/items/hammer", headers={**headers, "Toolgate-Step": "read"})
    return await served.ask("PUT", "/shop/items/hammer", json={}, headers={**headers, "Toolgate-Step": "write"})


async def shown(served: Served, headers: dict[str, str]) -> tuple[str | None, dict[str, str]]:
    run = (await served.ask("GET", "/-/run", headers=headers)).json
    return run["plan"], {step["stepId"]: step["state"] for step in run["steps"]}


async def test_a_run_shows_its_plan_and_how_far_it_is(served: Served) -> None:
    """`GET /-/run` names the plan and what each step is in; a run without one has neither."""
    headers, plan = await begun(served)
    before = await shown(served, headers)
    assert (await taken(served, headers, "read")).status == 200
    after = await shown(served, headers)
    named = (await served.ask("GET", f"/-/plans/{plan['digest']}", headers=headers)).json

    assert before == (plan["plan"], {"read": "ready", "write": "waiting"})
    assert after == (plan["plan"], {"read": "done", "write": "ready"})
    assert [step["state"] for step in named["steps"]] == ["done", "ready"]
    assert (await shown(served, {})) == (None, {})


async def test_a_call_by_name_names_its_step_too(served: Served) -> None:
    """`POST /-/call` with the headers is the step; another plan's name is stale; another step is not this call."""
    headers, plan = await begun(served)
    call = {"operation": "shop.getItem", "arguments": {"id": "hammer"}}
    stale = await served.ask("POST", "/-/call", json=call, headers={**headers, "Toolgate-Plan": "plan_0"})
    other = await served.ask("POST", "/-/call", json=call, headers={**headers, "Toolgate-Step": "write"})
    mine = await served.ask(
        "POST", "/-/call", json=call, headers={**headers, "Toolgate-Plan": plan["plan"], "Toolgate-Step": "read"}
    )

    assert (stale.status, stale.json["code"]) == (409, "plan.stale")
    assert other.status == 409
    assert mine.status == 200
    decided = (await served.ask("GET", "/-/journal?kind=Decided&decision=permit", door="admin")).json["events"]
    assert [(each["event"]["plan"], each["event"]["step"]) for each in decided] == [(plan["plan"], "read")]


async def test_a_plan_is_of_its_run(served: Served) -> None:
    """N09: another run of the same principal is not bound by it, cannot take its steps, and cannot revise it."""
    headers, plan = await begun(served)
    other = {"Toolgate-Run": (await served.ask("POST", "/-/runs")).json["token"]}
    free = await served.ask("GET", "/shop/items/nail", headers=other)
    taken_there = await served.ask(
        "GET", "/shop/items/hammer", headers={**other, "Toolgate-Plan": plan["plan"], "Toolgate-Step": "read"}
    )
    revised = await served.ask("PUT", f"/-/plans/{plan['plan']}", json=PLAN, headers=other)
    bound = await served.ask("GET", "/shop/items/nail", headers=headers)

    assert (free.status, taken_there.json["code"], revised.json["code"]) == (200, "plan.stale", "plan.stale")
    assert (bound.status, bound.json["code"]) == (409, "plan.arguments_changed")
    assert (await shown(served, headers))[1] == {"read": "ready", "write": "waiting"}


async def test_a_run_whose_plan_is_not_done_is_not_closed(served: Served) -> None:
    """409 `plan.incomplete`: it names what is not done and what may be taken now; the run goes on."""
    headers, _ = await begun(served)
    first = await served.ask("POST", "/-/run/finish", headers=headers)
    await taken(served, headers, "read")
    second = await served.ask("POST", "/-/run/finish", headers=headers)
    last = await taken(served, headers, "write")
    finished = await served.ask("POST", "/-/run/finish", headers=headers)

    assert (first.status, first.json["code"], first.json["title"]) == (409, "plan.incomplete", "PlanIncomplete")
    assert first.json["detail"] == "2 of 2 steps of the plan are not done: `read` is ready, `write` is waiting"
    assert first.json["recovery"]["alternatives"] == ["read"]
    assert first.json["recovery"]["action"] == "take_step"
    assert first.json["recovery"]["hint"] == (
        'Take the step `read` (ReadItem, `shop.getItem`) now, or close the run as it is with {"incomplete": true}.'
    )
    assert (second.json["recovery"]["alternatives"], last.status) == (["write"], 200)
    assert (finished.status, finished.json["finished"]) == (200, True)
    (event,) = (await served.ask("GET", "/-/journal?kind=RunFinished", door="admin")).json["events"]
    assert (event["event"]["complete"], event["event"]["skipped"]) == (True, [])


async def test_a_run_is_closed_as_it_is(served: Served) -> None:
    """`{"incomplete": true}` closes it; the journal says what was skipped."""
    headers, _ = await begun(served)
    await taken(served, headers, "read")
    told = await served.ask("POST", "/-/run/finish", headers=headers, json={"incomplete": True})
    after = await taken(served, headers, "write")

    assert (told.status, after.json["code"]) == (200, "run.stopped")
    (event,) = (await served.ask("GET", "/-/journal?kind=RunFinished", door="admin")).json["events"]
    assert (event["event"]["complete"], event["event"]["skipped"]) == (False, ["write"])


@pytest.mark.parametrize(
    ("body", "path"), [([], ""), ({"incomplete": 1}, "/incomplete"), ({"incomplet": True}, "/incomplet")]
)
async def test_the_end_of_a_run_is_read_strictly(served: Served, body: Any, path: str) -> None:
    """A slip must not close a run, and must not be taken for a yes."""
    headers, _ = await begun(served)
    told = await served.ask("POST", "/-/run/finish", headers=headers, json=body)

    assert (told.status, told.json["violations"][0]["path"]) == (422, path)
    assert (await shown(served, headers))[1]["read"] == "ready"


async def test_everything_wrong_is_told_before_anything_is_locked(served: Served) -> None:
    """Unknown, not allowed here, a binding of nothing: each with its pointer; the run has no plan."""
    steps = [
        {"stepId": "a", "operationId": "shop.getItems"},
        {"stepId": "b", "operationId": "shop.deleteItem"},
        {"stepId": "c", "operationId": "shop.getItem", "dependsOn": ["z"], "arguments": {"id": 1}},
    ]
    told = await served.ask("POST", "/-/plans", json={"goal": "g", "steps": steps})
    places = {(each["path"], each["code"]) for each in told.json["violations"]}

    assert (told.status, told.json["code"]) == (422, "plan.rejected")
    assert {
        ("/steps/0/operationId", "tool.unknown"),
        ("/steps/1/operationId", "tool.disallowed"),
        ("/steps/2/dependsOn/0", "plan.dependency"),
        ("/steps/2/arguments/id", "arguments.invalid"),
    } <= places
    assert (await shown(served, {}))[0] is None


async def test_hidden_operations_are_not_found_by_planning(tmp_path: Path) -> None:
    """With `disclosure: hide`, plans on an operation not allowed here and on none at all are refused with the same bytes."""
    async with serving_bundle(shop_bundle(tmp_path), "hide") as served:
        told = []
        for key in ("shop.deleteItem", "shop.deleteItems", "nothing.atAll", "shop__deleteItem"):
            steps = [{"stepId": "a", "operationId": key, "arguments": {"id": 7}, "timeout": 1}]
            problem = (await served.ask("POST", "/-/plans", json={"goal": "g", "steps": steps})).json
            told.append({**problem, "call": "", "instance": ""})

    assert [told[0]] * 4 == told
    assert "deleteItem" not in str(told[0])


@pytest.mark.parametrize(
    "document", [5, [], None, {}, {"steps": 5}, {"steps": [5, None]}, {"goal": "g", "steps": {}}, "x"]
)
async def test_any_document_gets_a_typed_answer(tmp_path: Path, document: Any) -> None:
    """Whatever is proposed, tried or revised, with either disclosure: 422 and what is wrong, never a defect."""
    async with serving_bundle(shop_bundle(tmp_path), "hide") as served:
        sent = {"data": json.dumps(document), "headers": {"Content-Type": "application/json"}}
        told = [await served.ask("POST", path, **sent) for path in ("/-/plans", "/-/plans?dry_run=1")]

    assert [(422, "plan.rejected")] * 2 == [(each.status, each.json["code"]) for each in told]


async def test_metrics_count_plans_and_approvals(served: Served) -> None:
    """By result; and the approvals that people are asked for."""
    await begun(served)
    await served.ask("POST", "/-/plans", json={"goal": "g"})
    exposition = (await served.ask("GET", "/metrics", door="health")).body.decode()

    assert 'toolgate_plans_total{result="locked"} 1.0' in exposition
    assert 'toolgate_plans_total{result="plan.rejected"} 1.0' in exposition


async def test_a_call_goes_on_after_a_person_agreed(tmp_path: Path) -> None:
    """`approval.required` names the approval and where to look; granted, the same call passes once, and another does not."""
    bundle = shop_bundle(tmp_path)
    policies = tmp_path / "policies"
    (policies / "ask.cedar").write_text(
        '@id("ask") @approval("oncall") forbid (principal, action == Action::"shop.putItem", resource);'
    )
    bundle = load(Sources(tmp_path / "toolspecs", policies, "prod", ("dev", "prod")))
    async with serving_bundle(bundle) as served:
        refused = await served.ask("PUT", "/shop/items/hammer", json={"a": 1})
        name = refused.json["recovery"]["approval"]
        pending = (await served.ask("GET", f"/-/approvals/{name}")).json
        await served.gateway.approvals.grant(name, Principal("corp/ann", ("oncall",)), comment="fine")
        granted = (await served.ask("GET", f"/-/approvals/{name}")).json
        other = await served.ask("PUT", "/shop/items/hammer", json={"a": 1.0})
        passed = await served.ask("PUT", "/shop/items/hammer", json={"a": 1})
        used = (await served.ask("GET", f"/-/approvals/{name}")).json
        again = await served.ask("PUT", "/shop/items/hammer", json={"a": 1})
        exposition = (await served.ask("GET", "/metrics", door="health")).body.decode()

    assert (refused.status, refused.json["code"]) == (403, "approval.required")
    assert f"/-/approvals/{name}" in refused.json["recovery"]["hint"]
    assert [pending["state"], granted["state"], used["state"]] == ["pending", "granted", "used"]
    assert (other.json["code"], passed.status, again.json["code"]) == ("approval.required", 200, "approval.required")
    assert [event.kind for event in served.told].count("ApprovalRequested") == 3
    assert "toolgate_approvals_total" in exposition
