"""Stand-ins for what lies outside the gateway, for tests of yours and ours: each keeps a list of what it was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from toolgate.core.approval import Approvals
from toolgate.core.guards import first_short
from toolgate.core.mask import Masked
from toolgate.core.model import (
    NOTHING_KNOWN,
    Call,
    Charge,
    Event,
    Facts,
    Freeze,
    Guard,
    Json,
    Known,
    LoopFacts,
    Permit,
    Reply,
    RunFacts,
    Settlement,
    Short,
    Situation,
)
from toolgate.core.plan import PlanFacts


@dataclass
class FakeClock:
    """Wall and monotonic time that stand still until a test moves them."""

    at_ms: int = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_s(self) -> float:
        return self.at_ms / 1000

    def advance(self, seconds: float) -> None:
        self.at_ms += round(seconds * 1000)


@dataclass
class FakeLedger:
    """A ledger in a list, that takes a record where its guards hold against `levels`.

    Set `broken` to an exception to make the next writes fail, or `short` to a guard that does not hold whatever `levels`
    say. `run`, `levels`, `frozen`, `loops`, `plan` and `approvals` are what it says of any call; `settled` is what came
    with each `Finished`.
    """

    events: list[Event] = field(default_factory=list)
    broken: Exception | None = None
    run: RunFacts = field(default_factory=RunFacts)
    levels: Known = field(default_factory=Known)
    frozen: Mapping[str, Freeze] = field(default_factory=dict)
    loops: LoopFacts = field(default_factory=LoopFacts)
    short: Short | None = None
    taken: list[Guard] = field(default_factory=list)
    settled: list[Settlement] = field(default_factory=list)
    plan: PlanFacts | None = None
    approvals: Approvals | None = None

    def facts(self, _keys: Iterable[str], _at_ms: int, situation: Situation = NOTHING_KNOWN) -> Facts:
        return Facts(
            self.levels, self.run, situation, self.frozen, self.loops, plan=self.plan, approvals=self.approvals
        )

    async def catch_up(self, _named: str) -> bool:
        return False

    async def record(self, event: Event, guards: Sequence[Guard]) -> Short | None:
        short = self.short or first_short(guards, self.levels, event.at_ms)
        if short is not None:
            return short
        await self.append(event)
        self.taken += guards
        return None

    async def append(self, event: Event, guards: Sequence[Charge] = ()) -> None:
        if self.broken is not None:
            raise self.broken
        self.events.append(event)
        self.taken += guards

    async def finish(self, event: Event, settlement: Settlement) -> None:
        self.settled.append(settlement)
        await self.append(event)

    def next_in_run(self, call: Call) -> tuple[str, int]:
        run = call.run.id if call.run is not None else self.run.id or f"run_{call.principal.id}"
        return run, 1 + sum(event.kind == "Decided" for event in self.events)

    def balances(self) -> Mapping[str, int]:
        return self.levels.balances

    def freezes(self) -> Mapping[str, Freeze]:
        return self.frozen

    def ready(self) -> str | None:
        return None if self.broken is None else str(self.broken)

    async def close(self) -> None:
        return None


@dataclass
class FakeUpstream:
    """An upstream that answers with `reply`, or raises it when it is an exception."""

    reply: Reply | BaseException = field(
        default_factory=lambda: Reply(200, (("content-type", "application/json"),), b"{}")
    )
    sent: list[Permit] = field(default_factory=list)

    async def send(self, permit: Permit) -> Reply:
        self.sent.append(permit)
        if isinstance(self.reply, BaseException):
            raise self.reply
        return self.reply

    async def close(self) -> None:
        return None


@dataclass
class FakeMeter:
    """Counts in lists."""

    outcomes: list[tuple[str | None, str]] = field(default_factory=list)
    flips: list[tuple[str, str]] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    shorts: list[str] = field(default_factory=list)
    unpriced_replies: list[tuple[str, str]] = field(default_factory=list)
    defects: list[tuple[str, BaseException]] = field(default_factory=list)

    def ended(self, operation: str | None, outcome: str, _seconds: float, _upstream_seconds: float = 0.0) -> None:
        self.outcomes.append((operation, outcome))

    def settled(self, _permit: Permit, settlement: Settlement) -> None:
        self.settlements.append(settlement)

    def unpriced(self, operation: str, why: str) -> None:
        self.unpriced_replies.append((operation, why))

    def short(self, key: str) -> None:
        self.shorts.append(key)

    def flipped(self, operation: str, would: str) -> None:
        self.flips.append((operation, would))

    def defect(self, where: str, error: BaseException) -> None:
        self.defects.append((where, error))


def no_mask(arguments: Mapping[str, Json], _pointers: tuple[str, ...]) -> Masked:
    """Show everything: for tests that read the journal."""
    return Masked(arguments, None)
