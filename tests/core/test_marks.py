"""Marks: what a ruling is remembered by. Equal marks must mean that the statements are told the same."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.statements import DIGEST, operation, policies, question, statements

from toolgate.core.actions import arguments_kind
from toolgate.core.conversion import Untold
from toolgate.core.kinds import Field, Fields
from toolgate.core.marks import weight_of
from toolgate.core.model import Principal, Resource, RunFacts
from toolgate.core.policy import Question
from toolgate.core.projection import Projection
from toolgate.core.reads import reads
from toolgate.core.recent import Recent

BODY = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer"},
        "amount": {"type": "number"},
        "force": {"type": "boolean"},
        "page": {"type": "object", "additionalProperties": False, "properties": {"size": {"type": "integer"}}},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
QUERY = operation("metrics.query", "read", {"body": BODY})
SHAPES = {"Metric": Fields({"tier": Field("text", required=True)})}
CONDITIONS = (
    'context.args.body.name == "x"',
    "context.args.body.count == 1",
    'context.args.body.amount == decimal("1.0")',
    "context.args.body.force",
    "context.args.body has name",
    "context.args.body.page.size == 1",
    "context.args.body.page == {}",
    'context.args.body.tags.contains("x")',
    "context.args has body && context.args.body.count == 1 && context.args.body has force",
    'context.derived.count["/body/tags"] == 1',
    'context.nulls.contains("/body/name")',
    "context.run.calls == 1 && context.run.refusals == 1 && context.run.age_s == 1",
    'context.run.completed.contains("metrics.list")',
    'context.run.completed == ["metrics.list"]',
    'context.run.by_operation["metrics.list"] == 1 && context.run.by_operation["metrics.query"] == 1',
    'context.run.spent["usd"].lessThan(decimal("1.0"))',
    'context.environment == "prod"',
    'context.now > datetime("2026-01-01")',
    "context has on_behalf_of",
    'principal.hasTag("team") && principal == Agent::"digest"',
    'resource is Metric && resource == Metric::"cpu" && resource.tier == "low"',
)
VALUES: tuple[Any, ...] = (
    None, "1", "", 1, 1.0, True, 0, 0.0, -0.0, False, 2**63, 0.00001, float("nan"), [], ["x"], ["x", "x"], [1], {},
    {"size": 1}, {"size": 1.0}, {"size": True}, {"size": None}, {"__extn": {}}, "\ud800",
)  # fmt: skip
FEW = st.integers(0, 1)
KEYS = ("metrics.list", "metrics.query")
BODIES = st.dictionaries(st.sampled_from([*BODY["properties"], "odd", "__entity"]), st.sampled_from(VALUES), max_size=3)
RUNS = st.builds(
    RunFacts,
    calls=FEW,
    refusals=FEW,
    age_s=FEW,
    completed=st.frozensets(st.sampled_from(KEYS)),
    by_operation=st.dictionaries(st.sampled_from(KEYS), FEW),
    spent=st.dictionaries(st.just("usd"), st.sampled_from((0, 1, 100, 101))),
)
CALLERS = st.sampled_from(
    (DIGEST, Principal("eve"), Principal("eve", (), {"team": "sre"}), Principal("eve", (), {"team": 1}, "corp/ann"))  # type: ignore[dict-item]
)
ABOUT = st.sampled_from(
    (Resource("Metric", "cpu", {"tier": "low"}), Resource("Metric", "cpu", {"tier": 1}), Resource("Tool", "metrics"))
)
ASKED = st.builds(
    Question,
    CALLERS,
    st.just(QUERY),
    ABOUT,
    st.sampled_from(("prod", "dev")),
    st.one_of(st.fixed_dictionaries({"body": BODIES}), st.fixed_dictionaries({"body": st.sampled_from(VALUES)})),
    RUNS,
    FEW,
)


T = TypeVar("T", bound=Hashable)


def projection(condition: str) -> Projection:
    (statement,) = statements(f"forbid (principal, action, resource) when {{ {condition} }};")
    return Projection(reads(statement.template), QUERY, lambda: arguments_kind(QUERY, {}), SHAPES, Recent(1 << 20))


def found(of: Callable[[Question], T], asked: Question) -> T | None:
    """What is answered; None where it cannot be told."""
    try:
        return of(asked)
    except Untold:
        return None


@pytest.mark.parametrize("condition", CONDITIONS)
@given(st.lists(ASKED, min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_equal_marks_mean_that_the_same_is_told(condition: str, asked: list[Question]) -> None:
    """SECURITY: else one call would get the ruling of another. `1`, `1.0` and `true` are equal only to Python."""
    told_by = projection(condition)
    told: dict[Hashable, Hashable] = {}
    for each in asked:
        mark, said = found(told_by.mark, each), found(told_by.tell, each)
        assert told.setdefault(mark, said) == said
        assert mark is not None or said is None
        if mark is not None:
            assert said == found(partial(told_by.tell_marked, marks=mark), each)


@given(st.lists(ASKED, min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_is_remembered_is_what_would_be_ruled(asked: list[Question]) -> None:
    """Rulings with a memory are those of statements that see each call for the first time."""
    text = '@id("all") permit (principal, action, resource);\n' + "".join(
        f'@id("no-{at}") forbid (principal, action, resource) when {{ context.args has body && {condition} }};\n'
        for at, condition in enumerate(("context.args.body has count && context.args.body.count == 1", CONDITIONS[13]))
    )
    ruled = policies(text, (QUERY,), {})
    assert [policies(text, (QUERY,), {}).ruled(each) for each in asked] == [ruled.ruled(each) for each in asked]


def test_a_mark_costs_no_more_than_it_must() -> None:
    """What is not read of a call makes no difference to it, and texts, numbers and counts are not encoded."""
    told_by = projection('context.args.body.name == "x" && context.run.by_operation["metrics.list"] > 5')
    one = question(QUERY, {"body": {"name": "x", "count": 1}}, run=RunFacts(calls=1))
    other = question(QUERY, {"body": {"name": "x", "count": 2}}, run=RunFacts(calls=2), now_ms=1)

    assert told_by.mark(one) == told_by.mark(other)
    assert not any(isinstance(each, bytes) and each for each in told_by.mark(one))


def test_a_mark_takes_no_more_than_it_is_weighed() -> None:
    """SECURITY: lists are told by their bytes, which orjson leaves in up to sixty times their length."""
    told_by = projection('context.args.body.tags.contains("x")')
    asked = [question(QUERY, {"body": {"tags": [f"{number}-{each}" for each in range(50)]}}) for number in range(100)]
    tracemalloc.start()
    marks = [told_by.mark(each) for each in asked]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken < 2 * sum(weight_of(mark) + 500 for mark in marks)


def test_a_run_that_completed_much_weighs_as_much() -> None:
    """SECURITY: each completion makes another set, and a statement may read it whole."""
    told_by = projection('context.run.completed == ["metrics.list"]')
    completed = [f"metrics.{number}" for number in range(1000)]
    tracemalloc.start()
    run = RunFacts(completed=frozenset(completed))
    mark, said = told_by.mark(question(QUERY, run=run)), sorted(run.completed)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(said) == 1000
    assert taken < weight_of(mark) + 1600
