"""Plans, whatever order calls come and end in, by whichever replica they come, and however often they are repeated.

RULE: the model knows what is done and nothing of how the gate finds that out.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.plans import (
    ANN,
    KEY,
    NOW_MS,
    PLAN_ID,
    Following,
    call,
    loaded,
    locked,
    project,
    proposal,
    step,
    with_rules,
)

from toolgate.core import engine
from toolgate.core.bundle import Bundle
from toolgate.core.codes import CODES
from toolgate.core.model import (
    Completed,
    Decision,
    Facts,
    Failed,
    Outcome,
    Permit,
    Recovery,
    Refusal,
    Reply,
    Sent,
    ValidCall,
)
from toolgate.core.plan import Attempted, LockedPlan, Plan, PlanFacts
from toolgate.core.planform import digest_of, document_of, read
from toolgate.core.planning import PROBLEMS, lock, validated
from toolgate.core.revision import narrows

MOST = 5


@cache
def bundle() -> Bundle:
    return with_rules(loaded(project(Path(tempfile.mkdtemp()))), required_effects=frozenset({"write"}))


def _arguments(operation: str, kind: int) -> dict[str, Any]:
    return {"body": {"cluster": str(kind)}} if operation == "m.query" else {"body": {"title": str(kind)}}


@dataclass(frozen=True)
class Shape:
    """One step of a random plan: few kinds, so that some are alike."""

    operation: str
    kind: int
    attempts: int
    after: frozenset[int]  # of those before it


@st.composite
def shapes(draw: st.DrawFn) -> list[Shape]:
    found = []
    for at in range(draw(st.integers(1, MOST))):
        earlier = st.frozensets(st.integers(0, at - 1), max_size=2) if at else st.just(frozenset())
        found.append(
            Shape(
                draw(st.sampled_from(["m.query", "m.publish"])),
                draw(st.integers(0, 1)),
                draw(st.integers(1, 3)),
                draw(earlier),
            )
        )
    return found


def document(of: list[Shape], order: list[int]) -> list[dict[str, Any]]:
    """The steps, written in some order: that of the document says nothing of who waits for whom."""
    steps = [
        step(
            f"s{at}",
            each.operation,
            *(f"s{need}" for need in sorted(each.after)),
            arguments=_arguments(each.operation, each.kind),
            attempts=each.attempts,
        )
        for at, each in enumerate(of)
    ]
    return [steps[at] for at in order]


Ended = tuple[Outcome, Sent, str | None]
_OFF = CODES["upstream.broken"]
OUTCOMES: dict[str, Ended] = {
    "done": (Completed(Reply(200, (), b"")), "yes", "done"),
    "failed": (Completed(Reply(500, (), b"")), "yes", "failed"),
    "unknown": (Failed(_OFF, "cut", Recovery("retry", "x"), "unknown"), "unknown", "unknown"),
    "unsent": (Failed(_OFF, "cut", Recovery("retry", "x"), "no"), "no", None),
}


class Followed(RuleBasedStateMachine):
    """Calls of a run with a plan: they begin and end in any order, and come to a replica that knows all or nothing."""

    @initialize(of=shapes(), data=st.data())
    def lock(self, of: list[Shape], data: st.DataObject) -> None:
        self.shapes = of
        order = data.draw(st.permutations(range(len(of))))
        self.run = Following(bundle(), locked(bundle(), *document(of, order)))
        self.order = order
        self.open: list[Permit] = []
        self.done: list[int] = []  # in the order of their first success
        self.tried = [0] * len(of)  # that were sent, or may have been
        self.doubtful: set[int] = set()

    @rule(at=st.integers(0, MOST - 1), is_named=st.booleans(), knows=st.booleans())
    def begin(self, at: int, *, is_named: bool, knows: bool) -> None:
        if at >= len(self.shapes):
            return
        shape = self.shapes[at]
        said = {"step": f"s{at}"} if is_named else {}
        facts = self.run.facts
        if not knows:  # another replica: it shares the guards, and has heard of nothing
            facts = facts._replace(plan=PlanFacts(self.run.locked, {}, KEY))
        valid = call(bundle(), shape.operation, _arguments(shape.operation, shape.kind), **said)
        decision = engine.decide(valid, facts, bundle())
        self._assert_read_enough(valid, facts, decision)
        alike = [other for other in self.order if self._is_alike(other, at)]
        fitting = [at] if is_named else alike
        possible = [each for each in fitting if self._may_begin(each)]
        if isinstance(decision, Refusal):
            assert decision.stage == "plan"
            assert not (knows and possible), "what a linear extension allows was refused"
            self._assert_true(decision)
            return
        assert decision.step is not None
        taken = int(decision.step.step[1:])
        assert taken in possible, "what no linear extension allows was permitted"
        assert not knows or taken == possible[0], "equal steps are taken in document order"
        assert self.run.accounts.take(decision.guards, NOW_MS) is None
        self.open.append(decision)
        before = self.run.steps.get(decision.step.step, Attempted())
        self.run.steps[decision.step.step] = Attempted("running", before.attempts + 1)

    def _assert_read_enough(self, valid: ValidCall, facts: Facts, decision: Decision) -> None:
        """What a decision says that it read of the plan is all it takes to decide the same again."""
        assert decision.read is not None
        told = decision.read["plan"]
        steps = {name: Attempted(state, told["attempts"].get(name, 1)) for name, state in told["steps"].items()}
        again = engine.decide(valid, facts._replace(plan=PlanFacts(self.run.locked, steps, KEY)), bundle())
        if isinstance(decision, Permit):
            assert isinstance(again, Permit)
            assert decision.step == again.step
        else:
            assert isinstance(again, Refusal)
            assert (decision.code, decision.detail, decision.recovery) == (again.code, again.detail, again.recovery)

    @precondition(lambda self: getattr(self, "open", None))
    @rule(which=st.integers(0, MOST), how=st.sampled_from(sorted(OUTCOMES)))
    def end(self, which: int, how: str) -> None:
        permit = self.open.pop(which % len(self.open))
        outcome, sent, state = OUTCOMES[how]
        reply = outcome.reply if isinstance(outcome, Completed) else None
        settled = engine.settlement(permit, sent, engine.billed(permit, sent, reply), 0)
        self.run.accounts.settle(settled)
        assert permit.step is not None
        name = permit.step.step
        at, running = int(name[1:]), self.run.steps[name]
        if state is None:
            left = running.attempts - 1
            self.run.steps[name] = Attempted("failed" if left else None, left)
            return
        self.tried[at] += 1
        self.run.steps[name] = Attempted(state, running.attempts)  # type: ignore[arg-type]
        if state == "done":
            assert at not in self.done
            self.done.append(at)
        if state == "unknown" and self.shapes[at].operation == "m.publish":
            self.doubtful.add(at)

    @invariant()
    def successes_are_a_prefix_of_a_linear_extension(self) -> None:
        for position, at in enumerate(getattr(self, "done", ())):
            assert self.shapes[at].after <= set(self.done[:position])

    @invariant()
    def a_step_is_sent_so_often_as_it_may_be_and_once_at_a_time(self) -> None:
        running = [permit.step.step for permit in getattr(self, "open", ()) if permit.step]
        assert len(running) == len(set(running))
        for at, each in enumerate(getattr(self, "shapes", ())):
            assert self.tried[at] <= each.attempts

    def _is_alike(self, other: int, at: int) -> bool:
        one, two = self.shapes[other], self.shapes[at]
        return (one.operation, one.kind) == (two.operation, two.kind)

    def _may_begin(self, at: int) -> bool:
        is_running = any(permit.step and permit.step.step == f"s{at}" for permit in self.open)
        is_over = at in self.done or at in self.doubtful or self.tried[at] >= self.shapes[at].attempts
        return not is_running and not is_over and self.shapes[at].after <= set(self.done)

    def _assert_true(self, refusal: Refusal) -> None:
        """Whoever follows the answer gets on."""
        for name in refusal.recovery.alternatives:
            assert name in {f"s{at}" for at in range(len(self.shapes))}
        assert refusal.recovery.hint


Followed.TestCase.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestFollowed = Followed.TestCase


def test_an_agent_that_only_follows_hints_finishes() -> None:
    """It calls anything, and from then on what the answers say: the plan is done, each step once."""
    of = [
        Shape("m.query", 0, 1, frozenset()),
        Shape("m.publish", 0, 1, frozenset({0})),
        Shape("m.publish", 1, 1, frozenset({1})),
    ]
    run = Following(bundle(), locked(bundle(), *document(of, [2, 0, 1])))
    at, calls = 2, 0
    while len([each for each in run.steps.values() if each.state == "done"]) < len(of):
        calls += 1
        assert calls < 10
        decision = run.decide(of[at].operation, _arguments(of[at].operation, of[at].kind), step=f"s{at}")
        if isinstance(decision, Permit):
            run.end(run.begin(of[at].operation, _arguments(of[at].operation, of[at].kind), step=f"s{at}"))
            continue
        at = int(decision.recovery.alternatives[0][1:])


def _reached(plan: LockedPlan, calls: list[tuple[str, dict[str, Any], str]]) -> list[str]:
    """The calls, by step, that are let through one after the other, each with success."""
    run, reached = Following(bundle(), plan), []
    for operation, arguments, named in calls:
        if isinstance(run.decide(operation, arguments, step=named), Permit):
            run.end(run.begin(operation, arguments, step=named))
            reached.append(named)
        else:
            return reached
    return reached


@settings(max_examples=120, deadline=None)
@given(shapes(), st.data())
def test_a_narrower_plan_lets_nothing_more_through(of: list[Shape], data: st.DataObject) -> None:
    """Whatever is called in whatever order: if the revision is free, the former plan would have let it through too."""
    steps = document(of, list(range(len(of))))
    old = locked(bundle(), *steps)
    changed = [dict(each) for each in steps if data.draw(st.integers(0, 5))]
    kept = {each["stepId"] for each in changed}
    for each in changed:
        each["dependsOn"] = [
            need for need in each.get("dependsOn", []) if need in kept and data.draw(st.integers(0, 5))
        ]
        if data.draw(st.integers(0, 3)) == 0:
            each["arguments"] = data.draw(st.sampled_from([{}, _arguments(each["operationId"], 1)]))
    new = validated(proposal(*changed), ANN, bundle()) if changed else ()
    if not isinstance(new, Plan) or not narrows(old.plan, new, PlanFacts(old, {}, KEY), bundle()):
        return
    revised = replace(old, plan=new, digest=digest_of(new, "r", "prod"))
    called = data.draw(st.lists(st.tuples(st.integers(0, len(of) - 1), st.integers(0, 1)), max_size=6))
    calls = [(of[at].operation, _arguments(of[at].operation, kind), f"s{at}") for at, kind in called]
    through = _reached(revised, calls)
    assert through == _reached(old, calls)[: len(through)]


@settings(max_examples=150, deadline=None)
@given(shapes(), shapes(), st.sampled_from(["r", "s"]), st.sampled_from(["prod", "dev"]))
def test_a_digest_changes_exactly_when_anything_does(
    one: list[Shape], two: list[Shape], revision: str, environment: str
) -> None:
    """Plan, revision and environment; and a plan is read again as it was written."""
    first, second = (
        locked(bundle(), *document(each, list(range(len(each)))), plan_id=PLAN_ID).plan for each in (one, two)
    )

    same = (first, "r", "prod") == (second, revision, environment)
    assert same == (digest_of(first, "r", "prod") == digest_of(second, revision, environment))
    assert first == read(document_of(first))


_ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["s0", "$steps.s0.outputs.x", "m.query", "$constraint", "$literal", "$ref", "-1", "9" * 5_000]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["$constraint", "$literal", "body", "stepId"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for name, each in inner for place in _places(each, (*at, name)))]


def _with(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = _with(value[at[0]], at[1:], new)
    return copy


@settings(max_examples=400, deadline=None)
@given(shapes(), st.data())
def test_any_document_has_a_typed_answer(of: list[Shape], data: st.DataObject) -> None:
    """A plan that can be followed, or violations with a place, a code and a hint; never anything else."""
    proposed = proposal(*document(of, list(range(len(of)))))
    for _ in range(data.draw(st.integers(1, 3))):
        proposed = _with(proposed, data.draw(st.sampled_from(_places(proposed))), data.draw(_ANYTHING))
    found = validated(proposed, ANN, bundle())
    if isinstance(found, Plan):
        assert found == read(document_of(found))
        run = Following(bundle(), lock(found, bundle(), plan_id=PLAN_ID, principal="ann", run="run_1", at_ms=NOW_MS))
        assert run.decide("m.query", _arguments("m.query", 0))
        return
    assert found
    for each in found:
        assert each.code in PROBLEMS
        assert each.hint
        assert "\n" not in each.message
