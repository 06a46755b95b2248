"""The hash chain: giving lines their place in it, and finding the first one that is not as it was written.

RULE: `check` trusts nothing but the lines. Columns beside a line are copies for queries and must agree with it; a row
that is missing, added, moved or changed breaks the chain at or right after that row.

WEAKNESS: who can write the file can forge a whole new chain. The heads on standard output are the defence: keep them
where the gate cannot reach, and `verify --head` shows a forged or shortened chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeAlias

import orjson

from toolgate.core.journal import GENESIS, Body, Broken, Head, Verified, column, line, timestamp
from toolgate.core.model import Json

# row, at_ms, kind, call, run, principal, operation, code, hash, line: what a store keeps of one event
Stored: TypeAlias = tuple[int, int, str, str | None, str | None, str | None, str | None, str | None, bytes, bytes]

_PIECE: Final = 2_047
WRITER_STARTED: Final = "WriterStarted"
JOURNAL_PRUNED: Final = "JournalPruned"


@dataclass(frozen=True, slots=True)
class Tip:
    """The end of a chain: its last row, who wrote it, and its hash."""

    row: int = 0
    writer: str = ""
    seq: int = 0
    hash: str = GENESIS

    @property
    def head(self) -> Head | None:
        return Head(self.writer, self.seq, self.hash) if self.row else None


def extend(tip: Tip, bodies: Iterable[Body]) -> tuple[Tip, list[Stored]]:
    """Write bodies as the next lines of a chain; nothing is kept until the store has them."""
    row, writer, seq, prev = tip.row, tip.writer, tip.seq, tip.hash
    rows: list[Stored] = []
    now_ms: int | None = None  # events of one millisecond come side by side
    now = ""
    for body in bodies:
        kind, at_ms, call, run, principal, operation, code, _, _ = body
        row += 1
        seq += 1
        if at_ms != now_ms:
            now_ms, now = at_ms, timestamp(at_ms)
        payload = line(body, writer, seq, now, prev)
        digest = _digest(payload)
        prev = digest.hex()
        rows.append((row, at_ms, kind, call, run, principal, operation, code, digest, payload))
    return Tip(row, writer, seq, prev), rows


def _digest(payload: bytes) -> bytes:
    """The digest of a line. A long one is hashed in pieces: from 2,048 bytes on `hashlib` gives up the interpreter lock,
    and whoever has it back in a busy process has waited for longer than any hashing takes.
    """
    if len(payload) <= _PIECE:
        return sha256(payload).digest()
    hashed = sha256(payload[:_PIECE])
    for at in range(_PIECE, len(payload), _PIECE):
        hashed.update(payload[at : at + _PIECE])
    return hashed.digest()


class Check:
    """Follow a chain row by row, in constant memory. `feed` answers with the first thing that is wrong."""

    __slots__ = ("_cuts_wanted", "_first", "_head", "_head_seen", "_rows", "_tip")

    def __init__(self, head: Head | None = None, after: Tip | None = None) -> None:
        self._head = head
        self._head_seen = head is None
        self._tip = after
        self._first = after.row if after else 0
        self._rows = 0
        self._cuts_wanted: str | None = None  # the hash a JournalPruned must name: rows before the first are missing

    def feed(self, stored: Stored) -> Broken | None:
        row, digest, payload = stored[0], stored[8], stored[9]
        if sha256(payload).digest() != digest:
            return self._broken(row, "the line does not match its hash")
        values = _parsed(payload)
        if values is None:
            return self._broken(row, "the line is not a journal line")
        why = self._wrong_copies(stored, values) or self._wrong_place(row, values)
        if why is not None:
            return self._broken(row, why)
        self._pass(row, digest.hex(), values)
        return None

    def result(self) -> Verified | Broken:
        """Conclude after the last row."""
        row = self._tip.row if self._tip else 0
        if self._cuts_wanted is not None:
            return self._broken(
                self._first, "rows before this one are missing, and no `JournalPruned` accounts for them"
            )
        if not self._head_seen:
            return self._broken(
                row,
                f"the head `{_shown(self._head)}` is not in the journal: its end was cut off or rewritten,"
                " or the head is older than what `journal.keep` left",
            )
        return Verified(self._rows, max(self._first - 1, 0), self._tip.head if self._tip else None)

    @property
    def tip(self) -> Tip:
        return self._tip or Tip()

    def _wrong_copies(self, stored: Stored, values: Mapping[str, Json]) -> str | None:
        _, at_ms, kind, call, run, principal, operation, code, _, _ = stored
        if (
            kind != values["event"]
            or at_ms != values["at_ms"]
            or call != values.get("call")
            or run != values.get("run")
            or principal != column(values, "principal")
            or operation != column(values, "operation")
            or code != column(values, "code")
        ):
            return "the columns beside the line do not agree with it"
        return None

    def _wrong_place(self, row: int, values: Mapping[str, Json]) -> str | None:
        tip = self._tip
        if tip is None:
            self._begin(row, values["prev"])
            return None
        if row != tip.row + 1:
            return f"row {tip.row + 1} is missing" if row > tip.row else "the row is out of order"
        if values["prev"] != tip.hash:
            return "the line does not follow the one before it: a line was changed, removed, added or moved"
        if values["writer"] == tip.writer:
            return None if values["seq"] == tip.seq + 1 else "the sequence number does not follow the one before it"
        if values["seq"] != 1 or values["event"] != WRITER_STARTED:
            return "the writer changes without a `WriterStarted`"
        return None

    def _begin(self, row: int, prev: str) -> None:
        self._first = row
        if row != 1 or prev != GENESIS:
            self._cuts_wanted = prev

    def _pass(self, row: int, digest: str, values: Mapping[str, Json]) -> None:
        self._tip = Tip(row, values["writer"], values["seq"], digest)
        self._rows += 1
        if not self._head_seen and self._head == Head(values["writer"], values["seq"], digest):
            self._head_seen = True
        if self._cuts_wanted is not None and values["event"] == JOURNAL_PRUNED:
            cut = values.get("to")
            if isinstance(cut, dict) and cut.get("hash") == self._cuts_wanted and cut.get("row") == self._first - 1:
                self._cuts_wanted = None

    def _broken(self, row: int, why: str) -> Broken:
        tip = self._tip
        return Broken(row, tip.writer if tip else None, tip.seq + 1 if tip else None, why)


def check(rows: Iterable[Stored], head: Head | None = None, after: Tip | None = None) -> Verified | Broken:
    """Follow a whole chain; the first thing that is wrong, or how long it is."""
    follow = Check(head, after)
    for stored in rows:
        broken = follow.feed(stored)
        if broken is not None:
            return broken
    return follow.result()


def tip_of(stored: Stored) -> Tip | None:
    """Read where a row stands from its own line."""
    values = _parsed(stored[9])
    return None if values is None else Tip(stored[0], values["writer"], values["seq"], stored[8].hex())


def parse(payload: bytes) -> Mapping[str, Json]:
    """Read a line back. A damaged one is an empty mapping: whoever shows it goes on with the next."""
    return _parsed(payload) or {}


_FRAME: Final[Sequence[tuple[str, type]]] = (
    ("event", str), ("writer", str), ("seq", int), ("at_ms", int), ("prev", str),
)  # fmt: skip


def _parsed(payload: bytes) -> Mapping[str, Json] | None:
    try:
        values = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(values, dict) or not all(type(values.get(key)) is kind for key, kind in _FRAME):
        return None
    return values


def _shown(head: Head | None) -> str:
    return f"{head.writer}:{head.seq}:{head.hash}" if head else ""
