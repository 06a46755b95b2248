"""Journal lines on standard output: a copy for whoever collects logs, never a reason to wait.

RULE: writing never blocks. The journal is the record; a log pipe that nobody reads must not stop the gate (nor may the
gate make the pipe non-blocking: its other holders would suffer). So a pipe is opened once more, for this stream alone,
and where that cannot be, at most PIPE_BUF bytes are written after the kernel said that there is room for them; a regular
file always has room, or fails. Whole lines that find no room within the patience are dropped and counted; the next line
that gets through is `{"event":"LinesDropped","count":n}`, and the gap shows in `seq` as well.
"""

from __future__ import annotations

import os
import select
import stat
from typing import Final

_MOST: Final = 1 << 20
_CHUNK: Final = 4096  # PIPE_BUF on Linux: a pipe that polls writable takes this much without blocking
_PATIENCE_MS: Final = 100


class LineStream:
    """Writes lines to a descriptor. One thread at a time."""

    __slots__ = ("_chunk", "_descriptor", "_is_stuck", "_own", "_poll", "_rest", "dropped", "unreported")

    def __init__(self, descriptor: int) -> None:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._own = None if is_file else _opened_anew(descriptor)
        self._descriptor = descriptor if self._own is None else self._own
        # each write gives up the interpreter lock: few are cheap
        self._chunk = _MOST if is_file or self._own is not None else _CHUNK
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)
        self._rest = b""  # of a line that was begun; a line is finished before another begins
        self._is_stuck = False
        self.dropped = 0
        self.unreported = 0

    def close(self) -> None:
        """Let go of the pipe: its reader waits for the last of those who hold it."""
        if self._own is not None:
            os.close(self._own)
            self._own = None

    def __call__(self, lines: bytes) -> None:
        """Write whole lines, or drop them whole."""
        if not self._push(self._rest):
            self._drop(lines)
            return
        if self.unreported:
            notice = b'{"v":1,"event":"LinesDropped","count":%d}\n' % self.unreported
            self.unreported = 0
            lines = notice + lines
        if not self._push(lines):
            begun = self._rest.find(b"\n") + 1
            self._drop(self._rest[begun:])
            self._rest = self._rest[:begun]

    def _push(self, content: bytes) -> bool:
        """Write as much as there is room for; what is left stands in `_rest`."""
        at = 0
        try:
            while at < len(content):
                size = self._write(content[at : at + self._chunk])
                at += size
                self._is_stuck = size == 0
                if self._is_stuck:
                    break
        except OSError:  # the reader is gone: everything from here on is dropped and counted
            self._is_stuck = True
        self._rest = content[at:]
        return not self._rest

    def _write(self, chunk: bytes) -> int:
        """Write some of it; 0 where no room came within the patience."""
        # a reader that was stuck before gets no second patience: the writer's thread has a journal to write
        patience_ms = 0 if self._is_stuck else _PATIENCE_MS
        if self._chunk == _CHUNK and not self._has_room(patience_ms):
            return 0
        try:
            return os.write(self._descriptor, chunk)
        except BlockingIOError:
            return os.write(self._descriptor, chunk) if self._has_room(patience_ms) else 0

    def _has_room(self, patience_ms: int) -> bool:
        return any(event & select.POLLOUT for _, event in self._poll.poll(patience_ms))

    def _drop(self, lines: bytes) -> None:
        count = lines.count(b"\n")
        self.dropped += count
        self.unreported += count


def _opened_anew(descriptor: int) -> int | None:
    """The same pipe as a description of our own, whose flags are nobody else's; None where the system allows none."""
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return None
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
