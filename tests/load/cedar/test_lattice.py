"""The lattice for statements: what is permitted in a narrower environment is permitted in the wider ones, or noted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.load.bundle import Sources, load
from toolgate.load.cedar.lattice import residual
from toolgate.load.policies import CedarFile, Judged, judge

from .conftest import ENVIRONMENTS, standing_of

REMOVE = 'action == Action::"metrics.removeMetric"'


def notes(judged: Callable[..., Judged], text: str) -> list[str]:
    found = judged(text)
    assert () == found.problems
    return [f"{each.path} {each.message}" for each in found.notes]


@pytest.mark.parametrize(
    "text",
    [
        "permit (principal, action, resource);",
        'permit (principal, action, resource) when { context.environment == "dev" };',
        'permit (principal, action in Action::"read", resource) when { context.environment == "prod" };',
        'forbid (principal, action, resource) when { context.environment == "prod" };',
        'permit (principal, action, resource) unless { context.environment like "p*" };',
        f'permit (principal, {REMOVE}, resource) when {{ ["dev", "prod"].contains(context.environment) }};',
        (
            f'permit (principal, {REMOVE}, resource) when {{ context.environment == "prod" && context.args.name == "a" }};'
            "permit (principal, action, resource);"
        ),
        (
            f'permit (principal in Role::"sre", {REMOVE}, resource) when {{ context.environment == "prod" }};'
            f"permit (principal, {REMOVE}, resource);"
        ),
        f'@mode("audit") permit (principal, {REMOVE}, resource) when {{ context.environment == "prod" }};',
        (
            f'permit (principal, {REMOVE}, resource) when {{ if context.environment == "prod" then context.args.name == "a" '
            "else true };"
        ),
        (
            f'forbid (principal, {REMOVE}, resource) when {{ context.environment == "dev" && context.args.name == "a" }};'
            f'forbid (principal, {REMOVE}, resource) when {{ context.args.name == "a" }};'
        ),
    ],
)
def test_what_follows_is_proven(judged: Callable[..., Judged], text: str) -> None:
    """More in the wider environment, the same in both, only reads, or another statement that permits as much."""
    assert [] == notes(judged, text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            f'@id("a") permit (principal, {REMOVE}, resource) when {{ context.environment == "prod" }};',
            "`a` permits in `prod` what it may not permit in the wider `dev`: `metrics.removeMetric`",
        ),
        (
            '@id("a") permit (principal, action in Action::"metrics", resource) when { context.environment != "dev" };',
            "`a` permits in `prod` what it may not permit in the wider `dev`: `metrics.removeMetric` and 1 more",
        ),
        (
            (
                '@id("a") permit (principal, action, resource);\n@id("b") forbid (principal, action, resource)\n'
                'when { context.environment == "dev" && context.args has name };'
            ),
            "`b` forbids in the wider `dev` what it may not forbid in `prod`: `metrics.removeMetric` and 1 more",
        ),
        (
            (
                f'@id("a") permit (principal, {REMOVE}, resource) when {{ context.environment == "prod" }};'
                f'permit (principal in Role::"sre", {REMOVE}, resource);'
            ),
            "`a` permits in `prod` what it may not permit in the wider `dev`: `metrics.removeMetric`",
        ),
    ],
)
def test_what_does_not_follow_is_noted(judged: Callable[..., Judged], text: str, told: str) -> None:
    """By the statement's id and an operation; nothing is refused for it."""
    (note,) = notes(judged, text)
    assert told == note.partition(" ")[2]


def test_it_is_said_at_every_start(toolspecs: Path, tmp_path: Path) -> None:
    """A bundle carries the notes; in the widest environment there is nothing to prove."""
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "a.cedar").write_text(
        f'@id("a") permit (principal, {REMOVE}, resource) when {{ context.environment == "prod" }};'
    )
    found = {name: load(Sources(toolspecs, policies, name, ENVIRONMENTS)).notes for name in ENVIRONMENTS}

    assert [] == [each for each in found["dev"] if each.kind == "unproven"]
    assert [f"{policies}/a.cedar:1"] == [each.path for each in found["prod"] if each.kind == "unproven"]


ATOMS = st.sampled_from(
    ['context.environment == "dev"', 'context.environment != "prod"', 'context.environment like "p*"', "context.flag",
     '["dev", "qa"].contains(context.environment)', "context.other", "true"]
)  # fmt: skip
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda each: f"!({each})"),
        st.tuples(inner, inner, inner).map(lambda all_: f"(if {all_[0]} then {all_[1]} else {all_[2]})"),
    ),
    max_leaves=6,
)


@given(
    condition=CONDITIONS,
    clause=st.sampled_from(["when", "unless"]),
    environment=st.sampled_from(["dev", "prod", "qa"]),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_what_is_left_of_a_statement_holds_as_the_statement_does(
    condition: str, clause: str, environment: str, flags: tuple[bool, bool]
) -> None:
    """Cedar rules the same on a statement and on what is left of it in an environment."""
    text = f"permit (principal, action, resource) {clause} {{ {condition} }};"
    ((_, template),) = cedarpy.policies_to_pst(text).static_policies.items()
    left = residual(template, environment)
    context = {"environment": environment, "flag": flags[0], "other": flags[1]}

    def allowed(*policies: cedarpy.pst.Template) -> bool:
        made = cedarpy.PolicySet.from_pst(cedarpy.pst.PolicySet({}, {each.id: each for each in policies}, ()))
        request = {"principal": 'A::"a"', "action": 'Action::"b"', "resource": 'R::"c"', "context": context}
        return cedarpy.is_authorized(request, made, []).allowed

    if left is None:
        assert not allowed(template)
        return
    clauses = tuple(cedarpy.pst.When(each) for each in left.conditions)
    any_ = cedarpy.pst.ScopeAny()
    rest = cedarpy.pst.Template("rest", "permit", any_, any_, any_, clauses, {})
    assert allowed(template) == allowed(rest)


def test_ten_thousand_statements_are_proven_together(judged: Callable[..., Judged], bundle: object) -> None:
    """What names an environment is looked at, and beside it only what bears on the same operations."""
    text = "".join(
        f'permit (principal in Role::"r{at}", {REMOVE}, resource) when {{ context.args.name == "n{at}" }};\n'
        for at in range(300)
    )
    named = f'@id("a") permit (principal in Role::"r7", {REMOVE}, resource) when {{ context.environment == "prod" && context.args.name == "n7" }};'

    assert [] == notes(judged, text + named)
    assert judge([CedarFile("a.cedar", "a.cedar", text.encode())], standing_of(bundle)).notes == ()  # type: ignore[arg-type]
