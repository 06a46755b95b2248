"""Cases schemathesis calls negative that are valid requests once they are on the wire.

RULE: each entry is decided by the case, the bytes it is and the document, never by what the gate answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import jsonschema_rs
from schemathesis.core.mutations import OperatorKind
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.case import Case
from tests.specs.asking import Request
from tests.specs.generation import mutations, resolved
from tests.specs.settled import FORM, MULTIPART

_INTEGER = re.compile(r"0|-?[1-9][0-9]*").fullmatch
_NOTHING = object()  # nothing stands where a mutation says


@dataclass(frozen=True)
class Drawn:
    """A case with all there is to judge it by."""

    case: Case
    request: Request
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Harmless:
    """One way in which what was broken is whole again on the wire."""

    name: str
    reason: str
    holds: Callable[[Drawn], bool]


def _leaves_out_an_optional_body(drawn: Drawn) -> bool:
    return not drawn.request.body and not _requires_a_body(drawn) and not _broken(drawn)


def _requires_a_body(drawn: Drawn) -> bool:
    return any(each.is_required for each in drawn.case.operation.body.items)


def _broken(drawn: Drawn) -> list[Any]:
    """Return what was broken, without an optional body of which nothing is sent."""
    is_bodiless = not drawn.request.body and not _requires_a_body(drawn)
    broken = mutations(drawn.case)
    return [each for each in broken if not (is_bodiless and each.parameter_location == ParameterLocation.BODY)]


def _is_text_of_a_string_array(drawn: Drawn) -> bool:
    broken = _broken(drawn)
    declared = {each.name: each.definition for each in drawn.case.operation.query}
    return bool(broken) and all(
        each.operator == OperatorKind.CHANGE_TYPE
        and each.parameter_location == ParameterLocation.QUERY
        and each.parameter in declared
        and _fits_as_texts(declared[each.parameter], each.parameter, drawn)
        for each in broken
    )


def _fits_as_texts(definition: Mapping[str, Any], name: str, drawn: Drawn) -> bool:
    root = _root(definition.get("schema", definition), drawn)
    schema = _schema_of(definition, drawn)
    texts = [text for key, text in drawn.request.query if key == name]
    is_repeated = definition.get("explode", True) and definition.get("collectionFormat", "multi") == "multi"
    elements = texts if is_repeated else [each for text in texts for each in text.split(",") if text]
    alternatives = (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ()))
    return any(_fits(resolved(root, each), root, elements) for each in alternatives)


def _fits(schema: Mapping[str, Any], root: Mapping[str, Any], elements: list[str]) -> bool:
    if schema.get("type") == "integer" and len(elements) == 1 and _INTEGER(elements[0]):
        return jsonschema_rs.Draft202012Validator(dict(schema)).is_valid(int(elements[0]))
    items = resolved(root, schema.get("items", {}))
    if schema.get("type") != "array" or items.get("type") != "string":
        return False
    whole = {"items": items, **{key: schema[key] for key in ("minItems", "maxItems", "uniqueItems") if key in schema}}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True).is_valid(elements)


def _is_unsent(drawn: Drawn) -> bool:
    broken = _broken(drawn)
    declared = frozenset(each.name for each in drawn.case.operation.query)
    query = Sent(
        frozenset(name for name, _ in drawn.request.query),
        _owners(drawn.request.query, declared) - _fixed(drawn),
        declared,
        frozenset(each.name for each in drawn.case.operation.query if each.is_required),
    )
    return bool(broken) and all(
        (each.parameter_location == ParameterLocation.QUERY and query.lacks(each))
        or (each.parameter_location == ParameterLocation.BODY and _form(drawn).lacks(each))
        for each in broken
    )


def _fixed(drawn: Drawn) -> frozenset[str]:
    """Return the names of the query that the path's own key carries (`/responses?beta=true`)."""
    query = drawn.case.operation.path.partition("#")[0].partition("?")[2]
    return frozenset(name for name, _ in parse_qsl(query, keep_blank_values=True))


@dataclass(frozen=True)
class Sent:
    """The names of a query or form: those on the wire, whom they belong to, and what the document says of them."""

    written: frozenset[str]
    names: frozenset[str]
    declared: frozenset[str]
    required: frozenset[str]

    def lacks(self, mutation: Any) -> bool:
        """Whether nothing of what was broken is on the wire, and nothing that must be there is missing."""
        if not self.required <= self.names:
            return False
        if mutation.path:
            first, *rest = (str(token) for token in mutation.path)
            if rest and mutation.operator == OperatorKind.REMOVE_REQUIRED_PROPERTY:  # of an object that is empty now
                place = first + "".join(f"[{token}]" for token in rest)
                return not any(name.startswith(place) for name in self.written)
            return first in self.declared - self.names
        return {"additionalProperties"} <= set(mutation.keywords) and self.names <= self.declared


def _form(drawn: Drawn) -> Sent:
    nothing = Sent(frozenset(), frozenset(), frozenset(), frozenset({"nothing"}))
    if drawn.case.media_type != FORM:
        return nothing
    body = next(each for each in drawn.case.operation.body.items if each.media_type == FORM)
    schema = _schema_of(body.definition, drawn)
    declared = frozenset(schema.get("properties", {}))
    written = frozenset(name for name, _ in drawn.request.form)
    return Sent(written, _owners(drawn.request.form, declared), declared, frozenset(schema.get("required", ())))


def _owners(pairs: Iterable[tuple[str, str]], declared: frozenset[str]) -> frozenset[str]:
    """Return the names texts belong to: `a[b]` is `a`'s, unless it is declared itself."""
    return frozenset(name if name in declared else name.partition("[")[0] for name, _ in pairs)


def _schema_of(definition: Mapping[str, Any], drawn: Drawn) -> Any:
    schema = definition.get("schema", definition)
    return resolved(_root(schema, drawn), schema)


def _root(schema: Mapping[str, Any], drawn: Drawn) -> Mapping[str, Any]:
    return {**drawn.document, "x-bundled": schema.get("x-bundled", {})}  # where schemathesis keeps what it resolved


def _is_swallowed(drawn: Drawn) -> bool:
    broken = _broken(drawn)
    added = all(each.keywords == ("additionalProperties",) and not each.path for each in broken)
    return bool(broken) and added and any(_spreads(each.definition, drawn) for each in drawn.case.operation.query)


def _spreads(definition: Mapping[str, Any], drawn: Drawn) -> bool:
    schema = _schema_of(definition, drawn)
    is_open = schema.get("additionalProperties", not schema.get("properties")) is not False
    branches = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    is_form = definition.get("style", "form") == "form" and definition.get("explode", True) is True
    return is_form and is_open and any(each.get("type") in ("object", ["object", "null"]) for each in branches)


def _is_text_in_a_form(drawn: Drawn) -> bool:
    broken, body = _broken(drawn), drawn.case.body
    if drawn.case.media_type not in {FORM, MULTIPART} or not isinstance(body, dict) or not broken:
        return False
    return all(
        each.parameter_location == ParameterLocation.BODY
        and bool(each.path)
        and (_is_file_part(drawn, each.path[0]) or _is_text_there(drawn, body, each))
        for each in broken
    )


def _is_text_there(drawn: Drawn, body: Mapping[str, Any], mutation: Any) -> bool:
    return (
        set(mutation.keywords) <= {"type", "anyOf", "format", "x-oaiTypeLabel"}
        and _is_one_text(_at(body, mutation.path), drawn.case.media_type)
        and _takes_any_text(drawn, mutation.path)
    )


def _is_file_part(drawn: Drawn, name: str | int) -> bool:
    """Whether a part may be a file, so that whatever it holds are a file's bytes."""
    body = next(each for each in drawn.case.operation.body.items if each.media_type == drawn.case.media_type)
    root = _root(body.definition.get("schema", body.definition), drawn)
    field = resolved(root, _schema_of(body.definition, drawn).get("properties", {}).get(name, {}))
    is_file = any(each.get("format") == "binary" for each in _alternatives(field, root))
    return drawn.case.media_type == MULTIPART and is_file and name in drawn.case.body


def _is_text_body(drawn: Drawn) -> bool:
    broken, media_type = _broken(drawn), drawn.case.media_type or ""
    is_whole = all(each.parameter_location == ParameterLocation.BODY and not each.path for each in broken)
    return bool(broken) and is_whole and media_type.startswith("text/") and _takes_any_text(drawn, ())


def _at(value: Any, path: Iterable[str | int]) -> Any:
    for token in path:
        is_inside = (isinstance(value, dict) and token in value) or (isinstance(value, list) and isinstance(token, int))
        if not is_inside:
            return _NOTHING
        value = value[token]
    return value


def _is_one_text(value: Any, media_type: str | None) -> bool:
    """Whether a value is one text on the wire; an object in a part is its JSON."""
    if isinstance(value, dict):
        return media_type == MULTIPART
    return value is not _NOTHING and (not isinstance(value, list) or len(value) <= 1)


def _takes_any_text(drawn: Drawn, path: Iterable[str | int]) -> bool:
    bodies = (each.definition for each in drawn.case.operation.body.items if each.media_type == drawn.case.media_type)
    for definition in bodies:
        root = _root(definition.get("schema", definition), drawn)
        fields = [_schema_of(definition, drawn)]
        for token in path:
            fields = [
                resolved(root, each.get("properties", {}).get(token, {}))
                for field in fields
                for each in _alternatives(field, root)
            ]
        if any(_is_any_text(each) for field in fields for each in _alternatives(field, root)):
            return True
    return False


def _alternatives(schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[Any]:
    branches = (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ()), schema.get("items", {}))
    return [resolved(root, each) for each in branches]


def _is_any_text(schema: Mapping[str, Any]) -> bool:
    """Whether a schema takes every text, or any bytes as a file."""
    is_plain = {"enum", "pattern", "minLength", "const"}.isdisjoint(schema)
    return schema.get("type") == "string" and is_plain and schema.get("format") in {None, "binary"}


def _is_empty_header_list(drawn: Drawn) -> bool:
    broken = _broken(drawn)
    sent = {name.lower(): text for name, text in drawn.request.headers}
    declared = {each.name.lower(): _schema_of(each.definition, drawn) for each in drawn.case.operation.headers}
    return bool(broken) and all(
        each.parameter_location == ParameterLocation.HEADER
        and each.parameter is not None
        and sent.get(each.parameter.lower()) == ""
        and declared.get(each.parameter.lower(), {}).get("type") == "array"
        for each in broken
    )


HARMLESS = (
    Harmless(
        "no optional body",
        "the body was negated by leaving it out, and the document does not require one",
        _leaves_out_an_optional_body,
    ),
    Harmless(
        "text for strings",
        "an array of strings was given a number, a word or a text: in a query each is an array of one text; or an "
        "integer was given a number or text that is written as one",
        _is_text_of_a_string_array,
    ),
    Harmless(
        "unsent",
        "what was broken (an empty array or object, a null, a nested form value) leaves nothing in the query or form",
        _is_unsent,
    ),
    Harmless(
        "swallowed",
        "an undeclared parameter was added where an open object is spread over the query: it is a field of that object",
        _is_swallowed,
    ),
    Harmless(
        "text in a form",
        "a form field that takes any text was given a number, a word or an array of one: all are one text; a part that "
        "may be a file was given anything: all are bytes",
        _is_text_in_a_form,
    ),
    Harmless(
        "text body",
        "a text body that takes any text was given a number, a word or an array: it is written as text",
        _is_text_body,
    ),
    Harmless(
        "empty header list",
        "a header that holds a list was given no text: that is how an empty list is written (RFC 6570)",
        _is_empty_header_list,
    ),
)
