"""The one writer: a thread that takes what is queued, writes it in groups, and wakes the event loop once a group.

RULE: what it tells the event loop is true. `done` after the commit and not before; `failed` means nothing was kept.
While the store cannot be written every record is refused at once, and the writer itself tries every half second with a
`JournalRecovered` that says how many were refused and why. Events nobody waits for are kept for it, within the bounds of
the queue.

The order of the chain is the order of the queue.
"""

from __future__ import annotations

import contextlib
import threading
import time
from asyncio import Future
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final

import orjson

from toolgate.core.journal import Body, encode, timestamp
from toolgate.core.model import Event
from toolgate.ledger.chain import JOURNAL_PRUNED, Stored, Tip, extend
from toolgate.ledger.moves import Move
from toolgate.ledger.store import Keep, Segment, Store, Sync
from toolgate.ledger.taken import NOTHING, Taken
from toolgate.ports import LedgerError

ENDED: Final = "the journal's writer has ended"
GROUP: Final = 128  # events in one transaction
PACE_S: Final = 0.0005  # between the beginnings of two commits, while several calls wait at once
RETRY_S: Final = 0.5
HEAD_S: Final = 10.0
HEAD_EVENTS: Final = 1_000
PRINT_S: Final = 0.05  # lines are printed so late at most: each write gives up the interpreter lock
PRINT_BYTES: Final = 128 << 10
PRUNE_S: Final = 600.0
PRUNE_EVENTS: Final = 1_000
PRUNE_PAUSE_S: Final = 0.02


@dataclass(slots=True, eq=False)
class Entry:
    """One event on its way to the journal, and who waits for it."""

    body: Body
    taken: Taken = NOTHING
    done: Future[None] | None = None
    due_s: float = 0.0  # when whoever waits gives up, by the event loop's clock
    then: Callable[[], None] | None = None  # done in the event loop once it is committed
    moves: tuple[Move, ...] = ()

    @property
    def size(self) -> int:
        return len(self.body.front)

    @property
    def is_over(self) -> bool:
        """Whoever waited has their answer, or has gone."""
        return self.done is not None and self.done.done()


@dataclass(frozen=True, slots=True)
class Seams:
    """What the writer needs of the world, so that tests can hold it still."""

    clock: Callable[[], int]
    monotonic: Callable[[], float]
    at: Callable[[str], None] = lambda _: None  # called at each point where a crash would matter


@dataclass(frozen=True, slots=True)
class Rules:
    sync: Sync = "effects"
    keep: Keep = field(default_factory=Keep)


class Writer:
    """Belongs to its own thread, except `put`, `stop`, `broken` and the two counters."""

    def __init__(  # noqa: PLR0913 (the composition of the writer, named at its one call)
        self,
        *,
        store: Store,
        tip: Tip,
        rules: Rules,
        seams: Seams,
        stdout: Callable[[bytes], None] | None,
        settle: Callable[[list[Entry], str | None], None],
    ) -> None:
        self.broken: str | None = None  # one sentence; read by the event loop
        self.written = 0
        self.turned_away = 0  # records the event loop refused by itself; counted there, told in `JournalRecovered`
        self._store = store
        self._tip = tip
        self._rules = rules
        self._seams = seams
        self._stdout = stdout
        self._settle = settle
        self._inbox: SimpleQueue[list[Entry] | None] = SimpleQueue()
        self._waiting: deque[Entry] = deque()
        self._stopping = False
        self._refused = 0
        self._told_away = 0
        self._broken_ms = 0
        self._lines: list[bytes] = []  # committed and not printed, so many bytes of them, since then
        self._lines_size = 0
        self._lines_s = 0.0
        self._since_head = 0
        self._unpruned = 0
        self._not_pruned: str | None = None
        now_s = seams.monotonic()
        self._paced_s = 0.0
        self._retry_s = now_s
        self._head_s = now_s
        self._prune_s = now_s
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def write_first(self, bodies: Sequence[Body]) -> None:
        """Write before the thread runs; a journal that cannot be written keeps the gate from starting."""
        self._keep_rows([Entry(body) for body in bodies], bodies)
        self._print_head()

    def start(self) -> None:
        self._thread.start()

    def put(self, entries: list[Entry]) -> None:
        self._inbox.put(entries)

    def stop(self) -> None:
        """Ask the thread to write what is queued and end."""
        self._inbox.put(None)

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        while not (self._stopping and not self._waiting):
            self._take()
            if self.broken is not None:
                self._try_again()
            elif self._waiting:
                self._write_group()
            self._print_due()
            self._prune_due()
        self._end()

    def _take(self) -> None:
        """Take all there is; wait for the first only when there is nothing to do."""
        try:
            entries = self._inbox.get(timeout=self._patience_s())
            self._keep_pace()
            while True:
                if entries is None:
                    self._stopping = True
                else:
                    self._waiting.extend(entries)
                entries = self._inbox.get_nowait()
        except Empty:
            return

    def _keep_pace(self) -> None:
        """Let a group gather while calls come side by side: a commit costs the same for one event as for twenty."""
        ahead_s = self._paced_s - self._seams.monotonic()
        if 0 < ahead_s <= PACE_S:
            time.sleep(ahead_s)

    def _set_pace(self, group: list[Entry]) -> None:
        """A call that came alone is followed by nobody's wait."""
        callers = sum(entry.done is not None for entry in group)
        self._paced_s = self._seams.monotonic() + PACE_S if callers > 1 else 0.0

    def _patience_s(self) -> float:
        if self._stopping or (self._waiting and self.broken is None):
            return 0.0
        now_s = self._seams.monotonic()
        due_s = min(self._head_s + HEAD_S, self._prune_s)
        if self._lines:
            due_s = min(due_s, self._lines_s + PRINT_S)
        if self.broken is not None:
            due_s = self._retry_s
        return min(max(due_s - now_s, 0.0), HEAD_S)

    def _write_group(self) -> None:
        group, dropped = self._group()
        if dropped:
            self._settle(dropped, "given up: the journal took too long")
        self._seams.at("taken")
        self._set_pace(group)
        if group:
            why = self._failure_of(lambda: self._keep_rows(group, [entry.body for entry in group]))
            if why is not None:
                self._break(why, group)

    def _failure_of(self, write: Callable[[], None]) -> str | None:
        """Do it and say why it failed. The thread outlives a defect: every record is refused, and the refusal says so."""
        try:
            write()
        except LedgerError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 (the type only: a message could hold what must not be shown)
            return f"the journal's writer met a defect: {type(error).__name__}"
        return None

    def _group(self) -> tuple[list[Entry], list[Entry]]:
        """The next entries to write, and those whose caller has already given up."""
        group: list[Entry] = []
        dropped: list[Entry] = []
        waiting = self._waiting
        while waiting and len(group) < GROUP:
            entry = waiting.popleft()
            (dropped if entry.is_over else group).append(entry)
        return group, dropped

    def _keep_rows(self, group: list[Entry], bodies: Sequence[Body]) -> None:
        tip, rows = extend(self._tip, bodies)
        self._seams.at("linked")
        taken = [entry.taken for entry in group if entry.taken is not NOTHING]
        moves = [move for entry in group if entry.moves for move in entry.moves]
        self._store.write(rows, taken, flush=self._must_flush(bodies), moves=moves)
        self._tip = tip
        self._seams.at("committed")
        if group:
            self._settle(group, None)
        self._count(rows)

    def _must_flush(self, bodies: Sequence[Body]) -> bool:
        match self._rules.sync:
            case "all":
                return True
            case "off":
                return False
            case "effects":
                return any(body.effectful for body in bodies)

    # While it cannot be written

    def _break(self, why: str, group: list[Entry]) -> None:
        """Refuse whoever waits; what nobody waits for stays first in line."""
        if self.broken is None:
            self._broken_ms = self._seams.clock()
        self.broken = why
        self._retry_s = self._seams.monotonic() + RETRY_S
        group.extend(self._waiting)
        self._waiting = deque(entry for entry in group if entry.done is None)
        refused = [entry for entry in group if entry.done is not None]
        self._refused += len(refused)
        self._settle(refused, why)

    def _try_again(self) -> None:
        why = self.broken
        if why is None:
            return
        is_due = self._seams.monotonic() >= self._retry_s or self._stopping
        if not is_due:
            self._break_waiting(why)
            return
        entries = [entry for entry in self._waiting if entry.done is None][: GROUP - 1]
        self._break_waiting(why)
        away = self.turned_away
        refused = self._refused + away - self._told_away
        bodies = [*(entry.body for entry in entries), self._recovered(why, refused)]
        again = self._failure_of(lambda: self._keep_rows(entries, bodies))
        if again is not None:
            self._break(again, [])
            self._give_up_if_stopping()
            return
        for _ in entries:
            self._waiting.popleft()
        self.broken, self._refused = None, 0
        self._told_away = away

    def _break_waiting(self, why: str) -> None:
        """Refuse those who came between the failure and their noticing it."""
        refused = [entry for entry in self._waiting if entry.done is not None]
        if refused:
            self._refused += len(refused)
            self._waiting = deque(entry for entry in self._waiting if entry.done is None)
            self._settle(refused, why)

    def _give_up_if_stopping(self) -> None:
        if self._stopping:
            self._settle(list(self._waiting), self.broken)
            self._waiting.clear()

    def _recovered(self, why: str, refused: int) -> Body:
        now_ms = self._seams.clock()
        data = {"why": why, "since_ms": self._broken_ms, "refused": refused}
        return encode(Event("JournalRecovered", now_ms, data))

    # Beside the rows

    def _count(self, rows: Sequence[Stored]) -> None:
        """Rows are committed; their lines are printed soon."""
        self.written += len(rows)
        self._since_head += len(rows)
        self._unpruned += len(rows)
        if self._stdout is None:
            return
        if not self._lines:
            self._lines_s = self._seams.monotonic()
        lines = [row[9] for row in rows]
        self._lines += lines
        self._lines_size += sum(map(len, lines))

    def _print_due(self) -> None:
        """Print what has waited long enough, or is much."""
        now_s = self._seams.monotonic()
        if self._lines and (self._lines_size >= PRINT_BYTES or now_s >= self._lines_s + PRINT_S):
            self._print()
        if not self._since_head:
            self._head_s = now_s
        elif self._since_head >= HEAD_EVENTS or now_s >= self._head_s + HEAD_S:
            self._print_head()

    def _print(self) -> None:
        if self._lines:
            lines, self._lines, self._lines_size = self._lines, [], 0
            self._copy(b"\n".join([*lines, b""]))
            self._seams.at("printed")

    def _print_head(self) -> None:
        """Say how far the chain has come, after its lines."""
        self._print()
        self._since_head = 0
        self._head_s = self._seams.monotonic()
        self._copy(head_line(self._tip, self._seams.clock()))

    def _copy(self, lines: bytes) -> None:
        """Print. Trouble with the copy must never be taken for trouble with the journal: the rows are committed."""
        if self._stdout is not None:
            with contextlib.suppress(Exception):
                self._stdout(lines)

    def _prune_due(self) -> None:
        """Remove at most one segment, then let others write; come back soon while there is more."""
        now_s = self._seams.monotonic()
        if self.broken is not None or self._stopping or (now_s < self._prune_s and self._unpruned < PRUNE_EVENTS):
            return
        self._unpruned = 0
        self._prune_s = now_s + PRUNE_S
        why = self._failure_of(self._prune_once)
        if why is not None and why != self._not_pruned:
            self._note("JournalNotPruned", why)
        self._not_pruned = why

    def _prune_once(self) -> None:
        now_ms = self._seams.clock()
        has_more = self._store.sweep(now_ms)
        segment = self._store.oldest(self._rules.keep, self._tip, now_ms)
        if segment is not None:
            self._prune(segment)
        if segment is not None or has_more:
            self._prune_s = self._seams.monotonic() + PRUNE_PAUSE_S

    def _prune(self, segment: Segment) -> None:
        to = segment.to
        cut = {"row": to.row, "writer": to.writer, "seq": to.seq, "hash": to.hash}
        body = encode(Event(JOURNAL_PRUNED, self._seams.clock(), {"rows": segment.rows, "to": cut}))
        tip, rows = extend(self._tip, [body])
        self._store.prune(segment, rows)
        self._tip = tip
        self._count(rows)
        self._unpruned = 0

    def _note(self, kind: str, why: str) -> None:
        failed = self._failure_of(lambda: self._keep_rows([], [encode(Event(kind, self._seams.clock(), {"why": why}))]))
        if failed is not None:
            self._break(failed, [])

    def _end(self) -> None:
        if self.broken is not None:
            self._try_again()
        if self.broken is None:
            self.broken = self._failure_of(self._write_last)
        self._print()
        try:
            self._store.close()
        finally:
            self._settle([], ENDED)

    def _write_last(self) -> None:
        self._keep_rows([], [encode(Event("WriterStopped", self._seams.clock(), {}))])
        self._print_head()


def head_line(tip: Tip, at_ms: int) -> bytes:
    """The line on standard output that says how far the chain has come; it is not part of the chain."""
    return orjson.dumps(
        {"v": 1, "event": "Head", "writer": tip.writer, "seq": tip.seq, "at": timestamp(at_ms), "at_ms": at_ms,
         "hash": tip.hash}
    ) + b"\n"  # fmt: skip
