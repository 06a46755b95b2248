"""What was agreed with agents: the plans that are locked, the approvals that were asked for, and what came of both.

RULE: one way in. `follow` learns from an event that is queued and says what a store has to keep of it; `commit` does what
had to wait for the disk, and `take_back` undoes what did not reach it. What was queued by another gate of the same store
comes in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, assert_never

from toolgate.core import locking, runs
from toolgate.core import requests as asking
from toolgate.core.mask import MaskKey
from toolgate.core.model import Event
from toolgate.core.plan import Attempted
from toolgate.ledger.moves import Began, Ended, Kept, Move, Unused, Used, began, ended
from toolgate.ledger.plans import Plans
from toolgate.ledger.requests import Requests
from toolgate.ports import LedgerError

_NOTHING: Final[tuple[Move, ...]] = ()


class Agreed(NamedTuple):
    """What a store kept of runs that may go on."""

    events: Sequence[Event] = ()  # plans, requests and answers, oldest first
    steps: Mapping[str, Mapping[str, Attempted]] = {}  # by plan
    used: Mapping[str, str] = {}  # approvals, by what


NOTHING_AGREED: Final = Agreed()


class Agreements:
    """Plans and approvals of the runs that may go on."""

    __slots__ = ("_using", "plans", "requests")

    def __init__(self, key: MaskKey) -> None:
        self.plans = Plans(key)
        self.requests = Requests()
        self._using: dict[str, str] = {}  # by an unfinished call, the approval it uses

    def restore(self, found: Agreed) -> None:
        """Begin where the file ends. Raises LedgerError where what was kept cannot be read."""
        for event in found.events:
            self._restore(event)
        self.plans.restore(found.steps)
        for approval, by in found.used.items():
            self.requests.use(approval, by)

    def why_not(self, event: Event) -> str | None:
        """Why an event is not to be queued: what it asks to be remembered is too much."""
        if event.kind != locking.PLAN_LOCKED or self.plans.has_room(locking.read_locked(event)):
            return None
        return "the plans of your open runs are too long together"

    def has(self, event: Event) -> bool:
        """Whether what was locked, asked, answered or begun with a yes is known."""
        match event.kind:
            case locking.PLAN_LOCKED:
                return self.plans.has(locking.read_locked(event))
            case asking.APPROVAL_REQUESTED:
                return self.requests.run_of(str(event.data["approval"])) is not None
            case kind if kind in asking.ANSWERS:
                return self.requests.has_answer(event)
            case _:
                return self.requests.used_by(str(event.data.get("approval"))) == event.run

    def follow(self, event: Event) -> tuple[Move, ...]:
        """Learn from an event that is queued."""
        match event.kind:
            case "Decided":
                return self._permit(event)
            case "Finished":
                return self._finish(event)
            case locking.PLAN_LOCKED | locking.AGREED_ELSEWHERE:
                return self._lock(event)
            case runs.RUN_STARTED | runs.RUN_FINISHED:
                return self._turn(event)
            case kind if kind == asking.APPROVAL_REQUESTED or kind in asking.ANSWERS:
                return self._ask(event)
            case _:
                return _NOTHING

    def commit(self, moves: Iterable[Move]) -> None:
        """What waits for the disk: what a run is held to, and what people answered."""
        for move in moves:
            if isinstance(move, Kept):
                self._hold(move)

    def take_back(self, moves: Iterable[Move]) -> None:
        """Undo what could not be written."""
        for move in moves:
            match move:
                case Began():
                    self.plans.end(Ended(move, None, {}))
                case Used(approval, by):
                    self._using.pop(by, None)
                    self.requests.unuse(approval, by)
                case Kept(name, event):
                    if event.kind == asking.APPROVAL_REQUESTED:
                        self.requests.take_back(name)
                case Ended() | Unused():
                    pass  # the call is over, written or not
                case _:
                    assert_never(move)

    def forget(self, run: str) -> None:
        """Nobody calls in that run any more."""
        self.plans.forget(run)
        self.requests.forget(run)

    def run_of(self, name: str) -> str | None:
        """The run a plan or an approval is of."""
        return self.plans.run_of(name) or self.requests.run_of(name)

    def _permit(self, event: Event) -> tuple[Move, ...]:
        said = event.data
        if ("step" not in said and "approval" not in said) or said.get("code") is not None:
            return _NOTHING
        attempt = began(event)
        if attempt is not None:
            self.plans.begin(attempt)
        used = self._use_up(event) if "approval" in said else None
        if used is None:
            return _NOTHING if attempt is None else (attempt,)
        return (used,) if attempt is None else (attempt, used)

    def _use_up(self, event: Event) -> Used | None:
        """What is given for a call is given for one; what is given for a plan is good for all of its steps."""
        name, call = event.data.get("approval"), event.call
        if call is None or not isinstance(name, str) or not self.requests.is_for_one_call(name):
            return None
        self._using[call] = name
        self.requests.use(name, call)
        return Used(name, call)

    def _finish(self, event: Event) -> tuple[Move, ...]:
        call = event.call or ""
        approval = self._using.pop(call, None) if self._using else None
        attempt = self.plans.attempt(call)
        if attempt is None and "step" in event.data:  # it began at another gate of the store
            attempt = began(event)
        moves: tuple[Move, ...] = _NOTHING
        if attempt is not None:
            end = ended(attempt, event.data)
            self.plans.end(end)
            moves = (end,)
        if approval is not None and event.data.get("sent") == "no":
            self.requests.unuse(approval, call)
            moves = (*moves, Unused(approval, call))
        return moves

    def _lock(self, event: Event) -> tuple[Move, ...]:
        """A plan; or the name of what another gate keeps."""
        if event.kind == locking.AGREED_ELSEWHERE:
            return (Kept(str(event.data["name"]), event),)
        plan = locking.read_locked(event)
        return (Kept(plan.id, event, plan), *self._use(event))

    def _ask(self, event: Event) -> tuple[Move, ...]:
        """Somebody is asked, which counts at once, or answers."""
        if event.kind == asking.APPROVAL_REQUESTED:
            self.requests.ask(asking.asked(event))
        return (Kept(str(event.data["approval"]), event),)

    def _turn(self, event: Event) -> tuple[Move, ...]:
        """A run begins, or is closed."""
        if event.kind == runs.RUN_STARTED:
            return self._use(event)
        self.plans.close(event.run or "")
        return _NOTHING

    def _use(self, event: Event) -> tuple[Move, ...]:
        """A plan that is locked, or a run that begins, because somebody said yes."""
        name, by = event.data.get("approval"), event.data.get("digest") or event.run
        if not isinstance(name, str) or not isinstance(by, str):
            return _NOTHING
        self.requests.use(name, by)
        return (Used(name, by),)

    def _hold(self, kept: Kept) -> None:
        if kept.plan is not None:
            self.plans.lock(kept.plan)
        elif kept.event.kind in asking.ANSWERS:
            self.requests.answer(kept.name, kept.event)

    def _restore(self, event: Event) -> None:
        try:
            self.commit(self.follow(event))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LedgerError(
                f"the ledger is damaged: what it keeps of the {event.kind} at {event.at_ms} cannot be read;"
                " restore it from a backup, or move it away to begin a new one"
            ) from error
