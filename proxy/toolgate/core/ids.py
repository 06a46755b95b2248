"""Identifiers that sort by the time they were made: ULIDs for calls, runs and writers.

RULE: pure. The clock and the randomness come in as arguments; the only state is the last id made, so that
ids of one source never repeat and never sort backwards, even when the clock is set back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
_PAIRS: Final = tuple(high + low for high in ALPHABET for low in ALPHABET)  # ten bits at a time
_RANDOM_BITS: Final = 80
_RANDOM_END: Final = 1 << _RANDOM_BITS
_STEP_BITS: Final = 32
_STEP_MASK: Final = (1 << _STEP_BITS) - 1
_POOL_BYTES: Final = 1024  # one system call for a hundred ids


class Ulids:
    """A source of ULIDs. Within one millisecond each is the last one plus a random step, so neighbours stay hard to guess."""

    __slots__ = ("_at", "_clock_ms", "_entropy", "_pool", "_prefix", "_random", "_time_ms")

    def __init__(self, clock_ms: Callable[[], int], entropy: Callable[[int], bytes]) -> None:
        self._clock_ms = clock_ms
        self._entropy = entropy
        self._time_ms = -1
        self._prefix = ""
        self._random = 0
        self._pool = b""
        self._at = 0

    def next(self) -> str:
        return self.at(self._clock_ms())

    def at(self, now_ms: int) -> str:
        """The next id, for whoever has asked for the time already."""
        if now_ms > self._time_ms:
            self._start(now_ms)
        else:
            self._step()
        bits = self._random
        pairs = _PAIRS
        return (
            f"{self._prefix}{pairs[bits >> 70]}{pairs[bits >> 60 & 1023]}{pairs[bits >> 50 & 1023]}"
            f"{pairs[bits >> 40 & 1023]}{pairs[bits >> 30 & 1023]}{pairs[bits >> 20 & 1023]}"
            f"{pairs[bits >> 10 & 1023]}{pairs[bits & 1023]}"
        )

    def _start(self, time_ms: int) -> None:
        self._time_ms = time_ms
        self._prefix = "".join(_PAIRS[time_ms >> shift & 1023] for shift in (40, 30, 20, 10, 0))
        self._random = int.from_bytes(self._draw(10), "big")

    def _step(self) -> None:
        self._random += (int.from_bytes(self._draw(4), "big") & _STEP_MASK) + 1
        if self._random >= _RANDOM_END:  # one in 2^48: go on in the next millisecond
            self._start(self._time_ms + 1)

    def _draw(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._pool):
            self._pool = self._entropy(_POOL_BYTES)
            self._at, end = 0, count
        drawn = self._pool[self._at : end]
        self._at = end
        return drawn
