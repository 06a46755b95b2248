"""From JSON to what Cedar holds, by the kind a schema gives a value and by what statements read of it (DESIGN §7).

RULE: exactly, or not at all. An escape of Cedar's JSON is made here or it is not there: what a caller sends becomes a
text, a number, a truth value, a set or a record of declared members, or it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, assert_never

import orjson

from toolgate.core.kinds import Fields, Kind, Many, Scalar, Variant, Variants
from toolgate.core.model import Json
from toolgate.core.reads import RESERVED, Path
from toolgate.core.wiretext import pointer

Tell: TypeAlias = Callable[[Json], Json]

MOST_ELEMENTS: Final = 1 << 14  # of a list that is told: converting more would hold up every other call
_LONG_LOW: Final = -(1 << 63)
_LONG_HIGH: Final = (1 << 63) - 1
_DECIMAL_MOST: Final = 922_337_203_685_477  # of a decimal's whole part: 64 bits with four digits after the point


class Untold(ValueError):  # noqa: N818 (never escapes core: it becomes a Ruling)
    """A value that Cedar cannot hold exactly. `tokens` lead to it from the outside in; it never holds the value."""

    def __init__(self, why: str, *tokens: str, root: Literal["", "resource", "principal"] = "") -> None:
        super().__init__(why)
        self.why = why
        self._tokens = tokens
        self._root = root

    def under(self, *tokens: str) -> Untold:
        return Untold(self.why, *tokens, *self._tokens)

    def of(self, root: Literal["resource", "principal"]) -> Untold:
        """Say that it is not among the arguments."""
        return Untold(self.why, *self._tokens, root=root)

    @property
    def place(self) -> str:
        """Where it stands: a JSON Pointer into the arguments, or an attribute or tag by its name."""
        if self._root:
            return f"`{'.'.join((self._root, *self._tokens))}`"
        told = "".join(pointer("", token) for token in self._tokens)
        return f"`{told}`" if told else "what is read"


@dataclass(slots=True)
class Wanted:
    """What is read at a place and below it."""

    whole: bool = False
    below: dict[str, Wanted] = field(default_factory=dict)


def wanted(values: Iterable[Path], presence: Iterable[Path]) -> Wanted:
    """Lay paths out as a tree; a path that is only asked for with `has` ends in a place with nothing below."""
    root = Wanted()
    for path in values:
        _place(root, path).whole = True
    for path in presence:
        _place(root, path)
    return root


def teller(kind: Kind, want: Wanted) -> Tell:
    """Compile the conversion of what is wanted of values of one kind."""
    if want.whole:
        return _tell_whole(kind, {})
    if not want.below:
        return _tell_presence
    match kind:
        case Fields():
            return _tell_members(kind, want)
        case Variants():
            return _tell_variant(kind, want)
        case "opaque":  # its schema does not say whether it is an object: what is wanted below it is undeclared
            return _tell_members(Fields({}), want)
        case Many() | "text" | "long" | "flag" | "decimal":
            return _never("is not an object")
        case _:
            assert_never(kind)


def _place(root: Wanted, path: Path) -> Wanted:
    place = root
    for token in path:
        place = place.below.setdefault(token, Wanted())
    return place


def _tell_presence(_value: Json) -> Json:
    return True


def _never(why: str) -> Tell:
    def tell(_value: Json) -> Json:
        raise Untold(why)

    return tell


def _tell_members(kind: Fields, want: Wanted) -> Tell:
    """Tell the wanted members that are there; a null is not there (`context.nulls` has it)."""
    members = tuple(
        (name, teller(kind.members[name].kind, below))
        for name, below in sorted(want.below.items())
        if name in kind.members and name not in RESERVED
    )
    undeclared = tuple(sorted(want.below.keys() - kind.members.keys()))

    def tell(value: Json) -> Json:
        require_object(value)
        for name in undeclared:
            # SECURITY: the statement was checked as if this could not be there, so it would not see it.
            if value.get(name) is not None:
                raise Untold("is not declared by the schema", name)
        return _told_members(members, value)

    return tell


def _told_members(members: Iterable[tuple[str, Tell]], value: Json) -> dict[str, Json]:
    told: dict[str, Json] = {}
    name = ""
    try:
        for name, tell in members:
            part = value.get(name)
            if part is not None:
                told[name] = tell(part)
    except Untold as untold:
        raise untold.under(name) from None
    return told


def _tell_variant(kind: Variants, want: Wanted) -> Tell:
    tells = {name: teller(each, want.below[name]) for name, each in kind.by.items() if name in want.below}

    def tell(value: Json) -> Json:
        variant = _variant_of(value, kind.by)
        return {variant: tells[variant](value)} if variant in tells else {}

    return tell


def _tell_whole(kind: Kind, known: dict[int, Tell]) -> Tell:
    """Compile each kind once: definitions that name each other twice would double with every level."""
    if isinstance(kind, str):
        return _SCALARS[kind]
    tell = known.get(id(kind))
    if tell is None:
        tell = known[id(kind)] = _tell_parts(kind, known)
    return tell


def _tell_parts(kind: Fields | Variants | Many, known: dict[int, Tell]) -> Tell:
    match kind:
        case Fields():
            return _tell_every_member(kind, known)
        case Variants():
            return _tell_whole_variant(kind, known)
        case Many():
            return _tell_set(_tell_whole(kind.of, known), kind.of)
        case _:
            assert_never(kind)


def _tell_every_member(kind: Fields, known: dict[int, Tell]) -> Tell:
    named = sorted(kind.members.items())
    declared = {name: _tell_whole(each.kind, known) for name, each in named if name not in RESERVED}
    members = tuple(declared.items())

    def tell(value: Json) -> Json:
        require_object(value)
        if any(name not in declared for name, part in value.items() if part is not None):
            raise Untold("has members its schema does not declare")
        return _told_members(members, value)

    return tell


def _tell_whole_variant(kind: Variants, known: dict[int, Tell]) -> Tell:
    tells = {name: _tell_whole(each, known) for name, each in kind.by.items()}

    def tell(value: Json) -> Json:
        variant = _variant_of(value, kind.by)
        return {variant: tells[variant](value)}

    return tell


def _tell_set(tell_one: Tell, of: Kind) -> Tell:
    def tell(value: Json) -> Json:
        if type(value) is not list:
            raise Untold("is not a list")
        require_few(value)
        told = []
        for at, each in enumerate(value):
            if each is not None:
                try:
                    told.append(tell_one(each))
                except Untold as untold:
                    raise untold.under(str(at)) from None
        return distinct(told, of)

    return tell


def distinct(told: list[Json], of: Kind) -> list[Json]:
    """Return converted values as a set is written: each once, in one order, so that equal sets are equal bytes."""
    if isinstance(of, str) and of != "decimal":
        return sorted(set(told))
    return [orjson.loads(each) for each in sorted({orjson.dumps(each, option=orjson.OPT_SORT_KEYS) for each in told})]


def require_few(elements: Sequence[Json]) -> None:
    if len(elements) > MOST_ELEMENTS:
        raise Untold(f"has more than the {MOST_ELEMENTS} elements statements can be told")


def require_object(value: Json) -> None:
    if type(value) is not dict and not isinstance(value, Mapping):  # the first is nearly always enough, and cheap
        raise Untold("is not an object")
    if "__entity" in value or "__extn" in value or "__expr" in value:
        raise Untold("has a member whose name policies reserve")


def _variant_of(value: Json, by: Mapping[Variant, Kind]) -> Variant:
    variant: Variant
    match value:
        case bool():
            variant = "boolean"
        case str():
            variant = "string"
        case int() | float():
            variant = "integer" if "integer" in by and _is_whole(value) else "number"
        case list():
            variant = "array"
        case _:
            variant = "object"
    if variant not in by:
        raise Untold("is of a type its schema does not declare")
    return variant


def _is_whole(value: float) -> bool:
    return type(value) is int or value.is_integer()


def _tell_text(value: Json) -> Json:
    if type(value) is not str:
        raise Untold("is not a text")
    return value


def _tell_flag(value: Json) -> Json:
    if type(value) is not bool:
        raise Untold("is neither true nor false")
    return value


def _tell_long(value: Json) -> Json:
    if type(value) is float and value.is_integer():  # `1000.0` is an integer to JSON Schema
        value = int(value)
    if type(value) is not int or not _LONG_LOW <= value <= _LONG_HIGH:
        raise Untold("is not a whole number of 64 bits")
    return value


def _tell_decimal(value: Json) -> Json:
    if type(value) not in {int, float} or not -_DECIMAL_MOST <= value <= _DECIMAL_MOST:
        raise Untold("is not a number Cedar's decimals can hold")
    text = f"{value}.0" if type(value) is int else f"{value + 0.0:.4f}"  # `+ 0.0`: minus zero is zero
    if float(text) != value:
        raise Untold("is not a number with at most four decimals")
    return {"__extn": {"fn": "decimal", "arg": text}}


_SCALARS: Final[Mapping[Scalar, Tell]] = {
    "text": _tell_text,
    "long": _tell_long,
    "flag": _tell_flag,
    "decimal": _tell_decimal,
    "opaque": _never("is not described by its schema, so its value cannot be compared"),
}
