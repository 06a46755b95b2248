"""Stories 2, 5 and 6 over HTTP: a digest that is planned, agents that drift from the plan, and a person who agrees."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.e2e.world import ROOT, Heard, World, ask, example, running
from tests.support.ports import free_port

from toolgate.cli import main
from toolgate.testing import Plan, ms, read_plan

WEEKLY = ROOT / "examples" / "weekly_digest.json"
PATHS = {
    "metrics.queryCluster": "/metrics/metrics/v1/cluster",
    "anomaly.detect": "/anomaly/detect",
    "reports.publish": "/reports/reports",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(example(tmp_path_factory.mktemp("planning"), free_port())) as started:
        yield started


@pytest.fixture
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The same, with operators at a socket that only they reach: whoever shares a port with the agent answers nothing."""
    copy = example(tmp_path_factory.mktemp("guarded"), free_port())
    with running(copy, admin_at=f"unix:{copy.home / 'admin.sock'}") as started:
        yield started


@pytest.fixture
def plan() -> Plan:
    return read_plan(WEEKLY)


class Agent:
    """An agent that works in a run of its own, over HTTP."""

    def __init__(self, world: World) -> None:
        self.port = world.agent_port
        opened = self._ask("POST", "/-/runs")
        self._token = {"Toolgate-Run": opened.json["token"]}
        self.run = opened.json["run"]
        self.plan: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}  # what each step answered

    def _ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Heard:
        return ask(self.port, method, path, body, headers=headers)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Heard:
        return self._ask(method, path, body, {**self._token, **headers})

    def propose(self, plan: Mapping[str, Any]) -> Heard:
        told = self.ask("POST", "/-/plans", plan)
        if told.status == 201:
            self.plan = {"id": told.json["plan"], **plan}
        return told

    def step(self, step_id: str) -> dict[str, Any]:
        return next(each for each in self.plan["steps"] if each["stepId"] == step_id)

    def take(self, step_id: str, *, named: bool = False, **changed: Any) -> Heard:
        """Call a step with what the plan says and the steps before it answered; `changed` lies over the body."""
        step = self.step(step_id)
        body = {**self._resolved(step["arguments"]["body"]), **changed}
        headers = {"Toolgate-Plan": self.plan["id"], "Toolgate-Step": step_id} if named else {}
        told = self.ask("POST", PATHS[step["operationId"]], body, **headers)
        if told.headers["toolgate-source"] == "upstream":
            self.answers[step_id] = told.json
        return told

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._resolved(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._resolved(each) for each in value]
        if isinstance(value, str) and value.startswith("$steps."):
            _, step_id, _, name = value.split(".")
            return self._output(step_id, self.step(step_id)["outputs"][name])
        return value

    def _output(self, step_id: str, expression: str) -> Any:
        """What an agent that never saw the answer has to make up."""
        if step_id not in self.answers:
            return (
                [{"at": 1, "value": 50.0}] if expression.endswith("series") else 50.0 if "value" in expression else []
            )
        value = self.answers[step_id]
        for token in expression.removeprefix("$response.body#/").split("/"):
            value = value[token]
        return value


def operate(world: World, *words: str, code: int = 0) -> str:
    """What an operator's command says."""
    socket = world.home / "admin.sock"
    admin = f"unix:{socket}" if socket.exists() else f"127.0.0.1:{world.admin_port}"
    settings = {"TOOLGATE_CONFIG": str(world.home / "toolgate.yaml"), "TOOLGATE_LISTEN__ADMIN": admin}
    done = CliRunner().invoke(main, [*words], prog_name="toolgate", env=settings)
    assert done.exit_code == code, done.output
    return done.output


# -- story 2 -----------------------------------------------------------------------------------------------


def test_a_plan_whose_summary_comes_first_is_rejected(world: World, plan: Plan) -> None:
    """Story 2: the same input in another order is told what is wrong, where, and what to do; nothing is locked."""
    steps = [
        {**each, "dependsOn": ["detect"]} if each["stepId"] == "summary" else each for each in plan.document["steps"]
    ]
    agent = Agent(world)
    told = agent.propose({**plan.document, "steps": steps})

    assert (told.status, told.json["title"], told.json["code"]) == (422, "PlanPolicyViolation", "plan.rejected")
    assert any(
        "Summary cannot be generated before data availability" in each["message"] for each in told.json["violations"]
    )
    assert agent.ask("GET", "/-/run").json["plan"] is None


def test_a_dry_run_says_the_same_and_locks_nothing(world: World, plan: Plan) -> None:
    """What would be locked has its digest already, and no id."""
    agent = Agent(world)
    tried = agent.ask("POST", "/-/plans?dry_run=1", plan.document)
    locked = agent.propose(plan.document)

    assert (tried.status, tried.json["plan"], tried.json["digest"]) == (200, None, locked.json["digest"])


def test_the_digest_is_published_by_its_plan(world: World, plan: Plan) -> None:
    """Story 2: parallel steps at once, then what waits for them; the run ends complete, and the journal tells it by steps."""
    agent = Agent(world)
    assert agent.propose(plan.document).status == 201
    with ThreadPoolExecutor(4) as at_once:
        fetched = list(at_once.map(agent.take, ["fetch", "throttle", "memory", "disk"]))
    assert [each.status for each in fetched] == [200] * 4
    assert agent.take("detect", named=True).status == 200
    published = agent.take("summary")
    assert published.status == 201, published.content
    assert published.json["summary"]["cpu"]["avg"] == agent.answers["fetch"]["aggregate"]["value"]

    assert {each["state"] for each in agent.ask("GET", "/-/run").json["steps"]} == {"done"}
    assert agent.ask("POST", "/-/run/finish").status == 200
    shown = operate(world, "runs", "show", agent.run)
    assert "`detect` (DetectAnomalies)" in shown
    assert "6 of 6 steps done" in shown


DRIFTS = [
    pytest.param("detect", {}, "plan.out_of_order", id="reorders"),
    pytest.param("summary", {}, "plan.out_of_order", id="skips"),
    pytest.param("fetch", {"metric": "node_memory_used_percent"}, "plan.arguments_changed", id="merges"),
    pytest.param("fetch", {"window_s": 60}, "plan.arguments_changed", id="adds to a step"),
]


@pytest.mark.parametrize(("step", "changed", "code"), DRIFTS)
def test_an_agent_that_drifts_is_told_what_it_may_do(
    world: World, plan: Plan, step: str, changed: dict[str, Any], code: str
) -> None:
    """Story 2: each time the right code, a hint with a step that may be taken now, and nothing sent; and that step works."""
    agent = Agent(world)
    agent.propose(plan.document)
    assert agent.take("throttle").status == 200
    told = agent.take(step, **changed)

    assert (told.status, told.json["code"], told.json["sent"]) == (409, code, "no")
    ready = next(each["stepId"] for each in agent.ask("GET", "/-/run").json["steps"] if each["state"] == "ready")
    assert ready == "fetch"
    assert f"`{ready}`" in told.json["recovery"]["hint"]
    assert agent.take(ready).status == 200


def test_an_invented_step_is_refused(world: World, plan: Plan) -> None:
    """What no step of the plan is, is not called in its run, however well-meant; what is `free` is."""
    agent = Agent(world)
    agent.propose(plan.document)
    told = agent.ask("POST", "/metrics/metrics/node_cpu/flag", {"reason": "looks odd"})
    assert (told.json["code"], told.json["title"]) == ("plan.unplanned", "UnplannedStep")
    assert "`fetch` (FetchMetrics)" in told.json["recovery"]["hint"]

    assert agent.ask("GET", "/metrics/metrics").status == 200


def test_a_skipped_step_is_named_at_the_end(world: World, plan: Plan) -> None:
    """A run is not closed over what was left out, unless it says so; the journal says what was skipped."""
    agent = Agent(world)
    agent.propose(plan.document)
    agent.take("fetch")
    told = agent.ask("POST", "/-/run/finish")
    assert (told.status, told.json["code"]) == (409, "plan.incomplete")
    assert told.json["recovery"]["alternatives"] == ["throttle", "memory", "disk", "detect"]

    assert agent.ask("POST", "/-/run/finish", {"incomplete": True}).status == 200
    assert agent.take("throttle").json["code"] == "run.stopped"


def test_an_agent_that_follows_only_the_hints_finishes_the_plan(world: World, plan: Plan) -> None:
    """It begins at the wrong end each time, reads which step it may take, and takes that; nothing else tells it the order."""
    agent = Agent(world)
    agent.propose(plan.document)
    wanted, taken = "detect", list[str]()
    while "summary" not in taken:
        told = agent.take(wanted, named=True)
        if told.headers["toolgate-source"] == "upstream":
            taken.append(wanted)
            wanted = "summary"
            continue
        assert told.json["code"] == "plan.out_of_order"
        wanted = told.json["recovery"]["alternatives"][0]
        assert f"`{wanted}`" in told.json["recovery"]["hint"]

    assert taken == ["fetch", "throttle", "memory", "disk", "detect", "summary"]
    assert agent.ask("POST", "/-/run/finish").status == 200


# -- story 5 -----------------------------------------------------------------------------------------------


def test_the_reflection_loop_ends_with_a_person(guarded: World, plan: Plan) -> None:
    """Story 5: PlanRegenerationLimitError, exceeded max retries (2), escalated; granted by a person, the same PUT is locked."""
    agent = Agent(guarded)
    agent.propose(plan.document)
    path = f"/-/plans/{agent.plan['id']}"
    told = [agent.ask("PUT", path, with_reflections(plan, count)) for count in (1, 2, 3)]
    problem = told[-1].json
    assert [each.status for each in told] == [200, 200, 403]
    assert (problem["title"], problem["code"]) == ("PlanRegenerationLimitError", "plan.replan_limit")
    assert problem["detail"].startswith("exceeded max retries (2)")
    assert problem["recovery"]["action"] == "escalate"
    asked = problem["recovery"]["approval"]

    assert asked in operate(guarded, "approvals", "list")
    assert agent.ask("GET", f"/-/approvals/{asked}").json["state"] == "pending"
    operate(guarded, "approvals", "grant", asked, "--comment", "once more, then publish")
    granted = agent.ask("PUT", path, with_reflections(plan, 3))
    assert granted.status == 200, granted.content
    assert agent.ask("GET", f"/-/approvals/{asked}").json["state"] == "used"
    assert agent.ask("PUT", path, with_reflections(plan, 4)).json["code"] == "plan.replan_limit"


def with_reflections(plan: Plan, count: int) -> dict[str, Any]:
    looks = [
        {"stepId": f"reflect{number}", "operationId": "anomaly.detect", "dependsOn": ["fetch"]}
        for number in range(count)
    ]
    return {**plan.document, "steps": [*plan.document["steps"], *looks]}


def test_whoever_shares_the_agents_port_cannot_answer_for_it(world: World, plan: Plan) -> None:
    """Without tokens and at a port, an operator is whoever the agent is: nothing it asked for is granted there."""
    agent = Agent(world)
    agent.propose(plan.document)
    told = [agent.ask("PUT", f"/-/plans/{agent.plan['id']}", with_reflections(plan, count)) for count in (1, 2, 3)]
    asked = told[-1].json["recovery"]["approval"]

    assert "cannot answer" in operate(world, "approvals", "grant", asked, code=1)
    assert agent.ask("GET", f"/-/approvals/{asked}").json["state"] == "pending"


# -- story 6 -----------------------------------------------------------------------------------------------


def test_a_plan_is_an_artifact(world: World, plan: Plan, tmp_path: Path) -> None:
    """Story 6: a locked plan is fetched by its digest, compared and read as a value; its figures are what was measured.

    How high a figure may be is asserted where the APIs answer what they are told to: here it is this machine's own.
    """
    agent = Agent(world)
    digest = agent.propose(plan.document).json["digest"]
    for step in ("fetch", "throttle", "memory", "disk", "detect"):
        agent.take(step)
    published = agent.take("summary").json
    exported = tmp_path / "locked.json"
    exported.write_text(json.dumps(agent.ask("GET", f"/-/plans/{digest}").json["document"]))
    operate(world, "plan", "diff", str(exported), str(exported))
    locked = read_plan(exported)
    step, measured = locked.step("DetectAnomalies"), agent.answers["fetch"]["aggregate"]["value"]

    assert locked.steps[0].name == "FetchMetrics"
    assert "RemoveMetric" not in locked.steps
    assert published["summary"]["cpu"]["avg"] == measured
    assert step.timeout < ms(500)


def test_the_same_plan_again_has_the_same_digest(world: World, plan: Plan) -> None:
    """A digest names a plan, whoever's run it is locked in; one changed character is another digest."""
    first, second, third = (Agent(world) for _ in range(3))
    one = first.propose(plan.document).json
    assert second.propose(plan.document).json["digest"] == one["digest"]
    assert second.plan["id"] != first.plan["id"]
    assert (
        third.propose({**plan.document, "goal": "weekly digest of the cluster eu-1!"}).json["digest"] != one["digest"]
    )
