"""What the process knows of its own journal: balances and implicit runs, in memory.

RULE: belongs to the event loop; no other thread touches it. A charge counts from the moment its record is queued
(INVARIANT: taken in memory ≥ taken on disk), so that two calls never share the last unit; when the record cannot be
written the charge is released again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from toolgate.core.model import Charge, Facts

_SWEEP_AT: Final = 4096
_NO_FACTS: Final = Facts()


@dataclass(slots=True)
class Run:
    """A principal's implicit run and how far it has come."""

    id: str
    number: int
    last_ms: int


class Projection:
    def __init__(self, idle_ms: int, new_run: Callable[[], str]) -> None:
        self._idle_ms = idle_ms
        self._new_run = new_run
        self._taken: dict[str, int] = {}
        self._runs: dict[str, Run] = {}
        self._sweep_at = _SWEEP_AT

    def restore(self, taken: Mapping[str, int], runs: Mapping[str, Run]) -> None:
        """Begin where the journal ends."""
        self._taken = dict(taken)
        self._runs = dict(runs)

    def facts(self, keys: Iterable[str]) -> Facts:
        if not keys:
            return _NO_FACTS
        taken = self._taken
        return Facts(balances={key: taken.get(key, 0) for key in keys})

    def reserve(self, charges: Sequence[Charge]) -> Facts | None:
        """Take all charges, or none and answer with fresh facts."""
        after: dict[str, int] = {}
        for charge in charges:
            taken = after.get(charge.key, self._taken.get(charge.key, 0)) + charge.amount
            if charge.amount > 0 and taken > charge.given:
                return self.facts(charge.key for charge in charges)
            after[charge.key] = taken
        self._taken.update(after)
        return None

    def release(self, charges: Sequence[Charge]) -> None:
        for charge in charges:
            self._taken[charge.key] = self._taken.get(charge.key, 0) - charge.amount

    def next_in_run(self, principal: str, at_ms: int) -> tuple[Run, bool]:
        """Count the principal's next call; True when it begins a new run."""
        run = self._runs.get(principal)
        if run is not None and at_ms - run.last_ms <= self._idle_ms:
            run.number += 1
            run.last_ms = max(run.last_ms, at_ms)  # a clock set back never shortens a run
            return run, False
        self._sweep(at_ms)
        run = Run(self._new_run(), 1, at_ms)
        self._runs[principal] = run
        return run, True

    def _sweep(self, at_ms: int) -> None:
        """Forget runs that are over, so that memory is bounded by the principals of one idle period."""
        if len(self._runs) < self._sweep_at:
            return
        self._runs = {key: run for key, run in self._runs.items() if at_ms - run.last_ms <= self._idle_ms}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._runs))
