"""What the writer asks of a store: keep rows and what they justify, all together or not at all.

RULE: a store has one writer and every method is called from its thread. Whatever goes wrong inside comes out as
LedgerError with one sentence for the operator, and then nothing was kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from toolgate.core.model import Freeze
from toolgate.ledger.agreements import NOTHING_AGREED, Agreed
from toolgate.ledger.chain import Stored, Tip
from toolgate.ledger.moves import Move
from toolgate.ledger.projection import Run
from toolgate.ledger.taken import Change, Taken

Sync: TypeAlias = Literal["effects", "all", "off"]


@dataclass(frozen=True, slots=True)
class Keep:
    """How much of the journal stays: `None` is no limit."""

    age_s: float | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a store held when it was opened."""

    tip: Tip
    clean: bool = True  # the last writer stopped in order
    last_ms: int = 0  # the latest time in the journal's newest lines
    changes: Sequence[Change] = ()  # every balance
    arrivals: Mapping[str, int] = field(default_factory=dict)  # of paces
    runs: Sequence[Run] = ()
    freezes: Mapping[str, Freeze] = field(default_factory=dict)
    agreed: Agreed = NOTHING_AGREED
    orphans: tuple[Orphan, ...] = ()


@dataclass(frozen=True, slots=True)
class Orphan:
    """A call that was permitted and has no outcome: the gate stopped in between."""

    call: str
    run: str | None
    operation: str | None
    principal: str | None
    attempt: Mapping[str, str] = field(default_factory=dict)  # the plan and the step it was one at


@dataclass(frozen=True, slots=True)
class Segment:
    """The oldest rows, whole and verified: `rows` of them, up to `to`."""

    rows: int
    to: Tip


class Store(Protocol):
    def recover(self, now_ms: int, idle_ms: int) -> Recovered: ...

    def write(self, rows: Sequence[Stored], taken: Sequence[Taken], *, flush: bool, moves: Sequence[Move] = ()) -> None:
        """Keep the rows and what was taken and agreed with them, in one act; `flush` makes them survive a power cut."""
        ...

    def sweep(self, now_ms: int) -> bool:
        """Remove some of what means nothing any more: windows and runs that are over. True while there is more."""
        ...

    def oldest(self, keep: Keep, tip: Tip, now_ms: int) -> Segment | None:
        """Find one segment that may go. Raises LedgerError when it is not as it was written."""
        ...

    def prune(self, segment: Segment, rows: Sequence[Stored]) -> None:
        """Remove the segment and keep the rows that say so, in one act."""
        ...

    def close(self) -> None: ...
