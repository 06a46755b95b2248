"""What the rows of one transaction changed beside themselves, as the last of them carries it until the tables follow.

RULE: a row's redo is applied once and in the order of the rows: by the writer now and then (`tally`), by the next writer
at its start, by a reader for its own answer. What is kept whole is in its table at once and not in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import orjson

from toolgate.core.model import Json, new
from toolgate.ledger.moves import Began, Ended, Followed, Kept, Move, Unused, Used
from toolgate.ledger.taken import Change, Taken, sum_of


def redo_of(taken: Sequence[Taken], moves: Iterable[Move]) -> bytes | None:
    """What records took and moved, added up; None: nothing."""
    changes = sum_of(taken)
    said = [_said(move) for move in moves if not isinstance(move, Kept)]
    arrivals: dict[str, int] = {}
    for each in taken:
        for pace, _, after_us in each.slots:
            if after_us > arrivals.get(pace.key, 0):
                arrivals[pace.key] = after_us
    return orjson.dumps((changes, arrivals, said)) if changes or arrivals or said else None


@dataclass(slots=True)
class Redone:
    """What several redos come to."""

    amounts: dict[tuple[str, int], tuple[int, int | None]] = field(default_factory=dict)
    arrivals: dict[str, int] = field(default_factory=dict)
    moves: list[Followed] = field(default_factory=list)

    def add(self, redo: bytes) -> None:
        """Add the next one. Raises ValueError where it is none."""
        try:
            changes, arrivals, moves = orjson.loads(redo)
            for key, bucket, amount, until_ms in changes:
                before, until = self.amounts.get((key, bucket), (0, until_ms))
                self.amounts[key, bucket] = before + amount, until
            for key, after_us in arrivals.items():
                self.arrivals[key] = max(self.arrivals.get(key, 0), after_us)
            self.moves.extend(map(_read, moves))
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError("what its rows changed cannot be read") from error

    def changes(self) -> list[Change]:
        """By key, so that neighbours in a table are written together."""
        return [Change(*at, amount, until_ms) for at, (amount, until_ms) in sorted(self.amounts.items()) if amount]


def redone(redos: Iterable[bytes]) -> Redone:
    """Add up redos, in the order of their rows. Raises ValueError."""
    sums = Redone()
    for redo in redos:
        sums.add(redo)
    return sums


def _said(move: Followed) -> tuple[Json, ...]:
    match move:
        case Began():
            return ("began", *move)
        case Ended():
            began, state, outputs = move
            return ("ended", *began, state, {**outputs} if outputs else {})
        case Used():
            return ("used", *move)
        case Unused():
            return ("unused", *move)
        case _:
            assert_never(move)


def _read(said: Sequence[Json]) -> Followed:
    kind, *values = said
    match kind:
        case "began":
            call, plan, step = values
            return new(Began, (call, plan, step))
        case "ended":
            call, plan, step, state, outputs = values
            return new(Ended, (new(Began, (call, plan, step)), state, outputs))
        case "used":
            return Used(*values)
        case "unused":
            return Unused(*values)
        case _:
            raise ValueError("no move")
