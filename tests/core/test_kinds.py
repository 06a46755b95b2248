"""Kinds: what a schema lets a value be, as far as a policy language can say it."""

from __future__ import annotations

from typing import Any

import pytest

from toolgate.core.kinds import (
    MAX_DEPTH,
    MAX_MEMBERS,
    Describer,
    Field,
    Fields,
    Many,
    Variants,
    kind_of,
    kind_of_values,
)

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
NULL = {"type": "null"}


def field(kind: Any) -> Field:
    return Field(kind, required=True)


def maybe(kind: Any) -> Field:
    return Field(kind, required=False)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (TEXT, "text"),
        (WHOLE, "long"),
        ({"type": "number"}, "decimal"),
        ({"type": ["integer", "number"]}, "decimal"),
        ({"type": "boolean"}, "flag"),
        ({}, "opaque"),
        (NULL, "opaque"),
        ({"minimum": 3}, "opaque"),
        ({"type": ["string", "null"]}, "text"),
        ({"type": "array", "items": TEXT}, Many("text")),
        ({"type": "array"}, Many("opaque")),
        ({"items": WHOLE}, Many("long")),
        ({"prefixItems": [TEXT], "items": WHOLE}, Many(Variants({"string": "text", "integer": "long"}))),
        ({"type": "array", "prefixItems": [TEXT], "items": False}, Many("text")),
        ({"type": "object"}, Fields({})),
        ({"type": "object", "additionalProperties": TEXT}, Fields({})),
        ({"properties": {"a": TEXT}}, Fields({"a": maybe("text")})),
        ({"properties": {"a": TEXT, "b": TEXT}, "required": ["b"]}, Fields({"a": maybe("text"), "b": field("text")})),
        ({"properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}, Fields({"a": maybe("text")})),
        ({"type": "object", "required": ["a"]}, Fields({"a": maybe("opaque")})),
        ({"properties": {"a": False, "b": TEXT}}, Fields({"b": maybe("text")})),
        ({"properties": {"": TEXT, "a b": WHOLE}}, Fields({"": maybe("text"), "a b": maybe("long")})),
    ],
)
def test_plain_schemas(schema: dict[str, Any], expected: Any) -> None:
    """Required means always there and never null; what says nothing may be anything."""
    assert expected == kind_of(schema)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"enum": ["a", "b"]}, "text"),
        ({"enum": ["a", None]}, "text"),
        ({"enum": [1, 2]}, "long"),
        ({"enum": [1, 2.5]}, "decimal"),
        ({"enum": [True, "auto"]}, Variants({"string": "text", "boolean": "flag"})),
        ({"type": "number", "enum": [1, 2]}, "decimal"),
        ({"type": ["string", "null"], "enum": ["a"]}, "text"),
        ({"const": "a"}, "text"),
        ({"const": {"a": 1}}, Fields({})),
        ({"type": ["string", "integer"]}, Variants({"string": "text", "integer": "long"})),
        ({"anyOf": [TEXT, NULL]}, "text"),
        ({"oneOf": [WHOLE, {"type": "number"}]}, "decimal"),
        ({"anyOf": [TEXT, {}]}, "opaque"),
        ({"anyOf": [TEXT, {"type": "array", "items": TEXT}]}, Variants({"string": "text", "array": Many("text")})),
        ({"type": "string", "anyOf": [{"minLength": 1}, {"maxLength": 3}]}, "text"),
        ({"type": "number", "allOf": [WHOLE]}, "long"),
        ({"allOf": [{"type": "number"}, {"type": ["integer", "string"]}]}, "long"),
        ({"allOf": [{"properties": {"a": TEXT}}, {"properties": {"b": WHOLE}, "required": ["a"]}]},
         Fields({"a": field("text"), "b": maybe("long")})),
        ({"anyOf": [{"properties": {"a": TEXT}, "required": ["a"]}, {"properties": {"a": WHOLE}}]},
         Fields({"a": maybe(Variants({"string": "text", "integer": "long"}))})),
        ({"type": "object", "properties": {"a": TEXT, "b": TEXT}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
         Fields({"a": maybe("text"), "b": maybe("text")})),
        ({"type": "object", "properties": {"a": TEXT}, "not": {"required": ["b"]}, "if": {"required": ["c"]}},
         Fields({"a": maybe("text")})),
    ],
)  # fmt: skip
def test_combinations(schema: dict[str, Any], expected: Any) -> None:
    """All of them must fit, or one of them; several kinds are told apart by name."""
    assert expected == kind_of(schema)


def test_references_are_followed_and_recursion_ends() -> None:
    """A definition is read where it is named; inside itself it may be anything."""
    node = {"properties": {"name": TEXT, "next": {"$ref": "#/$defs/Node"}}, "required": ["name"]}
    expected = Fields({"name": field("text"), "next": maybe("opaque")})
    schema = {"properties": {"a": {"$ref": "#/$defs/Node"}, "b": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}

    assert Fields({"a": maybe(expected), "b": maybe(expected)}) == kind_of(schema)
    assert "opaque" == kind_of({"$ref": "#/$defs/Missing"})


A_AND_B = {
    "A": {"properties": {"b": {"$ref": "#/$defs/B"}, "x": TEXT}},
    "B": {"properties": {"a": {"$ref": "#/$defs/A"}, "y": TEXT}},
}


def test_what_is_known_of_a_definition_changes_nothing() -> None:
    """Each of two that name each other is cut inside itself, whatever was described before."""
    in_a = Fields({"b": maybe(Fields({"a": maybe("opaque"), "y": maybe("text")})), "x": maybe("text")})
    in_b = Fields({"a": maybe(Fields({"b": maybe("opaque"), "x": maybe("text")})), "y": maybe("text")})
    describer = Describer(A_AND_B)

    for _ in range(2):
        for name, expected in (("A", in_a), ("B", in_b), ("A", in_a)):
            assert expected == describer.describe({"$ref": f"#/$defs/{name}"})


def test_definitions_that_all_name_each_other_end() -> None:
    """However many ways lead through them: what is read is bounded, not only how deep."""
    names = [f"N{at}" for at in range(40)]
    defs = {name: {"anyOf": [{"$ref": f"#/$defs/{other}"} for other in names]} for name in names}

    assert "opaque" == kind_of({"$ref": "#/$defs/N0", "$defs": defs})


def test_depth_and_size_are_bounded() -> None:
    """What is too deep, or one too many, may be anything."""
    deep: dict[str, Any] = TEXT
    for _ in range(MAX_DEPTH + 5):
        deep = {"type": "array", "items": deep}
    kind, depth = kind_of(deep), 0
    while isinstance(kind, Many):
        kind, depth = kind.of, depth + 1
    wide = kind_of({"properties": {f"m{at}": TEXT for at in range(MAX_MEMBERS + 5)}})

    assert ("opaque", True) == (kind, depth <= MAX_DEPTH + 1)
    assert isinstance(wide, Fields)
    assert 5 == sum(each.kind == "opaque" for each in wide.members.values())


@pytest.mark.parametrize("schema", [{"type": 3}, {"type": ["x"]}, {"properties": []}, {"enum": 3}, {"anyOf": "x"},
                                    {"required": "a"}, {"items": 3}, {"$ref": 3}, {"$defs": []}, {"allOf": [3, None]}])  # fmt: skip
def test_what_is_no_schema_describes_nothing_wrong(schema: dict[str, Any]) -> None:
    """Total: a description comes out of anything."""
    assert kind_of(schema) is not None


def test_values_are_described_by_what_they_are() -> None:
    """Attributes of a file: there in all of them is required, of several kinds is told apart."""
    items = [{"tier": "a", "n": 1, "tags": ["x"]}, {"tier": "b", "n": 1.5, "tags": [], "odd": None}]

    assert Fields(
        {"tier": field("text"), "n": field("decimal"), "tags": field(Many("text")), "odd": maybe("opaque")}
    ) == kind_of_values(items)
    assert "opaque" == kind_of_values([])
