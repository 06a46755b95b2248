"""Permits that stand: what allows every call of an operation is found out once, and never where calls could differ."""

from __future__ import annotations

import pytest
from tests.support.statements import DIGEST, operation, policies, question

from toolgate.core.model import Principal, Resource
from toolgate.core.policies import Policies

BODY = {"type": "object", "properties": {"count": {"type": "integer"}}}
LIST = operation("metrics.list", "read", {"body": BODY})
QUERY = operation("metrics.query", "read", {"name": {"type": "string"}}, Metric="$args.name")
PERMIT = '@id("reads") permit (principal in Role::"digest", action in Action::"read", resource);\n'


def made(text: str) -> Policies:
    return policies(text, (LIST, QUERY), {})


def test_what_allowed_one_call_allows_the_next():
    """Nothing of a call is read, so the permits of the first ruling are those of every other."""
    ruled = made(PERMIT)
    assert ruled.standing(DIGEST, LIST, "prod") is None
    ruled.rule(question(LIST))
    assert ruled.standing(DIGEST, LIST, "prod") == ("reads",)


@pytest.mark.parametrize(
    "condition",
    [
        "context.args.body.count > 100",
        "context.run.calls > 100",
        'context.now > datetime("2999-01-01")',
        'principal.hasTag("team") && principal.getTag("team") == "x"',
        'context.nulls.contains("/body/count")',
    ],
)
def test_nothing_stands_where_a_call_could_be_ruled_otherwise(condition):
    """Arguments, the run, the time; and what the journal must hold of each call."""
    ruled = made(f"{PERMIT}forbid (principal, action, resource) when {{ {condition} }};")
    assert ruled.rule(question(LIST, arguments={"body": {"count": 1}})).kind == "allowed"
    assert ruled.standing(DIGEST, LIST, "prod") is None


def test_nothing_stands_for_an_operation_about_resources():
    """Which resource it is may be asked by any statement."""
    ruled = made(PERMIT)
    assert ruled.rule(question(QUERY, resource=Resource("Metric", "cpu"))).kind == "allowed"
    assert ruled.standing(DIGEST, QUERY, "prod") is None


def test_nothing_stands_beside_a_statement_in_audit():
    """What it would change is told of each call."""
    ruled = made(f'{PERMIT}@mode("audit") forbid (principal, action, resource);')
    assert ruled.rule(question(LIST)).kind == "allowed"
    assert ruled.standing(DIGEST, LIST, "prod") is None


def test_a_refusal_does_not_stand():
    """Refusals are told anew, with their reasons."""
    ruled = made(PERMIT)
    assert ruled.rule(question(LIST, principal=Principal("eve"))).kind == "not_allowed"
    assert ruled.standing(DIGEST, LIST, "prod") is None


def test_what_stands_is_for_that_caller_there():
    """SECURITY: known by identity, so no other caller of that id has it, and no other environment."""
    ruled = made(PERMIT)
    ruled.rule(question(LIST))
    assert ruled.standing(Principal(DIGEST.id), LIST, "prod") is None
    assert ruled.standing(DIGEST, LIST, "dev") is None


def test_what_stands_is_kept_however_many_operations_there_are():
    """Asked for in turn, again and again: a memory smaller than the catalog would have forgotten each when it comes."""
    many = [operation(f"metrics.list{number}") for number in range(12_000)]
    ruled = policies(PERMIT, many, {})
    for each in many:
        ruled.rule(question(each))
    assert all(ruled.standing(DIGEST, each, "prod") == ("reads",) for each in many)
