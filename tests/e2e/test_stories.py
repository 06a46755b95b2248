"""The stories of the design that this version ends, over HTTP, with the exact error shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.world import World, ask, example, free_port, running

_QUERY = "/metrics/metrics/v1/cluster"
_CPU = {"cluster": "eu-1", "metric": "node_cpu"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(example(tmp_path_factory.mktemp("example"), free_port())) as started:
        yield started


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
    digest = {"title": "Weekly", "cluster": "eu-1", "metrics": [{"name": "node_cpu", "avg": 3.5}]}
    published = ask(world.agent_port, "POST", "/reports/reports", digest)
    assert published.status == 201
    assert published.json["summary"]["cpu"]["avg"] < 95
    location = published.headers["location"]
    assert location.startswith("/reports/reports/")
    assert ask(world.agent_port, "GET", location).json == published.json


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
