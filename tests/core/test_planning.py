"""What is wrong with a proposed plan: everything at once, each thing at its place, with a code and a way out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from tests.support.plans import (
    ANN,
    BOB,
    DETECT,
    EU,
    KEY,
    NOW_MS,
    PLAN_ID,
    locked,
    only,
    planned,
    proposal,
    step,
    with_rules,
    wrong,
)

from toolgate.core.budget import Budget
from toolgate.core.budgets import Budgets
from toolgate.core.bundle import Bundle
from toolgate.core.model import Facts, Json, Known
from toolgate.core.plan import Attempted, Ordering, Plan, PlanFacts, Step
from toolgate.core.planform import PLAN_SCHEMA, digest_of, document_of, read
from toolgate.core.planning import Now, lock, rejected, validated
from toolgate.core.reliance import relies_on


def test_a_plan_comes_out_whole(bundle: Bundle) -> None:
    """Names, operation keys and attempts are written out: 3 where repeating is harmless, else 1; a model's name is known."""
    found = planned(bundle, step("eu", "m__query"), step("out", "m.publish", "eu", budget={}, timeout=400, name="Out"))

    assert (
        Step("eu", "eu", "m.query", (), {}, {}, None, {}, 3),
        Step("out", "Out", "m.publish", ("eu",), {}, {}, 400, {}, 1),
    ) == found.steps
    assert found == read(document_of(found))


def test_amounts_have_one_text(bundle: Bundle) -> None:
    """A number or decimal text of a budget, however it is written."""
    first, second = (planned(bundle, step("a", budget={"usd": amount})) for amount in (0.05, "0.050"))

    assert ({"usd": "0.05"}, first) == (first.steps[0].budget, second)


@pytest.mark.parametrize(
    ("document", "places"),
    [
        (None, [""]),
        ([], [""]),
        ({}, ["/goal", "/steps"]),
        ({"goal": "", "steps": []}, ["/goal", "/steps"]),
        ({"goal": 5, "steps": {}}, ["/goal", "/steps"]),
        ({"goal": "x", "steps": [{"stepId": "a", "operationId": "m.query"}], "stepps": 1}, ["/stepps"]),
        ({"goal": "x\u202ey", "steps": [step("a")]}, ["/goal"]),
        ({"goal": "x", "steps": [5, {"stepId": "a b"}]}, ["/steps/0", "/steps/1/operationId", "/steps/1/stepId"]),
        (
            {
                "goal": "x",
                "steps": [step("a", timeout=0, attempts=11, dependsOn="b", outputs={"a b": 5}, budget={"usd": -1})],
            },
            [
                "/steps/0/attempts",
                "/steps/0/budget/usd",
                "/steps/0/dependsOn",
                "/steps/0/outputs",
                "/steps/0/outputs/a b",
                "/steps/0/timeout",
            ],
        ),
    ],
)
def test_what_is_no_plan_is_told_by_place(bundle: Bundle, document: Json, places: list[str]) -> None:
    """Any JSON gives a typed answer."""
    found = validated(document, ANN, bundle)

    assert not isinstance(found, Plan)
    assert places == sorted({each.path for each in found})
    assert {"plan.form"} == {each.code for each in found}
    assert all(each.hint for each in found)


def test_a_misspelt_key_is_told_with_the_right_one(bundle: Bundle) -> None:
    """Also in a step: where, and what was meant."""
    found = wrong(bundle, step("a"), step("b", dependson=["a"]))

    assert [("/steps/1/dependson", "dependsOn", "`dependson` is not a field of step 1; did you mean `dependsOn`?")] == [
        (each.path, each.suggestion, each.message) for each in found
    ]


def test_every_problem_is_told_at_once_in_the_order_of_the_plan(bundle: Bundle) -> None:
    """Steps that have no form do not hide what is wrong with the others, and are still known by their ids."""
    found = wrong(
        bundle,
        step("a", "m.qery", "z"),
        {"stepId": "b", "operationId": "m.query", "dependOn": []},
        step("c", "m.hidden", "b"),
        step("d", "m.query", arguments={"body": {"cluster": 5}}),
    )

    assert [
        ("/steps/0/dependsOn/0", "plan.dependency"),
        ("/steps/0/operationId", "tool.unknown"),
        ("/steps/1/dependOn", "plan.form"),
        ("/steps/2/operationId", "tool.disallowed"),
        ("/steps/3/arguments/body/cluster", "arguments.invalid"),
    ] == [(each.path, each.code) for each in found]


def test_a_fault_of_form_hides_no_other_fault_of_its_step(bundle: Bundle) -> None:
    """What is sound of a step is judged all the same, and nothing is concluded from what is not."""
    found = wrong(
        bundle,
        step("eu", timeout=-1, arguments={"body": {"cluster": 1}}, outputs={"series": 1}),
        step("a b", "m.nothing"),
        {"operationId": "m.hidden"},
        step("detect", "m.detect", arguments={"body": {"series": "$steps.eu.outputs.series"}}, dependson=["eu"]),
        7,
    )

    assert [
        ("/steps/0/arguments/body/cluster", "arguments.invalid"),
        ("/steps/0/outputs/series", "plan.form"),
        ("/steps/0/timeout", "plan.form"),
        ("/steps/1/operationId", "tool.unknown"),
        ("/steps/1/stepId", "plan.form"),
        ("/steps/2/operationId", "tool.disallowed"),
        ("/steps/2/stepId", "plan.form"),
        ("/steps/3/dependson", "plan.form"),
        ("/steps/4", "plan.form"),
    ] == [(each.path, each.code) for each in found]


def test_more_faults_than_an_answer_holds_are_not_miscounted(bundle: Bundle) -> None:
    """Two hundred are told; that there may be others is said."""
    found = wrong(with_rules(bundle, max_steps=500), *(step(f"s{at}", "m.nothing") for at in range(300)))

    assert rejected(found).detail.endswith(" (and at least 199 more)")


def test_an_operation_must_be_there_allowed_no_free_one_and_permitted(bundle: Bundle) -> None:
    """For a principal that no statement lets call it, a step is hopeless from the start."""
    assert (
        "/steps/0/operationId",
        "tool.unknown",
        "`m.publsh` is not a known operation; did you mean `m.publish`?",
    ) == only(bundle, step("a", "m.publsh"))
    assert "plan.free" == only(bundle, step("a", "m.list"))[1]
    assert (
        "/steps/0/operationId",
        "policy.not_allowed",
        "no policy can allow `bob` to call `m.query` in production",
    ) == only(bundle, step("a"), principal=BOB)
    assert isinstance(validated(proposal(step("a")), None, bundle), Plan)


def test_what_a_step_cannot_call_says_nothing_more(bundle: Bundle) -> None:
    """Neither schema, nor costs, nor timeouts of an operation that is not for this principal are to be learned."""
    hopeless = {"arguments": {"nmae": 5}, "timeout": 3_000_000, "budget": {"eur": 1}}

    assert ("/steps/0/operationId", "tool.disallowed") == only(bundle, step("a", "m.hidden", **hopeless))[:2]
    assert ("/steps/0/operationId", "policy.not_allowed") == only(bundle, step("a", **hopeless), principal=BOB)[:2]


def test_any_name_of_an_argument_has_its_place(bundle: Bundle) -> None:
    """Also thousands of digits."""
    long = "9" * 5_000

    assert f"/steps/0/arguments/{long}" == only(bundle, step("a", arguments={long: 1}))[0]


def test_ids_are_given_once(bundle: Bundle) -> None:
    """The second one is told."""
    assert ("/steps/1/stepId", "plan.repeated", "`a` is the stepId of step 0 already") == only(
        bundle, step("a"), step("a")
    )


def test_cycles_are_told_once_each(bundle: Bundle) -> None:
    """What only waits for a cycle is not on it."""
    found = wrong(
        bundle,
        step("self", "m.query", "self"),
        step("a", "m.query", "c"),
        step("b", "m.query", "a"),
        step("c", "m.query", "b"),
        step("after", "m.query", "c"),
    )

    assert [
        ("/steps/0/dependsOn", "step `self` waits for itself"),
        ("/steps/1/dependsOn", "steps `a`, `c`, `b` wait for each other"),
    ] == [(each.path, each.message) for each in found]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("$steps.nope.outputs.series", "the plan has no step `nope`"),
        ("$steps.eu.outputs.serie", "step `eu` has no output `serie`; did you mean `series`?"),
        ("$steps.late.outputs.x", "step `late` need not be done by then: `detect` does not wait for it"),
        ("$steps.eu.output.series", "`$steps.eu.output.series` is neither an expression nor plain text"),
        ("see {$steps.eu.outputs.series}", "`see {$steps.eu.outputs.series}` is neither an expression nor plain text"),
        ("$response.body#/x", "`$response.body#/x` is neither an expression nor plain text"),
    ],
)
def test_an_expression_names_an_output_of_a_step_before(bundle: Bundle, value: str, message: str) -> None:
    """Any other is told, with what to add."""
    late = step("late", outputs={"x": "$response.body"})
    found = only(bundle, EU, {**DETECT, "arguments": {"body": {"series": value}}}, late)

    assert ("/steps/1/arguments/body/series", "plan.binding", message) == found


def test_what_a_step_waits_for_by_others_may_be_read(bundle: Bundle) -> None:
    """Dependencies reach through."""
    last = step("last", "m.publish", "detect", arguments={"body": {"title": "t", "body": "$steps.eu.outputs.series"}})

    assert 3 == len(planned(bundle, EU, DETECT, last).steps)


def test_outputs_are_expressions_of_a_reply(bundle: Bundle) -> None:
    """Of its body or a header."""
    found = wrong(bundle, step("a", outputs={"x": "$args.body", "y": "body", "z": "$response.header.X-Next"}))

    assert [("/steps/0/outputs/x", "plan.output"), ("/steps/0/outputs/y", "plan.output")] == [
        (each.path, each.code) for each in found
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("body.id", "`body.id` is no part of an answer"),
        ("$args#/body/id", "`$args#/body/id` is no part of an answer"),
        (
            "$response.boddy#/id",
            "`$response.boddy#/id` is not an expression; write `$response.body#/items` or `$response.header.Name`",
        ),
        (
            "$response.body.odd name",
            (
                "`$response.body.odd name` is not an expression; names after dots are letters, digits, `_` and `-`: "
                "write others as a JSON Pointer, `$response.body#/odd name`"
            ),
        ),
    ],
)
def test_what_is_wrong_with_an_output_is_told_in_words_of_answers(bundle: Bundle, text: str, message: str) -> None:
    """`$args` is offered where arguments may be read, and here they may not."""
    assert ("/steps/0/outputs/x", "plan.output", message) == only(bundle, step("a", outputs={"x": text}))


@pytest.mark.parametrize(
    ("constraint", "path", "message"),
    [
        (5, "", "a constraint is a JSON Schema: an object, or `true`"),
        ({"typo": "string"}, "/typo", "`typo` is not a keyword of this dialect and is not enforced"),
        ({"type": "strin"}, "/type", "`strin` is not a type; it is not enforced"),
        ({"$ref": "#/x"}, "/$ref", "`$ref` cannot be used in a constraint; write the schema out"),
        (
            {"pattern": "(a+)+$(?=x)"},
            "/pattern",
            "is no pattern, is too large, or could take long; write a simpler one, without look-around",
        ),
        ({"enum": ["x" * 17_000]}, "", "is longer than 16384 bytes"),
        (False, "", "`false` fits nothing; write the schema of what may be sent, or leave the argument out"),
        ({"enum": []}, "/enum", "`enum` lists nothing, so nothing fits"),
        ({"minimum": 5, "maximum": 3}, "/minimum", "`minimum` 5 and `maximum` 3 leave nothing between them"),
        (
            {"properties": {"q": {"exclusiveMinimum": 3, "maximum": 3}}},
            "/properties/q/exclusiveMinimum",
            "`exclusiveMinimum` 3 and `maximum` 3 leave nothing between them",
        ),
        (
            {"items": {"anyOf": [{"minLength": 2, "maxLength": 1}]}},
            "/items/anyOf/0/minLength",
            "`minLength` 2 and `maxLength` 1 leave nothing between them",
        ),
        (
            {"type": "string", "enum": [1, 2]},
            "",
            "no value that it lists fits the rest of it, so nothing can be sent here",
        ),
        (
            {"const": "ab", "maxLength": 1},
            "",
            "no value that it lists fits the rest of it, so nothing can be sent here",
        ),
    ],
)
def test_a_constraint_must_be_enforceable(bundle: Bundle, constraint: Json, path: str, message: str) -> None:
    """A person approves what it says, so it must hold."""
    found = only(bundle, step("a", arguments={"body": {"cluster": {"$constraint": constraint}}}))

    assert (f"/steps/0/arguments/body/cluster/$constraint{path}", "plan.constraint", message) == found


@pytest.mark.parametrize(
    "constraint",
    [
        {"minimum": 3, "maximum": 3},
        {"type": "object", "additionalProperties": False},
        {"properties": {"q": False}},
        {"type": "string", "enum": [1, "a"]},
        {"not": {"enum": []}},
        {"const": {"minimum": 2, "maximum": 1}},
    ],
)
def test_a_constraint_that_something_fits_is_taken(bundle: Bundle, constraint: Json) -> None:
    """Narrow as it may be: only what nothing can fit is a mistake for sure."""
    assert planned(bundle, step("a", arguments={"body": {"cluster": {"$constraint": constraint}}}))


def test_a_mark_stands_alone(bundle: Bundle) -> None:
    """`$constraint` beside other keys would be read as nobody meant it."""
    assert "plan.constraint" == only(bundle, step("a", arguments={"body": {"$constraint": {}, "cluster": "x"}}))[1]


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        ({"body": {"cluster": "eu"}}, []),
        ({"body": {"cluster": 5, "metrik": "cpu"}}, ["/body/cluster", "/body/metrik"]),
        ({"body": {"metric": "cpu"}}, ["/body/cluster"]),
        ({"bdy": {}}, ["/bdy"]),
        ({"bdy": {"$constraint": {}}}, ["/bdy"]),
        ({"body": {"cluster": {"$constraint": {}}, "days": "x"}}, ["/body/days"]),
        ({"body": {"days": {"$constraint": {}}}}, ["/body/cluster"]),
        ({"body": {"cluster": {"$literal": "eu"}}}, []),
        ({"body": {"cluster": {"$literal": 5}}}, ["/body/cluster"]),
        ({"body": [{"$constraint": {}}]}, ["/body"]),
        ({}, []),
    ],
)
def test_literals_must_fit_the_schema(bundle: Bundle, arguments: Json, places: list[str]) -> None:
    """What the call will tell is not held against the step: values that are not known, and arguments left out."""
    found = validated(proposal(step("a", arguments=arguments)), ANN, bundle)

    problems = () if isinstance(found, Plan) else found
    assert places == [each.path.removeprefix("/steps/0/arguments") for each in problems]
    assert {"arguments.invalid"} >= {each.code for each in problems}


def test_alternatives_are_left_to_the_call_where_a_part_is_unknown(bundle: Bundle) -> None:
    """Which alternative is meant may hang on what is not known yet."""
    known = {"body": {"series": [1], "by": "y"}}
    partly = {"body": {"series": {"$constraint": {}}, "by": "y"}}

    assert "/steps/0/arguments/body/by" == only(bundle, step("a", "m.detect", arguments=known))[0]
    assert 1 == len(planned(bundle, step("a", "m.detect", arguments=partly)).steps)


def test_a_resource_must_exist_where_that_is_known(bundle: Bundle) -> None:
    """Story 4, before the first call."""
    arguments = {"body": {"cluster": "eu", "metric": "iop"}}

    assert (
        "/steps/0/arguments/body/metric",
        "environment.resource_not_found",
        "Metric `iop` does not exist in production",
    ) == only(bundle, step("a", arguments=arguments))


def test_an_order_that_is_broken_is_told_in_the_operators_words(bundle: Bundle) -> None:
    """Every step of the one waits for every step of the others, by any way."""
    reason = "Summary cannot be generated before data availability"
    ruled = with_rules(bundle, order=(Ordering("m.publish", frozenset({"m.query"}), reason),))
    summary = step("summary", "m.publish", "eu")

    (violation,) = wrong(ruled, step("eu"), step("us"), summary)
    assert ("/steps/2/dependsOn", "plan.order") == (violation.path, violation.code)
    assert f"{reason}: step `summary` must come after `us`" == violation.message
    assert "Add `us` to the `dependsOn` of step `summary`." == violation.hint
    assert 3 == len(planned(ruled, step("eu"), step("us", "m.query", "eu"), {**summary, "dependsOn": ["us"]}).steps)
    assert 1 == len(planned(ruled, step("summary", "m.publish")).steps)


def test_too_many_steps_are_told_alone(bundle: Bundle) -> None:
    """Nothing else of such a plan is looked at."""
    small = with_rules(bundle, max_steps=2)

    assert ("/steps", "plan.too_many_steps", "has 3 steps, and a plan may have 2") == only(small, 1, 2, 3)


def test_timeouts_hold(bundle: Bundle) -> None:
    """No longer than a call of the operation may take, and together no longer than the plan holds."""
    assert "2001 ms is more than the 2000 ms a call of `m.query` may take" == only(bundle, step("a", timeout=2001))[2]
    brief = with_rules(bundle, expires_s=3)
    chain = [step("a", timeout=2000), step("b", "m.query", "a", timeout=2000)]
    assert ("/steps/1/timeout", "plan.timeout") == only(brief, *chain)[:2]


def test_a_step_can_afford_one_attempt(bundle: Bundle) -> None:
    """Its budget names costs of its operation, as amounts, and holds what one attempt takes."""
    found = wrong(
        bundle,
        step("a", "m.detect", budget={"usd": 0.005}),
        step("b", budget={"eur": 1}),
        step("c", budget={"calls": 2}),
        step("d", budget={"usd": 1e-9}),
    )

    assert [
        ("/steps/0/budget/usd", "one attempt takes 0.01 usd, and the step has 0.005"),
        ("/steps/1/budget/eur", "`m.query` costs no `eur`"),
        ("/steps/2/budget/calls", "calls of a step are its attempts"),
        ("/steps/3/budget/usd", "must be an amount with at most six digits after the point, such as `0.05`"),
    ] == [(each.path, each.message) for each in found]


def test_a_plan_can_be_afforded(bundle: Bundle) -> None:
    """Against what is left now; the step is named at which it is too much, and steps that are paid are not counted."""
    budget = Budget("run-spend", ("run",), "usd", 500_000)
    priced = replace(bundle, budgets=Budgets((budget,), environment="prod"))
    facts = Facts(Known({"b:run-spend:usd:run_1": 497_000}))
    steps = [step(f"s{at}") for at in range(3)]

    now = Now(facts, NOW_MS, "run_1")
    assert (
        "/steps/1",
        "budget.exhausted",
        "the steps up to this one take 0.004 usd, and the budget `run-spend` of 0.5 usd has 0.003 left",
    ) == only(priced, *steps, now=now)
    former = PlanFacts(locked(bundle, *steps), {f"s{at}": Attempted("done", 1) for at in (0, 1)}, KEY)
    assert isinstance(validated(proposal(*steps), ANN, priced, now._replace(former=former)), Plan)


def test_what_was_sent_stays_as_it_was(bundle: Bundle) -> None:
    """A revision keeps it or drops it; another step needs another id; one that failed may be tried otherwise."""
    former = locked(bundle, step("a"), step("b"), step("old"))
    steps = {"a": Attempted("done", 1), "b": Attempted("failed", 1), "gone": Attempted("done", 1)}
    now = Now(Facts(), NOW_MS, "run_1", PlanFacts(former, steps, KEY))
    other = {"body": {"cluster": "other"}}

    assert ("/steps/0/stepId", "plan.sent", "step `a` was sent already, and is another one now") == only(
        bundle, step("a", arguments=other), step("b"), now=now
    )
    assert "step `gone` was sent already in an earlier plan" == only(bundle, step("gone"), now=now)[2]
    assert "plan.sent" == only(bundle, step("a", "m.query", "old"), step("old"), now=now)[1]
    assert isinstance(validated(proposal(step("a"), step("b", attempts=5), step("new")), ANN, bundle, now), Plan)


def test_an_answer_is_bound_only_where_it_was_kept(bundle: Bundle) -> None:
    """A step that is done told what was asked of it then, and no more."""
    former = locked(bundle, EU)
    now = Now(Facts(), NOW_MS, "run_1", PlanFacts(former, {"eu": Attempted("done", 1, {})}, KEY))

    assert "step `eu` is done, and of its answer no `series` was kept" == only(bundle, EU, DETECT, now=now)[2]


def test_what_is_rejected_says_how_much_is_wrong(bundle: Bundle) -> None:
    """The first problem in the detail, all of them as violations."""
    refusal = rejected(wrong(bundle, step("a", "m.hidden"), step("b", "m.hidden")))

    assert ("plan.rejected", 422, "replan", 2) == (
        refusal.code.code, refusal.code.status, refusal.recovery.action, len(refusal.violations),
    )  # fmt: skip
    assert "`/steps/0/operationId`: `m.hidden` cannot be used in production (and 1 more)" == refusal.detail


def test_a_locked_plan_is_a_versioned_artifact(bundle: Bundle) -> None:
    """Its digest is of plan, revision and environment; it holds for `expires_s`."""
    plan = planned(bundle, EU, DETECT)

    found = lock(plan, bundle, plan_id=PLAN_ID, principal="ann", run="run_1", at_ms=NOW_MS)

    assert digest_of(plan, bundle.revision, "prod") == found.digest
    assert (NOW_MS + 3_600_000, relies_on(plan, bundle)) == (found.expires_ms, found.relies_on)
    assert 3 == len({digest_of(plan, *told) for told in (("r", "prod"), ("s", "prod"), ("r", "dev"))})


def test_the_published_schema_takes_what_is_written_out(bundle: Bundle) -> None:
    """And it is plain JSON."""
    assert PLAN_SCHEMA == orjson.loads(orjson.dumps(PLAN_SCHEMA))
    written = document_of(planned(bundle, EU, DETECT))
    assert isinstance(validated(written, ANN, bundle), Plan)


def test_a_thousand_steps_are_judged_in_bounded_work(plain: Bundle, tmp_path: Path) -> None:
    """A chain, a wide join and bindings: nothing grows with the square of the steps."""
    wide = with_rules(plain, max_steps=1000, order=(Ordering("m.publish", frozenset({"m.query"})),))
    steps = [
        step(f"s{at}", "m.query", *([f"s{at - 1}"] if at else []), outputs={"x": "$response.body"}) for at in range(998)
    ]
    join = step(
        "join", "m.detect", *(f"s{at}" for at in range(998)), arguments={"body": {"series": "$steps.s5.outputs.x"}}
    )

    assert 1000 == len(planned(wide, *steps, join, step("out", "m.publish", "join")).steps)
    assert tmp_path.exists()
