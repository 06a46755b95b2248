"""Request bodies by media type, in any dialect: how each is read, what is judged, and what a caller is shown.

RULE: a media type nothing can judge is never a way around one that is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from toolgate.core.bodies import (
    FORM,
    FormBody,
    JsonBody,
    MultipartBody,
    OpaqueBody,
    PartPlan,
    Reading,
    TextBody,
    is_json,
)
from toolgate.core.fields import FORM as FORM_FIELDS
from toolgate.core.fields import Fields
from toolgate.core.model import Json
from toolgate.core.parameters import Parameter, Style
from toolgate.core.schema import REFERENCE
from toolgate.core.shape import Shape
from toolgate.load.arguments import COLLECTIONS, NOT_SCHEMA, STYLES, Context, followed, read_essence
from toolgate.load.lowering import BINARY
from toolgate.load.notes import At
from toolgate.load.shapes import EVERY_KIND, facts_of, shape_of

_DEEPEST_PART: Final = 4  # a part stands at the top, in its array, or in one of a few alternatives
MULTIPART: Final = "multipart/form-data"
# What only objects and arrays are held to, beside their fields and elements.
_OF_VALUES: Final = frozenset(
    {"required", "minProperties", "maxProperties", "patternProperties", "propertyNames", "dependentRequired"}
    | {"dependentSchemas", "minItems", "maxItems", "uniqueItems", "prefixItems", "contains"}
)
_DESCRIPTION: Final[dict[str, Json]] = {
    "size": {"type": "integer"},
    "sha256": {"type": "string"},
    "content_type": {"type": "string"},
    "filename": {"type": "string"},
}
FILE_DESCRIBED: Final[dict[str, Json]] = {
    "type": "object", "properties": _DESCRIPTION, "required": ["size", "sha256"],
}  # fmt: skip
FILE_SHOWN: Final[dict[str, Json]] = {
    "description": "text as it is, or bytes as base64",
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                "$base64": {"type": "string"},
                "content_type": {"type": "string"},
                "filename": {"type": "string"},
            },
            "required": ["$base64"],
            "additionalProperties": False,
        },
    ],
}


@dataclass(frozen=True, slots=True)
class Media:
    """One media type of a request body, before its judge is made."""

    media_type: str
    parameters: Mapping[str, str]
    reading: Reading
    schema: Json  # what is judged
    shown: Json  # what a caller by name is shown


@dataclass(frozen=True, slots=True)
class Declaration:
    """One entry of a request body's `content`, lowered."""

    essence: str
    parameters: Mapping[str, str]
    lowered: Json
    encoding: Mapping[str, Json]
    at: At


def media_of(context: Context, content: Mapping[str, Json], at: At) -> Iterator[Media]:
    """Read every media type of a request body that can be judged."""
    judgeable = [name for name in content if _kind(read_essence(str(name))[0]) != "opaque"]
    taken = set()
    for name, raw in content.items():
        place: At = (at, str(name))
        media = followed(context, raw, place)
        essence, parameters = read_essence(str(name))
        if media is None or essence in taken:
            continue
        schema = media.get("schema", True)
        lowered = context.lowering.lower(schema, (place, "schema"), closed=context.closed_bodies)
        if _kind(essence) == "opaque" and judgeable and not _is_bytes(lowered, context.lowering.defs):
            # SECURITY: a body nothing can judge must not be a way around the schema of one that is judged.
            context.said.puzzle(
                place, f"bodies of `{essence}` cannot be judged; send `{judgeable[0]}`: this one is refused"
            )
            continue
        taken.add(essence)
        encoding = media.get("encoding")
        declared = Declaration(essence, parameters, lowered, encoding if isinstance(encoding, Mapping) else {}, place)
        yield _media(context, declared)


def _kind(essence: str) -> str:
    if is_json(essence):
        return "json"
    if essence == FORM:
        return "form"
    if essence == MULTIPART:
        return "multipart"
    return "text" if essence.startswith("text/") and essence != "text/*" else "opaque"


def _media(context: Context, declared: Declaration) -> Media:
    defs, twins = context.lowering.defs, frozenset(context.lowering.twins)
    lowered = declared.lowered
    shown = lowered
    reading: Reading
    match _kind(declared.essence):
        case "json":
            reading = JsonBody(twins)
        case "form":
            reading = FormBody(_form_fields(context, lowered, declared.encoding))
        case "multipart":
            reading = _multipart(context, lowered, declared.encoding)
            lowered, shown = _with_files(lowered, defs, FILE_DESCRIBED), _with_files(lowered, defs, FILE_SHOWN)
        case "text":
            reading = TextBody(shape_of(lowered, defs))
        case _:
            return _opaque(context, declared.essence, lowered, declared.at)
    return Media(declared.essence, declared.parameters, reading, lowered, shown)


def _opaque(context: Context, essence: str, lowered: Json, at: At) -> Media:
    if not _is_bytes(lowered, context.lowering.defs):
        if "*" in essence:  # a range with a schema for values: only JSON can be judged by it
            return Media(essence, {}, JsonBody(frozenset(context.lowering.twins)), lowered, lowered)
        context.said.puzzle(
            at, f"bodies of `{essence}` are not decoded: their schema is not enforced, policies see size and digest"
        )
    return Media(essence, {}, OpaqueBody(), _described(lowered), FILE_SHOWN)


def _is_bytes(lowered: Json, defs: Mapping[str, Json]) -> bool:
    if lowered is True or lowered == {}:
        return True
    facts = facts_of(lowered, defs)
    # SECURITY: a schema without `type` takes text too, but one that describes fields or elements means a value. Read as
    # bytes, nothing of it would be enforced.
    is_value = (
        facts.fields or facts.items is not None or facts.rest not in (None, True) or not _OF_VALUES.isdisjoint(lowered)
    )
    return "string" in facts.kinds and not (is_value and facts.kinds == EVERY_KIND)


def _described(lowered: Json) -> dict[str, Json]:
    """Judge a file by what is known of it: its schema's length bounds hold for its size."""
    size: dict[str, Json] = {"type": "integer"}
    if isinstance(lowered, Mapping):
        bounds = (("minLength", "minimum"), ("maxLength", "maximum"))
        size |= {bound: lowered[length] for length, bound in bounds if length in lowered}
    return {**FILE_DESCRIBED, "properties": {**_DESCRIPTION, "size": size}}


def _form_fields(context: Context, lowered: Json, encoding: Mapping[str, Json]) -> Fields:
    facts = facts_of(lowered, context.lowering.defs)
    parameters = []
    for name, schema in (_required(lowered, context.lowering.defs) | facts.fields).items():
        shape = shape_of(schema, context.lowering.defs, 1)
        style, explode = _encoded(encoding.get(name), shape)
        reserved = isinstance(encoding.get(name), Mapping) and encoding[name].get("allowReserved") is True
        parameters.append(Parameter(name, name, "query", style, explode, shape, reserved=reserved))
    rest = None if facts.rest in (None, False) and facts.fields else shape_of(facts.rest, context.lowering.defs, 1)
    if facts.rest is False:
        rest = None
    return Fields(parameters, context.unknown, place=FORM_FIELDS, rest=rest)


def _required(lowered: Json, defs: Mapping[str, Json]) -> dict[str, Json]:
    """Return the fields a form must have, declared or not: without them no request could be right."""
    target = _target(lowered, defs)
    return dict.fromkeys(target.get("required", ()), True) if isinstance(target, Mapping) else {}


def _encoded(encoding: Json, shape: Shape) -> tuple[Style, bool]:
    """Return a form field's style: as encoded, else repeated for arrays and JSON for objects (OpenAPI 3.1.1 §4.8.15)."""
    if isinstance(encoding, Mapping) and {"style", "explode", "allowReserved"} & set(encoding):
        style = STYLES["query"].get(encoding.get("style", "form"), "form")
        explode = encoding.get("explode")
        return style, explode if isinstance(explode, bool) else style in {"form", "deepObject"}
    if isinstance(encoding, Mapping) and is_json(read_essence(str(encoding.get("contentType", "")))[0]):
        return "json", False
    is_object = shape.fields is not None and not shape.scalars and shape.items is None
    return ("json", False) if is_object else ("form", True)


def _multipart(context: Context, lowered: Json, encoding: Mapping[str, Json]) -> MultipartBody:
    defs = context.lowering.defs
    facts = facts_of(lowered, defs)
    plans = {
        name: _plan(schema, defs, encoding.get(name))
        for name, schema in (_required(lowered, defs) | facts.fields).items()
        if schema is not False
    }
    rest = None
    if facts.rest not in (None, False) or not plans:
        rest = _plan(True if facts.rest is None else facts.rest, defs, None)
    return MultipartBody(
        plans, rest if facts.rest is not False else None, context.unknown, frozenset(context.lowering.twins)
    )


def _plan(schema: Json, defs: Mapping[str, Json], encoding: Json) -> PartPlan:
    shape = shape_of(schema, defs, 1)
    is_array = shape.items is not None and not shape.scalars
    declared = encoding.get("contentType") if isinstance(encoding, Mapping) else None
    types = tuple(read_essence(each)[0] for each in declared.split(",")) if isinstance(declared, str) else ()
    element = facts_of(schema, defs).items if is_array else schema
    is_either = shape.items is not None and bool(shape.scalars)
    if _is_binary(element, defs):
        return PartPlan("binary", shape, is_array, types, is_either)
    inner = shape.items if is_array and shape.items is not None else shape
    if any(is_json(each) for each in types) or (inner.is_composite and not inner.scalars):
        return PartPlan("json", shape, is_array, types)
    return PartPlan("text", inner, is_array, types, is_either)


def _target(schema: Json, defs: Mapping[str, Json]) -> Json:
    for _ in range(16):
        if not isinstance(schema, Mapping) or not isinstance(reference := schema.get("$ref"), str):
            break
        schema = defs.get(reference[len(REFERENCE) :], True)
    return schema


def _is_binary(schema: Json, defs: Mapping[str, Json], depth: int = 0) -> bool:
    target = _target(schema, defs)
    if not isinstance(target, Mapping) or depth > _DEEPEST_PART:
        return False
    return target.get(BINARY) is True or any(
        _is_binary(child, defs, depth + 1)
        for keyword in ("allOf", "anyOf", "oneOf")
        for child in target.get(keyword, ())
    )


def _with_files(schema: Json, defs: Mapping[str, Json], file: dict[str, Json], depth: int = 0) -> Json:
    """Copy a multipart body's schema with its files replaced by what stands for them."""
    target = _target(schema, defs)
    if not isinstance(target, Mapping) or depth > _DEEPEST_PART:
        return schema
    if target.get(BINARY) is True:
        return _described(target) if file is FILE_DESCRIBED else file
    copy = _only_files(target, defs)
    for keyword in ("allOf", "anyOf", "oneOf"):
        if keyword in copy:
            copy[keyword] = [_with_files(child, defs, file, depth + 1) for child in copy[keyword]]
    if isinstance(copy.get("properties"), Mapping):
        copy["properties"] = {
            name: _with_files(child, defs, file, depth + 1) for name, child in copy["properties"].items()
        }
    if "items" in copy and depth:
        copy["items"] = _with_files(copy["items"], defs, file, depth + 1)
    return copy if copy != target else schema


def _only_files(schema: Mapping[str, Json], defs: Mapping[str, Json]) -> dict[str, Json]:
    """Leave a schema those alternatives that are files, where one is: a part that may be a file is read as one."""
    copy = dict(schema)
    for keyword in ("anyOf", "oneOf"):
        files = [child for child in copy.get(keyword, ()) if _is_binary(child, defs) or _is_files(child, defs)]
        if files:
            del copy[keyword]
            copy["anyOf" if "anyOf" not in copy else keyword] = files
    return copy


def _is_files(schema: Json, defs: Mapping[str, Json]) -> bool:
    target = _target(schema, defs)
    return isinstance(target, Mapping) and _is_binary(target.get("items"), defs)


def swagger_content(
    context: Context, operation: Mapping[str, Json], parameters: list[tuple[Mapping[str, Json], At]]
) -> tuple[dict[str, Json], bool]:
    """Return what OpenAPI 3 would call the request body of a Swagger 2.0 operation, and whether it is required."""
    consumes = operation.get("consumes", context.document.get("consumes"))
    types = [str(each) for each in consumes] if isinstance(consumes, list) and consumes else []
    body = next((parameter for parameter, _ in parameters if parameter["in"] == "body"), None)
    if body is not None:
        named = [each for each in types if _kind(read_essence(each)[0]) not in {"form", "multipart"}] or [
            "application/json"
        ]
        return {each: {"schema": body.get("schema", True)} for each in named}, body.get("required") is True
    fields = [parameter for parameter, _ in parameters if parameter["in"] == "formData"]
    if not fields:
        return {}, False
    required = [field["name"] for field in fields if field.get("required") is True]
    schema = {
        "type": "object",
        "properties": {field["name"]: _field_schema(field) for field in fields},
        "required": required,
    }
    encoding = {field["name"]: _field_encoding(field) for field in fields}
    has_file = any(field.get("type") == "file" for field in fields)
    named = [each for each in types if read_essence(each)[0] in {FORM, MULTIPART}] or [MULTIPART if has_file else FORM]
    named = [each for each in named if not has_file or read_essence(each)[0] == MULTIPART] or [MULTIPART]
    return {each: {"schema": schema, "encoding": encoding} for each in named}, bool(required)


def _field_schema(field: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in field.items() if key not in NOT_SCHEMA}


def _field_encoding(field: Mapping[str, Json]) -> dict[str, Json]:
    style, explode = COLLECTIONS.get(field.get("collectionFormat", "csv"), ("form", False))
    return {"style": style, "explode": explode}
