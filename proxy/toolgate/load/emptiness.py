"""Constraints that nothing can fit: bounds that exclude each other, and choices of nothing.

RULE: told only of what is sure whatever the value is. A plan with such a constraint would be locked, approved and never
followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeGuard

from toolgate.core.model import Json
from toolgate.core.wiretext import pointer

_BOUNDS: Final = (
    ("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"),
    ("minContains", "maxContains"),
)  # fmt: skip
_OPEN_BOUNDS: Final = (
    ("exclusiveMinimum", "maximum"),
    ("minimum", "exclusiveMaximum"),
    ("exclusiveMinimum", "exclusiveMaximum"),
)
_CHOICES: Final = ("enum", "type", "anyOf", "oneOf")
_EVERY: Final = ("allOf", "anyOf", "oneOf", "prefixItems")  # lists of schemas, each of which is meant to fit something
_EACH: Final = ("items", "contains", "additionalProperties")  # schemas; `false` is how these are left out
_NAMED: Final = ("properties", "patternProperties")


def impossible(schema: Json, at: str) -> Iterator[tuple[str, str]]:
    """Where a schema excludes everything, as pointers and sentences."""
    if schema is False and not at:
        yield at, "`false` fits nothing; write the schema of what may be sent, or leave the argument out"
    if not isinstance(schema, Mapping):
        return
    for name in _CHOICES:
        if schema.get(name) == []:
            yield pointer(at, name), f"`{name}` lists nothing, so nothing fits"
    yield from _crossed(schema, at)
    for inner, place in _parts(schema, at):
        yield from impossible(inner, place)


def listed_in(schema: Json) -> Sequence[Json]:
    """The values that a schema lists, of which one must be sent."""
    if not isinstance(schema, Mapping):
        return ()
    if "const" in schema:
        return (schema["const"],)
    listed = schema.get("enum")
    return listed if isinstance(listed, list) else ()


def _crossed(schema: Mapping[str, Json], at: str) -> Iterator[tuple[str, str]]:
    """Bounds with nothing between them."""
    for low, high in (*_BOUNDS, *_OPEN_BOUNDS):
        least, most = schema.get(low), schema.get(high)
        if not _is_number(least) or not _is_number(most):
            continue
        if least > most or (least == most and (low, high) in _OPEN_BOUNDS):
            yield pointer(at, low), f"`{low}` {least} and `{high}` {most} leave nothing between them"


def _parts(schema: Mapping[str, Json], at: str) -> Iterator[tuple[Json, str]]:
    """The schemas in a schema that are meant to fit something, each with its place."""
    for name in _EVERY:
        inner = schema.get(name)
        if isinstance(inner, list):
            yield from ((each, pointer(pointer(at, name), number)) for number, each in enumerate(inner))
    for name in _NAMED:
        inner = schema.get(name)
        if isinstance(inner, Mapping):
            yield from ((each, pointer(pointer(at, name), key)) for key, each in inner.items())
    yield from ((schema[name], pointer(at, name)) for name in _EACH if name in schema)


def _is_number(value: Json) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
