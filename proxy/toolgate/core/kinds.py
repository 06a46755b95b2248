"""Kinds: what a JSON Schema lets an argument be, as far as a policy language can say it (CEDAR.md §1).

RULE: one description serves both the types statements are checked against and the conversion of values, so that they
cannot disagree. What cannot be described (recursion, anything at all, what is too deep) is `opaque`, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, TypeAlias

from toolgate.core.model import Json

Scalar: TypeAlias = Literal["text", "long", "flag", "decimal", "opaque"]  # opaque: present or absent, never looked into
Variant: TypeAlias = Literal["string", "integer", "number", "boolean", "array", "object"]


@dataclass(frozen=True, slots=True)
class Many:
    """An array: a set, so order and repetition are lost."""

    of: Kind


@dataclass(frozen=True, slots=True)
class Field:
    kind: Kind
    required: bool  # always there, and never null


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with known members."""

    members: Mapping[str, Field]


@dataclass(frozen=True, slots=True)
class Variants:
    """One of several kinds: a record of optional members, named by the JSON kind the value has."""

    by: Mapping[Variant, Kind]


Kind: TypeAlias = Scalar | Many | Fields | Variants

MAX_DEPTH: Final = 16  # of objects and arrays in one another
MAX_MEMBERS: Final = 10_000  # of all objects of one schema
_SCALARS: Final[Mapping[Variant, Scalar]] = {
    "string": "text", "integer": "long", "number": "decimal", "boolean": "flag",
}  # fmt: skip
_KINDS: Final[Mapping[type, str]] = {
    type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array",
}  # fmt: skip
_NUMERIC: Final[frozenset[Variant]] = frozenset(("integer", "number"))
_OF_OBJECTS: Final = frozenset({"properties", "required", "additionalProperties", "patternProperties"})
_OF_ARRAYS: Final = frozenset({"items", "prefixItems", "uniqueItems", "minItems", "maxItems"})


def kind_of(schema: Mapping[str, Json]) -> Kind:
    """Describe what fits a 2020-12 schema that holds its own `$defs`."""
    defs = schema.get("$defs")
    return Describer(defs if isinstance(defs, Mapping) else {}).describe(schema)


def kind_of_values(values: Iterable[Json]) -> Kind:
    """Describe values that are known, such as the attributes of a file's resources."""
    return _described(_either_of(map(_possible_of, values)))


@dataclass(frozen=True, slots=True)
class _Object:
    members: Mapping[str, _Possible]
    required: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Possible:
    """What a value may be: anything, or one of these; null is kept apart, because it means absent."""

    anything: bool = False
    null: bool = False
    scalars: frozenset[Variant] = frozenset()
    items: _Possible | None = None  # of arrays, where those fit
    fields: _Object | None = None  # of objects, where those fit

    @property
    def is_nothing(self) -> bool:
        return not (self.anything or self.null or self.scalars or self.items or self.fields)


_NOTHING: Final = _Possible()
_ANYTHING: Final = _Possible(anything=True, null=True)


class _Known(NamedTuple):
    """A definition that was read whole, and what must be so for it to read the same at another place."""

    possible: _Possible
    names: frozenset[str]  # of the definitions it leads to: none of them may be around it
    cost: int  # must be left of MAX_MEMBERS
    height: int  # must be left of MAX_DEPTH


@dataclass(slots=True)
class Describer:
    """Describes the schemas of one document. What it knows already makes it faster and changes nothing."""

    defs: Mapping[str, Json]
    _known: dict[str, _Known] = field(default_factory=dict)
    _open: set[str] = field(default_factory=set)  # definitions that are being read
    _names: set[str] = field(default_factory=set)  # definitions the innermost of those leads to
    _deepest: int = 0
    _cost: int = 0
    _is_cut: bool = False

    def describe(self, schema: Mapping[str, Json]) -> Kind:
        self._cost, self._is_cut = 0, False
        return _described(self._read(schema, 0))

    def _read(self, schema: Json, depth: int) -> _Possible:
        if schema is False:
            return _NOTHING
        if not isinstance(schema, Mapping) or not schema:
            return _ANYTHING
        possible = self._own(schema, depth)
        if isinstance(schema.get("$ref"), str):
            possible = _both(possible, self._named(schema["$ref"].rpartition("/")[2], depth))
        for each in _listed(schema, "allOf"):
            possible = _both(possible, self._read(each, depth))
        for keyword in ("anyOf", "oneOf"):
            if branches := _listed(schema, keyword):
                possible = _both(possible, _either_of(self._read(each, depth) for each in branches))
        return possible

    def _named(self, name: str, depth: int) -> _Possible:
        self._names.add(name)
        if name in self._open or self._is_too_much(depth):
            return _ANYTHING
        known = self._known.get(name)
        if known is None or not self._is_same_here(known, depth):
            known = self._definition(name, depth)
        self._names |= known.names
        self._deepest = max(self._deepest, depth + known.height)
        return known.possible

    def _is_same_here(self, known: _Known, depth: int) -> bool:
        if depth + known.height > MAX_DEPTH or self._cost + known.cost > MAX_MEMBERS:
            return False
        if not known.names.isdisjoint(self._open):
            return False
        self._cost += known.cost
        return True

    def _definition(self, name: str, depth: int) -> _Known:
        outside, before = (self._names, self._deepest), self._cost
        self._names, self._deepest = set(), depth
        self._cost += 1
        self._open.add(name)
        possible = self._read(self.defs.get(name, True), depth)
        self._open.discard(name)
        known = _Known(possible, frozenset(self._names), self._cost - before, self._deepest - depth)
        if not self._is_cut and known.names.isdisjoint(self._open):
            self._known[name] = known
        self._names, self._deepest = outside
        return known

    def _own(self, schema: Mapping[str, Json], depth: int) -> _Possible:
        """Describe what the keywords beside references and combinations let fit."""
        kinds = _types(schema)
        if kinds is None:
            return _ANYTHING
        return _Possible(
            null="null" in kinds,
            scalars=frozenset(each for each in _SCALARS if each in kinds),
            items=self._items(schema, depth + 1) if "array" in kinds else None,
            fields=self._fields(schema, depth + 1) if "object" in kinds else None,
        )

    def _items(self, schema: Mapping[str, Json], depth: int) -> _Possible:
        if self._is_too_much(depth):
            return _ANYTHING
        first = _either_of(self._read(each, depth) for each in _listed(schema, "prefixItems"))
        return _either(first, self._read(schema.get("items", True), depth))

    def _fields(self, schema: Mapping[str, Json], depth: int) -> _Object:
        properties, required = schema.get("properties"), schema.get("required")
        named = frozenset(each for each in required if isinstance(each, str)) if isinstance(required, list) else ()
        members: dict[str, _Possible] = {}
        for name, child in properties.items() if isinstance(properties, Mapping) else ():
            self._cost += 1
            members[name] = _ANYTHING if self._is_too_much(depth) else self._read(child, depth)
        return _Object(members, frozenset(named))

    def _is_too_much(self, depth: int) -> bool:
        self._deepest = max(self._deepest, depth)
        if depth <= MAX_DEPTH and self._cost <= MAX_MEMBERS:
            return False
        self._is_cut = True
        return True


def _listed(schema: Mapping[str, Json], keyword: str) -> list[Json]:
    listed = schema.get(keyword)
    return listed if isinstance(listed, list) else []


def _types(schema: Mapping[str, Json]) -> frozenset[str] | None:
    """Return the JSON kinds a schema names or, without a type, means; None where it says nothing of that."""
    declared = schema.get("type")
    values = _kinds_of_values(schema)
    if declared is None:
        if values is not None:
            return values
        return frozenset(
            kind for kind, keywords in (("object", _OF_OBJECTS), ("array", _OF_ARRAYS)) if keywords & schema.keys()
        ) or None  # fmt: skip
    kinds = frozenset(declared if isinstance(declared, list) else [declared])
    if values is None:
        return kinds
    numeric = {"number"} & kinds if "integer" in values else set()
    return (kinds & values) | numeric


def _kinds_of_values(schema: Mapping[str, Json]) -> frozenset[str] | None:
    if "const" in schema:
        return frozenset({_kind_of_value(schema["const"])})
    listed = schema.get("enum")
    return frozenset(map(_kind_of_value, listed)) if isinstance(listed, list) else None


def _kind_of_value(value: Json) -> str:
    return _KINDS.get(type(value), "object")


def _possible_of(value: Json) -> _Possible:
    match _kind_of_value(value):
        case "null":
            return _Possible(null=True)
        case "array":
            return _Possible(items=_either_of(map(_possible_of, value)))
        case "object":
            return _Possible(
                fields=_Object({name: _possible_of(each) for name, each in value.items()}, frozenset(value))
            )
        case "boolean" | "integer" | "number" | "string" as scalar:
            return _Possible(scalars=frozenset({scalar}))
        case _:
            return _ANYTHING


def _both(one: _Possible, other: _Possible) -> _Possible:
    """Return what fits one and the other."""
    null = one.null and other.null
    if one.anything:
        return replace(other, null=null)
    if other.anything:
        return replace(one, null=null)
    scalars = one.scalars & other.scalars
    if "integer" in one.scalars | other.scalars and "number" in one.scalars | other.scalars:
        whole = _NUMERIC & one.scalars and _NUMERIC & other.scalars and "number" not in scalars
        scalars |= {"integer"} if whole else set()
    return _Possible(
        null=null,
        scalars=scalars,
        items=_both(one.items, other.items) if one.items and other.items else None,
        fields=_both_objects(one.fields, other.fields) if one.fields and other.fields else None,
    )


def _both_objects(one: _Object, other: _Object) -> _Object:
    members = {**one.members}
    for name, possible in other.members.items():
        members[name] = _both(members[name], possible) if name in members else possible
    return _Object(members, one.required | other.required)


def _either_of(several: Iterable[_Possible]) -> _Possible:
    either = _NOTHING
    for each in several:
        either = _either(either, each)
    return either


def _either(one: _Possible, other: _Possible) -> _Possible:
    """Return what fits one or the other."""
    if one.is_nothing or other.is_nothing:
        return other if one.is_nothing else one
    return _Possible(
        anything=one.anything or other.anything,
        null=one.null or other.null,
        scalars=one.scalars | other.scalars,
        items=_either(one.items, other.items) if one.items and other.items else one.items or other.items,
        fields=_either_objects(one.fields, other.fields) if one.fields and other.fields else one.fields or other.fields,
    )


def _either_objects(one: _Object, other: _Object) -> _Object:
    members = {**one.members}
    for name, possible in other.members.items():
        members[name] = _either(members[name], possible) if name in members else possible
    return _Object(members, one.required & other.required)


def _described(possible: _Possible) -> Kind:
    if possible.anything:
        return "opaque"
    scalars = possible.scalars - {"integer"} if "number" in possible.scalars else possible.scalars
    by: dict[Variant, Kind] = {each: _SCALARS[each] for each in _SCALARS if each in scalars}
    if possible.items is not None:
        by["array"] = Many(_described(possible.items))
    if possible.fields is not None:
        by["object"] = _described_object(possible.fields)
    if len(by) > 1:
        return Variants(by)
    return next(iter(by.values()), "opaque")


def _described_object(fields: _Object) -> Fields:
    members = {
        name: Field(_described(each), name in fields.required and not each.null)
        for name, each in fields.members.items()
        if not each.is_nothing
    }
    undeclared = {name: Field("opaque", required=False) for name in sorted(fields.required - members.keys())}
    return Fields({**members, **undeclared})
