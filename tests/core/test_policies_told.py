"""What policies tell: of the values conditions read, of what may be asked for, and of what was nearly allowed."""

from __future__ import annotations

import pytest
from tests.support.metrics import (
    EXAMPLE,
    LIST,
    PERMIT,
    QUERY,
    REMOVE,
    UNKNOWN,
    body,
    forbidding,
    made,
    metric,
)
from tests.support.statements import DIGEST, question

from toolgate.core.model import Principal, RunFacts
from toolgate.core.policy import NearMiss, Ruling

# -- what is told --------------------------------------------------------------------------------------------------

TOLD = [
    ('context.args.body.amount.lessThan(decimal("0.5"))', body(amount=0.25)),
    ('context.args.body.amount == decimal("2.0")', body(amount=2)),
    ("context.args.body.count == 1000", body(count=1000.0)),
    ('context.args.body.tags.containsAll(["a", "b"])', body(tags=["b", "a", "a"])),
    ('context.args.body has title.string && context.args.body.title.string == "x"', body(title="x")),
    ("context.args.body.title has integer && context.args.body.title.integer == 5", body(title=5)),
    ("context.args.body has labels", body(labels={"anything": UNKNOWN})),
    ("!(context.args.body has labels)", body()),
    ('context.derived.count["/body/items"] == 2', body(items=[{}, {}])),
    ('!(context.derived.count has "/body/items")', body()),
    ('context.derived.every["/body/items/*/image"] == ["a", "b"]', body(items=[{"image": "b"}, {"image": "a"}, {"image": "a"}, {"image": None}, {}])),
    ('context.derived.every["/body/items/*/image"].isEmpty()', body(items=[])),
    ('context.nulls.contains("/body/items/*/image")', body(items=[{"image": "a"}, {"image": None}])),
    ('context.environment == "prod"', {}),
    ("context.run.calls == 3 && context.run.refusals == 1 && context.run.age_s == 60", {}),
    ('context.run.completed.contains("metrics.list") && !context.run.completed.contains("metrics.query")', {}),
    ('context.run.completed == ["metrics.list"]', {}),
    ('context.run.by_operation["metrics.list"] == 2 && context.run.by_operation["metrics.query"] == 0', {}),
    ('context.now == datetime("2026-11-22T08:00:00.000Z") && context.now.toTime() > duration("7h")', {}),
    ('context.on_behalf_of == "corp/ann"', {}),
    ('principal.getTag("team") == "sre" && principal in Role::"digest" && principal is Agent', {}),
    ('principal == Agent::"digest" && resource == Metric::"cpu" && resource is Metric', {}),
    ('resource.tier == "low" && resource.cost.lessThan(decimal("1.0"))', {}),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "arguments"), TOLD, ids=[row[0] for row in TOLD])
def test_conditions_are_told_what_they_read(condition, arguments):
    """Each part of the request stands where the reference says, in the type it says."""
    caller = Principal("digest", ("digest",), {"team": "sre", "other": "x"}, "corp/ann")
    run = RunFacts("r", 3, 1, 60, frozenset({"metrics.list"}), {"metrics.list": 2})
    asked = question(QUERY, arguments, principal=caller, resource=metric(tier="low", cost=0.5, more=UNKNOWN), run=run)

    assert Ruling("denied", ("no",)) == forbidding(condition).rule(asked)


UNTOLD = [
    ('context.args.body.amount == decimal("1.0")', body(amount=0.29999), "`/body/amount` is not a number with at most four decimals, and statement `no` reads it"),
    ("context.args.body.count == 1", body(count=2**63), "`/body/count` is not a whole number of 64 bits, and statement `no` reads it"),
    ("context.args.body has labels.force", body(labels={"force": True}), "`/body/labels/force` is not declared by the schema, and statement `no` reads it"),
    ("context.args.body.labels == {}", body(labels={"force": True}), "`/body/labels` has members its schema does not declare, and statement `no` reads it"),
    ('context.derived.count["/body/labels/x"] == 1', body(labels={"x": []}), "`/body/labels/x` is not a list its schema declares, and statement `no` reads it"),
    ('context.derived.every["/body/items/*/name"] == ["x"]', body(items=[{"name": "x"}]), "`/body/items/*/name` is not described by its schema, so its value cannot be compared, and statement `no` reads it"),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "arguments", "detail"), UNTOLD, ids=[row[0] for row in UNTOLD])
def test_what_cannot_be_told_refuses_and_says_where(condition, arguments, detail):
    """The place and the statement are named, the value never."""
    assert Ruling("error", ("no",), detail) == forbidding(condition).rule(question(QUERY, arguments))


def test_what_no_statement_reads_is_irrelevant():
    """A value Cedar cannot hold refuses only where it is read."""
    assert (
        "allowed"
        == forbidding("context.args.body has count").rule(question(QUERY, body(amount=0.29999, labels=UNKNOWN))).kind
    )


def test_what_only_audit_reads_refuses_nothing():
    """A statement in audit that cannot be told is a shadow of an error, and no error."""
    ruled = made(
        PERMIT + '@id("new") @mode("audit") forbid (principal, action, resource) when { context.args.body.count > 1 };'
    )
    ruling = ruled.rule(question(QUERY, body(count="x")))

    assert ("allowed", "error", ("new",)) == (ruling.kind, ruling.shadow.kind, ruling.shadow.statements)


# -- listings ------------------------------------------------------------------------------------------------------

MAY = [
    ("a role that is not there", 'permit (principal in Role::"x", action, resource);', QUERY, False),
    ("another environment", 'permit (principal, action, resource) when { context.environment == "dev" };', QUERY, False),
    ("arguments to come", "permit (principal, action, resource) when { context.args.body.count > 5 };", QUERY, True),
    ("arguments and a tag", 'permit (principal, action, resource) when { context.args.body.count > 5 && principal.hasTag("x") };', QUERY, False),
    ("a tag that errs", 'permit (principal, action, resource) when { principal.getTag("x") == "y" };', QUERY, False),
    ("a forbid of everything", "permit (principal, action, resource);\nforbid (principal, action, resource);", QUERY, False),
    ("a forbid that errs", 'permit (principal, action, resource);\nforbid (principal, action, resource) when { principal.getTag("x") == "y" };', QUERY, False),
    ("a forbid of some arguments", "permit (principal, action, resource);\nforbid (principal, action, resource) when { context.args.body.count > 5 };", QUERY, True),
    ("a forbid of some resources", 'permit (principal, action, resource);\nforbid (principal, action, resource is Metric) when { resource.tier == "critical" };', REMOVE, True),
    ("a forbid of a type it may have", "permit (principal, action, resource);\nforbid (principal, action, resource is Metric);", REMOVE, True),
    ("a forbid of the type it has", "permit (principal, action, resource);\nforbid (principal, action, resource is Tool);", LIST, False),
    ("a forbid of its tool", 'permit (principal, action, resource);\nforbid (principal, action, resource == Tool::"metrics");', LIST, False),
    ("a forbid of another tool", 'permit (principal, action, resource);\nforbid (principal, action, resource == Tool::"reports");', LIST, True),
    ("a permit of a type it cannot have", "permit (principal, action, resource is Report);", QUERY, False),
    ("a permit of one resource", 'permit (principal, action, resource == Metric::"cpu");', QUERY, True),
    ("a permit of another tool", 'permit (principal, action, resource in Tool::"reports");', LIST, False),
    ("the action itself", 'permit (principal, action, resource) when { action == Action::"metrics.list" };', QUERY, False),
    ("the action's group", 'permit (principal, action, resource) when { action in Action::"read" };', QUERY, True),
    ("either, but one is known", 'permit (principal, action, resource) unless { context.environment == "prod" || context.args.body.count > 5 };', QUERY, False),
    ("either, in one expression", 'permit (principal, action, resource) when { context.environment == "dev" || context.args.body.count > 5 };', QUERY, True),
    ("audit lists nothing", '@mode("audit") permit (principal, action, resource);', QUERY, False),
    ("audit hides nothing", 'permit (principal, action, resource);\n@mode("audit") forbid (principal, action, resource);', QUERY, True),
    ("a person may permit", 'permit (principal, action, resource);\n@approval("oncall") forbid (principal, action, resource);', QUERY, True),
]  # fmt: skip


@pytest.mark.parametrize(("_", "text", "asked", "expected"), MAY, ids=[row[0] for row in MAY])
def test_may(_, text, asked, expected):
    """Listed: what some call could be permitted to do. Never listed: what no call could."""
    assert expected is made(text).may(DIGEST, asked, "prod")


ASK = [
    ("always", '@approval("x") forbid (principal, action, resource);', True),
    ("for some arguments", '@approval("x") forbid (principal, action, resource) when { context.args.body.count > 5 };', True),
    ("elsewhere", '@approval("x") forbid (principal, action, resource) when { context.environment == "dev" && context.args.body.count > 5 };', False),
    ("of others", '@approval("x") forbid (principal in Role::"x", action, resource);', False),
    ("nobody, since it is forbidden", '@approval("x") forbid (principal, action, resource);\nforbid (principal, action, resource);', False),
]  # fmt: skip


@pytest.mark.parametrize(("_", "text", "expected"), ASK, ids=[row[0] for row in ASK])
def test_may_ask(_, text, expected):
    """An operation that may need a person says so before it is called."""
    assert expected is made(PERMIT + text).may_ask(DIGEST, QUERY, "prod")


# -- explanations --------------------------------------------------------------------------------------------------

NEAR = [
    ("one of two", 'permit (principal, action, resource) when { context.environment == "prod" && context.args.body.count < 5 };', body(count=9), NearMiss("policies.cedar:1", "context.args.body.count < 5", ("/body/count",), None)),
    ("two of two", 'permit (principal, action, resource) when { context.environment == "dev" && context.args.body.count < 5 };', body(count=9), None),
    ("another principal's", 'permit (principal in Role::"x", action, resource) when { context.args.body.count < 5 };', body(count=9), None),
    ("a role that is missing", 'permit (principal in Role::"x", action, resource) when { context.args.body.count < 15 };', body(count=9), NearMiss("policies.cedar:1", 'principal in Role::"x"', (), None)),
    ("somebody else's", '@hint("Ask ann.") permit (principal == Agent::"corp/ann", action, resource);', body(), NearMiss("policies.cedar:1", 'principal == Agent::"corp/ann"', (), "Ask ann.")),
    ("another resource", 'permit (principal, action, resource == Metric::"load");', body(metric="cpu"), NearMiss("policies.cedar:1", 'resource == Metric::"load"', (), None)),
    ("another type", "permit (principal, action, resource is Report);", body(metric="cpu"), NearMiss("policies.cedar:1", "resource is Report", (), None)),
    ("one of a type in another", 'permit (principal is Agent in Role::"x", action, resource);', body(), NearMiss("policies.cedar:1", 'principal is Agent in Role::"x"', (), None)),
    ("neither who nor what", 'permit (principal in Role::"x", action, resource is Report);', body(), None),
    ("what it guarded", '@hint("Say how many.") permit (principal, action, resource) when { context.args.body has count && context.args.body.count < 5 };', body(), NearMiss("policies.cedar:1", "context.args.body has count", ("/body/count",), "Say how many.")),
    ("what errs is no miss", "permit (principal, action, resource) when { context.args.body.count < 5 };", body(), None),
    ("unless", 'permit (principal, action, resource) unless { context.args.body.metric like "secret*" || context.environment == "dev" };', body(metric="secret.x"), NearMiss("policies.cedar:1", 'unless { context.args.body.metric like "secret*" }', ("/body/metric",), None)),
    ("text and tree divided unlike", "permit (principal, action, resource) when { context.args has body.count && (context.args.body.count < 5) };", body(count=9), NearMiss("policies.cedar:1", "when { context.args has body.count && (context.args.body.count < 5) }", ("/body/count",), None)),
    ("over lines, with comments and braces", 'permit (principal, action, resource)\nwhen {\n  // when { this is\n  // not it }\n  context.args.body.metric !=\n    "a } && b" && {a: 1} == {a: 1}\n};', body(metric="a } && b"), NearMiss("policies.cedar:1", 'context.args.body.metric != "a } && b"', ("/body/metric",), None)),
    ("a variant", "permit (principal, action, resource) when { context.args.body.title has integer && context.args.body.title.integer < 5 };", body(title=9), NearMiss("policies.cedar:1", "context.args.body.title.integer < 5", ("/body/title",), None)),
    ("derived", 'permit (principal, action, resource) when { context.derived.count["/body/items"] < 2 };', body(items=[{}, {}]), NearMiss("policies.cedar:1", 'context.derived.count["/body/items"] < 2', ("/body/items",), None)),
    ("audit", '@mode("audit") permit (principal, action, resource) when { context.args.body.count < 5 };', body(count=9), None),
    ("what cannot be told", "permit (principal, action, resource) when { context.args.body.count < 5 };", body(count=1.5), None),
]  # fmt: skip


@pytest.mark.parametrize(("_", "text", "arguments", "expected"), NEAR, ids=[row[0] for row in NEAR])
def test_near_misses(_, text, arguments, expected):
    """The permit that would have held but for one condition, in the words of its file."""
    assert (() if expected is None else (expected,)) == made(text).near_misses(question(QUERY, arguments))


def test_a_permit_of_another_action_is_a_near_miss():
    """The nearest name first, then the tool's, then the effect's; only where the rest of it holds, and few."""
    ruled = made(
        '@id("lists") permit (principal in Role::"digest", action == Action::"metrics.list", resource);\n'
        '@id("changes") permit (principal, action in [Action::"write", Action::"destructive"], resource);\n'
        '@id("queries") @hint("Say which.") permit (principal, action in Action::"metrics.query2", resource) when { context.environment == "prod" };\n'
        '@id("elsewhere") permit (principal, action == Action::"metrics.query3", resource) when { context.environment == "dev" };\n'
        '@id("others") permit (principal == Agent::"eve", action == Action::"metrics.query4", resource);\n'
        '@id("tried") @mode("audit") permit (principal, action == Action::"metrics.query5", resource);\n'
        '@id("no") forbid (principal, action == Action::"metrics.query6", resource);\n'
    )

    assert (
        NearMiss("queries", 'action in Action::"metrics.query2"', (), "Say which."),
        NearMiss("lists", 'action == Action::"metrics.list"', (), None),
        NearMiss("changes", 'action in [Action::"write", Action::"destructive"]', (), None),
    ) == ruled.near_misses(question(QUERY))


def test_applied():
    """Every statement of the slice says by itself whether it holds."""
    ruled = made(EXAMPLE + '@id("odd") permit (principal, action, resource) when { context.args.body.count > 1 };')
    applied = ruled.applied(question(REMOVE, resource=metric(tier="critical")))

    assert (
        ("big-changes-need-a-person", "forbid", True),
        ("critical-metrics-stay", "forbid", True),
        ("digest-agent-removes", "permit", True),
        ("odd", "permit", None),
        ("soon-only-low", "forbid", True),
    ) == applied
