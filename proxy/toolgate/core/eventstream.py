"""A stream of server-sent events, read as it passes: what each event holds (WHATWG HTML §9.2).

RULE: memory is bounded; an event longer than that is left out, and the next one is read as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_DATA: Final = b"data"
_COMMENT: Final = b":"


class EventReader:
    """Takes a stream chunk by chunk, and answers the content of each event that has come to its end."""

    __slots__ = ("_begun", "_content", "_most", "_size")

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun: list[bytes] = []  # of the line that has not ended
        self._content: list[bytes] = []  # lines of the event that has not ended
        self._size = 0  # of all that is held

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Read on. A carriage return at the end of a chunk may be half a line end, and waits for the next one."""
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r", 0, -1)) + 1
        if end:
            whole = b"".join((*self._begun, chunk[:end]))
            self._size -= sum(map(len, self._begun))
            self._begun = []
            for line in whole.splitlines():
                if line:
                    self._add(line)
                else:
                    yield from self._finish()
        self._keep(chunk[end:])

    def end(self) -> Iterator[bytes]:
        """What came of an event that the stream ended in, if anything."""
        line, self._begun = b"".join(self._begun).rstrip(b"\r"), []
        self._add(line)
        yield from self._finish()

    def _finish(self) -> Iterator[bytes]:
        content, self._content = self._content, []
        self._size = sum(map(len, self._begun))
        if content:
            yield b"\n".join(content)

    def _add(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == _DATA and self._size <= self._most:
            self._content.append(value.removeprefix(b" "))
            self._size += len(value)

    def _keep(self, rest: bytes) -> None:
        if not rest:
            return
        self._begun.append(rest)
        self._size += len(rest)
        if self._size > self._most:
            # the rest of the line is then one of the event's that says nothing
            self._begun, self._content = [_COMMENT], []
