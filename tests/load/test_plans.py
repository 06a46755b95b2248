"""policies/plans.yaml: what it means, and everything that can be wrong with it; and the constraints that agents write."""

from __future__ import annotations

import pytest

from toolgate.core.plan import NO_RULES, Ordering, PlanRules
from toolgate.core.schema import Judge
from toolgate.load.constraints import Constraints

from .conftest import Project

TOOL = """
tool: metrics
openapi: openapi.json
environments:
  dev: {allow: ["*"]}
  prod: {allow: [listMetrics, queryCluster]}
operations:
  queryCluster: {effect: read}
"""
FILE = "policies/plans.yaml"


@pytest.fixture
def example(metrics: Project) -> Project:
    return metrics.write({"toolspecs/metrics/tool.yaml": TOOL})


def problems(example: Project, text: str) -> list[tuple[int, str, str]]:
    return [
        (line, code, message) for path, line, code, message in example.write({FILE: text}).problems() if path == FILE
    ]


def test_rules_mean_what_they_say(example: Project) -> None:
    """Globs are resolved against the operations of every environment; an order is one for each operation."""
    text = """
apiVersion: toolgate/v1
required_for: {effects: [write, destructive], operations: [metrics.query*]}
order:
  - {operation: "metrics.remove*", after: ["metrics.*"], reason: Look before you remove}
require: [metrics.queryCluster]
free: [metrics.listMetrics]
max_steps: 10
max_replans: 0
max_depth: 2
hold_ms: 0
expires_s: 60
approve: [oncall, lead, oncall]
attempts: 2
"""

    assert (
        PlanRules(
            required_effects=frozenset({"write", "destructive"}),
            required_operations=frozenset({"metrics.queryCluster"}),
            free=frozenset({"metrics.listMetrics"}),
            order=(
                Ordering(
                    "metrics.removeMetric",
                    frozenset({"metrics.listMetrics", "metrics.queryCluster"}),
                    "Look before you remove",
                ),
            ),
            require=frozenset({"metrics.queryCluster"}),
            max_steps=10,
            max_replans=0,
            max_depth=2,
            hold_ms=0,
            expires_s=60,
            approve=("oncall", "lead"),
            attempts=2,
        )
        == example.write({FILE: text}).load().plans
    )


def test_what_is_left_out_has_its_default(example: Project) -> None:
    """Without the file, and with a file that says nothing, the rules are the same."""
    assert NO_RULES == example.load().plans
    assert NO_RULES == example.write({FILE: "{}"}).load().plans


@pytest.mark.parametrize(
    ("text", "line", "code", "message"),
    [
        ("", 1, "config.empty", "is empty"),
        ("fre: []\n", 1, "config.unknown_key", "the key `fre` is not known; did you mean `free`?"),
        ("\nmax_steps: 1001\n", 2, "config.value", "`max_steps` must be less than or equal to 1000"),
        ("hold_ms: 2s\n", 1, "config.value", "`hold_ms` must be a whole number"),
        (
            "required_for: {}\n",
            1,
            "config.value",
            "`required_for` is empty; name `effects` or `operations`, or leave `required_for` out",
        ),
        (
            "required_for: {effects: [reads]}\n",
            1,
            "config.value",
            "`required_for.effects.0` must be `read`, `write` or `destructive`",
        ),
        (
            "free:\n  - metrics.listMetric\n",
            2,
            "operation.unmatched",
            "`metrics.listMetric` matches no operation of any tool; did you mean `metrics.listMetrics`?",
        ),
        (
            "order:\n  - operation: metrics.queryCluster\n    after: [metric.*]\n",
            3,
            "operation.unmatched",
            "`metric.*` matches no operation of any tool; did you mean the tool `metrics`?",
        ),
        ("order:\n  - {operation: metrics.queryCluster}\n", 2, "config.missing_key", "`order.0.after` is missing"),
        (
            "free: [metrics.*]\nrequire: [metrics.queryCluster]\n",
            1,
            "plan.contradiction",
            "`metrics.queryCluster` is in `free`, so that it is no step, and `require` wants one; take it out of one",
        ),
        (
            "free: [metrics.listMetrics]\nrequired_for: {operations: [metrics.listMetrics]}\n",
            1,
            "plan.contradiction",
            (
                "`metrics.listMetrics` is in `free`, so that it is no step, and `required_for` wants it to be one; "
                "take it out of one"
            ),
        ),
        (
            (
                "order:\n  - {operation: metrics.listMetrics, after: [metrics.queryCluster]}\n"
                "  - {operation: metrics.queryCluster, after: [metrics.listMetrics]}\n"
            ),
            1,
            "plan.contradiction",
            (
                "`order` has `metrics.listMetrics` after `metrics.queryCluster` and the other way round, so that no plan can "
                "have both"
            ),
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(example: Project, text: str, line: int, code: str, message: str) -> None:
    """Each problem by itself, and what to do."""
    assert [(line, code, message)] == problems(example, text)


def test_rules_are_in_the_revision(example: Project) -> None:
    """Another rule, another bundle."""
    before = example.write({FILE: "max_steps: 5"}).load().revision

    assert before != example.write({FILE: "max_steps: 6"}).load().revision


def test_budgets_of_plans_and_steps_are_scopes(example: Project) -> None:
    """`plan` and `step` beside the others."""
    example.write({"policies/budgets.yaml": "budgets: [{name: each, scope: [plan, step], calls: 2}]"})

    (budget,) = example.load().budgets.budgets
    assert (("plan", "step"), True) == (budget.scope, budget.is_of_steps)


def test_a_constraint_is_judged_as_a_document_is() -> None:
    """Formats are checked, patterns run in linear time, and equal ones are compiled once."""
    constraints = Constraints()
    judge = constraints.compiled({"type": "string", "format": "uuid"})

    assert isinstance(judge, Judge)
    assert not judge.fits("x")
    assert judge is constraints.compiled({"type": "string", "format": "uuid"})
    for anything in ({}, True):
        open_judge = constraints.compiled(anything)
        assert isinstance(open_judge, Judge)
        assert open_judge.fits({"a": [None]})


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"minimum": "x"}]},
        {"properties": {"a": {"format": "no-such"}}},
        {"$dynamicRef": "#x"},
        {"items": {"$ref": "https://example.com/schema"}},
        {"pattern": "("},
        {"pattern": "(\\pL{60}){60}"},
        {"items": {"patternProperties": {"(a{1000}){100}": True}}},
        {"const": 1 << 70},
        {"type": {}},
        {"required": "a"},
        {"enum": 5},
        {"properties": []},
        [],
        None,
        {"minLength": -1},
        {"x-unknown": {"$ref": "file:///etc/passwd"}},
    ],
)
def test_what_cannot_be_enforced_is_no_constraint(schema: object) -> None:
    """Told with a place and a sentence; nothing is fetched, nothing raised."""
    found = Constraints().compiled(schema)

    assert not isinstance(found, Judge)
    assert all(message and "\n" not in message for _, message in found)
