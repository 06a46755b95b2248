"""The worked example's own server: its figures are this machine's, its arithmetic is right."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from examples.metrics_upstream.__main__ import write_token
from examples.metrics_upstream.anomalies import judge
from examples.metrics_upstream.history import History, percentile
from examples.metrics_upstream.readings import (
    CpuUtilization,
    Metric,
    disk_io_s,
    host_metrics,
    network_bytes,
    throttled_s,
)
from examples.metrics_upstream.reports import summarise
from examples.metrics_upstream.server import Api

_AUTHORIZED = {"Authorization": "Bearer of-the-test"}


class _Clock:
    """A clock that says what it was told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
async def client(clock: _Clock) -> AsyncIterator[ClientSession]:
    values = iter(range(1, 1000))
    history = History([Metric("node_load1", "standard", "processes", lambda: float(next(values)))], clock)
    api = Api(history, token="of-the-test", environment="prod", clock=clock)
    app = api.application(repeat(60.0))
    async with TestServer(app) as server, ClientSession(server.make_url("/"), headers=_AUTHORIZED) as session:
        yield session


async def _json(client: ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with client.request(method, path, json=body) as reply:
        return reply.status, await reply.json()


@pytest.mark.parametrize("presented", [None, "", "Bearer", "Bearer wrong", "Basic of-the-test", "bearer of-the-test"])
async def test_nothing_is_answered_without_the_token(client: ClientSession, presented: str | None) -> None:
    """Every route is behind the token, the unknown ones too."""
    client.headers.pop("Authorization")
    headers = {} if presented is None else {"Authorization": presented}
    for path in ("/metrics", "/nothing"):
        async with client.get(path, headers=headers) as reply:
            assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, 'Bearer realm="metrics"')


async def test_a_query_answers_the_samples_of_the_window(client: ClientSession, clock: _Clock) -> None:
    """One sample was taken at the start; beyond its window there is none, and the aggregate is null."""
    asked = {"cluster": "eu-1", "metric": "node_load1", "window_s": 10}
    status, answer = await _json(client, "POST", "/metrics/v1/cluster", asked)
    assert (status, answer["series"]) == (200, [{"at": 1000.0, "value": 1.0}])
    assert answer["aggregate"] == {"kind": "avg", "value": 1.0}
    clock.now_s += 11
    _, later = await _json(client, "POST", "/metrics/v1/cluster", asked)
    assert (later["series"], later["aggregate"]["value"]) == ([], None)


@pytest.mark.parametrize(
    "body", [None, [], {}, {"cluster": "eu-1"}, {"cluster": "eu-1", "metric": "node_load1", "aggregate": "mode"}]
)
async def test_a_body_it_does_not_take_is_a_400(client: ClientSession, body: Any) -> None:
    """The server has its own checks: the gate is not what keeps it from failing."""
    status, answer = await _json(client, "POST", "/metrics/v1/cluster", body)
    assert (status, list(answer)) == (400, ["error"])


async def test_a_removed_metric_is_gone(client: ClientSession) -> None:
    """Removal is real: this is what the gate is there for."""
    async with client.delete("/metrics/node_load1") as reply:
        assert reply.status == 204
    assert (await _json(client, "GET", "/metrics")) == (200, {"metrics": []})
    assert (await _json(client, "POST", "/metrics/v1/cluster", {"cluster": "eu-1", "metric": "node_load1"}))[0] == 404


async def test_a_flagged_metric_is_listed_as_flagged(client: ClientSession) -> None:
    """Flagging keeps the metric."""
    assert (await _json(client, "POST", "/metrics/node_load1/flag", {"reason": "looks outdated"}))[0] == 200
    assert (await _json(client, "GET", "/metrics"))[1]["metrics"][0]["flagged"] is True


async def test_a_published_report_can_be_read_again(client: ClientSession) -> None:
    """The summary is worked out from the figures."""
    digest = {"title": "t", "cluster": "eu-1", "metrics": [{"name": "node_cpu", "avg": 12.5}]}
    status, report = await _json(client, "POST", "/reports", digest)
    assert (status, report["summary"]) == (201, {"cpu": {"avg": 12.5}})
    assert await _json(client, "GET", f"/reports/{report['report']}") == (200, report)
    assert (await _json(client, "GET", "/reports/r99"))[0] == 404


async def test_dev_queries_clusters_elsewhere(clock: _Clock) -> None:
    """The dev server has v2 and no v1: story 3's trap is real on both sides."""
    history = History([Metric("node_load1", "standard", "processes", lambda: 1.0)], clock)
    api = Api(history, token="of-the-test", environment="dev", clock=clock)
    asked = {"cluster": "eu-1", "metric": "node_load1"}
    async with (
        TestServer(api.application(repeat(60.0))) as server,
        ClientSession(server.make_url("/"), headers=_AUTHORIZED) as dev,
    ):
        assert (await _json(dev, "POST", "/metrics/v2/cluster", asked))[0] == 200
        assert (await _json(dev, "POST", "/metrics/v1/cluster", asked))[0] == 404


def test_an_outlier_is_found_and_its_neighbours_are_not() -> None:
    """Modified z-scores: 0.6745 times the distance from the median, over the median distance."""
    judged = judge([10.0, 11.0, 9.0, 10.0, 12.0, 8.0, 30.0])
    assert (judged.median, judged.deviation) == (10.0, 1.0)
    assert judged.scores[-1] == pytest.approx(0.6745 * 20)
    assert max(map(abs, judged.scores[:-1])) < 3.5


def test_a_single_jump_in_a_constant_series_is_found() -> None:
    """Where the median distance is 0 the mean distance stands in."""
    assert judge([5.0] * 20 + [6.0]).scores[-1] > 3.5


@pytest.mark.parametrize("values", [[1.0], [1.0, 9.0], [3.0] * 10])
def test_too_few_or_equal_values_hold_no_anomaly(values: list[float]) -> None:
    """Nothing is called an anomaly without something to differ from."""
    assert set(judge(values).scores) == {0.0}


def test_the_percentile_is_a_value_that_occurred() -> None:
    """Nearest rank."""
    assert percentile([float(value) for value in range(100)], 0.95) == 95.0


def test_the_summary_has_only_lines_it_was_given() -> None:
    """A figure that is missing is missing."""
    assert summarise([{"name": "node_load1", "avg": 1}]) == {}


def test_utilization_is_what_was_busy_since_the_last_reading(tmp_path: Path) -> None:
    """user, nice, system, idle, iowait, irq, softirq, steal: everything but idle and iowait is busy."""
    ticks = tmp_path / "stat"
    ticks.write_text("cpu 10 0 10 70 10 0 0 0 0 0\n")
    utilization = CpuUtilization(ticks)
    assert utilization() == 20.0
    ticks.write_text("cpu 60 0 10 120 10 0 0 0 0 0\n")
    assert utilization() == 50.0
    assert utilization() == 0.0


def test_throttled_time_is_read_from_either_control_group_version(tmp_path: Path) -> None:
    """v2 counts microseconds, v1 nanoseconds; without both the stolen time stands in."""
    (tmp_path / "stat").write_text("cpu 1 0 1 1 0 0 0 200 0 0\n")
    assert throttled_s(tmp_path, tmp_path) > 0
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.stat").write_text("nr_throttled 3\nthrottled_time 2500000000\n")
    assert throttled_s(tmp_path, tmp_path) == 2.5
    (tmp_path / "cpu.stat").write_text("usage_usec 7\nthrottled_usec 1500000\n")
    assert throttled_s(tmp_path, tmp_path) == 1.5


def test_disks_and_interfaces_are_summed(tmp_path: Path) -> None:
    """Partitions of counted disks and the loopback are left out."""
    (tmp_path / "diskstats").write_text(
        " 254 0 vda 1 2 3 4 5 6 7 8 9 1500 11\n 254 1 vda1 1 2 3 4 5 6 7 8 9 700 11\n   7 0 loop0 1 2 3 4 5 6 7 8 9 9000 11\n"
    )
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "dev").write_text(
        "Inter-| Receive\n face |bytes\n    lo: 999 0 0 0 0 0 0 0 999 0\n  eth0: 100 0 0 0 0 0 0 0 40 0\n  eth1: 1 0 0 0 0 0 0 0 2 0\n"
    )
    assert disk_io_s(tmp_path) == 1.5
    assert (network_bytes(tmp_path, column=0), network_bytes(tmp_path, column=8)) == (101.0, 42.0)


def test_a_host_without_proc_still_has_figures(tmp_path: Path) -> None:
    """What the kernel does not offer is left out; the rest is served."""
    names = {metric.name for metric in host_metrics(tmp_path, tmp_path)}
    assert {"node_load1", "node_filesystem_used_percent", "node_cpu"} <= names
    assert "node_disk_io_time_seconds" not in names


def test_the_token_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    """Nobody else can read it, nobody sees half of it."""
    path = tmp_path / "deep" / "token"
    write_token(path, "first")
    write_token(path, "second")
    assert path.read_text() == "second\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]
