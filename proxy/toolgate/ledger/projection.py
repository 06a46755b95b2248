"""What the process knows of its own journal: balances and implicit runs, in memory.

RULE: belongs to the event loop; no other thread touches it. A charge counts from the moment its record is queued
(INVARIANT: taken in memory ≥ taken on disk), so that two calls never share the last unit; when the record cannot be
written the charge is released again. What a run has come to is counted, and taken back, at the same moments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from toolgate.core.journal import Body
from toolgate.core.model import RUN_KEY, Charge, Facts, Json, RunFacts, Situation

_SWEEP_AT: Final = 4096
_NO_RUN: Final = RunFacts()
_FAILED_STATUS: Final = 400


@dataclass(slots=True)
class Run:
    """A principal's implicit run and how far it has come."""

    id: str
    number: int
    last_ms: int
    started_ms: int
    calls: int = 0
    refusals: int = 0
    completed: frozenset[str] = frozenset()
    permits: dict[str, int] = field(default_factory=dict)  # by operation: none but the catalog's, which bound it
    _told: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._told = MappingProxyType(self.permits)

    def facts(self, at_ms: int) -> RunFacts:
        age_ms = at_ms - self.started_ms
        age_s = age_ms // 1000 if age_ms > 0 else 0
        return RunFacts(self.id, self.calls, self.refusals, age_s, self.completed, self._told)

    def count(self, decided: Body, by: int) -> None:
        """Add a decision, or take it back."""
        self.calls += by
        operation = decided.operation
        if decided.code is not None:
            self.refusals += by
        elif operation is not None:
            count = self.permits.get(operation, 0) + by
            if count:
                self.permits[operation] = count
            else:
                del self.permits[operation]

    def complete(self, operation: str) -> None:
        if operation not in self.completed:
            self.completed |= {operation}


def completes(finished: Mapping[str, Json]) -> bool:
    """Whether a `Finished` completes its operation: the upstream answered, and below 400.

    An upstream that says 404 or 500 has answered the call (DESIGN §13), but what the run wanted of it was not done.
    """
    status = finished.get("status")
    return finished.get("outcome") == "completed" and isinstance(status, int) and status < _FAILED_STATUS


class Projection:
    def __init__(self, idle_ms: int, new_run: Callable[[], str]) -> None:
        self._idle_ms = idle_ms
        self._new_run = new_run
        self._taken: dict[str, int] = {}
        self._runs: dict[str, Run] = {}
        self._by_id: dict[str | None, Run] = {}
        self._sweep_at = _SWEEP_AT

    def restore(self, taken: Mapping[str, int], runs: Mapping[str, Run]) -> None:
        """Begin where the journal ends."""
        self._taken = dict(taken)
        self._keep(dict(runs))

    def facts(self, keys: Iterable[str], at_ms: int, situation: Situation) -> Facts:
        run, balances, taken = _NO_RUN, {}, self._taken
        for key in keys:
            if key.startswith(RUN_KEY):
                run = self._run_facts(key[len(RUN_KEY) :], at_ms)
            else:
                balances[key] = taken.get(key, 0)
        return Facts(balances, run, situation)

    def _run_facts(self, principal: str, at_ms: int) -> RunFacts:
        run = self._runs.get(principal)
        return run.facts(at_ms) if run is not None and self._goes_on(run, at_ms) else _NO_RUN

    def _goes_on(self, run: Run, at_ms: int) -> bool:
        return at_ms - run.last_ms <= self._idle_ms

    def count(self, body: Body, said: Mapping[str, Json]) -> None:
        """Count an event that is queued into its run; one whose run is over changes nothing any more."""
        run = self._by_id.get(body.run)
        if run is None:
            return
        operation = body.operation
        if body.kind == "Decided":
            run.count(body, 1)
        elif operation is not None and operation not in run.completed and body.kind == "Finished" and completes(said):
            run.complete(operation)

    def take_back(self, body: Body) -> None:
        """Forget a decision whose record could not be written."""
        run = self._by_id.get(body.run)
        if run is not None and body.kind == "Decided":
            run.count(body, -1)

    def reserve(self, charges: Sequence[Charge]) -> Facts | None:
        """Take all charges, or none and answer with fresh facts."""
        after: dict[str, int] = {}
        for charge in charges:
            taken = after.get(charge.key, self._taken.get(charge.key, 0)) + charge.amount
            if charge.amount > 0 and taken > charge.given:
                return Facts({charge.key: self._taken.get(charge.key, 0) for charge in charges})
            after[charge.key] = taken
        self._taken.update(after)
        return None

    def release(self, charges: Sequence[Charge]) -> None:
        for charge in charges:
            self._taken[charge.key] = self._taken.get(charge.key, 0) - charge.amount

    def next_in_run(self, principal: str, at_ms: int) -> tuple[Run, bool]:
        """Count the principal's next call; True when it begins a new run."""
        run = self._runs.get(principal)
        if run is not None and self._goes_on(run, at_ms):
            run.number += 1
            run.last_ms = max(run.last_ms, at_ms)  # a clock set back never shortens a run
            return run, False
        self._sweep(at_ms)
        begun = Run(self._new_run(), 1, at_ms, at_ms)
        if run is not None:
            self._by_id.pop(run.id, None)
        self._runs[principal] = self._by_id[begun.id] = begun
        return begun, True

    def _sweep(self, at_ms: int) -> None:
        """Forget runs that are over, so that memory is bounded by the principals of one idle period."""
        if len(self._runs) < self._sweep_at:
            return
        self._keep({key: run for key, run in self._runs.items() if self._goes_on(run, at_ms)})
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._runs))

    def _keep(self, runs: dict[str, Run]) -> None:
        self._runs = runs
        self._by_id = {run.id: run for run in runs.values()}
