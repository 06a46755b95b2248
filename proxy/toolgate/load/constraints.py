"""The constraints of plans: JSON Schemas that agents write, compiled as the schemas of operations are.

RULE: what a person reads in a plan is enforced. A keyword that is unknown, cannot be enforced, or could take long is a
problem, never a note. SECURITY: the schema is a stranger's, so it is bounded in size, and its patterns in time and memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import jsonschema_rs
import orjson

from toolgate.core.model import Json
from toolgate.core.recent import Recent
from toolgate.core.schema import Compiled, Judge, self_contained
from toolgate.core.wiretext import pointer
from toolgate.load.emptiness import impossible, listed_in
from toolgate.load.formats import OURS
from toolgate.load.lowering import Lowering
from toolgate.load.masks import masks_of
from toolgate.load.notes import Said
from toolgate.load.patterns import Patterns

_LONGEST: Final = 16 * 1024  # bytes of a constraint
_PATTERN_BYTES: Final = 32 * 1024  # of a compiled pattern, and again of what it remembers while it runs
_MOST_BYTES: Final = 1 << 23  # of compiled constraints that are kept
_REFERENCES: Final = ("$ref", "$dynamicRef", "$id", "$anchor", "$dynamicAnchor", "$vocabulary")
_VALUES: Final = frozenset({"const", "enum", "default", "examples"})  # what is below is no schema

# What is wrong: pointers into the constraint, and sentences.
Wrong: TypeAlias = tuple[tuple[str, str], ...]


class Constraints:
    """Compiles constraints; equal ones once."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: Recent[bytes, Judge | Wrong] = Recent(_MOST_BYTES, _weight)

    def compiled(self, schema: Json) -> Judge | Wrong:
        """Return the judge of a constraint, or what is wrong with it."""
        if not isinstance(schema, dict | bool):
            return (("", "a constraint is a JSON Schema: an object, or `true`"),)
        try:
            text = orjson.dumps(schema)
        except TypeError:
            return (("", "a constraint is a JSON Schema, without numbers beyond 64 bit"),)
        if len(text) > _LONGEST:
            return (("", f"is longer than {_LONGEST} bytes"),)
        known = self._known.get(text)
        return known if known is not None else self._known.keep(text, _compiled(schema))


def _compiled(schema: Json) -> Judge | Wrong:
    unusable = (*_unusable(schema, ""), *impossible(schema, ""))
    if unusable:
        return unusable
    said = Said()
    lowered = Lowering({}, "3.1", "response", Patterns(), said).lower(schema, "")
    wrong = (*((note.pointer, note.message) for note in said.notes), *said.problems)
    if wrong:
        return wrong
    whole = self_contained(lowered if isinstance(lowered, dict) else {"allOf": [lowered]}, {})
    judge = Judge(lambda: _validator(whole), whole, {}, masks_of(whole, {}))
    try:
        judge.compile()
    except ValueError as error:
        return (("", f"is no JSON Schema that can be enforced: {str(error).partition(chr(10))[0]}"),)
    listed = listed_in(schema)
    if listed and not any(map(judge.fits, listed)):
        return (("", "no value that it lists fits the rest of it, so nothing can be sent here"),)
    return judge


def _unusable(schema: Json, at: str) -> Iterator[tuple[str, str]]:
    """References, for a constraint stands by itself, and patterns that are too large or would not run in linear time."""
    if isinstance(schema, list):
        for index, child in enumerate(schema):
            yield from _unusable(child, pointer(at, index))
    if not isinstance(schema, dict):
        return
    for key, child in schema.items():
        place = pointer(at, key)
        if key in _REFERENCES and not isinstance(child, dict):
            yield place, f"`{key}` cannot be used in a constraint; write the schema out"
        yield from _unusable_patterns(key, child, place)
        if key not in _VALUES:
            yield from _unusable(child, place)


def _unusable_patterns(key: str, value: Json, place: str) -> Iterator[tuple[str, str]]:
    patterns = [value] if key == "pattern" and isinstance(value, str) else []
    if key == "patternProperties" and isinstance(value, dict):
        patterns = list(value)
    for pattern in patterns:
        try:
            _validator({"pattern": pattern})
        except ValueError:
            yield place, "is no pattern, is too large, or could take long; write a simpler one, without look-around"


def _validator(schema: dict[str, Json]) -> Compiled:
    compiled: Compiled = jsonschema_rs.Draft202012Validator(
        schema,
        offline=True,  # SECURITY: as for documents, nothing is fetched
        validate_formats=True,
        formats=OURS,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES),
    )
    return compiled


def _weight(text: bytes, _found: Judge | Wrong) -> int:
    return 16 * len(text) + _PATTERN_BYTES * text.count(b'"pattern')
