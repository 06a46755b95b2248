"""`facts.plan` of a case: the plan that its run has locked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.plans import loaded, project, with_rules

from toolgate.core.bundle import Bundle
from toolgate.core.model import Principal
from toolgate.testing.cases import read_suite
from toolgate.testing.running import Result, Served, Setting, code_of, run

Decide = Callable[[str], list[Result]]
CALL = "call: {operation: m.query, arguments: {body: {cluster: a}}, principal: {id: ann, roles: [digest]}}"
STEPS = "steps: [{stepId: a, operationId: m.query}, {stepId: b, operationId: m.query, dependsOn: [a]}]"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return with_rules(loaded(project(tmp_path)), required_operations=frozenset({"m.query"}), free=frozenset({"m.list"}))


@pytest.fixture
def decide(tmp_path: Path, bundle: Bundle) -> Decide:
    """Decide a case of these facts and this call, and whatever it wants."""

    def decided(text: str) -> list[Result]:
        path = tmp_path / "cases.yaml"
        path.write_text(f"- {{note: n, {text}}}\n")
        setting = Setting({"prod": Served.of(bundle)}, "prod", Principal("anonymous"))
        return list(run(read_suite([path], tmp_path), setting, lambda: 0.0))

    return decided


def codes(results: list[Result]) -> list[str]:
    return [code_of(each.decision) for each in results]


def test_a_case_without_a_plan_is_told_how_to_have_one(decide: Decide) -> None:
    """Whoever turns `required_for` on finds out from the failed cases what to write."""
    (failed,) = decide(f"{CALL}, want: {{permit: true}}")

    assert code_of(failed.decision) == "plan.required"
    assert "under `facts.plan`" in failed.reasons[0]
    assert codes(decide(f"{CALL}, facts: {{plan: {{}}}}, want: {{permit: true}}")) == ["permit"]


def test_what_can_be_no_step_needs_no_plan(decide: Decide) -> None:
    """A plan of this call alone is none where the call is free, unknown or does not fit."""
    free = CALL.replace("m.query", "m.list").replace("{body: {cluster: a}}", "{}")
    wrong = CALL.replace("cluster", "claster")

    assert codes(decide(f"{free}, facts: {{plan: {{}}}}, want: {{permit: true}}")) == ["permit"]
    assert codes(decide(f"{wrong}, facts: {{plan: {{}}}}, want: {{permit: false}}")) == ["arguments.invalid"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("", "permit"),
        ("done: [a]", "permit"),
        ("running: [a]", "plan.step_not_ready"),
        ("failed: [a]", "plan.attempts_exhausted"),
        ("failed: [a], attempts: {a: 2}", "permit"),
        ("unknown: [a]", "permit"),
        ("done: [a, b]", "plan.step_done"),
        ("age_s: 3600", "plan.expired"),
        ("stale: true", "plan.stale"),
    ],
)
def test_how_far_the_run_has_come_is_what_the_case_says(decide: Decide, said: str, code: str) -> None:
    """Steps are in the states that are named; the others were never sent."""
    plan = f"{{{STEPS}, {said}}}" if said else f"{{{STEPS}}}"

    assert codes(decide(f"{CALL}, facts: {{plan: {plan}}}, want: {{permit: true}}")) == [code]


def test_a_plan_that_would_not_be_locked_decides_the_case(decide: Decide) -> None:
    """A case is not decided by a plan that no gate would take."""
    results = decide(
        f"{CALL}, facts: {{plan: {{steps: [{{stepId: a, operationId: m.nothing}}]}}}}, want: {{permit: true}}"
    )

    assert codes(results) == ["plan.rejected"]


def test_a_call_names_its_step(decide: Decide) -> None:
    """`call.plan` and `call.step` are what the headers say."""
    named = CALL.replace("principal:", "step: b, principal:")
    other = CALL.replace("principal:", "plan: plan_other, principal:")
    facts = f"facts: {{plan: {{{STEPS}}}}}, want: {{permit: true}}"

    assert codes(decide(f"{named}, {facts}")) == ["plan.out_of_order"]
    assert codes(decide(f"{other}, {facts}")) == ["plan.stale"]


def test_a_case_is_decided_by_the_bundle_it_is_asked_of(decide: Decide) -> None:
    """Nothing of a case's plan stays in the bundle."""
    decide(f"{CALL}, facts: {{plan: {{{STEPS}, stale: true}}}}, want: {{permit: false}}")

    assert codes(decide(f"{CALL}, facts: {{plan: {{{STEPS}}}}}, want: {{permit: true}}")) == ["permit"]
