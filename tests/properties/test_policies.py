"""Policies as a whole, over random bundles and calls: what must hold whatever the statements say (DESIGN §7, CEDAR.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.plain_cedar import plainly
from tests.support.random_policies import (
    OPERATIONS,
    PRINCIPALS,
    RESOURCES,
    SHAPES,
    Rule,
    bundles,
    model,
    questions,
    rules,
)

from toolgate.core.policies import Policies
from toolgate.core.policy import Question, Ruling, Statement

CALLS = st.lists(questions(), min_size=1, max_size=6)
NOTES = ("", "", '@approval("oncall")', '@mode("audit")')
quick = settings(max_examples=60, deadline=None)


def made(rules: dict[str, Rule]) -> list[Statement]:
    return [rule.statement(name) for name, rule in rules.items()]


def policies(statements: list[Statement]) -> Policies:
    return Policies(statements, len(OPERATIONS), SHAPES)


def said(ruling: Ruling) -> tuple[str, tuple[str, ...]]:
    return ruling.kind, ruling.statements


def agrees_with_the_model(rules: dict[str, Rule], calls: list[Question]) -> None:
    ruled = policies(made(rules))

    assert [model(rules, each) for each in calls] == [said(ruled.rule(each)) for each in calls]


def agrees_with_plain_cedar(rules: dict[str, Rule], calls: list[Question]) -> None:
    statements = made(rules)
    ruled = policies(statements)
    asked = [each for each in calls if all(rule.is_told(each) for rule in rules.values())]

    assert [plainly(statements, each) for each in asked] == [said(ruled.rule(each)) for each in asked]


@given(bundles(), CALLS)
@quick
def test_rulings_agree_with_a_model_of_authorisation(rules, calls):
    """Forbid wins, default is no, an error refuses, and the statements that decided are named."""
    agrees_with_the_model(rules, calls)


@given(bundles(), CALLS)
@quick
def test_slices_and_projections_change_nothing(rules, calls):
    """Sliced, projected and remembered evaluation says what one evaluation of every statement with everything says."""
    agrees_with_plain_cedar(rules, calls)


@given(bundles(notes=NOTES), CALLS)
@quick
def test_what_is_remembered_is_what_would_be_found(rules, calls):
    """Asking in another order, or again, or of another `Policies` changes no ruling."""
    statements = made(rules)
    one, other = policies(statements), policies(statements)
    first = [one.rule(each) for each in calls]
    other_way_round = [other.rule(each) for each in reversed(calls)]

    assert first == [one.rule(each) for each in calls]
    assert first == other_way_round[::-1]


@given(bundles(notes=NOTES), rules(effects=("forbid",), notes=NOTES), CALLS)
@quick
def test_a_forbid_more_permits_nothing_more(rules, forbid, calls):
    """Adding a forbid never turns a refusal into a permit."""
    before, after = policies(made(rules)), policies([*made(rules), forbid.statement("more")])
    turned = [each for each in calls if after.rule(each).kind == "allowed" and before.rule(each).kind != "allowed"]

    assert [] == turned


@given(bundles(notes=NOTES), rules(effects=("permit",)), CALLS)
@quick
def test_a_permit_more_that_does_not_err_refuses_nothing_more(rules, permit, calls):
    """Adding a permit never turns a permit into a refusal, unless it errs."""
    before, after = policies(made(rules)), policies([*made(rules), permit.statement("more")])
    sound = [each for each in calls if not (permit.action[1](each) and permit.errs(each))]

    assert [] == [each for each in sound if before.rule(each).kind == "allowed" and after.rule(each).kind != "allowed"]


@given(bundles(notes=NOTES), CALLS, st.randoms(use_true_random=False))
@quick
def test_the_order_of_statements_means_nothing(rules, calls, chance):
    """The order of statements, so of files, changes no ruling."""
    statements = made(rules)
    shuffled = chance.sample(statements, len(statements))

    assert [policies(statements).rule(each) for each in calls] == [policies(shuffled).rule(each) for each in calls]


@given(bundles(), CALLS)
@quick
def test_saying_it_twice_means_nothing(rules, calls):
    """A statement said again under another id changes no decision."""
    twice = [*made(rules), *(rule.statement(f"{name}-again") for name, rule in rules.items())]
    once = policies(made(rules))

    assert [once.rule(each).kind for each in calls] == [policies(twice).rule(each).kind for each in calls]


@given(CALLS)
def test_no_statements_nothing_allowed(calls):
    """The default is no, for calls and for listings."""
    empty = policies([])

    assert {"not_allowed"} == {empty.rule(each).kind for each in calls}
    assert {False} == {empty.may(each.principal, each.operation, each.environment) for each in calls}


@given(bundles(notes=NOTES), CALLS)
@quick
def test_what_is_not_listed_is_refused(rules, calls):
    """`may` says no: no call is permitted, nor could a person permit one. It asks for a person where a call does."""
    ruled = policies(made(rules))
    never = [each for each in calls if not ruled.may(each.principal, each.operation, each.environment)]
    unasked = [each for each in calls if not ruled.may_ask(each.principal, each.operation, each.environment)]

    assert [] == [each for each in never if ruled.rule(each).kind in {"allowed", "approval"}]
    assert [] == [each for each in unasked if ruled.rule(each).kind == "approval"]


@given(bundles(notes=NOTES), CALLS)
@quick
def test_audit_enforces_nothing(rules, calls):
    """A statement in audit changes no ruling, and its shadow is the ruling with it enforced, where that differs in kind."""
    without = {name: rule for name, rule in rules.items() if "audit" not in rule.notes}
    enforced = {name: _enforced(rule) for name, rule in rules.items()}
    ruled, plain, strict = (policies(made(each)) for each in (rules, without, enforced))

    for each in calls:
        ruling, shadow = ruled.rule(each), strict.rule(each)
        assert plain.rule(each) == ruling._replace(shadow=None)
        assert ruling.shadow == (shadow if shadow.kind != ruling.kind else None)


@given(bundles(notes=("", '@approval("oncall")')), CALLS)
@quick
def test_an_approval_is_asked_for_only_where_it_would_help(rules, calls):
    """A person is asked where, without the forbids that ask, the call would be allowed; else that refusal stands."""
    with_people = {name: rule for name, rule in rules.items() if not (rule.effect == "forbid" and rule.notes)}
    ruled, rest = policies(made(rules)), policies(made(with_people))

    for each in calls:
        kind, kind_of_rest = ruled.rule(each).kind, rest.rule(each).kind
        if kind in {"allowed", "approval"}:
            assert kind_of_rest == "allowed"
        if kind == "not_allowed":
            assert kind_of_rest == "not_allowed"


@given(bundles(notes=NOTES), CALLS)
@quick
def test_explanations_agree_with_rulings(rules, calls):
    """What `applied` says of each statement is what determined the ruling."""
    ruled = policies(made(rules))
    enforced = {name for name, rule in rules.items() if "audit" not in rule.notes}

    for each in calls:
        ruling = ruled.rule(each)
        applied = {name: holds for name, _, holds in ruled.applied(each) if name in enforced}
        if ruling.kind == "error":
            assert set() < set(ruling.statements) <= {name for name, holds in applied.items() if holds is None}
        else:
            assert set(ruling.statements) <= {name for name, holds in applied.items() if holds}
            assert None not in applied.values()


@given(bundles(effects=("permit",)), CALLS)
@quick
def test_a_near_miss_misses_by_one_thing(rules, calls):
    """Without the condition a near miss names, or the part of the head, its permit would hold; the action is such a part."""
    ruled = policies(made(rules))

    for each in calls:
        for miss in ruled.near_misses(each):
            rule = rules[miss.statement]
            text, is_of_action = rule.action
            if not is_of_action(each):
                assert (text, True) == (miss.condition, rule.applies(each))
                continue
            assert not rule.applies(each)
            rest = _without(rule, miss.condition, each)
            assert rest.errs(each) or rest.applies(each)  # what errs after it may have been guarded by it


def _without(rule: Rule, written: str, asked: Question) -> Rule:
    """The rule without the part of its head that says this, or every condition that has these words in it."""
    for part, everything in (("principal", PRINCIPALS[0]), ("resource", RESOURCES[0])):
        text, holds = getattr(rule, part)
        if text == written and not holds(asked):
            return replace(rule, **{part: everything})
    words = written.removeprefix("unless { ").removesuffix(" }")
    kept = (
        (keyword, tuple(each for each in parts if words not in each.text and each.text not in written))
        for keyword, parts in rule.conditions
    )
    return replace(rule, conditions=tuple((keyword, parts) for keyword, parts in kept if parts))


def _enforced(rule: Rule) -> Rule:
    return replace(rule, notes="" if "audit" in rule.notes else rule.notes)


@pytest.mark.soak
@given(bundles(), CALLS)
@settings(max_examples=10_000, deadline=None)
def test_a_long_walk(rules, calls):
    """The first two properties again, for long."""
    agrees_with_the_model(rules, calls)
    agrees_with_plain_cedar(rules, calls)
