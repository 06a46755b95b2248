"""From an operation's parameters and request body, in any dialect, to how each stands on the wire.

RULE: what cannot be sent safely (a header that frames or routes, a media type nothing can judge) is noted and left out,
so that a call which needs it is refused rather than waved through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from toolgate.core.bodies import (
    is_json,
)
from toolgate.core.fields import Unknown
from toolgate.core.model import Json
from toolgate.core.parameters import Location, Parameter, Style
from toolgate.core.signature import Template
from toolgate.core.wiretext import TOKEN, is_deceptive
from toolgate.load.lowering import Lowering, Version
from toolgate.load.notes import At, Said, resolve
from toolgate.load.shapes import shape_of

LOCATIONS: Final[tuple[Location, ...]] = ("path", "query", "header", "cookie")
_PLACEHOLDER: Final = re.compile(r"\{([^{}/]+)\}")
# OpenAPI: these three are described elsewhere. The rest frame, route or impersonate, and are the gate's own.
_DESCRIBED_ELSEWHERE: Final = frozenset({"accept", "content-type", "authorization"})
_NEVER_SENT: Final = frozenset(
    [
        "host",
        "connection",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "expect",
        "cookie",
        "proxy-authorization",
        "proxy-authenticate",
        "proxy-connection",
        "forwarded",
        "via",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
        "x-real-ip",
        "http2-settings",
    ]
)
_DEFAULT_STYLES: Final[Mapping[Location, Style]] = {
    "path": "simple",
    "query": "form",
    "header": "simple",
    "cookie": "form",
}
# The styles of each location as documents spell them, and ours.
STYLES: Final[Mapping[Location, Mapping[str, Style]]] = {
    "path": {"simple": "simple", "label": "label", "matrix": "matrix"},
    "query": {
        "form": "form",
        "spaceDelimited": "spaceDelimited",
        "pipeDelimited": "pipeDelimited",
        "deepObject": "deepObject",
    },
    "header": {"simple": "simple"},
    "cookie": {"form": "form", "cookie": "form"},
}
COLLECTIONS: Final[Mapping[str, tuple[Style, bool]]] = {
    "csv": ("form", False),
    "ssv": ("spaceDelimited", False),
    "tsv": ("tabDelimited", False),
    "pipes": ("pipeDelimited", False),
    "multi": ("form", True),
}
# What OpenAPI 2.0 says of a parameter beside its schema; the rest of the object is the schema.
NOT_SCHEMA: Final = frozenset({"name", "in", "required", "allowEmptyValue", "collectionFormat"})


@dataclass(frozen=True, slots=True)
class Declared:
    """A parameter with its lowered schema and, where it has one, its default."""

    parameter: Parameter
    schema: Json
    default: Json
    at: At | str


@dataclass(frozen=True, slots=True)
class Context:
    """What stays the same while one operation is read."""

    document: Mapping[str, Json]
    version: Version
    lowering: Lowering
    said: Said
    unknown: Unknown
    closed_bodies: bool


def read_template(key: str) -> tuple[Template, tuple[str, ...]]:
    """Split a document's path key into its literals, its own query and its parameters' names, in order."""
    path, _, query = key.partition("#")[0].partition("?")
    literals = _PLACEHOLDER.split(path)
    pairs = tuple(
        (name, text)
        for name, _, text in (piece.partition("=") for piece in query.split("&") if piece)
        if "{" not in text
    )
    return Template(tuple(literals[::2]), pairs), tuple(literals[1::2])


def followed(context: Context, node: Json, at: At | str) -> Mapping[str, Json] | None:
    """Follow an object's `$ref`s; None, with a problem, when they lead nowhere."""
    for _ in range(16):
        if not isinstance(node, Mapping):
            break
        if "$ref" not in node:
            return node
        try:
            node = resolve(context.document, node["$ref"])
        except LookupError:
            context.said.fail(at, f"the reference `{node['$ref']}` does not lead to anything in this document")
            return None
    context.said.fail(at, "an object is expected here")
    return None


def collect(
    context: Context, path_item: Mapping[str, Json], operation: Mapping[str, Json], at: At
) -> list[tuple[Mapping[str, Json], At]]:
    """Return an operation's parameters: its own beat those of its path item, by name and location."""
    chosen: dict[tuple[Json, Json], tuple[Mapping[str, Json], At]] = {}
    for source, where in ((path_item, (at[0], "parameters")), (operation, (at, "parameters"))):
        listed = source.get("parameters")
        for index, raw in enumerate(listed if isinstance(listed, list) else ()):
            place: At = (where, str(index))
            parameter = followed(context, raw, place)
            if parameter is None:
                continue
            if not isinstance(parameter.get("name"), str) or "in" not in parameter:
                context.said.fail(place, "a parameter needs `name` and `in`")
                continue
            name = parameter["name"]
            key = (name.lower() if parameter["in"] == "header" else name, parameter["in"])
            chosen[key] = (parameter, place)
    return list(chosen.values())


def declare(context: Context, raw: Mapping[str, Json], key: str, at: At) -> Declared | None:
    """Read one parameter; None when it is not sent by this gate."""
    location, name = raw["in"], raw["name"]
    if location == "querystring":
        return _declare_whole_query(context, raw, key, at)
    if not _is_sendable(context, location, name, at):
        return None
    schema, style, explode = _written_as(context, raw, location, at)
    lowered = context.lowering.lower(schema, (at, "schema"))
    shape = shape_of(lowered, context.lowering.defs)
    parameter = Parameter(
        name, key, location, style, explode, shape,
        required=raw.get("required") is True or location == "path",
        reserved=raw.get("allowReserved") is True,
        empty=raw.get("allowEmptyValue") is True and location == "query",
    )  # fmt: skip
    if parameter.empty:
        lowered = {"anyOf": [lowered, {"const": ""}]}
    default = schema.get("default") if isinstance(schema, Mapping) else None
    return Declared(parameter, lowered, default if not parameter.required else None, at)


def _written_as(context: Context, raw: Mapping[str, Json], location: Location, at: At) -> tuple[Json, Style, bool]:
    """Return a parameter's schema, style and explode, as its dialect spells them."""
    if context.version == "2.0":
        schema = {each: value for each, value in raw.items() if each not in NOT_SCHEMA}
        style, explode = COLLECTIONS.get(raw.get("collectionFormat", "csv"), ("form", False))
        return schema, "simple" if location in {"path", "header"} else style, explode
    if "content" in raw:
        return _content_schema(context, raw, at), "json", False
    return raw.get("schema", True), *_style_of(context, raw, location, at)


def _declare_whole_query(context: Context, raw: Mapping[str, Json], key: str, at: At) -> Declared | None:
    """Read OpenAPI 3.2's `in: querystring`: a form is an object whose fields are the query's."""
    content = raw.get("content")
    media = content.get("application/x-www-form-urlencoded") if isinstance(content, Mapping) else None
    if not isinstance(media, Mapping):
        context.said.puzzle(
            at, "`in: querystring` is understood as a form only; this one is ignored and its query refused"
        )
        return None
    lowered = context.lowering.lower(media.get("schema", True), (at, "schema"))
    shape = shape_of(lowered, context.lowering.defs)
    required = raw.get("required") is True
    return Declared(Parameter(raw["name"], key, "query", "form", True, shape, required=required), lowered, None, at)  # noqa: FBT003 (explode)


def _is_sendable(context: Context, location: Json, name: str, at: At) -> bool:
    if location not in LOCATIONS:
        if location not in {"body", "formData"}:
            context.said.fail(at, f"`{location}` is not a parameter location")
        return False
    if is_deceptive(name) or not name:
        context.said.fail(at, "the parameter's name is empty or has control characters")
        return False
    if location != "header" or name.lower() in _DESCRIBED_ELSEWHERE:
        return bool(location != "header")
    if not TOKEN(name):
        context.said.fail(at, f"`{name}` cannot be a header's name")
        return False
    spoken = name.lower().replace("_", "-")  # SECURITY: many servers read the one as the other (CGI variables)
    if spoken in _NEVER_SENT or spoken.startswith(("x-forwarded-", "toolgate-")):
        context.said.report(at, f"the header `{name}` is the gate's own and is never taken from a call")
        return False
    return True


def _style_of(context: Context, raw: Mapping[str, Json], location: Location, at: At) -> tuple[Style, bool]:
    style = _DEFAULT_STYLES[location]
    declared = raw.get("style", style)
    if declared in STYLES[location]:
        style = STYLES[location][declared]
    else:
        context.said.puzzle((at, "style"), f"`{declared}` is not a style of {location} parameters; `{style}` is used")
    explode = raw.get("explode")
    return style, explode if isinstance(explode, bool) else style in {"form", "deepObject"}


def _content_schema(context: Context, raw: Mapping[str, Json], at: At) -> Json:
    content = raw["content"]
    if isinstance(content, Mapping) and len(content) == 1:
        media_type, media = next(iter(content.items()))
        if is_json(read_essence(str(media_type))[0]) and isinstance(media, Mapping):
            return media.get("schema", True)
    context.said.puzzle((at, "content"), "a parameter's content must be one JSON media type; its value is read as JSON")
    return True


def read_essence(media_type: str) -> tuple[str, dict[str, str]]:
    """Split a declared media type into its essence and its own parameters."""
    essence, *parameters = (piece.strip() for piece in media_type.split(";"))
    pairs = (piece.partition("=") for piece in parameters if piece)
    return essence.lower(), {
        name.lower(): text for name, _, text in pairs if name.lower() not in {"charset", "boundary"}
    }
