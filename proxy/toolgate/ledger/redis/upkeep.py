"""What an operator does with a store: make it ready, look at it, bring a file's balances into it.

RULE: an epoch is written by a person's command and by nothing else: a store without one may have been emptied, and nobody
but a person knows what that means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from toolgate.core.model import Freeze
from toolgate.ledger.redis import script
from toolgate.ledger.redis.opening import Store, groups
from toolgate.ledger.redis.script import Operation
from toolgate.ledger.store import Recovered
from toolgate.ledger.taken import PLAIN, Change
from toolgate.ports import LedgerError

FORMAT: Final = "1"
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Status:
    """What a store says of itself."""

    address: str
    prefix: str
    version: str
    epoch: str | None
    since_ms: int | None
    seq: int
    gates: tuple[str, ...]
    open_calls: int
    freezes: tuple[str, ...]
    balances: int
    persistence: str
    unfit: str | None


def begin(store: Store, new_id: str, now_ms: int) -> bool:
    """Write the first epoch; False where there is one already."""
    return store.ask("SET", store.key, f"{FORMAT} {new_id} {now_ms}", "NX") is not None


def begin_anew(store: Store, new_id: str, now_ms: int) -> None:
    """Write another epoch over what is there: the gates go on with it, and what was lost is lost."""
    store.ask("SET", store.key, f"{FORMAT} {new_id} {now_ms}")


def status(store: Store) -> Status:
    info = _info(store)
    epoch = store.epoch()
    prefix = store.key.removesuffix("epoch")
    owners = [_text(said) for said in store.ask("SMEMBERS", f"{prefix}owners")]
    return Status(
        address=str(store.address),
        prefix=prefix,
        version=info.get("redis_version", ""),
        epoch=epoch.split(" ")[1] if epoch else None,
        since_ms=int(epoch.split(" ")[2]) if epoch else None,
        seq=int(store.ask("GET", f"{prefix}seq") or 0),
        gates=tuple(sorted(key.removeprefix(f"{prefix}alive:") for key in _keys(store, f"{prefix}alive:"))),
        open_calls=sum(store.ask("SCARD", f"{prefix}open:{owner}") for owner in owners),
        freezes=tuple(sorted(map(_text, store.ask("HKEYS", f"{prefix}freezes")))),
        balances=sum(1 for _ in _keys(store, f"{prefix}taken:")),
        persistence=_persistence(info),
        unfit=_unfit(store),
    )


def balances(store: Store) -> dict[str, int]:
    """What is taken of every key; of windows that move the sum of all that is remembered."""
    prefix = f"{store.key.removesuffix('epoch')}taken:"
    found: dict[str, int] = {}
    for key in _keys(store, prefix):
        found[key.removeprefix(prefix)] = sum(map(int, store.ask("HVALS", key)))
    return found


def migrate(store: Store, found: Recovered, writers: Sequence[str], now_ms: int) -> int:
    """Add what a file's ledger has taken and frozen, each once; how many balances were changed by it.

    The file is known by one of its writers, the newest first: when it comes again, by the one it came with before.
    """
    epoch = store.epoch_or_error()
    arrivals = [["restore_pace", key, arrival_us] for key, arrival_us in found.arrivals.items()]
    for some in groups([*arrivals, *_freezings(found.freezes)]):
        store.run(epoch, now_ms, some)
    results = [
        result
        for some in groups(_restorations(found, _came_as(store, writers)))
        for result in store.run(epoch, now_ms, some).results
    ]
    return sum(result[0] == "restored" for result in results)


def _came_as(store: Store, writers: Sequence[str]) -> str:
    prefix = f"{store.key.removesuffix('epoch')}migrated:"
    before = {key.removeprefix(prefix) for key in _keys(store, prefix)}
    newest = next(iter(writers), "")
    return next((writer for writer in writers if writer in before), newest)


def _restorations(found: Recovered, journal: str) -> list[Operation]:
    return [_restoration(journal, change) for change in found.changes]


def _restoration(journal: str, change: Change) -> Operation:
    keep_ms = script.keep_ms(change.key) if change.bucket == PLAIN else script.DAY_MS * 32
    return ["restore", journal, change.key, change.bucket, change.amount, keep_ms]


def _freezings(freezes: Mapping[str, Freeze]) -> Iterator[Operation]:
    for key, freeze in freezes.items():
        said = {"who": freeze.who, "why": freeze.why, "at_ms": freeze.at_ms}
        yield ["freeze", key, orjson.dumps(said).decode()]


def _unfit(store: Store) -> str | None:
    try:
        store.judge()
        if store.epoch() is not None:
            store.judge_epoch()
    except LedgerError as error:
        return str(error)
    return None


def _info(store: Store) -> dict[str, str]:
    said = _text(b"\n".join([store.ask("INFO", section) for section in ("server", "persistence")]))
    return dict(line.split(":", 1) for line in said.splitlines() if ":" in line)


def _persistence(info: Mapping[str, str]) -> str:
    if info.get("aof_enabled") == "1":
        return "append-only file"
    saved = info.get("rdb_last_save_time", "0")
    return f"snapshots, the last at {saved}" if saved != "0" else "none"


def _keys(store: Store, prefix: str) -> Iterator[str]:
    """Every key that begins so, without holding the store up."""
    cursor: Any = b"0"
    while True:
        cursor, keys = store.ask("SCAN", cursor, "MATCH", f"{_escaped(prefix)}*", "COUNT", _PAGE)
        yield from map(_text, keys)
        if cursor == b"0":
            return


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in text)


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace")
