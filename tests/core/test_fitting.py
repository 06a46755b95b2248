"""Whether a call is what its step says: argument by argument, and what is told where it is not."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.plans import (
    ANN,
    DETECT,
    EU,
    NOW_MS,
    PLAN_ID,
    PUBLISH,
    SERIES,
    TITLE,
    follow,
    query,
    refused,
    step,
)

from toolgate.core import cursor, engine
from toolgate.core.bundle import Bundle
from toolgate.core.model import Call, Permit, Refusal, ValidCall, Wire
from toolgate.core.plan import Attempted


def test_a_changed_argument_is_named(bundle: Bundle) -> None:
    """One byte is enough; the answer says where, what is there and what the plan has."""
    run = follow(bundle, EU)

    refusal = refused(run.decide("m.query", query("eu ")), "plan.arguments_changed")

    (violation,) = refusal.violations
    assert ("/body/cluster", "eu") == (violation.path, violation.expected)
    assert "`eu ` is not what the plan has here: `eu`" == violation.message
    assert "Set `/body/cluster` as the plan has it for step `eu` and send the call again." == refusal.recovery.hint


@pytest.mark.parametrize(
    ("planned", "sent", "fits"),
    [
        (1, 1, True),
        (1, 1.0, False),
        (1.0, 1, False),
        (0.0, -0.0, False),
        (True, 1, False),
        (1, True, False),
        (None, None, True),
        ("é", "e\u0301", False),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([1, 2], [2, 1], False),
        ([], {}, False),
        ({"$literal": "$steps.eu.outputs.x"}, "$steps.eu.outputs.x", True),
        ({"$literal": {"$constraint": {}}}, {"$constraint": {}}, True),
        ({"$literal": {"$constraint": {}}}, 5, False),
        ({"$constraint": {"type": "integer", "minimum": 3}}, 3, True),
        ({"$constraint": {"type": "integer", "minimum": 3}}, 2, False),
        ({"$constraint": {}}, {"anything": [1]}, True),
        ({"a": {"$constraint": {"enum": [1, 2]}}, "b": "x"}, {"a": 2, "b": "x"}, True),
        ({"a": {"$constraint": {"enum": [1, 2]}}, "b": "x"}, {"a": 2}, False),
        ({"a": {"$constraint": {"enum": [1, 2]}}, "b": "x"}, {"a": 2, "b": "x", "c": 1}, False),
        ([{"$constraint": {"type": "string"}}, 1], ["x", 1], True),
        ([{"$constraint": {"type": "string"}}, 1], ["x", 1, 1], False),
    ],
)
def test_a_value_is_what_the_plan_has(bundle: Bundle, planned: Any, sent: Any, fits: bool) -> None:
    """M26: equal down to the kind of a number; constraints are enforced; objects and arrays part by part."""
    run = follow(bundle, step("s", "m.publish", arguments={"body": {"title": "t", "body": planned}}))

    decision = run.decide("m.publish", {"body": {"title": "t", "body": sent}})

    assert fits == isinstance(decision, Permit)
    if not fits:
        assert refused(decision, "plan.arguments_changed").violations


def test_an_argument_the_plan_leaves_out_is_free(bundle: Bundle) -> None:
    """And one that it has may not be left out."""
    run = follow(bundle, step("s", "m.publish"), step("x", "m.remove", arguments={"name": "a"}))

    assert isinstance(run.decide("m.publish", TITLE), Permit)
    assert (
        "b` is not what the plan has here: `a`"
        in refused(run.decide("m.remove", {"name": "b"}), "plan.arguments_changed").detail
    )


def test_a_number_on_the_wire_is_the_number_of_the_plan(bundle: Bundle) -> None:
    """`?by=2` says 2, and `?by=2.0` says something else: another text would be sent."""
    run = follow(bundle, step("s", "m.scale", arguments={"by": 2}))

    def decide(query_text: str) -> Permit | Refusal:
        asked = Call("01CALL", NOW_MS, ANN, Wire("GET", "/m/scale", query_text))
        valid = engine.check(asked, run.facts, bundle)
        assert isinstance(valid, ValidCall)
        return engine.decide(valid, run.facts, bundle)

    assert isinstance(decide("by=2"), Permit)
    refused(decide("by=2.0"), "plan.arguments_changed")


def test_an_expression_is_what_the_step_answered(bundle: Bundle) -> None:
    """By keyed digest; an answer that did not hold it fits nothing."""
    run = follow(bundle, EU, DETECT)
    run.do("m.query", query("eu"), series=[1, 2.5])

    wrong = refused(run.decide("m.detect", {"body": {"series": [1, 2.4]}}), "plan.arguments_changed")
    assert "$steps.eu.outputs.series" == wrong.violations[0].expected
    assert "/body/series" == wrong.violations[0].path
    assert isinstance(run.decide("m.detect", SERIES), Permit)

    run.steps["eu"] = Attempted("done", 1, {"series": None})
    empty = refused(run.decide("m.detect", SERIES), "plan.arguments_changed")
    assert "the answer of step `eu` held no `series`, so nothing can be sent here" == empty.violations[0].message


def test_a_step_whose_answer_lacked_an_output_leads_nowhere(bundle: Bundle) -> None:
    """What waits for a part that never came cannot be sent as it is planned: only a revision helps, and each answer says so."""
    run = follow(bundle, EU, DETECT, PUBLISH, step("us"))
    run.do("m.query", query("eu"))

    assert ("us",) == cursor.ready(run.plan, bundle)
    refusal = refused(run.decide("m.detect", SERIES), "plan.arguments_changed")
    assert ("replan", ("us",)) == (refusal.recovery.action, refusal.recovery.alternatives)
    assert (
        f"Revise the plan with PUT /-/plans/{PLAN_ID}: in step `detect` leave `/body/series` out, "
        'or write `{"$constraint": {…}}` there.'
    ) == refusal.recovery.hint

    run.do("m.query", query("us"))
    assert (
        f"No step can be taken any more; revise the plan with PUT /-/plans/{PLAN_ID}."
        == refused(run.decide("m.publish", TITLE), "plan.dependency_failed").recovery.hint
    )


@pytest.mark.parametrize(
    ("planned", "sent", "message"),
    [
        (1, "1", "`1` (text) is not what the plan has here: `1` (a whole number)"),
        (True, "true", "`true` (text) is not what the plan has here: `true`"),
        ("1", 1.0, "`1.0` (a number with a point) is not what the plan has here: `1` (text)"),
        ("caf\u00e9", "cafe\u0301", "`cafe\u0301` is not what the plan has here: `caf\u00e9`; character 4 is `e` and not `\\xe9`"),
        ("e\u0301", "e\u0341", "`e\u0341` is not what the plan has here: `e\u0301`; character 2 is `\\u0341` and not `\\u0301`"),
        ("x" * 200 + "a", "x" * 200 + "b", f"`{'x' * 63}…` is not what the plan has here: `{'x' * 63}…`; character 201 is `b` and not `a`"),
        ("x" * 200, "x" * 201, f"`{'x' * 63}…` is not what the plan has here: `{'x' * 63}…`; 201 characters were sent, and the plan has 200"),
    ],
)  # fmt: skip
def test_values_that_look_alike_are_told_apart(bundle: Bundle, planned: Any, sent: Any, message: str) -> None:
    """Text that looks like a number, characters that look the same, and what is too long to be shown."""
    run = follow(bundle, step("s", "m.publish", arguments={"body": {"title": "t", "body": planned}}))

    refusal = refused(run.decide("m.publish", {"body": {"title": "t", "body": sent}}), "plan.arguments_changed")

    assert message == refusal.violations[0].message


def test_what_the_plan_does_not_have_is_left_out(bundle: Bundle) -> None:
    """The hint of a surplus member is not to set it."""
    run = follow(bundle, step("s", "m.publish", arguments={"body": {"title": "t"}}))

    more = refused(run.decide("m.publish", {"body": {"title": "t", "body": 1}}), "plan.arguments_changed")
    assert "Leave `/body/body` out for step `s` and send the call again." == more.recovery.hint
    both = refused(run.decide("m.publish", {"body": {"title": "u", "body": 1}}), "plan.arguments_changed")
    assert (
        "Set `/body/title` as the plan has it and leave `/body/body` out for step `s` and send the call again."
        == both.recovery.hint
    )


def test_a_secret_is_never_shown(bundle: Bundle) -> None:
    """What the schema masks is told off without its value."""
    run = follow(
        bundle, EU, step("s", "m.publish", "eu", arguments={"body": {"title": "t", "key": "$steps.eu.outputs.series"}})
    )
    run.do("m.query", query("eu"), series="right")

    refusal = refused(run.decide("m.publish", {"body": {"title": "t", "key": "hunter2"}}), "plan.arguments_changed")

    assert "hunter2" not in str((refusal.detail, refusal.recovery, refusal.violations))
