"""What gates of a store tell each other of plans and approvals: entries of a run, in the order in which they were made.

RULE: an entry is what the writer's own journal was told, never more of it. A gate reads on from where it was, skips what it
said itself, and applies the rest by the one way in (`Agreements.follow`); it is asked for nothing it cannot tell again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from toolgate.core import locking, runs
from toolgate.core import requests as asking
from toolgate.core.approval import WAITING
from toolgate.core.model import Event
from toolgate.ledger.queue import QueuedLedger
from toolgate.ledger.redis.link import Asked, Link
from toolgate.ledger.redis.script import DAY_MS, Garbled, Operation, Result, Told
from toolgate.ports import LedgerError

SHARED: Final = asking.ANSWERS | {locking.PLAN_LOCKED, asking.APPROVAL_REQUESTED}
_ATTEMPT: Final = ("plan", "step", "approval")
_END: Final = ("plan", "step", "outcome", "status", "sent", "outputs")
_PAGE: Final = 256  # what the script tells at once
_MOST_NAME: Final = 80
_NAMED: Final = ("plan_", "sha256:", "apr_")
_MOST_UNNAMED: Final = 10_000


class Entry(NamedTuple):
    """What one gate said; without an event, what another entry took the place of."""

    by: str
    event: Event | None


@dataclass(slots=True)
class _Read:
    """How far the entries of a run were read."""

    at_ms: int
    entries: int = 0
    others: int = 0  # of these, said by other gates
    running: dict[str, str] = field(default_factory=dict)  # attempts of other gates, by call
    is_restored: bool = False  # what is known of its steps is of a file


def is_shared(event: Event) -> bool:
    """Whether other gates are told of an event without a call."""
    return event.kind in SHARED or (event.kind == runs.RUN_STARTED and "approval" in event.data)


def entry_of(event: Event) -> str:
    """As it is told: ASCII, for what an agent sends may be no Unicode text."""
    said = {"kind": event.kind, "at_ms": event.at_ms, "call": event.call, "run": event.run}
    return json.dumps(said | {"data": dict(event.data)}, separators=(",", ":"), default=_plain)


def read_entry(text: str, run: str) -> Entry:
    """Raises Garbled."""
    by, _, told = text.partition(" ")
    if not told:
        return Entry(by, None)
    try:
        said = json.loads(told)
        event = Event(
            str(said["kind"]), int(said["at_ms"]), dict(said["data"]), said.get("call"), said.get("run") or run
        )
        return Entry(by, event)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Garbled from error


class Accord:
    """Belongs to the event loop of its link."""

    def __init__(self, local: QueuedLedger, link: Link, clock: Callable[[], int]) -> None:
        self._local = local
        self._link = link
        self._clock = clock
        self._read: dict[str, _Read] = {}  # by run; what was looked at last stands last
        self._elsewhere: dict[str, Event] = {}  # plans and approvals that this journal does not name, by name
        self.begin_epoch()

    # -- what this gate says -----------------------------------------------------------------------------------

    def position(self, run: str | None) -> tuple[int, int]:
        """How much of a run is known: entries, and those of others."""
        read = self._read.get(run or "")
        return (0, 0) if read is None else (read.entries, read.others)

    def told(self, event: Event) -> Told:
        """What is told with a permit. Others hear of it where it is an attempt at a step or uses something up."""
        position, data = self.position(event.run), event.data
        if not ("step" in data or self._is_use(data.get("approval"))):
            return Told(*position)
        said = {name: data[name] for name in _ATTEMPT if data.get(name) is not None}
        return Told(*position, entry_of(event._replace(data=said)))

    def ended(self, event: Event) -> Operation:
        """What others are told of an attempt's end."""
        return ended(event, self._link.known.owner)

    def unnamed(self, event: Event) -> list[Event]:
        """What a permit is by that another gate wrote, and this journal does not name yet."""
        names = [event.data.get("plan"), event.data.get("approval")]
        return [self._elsewhere.pop(name) for name in names if name in self._elsewhere]

    # -- what others say ---------------------------------------------------------------------------------------

    async def catch_up(self, named: str) -> bool:
        """Read what others said of a run, or of the run of a plan or approval; whether there was anything."""
        try:
            names = await self._waiting() if named == WAITING else [named]
            found = await asyncio.gather(*map(self._run_of, names))
            read = await asyncio.gather(*(self._read_on(run) for run in dict.fromkeys(found) if run is not None))
        except (LedgerError, Garbled, IndexError, TypeError):
            return False
        return any(read)

    def learn(self, run: str, result: Result) -> None:
        """Apply what the store told of a run. Raises LedgerError where that cannot be read."""
        try:
            texts, start = list(result[1]), int(result[2])
            read = self._reading(run)
            entries = [read_entry(text, run) for text in texts[max(read.entries - start, 0) :]]
            self._apply(run, read, entries)
        except (Garbled, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise LedgerError("the state store does not answer as Redis does") from error

    def begin_epoch(self) -> None:
        """What was read may be in this store or not: it is read anew, and what is known here stays known where it is not."""
        now_ms = self._clock()
        self._read = {run: _Read(now_ms, is_restored=True) for run in self._local.agreements.plans.runs()}

    async def _waiting(self) -> list[str]:
        """The oldest first, as they were asked for."""
        result = await self._link.ask(Asked(["asked"]))
        return [str(name) for name in reversed(list(result[1]))]

    async def _run_of(self, named: str) -> str | None:
        if len(named) > _MOST_NAME:
            return None
        run = named if named.startswith("run_") else self._local.agreements.run_of(named)
        if run is not None or not named.startswith(_NAMED):
            return run
        result = await self._link.ask(Asked(["find", named]))
        return str(result[1]) or None if result[0] == "found" and len(result) > 1 else None

    async def _read_on(self, run: str) -> bool:
        """Page by page; nothing else waits for the store meanwhile."""
        before = self.position(run)[1]
        while True:
            read = self._read.get(run)
            running = [] if read is None else [[call, owner] for call, owner in read.running.items()]
            result = await self._link.ask(Asked(["read", run, *self.position(run), running]))
            if result[0] != "read":
                raise Garbled
            if len(result) > 1 and result[1]:
                self.learn(run, result)
            if len(result) < 2 or len(result[1]) < _PAGE:  # noqa: PLR2004 (a state and what comes with it)
                return self.position(run)[1] > before

    def _apply(self, run: str, read: _Read, entries: Sequence[Entry]) -> None:
        """INVARIANT: plans first, for what their steps came to may stand before their newest form."""
        own = self._link.known.owner
        is_plan = {id(each) for each in entries if each.event is not None and each.event.kind == locking.PLAN_LOCKED}
        is_anew = read.is_restored and bool(is_plan)
        if is_anew:
            self._local.agreements.plans.begin_again(run)
        read.is_restored = False
        for entry in sorted(entries, key=lambda each: id(each) not in is_plan):
            if entry.event is not None and (is_anew or entry.by != own or entry.event.kind == "Finished"):
                self._follow(entry.by, entry.event, read)
        read.entries += len(entries)
        read.others += sum(entry.by != own for entry in entries)

    def _follow(self, by: str, event: Event, read: _Read) -> None:
        agreements, call = self._local.agreements, event.call or ""
        match event.kind:
            case "Decided":
                read.running[call] = by
                agreements.follow(event)
            case "Finished":
                read.running.pop(call, None)
                agreements.follow(event)
            case _ if is_shared(event) and not agreements.has(event):
                agreements.commit(agreements.follow(event))
                self._note(by, event)
            case _:
                pass

    def _note(self, by: str, event: Event) -> None:
        name = event.data["plan"] if event.kind == locking.PLAN_LOCKED else event.data.get("approval")
        if event.kind in {locking.PLAN_LOCKED, asking.APPROVAL_REQUESTED}:
            if len(self._elsewhere) >= _MOST_UNNAMED:
                del self._elsewhere[next(iter(self._elsewhere))]
            self._elsewhere[str(name)] = locking.elsewhere(str(name), by, event.run or "", event.at_ms)

    def _is_use(self, approval: object) -> bool:
        return isinstance(approval, str) and self._local.agreements.requests.is_for_one_call(approval)

    def _reading(self, run: str) -> _Read:
        """Where a run stands; others that nobody looked at for a day are forgotten."""
        now_ms = self._clock()
        read = self._read.pop(run, None) or _Read(now_ms)
        read.at_ms, self._read[run] = now_ms, read
        oldest = next(iter(self._read))
        if self._read[oldest].at_ms < now_ms - DAY_MS:
            self._forget(oldest, now_ms)
        return read

    def _forget(self, run: str, now_ms: int) -> None:
        read = self._read.pop(run)
        if self._local.knows(run):
            read.at_ms, self._read[run] = now_ms, read
        else:
            self._local.agreements.forget(run)


def ended(event: Event, owner: str) -> Operation:
    said = {name: event.data[name] for name in _END if event.data.get(name) is not None}
    return ["ended", event.call or "", owner, entry_of(event._replace(data=said))]


def _plain(value: Any) -> Any:
    return dict(value) if hasattr(value, "items") else list(value)
