"""Secrets and plans: none stands in a plan, and nothing in it is told by a constraint."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.plans import (
    EU,
    only,
    planned,
    step,
    wrong,
)

from toolgate.core.bundle import Bundle
from toolgate.core.model import Json


def test_a_secret_does_not_stand_in_a_plan(bundle: Bundle) -> None:
    """What the schema masks is left out, bound, or any value; nothing of it is echoed."""

    def with_key(key: Json) -> dict[str, Any]:
        body = {"title": "t", "key": key}
        return step("p", "m.publish", "eu", arguments={"body": body})

    path, code, message = only(bundle, EU, with_key("hunter2"))
    assert ("/steps/1/arguments/body/key", "plan.secret") == (path, code)
    assert "hunter2" not in message
    assert "plan.secret" == only(bundle, EU, with_key({"$constraint": {"const": "hunter2"}}))[1]
    for told in ({"$constraint": {}}, "$steps.eu.outputs.series"):
        assert 2 == len(planned(bundle, EU, with_key(told)).steps)


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [{"title": "t", "key": "hunter2"}]},
        {"const": {"title": "t", "key": "hunter2"}},
        {"properties": {"key": {"pattern": "^hunter2$"}}},
        {"properties": {"key": {"type": "string"}}},
        {"additionalProperties": {"enum": ["hunter2"]}},
        {"anyOf": [{"properties": {"key": {"const": "hunter2"}}}]},
        {"default": {"key": "hunter2"}},
        {"description": "key: hunter2"},
    ],
)
def test_a_constraint_around_a_secret_tells_nothing_of_it(bundle: Bundle, schema: Json) -> None:
    """Whatever holds a secret is constrained in its other parts only; nothing of the schema is echoed."""
    found = wrong(bundle, step("p", "m.publish", arguments={"body": {"$constraint": schema}}))

    assert {"plan.secret"} <= {each.code for each in found}
    assert [] == [each for each in found if "hunter2" in each.message]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "required": ["title", "key"], "properties": {"title": {"const": "t"}}},
        {"properties": {"title": {"pattern": "^t"}, "key": {}}, "additionalProperties": False},
    ],
)
def test_what_stands_beside_a_secret_may_be_constrained(bundle: Bundle, schema: Json) -> None:
    """The shape of what holds it, and the other parts."""
    assert planned(bundle, step("p", "m.publish", arguments={"body": {"$constraint": schema}}))
