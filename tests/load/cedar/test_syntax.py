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
        'permit (principal == "alice", action, resource);',
        ['1:22 policy.syntax: "alice" has no type; write what it is, such as `Agent::"alice"`'],
    ),
    (
        'permit (principal in "ops", action, resource);',
        ['1:22 policy.syntax: "ops" has no type; write what it is, such as `Role::"ops"`'],
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
        'permit(principal in [Role::"a"], action, resource);',
        [
            '1:21 policy.syntax: only `action in` takes a list in the scope; write `when { principal in [Role::"a", Role::"b"] }`, or one statement for each',
        ],
    ),
    (
        "/* c */ permit(principal, action, resource);",
        [
            "1:1 policy.syntax: unexpected `/`; comments start with `//`",
        ],
    ),
    (
        "Permit(principal, action, resource);",
        [
            "1:1 policy.syntax: a statement starts with `permit` or `forbid`, and this one with `Permit`; did you mean `permit`?",
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
        "permit(principal,action,resource) if {true};",
        [
            "1:35 policy.syntax: a condition starts with `when` or `unless`, and this one with `if`",
        ],
    ),
    (
        "permit(principal) ;",
        [
            "1:1 policy.syntax: the scope has no `action`; the scope names `principal`, `action` and `resource`, in this order: `permit (principal, action, resource)`",
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
        'permit(principal,action,resource)\n@id("b") permit(principal,action,resource);',
        [
            "1:34 policy.syntax: a `;` is missing after this `)`: the next statement starts on line 2",
        ],
    ),
    (
        'permit(principal,action == Action::"x" resource);',
        [
            "1:40 policy.syntax: unexpected `resource`; a comma or an operator is missing before `resource`",
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
