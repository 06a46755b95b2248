"""The head of an answer in the form that nearly every upstream writes, by lines that are remembered.

RULE: only what cannot be read in two ways is read here: HTTP/1.1, a final status that has a body, exactly one
Content-Length, no other framing, and a connection that stays open. Of anything else, also of what is broken, it says
None, and llhttp reads it from its first byte (`response.py`); what both read, they read alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

from toolgate.core.model import Header

# The status, the headers in lower case without those of the connection, and the length of the body.
Head: TypeAlias = tuple[int, tuple[Header, ...], int]

_Said = TypeVar("_Said")

_MOST_BYTES: Final = 1 << 12
_MOST_LINES: Final = 128
_MOST_KNOWN: Final = 256
_STATUS: Final = re.compile(rb"HTTP/1\.1 ((?!204|304)[2-5][0-9]{2}) [ -~]*+\Z")
_FIELD: Final = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]++):[ \t]*+([ -~\t]*+)\Z")
_LENGTH: Final = re.compile(r"[0-9]{1,15}\Z")
_FRAMING: Final = frozenset({"content-length", "connection", "keep-alive"})
_NOT_PLAIN: Final = frozenset({"transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"})


def read_plain(head: bytes) -> Head | None:
    """Read a head, given without the empty line that ends it; None where it is not plain."""
    if len(head) > _MOST_BYTES:  # and no longer line is remembered
        return None
    lines = head.split(b"\r\n")
    status = _STATUSES[lines[0]]
    if status is None or len(lines) > _MOST_LINES:
        return None
    headers: list[Header] = []
    length = None
    for line in lines[1:]:
        field = _FIELDS[line]
        if field is None:
            return None
        if field[0] in _FRAMING:
            if field[0] != "content-length":
                continue
            if length is not None:
                return None
            length = int(field[1])
        headers.append(field)
    return None if length is None else (status, tuple(headers), length)


def _status(line: bytes) -> int | None:
    found = _STATUS.match(line)
    return None if found is None else int(found[1])


def _field(line: bytes) -> Header | None:
    found = _FIELD.match(line)
    if found is None:
        return None
    name, value = found[1].decode("ascii").lower(), found[2].decode("ascii").rstrip(" \t")
    if name == "connection":
        return (name, value) if value.lower() == "keep-alive" else None
    if name == "content-length" and _LENGTH.match(value) is None:
        return None
    return None if name in _NOT_PLAIN else (name, value)


class _Known(dict[bytes, _Said]):
    """What lines say, each read once: answers of one upstream are much alike. INVARIANT: bounded; all are forgotten at once.

    A look-up that finds something runs no code of ours, and costs a third of what `lru_cache` does.
    """

    def __init__(self, read: Callable[[bytes], _Said]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, line: bytes) -> _Said:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        said = self[line] = self._read(line)
        return said


_STATUSES: Final = _Known(_status)
_FIELDS: Final = _Known(_field)
