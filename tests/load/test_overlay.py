"""OpenAPI Overlays: what the specification says, and a problem wherever an action would silently miss."""

from __future__ import annotations

import copy

import pytest

from toolgate.load.overlay import apply_overlay

DOCUMENT = {
    "info": {"title": "T", "contact": {"name": "N"}},
    "tags": ["a"],
    "paths": {
        "/a": {"get": {"operationId": "getA", "parameters": [{"name": "x"}, {"name": "y"}, {"name": "z"}]}},
        "/b": {"get": {"operationId": "getB"}, "delete": {"operationId": "deleteB", "deprecated": True}},
    },
}


def applied(*actions: dict[str, object], version: str = "1.1.0") -> tuple[dict[str, object], list[str]]:
    document = copy.deepcopy(DOCUMENT)
    problems = apply_overlay(document, {"overlay": version, "info": {}, "actions": list(actions)}, "o.yaml")
    return document, [each.message for each in problems]


def test_objects_are_merged_lists_joined_and_values_replaced() -> None:
    """Update: recursively, at every node the target selects."""
    document, problems = applied(
        {"target": "$.paths[*][*]", "update": {"x-toolgate-effect": "read"}},
        {
            "target": "$",
            "update": {"info": {"title": "U", "contact": {"url": "u"}}, "tags": ["b"], "components": {"a": 1}},
        },
        {"target": "$.tags", "update": "c"},
        {"target": "$.info.contact.name", "update": "M"},
    )
    assert [] == problems
    assert {"title": "U", "contact": {"name": "M", "url": "u"}} == document["info"]
    assert ["a", "b", "c"] == document["tags"]
    paths = document["paths"]
    assert isinstance(paths, dict)
    assert {"read"} == {each["x-toolgate-effect"] for item in paths.values() for each in item.values()}


def test_an_update_is_not_shared_between_targets() -> None:
    """Two nodes that get the same update stay two."""
    document, _ = applied(
        {"target": "$.paths[*].get", "update": {"x": {"n": [1]}}}, {"target": "$.paths['/a'].get.x.n", "update": 2}
    )
    assert [[1, 2], [1]] == [document["paths"][key]["get"]["x"]["n"] for key in ("/a", "/b")]  # type: ignore[index]


def test_filters_find_operations_by_what_they_say() -> None:
    """RFC 9535 filters, also several elements of one list removed at once."""
    document, problems = applied(
        {"target": "$.paths[*][?@.operationId=='deleteB']", "update": {"x-toolgate-effect": "destructive"}},
        {"target": "$.paths['/a'].get.parameters[?@.name!='y']", "remove": True},
    )
    assert [] == problems
    assert "destructive" == document["paths"]["/b"]["delete"]["x-toolgate-effect"]  # type: ignore[index]
    assert [{"name": "y"}] == document["paths"]["/a"]["get"]["parameters"]  # type: ignore[index]


def test_copy_then_remove_is_a_move() -> None:
    """Overlay 1.1's copy, as its specification's own example uses it."""
    document, problems = applied(
        {"target": "$.paths", "update": {"/new": {}}},
        {"target": "$.paths['/new']", "copy": "$.paths['/b']"},
        {"target": "$.paths['/b']", "remove": True},
    )
    assert [] == problems
    assert DOCUMENT["paths"]["/b"] == document["paths"]["/new"]  # type: ignore[index]
    assert ["/a", "/new"] == sorted(document["paths"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "action",
    [
        {"target": "$.paths['/nope']", "update": {}},
        {"target": "$.paths[", "update": {}},
        {"target": "paths", "update": {}},
        {"target": "$.paths"},
        {"update": {}},
        {"target": "$.paths", "updaet": {}},
        {"target": "$", "remove": True},
        {"target": "$.info", "update": "text"},
        {"target": "$.info.title", "update": {"a": 1}},
        {"target": "$", "update": {"info": []}},
        {"target": "$", "update": {"info": {"title": {}}}},
        {"target": "$.info", "copy": "$.paths[*]"},
        {"target": "$.info", "copy": "$.nope"},
        "text",
    ],
)
def test_an_action_that_cannot_be_applied_whole_is_a_problem(action: dict[str, object]) -> None:
    """Also one that selects nothing: an annotation that misses its operation is worse than none."""
    _, problems = applied(action)
    (message,) = problems
    assert message.startswith("action 1: ")


@pytest.mark.parametrize(
    "overlay", [{}, {"overlay": "2.0.0"}, {"overlay": "1.0.0"}, {"overlay": "1.0.0", "actions": []}]
)
def test_what_is_no_overlay_is_told(overlay: dict[str, object]) -> None:
    """Version and actions are needed."""
    (problem,) = apply_overlay({}, overlay, "o.yaml")
    assert problem.code in {"overlay.version", "overlay.actions"}
