"""What the rows of one transaction changed beside themselves, as the last of them carries it until the tables follow.

RULE: a row's redo is applied once and in the order of the rows: by the writer now and then (`tally`), by the next writer
at its start, by a reader for its own answer. What is kept whole is in its table at once and not in here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain as chained
from typing import assert_never

import orjson

from toolgate.core.model import Charge, Json, Rolling, new
from toolgate.ledger.lapse import OF_TURN, until_ms
from toolgate.ledger.moves import Began, Ended, Followed, Kept, Move, Unused, Used
from toolgate.ledger.taken import PLAIN, Change, Taken


def redo_of(taken: Sequence[Taken], moves: Iterable[Move]) -> bytes | None:
    """What records took and moved; None: nothing. What is the same for all with a key is worked out when it is read."""
    charged = _charged(taken)
    changes = [tuple(change) for each in taken for change in each.changes]
    said = [_said(move) for move in moves if not isinstance(move, Kept)]
    arrivals: dict[str, int] = {}
    for each in taken:
        for pace, _, after_us in each.slots:
            if after_us > arrivals.get(pace.key, 0):
                arrivals[pace.key] = after_us
    if not (charged or changes or arrivals or said):
        return None
    at_ms = max([each.at_ms for each in taken], default=0)
    return orjson.dumps((at_ms, charged, changes, arrivals, said))


def _charged(taken: Sequence[Taken]) -> list[tuple[str, int, int, int]]:
    """Key, bucket, amount, and of how many buckets the window is. Many calls that are written together take alike."""
    charged: list[tuple[str, int, int, int]] = []
    for guard, count in Counter(chained.from_iterable([each.guards for each in taken])).items():
        if type(guard) is Charge:
            key, amount, _, rolling = guard
            bucket, buckets = rolling or (PLAIN, 0)
            if amount > 0:
                charged.append((key, bucket, amount * count, buckets))
    return charged


@dataclass(slots=True)
class Redone:
    """What several redos come to.

    INVARIANT: turns of steps are not kept. No number is asked for again after a restart: the attempts are kept with the step.
    """

    amounts: dict[tuple[str, int], int] = field(default_factory=dict)
    ends_ms: dict[tuple[str, int], int | None] = field(default_factory=dict)  # of the amounts, as the first one has it
    arrivals: dict[str, int] = field(default_factory=dict)
    moves: list[Followed] = field(default_factory=list)

    def add(self, redo: bytes) -> None:
        """Add the next one. Raises ValueError where it is none."""
        try:
            at_ms, charged, changes, arrivals, moves = orjson.loads(redo)
            self._charge(at_ms, charged)
            self._change(changes)
            for key, after_us in arrivals.items():
                self.arrivals[key] = max(self.arrivals.get(key, 0), after_us)
            self.moves.extend(map(_read, moves))
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise ValueError("what its rows changed cannot be read") from error

    def _charge(self, at_ms: int, charged: Iterable[tuple[str, int, int, int]]) -> None:
        amounts = self.amounts
        for key, bucket, amount, buckets in charged:
            at = key, bucket
            if at in amounts:
                amounts[at] += amount
            elif not key.startswith(OF_TURN):
                amounts[at] = amount
                self.ends_ms[at] = until_ms(key, None if bucket == PLAIN else Rolling(bucket, buckets), at_ms)

    def _change(self, changes: Iterable[tuple[str, int, int, int | None]]) -> None:
        for key, bucket, amount, until in changes:
            if not key.startswith(OF_TURN):
                at = key, bucket
                self.amounts[at] = self.amounts.get(at, 0) + amount
                self.ends_ms.setdefault(at, until)

    def changes(self) -> list[Change]:
        """By key, so that neighbours in a table are written together."""
        return [Change(*at, amount, self.ends_ms[at]) for at, amount in sorted(self.amounts.items()) if amount]


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
    match said[0]:
        case "began":
            _, call, plan, step = said
            return new(Began, (call, plan, step))
        case "ended":
            _, call, plan, step, state, outputs = said
            return new(Ended, (new(Began, (call, plan, step)), state, outputs))
        case "used":
            return Used(*said[1:])
        case "unused":
            return Unused(*said[1:])
        case _:
            raise ValueError("no move")
