"""What was needed lately: a bounded memory of things that can be made again.

RULE: forgetting is never wrong, only slow; nothing a caller sends can make it grow.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Two generations: what the older one holds and nobody asks for is forgotten when the younger one is full.

    Nearly as good as forgetting the least recently used, and a hit costs one look-up and moves nothing.
    """

    __slots__ = ("_half", "_older", "_taken", "_weigh", "_younger")

    def __init__(self, most: int, weigh: Callable[[K, V], int] | None = None) -> None:
        self._half = max(1, most // 2)
        self._weigh = weigh  # in the unit of `most`; None: each weighs one
        self._younger: dict[K, V] = {}
        self._older: dict[K, V] = {}
        self._taken = 0

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

    def get(self, key: K) -> V | None:
        known = self._younger.get(key)
        if known is None and self._older:
            known = self._older.pop(key, None)
            if known is not None:
                self.keep(key, known)
        return known

    def keep(self, key: K, value: V) -> V:
        """Remember a value that is not remembered yet."""
        weight = 1 if self._weigh is None else self._weigh(key, value)
        if self._younger and self._taken + weight > self._half:
            self._older, self._younger, self._taken = self._younger, {}, 0
        self._younger[key] = value
        self._taken += weight
        return value


class OfThing(Generic[T, V]):
    """What follows from a thing alone, found again by which thing it is: a thing that is told again is the same one.

    It holds the thing, so that its id stays its own.
    """

    __slots__ = ("_follow", "_known")

    def __init__(self, follow: Callable[[T], V], most: int) -> None:
        self._follow = follow
        self._known: Recent[int, tuple[T, V]] = Recent(most)

    def of(self, thing: T) -> V:
        known = self._known.get(id(thing))
        if known is None:
            known = self._known.keep(id(thing), (thing, self._follow(thing)))
        return known[1]
