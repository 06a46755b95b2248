"""Whole statements: who, which actions, what about, and what stands before them.

RULE: the messages are the product. Each is read aloud before it is written down here; a changed one is a decision.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from toolgate.load.policies import Judged

from .conftest import told

SOUND_STATEMENTS = [
    'permit (principal in Agent::"x", action, resource);',
    "forbid (principal, action, resource is Metric) when { resource has weight && resource.weight > 3 };",
    'permit(principal, action in Action::"metrics", resource) when { context.args has name && context.args.name == "x" };',
    'permit(principal, action, resource) when { action == Action::"metrics.flagMetric" && context.args.name == "a" || action in Action::"destructive" && context.args.name == "a" };',
    "",
]

WRONG_STATEMENTS = [
    (
        'forbid (principal, action, resource == Metric::"cpuu");',
        ["1:48 policy.unknown: no catalogue of any environment lists a Metric `cpuu`; did you mean `cpu`?"],
    ),
    (
        'forbid (principal, action, resource is Metric in Metric::"cpuu");',
        ["1:58 policy.unknown: no catalogue of any environment lists a Metric `cpuu`; did you mean `cpu`?"],
    ),
    (
        'forbid (principal, action == Action::"metrics.removeMetric", resource) when { resource in [Metric::"cpu", Metric::"laod"] };',
        ["1:115 policy.unknown: no catalogue of any environment lists a Metric `laod`; did you mean `load`?"],
    ),
    (
        'forbid (principal, action == Action::"metrics.removeMetric", resource) when { Metric::"disk" == resource };',
        ["1:87 policy.unknown: no catalogue of any environment lists a Metric `disk`; there are `cpu`, `load`"],
    ),
    (
        'permit (principal, action, resource) when { principal == "alice" };',
        ['1:58 policy.type: `principal` is compared with text; a name stands after its type: write `Agent::"alice"`'],
    ),
    (
        'permit (principal, action, resource) when { principal in ["ops"] };',
        ['1:59 policy.type: `principal` is compared with text; a name stands after its type: write `Role::"ops"`'],
    ),
    (
        'forbid (principal, action, resource) when { action == "metrics.reset" };',
        [
            '1:55 policy.type: `action` is compared with text; a name stands after its type: write `Action::"metrics.reset"`'
        ],
    ),
    (
        'forbid (principal, action == Action::"metrics.removeMetric", resource) when { resource == "cpu" };',
        ['1:91 policy.type: `resource` is compared with text; a name stands after its type: write `Metric::"cpu"`'],
    ),
    (
        'permit (principal, action, resource) when { action like "metrics.*" };',
        [
            '1:52 policy.type: `like` is asked of text, and `action` is none; names are not patterns: name a group, as in `action in Action::"read"`, or several in a list'
        ],
    ),
    (
        "permit (principal, action, resource) when { principal has Role };",
        [
            '1:59 policy.type: `principal.Role`: a principal has no attributes; ask for its role (`principal in Role::"…"`) or its tag (`principal.hasTag("…")`)'
        ],
    ),
    (
        'permit (principal == Role::"x", action, resource);',
        [
            '1:28 policy.unknown: nobody is a role; write `principal in Role::"x"`',
        ],
    ),
    (
        "permit (principal is Role, action, resource);",
        [
            "1:22 policy.unknown: a principal is an `Agent`, never a `Role`",
        ],
    ),
    (
        'permit (principal in Metric::"cpu", action, resource);',
        [
            "1:22 policy.unknown: a principal is in a `Role`, never in a `Metric`",
        ],
    ),
    (
        "permit (principal, action, resource is Role);",
        [
            "1:40 policy.unknown: a resource is a `Tool` or of a catalogued type, never `Role`",
        ],
    ),
    (
        'permit (principal, action == Action::"read", resource);',
        [
            '1:38 policy.unknown: `read` is a group of actions; write `action in Action::"read"`',
        ],
    ),
    (
        'permit (principal, action in Action::"delete", resource);',
        [
            "1:38 policy.unknown: no operation and no group is called `delete`; did you mean the group `destructive`?",
        ],
    ),
    (
        'permit (principal, action == Action::"removeMetric", resource);',
        [
            "1:38 policy.unknown: no operation and no group is called `removeMetric`; write the tool's name too: `metrics.removeMetric`",
        ],
    ),
    (
        'permit (principal, action == Action::"metrics__removeMetric", resource);',
        [
            "1:38 policy.unknown: no operation and no group is called `metrics__removeMetric`; write `metrics.removeMetric`",
        ],
    ),
    (
        'permit (principal, action == Action::"metrics.*", resource);',
        [
            "1:38 policy.unknown: no operation and no group is called `metrics.*`; names are not patterns: name a group (`read`, `write`, `destructive` or a tool), or leave `action`",
        ],
    ),
    (
        'permit (principal, action == AgentCore::Action::"metrics.removeMetric", resource);',
        [
            '1:30 policy.unknown: `AgentCore::Action` is not known; an action is written `Action::"tool.operationId"`',
        ],
    ),
    (
        'permit (principal, action in [Action::"metrics.removeMetric", Action::"metrics.flgMetric"], resource);',
        [
            "1:71 policy.unknown: no operation and no group is called `metrics.flgMetric`; did you mean `metrics.flagMetric`, `metrics.listMetrics` or `metrics.removeMetric`?",
        ],
    ),
    (
        'forbid (principal, action == Action::"metrics.listMetrics", resource is Metric);',
        [
            "1:73 policy.never: this can never match: no operation its action holds is about a `Metric` in any environment; map the arguments to it (`resources: [{type: Metric, at: …}]` in tool.yaml), or drop it here",
        ],
    ),
    (
        'forbid (principal, action in Action::"metrics", resource) when { resource.tier == "critical" };',
        [
            "1:75 policy.unknown: `resource.tier`: a call of `metrics.listMetrics` is, or may be, about the tool itself, which has no attributes; write `resource is Metric` in the scope",
        ],
    ),
    (
        'forbid (principal, action in Action::"destructive", resource) when { resource.tier == "critical" && resource.weight > 3 };',
        [
            "1:110 policy.absent: not every Metric has `resource.weight`; write `resource has weight && …` before it",
        ],
    ),
    (
        'forbid (principal, action, resource is Metric) when { resource.tir == "critical" };',
        [
            "1:64 policy.unknown: `resource.tir`: a Metric has no `tir`; did you mean `tier`?",
        ],
    ),
    (
        "forbid (principal, action, resource is Metric) when { resource has tir };",
        [
            "1:68 policy.unknown: `resource.tir`: a Metric has no `tir`; did you mean `tier`?",
        ],
    ),
    (
        'permit(principal, action in Action::"read", resource) when { context.args.per_page < 100 };',
        [
            "1:75 policy.unknown: for 1 of 2 operations of `read` (`metrics.queryCluster`): there is no `context.args.per_page`; narrow the action, or write `context.args has per_page && …` before it",
        ],
    ),
    (
        'permit(principal, action in Action::"metrics", resource) when { context.args.name == "x" };',
        [
            "1:78 policy.unknown: for 2 of 4 operations of `metrics`, such as `metrics.listMetrics`: there is no `context.args.name`; narrow the action, or write `context.args has name && …` before it",
        ],
    ),
    (
        'permit(principal, action in Action::"metrics", resource) when { context.args has nme && context.args.nme == "x" };',
        [
            "1:82 policy.unknown: no operation of `metrics` has `context.args.nme`; did you mean `name`?",
        ],
    ),
    (
        '@id("a b") permit(principal,action,resource);',
        [
            "1:1 policy.id: an id is at most 128 letters, digits, `.`, `_` and `-`, such as `critical-metrics-stay`",
        ],
    ),
    (
        "@id permit(principal,action,resource);",
        [
            '1:1 policy.id: `@id` is empty; give it a name, as in `@id("critical-metrics-stay")`, or leave it out',
        ],
    ),
    (
        '@id("x") permit(principal,action,resource); @id("x") forbid(principal,action,resource);',
        [
            "1:45 policy.duplicate_id: the id `x` is taken by the statement at policies/a.cedar:1; an id names one statement",
        ],
    ),
    (
        '@reson("x") permit(principal,action,resource);',
        [
            "1:1 policy.annotation: `@reson` is not known; did you mean `@reason`?",
        ],
    ),
    (
        '@approval("x") permit(principal,action,resource);',
        [
            "1:1 policy.annotation: `@approval` stands on a `forbid`: what it forbids, a person may grant; a permit needs nobody",
        ],
    ),
    (
        "@approval forbid(principal,action,resource);",
        [
            '1:1 policy.annotation: `@approval` names the role of those who may grant it, as in `@approval("oncall")`',
        ],
    ),
    (
        '@mode("shadow") permit(principal,action,resource);',
        [
            '1:1 policy.annotation: `@mode` is `"audit"`, or left out: then the statement is enforced',
        ],
    ),
    (
        '@hint("a\\nb") permit(principal,action,resource);',
        [
            "1:1 policy.annotation: `@hint` holds a line break or an invisible character; write it in one line",
        ],
    ),
    (
        '@foo("a") permit(principal,action,resource);',
        [
            "1:1 policy.annotation: `@foo` is not known; there are `@id`, `@reason`, `@hint`, `@approval`, `@mode`",
        ],
    ),
]


@pytest.mark.parametrize("text", SOUND_STATEMENTS)
def test_a_statement_that_means_something_is_taken(judged: Callable[..., Judged], text: str) -> None:
    """Names that exist, in places where they can match."""
    assert [] == told(judged(text).problems)


@pytest.mark.parametrize(("text", "expected"), WRONG_STATEMENTS, ids=[text for text, _ in WRONG_STATEMENTS])
def test_a_name_that_means_nothing_is_told(judged: Callable[..., Judged], text: str, expected: list[str]) -> None:
    """Cedar would take it for one that matches nothing, and a forbid would never fire."""
    assert expected == told(judged(text).problems)


def test_a_statement_is_what_is_written(judged: Callable[..., Judged]) -> None:
    """Its place, its text and its annotations; comments before it are not part of it."""
    text = (
        '// first\n@id("stay") // named\n@reason("kept") @hint("flag it") @approval("oncall")\n'
        'forbid (principal, action == Action::"metrics.removeMetric", resource)\n'
        'when { context.args.name like "a;b*" };\n'
        '@mode("audit") permit (principal, action, resource);'
    )
    first, second = judged(text).statements

    assert ("stay", "forbid", "policies/a.cedar", 2) == (first.id, first.effect, first.file, first.line)
    assert ("kept", "flag it", "oncall", False) == (first.reason, first.hint, first.approval, first.audit)
    assert text[text.index("@id") : text.index("@mode") - 1] == first.text
    assert first.template.id == first.id
    assert ("a.cedar:6", True, None) == (second.id, second.audit, second.reason)


def test_the_same_file_twice_is_told_where_ids_repeat(judged: Callable[..., Judged]) -> None:
    """Both places; a statement without an id is named by its place, so twice the same is two statements."""
    named = '@id("a")\npermit (principal, action, resource);'
    nameless = "permit (principal, action, resource);"

    assert [
        (
            "policies/b.cedar:1:1: policy.duplicate_id: the id `a` is taken by the statement at policies/a.cedar:1; "
            "an id names one statement"
        )
    ] == list(map(str, judged(named, named).problems))
    assert ["a.cedar:1", "b.cedar:1"] == [each.id for each in judged(nameless, nameless).statements]
    assert ["a.cedar:1", "a.cedar:1:39"] == [each.id for each in judged(f"{nameless} {nameless}").statements]


def test_what_only_another_environment_has_is_no_slip(judged: Callable[..., Judged]) -> None:
    """The same files serve them all: it is kept, and matches nothing here."""
    assert [] == told(judged('permit (principal, action == Action::"metrics.reset", resource);').problems)


def test_a_guard_by_action_leaves_an_operation_out(judged: Callable[..., Judged]) -> None:
    """As the message of a group-wide statement proposes it."""
    group = 'forbid (principal, action in Action::"destructive", resource) when { %s };'
    read = 'action != Action::"metrics.listMetrics" && action != Action::"metrics.queryCluster" && context.args.name == "x"'

    assert [] == told(judged(group % read).problems)
    assert [] == told(judged(f"forbid (principal, action, resource) when {{ {read} }};").problems)
