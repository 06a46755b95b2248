"""Stand-ins for what lies outside the gateway, for tests of yours and ours: each keeps a list of what it was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from toolgate.core.mask import Masked
from toolgate.core.model import NOTHING_KNOWN, Charge, Event, Facts, Json, Permit, Reply, RunFacts, Situation


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
    """A ledger in a list. Set `broken` to an exception to make the next writes fail; `run` is what it says of any run."""

    events: list[Event] = field(default_factory=list)
    broken: Exception | None = None
    run: RunFacts = field(default_factory=RunFacts)

    def facts(self, _keys: Iterable[str], _at_ms: int, situation: Situation = NOTHING_KNOWN) -> Facts:
        return Facts(run=self.run, situation=situation)

    async def record(self, event: Event, _charges: Sequence[Charge]) -> Facts | None:
        await self.append(event)
        return None

    async def append(self, event: Event) -> None:
        if self.broken is not None:
            raise self.broken
        self.events.append(event)

    def next_in_run(self, principal: str, _at_ms: int) -> tuple[str, int]:
        return f"run_{principal}", 1 + sum(event.kind == "Decided" for event in self.events)

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
    defects: list[tuple[str, BaseException]] = field(default_factory=list)

    def ended(self, operation: str | None, outcome: str, _seconds: float, _upstream_seconds: float = 0.0) -> None:
        self.outcomes.append((operation, outcome))

    def flipped(self, operation: str, would: str) -> None:
        self.flips.append((operation, would))

    def defect(self, where: str, error: BaseException) -> None:
        self.defects.append((where, error))


def no_mask(arguments: Mapping[str, Json], _pointers: tuple[str, ...]) -> Masked:
    """Show everything: for tests that read the journal."""
    return Masked(arguments, None)
