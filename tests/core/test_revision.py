"""What a revision costs: narrowing is free, and lets nothing through that the former plan would not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.plans import KEY, loaded, locked, planned, project, step, with_rules

from toolgate.core.bundle import Bundle
from toolgate.core.mask import MaskKey
from toolgate.core.pinned import Pin, fits, narrows, pin
from toolgate.core.plan import Attempted, Ordering, PlanFacts
from toolgate.core.revision import narrows as plan_narrows
from toolgate.core.revision import widened
from toolgate.load.constraints import Constraints

BODY = {"cluster": "eu", "metric": "cpu"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return loaded(project(tmp_path_factory.mktemp("plans")))


OLD = (
    step("a", arguments={"body": {"cluster": {"$constraint": {"enum": ["eu", "us"]}}}}, timeout=500, budget={"usd": 1}),
    step("b", "m.publish", "a", outputs={"id": "$response.body#/id"}),
    step("c", "m.scale"),
)


def reasons(bundle: Bundle, *new: Any, steps: dict[str, Attempted] | None = None) -> tuple[str, ...]:
    old = locked(bundle, *OLD)
    facts = PlanFacts(old, steps or {}, KEY)
    revised = planned(bundle, *new)
    found = widened(old.plan, revised, facts, bundle)
    assert (not found) == plan_narrows(old.plan, revised, facts, bundle)
    return found


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        OLD[:2],
        OLD[:1],
        (OLD[0] | {"arguments": {"body": {"cluster": "eu"}}}, *OLD[1:]),
        (OLD[0] | {"timeout": 400, "attempts": 1, "budget": {"usd": "0.5"}}, *OLD[1:]),
        (OLD[0], OLD[1] | {"arguments": {"body": {"title": "t"}}}, OLD[2]),
        (*OLD[:2], OLD[2] | {"dependsOn": ["a"]}),
        (*OLD[:2], OLD[2] | {"budget": {"bytes": 100}, "outputs": {"x": "$response.body"}}),
    ],
)
def test_less_is_free(bundle: Bundle, new: Any) -> None:
    """Fewer steps at the end, narrower values, more to wait for, less time, money and attempts."""
    assert () == reasons(bundle, *new)


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ((*OLD, step("d")), "step `d` is new"),
        ((OLD[0] | {"operationId": "m.list", "arguments": {}, "timeout": 1, "budget": {}}, *OLD[1:]), "step `a` calls `m.list`, not `m.query`"),
        ((OLD[0], OLD[1] | {"dependsOn": []}), "step `b` no longer waits for `a`"),
        ((OLD[0] | {"arguments": {}},), "`/body` of step `a` is free now"),
        ((OLD[0] | {"arguments": {"body": {"cluster": "asia"}}},), "`/body` of step `a` is another value now"),
        ((OLD[0] | {"timeout": 501},), "step `a` may take longer"),
        ((OLD[0] | {"attempts": 4},), "step `a` may be tried more often"),
        ((OLD[0] | {"budget": {"usd": 2}},), "step `a` may cost more usd"),
        ((OLD[0] | {"budget": {}},), "step `a` may cost more usd"),
        ((OLD[0], OLD[1] | {"outputs": {}}), "the output `id` of step `b` is another one now"),
    ],
)  # fmt: skip
def test_more_is_counted(bundle: Bundle, new: Any, reason: str) -> None:
    """Each thing that the new plan has more is told in a sentence."""
    assert (reason,) == reasons(bundle, *new)


def test_dropping_a_step_that_matters_is_not_free(bundle: Bundle) -> None:
    """Neither one that a kept step waited for, nor one that was sent, nor one the operator names."""
    without_a = OLD[1] | {"dependsOn": []}

    assert ("step `b` no longer waits for `a`", "step `a` is dropped, and `b` waited for it") == reasons(
        bundle, without_a, OLD[2]
    )
    assert ("step `c` is dropped, and was sent already",) == reasons(
        bundle, *OLD[:2], steps={"c": Attempted("failed", 1)}
    )
    required = with_rules(bundle, require=frozenset({"m.scale"}))
    assert ("step `c` is dropped, and `m.scale` is required",) == reasons(required, *OLD[:2])
    ordered = with_rules(bundle, order=(Ordering("m.list", frozenset({"m.scale"})),))
    assert ("step `c` is dropped, and `m.scale` stands in an order that is asked for",) == reasons(ordered, *OLD[:2])


_COMPILED = Constraints().compiled
_LEAVES = st.sampled_from([1, 1.0, True, None, "x", "$steps.a.outputs.o", "$steps.a.outputs.p"])
_SCHEMAS = st.sampled_from([{}, {"type": "integer"}, {"type": "number", "minimum": 1}, {"enum": ["x", None]}])
_PINS = st.recursive(
    _LEAVES | st.builds(lambda schema: {"$constraint": schema}, _SCHEMAS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
).map(lambda written: pin(written, _COMPILED))
_VALUES = st.recursive(
    st.sampled_from([1, 1.0, 2, True, None, "x", "y"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


class Answered(NamedTuple):
    """What steps answered."""

    steps: Mapping[str, Attempted]
    key: MaskKey


_ANSWERS = Answered({"a": Attempted("done", 1, {})}, KEY)


@settings(max_examples=300)
@given(_PINS, _PINS, _VALUES)
def test_a_narrower_value_lets_nothing_more_through(old: Pin, new: Pin, value: Any) -> None:
    """What fits the new fits the old."""
    if narrows(old, new) and fits(new, value, _ANSWERS):
        assert fits(old, value, _ANSWERS)


@settings(max_examples=300)
@given(_PINS, _PINS, _PINS)
def test_narrower_is_an_order(first: Pin, second: Pin, third: Pin) -> None:
    """Reflexive, transitive, and in both directions only between what is the same."""
    assert narrows(first, first)
    if narrows(first, second) and narrows(second, third):
        assert narrows(first, third)
    if narrows(first, second) and narrows(second, first):
        assert _parts(first) == _parts(second)


def _parts(pinned: Pin) -> Any:
    """What a pin says, however its parts are held."""
    match pinned:
        case _ if hasattr(pinned, "members"):
            return {name: _parts(each) for name, each in pinned.members.items()}
        case _ if hasattr(pinned, "elements"):
            return [_parts(each) for each in pinned.elements]
        case _ if hasattr(pinned, "written") and isinstance(pinned.value, dict | list):
            return _parts_of_literal(pinned.value)
        case _ if hasattr(pinned, "schema"):
            return ("constraint", repr(pinned.schema))
        case _ if hasattr(pinned, "written"):
            return ("literal", pinned.written)
        case _:
            return ("expression", pinned)


def _parts_of_literal(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _parts_of_literal(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_parts_of_literal(each) for each in value]
    return _parts(pin({"$literal": value}, _COMPILED))
