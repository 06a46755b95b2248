"""The composition root: settings in, a running gate out. The only place that knows every concrete class.

RULE: everything is built here, in order; nothing built here is reached by a global name. The modules beside this page
build one part each and know nothing of this page:

    memory   what need not be kept in mind      state     the ledger, the shared store, masking, runs
    people   who is told by webhook             serving   the gateway, its bundle and how that is replaced
    parts    what all of these share            doors     the listeners        gauges   what is measured of all this
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import Callable
from functools import cache, partial

import uvloop

from toolgate.app import memory
from toolgate.app.doors import Doors, build_doors, open_doors
from toolgate.app.gauges import measure, watch_budgets, watch_store
from toolgate.app.parts import Parts, callers_of
from toolgate.app.people import People, webhook_of
from toolgate.app.serving import Serving
from toolgate.app.state import mask_key_of, open_ledger, reach_store
from toolgate.clock import Steady
from toolgate.clock import watch as watch_clock
from toolgate.core.ids import Ulids
from toolgate.core.model import Event
from toolgate.gateway import Gateway
from toolgate.listeners.calls import Places
from toolgate.listeners.health import Health
from toolgate.load.bundle import load
from toolgate.log import Log, open_log
from toolgate.metrics import Metrics
from toolgate.ports import LedgerError
from toolgate.release import installed_version
from toolgate.reload import Reloader, watch
from toolgate.settings import Settings
from toolgate.settings.sources import sources_of
from toolgate.tasks import Tasks
from toolgate.upstream import Client

Started = Callable[["App"], None]


def serve(settings: Settings, started: Started | None = None) -> None:
    """Run the gate until SIGTERM or SIGINT. `started` is called once every listener is open.

    Raises BundleError with every problem of the configuration, and LedgerError when the journal cannot be used.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # SECURITY: a core dump would hold every credential
    memory.begin()
    app = App(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(app.run(started or _nobody))


class App:
    """One process: a gateway, its ledger and upstream client, its listeners, and what reloads its bundle."""

    def __init__(self, settings: Settings, log: Log | None = None) -> None:
        self.settings = settings
        self.addresses: dict[str, str] = {}  # of the listeners, once they are open
        log = log or open_log(settings.log.level, settings.log.format)
        store = reach_store(settings)
        clock = Steady() if store is None else Steady(store.clock.wall_ns)
        ids = Ulids(clock.now_ms, os.urandom)
        metrics = Metrics(log)
        sources = sources_of(settings)
        self._read_at_ns = time.time_ns()  # what changed since then is not in the bundle
        bundle = load(sources)  # before anything is opened: a bundle with problems leaves no trace
        callers = callers_of(settings, clock, log, metrics)
        key = cache(partial(mask_key_of, settings))
        ledger = open_ledger(settings, clock, store, key)
        people = People(webhook_of(settings, clock, ids, log), metrics)
        upstream = Client(version=installed_version())
        self._parts = Parts(settings, log, clock, ids, metrics, callers, ledger, upstream, people, key)
        self._serving = Serving(self._parts, sources, bundle)
        self._tasks = Tasks()
        self._places = Places(settings.limits.in_flight, settings.limits.queue)
        self.health = Health(lambda: self.gateway.bundle, self._unready, lambda: self._serving.last_error)
        measure(self._parts, self._serving, self.health, self._places)

    @property
    def gateway(self) -> Gateway:
        return self._serving.gateway

    async def run(self, started: Started) -> None:
        """Open the listeners, serve until told to stop, drain."""
        stop = asyncio.Event()
        reloader = Reloader(self._serving.reload_quietly, defect=self._parts.metrics.defect)
        doors = build_doors(self._parts, self._serving, self.health, self._places)
        try:
            await self._serving.begin()
            self._watch_world()
            await self._parts.callers.start(self._tasks)
            self.addresses |= await open_doors(doors, self.settings)
            self._heed(stop, reloader)
            memory.settle()
            started(self)
            await stop.wait()
            await self._drain(doors)
        finally:
            await self._close(doors)

    def _watch_world(self) -> None:
        """Begin what goes on beside the calls."""
        parts, tasks = self._parts, self._tasks
        tasks.spawn(self._serving.lookout.run(), "lookout")
        tasks.spawn(watch_clock(parts.clock, self._tell_jump), "clock")
        tasks.spawn(watch_budgets(parts, self._serving), "budgets")
        tasks.spawn(watch_store(parts), "store")
        if parts.people.webhook is not None:
            tasks.spawn(parts.people.webhook.run(), "webhook")

    def _heed(self, stop: asyncio.Event, reloader: Reloader) -> None:
        """Listen to signals, and to changes of the files."""
        loop = asyncio.get_running_loop()
        for sent in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sent, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reloader.ask)
        self._tasks.spawn(reloader.run(), "reloader")
        folders = (self.settings.toolspecs, self.settings.policies)
        self._tasks.spawn(watch(folders, reloader.ask, since_ns=self._read_at_ns), "watch")

    async def _tell_jump(self, jumped: Event) -> None:
        parts = self._parts
        parts.log.warning("clock_jumped", **jumped.data)
        try:
            await parts.ledger.append(jumped)
        except LedgerError as error:
            parts.metrics.defect("writing of a clock that jumped", error)

    def _unready(self) -> str | None:
        return self._parts.ledger.ready() or self._parts.callers.unready() or self._serving.lookout.pending()

    async def _drain(self, doors: Doors) -> None:
        """Readiness first, then the agents' door; operators and probes see it through."""
        self.health.draining = True
        grace_s = self.settings.limits.drain_grace_s
        self._parts.log.info("drain_started", grace_s=grace_s)
        await doors.agent.drain(grace_s)
        self._parts.log.info("drain_ended")

    async def _close(self, doors: Doors) -> None:
        await self._tasks.close()
        await self._serving.lookout.close()
        for listener in doors.listeners():
            await listener.close()
        await self._parts.upstream.close()
        await self._parts.ledger.close()
        await self._parts.people.flush()


def _nobody(_app: App) -> None:
    return None
