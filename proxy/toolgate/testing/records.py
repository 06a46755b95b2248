"""What a step or a call answered, read by name: `summary.cpu.avg`.

RULE: a record has the members that the answer has and nothing else, so that a name nobody answered is a failed test and
never a silent `None`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from toolgate.core.expressions import EVERY, parse_expression
from toolgate.core.model import Json, Reply
from toolgate.core.suggest import near

_SHOWN: Final = 8


class Record:
    """An object of an answer. Its members are attributes, or items where a name is no word of Python's."""

    __slots__ = ("_members",)

    def __init__(self, members: Mapping[str, Json]) -> None:
        self._members = {name: typed(value) for name, value in members.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself asks for is no member of an answer
            raise AttributeError(name)
        try:
            return self._members[name]
        except KeyError:
            raise AttributeError(self._missing(name)) from None

    def __getitem__(self, name: str) -> Any:
        try:
            return self._members[name]
        except KeyError:
            raise KeyError(self._missing(name)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __eq__(self, other: object) -> bool:
        return untyped(self) == untyped(other) if isinstance(other, Record | Mapping) else NotImplemented

    def __hash__(self) -> int:
        raise TypeError("a record is no key")

    def __dir__(self) -> list[str]:
        return list(self._members)

    def __repr__(self) -> str:
        return repr(untyped(self))

    def _missing(self, name: str) -> str:
        meant = near(name, self._members, 1)
        if meant:
            return f"there is no `{name}` in this answer; did you mean `{meant[0]}`?"
        known = ", ".join(f"`{each}`" for each in list(self._members)[:_SHOWN])
        return f"there is no `{name}` in this answer, which has {known or 'nothing in it'}"


def typed(value: Json) -> Any:
    """Objects as records, arrays as tuples, everything else as it is."""
    match value:
        case Mapping():
            return Record(value)
        case list() | tuple():
            return tuple(typed(each) for each in value)
        case _:
            return value


def untyped(value: Any) -> Json:
    """The JSON that a value was made of."""
    match value:
        case Record():
            return {name: untyped(value[name]) for name in value}
        case Mapping():
            return {name: untyped(each) for name, each in value.items()}
        case list() | tuple():
            return [untyped(each) for each in value]
        case _:
            return value


def body_of(reply: Reply) -> Json:
    """The JSON of an answer; None where it has none."""
    if not isinstance(reply.body, bytes) or not reply.body:
        return None
    try:
        return orjson.loads(reply.body)
    except ValueError:
        return reply.body.decode("utf-8", "replace")


def outputs_in(reply: Reply, wanted: Mapping[str, str]) -> dict[str, Json]:
    """The outputs of a step as an agent reads them out of the answer; what the answer does not hold is left out."""
    roots = {
        "response.body": body_of(reply),
        "response.header": {name.lower(): value for name, value in reply.headers},
    }
    found: dict[str, Json] = {}
    for name, text in wanted.items():
        expression = parse_expression(text)
        values = expression.values(roots[expression.root])
        if values:
            found[name] = list(values) if EVERY in expression.tokens else values[0]
    return found
