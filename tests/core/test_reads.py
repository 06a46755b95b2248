"""What a statement reads: every path, and nothing it could not be told of."""

from __future__ import annotations

import pytest
from cedarpy import pst
from tests.support.statements import statements

from toolgate.core.reads import Reads, all_of, reads

HEAD = "permit (principal, action, resource) when {{ {} }};"


def reads_of_text(condition: str, head: str = HEAD) -> Reads:
    (statement,) = statements(head.format(condition))
    return reads(statement.template)


def dotted(read: Reads) -> dict[str, set[str]]:
    told = {
        "values": {"·".join(path) for path in read.values},
        "presence": {"·".join(path) for path in read.presence},
        "tags": set(read.tags),
        "identities": set(read.identities),
        "types": set(read.types),
    }
    return {name: found for name, found in told.items() if found}


READS = [
    ("true", {}),
    ("context.args.body.metric == 1", {"values": {"context·args·body·metric"}}),
    ('context["args"]["a b"] == 1', {"values": {"context·args·a b"}}),
    ("context.args has a.b", {"presence": {"context·args·a", "context·args·a·b"}}),
    ("context.args has a && context.args.a == 1", {"values": {"context·args·a"}}),
    ("context.args has a.b && context.args.a.b > 1", {"values": {"context·args·a·b"}, "presence": {"context·args·a"}}),
    ("context.args == {}", {"values": {"context·args"}}),
    ("!context.args.a || -context.args.b > 1 + context.args.c * 2", {"values": {"context·args·a", "context·args·b", "context·args·c"}}),
    ("if context.args.a then context.args.b else context.args.c", {"values": {"context·args·a", "context·args·b", "context·args·c"}}),
    ('context.args.a like "x*"', {"values": {"context·args·a"}}),
    ("[1, context.args.a].contains(context.args.b)", {"values": {"context·args·a", "context·args·b"}}),
    ("{x: context.args.a} == {x: 1}", {"values": {"context·args·a"}}),
    ('context.args.a.lessThan(decimal("1.0"))', {"values": {"context·args·a"}}),
    ('context.nulls.contains("/body/a")', {"values": {"context·nulls·/body/a"}}),
    ('context.nulls.containsAny(["/a", "/b"])', {"values": {"context·nulls·/a", "context·nulls·/b"}}),
    ('["/a"].containsAny(context.nulls)', {"values": {"context·nulls·/a"}}),
    ('["/a"].containsAll(context.nulls)', {"values": {"context·nulls"}}),
    ("context.nulls.isEmpty()", {"values": {"context·nulls"}}),
    ("context.nulls.contains(context.args.a)", {"values": {"context·nulls", "context·args·a"}}),
    ('context.derived.count["/body/items"] > 3', {"values": {"context·derived·count·/body/items"}}),
    ('context.derived.every has "/l/*"', {"presence": {"context·derived·every·/l/*"}}),
    ('context.run.completed.containsAll(["a.b", "c.d"])', {"values": {"context·run·completed·a.b", "context·run·completed·c.d"}}),
    ('context.run.by_operation["a.b"] > 3 && context.run.calls < 9', {"values": {"context·run·by_operation·a.b", "context·run·calls"}}),
    ('context.now > datetime("2026-01-01")', {"values": {"context·now"}}),
    ("context has on_behalf_of", {"presence": {"context·on_behalf_of"}}),
    ('resource.tier == "x" || resource has owner.name', {"values": {"resource·tier"}, "presence": {"resource·owner", "resource·owner·name"}}),
    ("resource is Metric", {"types": {"resource"}}),
    ('resource is Metric in Metric::"a"', {"types": {"resource"}, "identities": {"resource"}}),
    ('resource == Metric::"a"', {"identities": {"resource"}}),
    ("[principal, resource].contains(action)", {"identities": {"principal", "resource", "action"}}),
    ('principal in Role::"ops"', {}),
    ('principal in [Role::"ops", Role::"dev"]', {}),
    ('principal in [Role::"ops", Agent::"a"]', {"identities": {"principal"}}),
    ('principal == Agent::"a"', {"identities": {"principal"}}),
    ('action in [Action::"read", Action::"t"]', {"identities": {"action"}}),
    ('principal.hasTag("team") && principal.getTag("team") == "x"', {"tags": {"team"}}),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "expected"), READS, ids=[row[0] for row in READS])
def test_conditions_read(condition, expected):
    """A condition reads the paths it names: their values, or whether they are there."""
    assert expected == dotted(reads_of_text(condition))


SCOPES = [
    ("principal, action, resource", {}),
    ('principal == Agent::"a", action, resource', {"identities": {"principal"}}),
    ('principal in Role::"a", action, resource is Metric', {"types": {"resource"}}),
    ('principal in Agent::"a", action, resource in Tool::"t"', {"identities": {"principal", "resource"}}),
    ('principal is Agent in Role::"a", action == Action::"x.y", resource == Tool::"t"', {"types": {"principal"}, "identities": {"resource"}}),
]  # fmt: skip


@pytest.mark.parametrize(("scope", "expected"), SCOPES, ids=[row[0] for row in SCOPES])
def test_scopes_read(scope, expected):
    """A scope compares ids or asks for types; roles are always told, and the action's scope is settled by its slice."""
    assert expected == dotted(reads_of_text("true", f"permit ({scope});"))


REFUSED = [
    ("context == {}", "`context` cannot be read whole"),
    ("context.run == {}", "`context.run` cannot be read whole"),
    ("context.derived.count == {}", "`context.derived.count` cannot be read whole"),
    ("(if true then context.args else context.args).a", "computed value"),
    ("{a: context.args}.a.b == 1", "computed value"),
    ('Metric::"a".tier == "x"', "computed value"),
    ('principal.role == "x"', "a principal has no attributes"),
    ("principal has role", "principal has no attributes"),
    ('action.name == "x"', "an action has no attributes"),
    ("principal.hasTag(context.args.a)", "a tag is named by a text"),
    ('resource.hasTag("a")', "only the principal has tags"),
    ('Action::"x.y" in Action::"read"', "stands on its left"),
    ("context.args.a is Metric", "asks for the type of"),
    ('context.args["__extn"] == 1', "`__extn` is reserved"),
    ('context.args has "__entity"', "`__entity` is reserved"),
    ('resource has "__expr"', "`__expr` is reserved"),
    ('principal.hasTag("__entity")', "`__entity` is reserved"),
    ('context.args.a == {"__entity": 1}', "`__entity` is reserved"),
    ('context.nulls.contains("body")', "not a pointer"),
    ('context.derived.count["body/items"] > 1', "not a pointer"),
    ('context.derived.every has "/a~2"', "not `~0` or `~1`"),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "why"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_told_is_refused(condition, why):
    """SECURITY: a statement whose reads are not known exactly does not load."""
    with pytest.raises(ValueError, match=r".") as raised:
        reads_of_text(condition)

    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_expression_is_refused():
    """An expression of a later Cedar is not guessed at."""

    class Later:
        pass

    template = pst.Template("x", "permit", pst.ScopeAny(), pst.ScopeAny(), pst.ScopeAny(), (pst.When(Later()),), {})

    with pytest.raises(ValueError, match="`Later` is not known here"):
        reads(template)


def test_templates_are_refused():
    """A slot is nobody in particular."""
    slot = pst.ScopeEq(pst.Slot("principal"))

    with pytest.raises(ValueError, match="name what is meant"):
        reads(pst.Template("x", "permit", slot, pst.ScopeAny(), pst.ScopeAny(), (), {}))


def test_reads_are_joined_and_asked():
    """What several read is what each reads; a whole record is read where a part of it is asked for."""
    together = all_of(
        [reads_of_text("context.args.body.a == 1"), reads_of_text("context.args has body.a && context.args.body == {}")]
    )

    assert {"context·args·body", "context·args·body·a"} == dotted(together)["values"]
    assert together.touches("context", "args")
    assert together.touches("context", "args", "body", "b")
    assert not together.touches("context", "args", "other")
    assert not together.touches("context", "run")
    assert frozenset({"body"}) == together.named("context", "args")
    assert {("a",), ()} == together.under("context", "args", "body").values
