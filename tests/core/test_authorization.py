"""The policy line of `decide`: several resources, a person asked, audit, the gate's own reads, and what is journaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.statements import DIGEST, operation, statements

from toolgate.core import engine
from toolgate.core.authorization import asks_a_person, is_listed
from toolgate.core.bundle import Bundle, LiveCatalogue, Mode
from toolgate.core.catalog import Catalog, Operation
from toolgate.core.expressions import parse_expression
from toolgate.core.kinds import Field, Fields
from toolgate.core.model import (
    OWN,
    Call,
    Facts,
    Named,
    Permit,
    Principal,
    Refusal,
    ResourceCatalogue,
    RunFacts,
    Shadow,
    Situation,
    UpstreamRequest,
    ValidCall,
)
from toolgate.core.policies import Policies

NAMES = {"names": {"type": "array", "items": {"type": "string"}}}
REMOVE = operation("metrics.remove", "destructive", NAMES, Metric="$args#/names/*")
LIST = operation("metrics.list", "read")
METRICS = {"cpu": {"tier": "critical"}, "load": {"tier": "standard"}, "disk": {"tier": "standard"}}
NO_FACTS = Facts()
PERMIT = '@id("may-remove") permit (principal, action == Action::"metrics.remove", resource);\n'
KEEP = (
    '@id("critical-stay") @reason("Critical metric; removal prohibited") @hint("Keep the metric.")'
    'forbid (principal, action, resource is Metric) when { resource.tier == "critical" };\n'
)


def bundle(text: str, mode: Mode = "enforce", *, live: bool = False) -> Bundle:
    shapes = {"metrics": {"Metric": Fields({"tier": Field("text", required=True)})}}
    operations = (REMOVE, LIST)
    listed = () if live else (("Metric", ResourceCatalogue("Metric", METRICS)),)
    return Bundle(
        revision="sha256:0",
        environment="prod",
        environments=("prod",),
        catalog=Catalog(operations),
        tools={},
        resources={"metrics": dict(listed)},
        live=(LiveCatalogue("metrics", "Metric", "metrics.list", parse_expression("$response.body#/m"), "name"),),
        shapes=shapes,
        mode=mode,
        policies=Policies(statements(text), len(operations), shapes),
    )


def valid(names: list[str], principal: Principal = DIGEST, of: Operation = REMOVE) -> ValidCall:
    arguments: Mapping[str, Any] = {"names": names} if of is REMOVE else {}
    call = Call("01CALL", 0, principal, Named(of.key, arguments))
    return ValidCall(call, of, arguments, UpstreamRequest("POST", "/x", (), None))


def decided(text: str, *names: str, mode: Mode = "enforce", facts: Facts = NO_FACTS) -> Permit | Refusal:
    return engine.decide(valid(list(names)), facts, bundle(text, mode))


def refused(text: str, *names: str) -> Refusal:
    decision = decided(text, *names)
    assert isinstance(decision, Refusal)
    return decision


def test_no_statement_no_call() -> None:
    """Default deny, in a sentence that names who, what and where."""
    refusal = refused("", "load")

    assert "policy.not_allowed" == refusal.code.code
    assert "no policy allows `digest` to call `metrics.remove` on Metric `load` in production" == refusal.detail


def test_every_resource_must_be_allowed() -> None:
    """One that is forbidden refuses the whole call, wherever it stands, and is the one that is named."""
    assert isinstance(decided(PERMIT + KEEP, "load", "disk"), Permit)

    refusal = refused(PERMIT + KEEP, "load", "cpu", "disk")

    assert ("policy.denied", ("critical-stay",)) == (refusal.code.code, refusal.statements)
    assert "`metrics.remove` on Metric `cpu` is blocked: Critical metric; removal prohibited" == refusal.detail
    assert "Keep the metric." == refusal.recovery.hint


def test_the_statements_of_a_permit_are_those_of_all_its_resources() -> None:
    """The permits that allow each of them, once and in order."""
    text = (
        '@id("z") permit (principal, action, resource == Metric::"load");\n'
        '@id("a") permit (principal, action, resource == Metric::"disk");\n'
    )
    decision = decided(text, "load", "disk")

    assert isinstance(decision, Permit)
    assert ("a", "z") == decision.statements


def test_a_person_is_asked_only_where_nothing_else_refuses() -> None:
    """An approval for one resource does not hide a forbid on another."""
    ask = (
        '@id("ask") @approval("oncall") forbid (principal, action, resource) when { context.environment == "prod" };\n'
    )

    assert "approval.required" == refused(PERMIT + ask, "load").code.code
    assert (
        "`metrics.remove` on Metric `load` needs the approval of a person in `oncall`"
        == refused(PERMIT + ask, "load").detail
    )
    assert "policy.denied" == refused(PERMIT + ask + KEEP, "load", "cpu").code.code
    assert "policy.not_allowed" == refused(ask, "load").code.code


def test_what_cannot_be_evaluated_refuses() -> None:
    """An attribute that is missing at run time: no permit, no forbid, and the statement is named."""
    text = PERMIT + '@id("odd") forbid (principal, action, resource is Metric) when { resource.owner == "me" };\n'
    refusal = refused(text, "load")

    assert ("policy.error", ("odd",)) == (refusal.code.code, refusal.statements)
    assert refusal.detail.startswith("`metrics.remove` on Metric `load` cannot be judged: ")


def test_audit_statements_change_nothing_and_are_told() -> None:
    """`@mode("audit")`: the decision stands, and says what it would have been."""
    stricter = decided(PERMIT + KEEP.replace("@reason", '@mode("audit") @reason'), "load", "cpu")
    wider = decided(PERMIT.replace("@id", '@mode("audit") @id'), "load")
    same = decided(PERMIT + KEEP.replace("@reason", '@mode("audit") @reason'), "load")

    assert isinstance(stricter, Permit)
    assert Shadow("refuse", "policy.denied", ("critical-stay",)) == stricter.shadow
    assert isinstance(wider, Refusal)
    assert Shadow("permit", None, ("may-remove",)) == wider.shadow
    assert isinstance(same, Permit)
    assert same.shadow is None


def test_audit_of_one_resource_does_not_flip_a_call_that_another_decides() -> None:
    """A call refused for one resource stays refused, whatever audit would say of the other."""
    wider = '@id("all") @mode("audit") permit (principal, action, resource == Metric::"load");\n'
    decision = decided(wider + KEEP, "load", "cpu")

    assert isinstance(decision, Refusal)
    assert decision.shadow is None


def test_a_gate_in_mode_audit_sends_what_policies_refuse() -> None:
    """And what names a resource that does not exist; the permit says what it would have been."""
    for names, code in ((("cpu",), "policy.denied"), (("nothing",), "environment.resource_not_found")):
        decision = decided(PERMIT + KEEP, *names, mode="audit")

        assert isinstance(decision, Permit)
        assert decision.shadow is not None
        assert ("refuse", code) == decision.shadow[:2]


def test_the_gate_reads_as_itself_only_what_a_catalogue_names() -> None:
    """`Agent::"toolgate"` needs no statement for that, has none for anything else, and nobody can be it by name."""
    here = bundle("")
    impostor = Principal("toolgate")

    assert isinstance(engine.decide(valid([], OWN, LIST), Facts(), here), Permit)
    assert isinstance(engine.decide(valid(["load"], OWN), Facts(), here), Refusal)
    assert isinstance(engine.decide(valid([], impostor, LIST), Facts(), here), Refusal)
    assert isinstance(engine.decide(valid(["load"], OWN), Facts(), bundle("", "audit")), Refusal)


def test_what_policies_read_beyond_the_bundle_is_kept_with_the_decision() -> None:
    """Of the run and the claims what is named, the attributes of a live catalogue; nothing when nothing of it is read."""
    catalogue = {"metrics": {"Metric": ResourceCatalogue("Metric", METRICS, fresh_at_ms=1)}}
    run = RunFacts("r1", 3, 1, 60, frozenset({"metrics.list"}), {"metrics.list": 2})
    facts = Facts(run=run, situation=Situation(catalogue))
    text = (
        PERMIT + KEEP + '@id("team") forbid (principal, action, resource) when { principal.hasTag("team") && '
        'principal.getTag("team") == "x" && context.run.calls > 9 && context.run.by_operation["metrics.remove"] > 9 };\n'
    )
    caller = Principal("digest", ("digest",), {"team": "sre", "other": "unread"})
    decision = engine.decide(valid(["load"], caller), facts, bundle(text, live=True))

    assert isinstance(decision, Permit)
    assert {
        "run": {"calls": 3, "by_operation": {"metrics.remove": 0}},
        "claims": {"team": "sre"},
        "resources": [{"type": "Metric", "id": "load", "attributes": {"tier": "standard"}}],
    } == decision.read
    plain = decided(PERMIT, "load", facts=facts)
    assert plain.read is None


def test_one_request_that_means_two_operations_needs_both() -> None:
    """SECURITY: a twin that differs only by `#…` is no way around a statement."""
    other = valid([], of=LIST)
    both = valid(["load"])._replace(also=(other,))
    permit_list = '@id("may-list") permit (principal, action == Action::"metrics.list", resource);\n'

    alone = engine.decide(both, Facts(), bundle(PERMIT))

    assert isinstance(alone, Refusal)
    assert LIST is alone.operation
    assert isinstance(engine.decide(both, Facts(), bundle(PERMIT + permit_list)), Permit)


def test_what_is_listed_is_what_a_statement_could_permit() -> None:
    """In mode audit nothing is enforced, so everything the environment allows is listed."""
    ask = '@id("ask") @approval("oncall") forbid (principal, action, resource);\n'
    here = bundle(PERMIT + ask)

    assert (True, False) == (is_listed(REMOVE, DIGEST, here), is_listed(LIST, DIGEST, here))
    assert (True, False) == (asks_a_person(REMOVE, DIGEST, here), asks_a_person(REMOVE, DIGEST, bundle(PERMIT)))
    assert is_listed(LIST, DIGEST, bundle("", "audit"))


def test_the_same_refusal_is_the_same_object() -> None:
    """So that what was rendered once is told again; another caller, resource or fact makes another."""
    counted = '@id("often") forbid (principal, action, resource) when { context.run.calls > 5 };\n'
    here = bundle(PERMIT + KEEP + counted)
    often = Facts(run=RunFacts(calls=9))
    more = Facts(run=RunFacts(calls=10))
    first = engine.decide(valid(["cpu"]), often, here)

    assert first is engine.decide(valid(["cpu"]), often, here)
    others = [
        engine.decide(valid(["cpu"], Principal("eve", ("digest",))), often, here),
        engine.decide(valid(["load"]), often, here),
        engine.decide(valid(["cpu"]), more, here),
    ]
    assert all(isinstance(each, Refusal) and each is not first for each in others)
    assert [{"run": {"calls": 9}}, {"run": {"calls": 10}}] == [first.read, others[2].read]


def test_what_was_read_is_kept_of_each_call() -> None:
    """A ruling that is remembered does not bring along what another call read."""
    counted = (
        '@id("often") forbid (principal, action, resource) when { context.run.by_operation["metrics.list"] > 5 };\n'
    )
    here = bundle(PERMIT + counted)
    facts = [Facts(run=RunFacts(by_operation={"metrics.list": count})) for count in (1, 2, 1)]

    assert [1, 2, 1] == [
        decision.read["run"]["by_operation"]["metrics.list"]
        for each in facts
        if (decision := engine.decide(valid(["load"]), each, here)).read
    ]
