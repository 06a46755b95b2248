"""What is there, and of another type than the condition takes it for.

RULE: the messages are the product. Each is read aloud before it is written down here; a changed one is a decision.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from toolgate.load.policies import Judged

from .conftest import reading, told

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
        'principal.role == "a"',
        [
            '2:18 policy.type: `principal.role`: a principal has no attributes; ask for its role (`principal in Role::"…"`) or its tag (`principal.hasTag("…")`)',
        ],
    ),
    (
        'principal.hasTag("team") && principal.getTag("team") == 3',
        [
            '2:36 policy.type: `principal.getTag("team")` is text and is compared with a whole number; write `"3"`',
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
        '"a" < "b"',
        [
            '2:8 policy.type: `"a"` is text, and `<` compares whole numbers',
            '2:14 policy.type: `"b"` is text, and `<` compares whole numbers',
        ],
    ),
]


@pytest.mark.parametrize(("condition", "expected"), WRONG, ids=[text for text, _ in WRONG])
def test_what_has_another_type_is_told(judged: Callable[..., Judged], condition: str, expected: list[str]) -> None:
    """Where, what is there instead, and words that work; no type name of Cedar's."""
    assert expected == told(judged(reading(condition)).problems)
