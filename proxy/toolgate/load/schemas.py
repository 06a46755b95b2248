"""A document's schemas: signatures and responses of its operations, compiled.

RULE: compiled at load, offline, in linear time: no call waits for a compiler, and no schema makes the gate fetch anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, TypeAlias

import jsonschema_rs

from toolgate.core.bodies import BODY, Body
from toolgate.core.fields import COOKIES, Fields, Unknown, join_query, split_query
from toolgate.core.model import Json
from toolgate.core.parameters import Location, Parameter
from toolgate.core.responses import Responses
from toolgate.core.schema import REFERENCE, Compiled, Judge, self_contained
from toolgate.core.signature import Contents, Places, Signature
from toolgate.core.wiretext import Malformed, Unwritable
from toolgate.load.arguments import (
    LOCATIONS,
    Context,
    Declared,
    collect,
    declare,
    followed,
    read_template,
)
from toolgate.load.contents import Media, media_of, swagger_content
from toolgate.load.formats import OURS
from toolgate.load.lowering import Lowering, Version
from toolgate.load.masks import masks_of
from toolgate.load.notes import At, Note, Said, written
from toolgate.load.patterns import BACKTRACKS, KEYWORD, Backtracking, Patterns

_URI: Final = REFERENCE.partition("#")[0]


Listed: TypeAlias = list[tuple[Mapping[str, Json], At]]


class Schemas:
    """The schemas of one whole document, every `$ref` of which is local."""

    def __init__(self, document: Mapping[str, Any], version: Version, *, closed_bodies: bool = False) -> None:
        self._document = document
        self._version: Version = version
        self._closed_bodies = closed_bodies
        self._said = Said()
        patterns = Patterns()
        self._request = Lowering(document, version, "request", patterns, self._said)
        self._response = Lowering(document, version, "response", patterns, self._said)
        self._registry: jsonschema_rs.Registry | None = None
        self._registered = 0
        self._made: list[tuple[Signature, list[Declared], At]] = []
        self._judges: dict[tuple[bytes, tuple[str, ...]], Judge] = {}  # equal schemas share one, until all are made
        self._security_query = frozenset(_secrets_in(document, "query"))
        self._security_cookies = frozenset(_secrets_in(document, "cookie"))
        self._defaults: dict[tuple[str, int], bool] = {}

    @property
    def notes(self) -> Sequence[Note]:
        """What is enforced differently from what the document says, or not at all."""
        return self._said.notes

    @property
    def problems(self) -> Sequence[tuple[str, str]]:
        """What makes the document unusable: pointers and messages."""
        return self._said.problems

    def signature(  # noqa: PLR0913 (what an operation is made of; the loader's contract)
        self,
        method: str,
        template: str,
        path_item: Mapping[str, Any],
        operation: Mapping[str, Any],
        *,
        unknown_parameters: Unknown = "refuse",
        ignored_query: Collection[str] = (),
    ) -> Signature:
        """Return an operation's signature. Call `compile` once after the last one."""
        at: At = (("#/paths", template), method.lower())
        context = Context(
            self._document, self._version, self._request, self._said, unknown_parameters, self._closed_bodies
        )
        listed = collect(context, path_item, operation, at)
        content, is_required, body_at = self._content(context, operation, listed, at)
        media = list(media_of(context, content, body_at))
        parts, names = read_template(template)
        declared = self._declared(context, listed, names, {BODY} if media else set(), at)
        places = self._places(declared, names, unknown_parameters, frozenset(ignored_query))
        contents = self._contents(declared, media, is_required=is_required)
        signature = Signature(method.upper(), parts, places, contents)
        self._made.append((signature, declared, at))
        return signature

    def compile(self) -> None:
        """Compile every signature made so far, and fill in the defaults that fit their own schemas."""
        for signature, declared, at in self._made:
            try:
                signature.compile()
                signature.fill_defaults(dict(self._fitting_defaults(declared)))
            except ValueError as error:
                self._said.fail(at, f"the operation's schemas do not compile: {_first_line(error)}")
        self._made.clear()
        self._judges.clear()

    def responses(self, operation: Mapping[str, Any]) -> Responses:
        """Return the judges of an operation's answers; nothing is lowered before the first answer is judged."""
        declared: dict[str, dict[str, Callable[[], Judge]]] = {}
        for status, raw in (operation.get("responses") or {}).items():
            by_type = self._response_schemas(raw, operation)
            if by_type:
                declared[str(status)] = {name: _Lazy(self, schema) for name, schema in by_type.items()}
        return Responses(declared)

    # -- the pieces --------------------------------------------------------------------------------------------

    def _content(
        self, context: Context, operation: Mapping[str, Any], listed: Listed, at: At
    ) -> tuple[Mapping[str, Json], bool, At]:
        if self._version == "2.0":
            return *swagger_content(context, operation, listed), (at, "parameters")
        if "requestBody" not in operation:
            return {}, False, (at, "requestBody")
        body = followed(context, operation["requestBody"], (at, "requestBody")) or {}
        content: Json = body.get("content")
        place: At = ((at, "requestBody"), "content")
        return content if isinstance(content, Mapping) else {}, body.get("required") is True, place

    def _declared(
        self, context: Context, listed: Listed, names: tuple[str, ...], taken: set[str], at: At
    ) -> list[Declared]:
        declared: list[Declared] = []
        in_path = {raw["name"] for raw, _ in listed if raw["in"] == "path"}
        for name in dict.fromkeys(names):
            if name not in in_path:
                self._said.report(at, f"the path parameter `{name}` is not declared; any text is taken")
                implied = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "type": "string"}
                listed = [*listed, (implied, at)]
        for raw, place in sorted(listed, key=lambda each: _order(each[0]["in"])):
            if raw["in"] == "path" and raw["name"] not in names:
                self._said.report(place, f"the path has no `{{{raw['name']}}}`; the parameter is ignored")
                continue
            one = declare(context, raw, _key(raw["in"], raw["name"], taken), place)
            if one is not None:
                taken.add(one.parameter.key)
                declared.append(one)
        return declared

    def _places(
        self, declared: list[Declared], names: tuple[str, ...], unknown: Unknown, ignored: frozenset[str]
    ) -> Places:
        by_name = {each.parameter.name: each.parameter for each in declared if each.parameter.location == "path"}
        query = _at(declared, "query")
        cookies = _at(declared, "cookie")
        return Places(
            path=tuple(by_name[name] for name in names if name in by_name),
            query=Fields(query, unknown, ignored=ignored | self._security_query),
            header=tuple(_at(declared, "header")),
            cookie=Fields(cookies, unknown, place=COOKIES, ignored=self._security_cookies),
        )

    def _contents(self, declared: list[Declared], media: list[Media], *, is_required: bool) -> Contents:
        """Make the judges: one for a call without a body, one for each media type of a body."""
        properties = {each.parameter.key: each.schema for each in declared}
        required = [each.parameter.key for each in declared if each.parameter.required]
        if media and is_required:
            required.append(BODY)
        root = _root({**properties, BODY: True} if media else properties, required)
        masks = self._masks(root, media)
        bodies = {}
        for each in media:
            judge = self._judge(_root({**properties, BODY: each.schema}, required), masks)
            bodies[each.media_type] = Body(each.media_type, each.reading, judge, each.shown, each.parameters)
        return Contents(self._judge(root, masks), bodies, is_required, masks)

    def _masks(self, root: Mapping[str, Json], media: list[Media]) -> tuple[str, ...]:
        if not self._request.has_masks:
            return ()
        schemas = [root, *({"properties": {BODY: each.schema}} for each in media)]
        return tuple(sorted({mask for schema in schemas for mask in masks_of(schema, self._request.defs)}))

    # -- compiling ---------------------------------------------------------------------------------------------

    def _judge(self, schema: Mapping[str, Json], masks: tuple[str, ...]) -> Judge:
        def make() -> Compiled:
            return self._compile_request(schema)

        text = repr(schema)  # exact where JSON is not: NaN is not null
        known = sha256(text.encode("utf-8", "surrogatepass")).digest(), masks
        judge = self._judges.get(known)
        if judge is None:
            judge = self._judges[known] = Judge(make, schema, self._request.defs, masks)
        return judge

    def _compile_request(self, schema: Mapping[str, Json]) -> Compiled:
        if self._registry is None or self._registered != len(self._request.defs):
            self._registered = len(self._request.defs)
            self._registry = jsonschema_rs.Registry(
                [(_URI, {"$defs": self._request.defs})], draft=jsonschema_rs.Draft202012
            )
        return compile_schema(dict(schema), self._registry, is_linear=not self._request.needs_backtracking)

    def response_judge(self, schema: Json) -> Judge:
        """Lower one answer's schema and return its judge."""
        lowered = self._response.lower(schema, "#")
        whole = self_contained(lowered if isinstance(lowered, dict) else {"allOf": [lowered]}, self._response.defs)
        is_linear = not self._response.needs_backtracking
        # SECURITY: what differs is written to the journal, so an answer's secrets are named there and not shown.
        masks = masks_of(lowered, {name: self._response.defs[name] for name in whole.get("$defs", ())})
        return Judge(lambda: compile_schema(whole, None, is_linear=is_linear), whole, {}, masks)

    def _fitting_defaults(self, declared: list[Declared]) -> Iterator[tuple[str, Json]]:
        for each in declared:
            if each.default is None:
                continue
            if not self._fits_itself(each):
                self._said.report((each.at, "default"), "the default does not fit its own schema and is not filled in")
            elif _is_writable(each.parameter, each.default):
                yield each.parameter.key, each.default

    def _fits_itself(self, each: Declared) -> bool:
        key = (written(each.at), id(each.schema))
        known = self._defaults.get(key)
        if known is None:
            schema = each.schema if isinstance(each.schema, dict) else {"allOf": [each.schema]}
            known = self._defaults[key] = self._compile_request(schema).is_valid(each.default)
        return known

    def _response_schemas(self, raw: Json, operation: Mapping[str, Any]) -> dict[str, Json]:
        """Return an answer's JSON schemas by media type."""
        context = Context(self._document, self._version, self._response, self._said, "refuse", closed_bodies=False)
        response = followed(context, raw, "#")
        if response is None:
            return {}
        if self._version == "2.0":
            produces = operation.get("produces", self._document.get("produces")) or ["application/json"]
            return {str(name): response["schema"] for name in produces} if "schema" in response else {}
        content = response.get("content")
        return {
            str(name).partition(";")[0].strip().lower(): media["schema"]
            for name, media in (content.items() if isinstance(content, Mapping) else ())
            if isinstance(media, Mapping) and "schema" in media
        }


class _Lazy:
    """Makes one answer's judge when it is first asked for."""

    __slots__ = ("_schema", "_schemas")

    def __init__(self, schemas: Schemas, schema: Json) -> None:
        self._schemas = schemas
        self._schema = schema

    def __call__(self) -> Judge:
        return self._schemas.response_judge(self._schema)


def compile_schema(schema: dict[str, Any], registry: jsonschema_rs.Registry | None, *, is_linear: bool) -> Compiled:
    """Compile a lowered schema. Raises ValueError when it is none."""
    options = jsonschema_rs.RegexOptions() if is_linear else jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS)
    compiled: Compiled = jsonschema_rs.Draft202012Validator(
        schema,
        registry=registry,
        offline=True,  # SECURITY: jsonschema-rs fetches remote references unless told not to (SAFETY F08)
        validate_formats=True,
        formats=OURS,
        keywords={KEYWORD: Backtracking},
        pattern_options=options,
    )
    return compiled


def _root(properties: Mapping[str, Json], required: list[str]) -> dict[str, Json]:
    root: dict[str, Json] = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    if required:
        root["required"] = required
    return root


def _order(location: Json) -> int:
    return LOCATIONS.index(location) if location in LOCATIONS else len(LOCATIONS)


def _key(location: Json, name: str, taken: set[str]) -> str:
    """Name a parameter in the arguments object: the later location is prefixed where names collide."""
    key = name
    while key in taken:
        key = f"{location}_{key}"
    return key


def _at(declared: list[Declared], location: Location) -> list[Parameter]:
    return [each.parameter for each in declared if each.parameter.location == location]


def _is_writable(parameter: Parameter, default: Json) -> bool:
    """Whether a default survives being written in its parameter's style."""
    fields = Fields([parameter], "refuse")
    if parameter.location not in {"query", "cookie"}:
        return isinstance(default, (str, int, float, bool))
    try:
        pairs = fields.write({parameter.key: default})
        values, _ = fields.read(split_query(join_query(pairs)))
    except (Malformed, Unwritable):
        return False
    return values == {parameter.key: default}


def _secrets_in(document: Mapping[str, Any], location: str) -> Iterator[str]:
    """Yield the names under which security schemes send keys: the gate adds those itself."""
    components = document.get("components")
    schemes = document.get("securityDefinitions") or (
        components.get("securitySchemes") if isinstance(components, Mapping) else None
    )
    for scheme in schemes.values() if isinstance(schemes, Mapping) else ():
        if isinstance(scheme, Mapping) and scheme.get("type") == "apiKey" and scheme.get("in") == location:
            yield str(scheme.get("name"))


def _first_line(error: ValueError) -> str:
    return str(error).partition("\n")[0]
