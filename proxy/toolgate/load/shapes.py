"""Shapes from lowered schemas: which JSON types a text may be read as.

RULE: a shape only steers reading; the validator judges what was read. So it may be rough, never lossy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from toolgate.core.model import Json
from toolgate.core.schema import REFERENCE
from toolgate.core.shape import ANY, SCALARS, TEXT, Shape

_DEEPEST: Final = 8  # levels of a schema that parameters and forms are read by
EVERY_KIND: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})


@dataclass(slots=True)
class _Facts:
    """What a schema says of a value's type, items and fields."""

    kinds: frozenset[str] = EVERY_KIND
    items: Json = None
    fields: dict[str, Json] = field(default_factory=dict)
    rest: Json = None  # the additionalProperties schema


def shape_of(schema: Json, defs: Mapping[str, Json], depth: int = 0) -> Shape:
    """Return how texts of a lowered schema are read."""
    facts = facts_of(schema, defs)
    scalars = frozenset(kind for kind in SCALARS if kind in facts.kinds)
    if depth > _DEEPEST:
        return TEXT
    if facts.kinds == EVERY_KIND:
        return _unconstrained(facts, defs, depth)
    items = shape_of(True if facts.items is None else facts.items, defs, depth + 1) if "array" in facts.kinds else None
    if "object" not in facts.kinds:
        return Shape(scalars, items)
    return _with_fields(scalars, items, facts, defs, depth)


def _unconstrained(facts: _Facts, defs: Mapping[str, Json], depth: int) -> Shape:
    """A schema that names no type is read by what it describes: its items, its fields, or any scalar."""
    if facts.items is not None:
        return Shape(frozenset(), shape_of(facts.items, defs, depth + 1))
    if facts.fields:
        return _with_fields(frozenset(), None, facts, defs, depth)
    return ANY


def _with_fields(
    scalars: frozenset[str], items: Shape | None, facts: _Facts, defs: Mapping[str, Json], depth: int
) -> Shape:
    fields = {name: shape_of(child, defs, depth + 1) for name, child in facts.fields.items() if child is not False}
    is_silent = facts.rest is None
    rest = None if facts.rest is False else ANY if is_silent else shape_of(facts.rest, defs, depth + 1)
    swallows = not fields if is_silent else facts.rest is not False
    return Shape(scalars, items, fields, rest, swallows)  # type: ignore[arg-type]  # a subset of SCALARS


def facts_of(schema: Json, defs: Mapping[str, Json], seen: frozenset[str] = frozenset()) -> _Facts:
    """Gather what a schema says, through references, allOf and alternatives."""
    if not isinstance(schema, Mapping):
        return _Facts()
    facts = _Facts(_kinds_here(schema), schema.get("items"), dict(schema.get("properties", {})))
    facts.rest = schema.get("additionalProperties", schema.get("unevaluatedProperties"))
    reference = schema.get("$ref")
    if isinstance(reference, str) and (name := reference[len(REFERENCE) :]) not in seen:
        _both(facts, facts_of(defs.get(name, True), defs, seen | {name}))
    for member in schema.get("allOf", ()):
        _both(facts, facts_of(member, defs, seen))
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            _both(facts, _either(facts_of(branch, defs, seen) for branch in schema[keyword]))
    return facts


def _kinds_here(schema: Mapping[str, Json]) -> frozenset[str]:
    kinds = EVERY_KIND
    declared = schema.get("type")
    if declared is not None:
        kinds = _widened([declared] if isinstance(declared, str) else declared)
    if "const" in schema:
        kinds &= _kinds_of_values([schema["const"]])
    if "enum" in schema:
        kinds &= _kinds_of_values(schema["enum"])
    return kinds


def _widened(kinds: Iterable[str]) -> frozenset[str]:
    named = frozenset(kinds)
    return named | {"integer"} if "number" in named else named


def _kinds_of_values(values: Iterable[Json]) -> frozenset[str]:
    kinds: set[str] = set()
    for value in values:
        match value:
            case None:
                kinds.add("null")
            case bool():
                kinds.add("boolean")
            case int() | float():
                kinds |= {"integer", "number"}
            case str():
                kinds.add("string")
            case list():
                kinds.add("array")
            case _:
                kinds.add("object")
    return frozenset(kinds)


def _both(facts: _Facts, other: _Facts) -> None:
    facts.kinds &= other.kinds
    facts.items = facts.items if facts.items is not None else other.items
    facts.fields = {**other.fields, **facts.fields}
    facts.rest = facts.rest if facts.rest is not None else other.rest


def _either(branches: Iterable[_Facts]) -> _Facts:
    whole = _Facts(frozenset())
    for branch in branches:
        whole.kinds |= branch.kinds
        whole.items = whole.items if whole.items is not None else branch.items
        whole.fields = {**branch.fields, **whole.fields}
        whole.rest = whole.rest if whole.rest is not None else branch.rest
    return whole
