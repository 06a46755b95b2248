"""Named texts: a query, a cookie header or an urlencoded form, read into arguments and written again.

RULE: every pair that comes in belongs to exactly one declared parameter, or is refused or dropped as declared; a name
that is not an array's may come once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from toolgate.core import strictjson
from toolgate.core.model import Json, Violation
from toolgate.core.parameters import (
    Parameter,
    Tree,
    field_shape,
    layout_of,
    read_json,
    read_text,
    split_brackets,
    write_brackets,
    write_text,
)
from toolgate.core.shape import ANY, Shape, write_scalar
from toolgate.core.suggest import near
from toolgate.core.violations import MOST_VIOLATIONS, aid
from toolgate.core.wiretext import (
    Malformed,
    Unwritable,
    echo,
    is_deceptive,
    pointer,
    quote_query,
    quote_reserved,
    unquote,
    unquote_form,
)

Unknown: TypeAlias = Literal["refuse", "drop"]
MOST_PAIRS: Final = 4096
Pairs: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where named texts stand: below which pointer of the arguments, and what one of them is called."""

    base: str
    noun: str


QUERY: Final = Place("", "parameter")
COOKIES: Final = Place("", "cookie")
FORM: Final = Place("/body", "field")
_quoted_name = lru_cache(maxsize=8192)(quote_query)  # of declared names only: a caller's would push them out


class Fields:
    """The declared parameters of one query, cookie header or form."""

    __slots__ = (
        "_base",
        "_brackets",
        "_ignored",
        "_noun",
        "_open",
        "_plain",
        "_rest",
        "_scalars",
        "_spread",
        "_unknown",
        "parameters",
    )

    def __init__(
        self,
        parameters: Sequence[Parameter],
        unknown: Unknown,
        *,
        place: Place = QUERY,
        ignored: frozenset[str] = frozenset(),
        rest: Shape | None = None,
    ) -> None:
        self.parameters = tuple(parameters)
        self._unknown = unknown
        self._ignored = ignored
        self._base = place.base
        self._noun = place.noun
        self._rest = rest  # what undeclared fields hold, where the schema wants them
        self._plain = {each.name: each for each in parameters}
        self._scalars = {each.name: (each.key, each.shape.read) for each in parameters if each.is_scalar}
        self._brackets = {each.name: each for each in parameters if each.style == "deepObject"}
        spreading = [each for each in parameters if each.is_spread]
        self._spread = {name: each for each in reversed(spreading) for name in each.shape.fields or ()}
        self._open = next((each for each in spreading if each.shape.swallows), None)

    def read(self, pairs: Pairs) -> tuple[dict[str, Json], list[Violation]]:
        """Read decoded names and texts into values by key, with everything wrong about the names."""
        scalars = self._read_scalars(pairs)
        return (scalars, []) if scalars is not None else self._read_any(pairs)

    def _read_scalars(self, pairs: Pairs) -> dict[str, Json] | None:
        """Read what most queries are: declared scalars, each once. None where anything else is among them."""
        values: dict[str, Json] = {}
        for name, text in pairs:
            scalar = self._scalars.get(name)
            if scalar is None or scalar[0] in values:
                return None
            values[scalar[0]] = scalar[1](text)
        return values

    def _read_any(self, pairs: Pairs) -> tuple[dict[str, Json], list[Violation]]:
        taken: dict[str, list[str]] = {}
        trees: dict[str, Tree] = {}
        spread: dict[str, dict[str, list[str]]] = {}
        loose: dict[str, list[str]] = {}
        wrong: list[Violation] = []
        for name, text in pairs:
            parameter = self._plain.get(name)
            if parameter is not None and not (parameter.is_spread and not parameter.shape.scalars):
                taken.setdefault(name, []).append(text)
            elif not self._place(name, text, trees, spread):
                if self._rest is not None:
                    loose.setdefault(name, []).append(text)
                else:
                    self._miss(name, wrong)
        values: dict[str, Json] = {}
        self._read_taken(taken, values, wrong)
        self._read_trees(trees, values, wrong)
        self._read_spread(spread, values, wrong)
        for name, texts in loose.items():
            values[name] = self._one(name, texts, self._rest or ANY, wrong)
        return values, wrong

    def _place(self, name: str, text: str, trees: dict[str, Tree], spread: dict[str, dict[str, list[str]]]) -> bool:
        """Give a pair to the deepObject or exploded object it belongs to; False when there is none."""
        split = split_brackets(name) if self._brackets else None
        if split is not None and split[0] in self._brackets:
            if not trees.setdefault(split[0], Tree()).add(split[1], text):
                raise Malformed(f"the {self._noun} {echo(name)} is given twice or contradicts another")
            return True
        owner = self._spread.get(name) or (self._open if name not in self._ignored else None)
        if owner is None:
            return False
        spread.setdefault(owner.name, {}).setdefault(name, []).append(text)
        return True

    def _miss(self, name: str, wrong: list[Violation]) -> None:
        if is_deceptive(name):
            raise Malformed(f"the {self._noun} name {echo(name)} has control characters")
        if self._unknown == "drop" or name in self._ignored:
            return
        if len(wrong) < MOST_VIOLATIONS:
            wrong.append(unknown_field(self._base, name, self._noun, (*self._plain, *self._spread)))

    def _read_taken(self, taken: Mapping[str, list[str]], values: dict[str, Json], wrong: list[Violation]) -> None:
        for name, texts in taken.items():
            parameter = self._plain[name]
            if len(texts) == 1:
                values[parameter.key] = _read_single(parameter, texts[0])
            elif parameter.takes_many:
                items = parameter.shape.items or ANY
                values[parameter.key] = [items.read(text) for text in texts]
            else:
                wrong.append(given_twice(self._base, parameter.key, name))
                values[parameter.key] = _read_single(parameter, texts[0])

    def _read_trees(self, trees: Mapping[str, Tree], values: dict[str, Json], wrong: list[Violation]) -> None:
        for name, tree in trees.items():
            parameter = self._brackets[name]
            if parameter.key in values:
                wrong.append(given_twice(self._base, parameter.key, name))
            else:
                values[parameter.key] = tree.read(parameter.shape)

    def _read_spread(
        self, spread: Mapping[str, Mapping[str, list[str]]], values: dict[str, Json], wrong: list[Violation]
    ) -> None:
        for owner, fields in spread.items():
            parameter = self._plain[owner]
            if parameter.key in values:
                wrong.append(given_twice(self._base, parameter.key, owner))
                continue
            read: dict[str, Json] = {}
            values[parameter.key] = read
            for name, texts in fields.items():
                read[name] = self._one(name, texts, field_shape(parameter.shape, name), wrong, parameter.key)

    def _one(self, name: str, texts: list[str], shape: Shape, wrong: list[Violation], owner: str = "") -> Json:
        if len(texts) > 1 and shape.items is not None:
            return [shape.items.read(text) for text in texts]
        if len(texts) > 1:
            wrong.append(given_twice(pointer(self._base, owner) if owner else self._base, name, name))
        if shape.items is not None and not shape.scalars:
            return [shape.items.read(text) for text in texts]
        return shape.read(texts[0])

    def write(self, values: Mapping[str, Json]) -> list[tuple[str, str]]:
        """Write values as quoted names and texts, in declared order. Raises Unwritable, naming the parameter."""
        pairs: list[tuple[str, str]] = []
        for parameter in self.parameters:
            if parameter.key in values:
                try:
                    _write_pairs(parameter, values[parameter.key], pairs)
                except Unwritable as error:
                    raise error.of(parameter.key, self._base) from None
        if self._rest is not None:
            declared = {each.key for each in self.parameters}
            for name, value in values.items():
                if name not in declared:
                    _write_loose(name, value, self._rest, pairs)
        return pairs


def _read_single(parameter: Parameter, text: str) -> Json:
    if parameter.empty and text == "":
        return ""
    if parameter.style == "json":
        return read_json(text)
    shape = parameter.shape
    if parameter.takes_many:
        return _read_lonely(shape, text)
    if not shape.is_composite or parameter.explode or parameter.style == "deepObject":
        return shape.read(text)
    return read_text(text, shape, layout_of(parameter.style, explode=False))


def _read_lonely(shape: Shape, text: str) -> Json:
    """One occurrence of a name that may repeat: a scalar if one fits, else an array of one."""
    items = shape.items or ANY
    if not shape.scalars:
        return [items.read(text)]
    value = shape.read(text)
    is_fitting = not isinstance(value, str) or "string" in shape.scalars
    return value if is_fitting else [items.read(text)]


def _write_pairs(parameter: Parameter, value: Json, pairs: list[tuple[str, str]]) -> None:
    if parameter.style == "json" or isinstance(value, (list, dict)):
        _write_composite(parameter, value, pairs)
    elif type(value) is int:
        pairs.append((_quoted_name(parameter.name), str(value)))
    else:
        text = value if type(value) is str else write_scalar(value, parameter.shape)
        quoted = quote_reserved(text) if parameter.reserved else quote_query(text)
        pairs.append((_quoted_name(parameter.name), quoted))


def _write_composite(parameter: Parameter, value: Json, pairs: list[tuple[str, str]]) -> None:
    name, shape = _quoted_name(parameter.name), parameter.shape
    quote = quote_reserved if parameter.reserved else quote_query
    match parameter.style, value:
        case "json", _:
            pairs.append((name, quote_query(strictjson.write(value).decode())))
        case "deepObject", (dict() | list()):
            pairs.extend((quote_query(n), quote(t)) for n, t in write_brackets(parameter.name, value, shape))
        case _, list() if parameter.is_repeated:
            _require_some(value, "array")
            pairs.extend((name, quote(write_scalar(each, shape.items or ANY))) for each in value)
        case _, dict() if parameter.is_spread:
            _require_some(value, "object")
            for key, each in value.items():
                _write_loose(key, each, field_shape(shape, key), pairs)
        case _:
            pairs.append((name, write_text(value, shape, layout_of(parameter.style, explode=False), quote)))


def _require_some(value: Json, noun: str) -> None:
    if not value:
        raise Unwritable(f"an empty {noun} cannot be written in this parameter's style; leave it out")


def _write_loose(name: str, value: Json, shape: Shape, pairs: list[tuple[str, str]]) -> None:
    each_of = value if isinstance(value, list) else (value,)
    pairs.extend((quote_query(name), quote_query(write_scalar(each, shape))) for each in each_of)


def split_query(raw: str) -> list[tuple[str, str]]:
    """Split a raw query or form into decoded pairs. Raises Malformed."""
    pieces = raw.split("&")
    if len(pieces) > MOST_PAIRS:
        raise Malformed(f"there are more than {MOST_PAIRS} fields")
    is_plain = "%" not in raw and "+" not in raw and raw.isascii()
    pairs = []
    for piece in pieces:
        if piece:
            name, _, text = piece.partition("=")
            pairs.append((name, text) if is_plain else (unquote_form(name), unquote_form(text)))
    return pairs


def join_query(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join([f"{name}={text}" for name, text in pairs])


def split_cookies(raw: str) -> list[tuple[str, str]]:
    """Split a Cookie header into decoded pairs. Raises Malformed."""
    pairs = []
    for piece in raw.split(";"):
        if stripped := piece.strip(" \t"):
            name, equals, text = stripped.partition("=")
            if not equals:
                raise Malformed(f"the cookie {echo(stripped)} has no value")
            pairs.append((unquote(name), unquote(text)))
    return pairs


def join_cookies(pairs: Iterable[tuple[str, str]]) -> str:
    return "; ".join([f"{name}={text}" for name, text in pairs])


def unknown_field(base: str, name: str, noun: str, known: Iterable[str]) -> Violation:
    """Say that a name is not declared, with the nearest that is."""
    names = sorted(set(known))
    suggestion = next(iter(near(name, names, 1)), None)
    return Violation(
        path=pointer(base, name),
        keyword="unknown",
        message=f"{echo(name)} is not a {noun} of this operation{aid(suggestion)}",
        expected=names[:MOST_VIOLATIONS],
        suggestion=suggestion,
    )


def given_twice(base: str, key: str, name: str) -> Violation:
    return Violation(
        path=pointer(base, key),
        keyword="repeated",
        message=f"{echo(name)} is given more than once; give it once",
    )
