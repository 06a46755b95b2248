"""Rulings, listings and explanations: what policies say, and Cedar's traps (CEDAR.md §0) as regressions."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cedarpy import pst
from tests.support.metrics import (
    EXAMPLE,
    LIST,
    OPERATIONS,
    PERMIT,
    PUBLISH,
    QUERY,
    REMOVE,
    UNKNOWN,
    body,
    forbidding,
    made,
    metric,
)
from tests.support.statements import DIGEST, TOOL, operation, policies, question, statements

from toolgate.core import cedar
from toolgate.core.conversion import MOST_ELEMENTS
from toolgate.core.kinds import Field, Fields
from toolgate.core.model import Principal, Resource
from toolgate.core.policies import Policies
from toolgate.core.policy import Ruling, Statement
from toolgate.core.projection import MOST_CONTEXT, MOST_ID
from toolgate.core.recent import OfThing, Recent

ADMIN = {"__entity": {"type": "Role", "id": "admin"}}


# -- the order of things -------------------------------------------------------------------------------------------

RULINGS = [
    ("a permit that holds", question(QUERY), Ruling("allowed", ("digest-agent-reads",))),
    ("no permit", question(PUBLISH), Ruling("not_allowed")),
    ("not that role", question(QUERY, principal=Principal("eve")), Ruling("not_allowed")),
    ("a forbid wins, and before asking anybody", question(REMOVE, resource=metric(tier="critical")), Ruling("denied", ("critical-metrics-stay",))),
    ("a person must", question(REMOVE, resource=metric(tier="low")), Ruling("approval", ("big-changes-need-a-person",), heard=("big-changes-need-a-person", "digest-agent-removes"))),
    ("nobody is asked where it would not help", question(REMOVE, principal=Principal("eve"), resource=metric(tier="low")), Ruling("not_allowed")),
    ("elsewhere nobody must", question(REMOVE, environment="dev", resource=metric(tier="low")), Ruling("allowed", ("digest-agent-removes",))),
    ("audit tells what it would be", question(REMOVE, environment="dev", resource=metric(tier="mid")), Ruling("allowed", ("digest-agent-removes",), shadow=Ruling("denied", ("soon-only-low",)))),
    ("an attribute that is missing", question(REMOVE, environment="dev", resource=metric()), Ruling("error", ("critical-metrics-stay",), "statement `critical-metrics-stay` could not be evaluated: it reads the attribute `tier`, which is not there")),
]  # fmt: skip


@pytest.mark.parametrize(("_", "asked", "expected"), RULINGS, ids=[row[0] for row in RULINGS])
def test_rulings(_, asked, expected):
    """Default no, forbid wins, approvals after everything else, audit beside it."""
    ruled = made(EXAMPLE)

    assert expected == ruled.rule(asked)
    assert expected == ruled.rule(asked)  # remembered


def test_no_statements_allow_nothing_and_import_no_cedar():
    """The default is no; a gate without policies does not pay for the engine."""
    empty = Policies((), len(OPERATIONS))

    assert Ruling("not_allowed") == empty.rule(question(QUERY))
    assert not empty.may(DIGEST, QUERY, "prod")
    assert not empty.may_ask(DIGEST, QUERY, "prod")
    assert ((), (), ()) == (
        empty.near_misses(question(QUERY)),
        empty.applied(question(QUERY)),
        empty.for_action(QUERY),
    )
    code = "import sys; from toolgate.core.policies import Policies; Policies(()); sys.exit('cedarpy' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "proxy"}, check=False).returncode


def test_two_statements_of_one_id_are_no_policies():
    """Ids name what decided, so they are told apart."""
    with pytest.raises(ValueError, match="the same id"):
        made(PERMIT + PERMIT)


def test_slices():
    """A statement is found by its action, its effect's group, its tool, or everywhere."""
    ruled = made(
        EXAMPLE
        + '@id("all") permit (principal, action, resource);\n@id("reports") permit (principal, action in [Action::"reports"], resource);\n@id("gone") permit (principal, action == Action::"metrics.gone", resource);'
    )

    assert ["all", "digest-agent-reads"] == [each.id for each in ruled.for_action(LIST)]
    assert ["all", "reports"] == [each.id for each in ruled.for_action(PUBLISH)]
    assert {("resource", "tier"), ("context", "environment")} == ruled.reads(REMOVE).values


# -- Cedar's traps -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent", [UNKNOWN, ADMIN, [UNKNOWN], {"type": "Role", "id": "admin"}, {"fn": "decimal", "arg": "1.0"}]
)
def test_t1_t2_what_an_agent_sends_is_no_escape(sent):
    """An escape in an argument becomes no entity, no extension value and no unknown: a statement that reads it errs."""
    ruled = forbidding('context.args has body.metric && context.args.body.metric == "secret"')

    assert Ruling("error", ("no",), "`/body/metric` is not a text, and statement `no` reads it") == ruled.rule(
        question(QUERY, body(metric=sent))
    )


def test_t1_an_escape_among_members_is_refused():
    """A reserved key in an object that is looked into refuses; where nothing looks it is the upstream's matter."""
    ruled = forbidding("context.args has body.metric")
    elsewhere = made(PERMIT)

    assert (
        "`/body` has a member whose name policies reserve, and statement `no` reads it"
        == ruled.rule(question(QUERY, body(metric="a") | {"body": {"__entity": 1}})).detail
    )
    assert "allowed" == elsewhere.rule(question(QUERY, {"body": {"__entity": 1}})).kind


@pytest.mark.parametrize("claim", [UNKNOWN, ADMIN, ["sre"], 7, True])
def test_t1_a_claim_is_text_or_refused(claim):
    """A claim that is no text, however it came there, becomes no tag."""
    ruled = forbidding('principal.hasTag("team") && principal.getTag("team") == "banned"')
    asked = question(QUERY, principal=Principal("eve", (), {"team": claim}))

    assert Ruling("error", ("no",), "`principal.team` is not a text, and statement `no` reads it") == ruled.rule(asked)


@pytest.mark.parametrize("tier", [UNKNOWN, ADMIN, 7, ["critical"]])
def test_t1_an_attribute_is_of_its_kind_or_refused(tier):
    """An attribute of a poisoned catalogue becomes nothing but what its shape says."""
    ruled = made(EXAMPLE)
    asked = question(REMOVE, resource=metric(tier=tier))

    assert Ruling(
        "error",
        ("critical-metrics-stay",),
        "`resource.tier` is not a text, and statement `critical-metrics-stay` reads it",
    ) == ruled.rule(asked)._replace(shadow=None)


ERRORS = [
    ("context.args.body.count > 5", body(), "it reads the attribute `count`, which is not there"),
    ("context.args.body.count + 9223372036854775807 > 5", body(count=7), "its arithmetic leaves the range of 64-bit whole numbers"),
    ("context.args.body.metric > 5", body(metric="hidden"), "it meets a value of another type than it expects"),
    ('decimal(context.args.body.metric) == decimal("1.0")', body(metric="hidden"), "`decimal` cannot take the value it was given"),
    ('principal.getTag("team") == "x"', body(), "it reads the tag `team`, which is not there"),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "arguments", "why"), ERRORS, ids=[row[0] for row in ERRORS])
def test_t3_a_forbid_that_errs_refuses(condition, arguments, why):
    """Cedar leaves out what errs; here it refuses, and says why in words that hold no value."""
    ruling = forbidding(condition).rule(question(QUERY, arguments))

    assert Ruling("error", ("no",), f"statement `no` could not be evaluated: {why}") == ruling
    assert "hidden" not in ruling.detail


def test_t3_an_error_refuses_though_another_statement_denies():
    """What erred is told rather than what denied: it is what has to be mended."""
    ruled = made(
        PERMIT
        + '@id("a") forbid (principal, action, resource);\n@id("b") forbid (principal, action, resource) when { context.args.body.count > 1 };'
    )

    assert ("error", ("b",)) == ruled.rule(question(QUERY, body()))[:2]


def test_t4_a_group_forbid_holds():
    """A forbid over a group of actions holds for each of them, and a condition knows the action and its groups."""
    by_scope = made(PERMIT + '@id("no") forbid (principal, action in Action::"destructive", resource);')
    by_condition = forbidding('action in [Action::"destructive"] && action != Action::"metrics.other"')

    for ruled in (by_scope, by_condition):
        assert Ruling("denied", ("no",)) == ruled.rule(question(REMOVE))
        assert Ruling("allowed", ("all",)) == ruled.rule(question(LIST))


def test_t6_what_is_optional_is_not_taken_to_be_there():
    """A listing does not say never because something optional is not there yet."""
    ruled = made("permit (principal, action, resource) unless { context has on_behalf_of };")

    assert ruled.may(DIGEST, QUERY, "prod")
    assert "allowed" == ruled.rule(question(QUERY)).kind
    assert "not_allowed" == ruled.rule(question(QUERY, principal=Principal("a", on_behalf_of="b"))).kind


BROKEN = [
    ("a type that is none", question(QUERY, resource=Resource("not a type", "x"))),
    ("an id that is no text", question(QUERY, resource=Resource("Metric", "\ud800"))),
    ("a role that is no text", question(QUERY, principal=Principal("a", ("\ud800",)))),
]  # fmt: skip


@pytest.mark.parametrize(("_", "asked"), BROKEN, ids=[row[0] for row in BROKEN])
def test_t7_no_clear_answer_refuses(_, asked):
    """Whatever Cedar does that is neither yes nor no is an error, and nothing is raised."""
    ruled = made(
        PERMIT + '@id("x") permit (principal, action, resource) when { resource == Metric::"x" || resource has tier };'
    )

    assert ("error", "the evaluation gave no clear answer") == (ruled.rule(asked).kind, ruled.rule(asked).detail)


def test_t7_the_public_way_says_the_same():
    """Should the engine's private function go, its public one takes over."""
    built = cedar.set_of([pst.Template("a", "permit", pst.ScopeAny(), pst.ScopeAny(), pst.ScopeAny(), (), {})])
    request = {name: {"type": "X", "id": "y"} for name in ("principal", "action", "resource")} | {"context": "{}"}
    answers = [
        cedar._read(cedar.orjson.loads(way(request, built, cedar._NO_ENTITIES)))
        for way in (cedar._privately, cedar._publicly)
    ]

    assert [cedar.Verdict(allows=True, reasons=frozenset({"a"}))] * 2 == answers
    assert cedar._privately is cedar._JUDGE


def test_t8_a_null_is_absent_and_told():
    """`milestone: null` clears the field upstream: `has` does not see it, `context.nulls` does."""
    ruled = forbidding('context.nulls.contains("/body/milestone")')
    every = forbidding('context.nulls == ["/body/items/1/image", "/body/milestone"]')

    assert "denied" == ruled.rule(question(QUERY, body(milestone=None))).kind
    assert "allowed" == ruled.rule(question(QUERY, body(milestone=3))).kind
    assert "denied" == every.rule(question(QUERY, body(milestone=None, items=[{}, {"image": None}]))).kind


def test_t10_what_is_told_is_bounded():
    """A context that would hold the process for long refuses."""
    ruled = forbidding('context.args.body has metric && context.args.body.metric == "x"')
    long = question(QUERY, body(metric="a" * MOST_CONTEXT))

    assert Ruling(
        "error", ("no",), "what is read is more than the 32 KiB statements can be told, and statement `no` reads it"
    ) == ruled.rule(long)


def test_t10_lists_and_ids_are_bounded():
    """A long list is not converted, a long id not told, where a statement would read them; elsewhere they are nobody's matter."""
    tags = forbidding('context.args.body has tags && context.args.body.tags.contains("x")')
    named = forbidding('resource == Metric::"x"')
    many, long = (
        question(QUERY, body(tags=["a"] * (MOST_ELEMENTS + 1))),
        question(QUERY, resource=Resource("Metric", "a" * (MOST_ID + 1))),
    )

    assert (
        "`/body/tags` has more than the 16384 elements statements can be told, and statement `no` reads it"
        == tags.rule(many).detail
    )
    assert (
        "`resource` has an id longer than the 4096 characters statements can be told, and statement `no` reads it"
        == named.rule(long).detail
    )
    assert ["allowed", "allowed"] == [tags.rule(long._replace(arguments=body())).kind, named.rule(many).kind]


# -- memory --------------------------------------------------------------------------------------------------------


def test_time_is_never_remembered():
    """A statement that reads the clock is asked again each time."""
    ruled = forbidding('context.now < datetime("2026-01-01")')

    assert ["denied", "allowed"] == [ruled.rule(question(QUERY, now_ms=at)).kind for at in (0, 1_800_000_000_000)]
    assert "error" == ruled.rule(question(QUERY, now_ms=10**18)).kind


def test_equal_is_not_enough_to_be_the_same():
    """1, 1.0 and true are equal to Python and different to Cedar."""
    ruled = forbidding("context.args.body has count && context.args.body.count == 1")

    assert ["denied", "denied", "error"] == [
        ruled.rule(question(QUERY, body(count=sent))).kind for sent in (1, 1.0, True)
    ]


def test_operations_alike_are_ruled_on_as_one_and_others_apart():
    """What is remembered for one operation is used for another only where no statement could tell them apart."""
    ruled = made('permit (principal, action, resource) when { action == Action::"metrics.list" };')

    assert ["allowed", "not_allowed"] == [ruled.rule(question(each)).kind for each in (LIST, QUERY)]


def test_recent_forgets_what_nobody_asks_for():
    """What is asked for stays; the rest makes place; a heavy thing is kept alone rather than not at all."""
    recent: Recent[int, str] = Recent(8, lambda _, text: len(text))
    recent.keep(1, "a")
    for number in range(2, 20):
        assert recent.get(1) == "a"
        recent.keep(number, "b")

    assert recent.get(2) is None
    assert len(recent) <= 8
    assert recent.keep(99, "x" * 100) == recent.get(99)


def test_what_follows_from_a_thing_is_known_by_which_thing_it_is():
    """It is worked out once for a thing in use; another one that is equal, or has its place in memory, is another."""
    followed: list[list[str]] = []
    lengths = OfThing(lambda thing: followed.append(thing) or len(thing), 4)
    thing = ["a", "b"]

    assert [2, 2] == [lengths.of(thing), lengths.of(thing)]
    assert [thing] == followed
    assert [*range(100)] == [lengths.of(["x"] * number) for number in range(100)]


# -- many ----------------------------------------------------------------------------------------------------------


def test_many_statements_that_name_their_actions():
    """Among thousands of operations and statements each call meets its own, and listings agree."""
    operations = [operation(f"t.op{at}") for at in range(2000)]
    (own,) = statements('@id("x") permit (principal in Role::"digest", action == Action::"t.x", resource);')
    given = [_naming(own, at) for at in range(0, 2000, 2)]
    ruled = Policies(given, len(operations))
    decided = [ruled.rule(question(each, resource=TOOL)).kind == "allowed" for each in operations[:200]]

    assert [at % 2 == 0 for at in range(200)] == decided
    assert [at % 2 == 0 for at in range(2000)] == [ruled.may(DIGEST, each, "prod") for each in operations]


def _naming(own: Statement, at: int) -> Statement:
    template = own.template
    action = pst.ActionEq(pst.EntityUid(pst.EntityType("Action"), f"t.op{at}"))
    named = pst.Template(f"s{at}", template.effect, template.principal, action, template.resource, template.clauses, {})
    return Statement(f"s{at}", "permit", own.file, at, own.text, named)


def test_attributes_that_come_and_go_are_never_taken_for_others():
    """What is told of attributes is remembered by which they are, and so are they: a catalogue that was read anew has others."""
    query = operation("metrics.query", "read", {"name": {"type": "string"}}, Metric="$args.name")
    shapes = {"metrics": {"Metric": Fields({"tier": Field("text", required=True)})}}
    ruled = policies('permit (principal, action, resource) when { resource.tier == "gold" };', (query,), shapes)
    tiers = [
        "gold",
        "iron",
        "gold",
        "iron",
        7,
        "gold",
    ] * 50  # each freed at once, so that its place is taken by the next
    rulings = [ruled.rule(question(query, resource=Resource("Metric", "cpu", {"tier": tier}))).kind for tier in tiers]
    kinds = {"gold": "allowed", "iron": "not_allowed", 7: "error"}
    assert [kinds[tier] for tier in tiers] == rulings
