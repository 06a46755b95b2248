"""What the process knows of its own journal, in memory: runs, freezes, and the balances of `ledger.balances`.

RULE: belongs to the event loop; no other thread touches it. Whatever is known here was read out of an event or taken with
one, and counts from the moment the event is queued; a record that could not be written is taken back. Only a thaw waits
for its commit: until it is written, what was frozen stays frozen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from toolgate.core import runs as told
from toolgate.core.journal import Body
from toolgate.core.loop import again
from toolgate.core.mask import MaskKey
from toolgate.core.model import (
    EVERYTHING,
    OPENED_RUN_KEY,
    PLAN_KEY,
    RUN_KEY,
    Call,
    Event,
    Facts,
    Freeze,
    Json,
    LoopFacts,
    OpenedRun,
    RunFacts,
    Situation,
    new,
)
from toolgate.ledger.agreements import Agreements
from toolgate.ledger.balances import Balances
from toolgate.ledger.moves import completes
from toolgate.ledger.plans import not_done

_LOOKS: Final = 2  # runs looked at for each new one: forgetting keeps up with remembering, and never pauses a call
_MOST_PROMISED: Final = 4096
_PRINCIPAL: Final = slice(len(RUN_KEY), None)
_RUN_ID: Final = slice(len(OPENED_RUN_KEY), None)
_NO_LOOPS: Final = LoopFacts()
_NOTHING_RESERVED: Final = Facts().reserved  # known to the gateway, which adds it where it matters
_NO_SPENDING: Final = RunFacts().spent  # told by `core.authorization`, to whom it matters


@dataclass(slots=True)
class Run:
    """A run and how far it has come; `expires_ms` is that of an opened one's token."""

    id: str
    principal: str
    started_ms: int
    last_ms: int
    expires_ms: int | None = None
    above: tuple[str, ...] = ()
    number: int = 0
    calls: int = 0
    refusals: int = 0
    completed: frozenset[str] = frozenset()
    permits: dict[str, int] = field(default_factory=dict)  # by operation: none but the catalog's, which bound it
    stopped: str | None = None
    finished: bool = False
    until_ms: int = 0  # what is in it is kept so long at least: runs below it spend of its budgets
    loops: LoopFacts = _NO_LOOPS

    def hear(self, at_ms: int) -> None:
        """Note when it was last heard of; a clock set back never shortens a run."""
        if at_ms > self.last_ms:  # noqa: PLR1730 (a call of `max` costs as much as all of this)
            self.last_ms = at_ms

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
            self.completed = _one_more(self.completed, operation)

    def repeat(self, signature: str, at_ms: int) -> None:
        """Count refusals in a row; an empty signature is a permit."""
        self.loops = again(self.loops, signature, at_ms) if signature else _NO_LOOPS

    @property
    def why_stopped(self) -> str | None:
        return self.stopped or (told.BY_ITS_AGENT if self.finished else None)


@lru_cache(maxsize=1024)  # INVARIANT: bounded, and follows from its arguments alone
def _one_more(completed: frozenset[str], operation: str) -> frozenset[str]:
    """Runs that completed the same share one set: of its own, each would weigh 216 bytes."""
    return completed | {operation}


class Projection:
    """`balances` are the levels that guards are asked of; `agreements`: plans and approvals."""

    def __init__(self, idle_ms: int, new_run: Callable[[], str], key: MaskKey) -> None:
        self.balances = Balances(self._is_over)
        self.agreements = Agreements(key)
        self.freezes: Mapping[str, Freeze] = MappingProxyType({})  # replaced whole, so that facts may hold it
        self._idle_ms = idle_ms
        self._new_run = new_run
        self._promised: dict[str, str] = {}  # by principal, the run its next call begins
        self._current: dict[str, Run] = {}  # by principal, its implicit run
        self._runs: dict[str, Run] = {}
        self._ids: deque[str] = deque()  # of runs that may be forgotten one day, each once
        self.farewells: list[Event] = []  # of runs that had a plan and ended by themselves, still to be written

    def restore(self, runs: Iterable[Run], freezes: Mapping[str, Freeze]) -> None:
        """Begin where the journal ends."""
        for run in sorted(runs, key=lambda each: each.started_ms):
            self._runs[run.id] = run
            self._ids.append(run.id)
            if run.expires_ms is None:
                self._current[run.principal] = run
        self.freezes = MappingProxyType(dict(freezes))

    # -- what is known ---------------------------------------------------------------------------------------

    def facts(self, keys: Iterable[str], at_ms: int, situation: Situation) -> Facts:
        run: Run | None = None
        run_id = principal = named = ""
        for key in keys:
            if key.startswith(RUN_KEY):
                principal = key[_PRINCIPAL]
                run = self._implicit(principal, at_ms)
                run_id = self._promise(principal) if run is None else run.id
            elif key.startswith(OPENED_RUN_KEY):
                run_id = key[_RUN_ID]
                run = self._runs.get(run_id)
            elif key.startswith(PLAN_KEY):
                named = key[len(PLAN_KEY) :]
        plans, requests = self.agreements.plans, self.agreements.requests
        plan = plans.find(named, run.principal if run else principal) if named else plans.of(run_id)
        if run is None:
            return Facts(
                self.balances, RunFacts(run_id), situation, self.freezes, _NO_LOOPS, _NOTHING_RESERVED, plan, requests
            )
        told_of_run, loops = self._run_facts(run, at_ms), run.loops
        return new(
            Facts, (self.balances, told_of_run, situation, self.freezes, loops, _NOTHING_RESERVED, plan, requests)
        )

    def runs(self) -> list[Run]:
        return list(self._runs.values())

    def knows(self, run: str) -> bool:
        return run in self._runs

    def _run_facts(self, run: Run, at_ms: int) -> RunFacts:
        age_ms = at_ms - run.started_ms
        stopped = run.stopped or (told.BY_ITS_AGENT if run.finished else None)
        if run.above and stopped is None:
            stopped = self._why_stopped_above(run)
        return new(
            RunFacts,
            (
                run.id,
                run.calls,
                run.refusals,
                age_ms // 1000 if age_ms > 0 else 0,
                run.completed,
                MappingProxyType(run.permits),
                run.started_ms,
                stopped,
                _NO_SPENDING,
            ),
        )

    def _why_stopped_above(self, run: Run) -> str | None:
        above = (self._runs.get(each) for each in run.above)
        return next((why for each in above if each is not None and (why := each.why_stopped)), None)

    def _implicit(self, principal: str, at_ms: int) -> Run | None:
        """The run a call of the principal goes on with."""
        run = self._current.get(principal)
        if run is None or at_ms - run.last_ms > self._idle_ms:
            return None
        # SECURITY: whoever finishes a run that was stopped does not begin anew with that
        return None if run.finished and run.stopped is None else run

    def _promise(self, principal: str) -> str:
        """Name a run before it begins; nobody waits between asking for it and beginning it."""
        promised = self._promised.get(principal)
        if promised is None:
            if len(self._promised) >= _MOST_PROMISED:
                self._promised.clear()
            promised = self._promised[principal] = self._new_run()
        return promised

    def _is_over(self, run_id: str, now_ms: int) -> bool:
        """Whether a run is over, or the one that a plan or an approval is of."""
        run = self._runs.get(run_id if run_id.startswith("run_") else self.agreements.run_of(run_id) or "")
        if run is None:
            return True
        until_ms = run.last_ms + self._idle_ms if run.expires_ms is None else run.expires_ms
        return max(until_ms, run.until_ms) < now_ms

    # -- what happens ----------------------------------------------------------------------------------------

    def begins(self, call: Call) -> Event | None:
        """What must be written before a call, where it begins a run or is in one that is not known here."""
        principal = call.principal.id
        if call.run is not None:
            return None if call.run.id in self._runs else told.adopted(call.run, principal, call.at_ms)
        if self._implicit(principal, call.at_ms) is not None:
            return None
        run_id = self._promise(principal)
        del self._promised[principal]
        return told.implicit(run_id, principal, call.at_ms)

    def next_in_run(self, call: Call) -> Run:
        """Count a call into its run, which has begun."""
        run = self._current[call.principal.id] if call.run is None else self._runs[call.run.id]
        run.number += 1
        run.hear(call.at_ms)
        for above in run.above:
            if above in self._runs:
                self._runs[above].hear(call.at_ms)
        return run

    def apply(self, event: Event, body: Body) -> Callable[[], None] | None:
        """Learn from an event that is queued; what is returned is done once it is committed."""
        match event.kind:
            case "Decided":
                self._decide(event, body)
            case "Finished":
                self._complete(event, body)
            case told.RUN_STARTED:
                self._start(event)
            case told.RUN_STOPPED | told.RUN_FINISHED:
                self._end(event)
            case told.KILL_SWITCH:
                return self._switch(event)
            case _:
                pass
        return None

    def take_back(self, body: Body) -> None:
        """Forget a decision whose record could not be written."""
        run = self._runs.get(body.run or "")
        if run is not None and body.kind == "Decided":
            run.count(body, -1)

    def _decide(self, event: Event, body: Body) -> None:
        run = self._runs.get(body.run or "")
        if run is not None:
            run.count(body, 1)
            run.repeat(signature(event.data), event.at_ms)

    def _complete(self, event: Event, body: Body) -> None:
        run = self._runs.get(body.run or "")
        if run is not None and body.operation is not None and completes(event.data):
            run.complete(body.operation)

    def _start(self, event: Event) -> None:
        run = started(event)
        if run is None or run.id in self._runs:
            return
        self._forget_some(event.at_ms)
        self._runs[run.id] = run
        self._ids.append(run.id)
        if run.expires_ms is None:
            self._say_farewell(self._current.get(run.principal), event.at_ms)
            self._current[run.principal] = run
        for above in run.above:
            self._keep_above(above, run)

    def _keep_above(self, run_id: str, below: Run) -> None:
        """SECURITY: what a run spent is known as long as a run below it may spend more of the same budgets."""
        above = self._runs.get(run_id)
        if above is None:
            opened = OpenedRun(run_id, below.expires_ms or 0)
            self._start(told.adopted(opened, below.principal, below.started_ms))
        else:
            above.until_ms = max(above.until_ms, below.expires_ms or 0)

    def _end(self, event: Event) -> None:
        run = self._runs.get(event.run or "")
        if run is None:
            return
        if event.kind == told.RUN_FINISHED:
            run.finished = True
        else:
            run.stopped = str(event.data.get("why"))

    def _switch(self, event: Event) -> Callable[[], None] | None:
        key = freeze_key(event.data)
        if event.data.get("action") == "thaw":
            return lambda: self._thaw(key, event.run)
        self.freezes = MappingProxyType({**self.freezes, key: freeze(event)})
        return None

    def _thaw(self, key: str, run_id: str | None) -> None:
        self.freezes = MappingProxyType({each: why for each, why in self.freezes.items() if each != key})
        run = self._runs.get(run_id or "")
        if run is not None:
            run.stopped = None
            run.repeat("", 0)

    def _say_farewell(self, run: Run | None, now_ms: int) -> None:
        """Whoever had a plan and went away has finished as far as it came."""
        facts = None if run is None or run.finished else self.agreements.plans.of(run.id)
        if run is not None and facts is not None:
            run.finished = True
            self.farewells.append(told.finished(run.id, run.principal, run.calls, not_done(facts), now_ms))

    def _forget_some(self, now_ms: int) -> None:
        ids = self._ids
        for _ in range(min(_LOOKS, len(ids))):
            oldest = ids.popleft()
            if not self._is_over(oldest, now_ms):
                ids.append(oldest)
                continue
            run = self._runs.pop(oldest, None)
            self._say_farewell(run, now_ms)
            self.agreements.forget(oldest)
            if run is not None and self._current.get(run.principal) is run:
                del self._current[run.principal]


def started(event: Event) -> Run | None:
    """Read a `RunStarted`."""
    if event.run is None:
        return None
    said = event.data
    principal, above = str(said.get("principal") or ""), said.get("above") or ()
    return Run(event.run, principal, event.at_ms, event.at_ms, said.get("expires_ms"), tuple(map(str, above)))


def freeze_key(switched: Mapping[str, Json]) -> str:
    kind = str(switched.get("kind"))
    return EVERYTHING if kind == EVERYTHING else f"{kind}:{switched.get('name')}"


def freeze(event: Event) -> Freeze:
    """Read a `KillSwitch`."""
    return Freeze(str(event.data.get("who")), str(event.data.get("why")), event.at_ms)


def signature(decided: Mapping[str, Json]) -> str:
    """Of a refusal, what makes it the same as another; empty for a permit."""
    return str(decided.get("signature") or "")
