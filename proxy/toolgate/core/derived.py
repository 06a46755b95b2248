"""What Cedar cannot ask of arguments itself: what is null, how long a list is, every value below it (CEDAR.md §1).

RULE: only the pointers that statements name are followed; `*` in one stands for every element of a list. What the schema
does not declare there, and a caller sends all the same, raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from toolgate.core.conversion import Untold, Wanted, distinct, require_few, teller
from toolgate.core.expressions import EVERY, Expression
from toolgate.core.kinds import Field, Fields, Kind, Many, Variants
from toolgate.core.model import Json
from toolgate.core.reads import place_of
from toolgate.core.wiretext import pointer

Derive: TypeAlias = Callable[[Json], Json]  # of the arguments; None where there is nothing to tell

_WHOLE: Final = Wanted(whole=True)


def kind_at(kind: Kind, tokens: Iterable[str]) -> Field | None:
    """Return what is declared at a place: its kind, and whether it is always there. Alternatives are looked through."""
    required = True
    for token in tokens:
        if isinstance(kind, Variants):
            kind, required = kind.by.get("array" if token == EVERY else "object", "opaque"), False
        member = _below(kind, token)
        if member is None:
            return None
        kind, required = member.kind, required and member.required
    return Field(kind, required)


def kind_of_count(kind: Kind, text: str) -> Field | None:
    """Return what `context.derived.count` holds at a pointer; None where no list is declared, or several would be."""
    place = place_of(text)
    declared = None if EVERY in place.tokens else kind_at(kind, place.tokens)
    if declared is None or not _may_be_list(declared.kind):
        return None
    return Field("long", declared.required and isinstance(declared.kind, Many))


def kind_of_every(kind: Kind, text: str) -> Field | None:
    """Return what `context.derived.every` holds at a pointer; None where it passes no list, or nothing is declared."""
    tokens = place_of(text).tokens
    if EVERY not in tokens:
        return None
    first, of = kind_at(kind, tokens[: tokens.index(EVERY)]), kind_at(kind, tokens)
    if first is None or of is None or not _may_be_list(first.kind):
        return None
    return Field(Many(of.kind), first.required and isinstance(first.kind, Many))


def count(kind: Kind, text: str) -> Derive:
    """Compile the length of the list at a pointer; None where no list is there."""
    place = place_of(text)
    declared = kind_at(kind, place.tokens)
    is_declared = kind_of_count(kind, text) is not None
    may_be_another = declared is not None and isinstance(declared.kind, Variants)

    def derive(arguments: Json) -> Json:
        found = _first(place, arguments)
        if found is None:
            return None
        is_list = type(found) is list
        if not is_declared or not (is_list or may_be_another):
            raise Untold("is not a list its schema declares", *place.tokens)
        return len(found) if is_list else None

    return derive


def every(kind: Kind, text: str) -> Derive:
    """Compile the set of all values a pointer leads to; None where the list it first passes is not there."""
    place = place_of(text)
    tokens = place.tokens
    first = Expression(text, "args", tokens[: tokens.index(EVERY)] if EVERY in tokens else tokens)
    declared = kind_at(kind, tokens)
    of: Kind = "opaque" if declared is None else declared.kind
    tell = teller(of, _WHOLE)

    def derive(arguments: Json) -> Json:
        if type(_first(first, arguments)) is not list:
            return None
        try:
            found = place.values(arguments)
            require_few(found)
            return distinct([tell(each) for each in found if each is not None], of)
        except Untold as untold:
            raise untold.under(*tokens) from None

    return derive


def nulls(texts: Iterable[str]) -> Derive:
    """Compile which of some pointers hold an explicit null."""
    places = tuple((text, place_of(text)) for text in sorted(texts))
    return lambda arguments: [text for text, place in places if None in place.values(arguments)]


def all_nulls(arguments: Json) -> Json:
    """Return the pointers of every explicit null."""
    return sorted(_nulls_below(arguments, ""))


def _below(kind: Kind, token: str) -> Field | None:
    if isinstance(kind, Fields):
        return kind.members.get(token)
    if isinstance(kind, Many) and (token == EVERY or token.isdecimal()):
        return Field(kind.of, required=token == EVERY)
    return None


def _may_be_list(kind: Kind) -> bool:
    return isinstance(kind, Many) or (isinstance(kind, Variants) and "array" in kind.by)


def _first(place: Expression, arguments: Json) -> Json:
    found = place.values(arguments)
    return found[0] if found else None


def _nulls_below(value: Json, base: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield from _nulls_at(child, pointer(base, name))
    elif type(value) is list:
        for at, child in enumerate(value):
            yield from _nulls_at(child, pointer(base, at))


def _nulls_at(value: Json, base: str) -> Iterator[str]:
    if value is None:
        yield base
    else:
        yield from _nulls_below(value, base)
