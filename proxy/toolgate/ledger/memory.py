"""The ledger in memory: the same chain, gone with the process.

RULE: bounded. `memory:` is for trying things out and for tests; when `journal.keep` gives no size it keeps 64 MiB of
lines and prunes the oldest like the file does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from threading import Lock
from typing import Final

from toolgate.core.journal import Broken, Filter, Head, Row, RunSummary, Verified
from toolgate.core.runs import TURNS, expires_ms_of, labels_of, state_of
from toolgate.ledger.chain import Stored, Tip, check, parse, tip_of
from toolgate.ledger.journal import MAX_LIMIT, limit_of, matches, row_of
from toolgate.ledger.moves import Move
from toolgate.ledger.store import Keep, Recovered, Segment
from toolgate.ledger.taken import Taken

DEFAULT_SIZE: Final = 64 << 20
SEGMENT_ROWS: Final = 256
_HAS_OVERRUN: Final = b'"overrun":[{'
_ROW_OVERHEAD: Final = 400  # bytes a row takes beside its line, measured


class MemoryStore:
    """See `store.Store`. Readers take `rows()`, a copy, from other threads."""

    def __init__(self) -> None:
        self._rows: list[Stored] = []
        self._size = 0
        self._lock = Lock()

    def rows(self) -> list[Stored]:
        with self._lock:
            return list(self._rows)

    def recover(self, now_ms: int, idle_ms: int) -> Recovered:  # noqa: ARG002 (a new process remembers nothing)
        return Recovered(Tip())

    def write(
        self,
        rows: Sequence[Stored],
        taken: Sequence[Taken],  # noqa: ARG002 (no disk)
        *,
        flush: bool,  # noqa: ARG002 (no disk)
        moves: Sequence[Move] = (),  # noqa: ARG002 (no disk)
    ) -> None:
        with self._lock:
            self._rows.extend(rows)
        self._size += sum(map(_size, rows))

    def sweep(self, now_ms: int) -> bool:  # noqa: ARG002 (the projection is all there is, and forgets by itself)
        return False

    def oldest(self, keep: Keep, tip: Tip, now_ms: int) -> Segment | None:  # noqa: ARG002 (the rows say it)
        if len(self._rows) <= 2 * SEGMENT_ROWS:
            return None
        last = self._rows[SEGMENT_ROWS - 1]
        is_large = self._size > (DEFAULT_SIZE if keep.size is None else keep.size)
        is_old = keep.age_s is not None and last[1] < now_ms - keep.age_s * 1000
        to = tip_of(last)
        return Segment(SEGMENT_ROWS, to) if to is not None and (is_large or is_old) else None

    def prune(self, segment: Segment, rows: Sequence[Stored]) -> None:
        self._size -= sum(map(_size, self._rows[: segment.rows]))
        with self._lock:
            del self._rows[: segment.rows]
        self.write(rows, (), flush=False)

    def close(self) -> None:
        """Nothing to release."""


def _size(stored: Stored) -> int:
    return len(stored[9]) + _ROW_OVERHEAD


class MemoryJournal:
    """See `ports.Journal`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def events(self, wanted: Filter) -> Sequence[Row]:
        rows = self._store.rows()
        if wanted.order == "newest":
            rows.reverse()
        found = (stored for stored in rows if matches(stored, wanted))
        return [row_of(stored) for stored in islice(found, limit_of(wanted))]

    def call(self, call: str) -> Sequence[Row]:
        return self.events(Filter(call=call, order="oldest", limit=MAX_LIMIT))

    def runs(self, limit: int = 50) -> Sequence[RunSummary]:
        rows = self._store.rows()
        started = [stored for stored in rows if stored[2] == "RunStarted" and stored[4]]
        return [_summary(first, rows) for first in sorted(started, key=_start, reverse=True)[: min(limit, MAX_LIMIT)]]

    def overruns(self, since_ms: int) -> Mapping[str, int]:
        ended = [
            stored for stored in self._store.rows() if stored[2] in {"Finished", "Settled"} and stored[1] >= since_ms
        ]
        found: Counter[str] = Counter()
        for said in (each for stored in ended if _HAS_OVERRUN in stored[9] for each in parse(stored[9])["overrun"]):
            found[said["key"]] += said["amount"]
        return found

    def head(self) -> Head | None:
        rows = self._store.rows()
        tip = tip_of(rows[-1]) if rows else None
        return tip.head if tip else None

    def follow(self, after: int | None, wait: Callable[[], bool]) -> Iterator[Row]:
        rows = self._store.rows()
        at = after if after is not None else (rows[-1][0] if rows else 0)
        while True:
            new = [stored for stored in self._store.rows() if stored[0] > at]
            yield from map(row_of, new)
            at = new[-1][0] if new else at
            if not new and not wait():
                return

    def verify(self, head: Head | None = None) -> Verified | Broken:
        return check(self._store.rows(), head)


def _start(stored: Stored) -> tuple[int, str]:
    return stored[1], stored[4] or ""


def _summary(first: Stored, rows: Sequence[Stored]) -> RunSummary:
    mine = [stored for stored in rows if stored[4] == first[4]]
    decided = [stored for stored in mine if stored[2] == "Decided"]
    return RunSummary(
        run=first[4] or "",
        principal=first[5] or "",
        started_ms=first[1],
        last_ms=mine[-1][1],
        calls=len(decided),
        refusals=sum(stored[7] is not None for stored in decided),
        failures=sum(stored[2] == "Finished" and stored[7] is not None for stored in mine),
        state=state_of(parse(stored[9]) for stored in mine if stored[2] in TURNS),
        labels=labels_of((parse(first[9]),)),
        expires_ms=expires_ms_of((parse(first[9]),)),
    )
