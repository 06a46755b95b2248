"""The plans that are locked in runs which may go on, and how far each has come.

RULE: belongs to the event loop. A step counts as running from the moment its `Decided` is queued; a plan holds from its
commit on. What a run's facts show is live: the same mapping, with other values in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from toolgate.core.mask import MaskKey
from toolgate.core.model import new
from toolgate.core.plan import Attempted, LockedPlan, PlanFacts
from toolgate.core.planform import size_of
from toolgate.ledger.moves import Began, Ended

MOST_FORMER: Final = 16  # digests a plan had before, by which it is still found
MOST_BYTES: Final = 8 << 20  # of plans of one principal, as text; the values take some times as much
MOST_CLOSED_BYTES: Final = 1 << 20  # of those, of runs that were finished: the newest of them may still be looked at
_NEVER: Final = Attempted()


@dataclass(slots=True)
class _Course:
    """A plan and its cursor."""

    facts: PlanFacts
    steps: dict[str, Attempted]
    locks: tuple[tuple[str, int], ...]  # what it was: digest and time; the last is what it is
    size: int


@dataclass(slots=True)
class _Holding:
    """What the plans of one principal take, in bytes of text."""

    size: int = 0
    closed: dict[str, int] = field(default_factory=dict)  # of runs that were finished, the oldest first


class Plans:
    """One plan for each run."""

    __slots__ = ("_by_id", "_by_run", "_held", "_key", "_open")

    def __init__(self, key: MaskKey) -> None:
        self._key = key
        self._by_id: dict[str, _Course] = {}
        self._by_run: dict[str, _Course] = {}
        self._held: dict[str, _Holding] = {}  # by principal
        self._open: dict[str, tuple[Began, Attempted]] = {}  # by call, with what the step was before

    # -- what is known ---------------------------------------------------------------------------------------

    def of(self, run: str) -> PlanFacts | None:
        course = self._by_run.get(run)
        return None if course is None else course.facts

    def find(self, named: str, principal: str | None) -> PlanFacts | None:
        """By id or by a digest it has or had: the newest; where a principal is given, one of its own before others."""
        course = self._by_id.get(named)
        if course is not None:
            return course.facts
        found = [
            each.facts for each in reversed(self._by_id.values()) if any(named == digest for digest, _ in each.locks)
        ]
        own = (facts for facts in found if facts.locked.principal == principal)
        return next(own, found[0] if found else None)

    def run_of(self, plan: str) -> str | None:
        course = self._by_id.get(plan)
        return None if course is None else course.facts.locked.run

    def has(self, locked: LockedPlan) -> bool:
        """Whether this is known: it is what the plan is, or what it was before."""
        course = self._by_id.get(locked.id)
        return course is not None and (locked.digest, locked.locked_ms) in course.locks

    def runs(self) -> tuple[str, ...]:
        return tuple(self._by_run)

    def attempt(self, call: str) -> Began | None:
        """The attempt that an unfinished call is."""
        opened = self._open.get(call)
        return None if opened is None else opened[0]

    # -- what happens ----------------------------------------------------------------------------------------

    def has_room(self, locked: LockedPlan) -> bool:
        """Whether one more may be remembered. SECURITY: an agent that opens run after run takes no memory of others."""
        held, size = self._held.get(locked.principal, _Holding()), size_of(locked.plan.steps)
        while held.closed and held.size + size > MOST_BYTES:
            self.forget(next(iter(held.closed)))
        return held.size + size <= MOST_BYTES

    def lock(self, locked: LockedPlan) -> None:
        """Hold the run to a plan from here on. A revision keeps its cursor, another plan takes the place of the one before."""
        before = self._by_run.get(locked.run)
        self.forget(locked.run)
        is_same = before is not None and before.facts.locked.id == locked.id
        former, steps = (before.locks, before.steps) if before is not None and is_same else ((), {})
        facts = PlanFacts(locked, MappingProxyType(steps), self._key)
        locks = (*(each for each in former if each[0] != locked.digest), (locked.digest, locked.locked_ms))
        course = _Course(facts, steps, locks[-MOST_FORMER:], size_of(locked.plan.steps))
        self._by_run[locked.run] = self._by_id[locked.id] = course
        self._held.setdefault(locked.principal, _Holding()).size += course.size

    def begin(self, began: Began) -> None:
        steps = self._steps(began.plan)
        before = steps.get(began.step, _NEVER)
        self._open[began.call] = began, before
        steps[began.step] = new(Attempted, ("running", before.attempts + 1, before.outputs))

    def end(self, ended: Ended) -> None:
        began, state, outputs = ended
        opened = self._open.pop(began.call, None)
        if opened is None:
            return  # known already: its record comes later, where a store was asked in between
        steps = self._steps(began.plan)
        running = steps.get(began.step, _NEVER)
        if state is None:
            steps[began.step] = Attempted(opened[1].state, running.attempts - 1, running.outputs)
        else:
            steps[began.step] = new(Attempted, (state, running.attempts, MappingProxyType(outputs)))

    def restore(self, steps: Mapping[str, Mapping[str, Attempted]]) -> None:
        """Go on where the file ends, once its plans are locked."""
        for plan, course in self._by_id.items():
            course.steps.update(steps.get(plan, {}))

    def begin_again(self, run: str) -> None:
        """Forget how far it has come: that is told anew, from the beginning."""
        course = self._by_run.get(run)
        if course is not None:
            course.steps.clear()

    def close(self, run: str) -> None:
        """Its run was finished: it is only looked at any more."""
        course = self._by_run.get(run)
        if course is None:
            return
        held = self._held[course.facts.locked.principal]
        held.closed[run] = course.size
        while len(held.closed) > 1 and sum(held.closed.values()) > MOST_CLOSED_BYTES:
            self.forget(next(iter(held.closed)))

    def forget(self, run: str) -> None:
        course = self._by_run.pop(run, None)
        if course is None:
            return
        locked = course.facts.locked
        self._by_id.pop(locked.id, None)
        held = self._held[locked.principal]
        held.size -= course.size
        held.closed.pop(run, None)
        if not held.size:
            del self._held[locked.principal]

    def _steps(self, plan: str) -> dict[str, Attempted]:
        """The cursor of a plan; of one whose run is over, nobody asks any more."""
        course = self._by_id.get(plan)
        return {} if course is None else course.steps


def not_done(facts: PlanFacts) -> tuple[str, ...]:
    """The steps of a plan that its run did not do, in their order."""
    known = facts.steps
    return tuple(step.id for step in facts.locked.plan.steps if known.get(step.id, _NEVER).state != "done")
