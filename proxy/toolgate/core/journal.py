"""The journal's one encoding: an event becomes a line of JSON, and the line becomes a link of the chain.

RULE: the bytes that are hashed, stored and printed are the same bytes. A line ends with `prev`, the SHA-256 of the
line before it, and its own SHA-256 is what the next line names. So any line can be checked with nothing but a hash
function: `sha256(line i) == prev of line i+1`, on standard output and in the file alike.

    {"v":1,"event":"Decided","writer":"w_…","seq":12,"at":"2026-11-22T15:54:39.123Z","at_ms":…,"call":"01J…","run":"run_…",
     …what the event says…,"prev":"9f2c…"}

`call` and `run` are left out where there is none. `seq` counts from 1 for each writer (one start of the gate); the
first line of a writer is `WriterStarted` and names the last line of the writer before it.

INVARIANT: the encoder is total and its lines are bounded. What JSON cannot hold is represented (`{"$base64": …}`,
`{"$integer": "…"}`, `{"$text": "…"}`); what is too long is replaced by
`{"$cut": {"size", "sha256"}}` (of its JSON), and a line with anything cut has `"cut": true`.
"""

from __future__ import annotations

import operator
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

import orjson

from toolgate.core.model import Event, Json, new

_T = TypeVar("_T")
MAX_LINE: Final = 16 * 1024
GENESIS: Final = "0" * 64  # `prev` of the first line of a journal
RESERVED: Final = frozenset({"v", "event", "writer", "seq", "at", "at_ms", "call", "run", "prev", "cut"})

_ROOM_FOR_FRAME: Final = 1024  # what the frame (head, ids, prev) may take of MAX_LINE
_MAX_BODY: Final = MAX_LINE - _ROOM_FOR_FRAME
_MAX_ID: Final = 128
_MAX_COLUMN: Final = 256
_CUT_SIZE: Final = 120  # no cut takes more
_CUT_DEPTH: Final = 8  # deeper values are cut whole: shrinking stays linear in the size of the value
_MAX_DEPTH: Final = 64
_MAX_NODES: Final = 20_000
_MAX_INTEGER_BITS: Final = 4096
_LAST_MS: Final = 253_402_300_799_999  # the end of year 9999

Decision: TypeAlias = Literal["permit", "refuse"]


class Body(NamedTuple):
    """An event, encoded but for its place in the chain. Holds the bytes, never the values they came from."""

    kind: str
    at_ms: int
    call: str | None
    run: str | None
    principal: str | None
    operation: str | None
    code: str | None
    front: bytes  # `,"call":…,"run":…,` and the data, without its braces
    effectful: bool


@dataclass(frozen=True, slots=True)
class Head:
    """The last line of a journal at some time: who holds it can tell whether a tail was cut."""

    writer: str
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events to show: each field that is set must hold."""

    run: str | None = None
    call: str | None = None
    kind: str | None = None
    operation: str | None = None
    code: str | None = None
    decision: Decision | None = None
    principal: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    after: int | None = None  # only rows with a greater `row`: the cursor of `follow` and of pages
    before: int | None = None
    limit: int = 100
    order: Literal["newest", "oldest"] = "newest"


@dataclass(frozen=True, slots=True)
class Row:
    """One stored event: its place in the file, the line as it was hashed, and the line's values."""

    row: int
    hash: str
    line: bytes
    event: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class RunSummary:
    run: str
    principal: str
    started_ms: int
    last_ms: int
    calls: int
    refusals: int
    failures: int
    state: str = "open"  # `core.runs.state_of`
    labels: Mapping[str, str] = field(default_factory=dict)
    expires_ms: int | None = None  # when the token of an opened one ends


@dataclass(frozen=True, slots=True)
class Verified:
    """Every line is as it was written. `pruned` lines were removed by `journal.keep` before the first one."""

    rows: int
    pruned: int
    head: Head | None


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place where the journal is not as it was written."""

    row: int
    writer: str | None
    seq: int | None
    why: str


def encode(event: Event) -> Body:
    """Encode an event once, whatever it holds; its place in the chain is added when it is written."""
    kind, at_ms, data, call, run, effectful = event
    if not RESERVED.isdisjoint(data):
        data = {f"{key}_" if key in RESERVED else key: value for key, value in data.items()}
    inner = total(data)
    if len(inner) > _MAX_BODY:
        inner = b'{"cut":true,' + _shrunk(orjson.loads(inner), _MAX_BODY, 0)[1:]
        data = orjson.loads(inner)
    call, run = _identifier(call), _identifier(run)
    kind = _identifier(kind) or "Unknown"
    at_ms = at_ms if 0 <= at_ms <= _LAST_MS else max(-_LAST_MS, min(at_ms, _LAST_MS))
    columns = column(data, "principal"), column(data, "operation"), column(data, "code")
    return new(Body, (kind, at_ms, call, run, *columns, _front(call, run, inner), effectful))


def line(body: Body, writer: str, seq: int, at: str, prev: str) -> bytes:
    """Give a body its place in the chain."""
    return b'{"v":1,"event":%b,"writer":"%b","seq":%d,"at":"%b","at_ms":%d%b,"prev":"%b"}' % (
        orjson.dumps(body.kind),
        writer.encode(),
        seq,
        at.encode(),
        body.at_ms,
        body.front,
        prev.encode(),
    )


def digest(payload: bytes) -> str:
    """Name a line in the chain."""
    return sha256(payload).hexdigest()


def timestamp(at_ms: int) -> str:
    """Write a time as RFC 3339 in UTC; a time outside the calendar is written as its nearest end."""
    seconds, ms = divmod(min(max(at_ms, 0), _LAST_MS), 1000)
    return f"{_second(seconds)}.{ms:03d}Z"


@lru_cache(maxsize=4)  # the events of one second share it: 0.2 µs instead of 2
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def column(values: Mapping[str, Json], key: str) -> str | None:
    """Read what a query may ask for; the same from the values as from the line they became."""
    value = values.get(key)
    if isinstance(value, str) and len(value) <= _MAX_COLUMN and (value.isascii() or _is_encodable(value)):
        return value
    return None


def total(value: Json) -> bytes:
    """Encode any value whatever; a number JSON cannot hold (NaN, infinity) is null."""
    try:
        return orjson.dumps(value, default=_represented)
    except (TypeError, RecursionError):
        return orjson.dumps(_Plain().value(value, 0))


def _front(call: str | None, run: str | None, inner: bytes) -> bytes:
    if call is not None and run is not None and inner != b"{}":  # a call's events, which are nearly all
        return b',"call":%b,"run":%b,%b' % (orjson.dumps(call), orjson.dumps(run), inner[1:-1])
    front = b"" if call is None else b',"call":' + orjson.dumps(call)
    if run is not None:
        front += b',"run":' + orjson.dumps(run)
    return front if inner == b"{}" else front + b"," + inner[1:-1]


def _identifier(value: str | None) -> str | None:
    if value is None or (len(value) <= _MAX_ID and value.isascii()):
        return value
    return value.encode("ascii", "backslashreplace").decode()[:_MAX_ID]


def _is_encodable(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _represented(value: object) -> Json:
    """Stand in for what orjson does not know. What it returns may again hold such values."""
    match value:
        case bytes() | bytearray() | memoryview():
            return {"$base64": b64encode(value).decode()}
        case Mapping():
            return dict(value)
        case AbstractSet() | Sequence():
            return list(value)
        case _:
            return {"$type": type(value).__name__}


class _Plain:
    """Rebuild a value that orjson refuses from parts that it takes: bounded in depth and in size."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _MAX_NODES

    def value(self, value: Json, depth: int) -> Json:
        self.left -= 1
        if depth > _MAX_DEPTH or self.left < 0:
            return {"$cut": {}}
        if isinstance(value, bool | int | float | str | None):
            return _plain_scalar(value)
        if isinstance(value, orjson.Fragment):
            return value
        if isinstance(value, Mapping):
            return {_key(key): self.value(item, depth + 1) for key, item in self._some(value.items())}
        if isinstance(value, AbstractSet | Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            return [self.value(item, depth + 1) for item in self._some(value)]
        return _represented(value)

    def _some(self, items: Iterable[_T]) -> Iterable[_T]:
        return islice(items, max(self.left, 0) + 1)


def _plain_scalar(value: Json) -> Json:
    match value:
        case int() if not -(1 << 63) <= value < 1 << 64:
            # SECURITY: decimal digits of a huge integer cost quadratic time, and Python refuses more than 4,300
            return {"$integer": str(value) if value.bit_length() <= _MAX_INTEGER_BITS else hex(value)}
        case str() if not _is_encodable(value):
            return {"$text": _escaped(value)}
        case _:
            return value


def _key(key: object) -> str:
    return _escaped(key) if isinstance(key, str) else _escaped(str(key))


def _escaped(text: str) -> str:
    return text if _is_encodable(text) else text.encode("utf-8", "backslashreplace").decode()


def _shrunk(value: Json, budget: int, depth: int) -> bytes:
    """Encode a value in at most `budget` bytes: what is small stays, what is longest is cut."""
    whole = orjson.dumps(value)
    if len(whole) <= budget:
        return whole
    if depth < _CUT_DEPTH and isinstance(value, dict):
        keys = [orjson.dumps(key) + b":" for key in value]
        parts = _fitted(list(value.values()), budget - sum(map(len, keys)) - len(keys) - 2, depth)
        if parts is not None:
            return b"{%b}" % b",".join(map(operator.add, keys, parts))
    if depth < _CUT_DEPTH and isinstance(value, list):
        parts = _fitted(value, budget - len(value) - 2, depth)
        if parts is not None:
            return b"[%b]" % b",".join(parts)
    return orjson.dumps({"$cut": {"size": len(whole), "sha256": digest(whole)}})


def _fitted(children: list[Json], room: int, depth: int) -> list[bytes] | None:
    """Share the room out: each child as much as it needs, the long ones what is left in equal parts."""
    if 2 * len(children) > room:
        return None
    sizes = [len(orjson.dumps(child)) for child in children]
    if sum(min(size, _CUT_SIZE) for size in sizes) > room:
        return None
    level = room
    for left, size in zip(range(len(sizes), 0, -1), sorted(sizes), strict=True):
        level = room // left
        if size > level:
            break
        room -= size
    return [_shrunk(child, level, depth + 1) for child in children]
