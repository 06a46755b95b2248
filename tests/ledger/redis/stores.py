"""Stores ready to be shared, each with a prefix of its own, and ledgers over them.

RULE: a store's URL here also names its prefix, after a `#` (settings name it under `redis.prefix`), and after an `@` how
long an answer may take: who tests something else than time has patience, for other tests run meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Final

from toolgate.ledger import QueuedLedger
from toolgate.ledger.redis.address import Access
from toolgate.ledger.redis.ledger import SharedLedger
from toolgate.ledger.redis.opening import Store, reach, share
from toolgate.ledger.redis.upkeep import balances, begin

_FOREVER_MS: Final = 10**15  # a test's clock that stands still is far from any server's
PATIENT_S: Final = 5.0
_numbers = count(1)


def made_ready(url: str, timeout_s: float = Access().timeout_s) -> str:
    """A store nobody has used, as `toolgate ledger init` leaves it."""
    ready = f"{url}#test-{next(_numbers)}@{timeout_s}"
    store = reached(ready)
    begin(store, "first", 0)
    store.close()
    return ready


def prefix_of(url: str) -> str:
    return url.partition("#")[2].partition("@")[0]


def access_of(url: str) -> Access:
    timeout_s = float(url.rpartition("@")[2]) if "@" in url else Access().timeout_s
    return Access(prefix=prefix_of(url), skew_ms=_FOREVER_MS, timeout_s=timeout_s)


def reached(url: str) -> Store:
    return reach(url.partition("#")[0], access_of(url))


def joined(url: str, open_local: Callable[[], QueuedLedger], clock: Callable[[], int]) -> SharedLedger:
    """A gate's ledger over the store: the store is looked at first, as the gate does it."""
    store = reached(url)
    return share(open_local(), store, clock)


def kept(url: str) -> dict[str, int]:
    """What the store itself says is taken."""
    store = reached(url)
    try:
        return balances(store)
    finally:
        store.close()


async def settled(held: SharedLedger) -> None:
    """Everything the store is to be told it has been told."""
    async with asyncio.timeout(10):
        while held.backlog:  # noqa: ASYNC110 (the link's own task)
            await asyncio.sleep(0.005)
