"""What is kept of plans and approvals, held against the journal's own lines: the chain covers lines only.

RULE: each thing that is kept is what one line says, letter for letter; a line that was pruned says nothing any more.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from toolgate.core.journal import Broken, Verified, encode
from toolgate.core.model import Event
from toolgate.ledger.chain import Stored

_HAS_KEPT: Final = "select count(*) from sqlite_master where type = 'table' and name = 'kept'"
_KEYS: Final = (
    "select number, cast(kind as text), at_ms, cast(run as text), cast(name as text) from kept order by number"
)
_SAID: Final = "select cast(said as text) from kept where number = ?"
_Key: TypeAlias = tuple[str, int, str]


class Witness:
    """Everything that is kept and that no line has said yet. Read before the lines are: what is added meanwhile is later."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._unsaid: dict[_Key, list[tuple[int, str]]] = {}
        if db.execute(_HAS_KEPT).fetchone()[0]:
            for number, kind, at_ms, run, name in db.execute(_KEYS):
                self._unsaid.setdefault((kind, at_ms, run), []).append((number, name))

    def hearing(self, rows: Iterable[Stored]) -> Iterator[Stored]:
        """The rows, each heard as it goes by."""
        for stored in rows:
            key = stored[2], stored[1], stored[4] or ""
            waiting = self._unsaid.get(key)
            if waiting:
                self._unsaid[key] = [each for each in waiting if not self._says(stored, each[0])]
            yield stored

    def judge(self, found: Verified | Broken) -> Verified | Broken:
        """What was found of the lines, unless something is kept that none of them says."""
        if isinstance(found, Broken) or found.pruned:
            return found
        name = next((name for left in self._unsaid.values() for _, name in left), None)
        if name is None:
            return found
        why = f"what is kept of `{name}` is not what any line says: it was changed, or added by another hand"
        return Broken(found.rows, found.head.writer if found.head else None, None, why)

    def _says(self, stored: Stored, number: int) -> bool:
        try:
            said = json.loads(self._db.execute(_SAID, (number,)).fetchone()[0])
            front = encode(Event(stored[2], stored[1], said, run=stored[4])).front
        except (AttributeError, RecursionError, TypeError, ValueError):
            return False
        return front + b',"prev":"' in stored[9]
