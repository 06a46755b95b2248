"""What an event changes of plans and approvals: the changes a store keeps in one act with the event's row.

RULE: made of the event's values when it is queued, never of its line: a line is cut where it is long, and pruned one day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from toolgate.core.model import Event, Json, new
from toolgate.core.plan import LockedPlan

_FAILED_STATUS: Final = 400


class Kept(NamedTuple):
    """A plan that was locked, an approval that was asked for, or an answer: kept whole."""

    name: str  # the plan's or the approval's id
    event: Event
    plan: LockedPlan | None = None  # the same, read

    @property
    def digest(self) -> str:
        """Of what was locked or asked; empty for an answer."""
        return str(self.event.data.get("digest") or "")


class Began(NamedTuple):
    """A call was permitted as an attempt at a step."""

    call: str
    plan: str
    step: str


class Ended(NamedTuple):
    """The attempt is over; `state` is None where it was surely not sent, and then it was none."""

    began: Began
    state: Literal["done", "failed", "unknown"] | None
    outputs: Mapping[str, str | None]


class Used(NamedTuple):
    """An approval was used up by a call, by the run that began with it, or by the plan that was locked with it."""

    approval: str
    by: str


class Unused(NamedTuple):
    """What it was used for was surely not sent."""

    approval: str
    by: str


Followed: TypeAlias = Began | Ended | Used | Unused  # by the tables when they are brought up to date
Move: TypeAlias = Kept | Followed


def completes(finished: Mapping[str, Json]) -> bool:
    """Whether a `Finished` completes its operation: the upstream answered, and below 400.

    An upstream that says 404 or 500 has answered the call (DESIGN §13), but what the run wanted of it was not done.
    """
    status = finished.get("status")
    return finished.get("outcome") == "completed" and isinstance(status, int) and status < _FAILED_STATUS


def began(event: Event) -> Began | None:
    """Read a permit, or what became of it, as an attempt at a step."""
    said = event.data
    plan, step = said.get("plan"), said.get("step")
    if event.call is None or not isinstance(plan, str) or not isinstance(step, str):
        return None
    return new(Began, (event.call, plan, step))


def ended(began: Began, finished: Mapping[str, Json]) -> Ended:
    """What became of an attempt. Whatever is neither an answer nor surely unsent may have been done."""
    if finished.get("sent") == "no":
        return Ended(began, None, {})
    if completes(finished):
        return new(Ended, (began, "done", _outputs(finished["outputs"]) if "outputs" in finished else {}))
    return Ended(began, "failed" if finished.get("outcome") == "completed" else "unknown", {})


def _outputs(said: Json) -> dict[str, str | None]:
    if not isinstance(said, dict):
        return {}
    return {name: digest if isinstance(digest, str) else None for name, digest in said.items()}


def attempt_json(moves: Iterable[Move]) -> dict[str, Json]:
    """As a `Finished` names the attempt that its `Decided` was."""
    return next(({"plan": move.plan, "step": move.step} for move in moves if isinstance(move, Began)), {})
