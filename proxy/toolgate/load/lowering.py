"""Vendors' schemas, in any OpenAPI dialect, to JSON Schema 2020-12 for one direction.

RULE: only what is reached is lowered, each definition once; a `$ref` stays a reference, so recursion and sharing cost
nothing. What cannot be understood is noted with its pointer and left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

from toolgate.core.model import Json
from toolgate.core.schema import REFERENCE
from toolgate.load.formats import BOUNDS, OURS, SILENT, STANDARD
from toolgate.load.notes import At, Said, resolve
from toolgate.load.patterns import KEYWORD, Patterns

Version: TypeAlias = Literal["2.0", "3.0", "3.1", "3.2"]
Direction: TypeAlias = Literal["request", "response"]
# Whether objects are closed from here on; a member of an allOf is not, but what is below it is.
Mode: TypeAlias = Literal["open", "close", "member"]
MASK: Final = "x-toolgate-mask"
BINARY: Final = "x-toolgate-binary"
_CHAIN: Final = 16  # references followed to learn one thing about a property

_TYPES: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_COUNTS: Final = frozenset(
    {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains"}
)
_NUMBERS: Final = frozenset({"minimum", "maximum"})
_SCHEMAS: Final = frozenset(
    {
        "not",
        "items",
        "additionalProperties",
        "contains",
        "propertyNames",
        "if",
        "then",
        "else",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_IN_PLACE: Final = frozenset({"if", "then", "else", "not"})
_KEPT: Final = frozenset({"title", "description", "default", "deprecated"})
_SILENT: Final = frozenset(
    {"example", "examples", "externalDocs", "xml", "readOnly", "writeOnly", "nullable", "collectionFormat", "$defs", "definitions", "$comment",
     "$schema", "contentMediaType", "contentEncoding", "contentSchema", "format", "type", "required", "exclusiveMinimum", "exclusiveMaximum"}
)  # fmt: skip


class Lowering:
    """Lowers the schemas of one document for one direction, into definitions they share."""

    def __init__(
        self, document: Mapping[str, Json], version: Version, direction: Direction, patterns: Patterns, said: Said
    ) -> None:
        self.defs: dict[str, Json] = {}
        self.twins: set[str] = set()
        self.has_masks = False
        self.needs_backtracking = False
        self._document = document
        self._is_legacy = version in {"2.0", "3.0"}
        self._excluded = "readOnly" if direction == "request" else "writeOnly"
        self._patterns = patterns
        self._said = said
        self._names: dict[tuple[str, Mode], str] = {}
        self._pending: list[tuple[str, str, Mode]] = []

    def lower(self, schema: Json, at: At | str, *, closed: bool = False) -> Json:
        """Lower a schema and every definition it reaches. `closed`: objects that name their fields take no others."""
        lowered = self._schema(schema, at, "close" if closed else "open")
        while self._pending:
            name, reference, mode = self._pending.pop()
            self.defs[name] = self._schema(resolve(self._document, reference), reference, mode)
        return lowered

    def _schema(self, schema: Json, at: At | str, mode: Mode) -> Json:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            self._said.puzzle(at, "this is not a schema; any value is accepted here")
            return True
        if "$ref" in schema:
            return self._reference(schema, at, mode)
        out = self._keywords(schema, at, mode)
        self._close(schema, out, mode)
        return self._nullable(schema, out)

    def _reference(self, schema: Mapping[str, Json], at: At | str, mode: Mode) -> Json:
        reference = schema["$ref"]
        try:
            resolve(self._document, reference)
        except LookupError:
            self._said.fail(at, f"the reference `{reference}` does not lead to anything in this document")
            return True
        siblings = {} if self._is_legacy else {key: value for key, value in schema.items() if key != "$ref"}
        out: dict[str, Json] = {"$ref": REFERENCE + self._name(reference, mode)}
        if siblings:
            out.update(self._keywords(siblings, at, mode))
        elif self._is_legacy and schema.get(MASK) is True:
            self._mark(out, MASK)
        return out

    def _name(self, reference: str, mode: Mode) -> str:
        key = (reference, mode)
        name = self._names.get(key)
        if name is None:
            name = _plain(reference.rsplit("/", 1)[-1]) or "schema"
            if name in self.defs:
                name = f"{name}.{len(self.defs)}"
            self._names[key] = name
            self.defs[name] = True
            self._pending.append((name, reference, mode))
        return name

    def _keywords(self, schema: Mapping[str, Json], at: At | str, mode: Mode) -> dict[str, Json]:
        out: dict[str, Json] = {}
        for keyword, value in schema.items():
            if keyword in _KEPT:
                out[keyword] = value
            elif keyword in _MAPS:
                self._map(keyword, value, (at, keyword), out, mode)
            elif keyword in _SCHEMAS:
                self._child(keyword, value, (at, keyword), out, mode)
            elif keyword in _LISTS:
                self._list(keyword, value, (at, keyword), out, _inner(keyword, schema, mode))
            elif keyword not in _SILENT:
                self._assertion(keyword, value, (at, keyword), out)
        self._type(schema, at, out)
        self._bounds(schema, at, out)
        self._format(schema, at, out)
        self._required(schema, at, out)
        return out

    def _map(self, keyword: str, value: Json, at: At, out: dict[str, Json], mode: Mode) -> None:
        if not isinstance(value, Mapping):
            self._said.puzzle(at, f"`{keyword}` must be an object")
            return
        if keyword == "patternProperties":
            value = self._pattern_names(value, at)
        lowered = {}
        for name, child in value.items():
            text = str(name)
            if keyword == "properties" and self._is_excluded(child):
                lowered[text] = False
            else:
                lowered[text] = self._schema(child, (at, text), _below(mode))
        out[keyword] = lowered
        if keyword == "properties" and len({name.casefold() for name in lowered}) != len(lowered):
            self.twins.update(_twins(lowered))

    def _pattern_names(self, value: Mapping[str, Json], at: At) -> dict[str, Json]:
        kept: dict[str, Json] = {}
        for name, child in value.items():
            pattern = self._patterns.find(str(name))
            if pattern.engine == "none":
                self._said.puzzle((at, str(name)), "this pattern compiles in no engine and is not enforced")
                continue
            if pattern.engine == "backtracking":
                self._said.report((at, str(name)), "this pattern needs backtracking; its steps are bounded")
                self.needs_backtracking = True
            kept[pattern.text] = child
        return kept

    def _child(self, keyword: str, value: Json, at: At, out: dict[str, Json], mode: Mode) -> None:
        if keyword == "items" and isinstance(value, list):
            self._list("prefixItems", value, at, out, _below(mode))
            return
        if keyword in {"additionalProperties", "unevaluatedProperties"} and value in ("true", "false"):
            value = value == "true"
        out[keyword] = self._schema(value, at, _beside(mode) if keyword in _IN_PLACE else _below(mode))

    def _list(self, keyword: str, value: Json, at: At, out: dict[str, Json], mode: Mode) -> None:
        if not isinstance(value, list) or not value:
            self._said.puzzle(at, f"`{keyword}` must be a list of schemas")
            return
        out[keyword] = [self._schema(child, (at, str(index)), mode) for index, child in enumerate(value)]

    def _assertion(self, keyword: str, value: Json, at: At, out: dict[str, Json]) -> None:
        can_be = _CHECKED.get(keyword)
        if can_be is not None and can_be(value):
            out[keyword] = int(value) if keyword in _COUNTS else value
        elif can_be is not None:
            self._said.puzzle(at, f"`{keyword}` has a value it cannot have and is not enforced")
        elif keyword == "pattern" and isinstance(value, str):
            self._pattern(value, at, out)
        elif keyword == "discriminator":
            self._said.report(at, "the discriminator is not followed; every alternative is tried instead")
        elif keyword == MASK:
            self._mark(out, MASK)
        elif not keyword.startswith("x-"):
            self._said.puzzle(at, f"`{keyword}` is not a keyword of this dialect and is not enforced")

    def _pattern(self, text: str, at: At, out: dict[str, Json]) -> None:
        pattern = self._patterns.find(text)
        match pattern.engine:
            case "linear":
                out["pattern"] = pattern.text
            case "backtracking":
                out[KEYWORD] = pattern.text
                self._said.report(at, "this pattern needs backtracking; longer texts than 1024 characters are refused")
            case "none":
                self._said.puzzle(at, "this pattern compiles in no engine and is not enforced")

    def _type(self, schema: Mapping[str, Json], at: At | str, out: dict[str, Json]) -> None:
        declared = schema.get("type")
        if declared is None:
            if not self._is_legacy and _is_raw(schema):
                self._mark(out, BINARY)
            return
        kinds = declared if isinstance(declared, list) else [declared]
        if kinds == ["file"]:
            out["type"] = "string"
            self._mark(out, BINARY)
            return
        known = [kind for kind in kinds if isinstance(kind, str) and kind in _TYPES]
        if len(known) != len(kinds):
            self._said.puzzle((at, "type"), f"`{declared}` is not a type; it is not enforced")
        elif known:
            out["type"] = known[0] if len(known) == 1 else known
        is_string = known == ["string"]
        if is_string and (schema.get("format") == "binary" or (not self._is_legacy and _is_raw(schema))):
            self._mark(out, BINARY)

    def _bounds(self, schema: Mapping[str, Json], at: At | str, out: dict[str, Json]) -> None:
        for keyword, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            value = schema.get(keyword)
            if value is True and inclusive in out:
                out[keyword] = out.pop(inclusive)
            elif _is_number(value):
                out[keyword] = value
            elif value is not None and not isinstance(value, bool):
                self._said.puzzle((at, keyword), f"`{keyword}` has a value it cannot have and is not enforced")

    def _format(self, schema: Mapping[str, Json], at: At | str, out: dict[str, Json]) -> None:
        name = schema.get("format")
        if schema.get("writeOnly") is True or name == "password":
            self._mark(out, MASK)
        if not isinstance(name, str):
            return
        if name in BOUNDS:
            least, most = BOUNDS[name]
            out["minimum"] = max(out.get("minimum", least), least)
            out["maximum"] = min(out.get("maximum", most), most)
        if name in STANDARD or (name in OURS and "string" in _listed(out.get("type", "string"))):
            out["format"] = name
        elif name not in BOUNDS and name not in SILENT:
            self._said.puzzle((at, "format"), f"the format `{name}` is not known and is not checked")

    def _required(self, schema: Mapping[str, Json], at: At | str, out: dict[str, Json]) -> None:
        required = schema.get("required")
        if isinstance(required, list) and all(isinstance(name, str) for name in required):
            excluded = self._excluded_names(schema)
            out["required"] = list(dict.fromkeys(name for name in required if name not in excluded))
        elif required is not None and not isinstance(required, bool):
            self._said.puzzle((at, "required"), "`required` must be a list of names and is not enforced")

    def _excluded_names(self, schema: Mapping[str, Json], depth: int = 0) -> set[str]:
        """Return the properties of a schema and its allOf that do not travel in this direction."""
        properties = schema.get("properties")
        names = set()
        if isinstance(properties, Mapping):
            names = {name for name, child in properties.items() if self._is_excluded(child)}
        for member in schema.get("allOf") or () if depth < _CHAIN else ():
            target = self._followed(member)
            if isinstance(target, Mapping):
                names |= self._excluded_names(target, depth + 1)
        return names

    def _is_excluded(self, schema: Json, depth: int = 0) -> bool:
        if not isinstance(schema, Mapping) or depth > _CHAIN:
            return False
        if schema.get(self._excluded) is True and not (self._is_legacy and "$ref" in schema):
            return True
        if "$ref" in schema:
            return self._is_excluded(self._followed(schema), depth + 1)
        members = schema.get("allOf")
        return isinstance(members, list) and any(self._is_excluded(member, depth + 1) for member in members)

    def _followed(self, schema: Json) -> Json:
        for _ in range(_CHAIN):
            if not isinstance(schema, Mapping) or "$ref" not in schema:
                return schema
            try:
                schema = resolve(self._document, schema["$ref"])
            except LookupError:
                return None
        return None

    def _close(self, schema: Mapping[str, Json], out: dict[str, Json], mode: Mode) -> None:
        """Close an object that names its fields and says nothing of others."""
        if mode != "close" or {"additionalProperties", "unevaluatedProperties"} & set(schema):
            return
        if "allOf" in out and self._declares_fields(schema):
            out["unevaluatedProperties"] = False
        elif "properties" in out:
            in_place = {"anyOf", "oneOf", "if", "dependentSchemas", "patternProperties"} & set(out)
            out["unevaluatedProperties" if in_place else "additionalProperties"] = False

    def _declares_fields(self, schema: Json, depth: int = 0) -> bool:
        target = self._followed(schema)
        if not isinstance(target, Mapping) or depth > _CHAIN:
            return False
        if target.get("additionalProperties") not in (None, False):
            return False
        members = target.get("allOf")
        return "properties" in target or (
            isinstance(members, list) and any(self._declares_fields(member, depth + 1) for member in members)
        )

    def _nullable(self, schema: Mapping[str, Json], out: dict[str, Json]) -> Json:
        if not (schema.get("nullable") is True or schema.get("x-nullable") is True):
            return out
        kind = out.get("type")
        if "enum" in out and None not in out["enum"]:
            out["enum"] = [*out["enum"], None]
        if isinstance(kind, str):
            out["type"] = [kind, "null"] if kind != "null" else kind
        elif isinstance(kind, list) and "null" not in kind:
            out["type"] = [*kind, "null"]
        if {"allOf", "anyOf", "oneOf", "not"} & set(out) or "const" in out:
            shown = {key: out.pop(key) for key in ("title", "description", "default") if key in out}
            return {**shown, "anyOf": [out, {"type": "null"}]}
        return out

    def _mark(self, out: dict[str, Json], mark: str) -> None:
        out[mark] = True
        if mark == MASK:
            self.has_masks = True


def _below(mode: Mode) -> Mode:
    return "open" if mode == "open" else "close"


def _beside(mode: Mode) -> Mode:
    return "open" if mode == "open" else "member"


def _inner(keyword: str, schema: Mapping[str, Json], mode: Mode) -> Mode:
    """Return the mode of a list's members: beside fields they must let pass what the others declare."""
    if keyword == "prefixItems":
        return _below(mode)
    is_beside = keyword == "allOf" or "properties" in schema or "allOf" in schema
    return _beside(mode) if is_beside else mode


def _listed(kinds: Json) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def _is_raw(schema: Mapping[str, Json]) -> bool:
    return "contentMediaType" in schema and "contentEncoding" not in schema


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Json) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)


def _plain(name: str) -> str:
    return "".join(char if char.isalnum() or char in "._-" else "_" for char in name if char.isascii())


def _twins(names: Mapping[str, Json]) -> set[str]:
    seen: dict[str, str] = {}
    twins = set()
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            twins |= {name, other}
    return twins


_CHECKED: Final[Mapping[str, Callable[[Json], bool]]] = {
    "enum": lambda value: isinstance(value, list),
    "const": lambda _value: True,
    "multipleOf": lambda value: _is_number(value) and value > 0,
    "uniqueItems": lambda value: isinstance(value, bool),
    "dependentRequired": lambda value: isinstance(value, Mapping),
    **dict.fromkeys(_NUMBERS, _is_number),
    **dict.fromkeys(_COUNTS, _is_count),
}
