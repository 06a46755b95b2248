"""What the gateway asks of the outside: Protocols, and the two ways the outside can be broken.

Adapters (`ledger/`, `upstream/`) implement these; the gateway knows nothing else of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from toolgate.core.journal import Broken, Filter, Head, Row, RunSummary, Verified
from toolgate.core.model import (
    NOTHING_KNOWN,
    Call,
    Charge,
    Event,
    Facts,
    Freeze,
    Guard,
    Overtaken,
    Permit,
    Reply,
    Sent,
    Settlement,
    Short,
    Situation,
)


class LedgerError(Exception):
    """The journal or the state store cannot be written or read. The gateway refuses: `gateway.unavailable`."""


class NoRoomError(LedgerError):
    """More is to be remembered of one principal than is: nothing was written, and the same again is no better."""


class RunEndedError(LedgerError):
    """The run of a call, or one above it, was stopped while the call was decided: known to whoever shares the ledger."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the run was stopped while the call was decided: {why}")
        self.why = why


class UpstreamError(Exception):
    """The upstream did not give a whole answer. `sent` says whether it may have acted on the call.

    `detail` is told to the agent; `why`, where there is more to say, to operators only (a path of this host).
    """

    def __init__(self, code: str, detail: str, *, sent: Sent, why: str | None = None) -> None:
        super().__init__(detail)
        self.why = why
        self.code = code  # one of the `upstream.*` codes, or `environment.not_ready` when a credential is missing
        self.detail = detail
        self.sent = sent


class Ledger(Protocol):
    """The journal and the balances it justifies. One writer; the order of `record` and `append` is the order of the journal.

    What it knows of runs and freezes it reads out of the events it is given (`core/runs.py`): whoever writes
    `RunStarted`, `RunStopped`, `RunFinished` or `KillSwitch` has thereby done it, for the very next call.
    """

    def facts(self, keys: Iterable[str], at_ms: int, situation: Situation = NOTHING_KNOWN) -> Facts:
        """Answer from the process's own projection, beside the situation: no I/O, no waiting.

        What is answered is live: read it before waiting for anything.
        """
        ...

    def next_in_run(self, call: Call) -> tuple[str, int]:
        """The run of a call and the number of the call in it; begins the run in the journal where it is new.

        A call without a run is in its principal's implicit one (a new one after `idle_s` without calls).
        """
        ...

    async def catch_up(self, named: str) -> bool:
        """Learn what gates of the same store agreed of a run, or of the run of a plan or approval; whether that was anything.

        `WAITING` names the runs of all approvals that may wait for somebody. False at once where nobody else writes, and where the store cannot be asked: what is known is what there is.
        """
        ...

    async def record(self, event: Event, guards: Sequence[Guard]) -> Short | Overtaken | None:
        """Write the event and take all its guards in one act; return when both are committed.

        Returns the first guard that did not hold, and then nothing was written or taken; nor was it where others were first
        with something that is known from then on.
        Raises LedgerError when it cannot be written, or when the queue stays full beyond the write deadline; nothing
        is taken then either.
        """
        ...

    async def append(self, event: Event, guards: Sequence[Charge] = ()) -> None:
        """Queue an event nobody waits for; waits only while the queue is full.

        Its charges (denied attempts) are counted up to what is given: there is nobody left to refuse.
        Raises LedgerError when the journal is known to be broken.
        """
        ...

    async def finish(self, event: Event, settlement: Settlement) -> None:
        """Queue the `Finished` of a permitted call with what it gives back and takes more of, in one act.

        Places are given back at once, whatever becomes of the journal. The overrun of each `extra` is what was
        not left for it; it is written with the event, as `overrun`. Raises LedgerError like `append`.
        """
        ...

    def balances(self) -> Mapping[str, int]:
        """What is taken of every key that anything is taken of; for operators."""
        ...

    def freezes(self) -> Mapping[str, Freeze]:
        """What is frozen now, by `kind:name`."""
        ...

    def ready(self) -> str | None:
        """None while the ledger can be written, else one sentence that says why not."""
        ...

    async def close(self) -> None:
        """Write what is queued and release the file."""
        ...


class Journal(Protocol):
    """Questions to a journal. Each reads for itself, from any thread, and may block: never call one from the event loop.

    Raises LedgerError when there is no journal or it cannot be read.
    """

    def events(self, wanted: Filter) -> Sequence[Row]: ...

    def call(self, call: str) -> Sequence[Row]:
        """Everything about one call, oldest first."""
        ...

    def runs(self, limit: int = 50) -> Sequence[RunSummary]:
        """The newest runs first."""
        ...

    def head(self) -> Head | None: ...

    def overruns(self, since_ms: int) -> Mapping[str, int]:
        """What calls that ended since then were billed beyond what was left, by the key of the budget."""
        ...

    def follow(self, after: int | None, wait: Callable[[], bool]) -> Iterator[Row]:
        """Each row after the given one (None: from the end on), oldest first; `wait` sleeps, and ends it with False."""
        ...

    def verify(self, head: Head | None = None) -> Verified | Broken:
        """Follow the chain from the first row to the last; with a head, also see that the head is in it."""
        ...


class Upstream(Protocol):
    """The client that takes only a Permit: at most one request on the wire per `send`."""

    async def send(self, permit: Permit) -> Reply:
        """Send and return once the head has come. Raises UpstreamError, also from the reply's stream."""
        ...

    async def close(self) -> None: ...


class Meter(Protocol):
    """What is counted of calls. Labels are registered names only, so that no caller can grow the series."""

    def ended(self, operation: str | None, outcome: str, seconds: float, upstream_seconds: float = 0.0) -> None:
        """A call ended: `outcome` is its code, or `completed`."""
        ...

    def settled(self, permit: Permit, settlement: Settlement) -> None:
        """A permitted call ended: what it was charged, and what that came to."""
        ...

    def unpriced(self, operation: str, why: str) -> None:
        """A reply did not say what its call cost, though that is where it is to be read (`core.cost.Unpriced`)."""
        ...

    def short(self, key: str) -> None:
        """A guard with this key did not cover a call."""
        ...

    def flipped(self, operation: str, would: str) -> None:
        """Audit would have decided otherwise: `would` is `permit` or `refuse`."""
        ...

    def defect(self, where: str, error: BaseException) -> None:
        """Something broke that should not: counted, and told to the operator."""
        ...
