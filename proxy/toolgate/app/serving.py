"""What serves: the gateway with its bundle, the look at the environment, and how a bundle is replaced.

RULE: a bundle is built aside and taken whole; one with problems is refused whole, and the last good one keeps serving.
"""

from __future__ import annotations

import asyncio
import random
import time

from toolgate.app import memory
from toolgate.app.parts import Parts
from toolgate.app.state import masker
from toolgate.core.bundle import Bundle, BundleError
from toolgate.core.model import Event
from toolgate.exchange import World
from toolgate.gateway import Gateway
from toolgate.load.bundle import Sources, load
from toolgate.ports import LedgerError
from toolgate.release import installed_version
from toolgate.situation import Lookout, Outside


class Serving:
    """The gateway, and the last error of a reload until one is taken."""

    def __init__(self, parts: Parts, sources: Sources, bundle: Bundle) -> None:
        self.gateway = Gateway(_world(parts), bundle)
        self.lookout = Lookout(self.gateway, _outside(parts))
        self.last_error: str | None = None
        self._parts = parts
        self._log = parts.log
        self._sources = sources
        self._reloading = asyncio.Lock()

    @property
    def bundle(self) -> Bundle:
        return self.gateway.bundle

    async def begin(self) -> None:
        """Write down what serves, and look at its environment. Raises LedgerError."""
        await self._parts.ledger.append(self._loaded(None))
        self.lookout.attend(self.bundle)

    async def reload(self) -> None:
        """Build a bundle aside and serve from it. Raises BundleError; then the last good one keeps serving."""
        self._parts.callers.hurry()
        async with self._reloading:
            try:
                bundle = await asyncio.to_thread(load, self._sources)
            except BundleError as error:
                self._refuse(error)
                raise
            was_refused, self.last_error = self.last_error is not None, None
            self._parts.metrics.reloaded("loaded")
            if bundle.revision != self.bundle.revision:
                await self._take(bundle)
            elif was_refused:  # whoever read `bundle_refused` learns that it is over
                self._log.info("bundle_unchanged", revision=bundle.revision)

    async def reload_quietly(self) -> None:
        """A reload nobody asked for by name: what is wrong is in the log, the metrics and `/-/ready`."""
        try:
            await self.reload()
        except BundleError:
            return
        except LedgerError as error:
            self._log.error("bundle_not_journaled", why=str(error))

    async def _take(self, bundle: Bundle) -> None:
        before = self.bundle.revision
        self.gateway.swap(bundle)
        self.lookout.attend(bundle)
        self._parts.metrics.serving(bundle.revision, bundle.environment, installed_version())
        self._log.info("bundle_reloaded", revision=bundle.revision, previous=before)
        memory.settle_anew()
        await self._parts.ledger.append(self._loaded(before))

    def _refuse(self, error: BundleError) -> None:
        self.last_error = str(error.problems[0]) if error.problems else str(error)
        self._parts.metrics.reloaded("refused")
        problems = [str(problem) for problem in error.problems]
        self._log.error("bundle_refused", serving=self.bundle.revision, problems=problems)

    def _loaded(self, previous: str | None) -> Event:
        bundle = self.bundle
        data = {
            "revision": bundle.revision,
            "previous": previous,
            "environment": bundle.environment,
            "tools": sorted(bundle.tools),
            "operations": len(bundle.catalog.operations),
            "allowed": sum(1 for _ in bundle.catalog.allowed),
        }
        return Event("BundleLoaded", self._parts.clock.now_ms(), data)


def _world(parts: Parts) -> World:
    return World(
        ledger=parts.ledger,
        upstream=parts.upstream,
        meter=parts.metrics,
        mask=masker(parts.mask_key()),
        now_ms=parts.clock.now_ms,
        monotonic_s=time.monotonic,
        new_id=parts.ids.at,
        call_timeout_s=parts.settings.limits.call_timeout_s,
        tell=parts.people.tell,
    )


def _outside(parts: Parts) -> Outside:
    return Outside(
        credential=parts.upstream.not_ready,
        record=parts.ledger.append,
        meter=parts.metrics,
        log=parts.log,
        now_ms=parts.clock.now_ms,
        monotonic_s=time.monotonic,
        random=random.random,
    )
