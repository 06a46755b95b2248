"""The ledger of gates that share a store: the journal is this process's own, what is taken and frozen is everybody's.

RULE: a call is sent after the store has taken its guards and the journal has its record, in that order. What was frozen
meanwhile stands in the store's answer, and so among `freezes` before the record is written: the gateway looks there once
more before it sends. A record that fails gives back what was taken; a gate that dies in between has left a lease, and the
next one with this journal settles it by what the journal says (`recovery.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from toolgate.core.guards import first_short, taken_json
from toolgate.core.model import (
    NOTHING_KNOWN,
    Call,
    Charge,
    Event,
    Facts,
    Freeze,
    Guard,
    Json,
    Known,
    Overtaken,
    Pace,
    Place,
    Settlement,
    Short,
    Situation,
)
from toolgate.ledger.projection import Run
from toolgate.ledger.queue import CLOSED, QueuedLedger
from toolgate.ledger.redis import script
from toolgate.ledger.redis.accord import Accord, is_shared
from toolgate.ledger.redis.agreeing import Agreeing
from toolgate.ledger.redis.levels import StoreLevels
from toolgate.ledger.redis.link import Asked, Link
from toolgate.ledger.redis.overview import Overview
from toolgate.ledger.redis.recovery import STORE, Leftover, Unsaid
from toolgate.ledger.redis.script import Garbled, Operation, Result
from toolgate.ledger.redis.settling import Settling
from toolgate.ledger.redis.shared import Shared
from toolgate.ports import Journal, LedgerError, RunEndedError

_LOOK_S: Final = 0.05  # what a call is about to be told anyway is not asked for
_OWN: Final = ("p:", "a:", "s:")  # begins the keys of steps and approvals
_RETURN_S: Final = 1.0
_LAST_S: Final = 1.0  # for what is still to be said to the store when the gate stops


@dataclass(frozen=True, slots=True)
class _Held:
    """What a call holds in the store until it is finished."""

    guards: Sequence[Guard]
    was_resent: bool
    was_told: bool  # other gates know of it, and wait for its end


class SharedLedger:
    """See `ports.Ledger`. Belongs to the event loop it is first used in."""

    def __init__(self, local: QueuedLedger, link: Link, unsaid: Unsaid) -> None:
        self._local = local
        self._link = link
        self._levels = StoreLevels(link.seams.clock, self._look_soon)
        self._overview = Overview(link, link.seams.clock)
        self._shared = Shared(local, link, self._in_background)
        self._settling = Settling(local, link, self._learn)
        self._accord = Accord(local, link, link.seams.clock)
        self._agreeing = Agreeing(local, link, self._accord, self._begun)
        self._returning: dict[str, asyncio.Task[None]] = {}  # by key of a step or an approval, what gives it back
        self._unsaid = unsaid
        self._held: dict[str, _Held] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._carrying: asyncio.Task[None] | None = None
        self._look: asyncio.TimerHandle | None = None
        self._is_closed = False
        link.seams = replace(
            link.seams, on_freezes=self._shared.learn, on_epoch=self._begin_epoch, on_beat=self._renewal
        )

    # -- what the gate knows -----------------------------------------------------------------------------------

    @property
    def journal(self) -> Journal:
        return self._local.journal

    @property
    def depth(self) -> int:
        """Events on their way to the disk."""
        return self._local.depth

    @property
    def written(self) -> int:
        """Events written since the start."""
        return self._local.written

    @property
    def backlog(self) -> int:
        """What the store is still to be told, or has still to answer."""
        return self._link.backlog + len(self._background)

    @property
    def is_shared(self) -> bool:
        """Whether the store takes what it is told."""
        return self._link.broken is None

    @property
    def answer_s(self) -> float:
        """How long the store took for its last answer."""
        return self._link.answer_s

    def facts(self, keys: Iterable[str], at_ms: int, situation: Situation = NOTHING_KNOWN) -> Facts:
        return self._local.facts(keys, at_ms, situation)._replace(levels=self._levels)

    def next_in_run(self, call: Call) -> tuple[str, int]:
        return self._local.next_in_run(call)

    def balances(self) -> Mapping[str, int]:
        overview = self._overview
        if self._carrying is not None and not self._is_closed and overview.is_due:
            self._in_background(overview.read())
        return {**overview.amounts, **self._levels.amounts(overview.read_ms or 0)}

    def freezes(self) -> Mapping[str, Freeze]:
        return self._local.freezes()

    def runs(self) -> Sequence[Run]:
        return self._local.runs()

    def ready(self) -> str | None:
        return self._local.ready() or self._link.broken

    # -- what is written ---------------------------------------------------------------------------------------

    async def catch_up(self, named: str) -> bool:
        if self._is_closed:
            return False
        self._carry()
        return await self._accord.catch_up(named)

    async def record(self, event: Event, guards: Sequence[Guard]) -> Short | Overtaken | None:
        self._carry()
        if event.call is not None:
            if self._returning:
                await self._wait_for_returns(guards)
            return self._levels.short(guards, event.at_ms) or await self._take(event.call, event, guards)
        if is_shared(event):
            return await self._agreeing.record(event, guards, self._judged)
        return await self._local.record(await self._shared.share(event), ())

    async def _take(self, call: str, event: Event, guards: Sequence[Guard]) -> Short | Overtaken | None:
        told = self._accord.told(event)
        asked = Asked(script.take(call, _runs(event), guards, event.at_ms, told))
        try:
            short = self._judged(event, guards, await self._link.ask(asked))
            if short is None:
                if guards:
                    self._held[call] = _Held(guards, asked.was_resent, bool(told.attempt))
                await self._write(event)
        except BaseException:  # also a caller that went away: nothing is sent, so nothing stays taken
            self._held.pop(call, None)
            if asked.was_sent:
                self._link.keep(["undo", call, self._link.known.owner], lambda result: self._learn(guards, result))
            raise
        return short

    async def _write(self, event: Event) -> None:
        for note in self._accord.unnamed(event):
            await self._local.append(note)
        known = self._link.known
        await self._local.record(_with(event, {STORE: f"{known.epoch}/{known.seq}"}), ())

    async def append(self, event: Event, guards: Sequence[Charge] = ()) -> None:
        self._carry()
        self._shared.post(event)
        if guards:
            event = _with(event, {"charges": taken_json(guards)})
            charges = script.guards_json(guards, event.at_ms)
            self._link.post(["spend", event.call or "", charges], lambda result: self._learn(guards, result))
        await self._local.append(event)

    async def finish(self, event: Event, settlement: Settlement) -> None:
        self._carry()
        call = event.call or ""
        held = self._held.pop(call, None)
        ended = self._accord.ended(event) if held is not None and held.was_told else None
        if ended is not None and event.data.get("sent") != "no":
            self._link.keep(ended)
            ended = None
        if settlement.refunds or settlement.extra:
            self._local.agreements.follow(event)  # it is over here at once, though its record waits for the store
            self._link.keep(["leave", call])
            self._return(settlement, self._begun(self._settling.settle(event, settlement, ended)))
            return
        if ended is not None:
            self._link.keep(ended)
        if held is not None:
            owner, may_come_again = self._link.known.owner, held.was_resent
            self._link.keep(script.settle(call, settlement, event.at_ms, owner, may_come_again=may_come_again))
        await self._local.finish(event, settlement)

    async def close(self) -> None:
        """Say what is still to be said, as far as the store listens; then write what is queued and release the file."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._look is not None:
            self._look.cancel()
        await self._end_background()
        self._link.close()
        if self._carrying is not None:
            await asyncio.wait([self._carrying], timeout=_LAST_S)
            self._carrying.cancel()
            await asyncio.gather(self._carrying, return_exceptions=True)
        await self._local.close()

    # -- one call ----------------------------------------------------------------------------------------------

    def _judged(self, event: Event, guards: Sequence[Guard], result: Result) -> Short | Overtaken | None:
        """Read what became of a `take`. Raises LedgerError where nothing was taken and no guard is to blame."""
        match result:
            case ["taken", *_]:
                self._learn(guards, result)
                return None
            case ["short", *_]:
                self._learn(guards, result)
                return _short(guards, result, event.at_ms)
            case ["behind", _, _]:
                self._accord.learn(event.run or "", result)
                return Overtaken(event.run or "")
            case ["full"]:
                raise LedgerError("too much was tried and agreed in this run to be shared; open another run")
            case ["stopped", str(run), said]:
                raise RunEndedError(self._shared.learn_stop(run, said, event.at_ms))
            case _:
                raise LedgerError("the call was given up before the state store took it")

    def _learn(self, guards: Sequence[Guard], result: Result) -> None:
        """Note what the store says it is at; where it did nothing, it says nothing."""
        with contextlib.suppress(Garbled):
            self._levels.learn(guards, script.levels(result, len(guards)))

    def _return(self, settlement: Settlement, settling: asyncio.Task[None]) -> None:
        """Note what is on its way back of steps and approvals: nobody else takes of it, and an agent tries again at once."""
        refunds = [charge for charge in settlement.refunds if charge.key.startswith(_OWN)]
        for charge in refunds:
            self._returning[charge.key] = settling

        def returned(_: asyncio.Task[None]) -> None:
            self._levels.drop(refunds)
            for charge in refunds:
                if self._returning.get(charge.key) is settling:
                    del self._returning[charge.key]

        if refunds:
            settling.add_done_callback(returned)

    async def _wait_for_returns(self, guards: Sequence[Guard]) -> None:
        returning = {self._returning[guard.key] for guard in guards if guard.key in self._returning}
        if returning:
            await asyncio.wait(returning, timeout=_RETURN_S)

    # -- beside the calls --------------------------------------------------------------------------------------

    def _begin_epoch(self, epoch: str) -> None:
        self._levels.forget()
        self._accord.begin_epoch()
        self._shared.begin_epoch()
        event = Event("StoreBegunAnew", self._link.seams.clock(), {"epoch": epoch})
        self._in_background(self._local.append(event))

    def _renewal(self) -> Operation:
        held = [
            [guard.key, call, number]
            for call, held in self._held.items()
            for number, guard in enumerate(held.guards, 1)
            if isinstance(guard, Place)
        ]
        return ["renew", held, script.PLACE_MS]

    def _look_soon(self) -> None:
        if self._look is None and self._carrying is not None and not self._carrying.done():
            self._look = self._carrying.get_loop().call_later(_LOOK_S, self._look_now)

    def _look_now(self) -> None:
        self._look = None
        wanted = self._levels.wanted()
        if wanted and self._link.broken is None:
            guards = script.guards_json(wanted, self._link.seams.clock())
            self._link.post(["look", guards], lambda result: self._learn(wanted, result))

    def _carry(self) -> None:
        """Begin, with the first event: there is a loop then."""
        if self._is_closed:
            raise LedgerError(CLOSED)
        if self._carrying is None:
            self._carrying = asyncio.get_running_loop().create_task(self._link.run(), name="store")
            if self._unsaid.is_new_epoch:
                self._shared.begin_epoch()
            self._shared.tell_again(self._unsaid.untold)
            for leftover in self._unsaid.leftovers:
                self._in_background(self._settle_leftover(leftover))

    async def _settle_leftover(self, leftover: Leftover) -> None:
        await self._settling.settle_late(leftover.finished, leftover.settlement, leftover.owner)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        self._begun(work)  # type: ignore[unused-awaitable]  # `_ended` hears of it

    def _begun(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()  # a journal that cannot be written: readiness says so

    async def _end_background(self) -> None:
        if self._background:
            await asyncio.wait(self._background, timeout=_LAST_S)
        for task in tuple(self._background):
            task.cancel()


def _runs(event: Event) -> list[str]:
    """The run a call is in, and those above it."""
    above = event.data.get("above")
    return [str(run) for run in (event.run, *(above if isinstance(above, list | tuple) else ())) if run]


def _short(guards: Sequence[Guard], result: Result, at_ms: int) -> Short:
    """The guard that did not hold, by the arithmetic of the core over what the store is at."""
    try:
        levels = script.levels(result, len(guards))
    except Garbled as error:
        raise LedgerError("the state store does not answer as Redis does") from error
    balances: dict[str, int] = {}
    arrivals: dict[str, int] = {}
    places: dict[str, int] = {}
    for guard, level in zip(guards, levels, strict=True):
        match guard:
            case Charge(key):
                balances[key] = level
            case Pace(key):
                arrivals[key] = level
            case Place(key):
                places[key] = level
    short = first_short(guards, Known(balances, arrivals, places), at_ms)
    if short is None:
        raise LedgerError("the state store refuses what is not short")
    return short


def _with(event: Event, said: Mapping[str, Json]) -> Event:
    return event._replace(data={**event.data, **said})
