"""Requests that were judged, remembered: agents repeat their mistakes and ask the same again, and that should cost little.

RULE: what is remembered is exact. The key is everything the judgement read; an operation that reads headers or cookies is
not remembered at all, nor are arguments that may hold a secret. What depends on facts is asked each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from toolgate.core.model import Json, Refusal, Resource, ResourceCatalogue, UpstreamRequest, Wire
from toolgate.core.recent import Recent

if TYPE_CHECKING:
    from toolgate.core.catalog import Operation

_MOST: Final = 8 << 20  # bytes of memory, roughly, while calls differ: no caller can make it grow
_LONGEST: Final = 8192  # bytes of path, query and body together: longer requests are rarely repeated byte for byte
_EACH: Final = 3072  # what an entry weighs beside its text
_PER_BYTE: Final = 8  # of path and query: as key, decoded, and as it is sent
_PER_BODY_BYTE: Final = 26  # SECURITY: as much as the worst takes, `[{},{},…]`
_UNKNOWN: Final = 128
_LONGEST_UNKNOWN: Final = 2048

Key: TypeAlias = tuple[str, str, str, str | None, str | None, bytes]


# The one resource that is named, and the catalogues of files that it was found in.
About: TypeAlias = tuple[Mapping[str, Mapping[str, ResourceCatalogue]], tuple[Resource, ...]]


Literals: TypeAlias = tuple[tuple[str, bytes], ...]  # values as texts, by argument


class Fitting:
    """Arguments that fit an operation and the request that says them. What follows from them alone is made once.

    INVARIANT: `arguments` and what is in them are never changed: many calls may share them.
    """

    __slots__ = ("about", "arguments", "digest", "literals", "operation", "request", "said")

    def __init__(self, operation: Operation, arguments: Mapping[str, Json], request: UpstreamRequest) -> None:
        self.operation = operation
        self.arguments = arguments
        self.request = request
        self.about: About | None = None  # by `core.environment`, when it is first looked up
        self.digest = ""  # by `core.loop`, when it is first counted
        self.literals: Literals | None = None  # by `core.cursor`: those of a step that these are the arguments of
        self.said: Mapping[str, Json] | None = None  # by `core.events`, when it is first written


Judgement: TypeAlias = Fitting | Refusal


class Judgements:
    """What was judged lately by one bundle, by the request it was judged for."""

    __slots__ = ("_known", "_unknown")

    def __init__(self) -> None:
        self._known: Recent[Key, Judgement] = Recent(_MOST, _weight)
        self._unknown: Recent[tuple[str, str, str], Refusal] = Recent(_UNKNOWN)

    def get(self, wire: Wire) -> Judgement | None:
        """Return how this very request was judged."""
        known = self._known.get(_key(wire))
        if known is None and len(self._unknown):
            return self._unknown.get((wire.method, wire.path, wire.query))
        return known

    def keep(self, wire: Wire, judgement: Judgement) -> None:
        """Remember the judgement of an operation that reads nothing but path, query and body."""
        if len(wire.path) + len(wire.query) + len(wire.body) <= _LONGEST:
            self._known.keep(_key(wire), judgement)

    def keep_unknown(self, wire: Wire, refusal: Refusal) -> None:
        """Remember that no operation is meant, whatever else is sent there."""
        if len(wire.path) + len(wire.query) <= _LONGEST_UNKNOWN:
            self._unknown.keep((wire.method, wire.path, wire.query), refusal)


def _key(wire: Wire) -> Key:
    method, path, query, headers, body = wire
    return method, path, query, headers.get("content-type"), headers.get("content-encoding"), body


def _weight(key: Key, _: Judgement) -> int:
    return _EACH + _PER_BYTE * (len(key[1]) + len(key[2])) + _PER_BODY_BYTE * len(key[-1])
