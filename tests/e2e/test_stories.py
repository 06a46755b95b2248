"""The stories of the design that this version ends, over HTTP, with the exact error shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from tests.e2e.world import World, ask, example, running
from tests.support.ports import free_port
from tests.support.waiting import until

from toolgate.cli import main

_QUERY = "/metrics/metrics/v1/cluster"
_CPU = {"cluster": "eu-1", "metric": "node_cpu"}
_REPORTS = "/reports/reports"
_THROTTLE = "node_cpu_throttle_time_seconds"
_REMOVE = f"/metrics/metrics/{_THROTTLE}"
_OUTDATED = {"Toolgate-Reason": "metric appears outdated"}


def _critical(world: World) -> list[str]:
    listed = ask(world.agent_port, "GET", "/metrics/metrics").json["metrics"]
    return [metric["name"] for metric in listed if metric["tier"] == "critical"]


def _digest(world: World) -> dict[str, Any]:
    metrics = [{"name": name, "avg": 3.5} for name in _critical(world)]
    return {"title": "Weekly", "cluster": "eu-1", "metrics": metrics}


def _plan_to_publish(world: World) -> None:
    """Lock the smallest plan that a digest is published by (`required_for` of the example's plans.yaml)."""
    plan = {"goal": "publish", "steps": [{"stepId": "publish", "operationId": "reports.publish"}]}
    locked = ask(world.agent_port, "POST", "/-/plans", plan)
    assert locked.status == 201, locked.content


def _command(world: World, *words: str) -> str:
    """What an operator's command says of this gate's journal, while it runs.

    A refusal does not wait for the disk, but what is permitted after it does, and the journal keeps their order.
    """
    assert ask(world.agent_port, "GET", "/metrics/metrics").status == 200
    done = CliRunner().invoke(main, [*words, "--config", str(world.home / "toolgate.yaml")], prog_name="toolgate")
    assert done.exit_code == 0, done.output
    return done.output


def _decided(world: World, call: str) -> dict[str, Any]:
    """The event of one call; a refusal is told before it is on the disk."""

    def found() -> dict[str, Any]:
        event = _command(world, "journal", "list", "--json", "--call", call, "--kind", "Decided")
        return dict(json.loads(event)) if event else {}

    return until(found, f"the call {call} is journaled")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(example(tmp_path_factory.mktemp("example"), free_port())) as started:
        yield started


@pytest.fixture(autouse=True)
def task(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test is a task of its own: what the one before it was refused or spent does not count against it."""
    yield
    if "world" in request.fixturenames:
        finished = ask(request.getfixturevalue("world").agent_port, "POST", "/-/run/finish")
        assert finished.status == 200, finished.content


@pytest.fixture
def morning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gate whose agent has done nothing yet."""
    with running(example(tmp_path_factory.mktemp("morning"), free_port())) as started:
        yield started


def test_the_vanished_metric(world: World) -> None:
    """Story 1: removing a critical metric is refused with the reason and a way forward, and the metric is still there."""
    heard = ask(world.agent_port, "DELETE", _REMOVE, headers=_OUTDATED)
    problem = heard.json
    assert (heard.status, heard.headers["toolgate-source"]) == (403, "gate")
    assert (problem["title"], problem["code"], problem["sent"]) == ("PolicyViolation", "policy.denied", "no")
    assert problem["detail"] == (
        f"`metrics.removeMetric` on Metric `{_THROTTLE}` is blocked: Critical metric; removal prohibited"
    )
    assert problem["statements"] == ["critical-metrics-stay"]
    assert (
        problem["recovery"]["hint"] == "Keep the metric in the report and flag it for review with metrics.flagMetric."
    )
    assert _THROTTLE in _critical(world)


def test_the_journal_has_the_vanished_metric_with_the_reason_the_agent_gave(world: World) -> None:
    """Story 1: the event holds what was tried, why, and which statement stood against it."""
    call = ask(world.agent_port, "DELETE", _REMOVE, headers=_OUTDATED).headers["toolgate-call"]
    event = _decided(world, call)
    assert (event["operation"], event["arguments"]) == ("metrics.removeMetric", {"name": _THROTTLE})
    assert (event["principal"], event["reason"]) == ("metrics-digest", "metric appears outdated")
    assert (event["decision"], event["code"]) == ("refuse", "policy.denied")
    assert event["statements"] == ["critical-metrics-stay"]
    told = event["facts"]["resources"]
    assert [(each["id"], each["attributes"]["tier"]) for each in told] == [(_THROTTLE, "critical")]


def test_the_run_shows_the_vanished_metric_as_a_step(world: World) -> None:
    """Story 1: `toolgate runs show` prints the call, the reason the agent gave, and what blocked it."""
    ask(world.agent_port, "DELETE", _REMOVE, headers=_OUTDATED)
    shown = _command(world, "runs", "show").split("\n\n")
    step = next(each for each in reversed(shown) if "removeMetric(" in each)
    assert step.partition(": ")[2].strip() == (
        f'removeMetric("{_THROTTLE}")\n'
        '  reason   "metric appears outdated"\n'
        f"  ruling   BLOCKED policy.denied: `metrics.removeMetric` on Metric `{_THROTTLE}` is blocked: "
        "Critical metric; removal prohibited\n"
        "  hint     Keep the metric in the report and flag it for review with metrics.flagMetric.\n"
        "  outcome  not sent"
    )


def test_the_way_forward_of_the_vanished_metric_works(world: World) -> None:
    """Story 1: what the hint says is permitted."""
    heard = ask(world.agent_port, "POST", f"{_REMOVE}/flag", {"reason": "metric appears outdated"})
    assert (heard.status, heard.json["flagged"]) == (200, True)


def test_a_digest_waits_for_its_data(morning: World) -> None:
    """The ordering rule of a policy: no digest before a cluster was queried in this run, and then it is published."""
    digest = _digest(morning)
    heard = ask(morning.agent_port, "POST", _REPORTS, digest)
    problem = heard.json
    assert (heard.status, problem["title"], problem["sent"]) == (403, "PolicyViolation", "no")
    assert problem["detail"] == "`reports.publish` is blocked: Summary cannot be generated before data availability"
    assert problem["statements"] == ["data-before-summary"]
    assert problem["recovery"]["hint"] == "Query the metrics with metrics.queryCluster first, then publish the digest."

    refused = ask(morning.agent_port, "POST", _QUERY, {**_CPU, "cluster": "us-9"})
    assert refused.headers["toolgate-source"] == "upstream"
    assert ask(morning.agent_port, "POST", _REPORTS, digest).status == 403, "what failed has completed nothing"

    assert ask(morning.agent_port, "POST", _QUERY, _CPU).status == 200
    _plan_to_publish(morning)
    assert ask(morning.agent_port, "POST", _REPORTS, digest).status == 201


def test_a_statement_on_trial_stops_nothing_and_is_journaled(morning: World) -> None:
    """Audit: the digest without a look for anomalies is published; the journal and the metric say what would have been."""
    ask(morning.agent_port, "POST", _QUERY, _CPU)
    _plan_to_publish(morning)
    published = ask(morning.agent_port, "POST", _REPORTS, _digest(morning))
    assert published.status == 201
    event = _decided(morning, published.headers["toolgate-call"])
    assert (event["decision"], event["statements"]) == ("permit", ["digest-agent-publishes"])
    would = {"decision": "refuse", "code": "policy.denied", "statements": ["anomalies-before-summary"]}
    assert event["would"] == would
    counted = ask(morning.health_port, "GET", "/metrics").content.decode()
    flips = 'toolgate_audit_flips_total{operation="reports.publish",tool="reports",would="refuse"} 1.0'
    assert flips in counted


def test_what_may_be_called_is_what_the_statements_could_permit(world: World) -> None:
    """The listing comes from the same statements: a metric may be removed, depending on which; nothing else is offered."""
    listed = {tool["operation"] for tool in ask(world.agent_port, "GET", "/-/tools").json["tools"]}
    ours = {name for name in listed if not name.startswith("prometheus.")}
    assert ours == {
        "anomaly.detect",
        "metrics.flagMetric",
        "metrics.listMetrics",
        "metrics.queryBaseline",
        "metrics.queryCluster",
        "metrics.removeMetric",
        "reports.getReport",
        "reports.publish",
    }


def test_an_allowed_call_reaches_the_upstream_and_its_answer_comes_back(world: World) -> None:
    """Queries of existing metrics are answered with this machine's own figures, marked as the upstream's."""
    heard = ask(world.agent_port, "POST", _QUERY, _CPU)
    assert heard.status == 200
    assert heard.headers["toolgate-source"] == "upstream"
    assert heard.json["metric"] == "node_cpu"
    assert heard.json["series"]


def test_the_wrong_api_at_the_wrong_time(world: World) -> None:
    """Story 3: the dev endpoint is refused in production by name, and the hint says which one is right."""
    heard = ask(world.agent_port, "POST", "/metrics/metrics/v2/cluster", _CPU)
    problem = heard.json
    assert heard.status == 403
    assert heard.headers["content-type"] == "application/problem+json"
    assert heard.headers["toolgate-source"] == "gate"
    assert problem["title"] == "DisallowedToolError"
    assert problem["code"] == "tool.disallowed"
    assert problem["detail"].startswith("`metrics.queryClusterV2` cannot be used in prod")
    assert problem["recovery"]["hint"] == "Call `metrics.queryCluster` at POST /metrics/metrics/v1/cluster instead."
    assert problem["recovery"]["alternatives"] == ["metrics.queryCluster"]
    assert problem["sent"] == "no"


@pytest.mark.parametrize("name", ["node_iops_predicted_capacity", "node_network_saturation_score"])
def test_environment_blindness(world: World, name: str) -> None:
    """Story 4: a metric that exists only in dev is not found in production, and the way forward is the baseline."""
    heard = ask(world.agent_port, "POST", _QUERY, {"cluster": "eu-1", "metric": name})
    problem = heard.json
    assert heard.status == 404
    assert problem["title"] == "MetricNotFound"
    assert problem["code"] == "environment.resource_not_found"
    assert name in problem["detail"]
    assert problem["recovery"]["hint"] == "Switch to baseline metrics."
    assert problem["recovery"]["alternatives"] == ["metrics.queryBaseline"]
    assert problem["sent"] == "no"


def test_the_recovery_of_story_4_works(world: World) -> None:
    """The baseline that the hint names is there and answers."""
    heard = ask(world.agent_port, "GET", "/metrics/metrics/v1/baseline?cluster=eu-1")
    assert heard.status == 200
    assert heard.json["metrics"][0]["name"] == "node_cpu"


def test_bad_arguments_are_all_named_at_once(world: World) -> None:
    """Every violation has its pointer, and a near name is suggested."""
    wrong = {"cluster": "eu-1", "metrik": "node_load1", "aggregate": "average", "window_s": "an hour"}
    heard = ask(world.agent_port, "POST", _QUERY, wrong)
    assert heard.status == 422
    assert heard.json["code"] == "arguments.invalid"
    found = {entry["path"]: (entry["keyword"], entry.get("suggestion")) for entry in heard.json["violations"]}
    assert found == {
        "/body/metric": ("required", None),
        "/body/metrik": ("unknown", "metric"),
        "/body/aggregate": ("enum", "avg"),
        "/body/window_s": ("type", None),
    }


def test_the_upstream_is_out_of_reach_without_the_gate(world: World) -> None:
    """The agent holds no token: asked directly, the upstream refuses it."""
    assert ask(world.upstream_port, "GET", "/metrics").status == 401


def test_the_token_shows_up_nowhere(world: World) -> None:
    """Neither answers, nor what the gate wrote, hold the credential it injects."""
    heard = ask(world.agent_port, "GET", "/metrics/metrics", headers={"Authorization": "Bearer of-the-agent"})
    assert heard.status == 200
    token = world.token.encode()
    written = [
        path for path in (world.home / ".toolgate").rglob("*") if path.is_file() and path.name != "metrics-token"
    ]
    assert written
    assert [path for path in written if token in path.read_bytes()] == []
    assert token not in heard.content


def test_the_upstreams_own_errors_pass_through(world: World) -> None:
    """An answer of the upstream is never taken for one of the gate."""
    heard = ask(world.agent_port, "POST", _QUERY, {**_CPU, "cluster": "us-9"})
    assert heard.status == 404
    assert heard.headers["toolgate-source"] == "upstream"
    assert heard.json == {"error": "this server speaks for the cluster eu-1 only"}


def test_a_location_points_back_through_the_gate(world: World) -> None:
    """A published report is found where the answer says, on the gate."""
    assert ask(world.agent_port, "POST", _QUERY, _CPU).status == 200
    _plan_to_publish(world)
    published = ask(world.agent_port, "POST", _REPORTS, _digest(world))
    assert published.status == 201
    assert published.json["summary"]["cpu"]["avg"] < 95
    location = published.headers["location"]
    assert location.startswith("/reports/reports/")
    assert ask(world.agent_port, "GET", location).json == published.json


def test_the_metric_that_vanished_from_the_digest(world: World) -> None:
    """Story 1, second half: a digest that leaves out critical metrics is refused, naming them, and nothing is sent."""
    digest = {"title": "Weekly", "cluster": "eu-1", "metrics": [{"name": "node_cpu", "avg": 3.5}]}
    heard = ask(world.agent_port, "POST", _REPORTS, digest)
    problem = heard.json
    left_out = [name for name in _critical(world) if name != "node_cpu"]
    assert heard.status == 422
    assert (problem["code"], problem["title"]) == ("environment.resource_omitted", "MetricOmitted")
    assert problem["sent"] == "no"
    (violation,) = problem["violations"]
    assert (violation["path"], violation["expected"]) == ("/body/metrics/*/name", left_out)
    assert f"Include `{left_out[0]}`" in problem["recovery"]["hint"]


def test_what_exists_in_production_is_what_its_own_api_lists(world: World) -> None:
    """The catalogue is live: what the upstream lists is what the agent is told exists, with the time it was read."""
    listed = ask(world.agent_port, "GET", "/metrics/metrics").json["metrics"]
    told = ask(world.agent_port, "GET", "/-/environment").json["resources"]["Metric"]
    assert (told["count"], told["sample"]) == (len(listed), [metric["name"] for metric in listed][:10])
    assert told["fresh_at"].endswith("Z")


def test_every_operation_of_the_example_can_be_called_by_name(world: World) -> None:
    """What a model's function call says is executed like the HTTP call it stands for."""
    heard = ask(world.agent_port, "POST", "/-/call", {"operation": "metrics.queryCluster", "arguments": {"body": _CPU}})
    assert heard.status == 200
    assert heard.json["cluster"] == "eu-1"


def test_dev_has_what_production_lacks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same call by the dev endpoint is known in dev, where nothing answers: said so, and nothing was sent."""
    copy = example(tmp_path_factory.mktemp("dev"), free_port())
    (copy.home / ".toolgate").mkdir()
    (copy.home / ".toolgate" / "metrics-token.dev").write_text("a-token-of-dev\n")
    toolspec = copy.home / "toolspecs" / "metrics" / "tool.yaml"
    toolspec.write_text(toolspec.read_text().replace("127.0.0.1:8411", f"127.0.0.1:{free_port()}"))
    with running(copy, with_upstream=False, environment="dev") as dev:
        wanted = {"cluster": "eu-1", "metric": "node_iops_predicted_capacity"}
        heard = ask(dev.agent_port, "POST", "/metrics/metrics/v2/cluster", wanted)
    assert heard.status == 502
    assert (heard.json["code"], heard.json["sent"]) == ("upstream.unreachable", "no")
