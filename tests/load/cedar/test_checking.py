"""What statements read: every slip that Cedar's types find, and those it takes for conditions that are never true.

RULE: the messages are the product. Each is read aloud before it is written down here; a changed one is a decision.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from toolgate.load.cedar.words import a
from toolgate.load.policies import Judged

from .conftest import reading, told

SOUND = [
    "context.args.body.live",
    "context.args.body has title.integer && context.args.body.title.integer < 5",
    'context.run.by_operation["metrics.queryCluster"] > 3',
    'context.nulls.contains("/body/note")',
    'context.derived.count["/body/tags"] > 3',
    'context.derived.count has "/body/items" && context.derived.count["/body/items"] > 3',
    'context.derived.every has "/body/items/*/name" && context.derived.every["/body/items/*/name"].contains("x")',
    'context has on_behalf_of && context.on_behalf_of == "x"',
    "context.args.body.tags.isEmpty()",
    '1 == "a"',
]

WRONG = [
    (
        "context.now.hour() > 17",
        [
            '2:20 policy.syntax: there is no method `hour`; for the time of day (UTC) write `context.now.toTime() > duration("17h")`, for a day `context.now > datetime("2024-01-31")`'
        ],
    ),
    (
        "context.args.body.tags.length > 3",
        [
            '2:31 policy.unknown: `context.args.body.tags` is a list; how many it holds is `context.derived.count["/body/tags"]`'
        ],
    ),
    (
        "context.args.body.tags[0] == 1",
        [
            '2:31 policy.syntax: a list has no `[0]`; ask what it holds with `.contains(…)`, or how much with `context.derived.count["/body/items"]`'
        ],
    ),
    (
        "context.args.body.live is true",
        ["2:34 policy.syntax: after `is` stands a type's name, and `true` is none; compare values with `==`"],
    ),
    (
        "context.args.boddy == 1",
        [
            "2:21 policy.unknown: `context.args.boddy` is not an argument of `metrics.queryCluster`; did you mean `context.args.body`?",
        ],
    ),
    (
        'context.args.body.metrc == "a"',
        [
            "2:26 policy.unknown: `context.args.body.metrc` is not declared below `context.args.body`; did you mean `context.args.body.metric`?",
        ],
    ),
    (
        'context.args.body.cluster == "a"',
        [
            "2:26 policy.absent: `context.args.body.cluster` may be absent; write `context.args.body has cluster && …` before it",
        ],
    ),
    (
        "context.args.body.opts.deep.x == 1",
        [
            "2:26 policy.absent: `context.args.body.opts` may be absent; write `context.args.body has opts.deep && …` before it",
        ],
    ),
    (
        "context.args.body has opts && context.args.body.opts.deep.x == 1",
        [
            "2:61 policy.absent: `context.args.body.opts.deep` may be absent; write `context.args.body has opts.deep && …` before it",
        ],
    ),
    (
        'context.args.body["odd name"] == "x"',
        [
            '2:26 policy.absent: `context.args.body["odd name"]` may be absent; write `context.args.body has "odd name" && …` before it',
        ],
    ),
    (
        'context.args.body.items.name == "a"',
        [
            "2:26 policy.absent: `context.args.body.items` may be absent; write `context.args.body has items && …` before it",
            '2:32 policy.unknown: `context.args.body.items` is a list; ask for all of its elements with `context.derived.every["/body/items/*/name"]`, or `context.args.body.items.contains(…)`',
        ],
    ),
    (
        'context.args.body has items && context.args.body.items.name == "a"',
        [
            '2:63 policy.unknown: `context.args.body.items` is a list; ask for all of its elements with `context.derived.every["/body/items/*/name"]`, or `context.args.body.items.contains(…)`',
        ],
    ),
    (
        "context.args.body.metric.x == 1",
        [
            "2:33 policy.unknown: `context.args.body.metric` is text and has nothing below it",
        ],
    ),
    (
        "context.args.body has meta && context.args.body.meta.x == 1",
        [
            "2:61 policy.unknown: `context.args.body.meta` may hold anything, so nothing below it can be read; ask only whether it is there, with `has`",
        ],
    ),
    (
        "context.args.body has title && context.args.body.title.integer < 5",
        [
            "2:63 policy.absent: `context.args.body.title.integer` may be absent; write `context.args.body has title.integer && …` before it",
        ],
    ),
    (
        'context.args.body has metrc && context.args.body.metrc == "x"',
        [
            "2:30 policy.unknown: `context.args.body.metrc` is not declared below `context.args.body`; did you mean `context.args.body.metric`?",
        ],
    ),
    (
        "context has plan",
        [
            "2:20 policy.unknown: `context.plan` is not there yet: plans come with a later version",
        ],
    ),
    (
        "context.plan.steps == 1",
        [
            "2:16 policy.unknown: `context.plan` is not there yet: plans come with a later version",
        ],
    ),
    (
        "context.run.spent.tokens > 1",
        [
            "2:26 policy.unknown: no budget counts the `tokens` of a run; there are `calls`, `usd`; `budgets.yaml` wants one such as `{name: run-tokens, scope: [run], tokens: …}`, without `match` and `window`",
        ],
    ),
    (
        'context.enviroment == "prod"',
        [
            "2:16 policy.unknown: `context.enviroment` is not known; did you mean `context.environment`?",
        ],
    ),
    (
        'context.environment == "production"',
        [
            "2:31 policy.unknown: there is no environment `production`; write `prod`",
        ],
    ),
    (
        '["prod","stagin"].contains(context.environment)',
        [
            "2:16 policy.unknown: there is no environment `stagin`; there are `dev`, `prod`",
        ],
    ),
    (
        'context.run.completed.contains("metrics.queryClustr")',
        [
            "2:39 policy.unknown: `metrics.queryClustr` is no operation; did you mean `metrics.queryCluster`, `metrics.reset` or `metrics.listMetrics`?",
        ],
    ),
    (
        'context.run.by_operation["metrics.foo"] > 3',
        [
            "2:33 policy.unknown: `metrics.foo` is no operation; did you mean `metrics.reset` or `metrics.flagMetric`?",
        ],
    ),
    (
        'context.nulls.contains("/body/nte")',
        [
            "2:31 policy.unknown: `/body/nte` leads nowhere: below `/body` there is no `nte`; did you mean `note`?",
        ],
    ),
    (
        'context.derived.count["/body/metric"] > 3',
        [
            "2:30 policy.unknown: `/body/metric` does not lead to a list of `metrics.queryCluster`",
        ],
    ),
    (
        'context.derived.count["/body/items"] > 3',
        [
            '2:30 policy.absent: `context.derived.count["/body/items"]` may be absent; write `context.derived.count has "/body/items" && …` before it',
        ],
    ),
    (
        'context.derived.every["/body/items/*/nme"].contains("x")',
        [
            "2:30 policy.unknown: `/body/items/*/nme` leads nowhere: below `/body/items/*` there is no `nme`; did you mean `name`?",
        ],
    ),
    (
        'principal.getTag("team") == "sre"',
        [
            '2:25 policy.absent: the tag `team` may be absent; write `principal.hasTag("team") && …` before it',
        ],
    ),
    (
        'resource.tier == "critical"',
        [
            "2:17 policy.unknown: `resource.tier`: a call of `metrics.queryCluster` is, or may be, about the tool itself, which has no attributes; map its arguments to a `Metric` (`resources:` in tool.yaml)",
        ],
    ),
    (
        "resource is Metrc",
        [
            "2:20 policy.unknown: there is no type `Metrc`; did you mean `Metric`?",
        ],
    ),
    (
        'principal in Group::"a"',
        [
            "2:21 policy.unknown: there is no type `Group`; did you mean `Role`?",
        ],
    ),
    (
        'principal == User::"alice"',
        [
            "2:21 policy.unknown: there is no type `User`; did you mean `Agent`?",
        ],
    ),
    (
        'action == Action::"metrics.remove"',
        [
            "2:26 policy.unknown: no operation and no group is called `metrics.remove`; did you mean `metrics.removeMetric`, `metrics.reset` or `metrics`?",
        ],
    ),
    (
        'action == Action::"read"',
        [
            '2:26 policy.unknown: `read` is a group of actions; write `action in Action::"read"`',
        ],
    ),
    (
        'context.on_behalf_of == "x"',
        [
            "2:16 policy.absent: `context.on_behalf_of` may be absent; write `context has on_behalf_of && …` before it",
        ],
    ),
    (
        'resource == Tool::"metrcs"',
        [
            "2:26 policy.unknown: there is no tool `metrcs`; did you mean `metrics`?",
        ],
    ),
    (
        'context.args.body.metric == "a" == true',
        [
            "1:1 policy.syntax: compare two things at a time; put one comparison in parentheses",
        ],
    ),
]


@pytest.mark.parametrize("condition", SOUND)
def test_what_is_guarded_and_of_its_kind_is_sound(judged: Callable[..., Judged], condition: str) -> None:
    """A condition that can be evaluated for every call is taken."""
    assert [] == told(judged(reading(condition)).problems)


@pytest.mark.parametrize(("condition", "expected"), WRONG, ids=[text for text, _ in WRONG])
def test_what_could_not_be_evaluated_is_told(
    judged: Callable[..., Judged], condition: str, expected: list[str]
) -> None:
    """Where, what is there instead, and words that work; no type name of Cedar's."""
    assert expected == told(judged(reading(condition)).problems)


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("Item", "an Item"),
        ("`Order`", "an `Order`"),
        ("Metric", "a Metric"),
        ("User", "a User"),
        ("Update", "an Update"),
    ],
)
def test_a_name_has_its_article(noun: str, expected: str) -> None:
    """Messages are read aloud."""
    assert expected == a(noun)
