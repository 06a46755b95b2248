"""Plans, approvals and answers as gates of a store agree on them: taken in the store, written here, told to the others.

RULE: what it costs is taken first, so of two gates one is let through; the journal has it before others are told; and who
asked hears of it when both is done. A gate that dies in between has left a lease: what its journal has is told when it
begins again, what it has not is given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

import orjson

from toolgate.core import locking
from toolgate.core import requests as asking
from toolgate.core.model import Charge, Event, Guard, Overtaken, Short
from toolgate.ledger.agreements import Agreements
from toolgate.ledger.queue import QueuedLedger
from toolgate.ledger.redis import script
from toolgate.ledger.redis.accord import Accord, entry_of, read_entry
from toolgate.ledger.redis.link import Asked, Link
from toolgate.ledger.redis.script import Garbled, Operation, Result
from toolgate.ports import LedgerError

Judge: TypeAlias = Callable[[Event, Sequence[Guard], Result], Short | Overtaken | None]
Background: TypeAlias = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
LEASE: Final = "agree:"  # begins the name of a lease that is no call's
_NAMES: Final = {locking.PLAN_LOCKED: ("plan", "digest"), asking.APPROVAL_REQUESTED: ("approval",)}  # it is found by
_LOOKS: Final = 50  # for the answer that was first
_LOOK_S: Final = 0.02


class Agreeing:
    """Records events without a call that other gates are told of."""

    def __init__(self, local: QueuedLedger, link: Link, accord: Accord, begun: Background) -> None:
        self._local = local
        self._link = link
        self._accord = accord
        self._begun = begun
        self._numbers = count(1)

    async def record(self, event: Event, guards: Sequence[Guard], judge: Judge) -> Short | Overtaken | None:
        """As `ports.Ledger.record`. Raises LedgerError; where it was written by then, others are told once the store listens."""
        guards = (*guards, *self._turn(event))
        lease = f"{LEASE}{self._link.known.owner}/{next(self._numbers)}"
        asked = Asked(self._operation(lease, event, guards))
        try:
            refused = judge(event, guards, await self._link.ask(asked))
        except BaseException:
            if asked.was_sent:
                self._undo(lease)
            raise
        if refused is None:
            # whoever asked may go away meanwhile: what is begun is done
            await asyncio.shield(self._begun(self._write(event, lease)))
        elif event.kind in asking.ANSWERS:
            await self._hear_of_the_first(event)
        return refused

    def _operation(self, lease: str, event: Event, guards: Sequence[Guard]) -> Operation:
        run = self._local.agreements.run_of(str(event.data.get("approval"))) or event.run or ""
        start, others = self._accord.position(run) if event.kind == locking.PLAN_LOCKED else (-1, 0)
        said = orjson.dumps(script.guards_json(guards, event.at_ms)).decode()
        names = [str(event.data[key]) for key in _NAMES.get(event.kind, ())]
        is_plan = event.kind == locking.PLAN_LOCKED
        return ["agree", lease, run, said, event.at_ms * 1000, start, others, entry_of(event), names, is_plan]

    def _turn(self, event: Event) -> tuple[Charge, ...]:
        """Of two who answer at once the first is heard: what the second says was said without knowing of that.

        Whoever takes a yes back has its single use for a guard.
        """
        if event.kind not in asking.ANSWERS or event.kind == asking.APPROVAL_REVOKED:
            return ()
        approval = str(event.data["approval"])
        return (Charge(f"g:{approval}:{self._local.agreements.requests.answers(approval)}", 1, 1),)

    async def _write(self, event: Event, lease: str) -> None:
        try:
            await self._local.record(event, ())
        except BaseException:
            self._undo(lease)
            raise
        operation = ["publish", lease, self._link.known.owner]
        try:
            await self._link.ask(Asked(operation))
        except LedgerError:
            self._link.keep(operation)
            raise

    def _undo(self, lease: str) -> None:
        self._link.keep(["undo", lease, self._link.known.owner])

    async def _hear_of_the_first(self, event: Event) -> None:
        """Another answer was first: it is known here before the second one is judged by it."""
        for _ in range(_LOOKS):
            if await self._accord.catch_up(str(event.data["approval"])):
                return
            await asyncio.sleep(_LOOK_S)


def verdict(lease: str, said: object, owner: str, agreements: Agreements) -> Operation:
    """What becomes of a lease that an earlier writer left: told to others where its journal has it."""
    try:
        kept = orjson.loads(said)  # type: ignore[arg-type]
        event = read_entry(f"{owner} {kept['entry']}", str(kept["run"])).event
        is_known = event is not None and agreements.has(event)
    except (Garbled, AttributeError, KeyError, TypeError, ValueError):
        is_known = False
    return ["publish" if is_known else "undo", lease, owner]
