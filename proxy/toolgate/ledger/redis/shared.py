"""What is frozen and stopped for every gate of a store: told to the store, and learned from it into the own journal.

RULE: what stops is never lost and never waits: it holds here at once, and the store is told as soon as it listens. What
lets go waits for the store. Whatever another gate did is written into this journal too, so the decisions it led to can be
made again from it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import orjson

from toolgate.core import runs as told
from toolgate.core.model import EVERYTHING, Event, Freeze, Json
from toolgate.ledger.projection import freeze_key
from toolgate.ledger.queue import QueuedLedger
from toolgate.ledger.redis import script
from toolgate.ledger.redis.link import Asked, Link
from toolgate.ledger.redis.recovery import UNTOLD
from toolgate.ledger.redis.script import Garbled, Operation, Result
from toolgate.ports import LedgerError

Background: TypeAlias = Callable[[Coroutine[Any, Any, None]], object]
_KINDS: Final = frozenset({"principal", "run", "tool"})


class Shared:
    """Freezes and stopped runs, between this gate's journal and the store."""

    def __init__(self, local: QueuedLedger, link: Link, in_background: Background) -> None:
        self._local = local
        self._link = link
        self._in_background = in_background
        self._own: set[str] = set()  # what this gate is changing just now, by `kind:name`

    async def share(self, event: Event) -> Event:
        """Tell every gate, and answer what is to be written here. Raises LedgerError to let go while nobody listens."""
        operation = change(event)
        if operation is None:
            return event
        key = _key(operation)
        self._own.add(key)
        try:
            await self._link.ask(Asked(operation))
        except LedgerError:
            if operation[0] == "thaw":
                self._own.discard(key)
                raise
            self._post(operation)
            return event._replace(data={**event.data, UNTOLD: True})
        # the answer's freezes were heeded with the key held; from here on they are the store's again
        self._own.discard(key)
        return event

    def post(self, event: Event) -> None:
        """Tell every gate, sooner or later."""
        operation = change(event)
        if operation is not None:
            self._post(operation)

    def tell_again(self, untold: Sequence[Event]) -> None:
        """What an earlier writer could not tell and may never have told: it holds until somebody lets go of it."""
        stopped = {run.id for run in self._local.runs() if run.stopped is not None}
        for event in untold:
            operation = change(event)
            if operation is not None and (freeze_key(event.data) in self._local.freezes() or event.run in stopped):
                self._post(operation)

    def begin_epoch(self) -> None:
        """An operator began the store anew: what is frozen here stays frozen, there too."""
        for key, freeze in self._local.freezes().items():
            said = {"who": freeze.who, "why": freeze.why, "at_ms": freeze.at_ms}
            self._post(["freeze", key, orjson.dumps(said).decode()])
        for run in self._local.runs():
            if run.stopped is not None:
                self._post(["stop", run.id, _stop(run.principal, run.stopped, "run.stopped")])

    def learn(self, freezes: Mapping[str, str]) -> None:
        """Follow what other gates froze and thawed."""
        here = self._local.freezes()
        for key, said in freezes.items():
            if key not in here and key not in self._own:
                self._switch("freeze", key, said)
        for key in here.keys() - freezes.keys() - self._own:
            self._switch("thaw", key, "")
        stopped = [run.id for run in self._local.runs() if run.stopped is not None and f"run:{run.id}" not in self._own]
        if stopped:
            self._link.post(["stopped", stopped], lambda result: self._thaw_others(stopped, result))

    def learn_stop(self, run: str, said: object, at_ms: int) -> str:
        """A run that another gate stopped, or closed; answers why no call of it is taken."""
        values = _values(said)
        principal, why, code = (str(values.get(name) or "") for name in ("principal", "why", "code"))
        if code:
            self._append(told.stopped(run, principal, why, code, at_ms))
            return why
        skipped = values.get("skipped")
        left = tuple(map(str, skipped)) if isinstance(skipped, list) else ()
        self._append(told.finished(run, principal, 0, left, at_ms))
        return told.BY_ITS_AGENT

    def _thaw_others(self, runs: list[str], result: Result) -> None:
        """Runs that were stopped here and thawed elsewhere go on."""
        try:
            still = script.levels(result, len(runs))
        except Garbled:
            return
        for run, is_stopped in zip(runs, still, strict=True):
            if not is_stopped and f"run:{run}" not in self._own:
                self._switch("thaw", f"run:{run}", "")

    def _switch(self, action: told.Action, key: str, said: object) -> None:
        kind, _, name = key.partition(":")
        if key != EVERYTHING and kind not in _KINDS:
            return
        values = _values(said)
        who, why = str(values.get("who") or "another gate"), str(values.get("why") or "learned from the state store")
        by = Freeze(who, why, self._link.seams.clock())
        self._append(told.switched(action, cast("told.Kind", kind), name or None, by))

    def _post(self, operation: Operation) -> None:
        key = _key(operation)
        self._own.add(key)
        self._link.keep(operation, lambda _: self._own.discard(key))

    def _append(self, event: Event) -> None:
        self._in_background(self._local.append(event))


def change(event: Event) -> Operation | None:
    """What an event changes for everybody."""
    data = event.data
    match event.kind:
        case told.KILL_SWITCH if data.get("action") == "thaw":
            return ["thaw", freeze_key(data)]
        case told.KILL_SWITCH:
            said = {"who": data.get("who"), "why": data.get("why"), "at_ms": event.at_ms}
            return ["freeze", freeze_key(data), orjson.dumps(said).decode()]
        case told.RUN_STOPPED:
            return ["stop", event.run or "", _stop(data.get("principal"), data.get("why"), data.get("code"))]
        case told.RUN_FINISHED:
            return ["stop", event.run or "", _stop(data.get("principal"), "finished", None, data.get("skipped"))]
        case _:
            return None


def _stop(principal: Json, why: Json, code: Json, skipped: Json = None) -> str:
    return orjson.dumps({"principal": principal, "why": why, "code": code, "skipped": skipped}).decode()


def _key(operation: Operation) -> str:
    return f"run:{operation[1]}" if operation[0] == "stop" else str(operation[1])


def _values(said: object) -> Mapping[str, Json]:
    """What another gate said, as far as it can be read: that it is frozen holds in any case."""
    try:
        values = orjson.loads(said)  # type: ignore[arg-type]
    except (orjson.JSONDecodeError, TypeError):
        return {}
    return values if isinstance(values, dict) else {}
