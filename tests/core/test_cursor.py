"""Which step of its plan a call is, and what it is told where it is none now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.plans import (
    DETECT,
    EU,
    NOW_MS,
    PLAN_ID,
    PUBLISH,
    SERIES,
    TITLE,
    call,
    follow,
    loaded,
    project,
    query,
    refused,
    step,
    with_rules,
)

from toolgate.core import cursor, engine
from toolgate.core.budget import Budget
from toolgate.core.budgets import Budgets
from toolgate.core.bundle import Bundle
from toolgate.core.completion import incomplete
from toolgate.core.limit import Concurrency, Limit
from toolgate.core.model import OWN, Charge, Facts, Hold, Permit, Place, Refusal, Short, Taking, ValidCall
from toolgate.core.outputs import wanted_of
from toolgate.core.plan import Attempted, Ordering


def test_a_step_is_taken_with_its_guards(bundle: Bundle) -> None:
    """Each attempt by its number, once; what later steps read of its answer is named."""
    run = follow(bundle, EU, DETECT)

    permit = run.decide("m.query", query("eu"))

    assert isinstance(permit, Permit)
    assert Taking(PLAN_ID, "eu", 1, wanted_of({"series": "$response.body#/series"})) == permit.step
    assert (Charge(f"p:{PLAN_ID}:eu#1", 1, 1),) == permit.guards


def test_a_plan_is_followed_to_its_end(bundle: Bundle) -> None:
    """Steps in order, each bound to what came before; then every step is done."""
    run = follow(bundle, EU, DETECT, PUBLISH)

    run.do("m.query", query("eu"), series=[1, 2.5])
    run.do("m.detect", SERIES)
    run.do("m.publish", TITLE)

    assert {"eu": "done", "detect": "done", "summary": "done"} == cursor.states(run.plan, bundle)
    refusal = refused(run.decide("m.publish", TITLE), "plan.step_done")
    assert "Every step is done; close the run with POST /-/run/finish." == refusal.recovery.hint


def test_what_comes_too_early_is_told_what_comes_first(bundle: Bundle) -> None:
    """Not begun: out of order, with what it waits for and what may be taken now."""
    run = follow(bundle, EU, DETECT, PUBLISH)

    refusal = refused(run.decide("m.publish", TITLE), "plan.out_of_order")

    assert "step `summary` comes after `detect`" == refusal.detail
    assert (("detect",), ("eu",)) == (refusal.recovery.waiting_on, refusal.recovery.alternatives)
    assert "Take step `eu`, `m.query`, now." == refusal.recovery.hint


def test_an_order_of_the_operator_is_told_in_its_words(bundle: Bundle) -> None:
    """Story 2: the reason stands in `order`."""
    reason = "Summary cannot be generated before data availability"
    rule = Ordering("m.publish", frozenset({"m.query"}), reason)
    run = follow(with_rules(bundle, order=(rule,)), EU, step("summary", "m.publish", "eu"))

    refusal = refused(run.decide("m.publish", TITLE), "plan.out_of_order")

    assert f"step `summary` comes after `eu`: {reason}" == refusal.detail


def test_what_waits_for_a_running_step_is_held(bundle: Bundle) -> None:
    """Agents call in parallel: a hold says until when and for which step; told only if that did not help."""
    run = follow(bundle, EU, DETECT)
    run.begin("m.query", query("eu"))

    refusal = refused(run.decide("m.detect", SERIES), "plan.step_not_ready")

    assert Hold(NOW_MS + 2000, PLAN_ID, "eu") == refusal.hold
    assert ("wait", ("eu",), 1.0) == (
        refusal.recovery.action,
        refusal.recovery.waiting_on,
        refusal.recovery.retry_after_s,
    )
    assert "step `detect` waits for `eu`, still running" == refusal.detail


def test_a_running_step_is_not_sent_beside_itself(bundle: Bundle) -> None:
    """The second call waits for the first; then the step is done."""
    run = follow(bundle, EU)
    permit = run.begin("m.query", query("eu"))

    assert Hold(NOW_MS + 2000, PLAN_ID, "eu") == refused(run.decide("m.query", query("eu")), "plan.step_not_ready").hold
    run.end(permit)
    assert "step `eu` is done already" == refused(run.decide("m.query", query("eu")), "plan.step_done").detail


def test_nothing_is_held_where_the_operator_says_so(bundle: Bundle) -> None:
    """`hold_ms: 0`."""
    run = follow(with_rules(bundle, hold_ms=0), EU)
    run.begin("m.query", query("eu"))

    assert refused(run.decide("m.query", query("eu")), "plan.step_not_ready").hold is None


def test_what_is_not_in_the_plan_is_refused(bundle: Bundle) -> None:
    """Every call is a step, but for the operations in `free`."""
    run = follow(bundle, EU)

    refusal = refused(run.decide("m.remove", {"name": "a"}), "plan.unplanned")

    assert "`m.remove` is not in the plan" == refusal.detail
    assert ("take_step", ("eu",)) == (refusal.recovery.action, refusal.recovery.alternatives)
    assert isinstance(run.decide("m.list"), Permit)


def test_the_gate_itself_follows_no_plan(bundle: Bundle) -> None:
    """Its own readings are no steps."""
    run = follow(bundle, EU)
    valid = call(bundle, "m.query", query("x"))
    permit = Permit(valid._replace(call=valid.call._replace(principal=OWN)))

    assert permit is cursor.planned(permit, run.facts, bundle)


def test_nothing_is_to_be_taken_of_a_plan_whose_time_is_over(bundle: Bundle) -> None:
    """Closing the run says so too, instead of a step that would be refused."""
    run = follow(bundle, step("eu"), step("us"))
    expires_ms = run.locked.expires_ms

    in_time, late = (incomplete(run.plan, bundle, at_ms) for at_ms in (expires_ms - 1, expires_ms))

    assert in_time is not None
    assert late is not None
    assert ("eu", "us") == in_time.recovery.alternatives
    assert ("replan", ()) == (late.recovery.action, late.recovery.alternatives)
    assert late.recovery.hint.startswith("Propose the plan again with POST /-/plans, without what is done, or close")


def test_alike_steps_are_taken_in_document_order(bundle: Bundle) -> None:
    """Interchangeable: equal in operation and arguments."""
    alike = {"arguments": {"body": {"cluster": "eu"}}}
    run = follow(bundle, step("one", **alike), step("two", **alike))

    first = run.begin("m.query", query("eu"))
    second = run.begin("m.query", query("eu"))

    assert ("one", "two") == (first.step and first.step.step, second.step and second.step.step)


def test_different_steps_that_fit_must_be_named(bundle: Bundle) -> None:
    """Which it is, the agent says; the answer lists them and the header that does it."""
    free = step("any", arguments={})
    run = follow(bundle, step("eu"), free)

    refusal = refused(run.decide("m.query", query("eu")), "plan.step_ambiguous")

    assert ("eu", "any") == refusal.recovery.alternatives
    assert (
        "Say which step it is: send the call with `Toolgate-Step: eu` or `Toolgate-Step: any`." == refusal.recovery.hint
    )
    permit = run.decide("m.query", query("eu"), step="any")
    assert isinstance(permit, Permit)
    assert permit.step is not None
    assert "any" == permit.step.step


def test_a_named_step_is_that_one_or_nothing(bundle: Bundle) -> None:
    """Unknown, of another operation, or not fitting."""
    run = follow(bundle, step("eu"), step("us"), PUBLISH | {"dependsOn": ["eu"]})

    unknown = refused(run.decide("m.query", query("eu"), step="sumary"), "plan.unplanned")
    assert "the plan has no step `sumary`; did you mean `summary`?" == unknown.detail
    assert (
        "step `summary` calls `m.publish`, not `m.query`"
        == refused(run.decide("m.query", query("eu"), step="summary"), "plan.unplanned").detail
    )
    refused(run.decide("m.query", query("eu"), step="us"), "plan.arguments_changed")


def test_a_request_that_comes_again_is_no_step_that_says_something_else(bundle: Bundle) -> None:
    """That its arguments were found to be those of one step says nothing of the next; a number is one kind and no other."""
    following = follow(
        bundle,
        step("a", arguments={"body": {"cluster": "x"}}),
        step("again", arguments={"body": {"cluster": "x"}}),
        step("b", arguments={"body": {"cluster": "y"}}),
    )
    again = call(bundle, "m.query", {"body": {"cluster": "x"}})
    for named, expected in (("a", "a"), ("again", "again"), ("b", "plan.arguments_changed"), ("a", "a")):
        valid = again._replace(call=again.call._replace(step=named))
        decision = engine.decide(valid, following.facts, bundle)
        actual = decision.code.code if isinstance(decision, Refusal) else decision.step and decision.step.step
        assert expected == actual
    assert again.fitting is not None
    assert ((("body", b'{"cluster":"x"}'),)) == again.fitting.literals


def test_a_failed_step_is_tried_again_while_attempts_are_left(bundle: Bundle) -> None:
    """A read has three of them; then it failed, and so did what waits for it."""
    run = follow(bundle, EU, DETECT)
    for attempt in (1, 2, 3):
        permit = run.begin("m.query", query("eu"))
        assert permit.step is not None
        assert attempt == permit.step.attempt
        run.end(permit, "failed")

    refusal = refused(run.decide("m.query", query("eu")), "plan.attempts_exhausted")
    assert "step `eu` was sent 3 times, as often as it may be, and did not succeed" == refusal.detail
    assert "escalate" == refusal.recovery.action
    assert {"eu": "failed", "detect": "failed"} == cursor.states(run.plan, bundle)
    dependent = refused(run.decide("m.detect", SERIES), "plan.dependency_failed")
    assert ("step `detect` comes after `eu`, which failed", ("eu",)) == (
        dependent.detail,
        dependent.recovery.waiting_on,
    )


def test_what_was_surely_not_sent_costs_no_attempt(bundle: Bundle) -> None:
    """It may be called again as if nothing had been."""
    run = follow(bundle, step("s", "m.publish"))
    permit = run.begin("m.publish", TITLE)
    run.end(permit, None)
    run.accounts.balances.clear()

    assert isinstance(run.decide("m.publish", TITLE), Permit)


def test_an_unknown_outcome_is_not_sent_twice(bundle: Bundle) -> None:
    """Perhaps done and not idempotent: verify, then revise; nothing that waits for it goes on either."""
    run = follow(bundle, step("s", "m.publish"), step("after", "m.query", "s"))
    run.end(run.begin("m.publish", TITLE), "unknown")

    refusal = refused(run.decide("m.publish", TITLE), "plan.outcome_unknown")

    assert "whether step `s` was done is not known" == refusal.detail
    assert f"PUT /-/plans/{PLAN_ID}" in refusal.recovery.hint
    after = refused(run.decide("m.query", query("after")), "plan.outcome_unknown")
    assert ("s",) == after.recovery.waiting_on


def test_what_is_idempotent_may_be_tried_after_an_unknown_outcome(bundle: Bundle) -> None:
    """A POST that only reads, and a DELETE."""
    run = follow(bundle, EU, step("gone", "m.remove", arguments={"name": "a"}))
    run.end(run.begin("m.query", query("eu")), "unknown")
    run.end(run.begin("m.remove", {"name": "a"}), "unknown")

    assert ("eu", "gone") == cursor.ready(run.plan, bundle)


def test_a_plan_is_required_where_the_operator_says_so(bundle: Bundle) -> None:
    """By effect or operation; what is free never is, and reads go without."""
    demanding = with_rules(bundle, required_effects=frozenset({"write"}), required_operations=frozenset({"m.list"}))

    def decide(operation: str, **said: str) -> Permit | Refusal:
        return engine.decide(
            call(demanding, operation, TITLE if operation == "m.publish" else {}, **said), Facts(), demanding
        )

    assert (
        "`m.publish` may be called as a step of a locked plan only"
        == refused(decide("m.publish"), "plan.required").detail
    )
    refused(decide("m.list"), "plan.required")
    assert isinstance(decide("m.scale"), Permit)
    assert (
        "the call names the step `x`, and no plan is locked in this run"
        == refused(decide("m.scale", step="x"), "plan.required").detail
    )
    refused(decide("m.scale", plan="plan_x"), "plan.stale")
    assert cursor.is_required(demanding.catalog.operations["m.publish"], demanding.plans)
    assert not cursor.is_required(demanding.catalog.operations["m.scale"], demanding.plans)


def test_another_plan_a_former_digest_and_a_plan_whose_time_is_over(bundle: Bundle) -> None:
    """Named by id or digest, it must be the one that is locked now."""
    run = follow(bundle, EU)
    now = run.locked

    for named in (now.id, now.digest):
        assert isinstance(run.decide("m.query", query("eu"), plan=named), Permit)
    stale = refused(run.decide("m.query", query("eu"), plan="sha256:0"), "plan.stale")
    assert now.digest in stale.detail
    refused(run.decide("m.query", query("eu"), at_ms=now.expires_ms), "plan.expired")
    assert isinstance(run.decide("m.query", query("eu"), at_ms=now.expires_ms - 1), Permit)


def test_a_reload_that_changes_what_it_relies_on_makes_it_stale(bundle: Bundle, tmp_path: Path) -> None:
    """Another word in a statement on its operation does; one on another operation does not."""
    run = follow(bundle, EU)
    beside = '@id("x") forbid (principal, action == Action::"m.remove", resource);\n'
    on_it = (
        '@id("x") forbid (principal, action == Action::"m.query", resource) when { context.environment == "dev" };\n'
    )

    def after(name: str, statement: str) -> Permit | Refusal:
        root = project(tmp_path / name)
        (root / "policies" / "more.cedar").write_text(statement, encoding="utf-8")
        run.bundle = replace(loaded(root), plans=bundle.plans)
        return run.decide("m.query", query("eu"))

    assert isinstance(after("beside", beside), Permit)
    refused(after("on_it", on_it), "plan.stale")


def test_the_budget_of_a_step_is_reserved(bundle: Bundle) -> None:
    """All attempts together; used up, it is told as the step's own."""
    run = follow(bundle, step("d", "m.detect", arguments={}, budget={"usd": "0.015"}))

    permit = run.begin("m.detect", SERIES)
    assert Charge(f"s:{PLAN_ID}:d:usd", 10_000, 15_000) in permit.guards
    run.end(permit, "failed")

    refusal = run.decide("m.detect", SERIES)
    assert isinstance(refusal, Refusal)
    assert "budget.exhausted" == refusal.code.code
    assert "step `d` has 0.005 of its 0.015 usd left, and this call takes 0.01" == refusal.detail


def test_a_guard_that_another_replica_took_is_told_as_what_it_means(bundle: Bundle) -> None:
    """Running there, done there, or tried as often as it may be: never as a budget."""
    run = follow(bundle, EU)
    permit = run.decide("m.query", query("eu"))
    assert isinstance(permit, Permit)
    (turn,) = permit.guards

    def told() -> Refusal:
        return cursor.spent(permit, Short(turn, 0), run.facts, bundle)

    unheard = told()
    assert ("plan.step_not_ready", "eu") == (unheard.code.code, unheard.hold and unheard.hold.step)
    run.steps["eu"] = Attempted("running", 1)
    assert "plan.step_not_ready" == told().code.code
    run.steps["eu"] = Attempted("done", 1)
    assert "plan.step_done" == told().code.code
    run.steps["eu"] = Attempted("failed", 3)
    assert "plan.attempts_exhausted" == told().code.code


def test_a_call_that_means_two_operations_is_the_step_of_either(bundle: Bundle) -> None:
    """Keys that differ only by `#…`: one request, one step."""
    run = follow(bundle, EU)
    valid = call(bundle, "m.query", query("eu"))
    other: ValidCall = call(bundle, "m.list")
    permit = cursor.planned(Permit(other._replace(also=(valid,))), run.facts, bundle)

    assert isinstance(permit, Permit)
    assert permit.step is not None
    assert "eu" == permit.step.step


def test_without_rules_and_without_a_plan_nothing_is_asked(plain: Bundle) -> None:
    """The very permit comes back."""
    permit = Permit(call(plain, "m.publish", TITLE))

    assert permit is cursor.planned(permit, Facts(), plain)


def test_budgets_of_a_plan_and_of_each_step_cover_steps_only(bundle: Bundle) -> None:
    """The same step of another plan has its own; a call outside plans takes of neither."""
    each = Budget("each", ("step",), "calls", 2)
    whole = Budget("whole", ("plan", "run"), "usd", 1_000_000)
    at_once = Limit("at-once", ("plan",), Concurrency(2))
    priced = replace(bundle, budgets=Budgets((each, whole), (at_once,), environment="prod"))
    run = follow(priced, EU)

    step_of = run.decide("m.query", query("eu"))
    free = run.decide("m.list")

    assert isinstance(step_of, Permit)
    assert (
        Place(f"c:at-once:{PLAN_ID}", 2),
        Charge(f"b:each:calls:{PLAN_ID}/eu", 1, 2),
        Charge(f"b:whole:usd:{PLAN_ID},run_1", 2_000, 1_000_000),
    ) == step_of.guards[1:]
    assert isinstance(free, Permit)
    assert () == free.guards


def test_in_mode_audit_budgets_of_steps_are_counted_too(bundle: Bundle) -> None:
    """Nothing is refused, and what enforcing would take is seen beforehand."""
    each = Budget("each", ("step",), "calls", 2)
    priced = replace(bundle, budgets=Budgets((each,), (), environment="prod"), mode="audit")

    permit = follow(priced, EU).decide("m.query", query("eu"))

    assert isinstance(permit, Permit)
    assert [(f"b:each:calls:{PLAN_ID}/eu", 1)] == [(guard.key, guard.amount) for guard in permit.guards]


def test_many_equal_operations_are_found_by_what_they_say(bundle: Bundle) -> None:
    """Literals by look-up, constraints one by one; the answer is in document order."""
    some = [step(f"s{at}") for at in range(40)]
    loose = step("loose", arguments={"body": {"cluster": {"$constraint": {"pattern": "^s3"}}}})
    run = follow(bundle, *some, loose)

    permit = run.decide("m.query", query("s20"))
    assert isinstance(permit, Permit)
    assert permit.step is not None
    assert "s20" == permit.step.step
    assert ("s30", "loose") == refused(run.decide("m.query", query("s30")), "plan.step_ambiguous").recovery.alternatives
