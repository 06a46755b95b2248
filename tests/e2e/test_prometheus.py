"""Our description of Prometheus' query API, tried against a real server: through the gate and directly, answers are equal.

RULE: run by `make e2e`, which finds or unpacks a server; nothing here is skipped when it is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.e2e.world import World, ask, example, keep_only, running
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e

_READY_WITHIN_S = 30.0
_RULES = """
groups:
  - name: own
    rules:
      - {record: "job:up:sum", expr: "sum by (job) (up)"}
      - {alert: SelfDown, expr: "up == 0", for: 1m, labels: {severity: page}}
"""


@dataclass(frozen=True, slots=True)
class Both:
    """The server itself, and the gate in front of it."""

    direct: int
    gate: int

    def equal(self, path: str, form: str | None = None) -> object:
        """Ask both, compare what they answer, return it."""
        method = "POST" if form is not None else "GET"
        through = ask(self.gate, method, f"/prometheus{path}", form)
        straight = ask(self.direct, method, path, form)
        assert through.headers["toolgate-source"] == "upstream", through.content
        assert (through.status, _ordered(through.json)) == (straight.status, _ordered(straight.json))
        return _ordered(straight.json)["data"]

    def refused(self, method: str, path: str) -> tuple[int, str]:
        heard = ask(self.gate, method, f"/prometheus{path}")
        assert heard.headers["toolgate-source"] == "gate", heard.content
        return heard.status, heard.json["code"]


def _ordered(answer: Any) -> Any:
    """Prometheus answers instant vectors in no fixed order; everything else is compared as it stands."""
    data = answer.get("data")
    if isinstance(data, dict) and data.get("resultType") == "vector":
        data["result"].sort(key=json.dumps)
    return answer


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that scrapes itself every second."""
    binary = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
    if not binary:
        pytest.fail("no Prometheus server: run `make e2e`, or name one in $PROMETHEUS", pytrace=False)
    home, port = tmp_path_factory.mktemp("prometheus"), free_port()
    (home / "rules.yml").write_text(_RULES)
    (home / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\n"
        f"scrape_configs: [{{job_name: prometheus, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    command = [
        binary,
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (home / "log").open("wb") as log, subprocess.Popen(command, cwd=home, stdout=log, stderr=log) as process:
        try:
            _wait_for_samples(process, port, home / "log")
            yield port
        finally:
            process.terminate()


def _wait_for_samples(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until it has scraped itself and evaluated its rules."""
    deadline_s = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            if ask(port, "GET", "/api/v1/query?query=count_over_time(job:up:sum[1m])>2").json["data"]["result"]:
                return
        except (OSError, ValueError, KeyError, HTTPException):
            pass
        time.sleep(0.1)
    pytest.fail(f"prometheus did not come up:\n{log.read_text()[-2000:]}", pytrace=False)


@pytest.fixture(scope="module")
def world(prometheus: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    copy = example(tmp_path_factory.mktemp("gate"), free_port())
    keep_only(copy.home, "prometheus")
    toolspec = copy.home / "toolspecs" / "prometheus" / "tool.yaml"
    toolspec.write_text(toolspec.read_text().replace("127.0.0.1:9090", f"127.0.0.1:{prometheus}"))
    with running(copy, with_upstream=False) as started:
        yield started


@pytest.fixture(scope="module")
def both(prometheus: int, world: World) -> Both:
    return Both(prometheus, world.agent_port)


@pytest.fixture(scope="module")
def at_s(prometheus: int) -> int:
    """A time that has samples and lies behind both askers, so that answers cannot differ."""
    heard = ask(prometheus, "GET", "/api/v1/query?query=time()")
    return int(float(heard.json["data"]["result"][1])) - 1


@pytest.mark.parametrize(
    "expression",
    [
        "up",
        'up{job="prometheus",instance=~".+"}',
        "sum by (handler) (rate(prometheus_http_requests_total[5s]))",
        'count({__name__=~"go_.+"}) > 1 and on() vector(1)',
        "1 + 2 * 3 % 4",
        '"a string with & = + % # and ünïcode"',
        "histogram_quantile(0.9, prometheus_http_request_duration_seconds_bucket)",
        "up[3s]",
        "0 / 0",
    ],
)
def test_instant_queries_answer_the_same(both: Both, at_s: int, expression: str) -> None:
    """Any expression arrives as it was written, in the URL or in a form."""
    asked = urlencode({"query": expression, "time": at_s})
    assert both.equal(f"/api/v1/query?{asked}") == both.equal("/api/v1/query", asked)


@pytest.mark.parametrize("time_written", ["{0}", "{0}.5", "{1}"])
def test_a_time_is_a_number_or_rfc_3339(both: Both, at_s: int, time_written: str) -> None:
    """All three spellings are accepted and sent on."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
    both.equal(f"/api/v1/query?query=up&time={time_written.format(at_s, stamp)}&timeout=5s")


@pytest.mark.parametrize("step", ["1", "0.5", "1s", "1m", "1h30m", "500ms"])
def test_range_queries_answer_the_same(both: Both, at_s: int, step: str) -> None:
    """Steps are seconds or durations."""
    asked = urlencode({"query": "up", "start": at_s - 3, "end": at_s, "step": step})
    assert both.equal(f"/api/v1/query_range?{asked}") == both.equal("/api/v1/query_range", asked)


def test_series_take_several_selectors(both: Both, at_s: int) -> None:
    """`match[]` repeats, in the URL and in a form."""
    asked = urlencode([("match[]", "up"), ("match[]", 'job:up:sum{job="prometheus"}'), ("end", at_s)])
    found = both.equal(f"/api/v1/series?{asked}")
    assert isinstance(found, list)
    assert {series["__name__"] for series in found} == {"up", "job:up:sum"}
    assert both.equal("/api/v1/series", asked) == found


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/labels",
        f"/api/v1/labels?match[]={quote('up')}",
        "/api/v1/label/job/values",
        "/api/v1/label/__name__/values?match[]=up",
        "/api/v1/metadata?metric=go_goroutines",
        "/api/v1/metadata?limit=1&metric=up",
        "/api/v1/targets/metadata?metric=go_goroutines&limit=1",
        "/api/v1/format_query?query=sum(up)by(job)",
        "/api/v1/query_exemplars?query=up&start=0&end=1",
        "/api/v1/alerts",
        "/api/v1/alertmanagers",
        "/api/v1/status/buildinfo",
        "/api/v1/status/walreplay",
    ],
)
def test_what_it_knows_is_answered_the_same(both: Both, path: str) -> None:
    """Names, values, metadata, status: nothing is added, lost or changed."""
    both.equal(path)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/rules",
        "/api/v1/rules?type=alert&rule_name[]=SelfDown",
        "/api/v1/targets?state=active",
        "/api/v1/status/runtimeinfo",
        "/api/v1/status/tsdb?limit=3",
    ],
)
def test_what_changes_from_second_to_second_is_answered(both: Both, path: str) -> None:
    """These hold times and counts: the shape is the same."""
    through, straight = ask(both.gate, "GET", f"/prometheus{path}"), ask(both.direct, "GET", path)
    assert (through.status, through.headers["toolgate-source"]) == (200, "upstream")
    assert through.json["data"].keys() == straight.json["data"].keys()


def test_its_own_errors_pass_through(both: Both) -> None:
    """A mistake in PromQL is Prometheus' answer, not the gate's."""
    through = ask(both.gate, "GET", "/prometheus/api/v1/query?query=sum(")
    straight = ask(both.direct, "GET", "/api/v1/query?query=sum(")
    assert (through.status, through.headers["toolgate-source"]) == (400, "upstream")
    assert through.content == straight.content


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/query",
        "/api/v1/query?query=",
        "/api/v1/query?query=up&time=yesterday",
        "/api/v1/query?query=up&query=down",
        "/api/v1/query?query=up&tiem=1",
        "/api/v1/query_range?query=up&start=1&end=2&step=often",
        "/api/v1/query_range?query=up&start=1&end=2",
        "/api/v1/series",
        "/api/v1/targets?state=sleeping",
        "/api/v1/label/no-label/values",
    ],
)
def test_arguments_that_do_not_fit_are_refused(both: Both, path: str) -> None:
    """The gate answers, naming what is wrong; Prometheus is not asked."""
    assert both.refused("GET", path) == (422, "arguments.invalid")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/admin/tsdb/delete_series?match[]=up"),
        ("POST", "/api/v1/admin/tsdb/clean_tombstones"),
        ("POST", "/api/v1/admin/tsdb/snapshot"),
        ("GET", "/api/v1/status/config"),
        ("GET", "/api/v1/status/flags"),
    ],
)
def test_what_is_not_for_agents_is_refused_by_name(both: Both, method: str, path: str) -> None:
    """The admin API is described so that it can be refused as what it is."""
    assert both.refused(method, path) == (403, "tool.disallowed")
