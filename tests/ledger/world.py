"""What the ledger's tests share: a clock that stands still, events, and ledgers opened in place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.ledger.redis.stores import joined

from toolgate import ledger
from toolgate.core.journal import Filter
from toolgate.core.model import Call, Charge, Event, Named, OpenedRun, Principal, RunFacts
from toolgate.ledger import Bounds, Keep, QueuedLedger, Sync

START_MS = 1_795_362_879_123  # 2026-11-22T15:54:39.123Z


# A file of this format as a format before had it; its rows must be counted.
BACK_TO_3 = """
drop table run_rows;
alter table events drop column redo;
create index events_by_run on events (run) where run is not null;
pragma user_version = 3;
"""


class Clock:
    """Time stands still until a test moves it."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def decided(number: int, **data: Any) -> Event:
    """A permit; with `code`, a refusal."""
    said = {"number": number, "principal": "digest", "operation": "metrics.queryCluster", "decision": "permit"} | data
    return Event("Decided", START_MS + number, said, call=f"call-{number}", run="run_1")


def effect(number: int) -> Event:
    return Event("Decided", START_MS + number, {"number": number}, call=f"call-{number}", run="run_1", effectful=True)


def finished(number: int, **data: Any) -> Event:
    said = {"operation": "metrics.queryCluster", "outcome": "completed"} | data
    return Event("Finished", START_MS + number, said, call=f"call-{number}", run="run_1")


def run_of(held: QueuedLedger, principal: str, at_ms: int = START_MS) -> RunFacts:
    """What a call of the principal at that time is told of its run, as a value that does not change any more."""
    facts = held.facts([f"run:{principal}"], at_ms).run
    return facts._replace(by_operation=dict(facts.by_operation))


def told_of(held: QueuedLedger, principal: str, at_ms: int = START_MS) -> tuple[object, ...]:
    """Calls, refusals, age, completed operations and permits of a principal's run."""
    return tuple(run_of(held, principal, at_ms)[1:6])


def calling(principal: str, at_ms: int = START_MS, run: OpenedRun | None = None) -> Call:
    """A call, as far as the ledger looks at one."""
    return Call("call", at_ms, Principal(principal), Named("metrics.queryCluster", {}), run=run)


def taken(held: QueuedLedger, *keys: str) -> dict[str, int]:
    """What is taken of these keys."""
    balances = held.balances()
    return {key: balances.get(key, 0) for key in keys}


def take(amount: int, given: int, key: str = "calls") -> Charge:
    return Charge(key, amount, given)


def opened(
    url: str | Path,
    *,
    clock: Callable[[], int] | None = None,
    sync: Sync = "effects",
    keep: Keep | None = None,
    stdout: Callable[[bytes], None] | None = None,
    idle_s: float = 1800.0,
    bounds: Bounds | None = None,
    at: Callable[[str], None] = lambda _: None,
    journal: str | Path = "memory:",
    not_before: Callable[[int], None] = lambda _: None,
) -> Any:
    """Open a ledger at a path or URL, with everything that varies held still; `journal`: of one whose state is shared."""
    clock = clock or Clock()
    is_shared = isinstance(url, str) and url.startswith("redis:") and "#" in url
    address = journal if is_shared else url
    open_local = partial(
        ledger.open,
        f"sqlite://{address}" if isinstance(address, Path) else address,
        clock=clock,
        sync=sync,
        keep=keep or Keep(),
        stdout=stdout,
        idle_s=idle_s,
        bounds=bounds or Bounds(),
        at=at,
        not_before=not_before,
    )
    return joined(str(url), open_local, clock) if is_shared else open_local()


def kinds(held: QueuedLedger) -> list[str]:
    """The kinds of all events, oldest first."""
    return [row.event["event"] for row in held.journal.events(ledger_filter())]


def ledger_filter(**wanted: Any) -> Filter:
    """All there is, oldest first, unless told otherwise."""
    return Filter(**({"order": "oldest", "limit": 10_000} | wanted))
