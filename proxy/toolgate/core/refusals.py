"""Refused requests, remembered: agents repeat their mistakes, and a storm of retries should cost little.

RULE: what is remembered is exact. The key is everything the decision read, and an operation that reads headers or
cookies is not remembered at all. Bounded in number and size, so no caller can grow it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from toolgate.core.model import Refusal, Wire

_MOST: Final = 128
_LONGEST: Final = 2048  # bytes of path, query and body together: longer requests are rarely repeated byte for byte

Key: TypeAlias = tuple[str, str, str, str | None, str | None, bytes]


class RefusalMemory:
    """The last refusals of one bundle, by the request that was refused."""

    __slots__ = ("_known", "_unknown")

    def __init__(self) -> None:
        self._known: dict[Key, Refusal] = {}
        self._unknown: dict[tuple[str, str, str], Refusal] = {}

    def get(self, wire: Wire) -> Refusal | None:
        """Return what was said to this very request; costs nothing while nothing was refused."""
        if self._unknown:
            known = self._unknown.get((wire.method, wire.path, wire.query))
            if known is not None:
                return known
        return self._known.get(_key(wire)) if self._known else None

    def keep(self, wire: Wire, refusal: Refusal) -> None:
        """Remember a refusal whose operation reads nothing but path, query and body."""
        if len(wire.path) + len(wire.query) + len(wire.body) > _LONGEST:
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[_key(wire)] = refusal

    def keep_unknown(self, wire: Wire, refusal: Refusal) -> None:
        """Remember that no operation is meant, whatever else is sent there."""
        if len(wire.path) + len(wire.query) > _LONGEST:
            return
        if len(self._unknown) >= _MOST:
            self._unknown.clear()
        self._unknown[wire.method, wire.path, wire.query] = refusal


def _key(wire: Wire) -> Key:
    headers = wire.headers
    return (wire.method, wire.path, wire.query, headers.get("content-type"), headers.get("content-encoding"), wire.body)
