"""What a gate and the store's script say to each other: one request, one answer, for many operations at once.

RULE: nothing here waits or keeps anything. What the store answers is judged like any input: whatever does not read as an
answer of our script is `Garbled`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from toolgate.core.model import Charge, Guard, Pace, Place, Rolling, Settlement
from toolgate.ledger.lapse import run_in

Operation: TypeAlias = list[Any]
Result: TypeAlias = list[Any]

MOST: Final = (1 << 53) - 1  # Lua counts in doubles: exact up to here, which is nine billion in micro-units
SKEW_MS: Final = 2_000  # how far a gate's clock may be from the store's
PLACE_MS: Final = 30_000  # how long the places of a gate that is gone stay taken
DAY_MS: Final = 86_400_000
_PERIOD_PARTS: Final = 5  # kind, budget, dimension, scope, period
_KEEP_MS: Final = {10: 3 * DAY_MS, 8: 16 * DAY_MS, 7: 63 * DAY_MS}  # by the length of a period: a day, week, month
_RUN_KEEP_MS: Final = 30 * DAY_MS
_OF_APPROVALS: Final = ("a:", "g:")


class Garbled(Exception):  # noqa: N818 (it never leaves this folder: the link makes a LedgerError of it)
    """The answer is not one our script gives."""


class Told(NamedTuple):
    """What gates tell each other with a call of its run."""

    entries: int = 0  # that this gate has read
    others: int = 0  # of these, said by others
    attempt: str = ""  # what others are told of the call


UNTOLD: Final = Told()


@dataclass(frozen=True, slots=True)
class Header:
    """What every request says of the gate that sends it."""

    epoch: str
    seq: int  # the latest the gate has seen: a store that is before it has lost something
    version: str  # of the freezes it knows
    owner: str  # its journal's writer
    now_ms: int
    skew_ms: int = SKEW_MS


@dataclass(frozen=True, slots=True)
class Answer:
    """`state`: done, empty, other (epoch), lost, skewed."""

    state: str
    seq: int
    now_ms: int
    version: str
    epoch: str
    freezes: dict[str, str] | None
    results: list[Result]


@dataclass(frozen=True, slots=True)
class Script:
    text: str
    sha: str


@cache
def script() -> Script:
    """The script as it ships."""
    text = (files(__package__) / "store.lua").read_text(encoding="utf-8")
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())  # the name Redis gives it


def request(header: Header, operations: Sequence[Operation]) -> bytes:
    return orjson.dumps(
        {
            "epoch": header.epoch,
            "seq": header.seq,
            "version": header.version,
            "owner": header.owner,
            "now_ms": header.now_ms,
            "skew_ms": header.skew_ms,
            "operations": operations,
        }
    )


def answer(said: object, asked: int) -> Answer:
    """Read what the store says to so many operations. Raises Garbled."""
    try:
        values = orjson.loads(said)  # type: ignore[arg-type]
        flat = values.get("freezes")
        results = list(values.get("results") or ())
        found = Answer(
            state=str(values["state"]),
            seq=int(values["seq"]),
            now_ms=int(values["now_us"]) // 1000,
            version=str(values.get("version", "")),
            epoch=str(values.get("epoch", "")),
            freezes=None if flat is None else dict(zip(*[iter(flat)] * 2, strict=True)),
            results=results,
        )
    except (orjson.JSONDecodeError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise Garbled from error
    if found.state == "done" and not (len(results) == asked and all(map(_is_result, results))):
        raise Garbled
    return found


def _is_result(result: object) -> bool:
    return isinstance(result, list) and bool(result) and isinstance(result[0], str)


def take(call: str, runs: Sequence[str], guards: Sequence[Guard], at_ms: int, told: Told = UNTOLD) -> Operation:
    said = orjson.dumps(guards_json(guards, at_ms)).decode()
    return ["take", call, runs, said, at_ms * 1000, PLACE_MS, *told]


def settle(call: str, settlement: Settlement, at_ms: int, owner: str, *, may_come_again: bool) -> Operation:
    refunds, extra = guards_json(settlement.refunds, at_ms), guards_json(settlement.extra, at_ms)
    return ["settle", call, refunds, extra, owner, may_come_again]


def guards_json(guards: Sequence[Guard], at_ms: int) -> list[list[Any]]:
    return [_guard_json(guard, at_ms) for guard in guards]


def _guard_json(guard: Guard, at_ms: int) -> list[Any]:
    """A guard as the script takes it. A charge says how long what is taken is of any use."""
    match guard:
        case Charge(key, amount, given, None):
            return ["charge", key, _bounded(amount), _bounded(given), keep_ms(key), -1, 0]
        case Charge(key, amount, given, Rolling() as rolling):
            # INVARIANT: a bucket is the time divided by its length, so the time divided by it is the length, nearly
            length_ms = at_ms // rolling.bucket + 1 if rolling.bucket > 0 else DAY_MS
            window_ms = length_ms * (rolling.buckets + 1)
            return ["charge", key, _bounded(amount), _bounded(given), window_ms, rolling.bucket, rolling.buckets]
        case Pace(key, every_us, burst):
            return ["pace", key, every_us, burst]
        case Place(key, given):
            return ["place", key, given]
        case _:
            raise AssertionError("a charge is plain or rolling")


def levels(result: Result, count: int) -> list[int]:
    """What the script says, a number for each of what it was asked about. Raises Garbled."""
    try:
        found = [int(level) for level in result[1]]
    except (IndexError, TypeError, ValueError) as error:
        raise Garbled from error
    if len(found) != count:
        raise Garbled
    return found


def _bounded(amount: int) -> int:
    return max(0, min(amount, MOST))  # SECURITY: no charge is a refund


def keep_ms(key: str) -> int:
    """How long a balance is kept after it was last changed; 0 is for ever.

    One without a period that is not of a run is for ever: losing its balance would give it again. A yes is over within
    half an hour.
    """
    if key.startswith(_OF_APPROVALS):
        return DAY_MS
    parts = key.split(":")
    if len(parts) == _PERIOD_PARTS:
        return _KEEP_MS.get(len(parts[-1]), 0)
    return _RUN_KEEP_MS if run_in(key) else 0
