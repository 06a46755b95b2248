"""policies/budgets.yaml: what it means, everything that can be wrong with it, and what operations cost."""

from __future__ import annotations

import pytest

from toolgate.core.budget import Budget, Match
from toolgate.core.budgets import Budgets
from toolgate.core.cost import Cost
from toolgate.core.expressions import parse_expression
from toolgate.core.limit import Concurrency, Limit, Rate
from toolgate.core.loop import NO_LOOPS, Loops
from toolgate.core.window import RollingWindow

from .conftest import Project

TOOL = """
tool: metrics
openapi: openapi.json
environments:
  dev: {allow: ["*"]}
  prod: {allow: [listMetrics, queryCluster]}
operations:
  queryCluster: {effect: read, cost: {usd: 0.002, tokens: {reserve: $args.body.metric, settle: $response.body#/usage}}}
"""
FILE = "policies/budgets.yaml"


@pytest.fixture
def example(metrics: Project) -> Project:
    return metrics.write({"toolspecs/metrics/tool.yaml": TOOL})


def loaded(example: Project, text: str, environment: str = "prod") -> Budgets:
    return example.write({FILE: text}).load(environment).budgets


def problems(example: Project, text: str) -> list[tuple[int, str, str]]:
    return [
        (line, code, message) for path, line, code, message in example.write({FILE: text}).problems() if path == FILE
    ]


def test_everything_is_told_in_one_round(example: Project) -> None:
    """A wrong form of one entry keeps nothing back of what others name, nor of what it names itself."""
    example.write(
        {"policies/plans.yaml": "hold: 3\nfree: [metrics.nope]\norder: [{operation: 5, after: [metrics.nope]}]\n"}
    )
    example.write({"policies/a.cedar": 'permit (principal, action == Action::"metrics.nope", resource);\n'})
    found = problems(
        example,
        """
budgets:
  - {name: one, scop: [run], calls: 50}
  - {name: two, scope: [run], uds: 1, match: {operations: [metrics.nope, 3]}}
  - {name: two, scope: [run], usd: 1e30}
  - 7
""",
    )

    assert [
        (3, "budget.cost"), (3, "config.missing_key"), (4, "budget.cost"), (4, "config.value"),
        (4, "operation.unmatched"), (5, "budget.repeated"), (5, "config.value"), (6, "config.value"),
    ] == [(line, code) for line, code, _ in found]  # fmt: skip
    others = [(path, line, code) for path, line, code, _ in example.problems() if path != FILE]
    assert [
        ("policies/a.cedar", 1, "policy.unknown"), ("policies/plans.yaml", 1, "config.unknown_key"),
        ("policies/plans.yaml", 2, "operation.unmatched"), ("policies/plans.yaml", 3, "config.value"),
        ("policies/plans.yaml", 3, "operation.unmatched"),
    ] == others  # fmt: skip


def test_a_budget_means_what_it_says(example: Project) -> None:
    """One for each amount; costs in micro-units, calls, bytes and seconds as they are."""
    found = loaded(
        example,
        """
budgets:
  - {name: run, scope: [run], calls: 50, usd: "0.50", bytes: 1MiB}
  - {name: daily, scope: [principal, tool], tokens: 0.5, window: day}
  - {name: rolling, scope: [environment], usd: 3, window: {rolling_s: 3600}}
  - {name: time, scope: [run], seconds: 900}
""",
    )

    assert (
        Budget("run", ("run",), "calls", 50),
        Budget("run", ("run",), "bytes", 1 << 20),
        Budget("run", ("run",), "usd", 500_000),
        Budget("daily", ("principal", "tool"), "tokens", 500_000, "day"),
        Budget("rolling", ("environment",), "usd", 3_000_000, RollingWindow(3600)),
        Budget("time", ("run",), "seconds", 900),
    ) == found.budgets
    assert ((), NO_LOOPS) == (found.limits, found.loops)


@pytest.mark.parametrize(
    ("written", "allows"),
    [
        ("rate: 10/s, burst: 20", Rate(100_000, 20, "10/s")),
        ("rate: 10/s", Rate(100_000, 10, "10/s")),
        ("rate: 3/s", Rate(333_334, 2, "3/s")),
        ("rate: 100/min", Rate(600_000, 1, "100/min")),
        ("rate: 1000/h", Rate(3_600_000, 1, "1000/h")),
        ("concurrency: 4", Concurrency(4)),
    ],
)
def test_a_limit_means_what_it_says(example: Project, written: str, allows: Rate | Concurrency) -> None:
    """An interval is rounded up, so that never more comes through than is written; a burst is a second's worth."""
    found = loaded(example, f"limits: [{{name: fast, scope: [principal], {written}}}]")

    assert (Limit("fast", ("principal",), allows),) == found.limits


def test_loops_are_looked_for_where_they_are_named(example: Project) -> None:
    """Each key for itself."""
    text = "loops: {identical_calls: 3, window_s: 30, identical_refusals: 4, denied_attempts: 20}"

    assert Loops(3, 30, 4, 20) == loaded(example, text).loops
    assert Loops(denied_attempts=5) == loaded(example, "loops: {denied_attempts: 5}").loops
    assert loaded(example, "apiVersion: toolgate/v1").bounds_nothing


@pytest.mark.parametrize(
    ("match", "prod", "dev"),
    [
        ("{operations: [metrics.queryCluster]}", {"queryCluster"}, {"queryCluster"}),
        (
            "{operations: ['metrics.*']}",
            {"listMetrics", "queryCluster", "removeMetric"},
            {"listMetrics", "queryCluster", "removeMetric"},
        ),
        ("{effects: [write, destructive]}", {"removeMetric"}, {"removeMetric"}),
        ("{effects: [read], operations: ['*.list*', metrics.removeMetric]}", {"listMetrics"}, {"listMetrics"}),
    ],
)
def test_a_match_is_held_against_the_operations(example: Project, match: str, prod: set[str], dev: set[str]) -> None:
    """Ids or globs, effects, or both at once."""
    text = f"budgets: [{{name: some, scope: [run], calls: 5, match: {match}}}]"

    for environment, ids in (("prod", prod), ("dev", dev)):
        (found,) = loaded(example, text, environment).budgets
        assert Match(frozenset(f"metrics.{name}" for name in ids)) == found.match


@pytest.mark.parametrize(
    ("text", "line", "code", "message"),
    [
        ("", 1, "config.empty", "is empty"),
        ("budget: []", 1, "config.unknown_key", "the key `budget` is not known; did you mean `budgets`?"),
        (
            "budgets:\n- {name: a, scope: [run], calls: 1, usdd: 3}",
            2,
            "budget.cost",
            "`budgets.0.usdd` is no key of a budget, and no operation has a cost `usdd`; did you mean `usd`?",
        ),
        (
            "budgets:\n- {name: a, scope: [run], joules: 3}",
            2,
            "budget.cost",
            (
                "`budgets.0.joules` is no key of a budget, and no operation has a cost `joules`; "
                "add it to the `cost` of the operations that have it"
            ),
        ),
        (
            "budgets:\n- name: a\n  scope: [run]\n  usd: 0.0000001",
            4,
            "config.value",
            (
                "`budgets.0.usd` must be an amount from 0 to 1000000000 with at most six digits after the point, "
                "such as `5` or `0.50`"
            ),
        ),
        (
            "budgets: [{name: a, scope: [principle], calls: 1}]",
            1,
            "config.value",
            (
                "`budgets.0.scope.0`: `principle` is no scope; there are `run`, `plan`, `step`, `principal`, `operation`, "
                "`tool`, `environment`; "
                "did you mean `principal`?"
            ),
        ),
        (
            "budgets: [{name: a, scope: [run], calls: 1, window: hour}]",
            1,
            "config.value",
            "`budgets.0.window` must be `day`, `week`, `month` (UTC) or `{rolling_s: 3600}`",
        ),
        (
            "budgets: [{name: a, scope: [run], calls: 1, window: dya}]",
            1,
            "config.value",
            "`budgets.0.window` must be `day`, `week`, `month` (UTC) or `{rolling_s: 3600}`; did you mean `day`?",
        ),
        (
            "budgets: [{name: a, scope: [run], calls: 1, window: {rolling: 60}}]",
            1,
            "config.value",
            "`budgets.0.window` must be `day`, `week`, `month` (UTC) or `{rolling_s: 3600}`; did you mean `rolling_s`?",
        ),
        (
            "budgets: [{name: a, scope: [run], calls: 1, window: {rolling_s: 5}}]",
            1,
            "config.value",
            "`budgets.0.window` has a `rolling_s` that is no whole number of seconds from 60 to 2678400",
        ),
        (
            "budgets: [{name: a, scope: [run], calls: 1, window: 60}]",
            1,
            "config.value",
            "`budgets.0.window` must be `day`, `week`, `month` (UTC) or `{rolling_s: 3600}`",
        ),
        ("budgets: [{name: a, scope: [], calls: 1}]", 1, "config.value", "`budgets.0.scope` must hold at least 1"),
        (
            "budgets: [{name: a, scope: [run]}]",
            1,
            "config.value",
            "`budgets.0` gives nothing; add `calls`, `bytes`, `seconds` or a cost such as `usd`",
        ),
        (
            "budgets: [{name: a, scope: [run], calls: 1, match: {}}]",
            1,
            "config.value",
            "`budgets.0.match` is empty; name `operations` or `effects`, or leave `match` out",
        ),
        (
            "budgets: [{name: a, scope: [run], calls: 1}]\nlimits: [{name: a, scope: [run], concurrency: 1}]",
            2,
            "budget.repeated",
            "the name `a` is given twice; give one of them another",
        ),
        (
            "budgets: [{name: a, scope: [run], calls: 1, match: {operations: [metrics.queryClusters]}}]",
            1,
            "operation.unmatched",
            "`metrics.queryClusters` matches no operation of any tool; did you mean `metrics.queryCluster`?",
        ),
        (
            "budgets: [{name: a, scope: [run], calls: 1, match: {operations: ['metric.*']}}]",
            1,
            "operation.unmatched",
            "`metric.*` matches no operation of any tool; did you mean the tool `metrics`?",
        ),
        (
            "limits: [{name: a, scope: [run], rate: fast}]",
            1,
            "config.value",
            "`limits.0.rate` must be a rate such as `10/s`, `100/min` or `1000/h`, and at most 1000000/s",
        ),
        (
            "limits: [{name: a, scope: [run], rate: 1/s, concurrency: 1}]",
            1,
            "config.value",
            "`limits.0` must have exactly one of `rate` and `concurrency`",
        ),
        (
            "limits: [{name: a, scope: [run], concurrency: 1, burst: 1}]",
            1,
            "config.value",
            "`limits.0` has `burst` without `rate`",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(example: Project, text: str, line: int, code: str, message: str) -> None:
    """A misspelt budget would bound nothing."""
    assert [(line, code, message)] == problems(example, text)


@pytest.mark.parametrize(
    "entry",
    ["scope: [principal], seconds: 5", "scope: [run], window: day, seconds: 5", "scope: [run, tool], seconds: 5"],
)
def test_seconds_are_of_a_run(example: Project, entry: str) -> None:
    """A deadline is no amount that several runs could share, and nothing gives it again."""
    message = "`budgets.0` has `seconds`, which say how long a run lasts: it needs `scope: [run]`, and no `window`"

    assert [(1, "config.value", message)] == problems(example, f"budgets: [{{name: a, {entry}}}]")


@pytest.mark.parametrize(
    "text",
    [
        "budgets: 5",
        "budgets: [5]",
        "budgets: [{}]",
        "loops: {identical_refusals: 1}",
        "loops: {window_s: 0}",
        "[]",
        "a",
    ],
)
def test_any_text_is_answered_with_problems(example: Project, text: str) -> None:
    """Never a traceback, and never a budget that is half there."""
    assert problems(example, text)


def test_the_file_is_part_of_the_revision(example: Project) -> None:
    """Who raises a budget has changed what is enforced."""
    one = example.write({FILE: "budgets: [{name: a, scope: [run], calls: 1}]"}).load().revision
    two = example.write({FILE: "budgets: [{name: a, scope: [run], calls: 2}]"}).load().revision

    assert one != two


def test_what_an_operation_costs(example: Project) -> None:
    """In micro-units, or where the arguments and the reply say it."""
    costs = example.load().catalog.operations["metrics.queryCluster"].cost

    assert {
        "usd": Cost(2_000),
        "tokens": Cost(parse_expression("$args.body.metric"), parse_expression("$response.body#/usage")),
    } == costs


def test_a_cost_that_no_budget_counts_is_noted(example: Project) -> None:
    """Nobody shall believe that it is held against something."""
    notes = example.write({FILE: "budgets: [{name: a, scope: [run], usd: 1}]"}).load().notes

    expected = "the cost `tokens` is counted by no budget; add one to `policies/budgets.yaml`"
    assert [(expected, "not_enforced")] == [(note.message, note.kind) for note in notes]


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        ("usd: 0.0000001", "must be an amount with at most six digits after the point such as `0.002`"),
        ("usd: -1", "must be an amount"),
        ("usd: true", "must be an amount"),
        ("usd: {reserve: 1}", "or `{reserve: 0.05, settle: $response.body#/usage/cost}`"),
        ("usd: {reserve: 1, settle: $args.x}", "must name a part of the reply"),
        ("usd: $response.body#/x", "must name an argument"),
        ("usd: $args.body#", "is not an expression"),
        ("calls: 5", "is no cost: every budget of `calls` counts them by itself; name another or remove it"),
        ("bytes: 5", "is no cost: every budget of `bytes`"),
        ("seconds: 5", "is no cost: every budget of `seconds`"),
        ("window: 5", "is a key of a budget, so no budget could count it; choose another name than `window`"),
        ("usd: {reserve: 1, settle: $response.body#/x, unpriced: 0.5}", "has an `unpriced` below its `reserve`"),
        ("usd: {reserve: 1, settle: $response.body#/x, unpriced: much}", "has an `unpriced` that is no amount"),
        (
            "usd: {reserv: 1, settle: $response.body#/x}",
            "has the key `reserv`, which is not known; did you mean `reserve`?",
        ),
        ("USD: 1", "must be a cost's name such as `usd` or `tokens`"),
        ("usd: $args.nope", "`$args.nope` names no argument of `queryCluster`; it has `body`"),
    ],
)
def test_a_cost_that_cannot_be_counted_is_a_problem(example: Project, cost: str, message: str) -> None:
    """At load, with the line; not when the call comes."""
    tool = TOOL.replace("usd: 0.002, tokens: {reserve: $args.body.metric, settle: $response.body#/usage}", cost)
    example.write({"toolspecs/metrics/tool.yaml": tool})

    (problem,) = example.problems()

    assert message in problem[3]
