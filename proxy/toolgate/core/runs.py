"""What the journal says of runs and of the kill switch: opened, finished, stopped; frozen and thawed.

RULE: what a ledger knows of runs and freezes comes from these events alone, so whoever reads the journal again knows
the same. Field names are part of the journal's format.

    RunStarted   principal                                                   an implicit run began
    RunStarted   principal, parent, above, labels, expires_ms                a run was opened (`POST /-/runs`); with `approval`
                                                                             where a person agreed to it
    RunStarted   principal, parent, above, labels: {}, expires_ms, adopted   its token was first seen by this writer
    RunFinished  principal, calls, complete, skipped                         the agent closed it; no call of it is taken any more;
                                                                             `skipped`: the steps of its plan that are not done
    RunStopped   principal, why, code                                        the gate stopped it; none is taken until it is thawed
    KillSwitch   action, kind, name, who, why                                freeze or thaw; `name` is null for everything

All but `KillSwitch` stand under the run they are about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from toolgate.core.model import Event, Freeze, Json, OpenedRun

Kind: TypeAlias = Literal["everything", "principal", "run", "tool"]
Action: TypeAlias = Literal["freeze", "thaw"]
State: TypeAlias = Literal["open", "finished", "frozen", "stopped"]

RUN_STARTED: Final = "RunStarted"
RUN_FINISHED: Final = "RunFinished"
RUN_STOPPED: Final = "RunStopped"
KILL_SWITCH: Final = "KillSwitch"
BY_ITS_AGENT: Final = "the agent finished this run"  # why no call of it is taken, where nobody stopped it


# The kinds of events, under a run, that say whether calls of it are taken.
TURNS: Final = (RUN_FINISHED, RUN_STOPPED, KILL_SWITCH)


def labels_of(events: Iterable[Mapping[str, Json]]) -> dict[str, str]:
    """What its agent called a run when it opened it."""
    labels = _start_of(events).get("labels")
    return {str(name): str(text) for name, text in labels.items()} if isinstance(labels, dict) else {}


def expires_ms_of(events: Iterable[Mapping[str, Json]]) -> int | None:
    """When the token of an opened run ends."""
    expires_ms = _start_of(events).get("expires_ms")
    return expires_ms if isinstance(expires_ms, int) else None


def _start_of(events: Iterable[Mapping[str, Json]]) -> Mapping[str, Json]:
    return next((event for event in events if event.get("event") == RUN_STARTED), {})


def state_of(turns: Iterable[Mapping[str, Json]]) -> State:
    """Whether calls of a run are taken, by its `TURNS`, oldest first. What is finished is never open again."""
    held: dict[State, bool] = {"finished": False, "frozen": False, "stopped": False}
    for event in turns:
        match event.get("event"), event.get("action"):
            case "RunFinished", _:
                held["finished"] = True
            case "RunStopped", _:
                held["stopped"] = True
            case "KillSwitch", "freeze":
                held["frozen"] = True
            case "KillSwitch", _:
                held["frozen"] = held["stopped"] = False
            case _:
                pass
    return next((state for state, holds in held.items() if holds), "open")


def implicit(run: str, principal: str, at_ms: int) -> Event:
    """A run that began because a principal called."""
    return Event(RUN_STARTED, at_ms, {"principal": principal}, run=run)


def opened(run: OpenedRun, principal: str, labels: Mapping[str, str], at_ms: int, approval: str | None = None) -> Event:
    """A run an agent opened; its token goes out once this is written. `approval`: what a run within a run was opened by."""
    data: dict[str, Json] = {**_opened(run, principal), "labels": dict(labels)}
    return Event(RUN_STARTED, at_ms, data if approval is None else {**data, "approval": approval}, run=run.id)


def adopted(run: OpenedRun, principal: str, at_ms: int) -> Event:
    """A run that another writer opened (another replica, or a journal that is gone), seen here for the first time."""
    return Event(RUN_STARTED, at_ms, {**_opened(run, principal), "labels": {}, "adopted": True}, run=run.id)


def finished(run: str, principal: str, calls: int, skipped: Sequence[str], at_ms: int) -> Event:
    data: dict[str, Json] = {"principal": principal, "calls": calls, "complete": not skipped, "skipped": list(skipped)}
    return Event(RUN_FINISHED, at_ms, data, run=run)


def stopped(run: str, principal: str, why: str, code: str, at_ms: int) -> Event:
    """`code` is the refusal that stopped it."""
    return Event(RUN_STOPPED, at_ms, {"principal": principal, "why": why, "code": code}, run=run)


def switched(action: Action, kind: Kind, name: str | None, by: Freeze) -> Event:
    """Somebody froze or thawed a run, a principal, a tool or everything."""
    data: dict[str, Json] = {"action": action, "kind": kind, "name": name, "who": by.who, "why": by.why}
    return Event(KILL_SWITCH, by.at_ms, data, run=name if kind == "run" else None)


def _opened(run: OpenedRun, principal: str) -> dict[str, Json]:
    return {"principal": principal, "parent": run.parent, "above": run.above, "expires_ms": run.expires_ms}
