"""Slips of the pen in conditions: for each, where it is and what to write instead.

RULE: the messages are the product. Each is read aloud before it is written down here; a changed one is a decision.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from toolgate.load.policies import Judged

from .conftest import told

CONDITIONS = [
    (
        "permit (principal, action, resource) when { true }\n// next\nforbid (principal, action, resource);",
        ["1:51 policy.syntax: a `;` is missing after this `}`: the next statement starts on line 3"],
    ),
    (
        "permit (principal, action, resource) when { args.body.count == 1 };",
        ["1:45 policy.syntax: write `context.args.body.count`"],
    ),
    (
        "permit (principal, action, resource) when { body.count == 1 };",
        ["1:45 policy.syntax: `body` is not known; arguments are `context.args`, and the body is `context.args.body`"],
    ),
    (
        "permit (principal, action, resource) when { if context.args.a { true } };",
        ["1:63 policy.syntax: unexpected `{`; `if` takes both ways: `if … then … else …`"],
    ),
    (
        "permit (principal, action, resource) when { if context.args.a then true };",
        ["1:73 policy.syntax: unexpected `}`; `if` takes both ways: `if … then … else …`"],
    ),
    (
        "permit (principal, action, resource when { true };",
        ["1:37 policy.syntax: unexpected `when`; the `(` before it is not closed: write `)`"],
    ),
    (
        'permit (principal, action, resource) when { context.a =~ "x" };',
        ['1:55 policy.syntax: unexpected `=~`; for a part of a text write `… like "prefix*"`, where `*` is any text'],
    ),
    (
        'permit (principal, action, resource) when { context.a matches "x" };',
        ['1:55 policy.syntax: unexpected `matches`; write `… like "prefix*"`, where `*` is any text'],
    ),
    (
        "permit (principal, action, resource) when { context.a ? true : false };",
        ["1:55 policy.syntax: unexpected `?`; a choice is written `if … then … else …`"],
    ),
    (
        "permit (principal, action, resource) when { context.a 5 };",
        ["1:55 policy.syntax: unexpected `5`; an operator is missing before `5`"],
    ),
    (
        "permit(principal, action, resource) when { a && && b };",
        [
            "1:49 policy.syntax: unexpected `&&`; something is missing after `&&`",
        ],
    ),
    (
        "permit(principal, action, resource) when { principal.x and resource.y };",
        [
            "1:56 policy.syntax: unexpected `and`; write `&&`",
        ],
    ),
    (
        "permit(principal, action, resource) when { foo(1) };",
        [
            "1:44 policy.syntax: there is no function `foo`; there are `decimal`, `datetime`, `duration` and `ip`",
        ],
    ),
    (
        'permit(principal, action, resource) when { unknown("x") == 1};',
        [
            "1:44 policy.syntax: `unknown(…)` is not taken here: a statement must be decidable",
        ],
    ),
    (
        "permit(principal, action, resource) when { context.args.if };",
        [
            '1:57 policy.syntax: `if` is a word of Cedar; write `["if"]` for `.if`',
        ],
    ),
    (
        'permit(principal, action, resource) when { "\\q" == "a" };',
        [
            '1:44 policy.syntax: `\\q` is no escape; there are `\\"`, `\\\\`, `\\n`, `\\r`, `\\t`, `\\0`, `\\x41`, `\\u{e9}`, and `\\*` after `like`',
        ],
    ),
    (
        "permit(principal, action, resource) when { 99999999999999999999 == 1 };",
        [
            "1:44 policy.syntax: a whole number goes from -9223372036854775808 to 9223372036854775807",
        ],
    ),
    (
        'permit(principal, action, resource) when { "a" like context.x };',
        [
            '1:53 policy.syntax: after `like` stands a text written out, such as `"a*"`, and not `context.x`',
        ],
    ),
    (
        'permit(principal, action, resource) when { context.x.lessThen(decimal("1.0")) };',
        [
            "1:54 policy.syntax: there is no method `lessThen`; did you mean `lessThan`?",
        ],
    ),
    (
        "forbid(principal, action, resource) unless {};",
        [
            "1:37 policy.syntax: `unless {}` has no condition; remove it",
        ],
    ),
    (
        "permit(principal, action, resource) when { 1.5 < 2 };",
        [
            '1:46 policy.syntax: unexpected `5`; a number with a fraction is written `decimal("1.5")` and compared with `.lessThan(…)` and its like',
        ],
    ),
    (
        "permit(principal, action, resource) when { x };",
        [
            "1:44 policy.syntax: `x` is not known; a condition reads `principal`, `action`, `resource` and `context`; a text stands in double quotes",
        ],
    ),
    (
        'permit(principal, action, resource) when { principal == User::"a" || };',
        [
            "1:70 policy.syntax: unexpected `}`; something is missing after `||`",
        ],
    ),
    (
        'permit(principal, action, resource) when { context.a == "abc };',
        [
            '1:57 policy.syntax: the text that starts here does not end; close it with `"`, and write `\\"` inside',
        ],
    ),
    (
        "permit(principal, action, resource) when { context.a.b.c.d(1) };",
        [
            "1:58 policy.syntax: there is no method `d`",
        ],
    ),
    (
        'permit(principal, action, resource) when { {"a": 1, "a": 2} == {} };',
        [
            "1:53 policy.syntax: the key `a` stands twice; keep one",
        ],
    ),
    (
        'permit(principal,action,resource) when {"a\\\nb" == "c"};',
        [
            '1:41 policy.syntax: the text that starts here does not end; close it with `"`, and write `\\"` inside',
        ],
    ),
    (
        "permit(principal,action,resource) when {context.é == 1};",
        [
            '1:49 policy.syntax: unexpected `é`; a name with such a character is written `context.args["…"]`',
        ],
    ),
    (
        "permit(principal,action,resource) when {1_000 == 1};",
        [
            "1:42 policy.syntax: unexpected `_000`; a whole number is written in digits alone",
        ],
    ),
    (
        'permit(principal,action,resource) when {"\\u{110000}" == "a"};',
        [
            '1:41 policy.syntax: `\\u{110000}` is no escape; there are `\\"`, `\\\\`, `\\n`, `\\r`, `\\t`, `\\0`, `\\x41`, `\\u{e9}`, and `\\*` after `like`',
        ],
    ),
    (
        'permit(principal,action,resource) when {a::b::c("x")};',
        [
            "1:41 policy.syntax: there is no function `a::b::c`; there are `decimal`, `datetime`, `duration` and `ip`",
        ],
    ),
    (
        'permit(principal,action,resource) when {"a" == "b\\*"};',
        [
            '1:48 policy.syntax: `\\*` is no escape; there are `\\"`, `\\\\`, `\\n`, `\\r`, `\\t`, `\\0`, `\\x41`, `\\u{e9}`, and `\\*` after `like`',
        ],
    ),
    (
        "permit(principal,action,resource) when {1 = 2};",
        [
            "1:43 policy.syntax: unexpected `=`; write `==`",
        ],
    ),
    (
        "permit(principal,action,resource) when {1 =! 2};",
        [
            "1:43 policy.syntax: unexpected `=`; write `==`",
        ],
    ),
    (
        "permit(principal,action,resource) when {1 <> 2};",
        [
            "1:44 policy.syntax: unexpected `>`; write `!=`",
        ],
    ),
    (
        "permit(principal,action,resource) when {a & b};",
        [
            "1:43 policy.syntax: unexpected `&`; write `&&`",
        ],
    ),
    (
        "permit(principal,action,resource) when {!(1 % 2 == 1) };",
        [
            "1:45 policy.syntax: there is no `%`; whole numbers have `+`, `-` and `*`",
        ],
    ),
    (
        "permit(principal,action,resource) when {4/2==1};",
        [
            "1:42 policy.syntax: there is no `/`; whole numbers have `+`, `-` and `*`",
        ],
    ),
    (
        "permit(principal,action,resource) when {not true};",
        [
            "1:45 policy.syntax: unexpected `true`; write `!` for `not`",
        ],
    ),
    (
        "permit(principal,action,resource) when {context.a is not b};",
        [
            "1:58 policy.syntax: unexpected `b`; write `!(… is …)`",
        ],
    ),
    (
        "permit(principal,action,resource) when (true);",
        [
            "1:40 policy.syntax: unexpected `(`; a condition stands in braces: `when { … }`",
        ],
    ),
    (
        "permit(principal,action,resource) when true;",
        [
            "1:40 policy.syntax: unexpected `true`; a condition stands in braces: `when { … }`",
        ],
    ),
    (
        'permit(principal,action,resource) when {context.a == "x" or true};',
        [
            "1:58 policy.syntax: unexpected `or`; write `||`",
        ],
    ),
    (
        'permit(principal,action,resource) when {resource is "Metric"};',
        [
            "1:53 policy.syntax: after `is` stands a type's name without quotes: write `is Metric`",
        ],
    ),
    (
        "permit(principal,action,resource) when {context.a == null};",
        [
            "1:54 policy.syntax: there is no `null`: an argument that is null is absent (`context.args has …`) and named in `context.nulls`",
        ],
    ),
    (
        "permit(principal,action,resource) when {context.a == True};",
        [
            "1:54 policy.syntax: write `true`",
        ],
    ),
    (
        'permit(principal,action,resource) when {context.a.matches("x")};',
        [
            '1:51 policy.syntax: there is no method `matches`; write `… like "prefix*"`, where `*` is any text',
        ],
    ),
    (
        'permit(principal,action,resource) when {context.a.contains("x","y")};',
        [
            "1:51 policy.syntax: `contains` takes one value; write a list for several",
        ],
    ),
    (
        'permit(principal,action,resource) when {resource.a in ["b"]}',
        [
            "1:61 policy.syntax: the statement does not end; write `;` after it",
        ],
    ),
    (
        "permit(principal,action,resource) unless context.a;",
        [
            "1:42 policy.syntax: unexpected `context`; a condition stands in braces: `unless { … }`",
        ],
    ),
    (
        'permit(principal,action,resource) when {principal has "a".b};',
        [
            "1:51 policy.syntax: after `has` stands one name, names joined by dots, or one text in quotes",
        ],
    ),
    (
        'permit(principal,action,resource) when {ip("1.1.1.1", "2")==1};',
        [
            '1:41 policy.syntax: `ip` takes one text, as in `ip("…")`',
        ],
    ),
    (
        "permit(principal,action,resource) when {decimal(1.5)==1};",
        [
            '1:51 policy.syntax: unexpected `5`; a number with a fraction is written `decimal("1.5")` and compared with `.lessThan(…)` and its like',
        ],
    ),
    (
        "permit(principal,action,resource) when {resource == ?resource};",
        [
            "1:53 policy.syntax: `?resource` belongs to templates, which are not used here",
        ],
    ),
    (
        'permit(principal,action,resource) when { context.args.a == "x;\n} ;\n@id("y") permit(principal,action,resource);',
        [
            '1:60 policy.syntax: the text that starts here runs to line 3; is the `"` that ends it missing on line 1?',
        ],
    ),
    (
        "permit(principal,action,resource) when { context.a == “x” };",
        [
            '1:55 policy.syntax: unexpected `“`; texts stand in straight double quotes, `"`',
        ],
    ),
    (
        "permit(principal,action,resource) when { context.é };",
        [
            '1:50 policy.syntax: unexpected `é`; a name with such a character is written `context.args["…"]`',
        ],
    ),
    (
        "permit(principal,action,resource) when { context.a == };",
        [
            "1:55 policy.syntax: unexpected `}`; something is missing after `==`",
        ],
    ),
    (
        'permit(principal,action,resource) when { contains(context.a, "x") };',
        [
            "1:42 policy.syntax: `contains` is asked of a value: write `value.contains(…)`",
        ],
    ),
    (
        "permit(principal,action,resource) when { (context.a == 1 };",
        [
            "1:58 policy.syntax: unexpected `}`; the `(` before it is not closed: write `)`",
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), CONDITIONS, ids=[text for text, _ in CONDITIONS])
def test_a_slip_in_a_condition_is_told_where_it_is_and_with_what_to_write(
    judged: Callable[..., Judged], text: str, expected: list[str]
) -> None:
    """Line, column, and words that work."""
    assert expected == told(judged(text).problems)
