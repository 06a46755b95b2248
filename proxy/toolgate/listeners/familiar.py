"""Header blocks that came before: agents send the same one again and again, and reading it costs more than deciding the call.

RULE: exact and bounded. A block is known by all its bytes but the id of a step, only after the parser and the wire gate let it
pass, and only where nothing in it changes how the connection goes on; so is a request line. Whatever is odd or new is left to
the parser.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias, TypeVar

from toolgate.core.model import Said, new
from toolgate.listeners.wire import MAX_ID_CHARS, METHODS, Block, Head, Rules, target_fault

MAX_BODY_BYTES: Final = 1 << 16  # of a request whose head may be known: its body may come in parts, and is held
_MAX_HEAD_BYTES: Final = 2048
_MOST: Final = 256
_LINE_END: Final = b"\r\n"
_HEAD_END: Final = b"\r\n\r\n"
_VERSION: Final = "HTTP/1.1"
_STEP: Final = b"\r\nToolgate-Step: "  # as it stands in front of every id: another one for each call of a plan
_ID: Final = re.compile(rb"[!-~]{1,%d}" % MAX_ID_CHARS).fullmatch

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Line: TypeAlias = tuple[str, str, str]  # method, path, query
_Known: TypeAlias = bytes | tuple[bytes, bytes]  # a block; or what stands before the id of its step, and behind


class Familiar:
    """What one listener knows, tokens in it as `auth.runs` has them. Belongs to the rules it passed by."""

    __slots__ = ("_blocks", "_lines", "_rules")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._blocks: dict[_Known, Block] = {}
        self._lines: dict[bytes, _Line] = {}

    def read(self, data: bytes) -> tuple[Head, int] | None:
        """The head that `data` begins with, and where its body begins; None: only the parser can tell."""
        line_end = data.find(_LINE_END)
        end = data.find(_HEAD_END, line_end, _MAX_HEAD_BYTES) + 4
        block = self._block(data[line_end:end])
        if block is None:
            return None
        sent = data[:line_end]
        line = self._lines.get(sent) or self._judged(sent)
        if line is None:
            return None
        method, path, query = line
        return new(Head, (method, path, query, block)), end

    def _block(self, sent: bytes) -> Block | None:
        """The block of the same bytes, with the id of the step that these name."""
        key, step = _apart(sent)
        block = self._blocks.get(key)
        if block is None or step is None:
            return block
        fields, kept, content_length, chunked, expects_continue, (reason, plan, _), token, run = block
        said = new(Said, (reason, plan, step))
        return new(Block, (fields, kept, content_length, chunked, expects_continue, said, token, run))

    def _judged(self, sent: bytes) -> _Line | None:
        """A request line that the wire gate lets pass as it is; None: whatever else it is, the parser says."""
        words = sent.decode("latin-1").split(" ")
        if len(words) != 3 or words[2] != _VERSION or words[0] not in METHODS:  # noqa: PLR2004  # RFC 9112 §3
            return None
        method, target, _ = words
        path, _, query = target.partition("?")
        if target_fault(method, path, query, self._rules) is not None:
            return None
        line = (method, path, query)
        if "%" not in path:  # whether it may hold an encoded slash is for the bundle to say, each time
            _keep(self._lines, sent, line)
        return line

    def learn(self, begun: bytes, fed: int, block: Block) -> bool:
        """Know the block of a request that passed, if all that the parser was fed is that request: `fed` bytes from `begun` on.

        True: so it is, and the parser is between requests. SECURITY: where a head ends is for the parser to say, so its
        lines are counted: two more than it found headers.
        """
        end = begun.find(_HEAD_END, 0, _MAX_HEAD_BYTES) + 4
        body_bytes = block.content_length or 0
        if begun.count(b"\n", 0, end) != block.fields + 2 or fed != end + body_bytes:
            return False
        if body_bytes <= MAX_BODY_BYTES and not block.expects_continue:
            _keep(self._blocks, _apart(begun[begun.find(_LINE_END) : end])[0], block)
        return True


def _apart(sent: bytes) -> tuple[_Known, str | None]:
    """A block without the id of its step, and that id; whole where it has none, or one that says more than an id.

    SECURITY: two such lines are never taken for one. The second stays in what a block is known by, and none passes that has two.
    """
    at = sent.find(_STEP)
    if at < 0:
        return sent, None
    at += len(_STEP)
    until = sent.find(_LINE_END, at)
    step = sent[at:until]
    return ((sent[:at], sent[until:]), step.decode("ascii")) if _ID(step) else (sent, None)


def _keep(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(known) >= _MOST:
        known.clear()
    known[key] = value
