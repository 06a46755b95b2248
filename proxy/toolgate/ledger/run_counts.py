"""What runs have come to since that was last written down: counted as rows are committed, written now and then.

RULE: counts what the statement that counts the file's own rows counts (`tally._COUNT`), at a seventh of its cost. That
one is asked at a start only: rows that were not written down before a crash are counted from the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from toolgate.ledger.chain import Stored, parse
from toolgate.ledger.moves import completes


@dataclass(slots=True)
class _Count:
    permits: int = 0
    refusals: int = 0
    is_completed: bool = False


@dataclass(slots=True)
class RunCounts:
    """The rows up to `row`, `rows` of them, by run and operation."""

    row: int = 0
    rows: int = 0
    _counts: dict[tuple[str, str], _Count] = field(default_factory=dict)
    _heard: dict[str, int] = field(default_factory=dict)

    def add(self, rows: Sequence[Stored]) -> None:
        """Count rows that are committed."""
        self.rows += len(rows)
        for self.row, at_ms, kind, _, run, _, operation, code, _, line in rows:
            if run is None:
                continue
            if at_ms > self._heard.get(run, 0):
                self._heard[run] = at_ms
            if kind != "Decided" and (kind != "Finished" or code is not None):
                continue
            key = run, operation or ""
            count = self._counts.get(key)
            if count is None:
                count = self._counts[key] = _Count()
            if kind == "Finished":
                count.is_completed = count.is_completed or completes(parse(line))
            elif code is None:
                count.permits += 1
            else:
                count.refusals += 1

    def told(self) -> Iterator[tuple[str, str, int, int, bool]]:
        """Yield run, operation, permits, refusals, and whether it was completed."""
        for (run, operation), count in self._counts.items():
            yield run, operation, count.permits, count.refusals, count.is_completed

    def heard(self) -> Iterator[tuple[int, str]]:
        """Yield when a run was last heard of, and the run."""
        for run, at_ms in self._heard.items():
            yield at_ms, run
