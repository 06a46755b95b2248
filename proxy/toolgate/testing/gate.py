"""A whole gate in the test's own process: your toolspecs and policies, a ledger in memory, a clock that stands still.

    async with Gate.open("toolgate.yaml") as gate:
        gate.apis.answers("metrics.listMetrics", {"metrics": []})
        answer = await gate.agent("metrics-digest", "digest").call("metrics.listMetrics")
        assert answer.code == "completed"

RULE: what decides, counts, locks and records is what serves; only the network, the APIs and the time are the test's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from toolgate import ledger as ledgers
from toolgate.auth.runs import RunTokens
from toolgate.core.approval import Approval
from toolgate.core.bundle import Bundle
from toolgate.core.ids import Ulids
from toolgate.core.mask import Masked, MaskKey, mask, mask_key, patterns
from toolgate.core.model import Event, Json, Principal, Refusal, ResourceCatalogue, Situation
from toolgate.exchange import World
from toolgate.gateway import Gateway
from toolgate.load.bundle import load
from toolgate.plans import Plans
from toolgate.runs import Review, Runs, Terms
from toolgate.settings import load as load_settings
from toolgate.settings.identity import anonymous_of
from toolgate.settings.sources import sources_of
from toolgate.testing.agents import Agent, Doors
from toolgate.testing.apis import Apis
from toolgate.testing.fakes import FakeClock, FakeMeter
from toolgate.testing.running import Served

if TYPE_CHECKING:
    from toolgate.ledger import QueuedLedger

_TERMS: Final = Terms(token_s=14_400, max_depth=3)
_NOBODY: Final = Principal("anonymous")
_LOOKED: Final = "TestLooked"


class Gate:
    """A gate. Made by `Gate.open`, or around a bundle by `Gate.around`."""

    def __init__(
        self, bundle: Bundle, ledger: QueuedLedger, key: MaskKey, clock: FakeClock, anonymous: Principal
    ) -> None:
        self.clock = clock  # `clock.advance(seconds)` moves it
        self.apis = Apis()
        self.told: list[Event] = []  # what people are told: approvals that wait, runs that were stopped
        self.meter = FakeMeter()
        self._ledger = ledger
        self._anonymous = anonymous
        self._ids = Ulids(clock.now_ms, os.urandom)
        self._key = key
        self.gateway = Gateway(self._world(), bundle)
        self._doors = self._opened()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, config: str | Path = "toolgate.yaml", *, environment: str | None = None, clock: FakeClock | None = None
    ) -> AsyncIterator[Gate]:
        """A gate of these settings, in this environment (default: theirs). Raises BundleError with every problem."""
        settings = (await asyncio.to_thread(load_settings, config=Path(config), environ={}, cwd=Path.cwd())).settings
        sources = replace(sources_of(settings), environment=environment or settings.environment)
        bundle = await asyncio.to_thread(load, sources)
        async with cls.around(bundle, anonymous=anonymous_of(settings), clock=clock) as gate:
            yield gate

    @classmethod
    @asynccontextmanager
    async def around(
        cls, bundle: Bundle, *, anonymous: Principal = _NOBODY, clock: FakeClock | None = None
    ) -> AsyncIterator[Gate]:
        """A gate of a bundle that is loaded already."""
        own = clock or FakeClock()
        key = mask_key(os.urandom(32))
        ledger = ledgers.open("memory:", clock=own.now_ms, key=lambda: key)
        try:
            yield cls(bundle, ledger, key, own, anonymous)
        finally:
            await ledger.close()

    def agent(
        self, name: str | None = None, *roles: str, claims: Mapping[str, str] | None = None, for_: str | None = None
    ) -> Agent:
        """Somebody who calls; without a name whoever calls without a token. `for_`: on whose behalf."""
        principal = self._anonymous if name is None else Principal(name, roles, claims or {}, for_)
        return Agent(self._doors, principal)

    def lists(self, resource_type: str, resources: Mapping[str, Mapping[str, Json]]) -> None:
        """Say what the live catalogues of a type list: attributes by id."""
        served = Served.of(self.gateway.bundle)
        tools = served.types.get(resource_type)
        if not tools:
            known = ", ".join(f"`{each}`" for each in sorted(served.types)) or "none"
            raise AssertionError(f"no catalogue lists resources of the type `{resource_type}`; there is {known}")
        catalogue = ResourceCatalogue(resource_type, resources, self.clock.now_ms())
        before = self.gateway.situation
        listed = {tool: {**before.catalogues.get(tool, {}), resource_type: catalogue} for tool in tools}
        self.gateway.situation = Situation({**before.catalogues, **listed}, before.unready)

    def serve(self, bundle: Bundle) -> None:
        """Serve from another bundle from now on, as after a reload."""
        self.gateway.swap(bundle)

    async def grant(self, approval: str, by: str, *roles: str, comment: str | None = None) -> Approval:
        """Say yes to a request, as a person with these roles; fails where that person may not."""
        return _answered(await self.gateway.approvals.grant(approval, Principal(by, roles), None, comment), approval)

    async def decline(self, approval: str, by: str, *roles: str, comment: str | None = None) -> Approval:
        """Say no, as `grant`."""
        return _answered(await self.gateway.approvals.decline(approval, Principal(by, roles), comment), approval)

    async def revoke(self, approval: str, by: str, *roles: str, comment: str | None = None) -> Approval:
        """Take a yes back that nothing has used, as `grant`."""
        return _answered(await self.gateway.approvals.revoke(approval, Principal(by, roles), comment), approval)

    async def journal(self, *kinds: str) -> list[dict[str, Any]]:
        """The events of these kinds (default: all), oldest first."""
        await self._ledger.record(Event(_LOOKED, self.clock.now_ms(), {}), ())  # what was queued is written before it
        events = [dict(row.event) for row in self._ledger.journal.follow(0, lambda: False)]
        return [each for each in events if (each["event"] in kinds if kinds else each["event"] != _LOOKED)]

    def _world(self) -> World:
        return World(
            ledger=self._ledger,
            upstream=self.apis,
            meter=self.meter,
            mask=self._masked,
            now_ms=self.clock.now_ms,
            monotonic_s=self.clock.monotonic_s,
            new_id=self._ids.at,
            tell=self.told.append,
        )

    def _opened(self) -> Doors:
        gateway, ledger, now_ms, new_id = self.gateway, self._ledger, self.clock.now_ms, self._ids.next
        plans = Plans(ledger, gateway.approvals, gateway, now_ms, new_id)
        tokens = RunTokens(os.urandom(32), gateway.bundle.environment, now_ms)
        review = Review(gateway.approvals, lambda: gateway.bundle)
        runs = Runs(ledger, tokens, _TERMS, now_ms, new_id, review)
        return Doors(gateway, plans, runs, self.meter)

    def _masked(self, arguments: Mapping[str, Json], pointers: tuple[str, ...]) -> Masked:
        return mask(arguments, patterns(pointers), self._key, os.urandom)


def _answered(answered: Approval | Refusal | None, approval: str) -> Approval:
    match answered:
        case None:
            raise AssertionError(f"there is no request `{approval}`")
        case Refusal():
            raise AssertionError(f"{answered.code.code}: {answered.detail}")
        case Approval():
            return answered
