"""What is known of the environment beyond the bundle: live catalogues, and whether each tool's calls can be sent.

RULE: nothing here is on the path of a call. Readings happen in the background, are calls like any other (of the gate itself),
and end in one immutable `Situation` that the gateway refers to; what is too old to rely on is not in it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import orjson

from toolgate.core.bundle import Bundle, LiveCatalogue
from toolgate.core.catalog import Target
from toolgate.core.listing import Answer, Listing
from toolgate.core.model import (
    OWN,
    Completed,
    Event,
    Failed,
    Json,
    Named,
    Outcome,
    Refused,
    ResourceCatalogue,
    Said,
    Situation,
)
from toolgate.exchange import close_stream, held
from toolgate.gateway import Gateway
from toolgate.ports import LedgerError, Meter, UpstreamError
from toolgate.tasks import Tasks

LOOK_S: Final = 1.0  # how often credentials and ages are looked at
READ_WITHIN_S: Final = 60.0  # one whole reading, all its pages
_START_WITHIN_S: Final = 10.0  # how long readiness waits for the first readings
_FIRST_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 60.0
_NO_CREDENTIAL: Final = "the credential that the gate adds for this tool is not available"


class Log(Protocol):
    """The operations log: an event name in the past tense, and data in keys."""

    def info(self, event: str, **data: object) -> object: ...
    def warning(self, event: str, **data: object) -> object: ...


@dataclass(frozen=True, slots=True)
class Outside:
    """What a lookout needs from outside."""

    credential: Callable[[Target], str | None]  # why a target's credential cannot be read, in an operator's words
    record: Callable[[Event], Awaitable[None]]  # into the journal
    meter: Meter
    log: Log
    now_ms: Callable[[], int]
    monotonic_s: Callable[[], float]
    random: Callable[[], float]
    look_s: float = LOOK_S
    read_within_s: float = READ_WITHIN_S


@dataclass(frozen=True, slots=True)
class Reading:
    """A live catalogue in numbers."""

    tool: str
    type: str
    count: int
    age_s: float | None  # None: it was never read
    results: Mapping[str, int]  # changed, unchanged, failed


@dataclass(slots=True, eq=False)
class _Kept:
    """One live catalogue and what was last read of it."""

    live: LiveCatalogue
    source: object  # where it is read: another upstream is another catalogue
    catalogue: ResourceCatalogue | None = None
    digest: str | None = None
    read_at_s: float | None = None
    failures: int = 0  # since it was last read
    why: str | None = None  # the last failure
    is_tried: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    results: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("changed", "unchanged", "failed"), 0))

    def is_usable(self, now_s: float) -> bool:
        return self.read_at_s is not None and now_s - self.read_at_s <= self.live.stale_s

    @property
    def has_news(self) -> bool:
        """Whether there is more to say than that its first reading is under way."""
        return self.why is not None or self.read_at_s is not None

    def waiting_for(self) -> str:
        """Why calls that need it must wait, as a clause an agent may read."""
        kind, name = self.live.type, self.live.operation
        if self.read_at_s is not None:
            known = f"the list of {kind} is older than {self.live.stale_s:g} s"
            return f"{known}, and `{name}` {self.why}" if self.why else known
        if self.why is not None:
            return f"the list of {kind} could not be read: `{name}` {self.why}"
        return f"the list of {kind} has not been read yet"


class Lookout:
    """Keeps the gateway's situation true. `attend` names the bundle; `run` looks and reads until it is cancelled."""

    def __init__(self, gateway: Gateway, world: Outside) -> None:
        self._gateway = gateway
        self._world = world
        self._bundle: Bundle | None = None
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._unready: dict[str, str] = {}  # as the operator was last told
        self._tasks = Tasks()
        self._awaited: tuple[_Kept, ...] = ()
        self._began_s = world.monotonic_s()

    def attend(self, bundle: Bundle) -> None:
        """Look after what this bundle names from now on; what it keeps as it was keeps what was read."""
        starting = self._bundle is None
        before, self._kept, self._bundle = self._kept, {}, bundle
        for live in bundle.live:
            key, source = (live.tool, live.type), _source(bundle, live)
            known = before.get(key)
            if known is not None and known.live == live and known.source == source:
                self._kept[key] = before.pop(key)
            else:
                self._begin(key, _Kept(live, source))
        for gone in before.values():
            gone.over.set()
        if starting:
            self._awaited, self._began_s = tuple(self._kept.values()), self._world.monotonic_s()
        self.look()

    def pending(self) -> str | None:
        """Why the process is not ready to take calls yet: its first readings are under way."""
        if self._world.monotonic_s() - self._began_s > _START_WITHIN_S:
            self._awaited = ()
        waiting = next((each for each in self._awaited if not each.is_tried), None)
        return None if waiting is None else f"the list of {waiting.live.type} of `{waiting.live.tool}` is being read"

    async def run(self) -> None:
        """Look at credentials and ages, again and again."""
        while True:
            await asyncio.sleep(self._world.look_s)
            self.look()

    async def close(self) -> None:
        for kept in self._kept.values():
            kept.over.set()
        await self._tasks.close()

    def readings(self) -> Iterator[Reading]:
        """Every live catalogue of the bundle, in numbers."""
        now_s = self._world.monotonic_s()
        for (tool, kind), kept in self._kept.items():
            count = len(kept.catalogue.attributes) if kept.catalogue is not None else 0
            yield Reading(tool, kind, count, None if kept.read_at_s is None else now_s - kept.read_at_s, kept.results)

    def look(self) -> None:
        """Make the situation anew from what is known now."""
        now_s = self._world.monotonic_s()
        catalogues: dict[str, dict[str, ResourceCatalogue]] = {}
        unready: dict[str, str] = {}  # for agents
        told: dict[str, str] = {}  # for the operator
        for (tool, kind), kept in self._kept.items():
            if kept.catalogue is not None and kept.is_usable(now_s):
                catalogues.setdefault(tool, {})[kind] = kept.catalogue
            else:
                unready.setdefault(tool, kept.waiting_for())
                if kept.has_news:
                    told.setdefault(tool, kept.waiting_for())
        for tool, why in self._without_credential():
            unready[tool], told[tool] = _NO_CREDENTIAL, why  # SECURITY: where a secret is kept is for operators only
        self._gateway.situation = Situation(catalogues, unready)
        self._tell(told)

    # -- what is not ready --------------------------------------------------------------------------------------

    def _without_credential(self) -> Iterator[tuple[str, str]]:
        for tool in self._bundle.tools.values() if self._bundle is not None else ():
            why = self._world.credential(tool.target) if tool.target is not None else None
            if why is not None:
                yield tool.name, why

    def _tell(self, unready: dict[str, str]) -> None:
        """Say to the operator what became different."""
        for tool, why in unready.items():
            if self._unready.get(tool) != why:
                self._world.log.warning("tool_not_ready", tool=tool, why=why)
        for tool in self._unready.keys() - unready.keys():
            self._world.log.info("tool_ready", tool=tool)
        self._unready = unready

    # -- reading ------------------------------------------------------------------------------------------------

    def _begin(self, key: tuple[str, str], kept: _Kept) -> None:
        self._kept[key] = kept
        self._tasks.spawn(self._keep_fresh(kept), f"catalogue {key[0]}.{key[1]}")

    async def _keep_fresh(self, kept: _Kept) -> None:
        while not kept.over.is_set():
            pause_s = await self._turn(kept)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await kept.over.wait()

    async def _turn(self, kept: _Kept) -> float:
        """Read once; return how long to pause."""
        operation = self._gateway.bundle.catalog.operations.get(kept.live.operation)
        target = operation.target if operation is not None else None
        if target is not None and self._world.credential(target) is not None:
            kept.is_tried = True
            return self._world.look_s
        began_s = self._world.monotonic_s()
        why = await self._read_within(kept, began_s)
        kept.is_tried = True
        if kept.over.is_set():
            return 0.0
        self._note(kept, why)
        self.look()
        return self._pause_s(kept)

    async def _read_within(self, kept: _Kept, began_s: float) -> str | None:
        """Read and keep what was read; return what went wrong."""
        try:
            async with asyncio.timeout(self._world.read_within_s):
                listing = await self._read(kept.live)
            return listing if isinstance(listing, str) else await self._keep(kept, listing, began_s)
        except TimeoutError:
            return f"did not give its whole list within {self._world.read_within_s:g} s"
        except LedgerError:
            return "was read, and the journal could not take that"
        except Exception as error:  # noqa: BLE001  # INVARIANT: a defect ends one reading, never all further ones
            self._world.meter.defect("reading a live catalogue", error)
            return "met a defect of the gate"

    async def _read(self, live: LiveCatalogue) -> Listing | str:
        operation = self._gateway.bundle.catalog.operations.get(live.operation)
        if operation is None:
            return "is no operation of this bundle"
        listing = Listing(live, operation)
        while listing.arguments is not None:
            answer = await self._ask(live, listing.arguments, operation.limits.max_response)
            wrong = answer if isinstance(answer, str) else listing.add(answer)
            if wrong is not None:
                return wrong
        return listing

    async def _ask(self, live: LiveCatalogue, arguments: Mapping[str, Json], most: int) -> Answer | str:
        """One page, by a call of the gate's own: decided, journaled and sent as any other."""
        asked = Named(live.operation, dict(arguments))
        return await _answered(
            await self._gateway.handle(self._gateway.new_call(OWN, asked, Said(f"to list {live.type}"))), most
        )

    async def _keep(self, kept: _Kept, listing: Listing, began_s: float) -> str | None:
        if kept.over.is_set():
            return None
        digest = f"sha256:{hashlib.sha256(orjson.dumps(listing.found, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
        known = kept.catalogue.attributes if kept.catalogue is not None else {}
        changed = digest != kept.digest
        if changed:
            await self._world.record(self._refreshed(kept, len(listing.found), digest))
            known = {name: _same(known.get(name), new) for name, new in listing.found.items()}
        kept.catalogue = ResourceCatalogue(kept.live.type, known, self._world.now_ms())
        kept.digest, kept.read_at_s = digest, began_s
        kept.results["changed" if changed else "unchanged"] += 1
        return None

    def _refreshed(self, kept: _Kept, count: int, digest: str) -> Event:
        live = kept.live
        self._world.log.info("catalogue_refreshed", tool=live.tool, type=live.type, count=count, digest=digest)
        data: dict[str, Json] = {
            "tool": live.tool,
            "type": live.type,
            "operation": live.operation,
            "count": count,
            "digest": digest,
            "previous": kept.digest,
        }
        return Event("CatalogueRefreshed", self._world.now_ms(), data)

    def _note(self, kept: _Kept, why: str | None) -> None:
        before, kept.why = kept.why, why
        if why is None:
            kept.failures = 0
            return
        kept.failures += 1
        kept.results["failed"] += 1
        if why != before:
            live = kept.live
            said = f"`{live.operation}` {why}"
            self._world.log.warning("catalogue_not_refreshed", tool=live.tool, type=live.type, why=said)

    def _pause_s(self, kept: _Kept) -> float:
        """Jitter keeps many gates from reading at once; after failures each pause is twice the one before."""
        ttl_s = kept.live.ttl_s
        if not kept.failures:
            return ttl_s * (0.8 + 0.2 * self._world.random())
        longest_s = max(ttl_s, _LONGEST_RETRY_S)
        doubled_s = min(_FIRST_RETRY_S, ttl_s) * 2.0 ** min(kept.failures - 1, 16)
        return min(doubled_s, longest_s) * (0.5 + 0.5 * self._world.random())


def _source(bundle: Bundle, live: LiveCatalogue) -> object:
    operation = bundle.catalog.operations[live.operation]
    return operation.target, operation.method, operation.template


def _same(before: Mapping[str, Json] | None, new: Mapping[str, Json]) -> Mapping[str, Json]:
    """The very same value where nothing changed: what was worked out for it stays worked out."""
    return before if before == new and before is not None else new


async def _answered(outcome: Outcome, most: int) -> Answer | str:
    match outcome:
        case Completed(reply):
            try:
                body = await _whole(reply.body, most)
            except UpstreamError as error:
                return f"gave no whole answer: {error.detail}"
            if body is None:
                return f"gave an answer larger than {most:,} bytes (`max_response`)"
            return Answer(reply.status, reply.headers, body)
        case Refused(refusal):
            return f"was refused: {refusal.detail}"
        case Failed():
            return f"gave no answer: {outcome.detail}"


async def _whole(body: bytes | AsyncIterator[bytes], most: int) -> bytes | None:
    """The body, or None when it is larger than `most`; whatever happens, the stream is closed."""
    whole = await held(body, most)
    if isinstance(whole, bytes):
        return whole if len(whole) <= most else None
    await close_stream(whole)
    return None
