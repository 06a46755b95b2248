"""The end of a call that changes balances: in the store and in the journal, and the same in both whatever stops between.

RULE: a refund is in the journal before it is in the store. What is taken more than was held only the store can say, so it
says so first and keeps with the lease what it changed, until the journal has that too. A gate that dies in between finds
the lease when it begins again (`recovery.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from toolgate.core.guards import taken_json
from toolgate.core.model import Charge, Event, Json, Settlement
from toolgate.ledger.queue import QueuedLedger
from toolgate.ledger.redis import script
from toolgate.ledger.redis.link import Asked, Link
from toolgate.ledger.redis.recovery import SETTLED, UNSETTLED
from toolgate.ledger.redis.script import Garbled, Operation, Result
from toolgate.ports import LedgerError

_NOTHING: Final = Settlement()


class Settling:
    """Settles calls, beside the path of others."""

    def __init__(self, local: QueuedLedger, link: Link, learn: Callable[[Sequence[Charge], Result], None]) -> None:
        self._local = local
        self._link = link
        self._learn = learn

    async def settle(self, event: Event, settlement: Settlement, ended: Operation | None = None) -> None:
        """Write the `Finished` with what it changes. Raises LedgerError when the journal is known to be broken.

        `ended`: what other gates are told once that is given back.
        """
        if not settlement.extra:
            await self._write(_with(event, {"refunds": taken_json(settlement.refunds)}))
            if ended is not None:
                self._link.keep(ended)
            self._close(event, settlement, self._link.known.owner)
            return
        try:
            overruns = await self._change(event, settlement)
        except (LedgerError, Garbled):
            said = {"refunds": taken_json(settlement.refunds), UNSETTLED: _with_given(settlement.extra)}
            await self._write(_with(event, said))
            await self.settle_late(event, settlement, self._link.known.owner)
            return
        await self._write(_with(event, {"refunds": taken_json(settlement.refunds), **_extra(settlement, overruns)}))
        self._close(event, settlement, self._link.known.owner)

    async def settle_late(self, event: Event, settlement: Settlement, owner: str) -> None:
        """Where the `Finished` is written already: once the store listens again, write `Settled` too."""
        result = await self._link.wait(_change(event, settlement))
        self._learn((*settlement.refunds, *settlement.extra), result)
        said = _extra(settlement, script.levels(result[1:], len(settlement.extra)))
        await self._write(Event(SETTLED, event.at_ms, said, event.call, event.run))
        self._close(event, settlement, owner)

    async def _change(self, event: Event, settlement: Settlement) -> list[int]:
        result = await self._link.ask(Asked(_change(event, settlement)))
        self._learn((*settlement.refunds, *settlement.extra), result)
        return script.levels(result[1:], len(settlement.extra))

    async def _write(self, event: Event) -> None:
        """Commit; while the disk is away, keep it for the writer."""
        try:
            await self._local.record(event, ())
        except LedgerError:
            await self._local.finish(event, _NOTHING)

    def _close(self, event: Event, settlement: Settlement, owner: str) -> None:
        changed = (*settlement.refunds, *settlement.extra)
        operation = script.settle(event.call or "", settlement, event.at_ms, owner, may_come_again=True)
        self._link.keep(operation, lambda result: self._learn(changed, result))


def _change(event: Event, settlement: Settlement) -> list[Json]:
    refunds, extra = (script.guards_json(each, event.at_ms) for each in (settlement.refunds, settlement.extra))
    return ["change", event.call or "", refunds, extra]


def _extra(settlement: Settlement, overruns: Sequence[int]) -> dict[str, Json]:
    """What was taken more, and what was not left for it."""
    pairs = list(zip(settlement.extra, overruns, strict=True))
    return {
        "extra": taken_json(
            [charge._replace(amount=charge.amount - over) for charge, over in pairs if charge.amount > over]
        ),
        "overrun": [{"key": charge.key, "amount": over} for charge, over in pairs if over],
    }


def _with_given(charges: Sequence[Charge]) -> list[Json]:
    return [{**said, "given": charge.given} for said, charge in zip(taken_json(charges), charges, strict=True)]


def _with(event: Event, said: Mapping[str, Json]) -> Event:
    return event._replace(data={**event.data, **{name: entries for name, entries in said.items() if entries}})
