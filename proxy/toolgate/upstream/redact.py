"""Secrets the gate injected are taken out of answers: an endpoint that echoes its request must not hand them over.

RULE: matching is leftmost, then longest, and does not depend on where the chunks of a stream are cut.
Weakness: only the exact spellings given are found; an upstream that transforms what it was sent is not seen through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

from toolgate.core.model import Header

REDACTED: Final = b"[redacted]"


class Stream(Protocol):
    """A body that is read as it comes; `aclose` ends it early."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


class Redactor:
    """Takes needles (each at least a byte long) out of whole bodies, headers and streams."""

    def __init__(self, needles: frozenset[bytes]) -> None:
        self._needles = tuple(sorted(needles, key=len, reverse=True))
        self._texts = tuple(needle.decode("latin-1") for needle in self._needles)

    def whole(self, content: bytes) -> bytes:
        """The content without the needles; the same object where there are none."""
        for needle in self._needles:
            if needle in content:
                return self.cut(content, last=True)[0]
        return content

    def headers(self, headers: tuple[Header, ...]) -> tuple[Header, ...]:
        """The headers with the needles taken out of their values; the same object where there are none."""
        values = "\n".join([value for _, value in headers])
        for text in self._texts:
            if text in values:
                return tuple((name, self.whole(value.encode("latin-1")).decode("latin-1")) for name, value in headers)
        return headers

    def stream(self, body: Stream) -> Redacted:
        return Redacted(self, body)

    def cut(self, content: bytes, *, last: bool) -> tuple[bytes, bytes]:
        """What may be passed on, and what must wait because a needle may have begun in it."""
        clean = bytearray()
        at = 0
        while True:
            found, length = self._find(content, at)
            held = len(content) if last else self._held(content, at)
            if held <= found:
                return bytes(clean + content[at:held]), content[held:]
            clean += content[at:found] + REDACTED
            at = found + length

    def _find(self, content: bytes, at: int) -> tuple[int, int]:
        """Where the leftmost needle is and how long; beyond the end where there is none."""
        first, length = len(content) + 1, 0
        for needle in self._needles:  # longest first: a shorter one wins only further left
            found = content.find(needle, at)
            if 0 <= found < first:
                first, length = found, len(needle)
        return first, length

    def _held(self, content: bytes, at: int) -> int:
        """Where the leftmost beginning of a needle is that the content's end cuts off."""
        held = len(content)
        for needle in self._needles:
            start = content.find(needle[:1], max(at, len(content) - len(needle) + 1), held)
            while start >= 0 and not needle.startswith(content[start:]):
                start = content.find(needle[:1], start + 1, held)
            held = start if start >= 0 else held
        return held


class Redacted:
    """A streamed body without the needles. Holds back only what could be the beginning of one."""

    def __init__(self, redactor: Redactor, body: Stream) -> None:
        self._redactor = redactor
        self._body = body
        self._chunks = aiter(body)
        self._held = b""
        self._ended = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._ended:
            chunk = await anext(self._chunks, None)
            self._ended = chunk is None
            clean, self._held = self._redactor.cut(self._held + (chunk or b""), last=self._ended)
            if clean:
                return clean
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._ended = True
        await self._body.aclose()
