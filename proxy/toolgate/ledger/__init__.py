"""The ledger: where decisions are written before anything is sent.

RULE: one writer per journal. `open` takes the lock, looks at what is there and refuses to start on anything it does
not understand; what it returns can be written, for it has just written its first line.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from toolgate.core.ids import Ulids
from toolgate.core.journal import Body, encode
from toolgate.core.mask import MaskKey, mask_key
from toolgate.core.model import Event
from toolgate.ledger.chain import WRITER_STARTED, Tip
from toolgate.ledger.journal import FileJournal
from toolgate.ledger.memory import MemoryJournal, MemoryStore
from toolgate.ledger.projection import Projection
from toolgate.ledger.queue import Bounds, QueuedLedger
from toolgate.ledger.sqlite import SqliteStore
from toolgate.ledger.store import Keep, Orphan, Recovered, Store, Sync
from toolgate.ledger.writer import Rules, Seams, Writer
from toolgate.ports import Journal, LedgerError

__all__ = ["Bounds", "FileJournal", "Keep", "QueuedLedger", "Sync", "file_of", "open"]

_MEMORY: Final = "memory:"
_SQLITE: Final = "sqlite:"
_SECRET_BYTES: Final = 32
KEEP_ALL: Final = Keep()
DEFAULT_BOUNDS: Final = Bounds()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a ledger is put together from, beside its store."""

    journal: Journal
    ids: Ulids
    rules: Rules
    seams: Seams
    stdout: Callable[[bytes], None] | None
    idle_ms: int
    bounds: Bounds
    not_before: Callable[[int], None]
    key: MaskKey


def open(  # noqa: A001, PLR0913 (reads as `ledger.open`; every argument is a setting or a seam)
    url: str,
    *,
    clock: Callable[[], int],
    sync: Sync = "effects",
    keep: Keep = KEEP_ALL,
    stdout: Callable[[bytes], None] | None = None,
    idle_s: float = 1800.0,
    bounds: Bounds = DEFAULT_BOUNDS,
    entropy: Callable[[int], bytes] = os.urandom,
    monotonic: Callable[[], float] = time.monotonic,
    at: Callable[[str], None] = lambda _: None,
    not_before: Callable[[int], None] = lambda _: None,
    key: Callable[[], MaskKey] | None = None,
) -> QueuedLedger:
    """Open a ledger for writing. Raises LedgerError, in one sentence, when it cannot be written or trusted.

    `not_before` is told the latest time in the journal before the clock is asked: no window opens again. `key` is asked for once
    the file is there: outputs of steps are compared by digests made with it. Without one, those of before a restart equal
    nothing any more.
    """
    ids = Ulids(clock, entropy)
    path = file_of(url)
    store: Store
    journal: Journal
    if path is None:
        store = memory = MemoryStore()
        journal = MemoryJournal(memory)
    else:
        store, journal = SqliteStore(path, at), FileJournal(path)
    try:
        return _started(
            store,
            _Parts(
                journal,
                ids,
                Rules(sync, keep),
                Seams(clock, monotonic, at),
                stdout,
                int(idle_s * 1000),
                bounds,
                not_before,
                key() if key is not None else mask_key(entropy(_SECRET_BYTES)),
            ),
        )
    except BaseException:
        store.close()
        raise


def file_of(url: str) -> Path | None:
    """Read a ledger URL: the journal's file, or None for `memory:`."""
    if url == _MEMORY:
        return None
    if url.startswith(_SQLITE):
        rest = url.removeprefix(_SQLITE)
        name = rest.removeprefix("//")
        has_host = rest.startswith("//") and not name.startswith("/")
        if name and not has_host and not {"?", "#", "\0"} & set(name):
            return Path(name)
    if url.startswith(("redis:", "rediss:")):
        raise LedgerError("`redis:` names a store that gates share and no journal; `redis.journal` says where that is")
    raise LedgerError(
        f"the ledger `{url}` is not understood; use `sqlite:///absolute/path`, `sqlite:relative` or `memory:`"
    )


def _started(store: Store, parts: _Parts) -> QueuedLedger:
    """Read what the store holds, write the first lines of this writer, and begin."""
    found = store.recover(parts.seams.clock(), parts.idle_ms)
    parts.not_before(found.last_ms)
    now_ms = parts.seams.clock()
    projection = Projection(parts.idle_ms, lambda: f"run_{parts.ids.next()}", parts.key)
    projection.restore(found.runs, found.freezes)
    projection.agreements.restore(found.agreed)
    projection.balances.restore(found.changes, found.arrivals)
    ledger = QueuedLedger(projection, parts.bounds, parts.journal)
    writer = Writer(
        store=store,
        tip=Tip(found.tip.row, f"w_{parts.ids.next()}", 0, found.tip.hash),
        rules=parts.rules,
        seams=parts.seams,
        stdout=parts.stdout,
        settle=ledger.settle,
    )
    writer.write_first([_first_line(found, now_ms), *(_unknown_outcome(orphan, now_ms) for orphan in found.orphans)])
    ledger.attach(writer)
    return ledger


def _first_line(found: Recovered, now_ms: int) -> Body:
    head = found.tip.head
    previous = None if head is None else {"writer": head.writer, "seq": head.seq, "hash": head.hash}
    return encode(Event(WRITER_STARTED, now_ms, {"previous": previous, "clean": found.clean}))


def _unknown_outcome(orphan: Orphan, now_ms: int) -> Body:
    """Finish a call for the writer before: it was permitted, and whether it was sent nobody knows any more."""
    data = {
        "principal": orphan.principal,
        "operation": orphan.operation,
        **orphan.attempt,
        "outcome": "unknown",
        "status": None,
        "sent": "unknown",
        "latency_ms": None,
        "bytes": None,
        "detail": "the gate stopped before the outcome was written",
    }
    return encode(Event("Finished", now_ms, data, orphan.call, orphan.run))
