"""Slips of the pen: for each, where it is and what to write instead.

RULE: the messages are the product. Each is read aloud before it is written down here; a changed one is a decision.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from toolgate.load.policies import Judged

from .conftest import told

SYNTAX = [
    (
        "permit (principal, action, resource)\npermit (principal, action, resource);",
        ["1:37 policy.syntax: a `;` is missing after this `)`: the next statement starts on line 2"],
    ),
    (
        "permit (principal, action, resource) when { true }\n// next\nforbid (principal, action, resource);",
        ["1:51 policy.syntax: a `;` is missing after this `}`: the next statement starts on line 3"],
    ),
    (
        'permit (principal == "alice", action, resource);',
        ['1:22 policy.syntax: "alice" has no type; write what it is, such as `Agent::"alice"`'],
    ),
    (
        'permit (principal in "ops", action, resource);',
        ['1:22 policy.syntax: "ops" has no type; write what it is, such as `Role::"ops"`'],
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
        "permit (principal has Role, action, resource);",
        [
            '1:19 policy.syntax: unexpected `has`; the scope takes only `==`, `in` and `is`; ask for anything else in a condition, `when { … }`; a role is asked for with `principal in Role::"…"`'
        ],
    ),
    (
        'permit (principal, action like "x", resource);',
        [
            '1:27 policy.syntax: unexpected `like`; the scope takes only `==`, `in` and `is`; ask for anything else in a condition, `when { … }`; names are not patterns: name a group, as in `action in Action::"read"`, or several in a list'
        ],
    ),
    (
        'permit (principal, action in [Action::"read" Action::"write"], resource);',
        ["1:46 policy.syntax: unexpected `Action`; a comma is missing before `Action`"],
    ),
    (
        "permit (principal, action, resource when { true };",
        ["1:37 policy.syntax: unexpected `when`; the `(` before it is not closed: write `)`"],
    ),
    (
        "# comment\npermit (principal, action, resource);",
        ["1:1 policy.syntax: unexpected `#`; comments start with `//`"],
    ),
    (
        "permit principal, action, resource;",
        [
            "1:8 policy.syntax: unexpected `principal`; the scope stands in parentheses: `permit (principal, action, resource)`"
        ],
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
        '@reason("say "no"") permit (principal, action, resource);',
        [
            '1:15 policy.syntax: unexpected `no`; an annotation holds one text in double quotes; write `\\"` for a quote inside it'
        ],
    ),
    (
        '@id "x" permit (principal, action, resource);',
        ['1:5 policy.syntax: unexpected `"x"`; the text stands in parentheses: `@id("x")`'],
    ),
    (
        'permit (principal is Role::"x", action, resource);',
        ['1:22 policy.syntax: after `is` stands a type alone; write `in Role::"x"`'],
    ),
    (
        "permit (principal: Role, action, resource);",
        ['1:18 policy.syntax: unexpected `:`; write `principal in Role::"…"`, or `resource is Type`'],
    ),
    (
        "permit(principal, action, resource) when { a && && b };",
        [
            "1:49 policy.syntax: unexpected `&&`; something is missing after `&&`",
        ],
    ),
    (
        "permit(principal, action, resource)",
        [
            "1:36 policy.syntax: the statement does not end; write `;` after it",
        ],
    ),
    (
        "permit(principal action, resource);",
        [
            "1:18 policy.syntax: unexpected `action`; a comma or an operator is missing before `action`",
        ],
    ),
    (
        'permit(principal, action = Action::"x", resource);',
        [
            "1:26 policy.syntax: unexpected `=`; write `==`",
        ],
    ),
    (
        "permit(principal, action == Action::'x', resource);",
        [
            "1:37 policy.syntax: unexpected `'`; texts stand in straight double quotes, `\"`",
        ],
    ),
    (
        "allow(principal, action, resource);",
        [
            "1:1 policy.syntax: a statement starts with `permit` or `forbid`, and this one with `allow`; did you mean `permit`?",
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
        '@id("a") @id("b") permit(principal, action, resource);',
        [
            "1:10 policy.syntax: `@id` stands twice; keep one",
        ],
    ),
    (
        "permit(principal == ?principal, action, resource);",
        [
            '1:21 policy.template: templates (`?principal`, `?resource`) are not used here; name what is meant, such as `principal in Role::"…"`',
        ],
    ),
    (
        'permit(principal, action == Agent::"x", resource);',
        [
            '1:29 policy.syntax: `Agent::"x"` is no action; an action is written `Action::"tool.operationId"`',
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
        'permit(principal, action in ["a"], resource);',
        [
            '1:30 policy.syntax: "a" has no type; write what it is, such as `Action::"a"`',
        ],
    ),
    (
        "permit(principal, resource, action);",
        [
            "1:19 policy.syntax: `resource` is not in its place; the scope names `principal`, `action` and `resource`, in this order: `permit (principal, action, resource)`",
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
        'permit(principal in [Role::"a"], action, resource);',
        [
            '1:21 policy.syntax: only `action in` takes a list in the scope; write `when { principal in [Role::"a", Role::"b"] }`, or one statement for each',
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
        "/* c */ permit(principal, action, resource);",
        [
            "1:1 policy.syntax: unexpected `/`; comments start with `//`",
        ],
    ),
    (
        'permit(principal, action, resource) when { {"a": 1, "a": 2} == {} };',
        [
            "1:53 policy.syntax: the key `a` stands twice; keep one",
        ],
    ),
    (
        "Permit(principal, action, resource);",
        [
            "1:1 policy.syntax: a statement starts with `permit` or `forbid`, and this one with `Permit`; did you mean `permit`?",
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
        ";",
        [
            "1:1 policy.syntax: unexpected `;`; there is no statement before it; remove it",
        ],
    ),
    (
        "permit(principal,action,resource);;",
        [
            "1:35 policy.syntax: unexpected `;`; there is no statement before it; remove it",
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
        "permit(principal,action,resource) if {true};",
        [
            "1:35 policy.syntax: a condition starts with `when` or `unless`, and this one with `if`",
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
        "permit(principal) ;",
        [
            "1:1 policy.syntax: the scope has no `action`; the scope names `principal`, `action` and `resource`, in this order: `permit (principal, action, resource)`",
        ],
    ),
    (
        'permit(principal,action,resource) when {context.a == "x" or true};',
        [
            "1:58 policy.syntax: unexpected `or`; write `||`",
        ],
    ),
    (
        "deny(principal,action,resource);",
        [
            "1:1 policy.syntax: a statement starts with `permit` or `forbid`, and this one with `deny`; did you mean `forbid`?",
        ],
    ),
    (
        'permit(principal = Agent::"x",action,resource);',
        [
            "1:18 policy.syntax: unexpected `=`; write `==`",
        ],
    ),
    (
        'permit(principal,action == "x",resource);',
        [
            '1:28 policy.syntax: "x" has no type; write what it is, such as `Action::"x"`',
        ],
    ),
    (
        "permit(principal,action == Action::x,resource);",
        [
            '1:28 policy.syntax: `Action::x` names nothing; a name stands in quotes after its type, as in `Action::"x"`',
        ],
    ),
    (
        "permit(principal,action == x,resource);",
        [
            '1:28 policy.syntax: `x` names nothing; a name stands in quotes after its type, as in `Role::"x"`',
        ],
    ),
    (
        'permit(principal in ["a"],action,resource);',
        [
            '1:21 policy.syntax: only `action in` takes a list in the scope; write `when { principal in [Role::"a", Role::"b"] }`, or one statement for each',
        ],
    ),
    (
        'permit(principal,action,resource is "Metric");',
        [
            "1:37 policy.syntax: after `is` stands a type's name without quotes: write `is Metric`",
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
        '@foo.bar("x") permit(principal,action,resource);',
        [
            "1:5 policy.syntax: unexpected `.`",
        ],
    ),
    (
        "@id(x) permit(principal,action,resource);",
        [
            '1:5 policy.syntax: unexpected `x`; an annotation holds a text in double quotes: `@id("x")`',
        ],
    ),
    (
        "@id('x') permit(principal,action,resource);",
        [
            "1:5 policy.syntax: unexpected `'`; texts stand in straight double quotes, `\"`",
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
        "permit(principal is Agent && true,action,resource);",
        [
            "1:27 policy.syntax: unexpected `&&`; the scope takes only `==`, `in` and `is`; ask for anything else in a condition, `when { … }`",
        ],
    ),
    (
        "permit(action,principal,resource);",
        [
            "1:8 policy.syntax: `action` is not in its place; the scope names `principal`, `action` and `resource`, in this order: `permit (principal, action, resource)`",
        ],
    ),
    (
        "permit(principal,action,resource,context);",
        [
            "1:34 policy.syntax: `context` is one too many; the scope names `principal`, `action` and `resource`, in this order: `permit (principal, action, resource)`",
        ],
    ),
    (
        "permit(principal,action,resource) when {resource == ?resource};",
        [
            "1:53 policy.syntax: `?resource` belongs to templates, which are not used here",
        ],
    ),
    (
        'permit(principal,action,resource)\n@id("b") permit(principal,action,resource);',
        [
            "1:34 policy.syntax: a `;` is missing after this `)`: the next statement starts on line 2",
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
        'permit(principal,action == Action::"x" resource);',
        [
            "1:40 policy.syntax: unexpected `resource`; a comma or an operator is missing before `resource`",
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


@pytest.mark.parametrize(("text", "expected"), SYNTAX, ids=[text for text, _ in SYNTAX])
def test_a_slip_is_told_where_it_is_and_with_what_to_write(
    judged: Callable[..., Judged], text: str, expected: list[str]
) -> None:
    """Line, column, and words that work."""
    assert expected == told(judged(text).problems)


def test_every_slip_of_every_file_is_told_at_once(judged: Callable[..., Judged]) -> None:
    """One statement that cannot be read hides no other, and one file hides no other."""
    sound = "permit (principal, action, resource);"
    first = f"{sound}\n\n// a comment; with a semicolon\npermit (principal, action resource);\n{sound}\n  deny (principal, action, resource);"
    found = judged(first, "forbid (principal)").problems

    assert [("policies/a.cedar", 4, 27), ("policies/a.cedar", 6, 3), ("policies/b.cedar", 1, 19)] == [
        (each.path, each.line, each.column) for each in found
    ]
    assert str(found[0]).startswith("policies/a.cedar:4:27: policy.syntax: ")


@pytest.mark.parametrize(
    ("content", "line", "code"),
    [
        (b"\xef\xbb\xbfpermit (principal, action, resource);", 1, "policy.character"),
        (b"\n// \xff\npermit (principal, action, resource);", 2, "policy.encoding"),
        ("permit (principal, action, resource)\x00;", 1, "policy.character"),
        ("// why\rpermit (principal, action, resource);", 1, "policy.character"),
        ("\r\n// why\u2028permit (principal, action, resource);", 2, "policy.character"),
        ('permit (principal, action, resource) when { "a\u202eb" == "c" };', 1, "policy.character"),
        (
            "permit (principal, action, resource) when { " + "(" * 1000 + "1" + ")" * 1000 + " == 1 };",
            1,
            "policy.too_deep",
        ),
        ("permit (principal, action, resource) when { " + " && ".join(["true"] * 300) + " };", 1, "policy.too_deep"),
        ("permit (principal, action, resource) when { " + "context" + ".a" * 50_000 + " };", 1, "policy.too_large"),
        ("permit (principal, action, resource) when { " + "context" + ".a" * 5_000 + " };", 1, "policy.too_deep"),
    ],
)
def test_what_hides_or_breaks_is_refused_before_cedar_sees_it(
    judged: Callable[..., Judged], content: str | bytes, line: int, code: str
) -> None:
    """Characters nobody sees, and depths at which Cedar's own parser overflows the stack of the process."""
    found = judged(content).problems

    assert [(line, code)] == [(each.line, each.code) for each in found]


def test_lines_may_end_as_on_windows(judged: Callable[..., Judged]) -> None:
    """CRLF counts as one line."""
    text = "// why\r\npermit (principal,\r\n  action, resource);\r\npermit (principal action, resource);"

    assert ["4:19 policy.syntax: unexpected `action`; a comma or an operator is missing before `action`"] == told(
        judged(text).problems
    )
