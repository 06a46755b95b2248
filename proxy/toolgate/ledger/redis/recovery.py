"""What a gate that stopped in the middle left in the store, settled by what its journal says.

RULE: what was recorded stays charged, and what was not is given back: a call is sent only after its record. Only a gate
with the journal in which the owner of a lease wrote may judge it. Doing it twice is doing it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from toolgate.core import runs as told
from toolgate.core.journal import Filter, Row
from toolgate.core.model import Charge, Event, Json, Rolling, Settlement
from toolgate.ledger.chain import WRITER_STARTED
from toolgate.ledger.projection import freeze_key
from toolgate.ledger.redis import script
from toolgate.ledger.redis.accord import ended
from toolgate.ledger.redis.script import MOST, Operation
from toolgate.ports import Journal

STORE: Final = "store"  # of a `Decided`: the store's epoch and how far it was
UNSETTLED: Final = "unsettled"  # of a `Finished`: extra that the store had not answered to yet
SETTLED: Final = "Settled"  # what became of it
UNTOLD: Final = "untold"  # of a `KillSwitch` or `RunStopped`: the store was away
UNKNOWN: Final = "unknown"
_MOST_WRITERS: Final = 10_000
_MOST_SWITCHED: Final = 1_000


def own(owners: Iterable[str], journal: Journal) -> list[str]:
    """Those of the leases' owners that wrote in this journal."""
    known = set(writers(journal))
    return [owner for owner in owners if owner in known]


def writers(journal: Journal) -> list[str]:
    """Who wrote in a journal, the newest first; also one whose own first line is pruned, for the next one names it."""
    rows = journal.events(Filter(kind=WRITER_STARTED, limit=_MOST_WRITERS))
    named = [(row.event["writer"], (row.event.get("previous") or {}).get("writer")) for row in rows]
    return list(dict.fromkeys(str(writer) for both in named for writer in both if writer))


def untold(journal: Journal) -> list[Event]:
    """What was frozen or stopped while the store was away, and nothing was said of it since: the store may not know."""
    found: dict[str, Event] = {}
    for kind in (told.KILL_SWITCH, told.RUN_STOPPED):
        for row in journal.events(Filter(kind=kind, limit=_MOST_SWITCHED)):
            said = row.event
            event = Event(kind, int(said["at_ms"]), said, run=said.get("run"))
            found.setdefault(freeze_key(said) if kind == told.KILL_SWITCH else f"stopped:{event.run}", event)
    return [event for event in found.values() if event.data.get(UNTOLD)]


def last_mark(journal: Journal) -> tuple[str, int]:
    """The epoch and the number of the store when a call was last permitted here.

    One with another epoch was begun anew since; one with a lower number has lost something.
    """
    rows = journal.events(Filter(kind="Decided", decision="permit", limit=1))
    epoch, _, seq = str(rows[0].event.get(STORE) if rows else "").rpartition("/")
    return epoch, int(seq) if seq.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class Leftover:
    """A call whose end is in the journal, but for what the store had not answered any more."""

    finished: Event
    settlement: Settlement
    owner: str


@dataclass(frozen=True, slots=True)
class Unsaid:
    """What a ledger that begins still has to say to its store."""

    leftovers: Sequence[Leftover]
    untold: Sequence[Event]
    is_new_epoch: bool


@dataclass(slots=True)
class Verdicts:
    """What is to be done with an owner's leases: by the store at once, or by the ledger once it runs."""

    operations: list[Operation] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)


def judge(calls: Iterable[str], owner: str, journal: Journal) -> Verdicts:
    verdicts = Verdicts()
    for call in calls:
        rows = journal.call(call)
        verdicts.operations += _ends(rows, owner)
        verdict = _verdict(call, owner, rows)
        if isinstance(verdict, Leftover):
            verdicts.leftovers.append(verdict)
        else:
            verdicts.operations.append(verdict)
    return verdicts


def _verdict(call: str, owner: str, rows: Sequence[Row]) -> Operation | Leftover:
    said = {str(row.event.get("event")): row.event for row in rows}
    decided, finished = said.get("Decided"), said.get("Finished", {})
    if decided is None or decided.get("decision") != "permit" or _was_given_up(finished):
        return ["undo", call, owner]
    if finished.get("outcome", UNKNOWN) == UNKNOWN:
        return ["stand", call, owner]
    at_ms = int(finished["at_ms"])
    refunds, unsettled = _charges(finished.get("refunds")), _charges(finished.get(UNSETTLED))
    if unsettled and SETTLED not in said:
        event = Event("Finished", at_ms, {}, call, finished.get("run"))
        return Leftover(event, Settlement(refunds, unsettled), owner)
    extra = _charges(finished.get("extra"))
    return script.settle(call, Settlement(refunds, extra), at_ms, owner, may_come_again=True)


def _ends(rows: Sequence[Row], owner: str) -> list[Operation]:
    """What other gates may not have been told of an attempt's end."""
    said = next((row.event for row in rows if row.event.get("event") == "Finished"), {})
    if "step" not in said and said.get("sent") != "no":
        return []
    return [ended(Event("Finished", int(said["at_ms"]), said, said.get("call"), said.get("run")), owner)]


def _was_given_up(finished: Mapping[str, Json]) -> bool:
    """Written, but too late for whoever waited: never sent, and nothing of it settled."""
    return finished.get("sent") == "no" and finished.get("code") == "gateway.unavailable"


def _charges(said: Json) -> tuple[Charge, ...]:
    """Changes of balances as a `Finished` names them; how much was left was judged when it was written."""
    if not isinstance(said, list):
        return ()
    return tuple(
        Charge(
            each["key"], each["amount"], each.get("given", MOST), Rolling(each["bucket"]) if "bucket" in each else None
        )
        for each in said
        if isinstance(each, dict) and "key" in each and "amount" in each
    )
