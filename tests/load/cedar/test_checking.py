"""What statements read: every slip that Cedar's types find, and those it takes for conditions that are never true.

RULE: the messages are the product. Each is read aloud before it is written down here; a changed one is a decision.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from toolgate.load.cedar.words import a
from toolgate.load.policies import Judged

from .conftest import told

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
        'context.args.body.ratio > decimal("5.0")',
        [
            '2:26 policy.type: `context.args.body.ratio` is a decimal number; write `context.args.body.ratio.greaterThan(decimal("5.0"))`'
        ],
    ),
    (
        'decimal("1.0") <= context.args.body.ratio',
        [
            '2:44 policy.type: `context.args.body.ratio` is a decimal number; write `context.args.body.ratio.greaterThanOrEqual(decimal("1.0"))`'
        ],
    ),
    (
        'context.args.body.limit > decimal("5.0")',
        [
            "2:26 policy.type: `context.args.body.limit` is a whole number and is compared with a decimal number; write whole numbers without `decimal(…)`"
        ],
    ),
    (
        "context.now.hour > 17",
        [
            '2:20 policy.type: `context.now` is a point in time and has nothing below it; for the time of day (UTC) write `context.now.toTime() > duration("17h")`, for a day `context.now > datetime("2024-01-31")`'
        ],
    ),
    (
        "context.now.hour() > 17",
        [
            '2:20 policy.syntax: there is no method `hour`; for the time of day (UTC) write `context.now.toTime() > duration("17h")`, for a day `context.now > datetime("2024-01-31")`'
        ],
    ),
    (
        "context.now.toTime() > 17",
        [
            '2:16 policy.type: `context.now.toTime()` is a length of time; compare it with one, such as `duration("1h30m")`'
        ],
    ),
    (
        'context.now > "2024-01-31"',
        ['2:16 policy.type: `context.now` is a point in time; compare it with one, such as `datetime("2024-01-31")`'],
    ),
    (
        'context.environment.name == "prod"',
        ["2:28 policy.type: `context.environment` is text and has nothing below it"],
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
        'context.args.body.limit == "5"',
        [
            "2:26 policy.type: `context.args.body.limit` is a whole number and is compared with text; write 5 without quotes",
        ],
    ),
    (
        'context.args.body.limit < "5"',
        [
            '2:34 policy.type: `"5"` is text, and `<` compares whole numbers; write it without quotes',
        ],
    ),
    (
        "context.args.body.ratio < 1",
        [
            '2:26 policy.type: `context.args.body.ratio` is a decimal number; write `context.args.body.ratio.lessThan(decimal("0.5"))`',
        ],
    ),
    (
        "context.args.body.ratio == 1",
        [
            '2:26 policy.type: `context.args.body.ratio` is a decimal number and is compared with a whole number; write `context.args.body.ratio == decimal("1.0")`',
        ],
    ),
    (
        "context.args.body.ratio.lessThan(1)",
        [
            '2:26 policy.type: `context.args.body.ratio` is compared with 1; write `.lessThan(decimal("1.0"))`',
        ],
    ),
    (
        'context.args.body.ratio.lessThan(decimal("1"))',
        [
            '2:49 policy.type: `decimal("1")` cannot be read; write one to four digits after the point, as in `decimal("0.5")`',
        ],
    ),
    (
        "context.args.body.metric < 3",
        [
            "2:26 policy.type: `context.args.body.metric` is text, and `<` compares whole numbers",
        ],
    ),
    (
        'context.args.body.live == "true"',
        [
            "2:26 policy.type: `context.args.body.live` is true or false and is compared with text; write true without quotes",
        ],
    ),
    (
        "context.args.body.metric",
        [
            "2:26 policy.type: `context.args.body.metric` is text, and a condition is true or false; compare it with something",
        ],
    ),
    (
        "context.args.body.metric && true",
        [
            "2:26 policy.type: `context.args.body.metric` is text, and a condition is true or false; compare it with something",
        ],
    ),
    (
        'context.args.body.tags == "a"',
        [
            '2:26 policy.type: `context.args.body.tags` is a list of texts and is compared with text; write `context.args.body.tags.contains("a")`',
        ],
    ),
    (
        "context.args.body.tags.contains(1)",
        [
            "2:26 policy.type: `context.args.body.tags` is a list of texts and is asked whether it holds a whole number",
        ],
    ),
    (
        'context.args.body.metric.contains("a")',
        [
            '2:26 policy.type: `context.args.body.metric` is text, and `contains` is asked of a list; for a part of a text write `… like "*part*"`',
        ],
    ),
    (
        'context.args.body.metric in ["a"]',
        [
            '2:33 policy.type: `in` asks which role a principal or which group an action is in; for a text write `["a", "b"].contains(…)`, and for a list `.contains(…)`',
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
        "context.args.body has any && context.args.body.any == 1",
        [
            "2:30 policy.type: `context.args.body.any` may be anything, so its value cannot be compared; ask only whether it is there, with `has`",
        ],
    ),
    (
        'context.args.body has title && context.args.body.title == "a"',
        [
            "2:30 policy.type: `context.args.body.title` may be text or a whole number; ask first: `context.args.body.title has string && context.args.body.title.string == …`",
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
        "context.run.spent.usd > 1",
        [
            '2:26 policy.type: `context.run.spent.usd` is a decimal number; write `context.run.spent.usd.greaterThan(decimal("0.5"))`',
        ],
    ),
    (
        'context.run.spent.calls.greaterThan(decimal("1.0"))',
        [
            "2:26 policy.type: `context.run.spent.calls` is a whole number, and `greaterThan` compares decimal numbers; compare whole numbers with `<` and its like",
        ],
    ),
    (
        "context.run.spent == {}",
        [
            "2:20 policy.type: `context.run.spent` cannot be read whole; name the member that is meant",
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
        'principal.role == "a"',
        [
            '2:18 policy.type: `principal.role`: a principal has no attributes; ask for its role (`principal in Role::"…"`) or its tag (`principal.hasTag("…")`)',
        ],
    ),
    (
        'principal.getTag("team") == "sre"',
        [
            '2:25 policy.absent: the tag `team` may be absent; write `principal.hasTag("team") && …` before it',
        ],
    ),
    (
        'principal.hasTag("team") && principal.getTag("team") == 3',
        [
            '2:36 policy.type: `principal.getTag("team")` is text and is compared with a whole number; write `"3"`',
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
        'context.now > datetime("2024")',
        [
            '2:31 policy.type: `datetime("2024")` cannot be read; write `datetime("2024-01-31")` or `datetime("2024-01-31T12:00:00Z")`',
        ],
    ),
    (
        "context.now > 5",
        [
            '2:16 policy.type: `context.now` is a point in time; compare it with one, such as `datetime("2024-01-31")`',
        ],
    ),
    (
        "[].contains(context.args.body.metric)",
        [
            "1:1 policy.type: an empty list `[]` says nothing of what it holds; ask `.isEmpty()` instead",
        ],
    ),
    (
        'decimal(context.args.body.metric).lessThan(decimal("1.0"))',
        [
            "1:1 policy.type: `decimal(…)`, `datetime(…)`, `duration(…)` and `ip(…)` take a text written out, and no argument of the call",
        ],
    ),
    (
        'context.on_behalf_of == "x"',
        [
            "2:16 policy.absent: `context.on_behalf_of` may be absent; write `context has on_behalf_of && …` before it",
        ],
    ),
    (
        "context.args.body.limit + context.args.body.metric > 3",
        [
            "2:52 policy.type: `context.args.body.metric` is text, and `+` takes whole numbers",
        ],
    ),
    (
        'context.args.body.metric like "a*" || context.args.body.limit like "b"',
        [
            "2:64 policy.type: `context.args.body.limit` is a whole number, and `like` is asked of text",
        ],
    ),
    (
        "if context.args.body.metric then true else false",
        [
            "2:29 policy.type: `context.args.body.metric` is text, and a condition is true or false; compare it with something",
        ],
    ),
    (
        'context.args.body == {metric: "x"}',
        [
            "2:21 policy.type: `context.args.body` is an object; compare its members one by one",
        ],
    ),
    (
        "context == {}",
        [
            "2:8 policy.type: `context` cannot be read whole; name the member that is meant",
        ],
    ),
    (
        'resource == Tool::"metrcs"',
        [
            "2:26 policy.unknown: there is no tool `metrcs`; did you mean `metrics`?",
        ],
    ),
    (
        'context.args.body.metric == Role::"a"',
        [
            '2:26 policy.type: `context.args.body.metric` is text and is compared with the name `Role::"a"`; write `"a"`',
        ],
    ),
    (
        'context.args.body.metric == ["a"]',
        [
            "2:26 policy.type: `context.args.body.metric` is text and is compared with a list of texts; write `[…].contains(context.args.body.metric)`",
        ],
    ),
    (
        "context.args.body.limit == context.args.body.metric",
        [
            "2:26 policy.type: `context.args.body.limit` is a whole number and is compared with text",
        ],
    ),
    (
        "context.nulls.contains(3)",
        [
            "2:16 policy.type: `context.nulls` is a list of texts and is asked whether it holds a whole number",
        ],
    ),
    (
        "!context.args.body.metric",
        [
            "2:27 policy.type: `context.args.body.metric` is text, and a condition is true or false; compare it with something",
        ],
    ),
    (
        "context.args.body.metric.isEmpty()",
        [
            '2:26 policy.type: `context.args.body.metric` is text, and `isEmpty` is asked of a list; for a part of a text write `… like "*part*"`',
        ],
    ),
    (
        'context.args.body.tags.containsAll("a")',
        [
            '2:43 policy.type: `"a"` is text, and `containsAll` is asked of a list',
        ],
    ),
    (
        "ip(context.args.body.metric).isIpv4()",
        [
            "1:1 policy.type: `decimal(…)`, `datetime(…)`, `duration(…)` and `ip(…)` take a text written out, and no argument of the call",
        ],
    ),
    (
        'ip("1.2.3").isIpv4()',
        [
            '2:11 policy.type: `ip("1.2.3")` cannot be read; write an address or a range, as in `ip("10.0.0.0/8")`',
        ],
    ),
    (
        'context.args.body.metric == "a" == true',
        [
            "1:1 policy.syntax: compare two things at a time; put one comparison in parentheses",
        ],
    ),
    (
        '"a" < "b"',
        [
            '2:8 policy.type: `"a"` is text, and `<` compares whole numbers',
            '2:14 policy.type: `"b"` is text, and `<` compares whole numbers',
        ],
    ),
]


def statement(condition: str) -> str:
    return f'permit (principal, action == Action::"metrics.queryCluster", resource)\nwhen {{ {condition} }};'


@pytest.mark.parametrize("condition", SOUND)
def test_what_is_guarded_and_of_its_kind_is_sound(judged: Callable[..., Judged], condition: str) -> None:
    """A condition that can be evaluated for every call is taken."""
    assert [] == told(judged(statement(condition)).problems)


@pytest.mark.parametrize(("condition", "expected"), WRONG, ids=[text for text, _ in WRONG])
def test_what_could_not_be_evaluated_is_told(
    judged: Callable[..., Judged], condition: str, expected: list[str]
) -> None:
    """Where, what is there instead, and words that work; no type name of Cedar's."""
    assert expected == told(judged(statement(condition)).problems)


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
