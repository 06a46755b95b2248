"""How much work explaining a value is: alternatives multiply what a validator says of it.

RULE: an upper bound, found within a bounded number of steps. Saying whether a value fits is cheap, since the validator
remembers what it has judged; listing why it does not is what doubles with every level of two alternatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from toolgate.core.model import Json

REFERENCE: Final = "toolgate:schemas#/$defs/"  # how lowered schemas name the definitions of their document
_DEFINITIONS: Final = "#/$defs/"
MOST_STEPS: Final = 2_000  # pairs of a schema and a value: at most about 50 ms of explaining
_ALTERNATIVES: Final = ("anyOf", "oneOf")
_LISTED: Final = ("allOf", *_ALTERNATIVES)
_IN_PLACE: Final = ("if", "then", "else", "not")
_ELEMENTS: Final = ("items", "contains", "additionalProperties", "unevaluatedProperties", "unevaluatedItems")

Pair: TypeAlias = tuple[Json, Json]


def has_alternatives(schema: Json, defs: Mapping[str, Json]) -> bool:
    """Whether any are reached: without them, what is said of a value grows with the value only."""
    seen: set[int] = set()
    stack = [schema]
    while stack:
        node = stack.pop()
        if not isinstance(node, Mapping) or id(node) in seen:
            continue
        if any(key in node for key in _ALTERNATIVES):
            return True
        seen.add(id(node))
        stack.extend((*_here(node, defs), *_parts(node)))
    return False


def is_heavy(schema: Json, defs: Mapping[str, Json], value: Json) -> bool:
    """Whether a validator may hold a value, or a part of it, against more than MOST_STEPS schemas."""
    steps = 0
    stack: list[Pair] = [(schema, value)]
    while stack and steps < MOST_STEPS:
        node, part = stack.pop()
        if isinstance(node, Mapping):
            steps += 1
            stack.extend((child, part) for child in _here(node, defs))
            stack.extend(_within(node, part))
    return bool(stack)


def _here(node: Mapping[str, Json], defs: Mapping[str, Json]) -> Iterator[Json]:
    """The schemas that judge the same value."""
    reference = node.get("$ref")
    if isinstance(reference, str):
        yield defs.get(reference.partition(_DEFINITIONS)[2])
    for key in _LISTED:
        yield from node.get(key, ())
    for key in _IN_PLACE:
        if key in node:
            yield node[key]


def _parts(node: Mapping[str, Json]) -> Iterator[Json]:
    """The schemas that judge parts of the value, whatever it is."""
    yield from node.get("properties", {}).values()
    yield from node.get("patternProperties", {}).values()
    yield from node.get("prefixItems", ())
    for key in _ELEMENTS:
        yield node.get(key)


def _within(node: Mapping[str, Json], value: Json) -> Iterator[Pair]:
    """The parts of this value, each with a schema that judges it."""
    if isinstance(value, dict):
        properties = node.get("properties", {})
        others = [
            *node.get("patternProperties", {}).values(),
            *_given(node, "additionalProperties", "unevaluatedProperties"),
        ]
        for name, part in value.items():
            if name in properties:
                yield properties[name], part
            yield from ((schema, part) for schema in others)
    elif isinstance(value, list):
        elements = [*node.get("prefixItems", ()), *_given(node, "items", "contains", "unevaluatedItems")]
        yield from ((schema, part) for part in value for schema in elements)


def _given(node: Mapping[str, Json], *keys: str) -> list[Json]:
    return [node[key] for key in keys if isinstance(node.get(key), Mapping)]
