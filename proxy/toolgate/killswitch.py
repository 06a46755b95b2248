"""The kill switch: a run, a principal, a tool or everything is frozen, and thawed, by a person who says why.

RULE: thrown is in the journal, committed, before anybody hears that it is; from the moment it is asked for, no call that
has not been recorded is permitted. People are told by webhook too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from toolgate.core.model import EVERYTHING, OPENED_RUN_KEY, Event, Freeze
from toolgate.core.runs import Action, Kind, switched
from toolgate.ports import Ledger


class Target(NamedTuple):
    """What is frozen or thawed; `name` is None for everything."""

    kind: Kind
    name: str | None

    @property
    def key(self) -> str:
        """Its key in `Facts.freezes`."""
        return EVERYTHING if self.name is None else f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Thrown:
    """What was done. `changed` is False where it was so already; the journal says all the same who asked and why."""

    action: Action
    target: Target
    freeze: Freeze
    changed: bool


class KillSwitch:
    """Freezes and thaws. Whoever asks was asked who they are before."""

    def __init__(self, ledger: Ledger, tell: Callable[[Event], None], now_ms: Callable[[], int]) -> None:
        """`tell` has people told; it never waits."""
        self._ledger = ledger
        self._tell = tell
        self._now_ms = now_ms

    async def throw(self, action: Action, target: Target, *, who: str, why: str) -> Thrown:
        """Freeze or thaw. Raises LedgerError when it cannot be written: nothing is permitted then either."""
        at_ms = self._now_ms()
        before = self._is_held(target, at_ms)
        by = Freeze(who, why, at_ms)
        event = switched(action, target.kind, target.name, by)
        await self._ledger.record(event, ())
        self._tell(event)
        return Thrown(action, target, by, before == (action == "thaw"))

    def frozen(self) -> Mapping[str, Freeze]:
        """What is frozen now, by `everything` or `kind:name`."""
        return self._ledger.freezes()

    def _is_held(self, target: Target, at_ms: int) -> bool:
        """Whether its calls are refused already: it is frozen, or it is a run that was stopped."""
        if target.key in self._ledger.freezes():
            return True
        if target.kind != "run":
            return False
        return self._ledger.facts((f"{OPENED_RUN_KEY}{target.name}",), at_ms).run.stopped is not None


def target_of(key: str) -> Target:
    """Read a key of `Facts.freezes`."""
    kind, _, name = key.partition(":")
    match kind:
        case "principal" | "run" | "tool":
            return Target(kind, name)
        case _:
            return Target("everything", None)
