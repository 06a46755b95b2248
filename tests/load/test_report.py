"""What `toolgate check` reports: every document, every environment, and what was proven."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolgate.core.bundle import BundleError
from toolgate.load.report import BudgetsReport, check, check_document

from .conftest import Project, document

TOOL = """
tool: metrics
openapi: openapi.json
environments:
  dev: {allow: ["*"], upstream: "http://[::1]:8080/v1"}
  prod: {allow: [listMetrics, queryCluster], resources: {Metric: {file: metrics.yaml}}}
operations:
  queryCluster: {cost: {usd: 1}}
"""


@pytest.fixture
def example(metrics: Project) -> Project:
    return metrics.write({"toolspecs/metrics/tool.yaml": TOOL, "toolspecs/metrics/metrics.yaml": "- {id: cpu}\n"})


def test_each_environment_is_counted(example: Project) -> None:
    """Operations, how many are allowed and with what effect, where they go, what is catalogued."""
    report = check(example.sources())
    expected = [
        ("dev", "http://[::1]:8080/v1", 3, 3, {"read": 1, "write": 1, "destructive": 1}, {}),
        ("prod", "https://metrics.example:443/v1", 3, 2, {"read": 1, "write": 1, "destructive": 0}, {"Metric": 1}),
    ]
    assert expected == [
        (each.environment, each.upstream, each.operations, each.allowed, each.allowed_by_effect, each.resources)
        for each in report.views
    ]
    assert [("metrics", "dev", "prod", 1)] == [
        (each.tool, each.wider, each.narrower, each.effectful) for each in report.lattice
    ]
    assert example.load().revision == report.revision
    uncounted = "the cost `usd` is counted by no budget; add one to `policies/budgets.yaml`"
    assert [uncounted] == [each.message for each in report.not_enforced]


def test_each_document_tells_what_is_not_enforced(example: Project) -> None:
    """Unknown formats and paths that cannot be called are named with their pointer, once."""
    paths = {
        "/a": {
            "get": {
                "parameters": [{"name": "q", "in": "query", "schema": {"type": "string", "format": "odd"}}],
                "responses": {},
            }
        },
        "/b//c": {"get": {}},
    }
    example.write(
        {
            "toolspecs/metrics/openapi.json": document(paths=paths),
            "toolspecs/metrics/tool.yaml": 'tool: metrics\nopenapi: openapi.json\nenvironments: {prod: {allow: ["*"]}}\n',
        }
    )
    (report,) = check(example.sources()).documents
    assert ("Metrics", "3.1", 1, 1, 0) == (
        report.title,
        report.openapi,
        report.operations,
        report.parameters,
        report.bodies,
    )
    told = {note.pointer for note in (*report.reported, *report.not_understood)}
    assert {"/paths/~1b~1~1c", "/paths/~1a/get/parameters/0/schema/format"} == told


def test_every_environment_is_loaded(example: Project) -> None:
    """What is wrong only in another environment is told too, so that what passes here starts everywhere."""
    tool = TOOL.replace('allow: ["*"]', "allow: [listMetrics, queryCluster]").replace(
        "cost: {usd: 1}", "resources: [{type: M, at: $args.nope}]"
    )
    example.write({"toolspecs/metrics/tool.yaml": tool})
    with pytest.raises(BundleError) as caught:
        check(example.sources("staging"))
    assert {"resources.at"} == {each.code for each in caught.value.problems}


def test_a_bare_document_is_checked(tmp_path: Path) -> None:
    """`toolgate check --openapi FILE`: no toolspec needed, problems as anywhere."""
    path = tmp_path / "openapi.json"
    path.write_text(document())
    report = check_document(path)
    assert (3, 1, 1) == (report.operations, report.parameters, report.bodies)
    path.write_text('{"openapi": "4.0"}')
    with pytest.raises(BundleError, match=r"document\.version"):
        check_document(path)


def test_what_bounds_calls_is_counted(example: Project) -> None:
    """Budgets by name, their dimensions, and what an agent gets anew with every run it opens."""
    example.write(
        {
            "policies/budgets.yaml": """
budgets:
  - {name: run, scope: [run], calls: 5, usd: 1}
  - {name: daily, scope: [principal], usd: 9, window: day}
  - {name: time, scope: [run], seconds: 900}
limits: [{name: fast, scope: [run], rate: 1/s}]
loops: {identical_calls: 3}
"""
        }
    )

    expected = BudgetsReport(3, ("calls", "seconds", "usd"), 1, loops=True, by_run_only=("calls",))
    assert expected == check(example.sources()).budgets


def test_what_plans_must_keep_to_is_said(example: Project) -> None:
    """Operations of this environment that are steps only, those outside plans, and who approves."""
    example.write(
        {
            "policies/plans.yaml": """
required_for: {effects: [read]}
order: [{operation: metrics.removeMetric, after: [metrics.queryCluster]}]
require: [metrics.removeMetric]
free: [metrics.listMetrics]
approve: [oncall]
"""
        }
    )

    plans = check(example.sources()).plans
    assert ("metrics.listMetrics",) == plans.free
    assert "metrics.listMetrics" not in plans.required
    assert (1, ("metrics.removeMetric",), ("oncall",)) == (plans.orders, plans.kept, plans.approve)


def test_budgets_that_bound_nothing_are_noted(example: Project) -> None:
    """Nobody shall believe in them; what covers something in one environment is not noted."""
    tool = TOOL.replace("{usd: 1}", "{usd: {reserve: 1, settle: $response.body#/usd}}")
    budgets = """
budgets:
  - {name: none, scope: [run], calls: 1, match: {operations: [metrics.listMetrics], effects: [destructive]}}
  - {name: in-dev, scope: [run], calls: 1, match: {effects: [destructive]}}
  - {name: free, scope: [run], usd: 1, match: {operations: [metrics.listMetrics]}}
  - {name: tight, scope: [run], usd: 0.5}
limits:
  - {name: slow, scope: [run], rate: 1/s, match: {operations: [metrics.listMetrics], effects: [write]}}
"""
    example.write({"toolspecs/metrics/tool.yaml": tool, "policies/budgets.yaml": budgets})

    assert (
        "the budget `none` covers no operation that is allowed",
        "the budget `free` gives usd, and nothing that it covers costs any",
        "the budget `tight` gives 0.5 usd, and `metrics.queryCluster` takes 1 or more a call: it is always refused",
        "the limit `slow` covers no operation that is allowed",
        (
            "what `metrics.queryCluster` costs in `usd` its reply says; one that does not, as a stream or one over "
            "`max_response` may, costs the reserve: give the most it can cost as `unpriced`"
        ),
    ) == check(example.sources()).budgets.notes
