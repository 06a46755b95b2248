"""Paths and queries that say their values as they would be written: read, and sent as they came.

RULE: the same values and the same target as reading and writing give, or None where that is not plain. So only for
scalars of which each is one text, in the order they are declared, of characters that nobody quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from toolgate.core.model import Json
from toolgate.core.parameters import Parameter

# A value that is none of these may be written in another way than it was read (`1.10`).
_ONE_TEXT: Final = frozenset({"string", "integer", "boolean", "null"})
_PLAIN_PAIRS: Final = re.compile(r"[A-Za-z0-9\-._~,:/@=&]++").fullmatch
PLAIN_SEGMENT: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9\-._~]++").fullmatch


class _Slot(NamedTuple):
    """A query parameter: its place among those declared, and how its text is read."""

    place: int
    key: str
    read: Callable[[str], Json]


class Verbatim:
    """The parameters of one operation's path and query."""

    __slots__ = ("_path", "_slots", "_start")

    def __init__(self, literals: Sequence[str], path: Sequence[Parameter], query: Sequence[Parameter]) -> None:
        self._start = literals[0]
        self._path = tuple(
            (each.key, each.shape.read, literal) for each, literal in zip(path, literals[1:], strict=True)
        )
        self._slots: Mapping[str, _Slot] = {
            each.name: _Slot(place, each.key, each.shape.read) for place, each in enumerate(query) if _is_one_text(each)
        }

    def read(self, values: Sequence[str], query: str) -> tuple[dict[str, Json], str] | None:
        """The arguments by key, and the target that says them; None where this is not the way to read them."""
        arguments: dict[str, Json] = {}
        target = self._start
        for (key, read, literal), text in zip(self._path, values, strict=True):
            if not PLAIN_SEGMENT(text):
                return None
            arguments[key] = read(text)
            target += text + literal
        if not query:
            return arguments, target
        return (arguments, f"{target}?{query}") if self._reads(query, arguments) else None

    def _reads(self, query: str, arguments: dict[str, Json]) -> bool:
        if not _PLAIN_PAIRS(query):
            return False
        slots, last = self._slots, -1
        for pair in query.split("&"):
            name, equals, text = pair.partition("=")
            slot = slots.get(name)
            if slot is None or not equals or "=" in text:
                return False
            place, key, read = slot
            if place <= last:  # given twice, or not in the order they are written
                return False
            last = place
            arguments[key] = read(text)
        return True


def reads_verbatim(path: Sequence[Parameter]) -> bool:
    """Whether a path of these can be read so at all."""
    return all(_is_one_text(each) for each in path)


def _is_one_text(parameter: Parameter) -> bool:
    return parameter.is_scalar and parameter.shape.scalars <= _ONE_TEXT
