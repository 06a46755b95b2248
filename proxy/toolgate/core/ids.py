"""Identifiers that sort by the time they were made: ULIDs for calls, runs and writers.

RULE: pure. The clock and the randomness come in as arguments; the only state is the last id made, so that
ids of one source never repeat and never sort backwards, even when the clock is set back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
_PAIRS: Final = tuple(high + low for high in ALPHABET for low in ALPHABET)  # ten bits at a time
_CHARACTERS: Final = bytes(ord(ALPHABET[byte & 31]) for byte in range(256))  # five bits of each byte drawn
_DIGITS: Final = bytes(ord("0123456789abcdefghijklmnopqrstuv"[byte & 31]) for byte in range(256))  # as `int` reads them
_RANDOM_CHARACTERS: Final = 16
_RANDOM_END: Final = 1 << 80
_HALF_BITS: Final = 40
_HALF_MASK: Final = (1 << _HALF_BITS) - 1
_STEP_BYTES: Final = 4
_POOL_BYTES: Final = 1024  # one system call for sixty ids or more


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
        return self._started(now_ms) if now_ms > self._time_ms else self._stepped()

    def _started(self, time_ms: int) -> str:
        self._time_ms = time_ms
        self._prefix = f"{_PAIRS[time_ms >> _HALF_BITS]}{_eight(time_ms & _HALF_MASK)}"
        drawn = self._draw(_RANDOM_CHARACTERS)
        self._random = int(drawn.translate(_DIGITS), 32)
        return f"{self._prefix}{drawn.translate(_CHARACTERS).decode('ascii')}"

    def _stepped(self) -> str:
        bits = self._random = self._random + int.from_bytes(self._draw(_STEP_BYTES), "big") + 1
        if bits >= _RANDOM_END:  # one in 2^48: go on in the next millisecond
            return self._started(self._time_ms + 1)
        return f"{self._prefix}{_eight(bits >> _HALF_BITS)}{_eight(bits & _HALF_MASK)}"

    def _draw(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._pool):
            self._pool = self._entropy(_POOL_BYTES)
            self._at, end = 0, count
        drawn = self._pool[self._at : end]
        self._at = end
        return drawn


def _eight(bits: int) -> str:
    """The characters of forty bits."""
    return f"{_PAIRS[bits >> 30]}{_PAIRS[bits >> 20 & 1023]}{_PAIRS[bits >> 10 & 1023]}{_PAIRS[bits & 1023]}"
