"""The composition root: settings in, a running gate out. The only place that knows every concrete class.

RULE: everything is built here, in order, on this page; nothing built here is reached by a global name.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import resource
import signal
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import uvloop

from toolgate import ledger as ledgers
from toolgate.auth import Callers
from toolgate.auth.surroundings import Surroundings
from toolgate.core.bundle import Bundle, BundleError, Problem
from toolgate.core.ids import Ulids
from toolgate.core.mask import Masked, mask, mask_key, patterns
from toolgate.core.model import Event, Json
from toolgate.exchange import Mask, World
from toolgate.gateway import Gateway
from toolgate.keys import mask_secret, secret_text
from toolgate.ledger.stdout import LineStream
from toolgate.listeners.admin import AdminApi
from toolgate.listeners.agent import AgentApi
from toolgate.listeners.calls import Calls, Places
from toolgate.listeners.health import Health, OwnFront, health_front
from toolgate.listeners.http import AgentFront
from toolgate.listeners.refusals import Refusals, Sampled
from toolgate.listeners.server import Bounds, Listener, Tls, tls_context
from toolgate.listeners.wire import Rules
from toolgate.load.bundle import load
from toolgate.log import Log, open_log
from toolgate.metrics import CONTENT_TYPE, Metrics
from toolgate.ports import LedgerError
from toolgate.release import installed_version
from toolgate.reload import Reloader, watch
from toolgate.settings import Address, Settings, Tcp, Unix
from toolgate.settings.identity import identity_of
from toolgate.settings.sources import sources_of
from toolgate.situation import Lookout, Outside
from toolgate.tasks import Tasks
from toolgate.upstream import Client

Started = Callable[["App"], None]
_STDOUT: Final = 1
_GC_THRESHOLDS: Final = (50_000, 20, 50)  # a call allocates little that is cyclic; the default looks every few calls


def serve(settings: Settings, started: Started | None = None) -> None:
    """Run the gate until SIGTERM or SIGINT. `started` is called once every listener is open.

    Raises BundleError with every problem of the configuration, and LedgerError when the journal cannot be used.
    """
    os.umask(0o077)
    gc.set_threshold(*_GC_THRESHOLDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # SECURITY: a core dump would hold every credential
    app = App(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(app.run(started or _nobody))


@dataclass(slots=True)
class _Doors:
    """The listeners, and the addresses they are open on."""

    agent: Listener
    admin: Listener | None
    health: Listener | None

    def open(self) -> list[Listener]:
        return [listener for listener in (self.agent, self.admin, self.health) if listener is not None]


class App:
    """One process: a gateway, its ledger and upstream client, its listeners, and what reloads its bundle."""

    def __init__(self, settings: Settings, log: Log | None = None) -> None:
        self.settings = settings
        self.addresses: dict[str, str] = {}
        self._log = log or open_log(settings.log.level, settings.log.format)
        self._sources = sources_of(settings)
        self._ids = Ulids(_now_ms, os.urandom)
        self._metrics = Metrics(self._log)
        self._read_at_ns = time.time_ns()  # what changed since then is not in the bundle
        bundle = load(self._sources)
        self._callers = self._who_calls()
        self._ledger = _open_ledger(settings)
        self._upstream = Client(version=installed_version())
        self.gateway = Gateway(self._world(), bundle)
        self._lookout = self._look_out()
        self._reloading = asyncio.Lock()
        self._last_error: str | None = None
        self._tasks = Tasks()
        self.health = Health(lambda: self.gateway.bundle, self._unready, lambda: self._last_error)
        self._places = Places(settings.limits.in_flight, settings.limits.queue)
        self._tell_metrics(bundle)

    # -- one run of the process ------------------------------------------------------------------------------

    async def run(self, started: Started) -> None:
        """Open the listeners, serve until told to stop, drain."""
        stop = asyncio.Event()
        reloader = Reloader(self._reload_quietly, defect=self._metrics.defect)
        doors = self._build_doors()
        try:
            await self._ledger.append(self._bundle_loaded(None))
            self._lookout.attend(self.gateway.bundle)
            self._tasks.spawn(self._lookout.run(), "lookout")
            await self._callers.start(self._tasks)
            await self._open(doors)
            self._heed_signals(stop, reloader)
            self._tasks.spawn(reloader.run(), "reloader")
            folders = (self.settings.toolspecs, self.settings.policies)
            self._tasks.spawn(watch(folders, reloader.ask, since_ns=self._read_at_ns), "watch")
            _settle_memory()
            started(self)
            await stop.wait()
            await self._drain(doors)
        finally:
            await self._close(doors)

    async def reload(self) -> None:
        """Build a bundle aside and serve from it. Raises BundleError; then the last good one keeps serving."""
        self._callers.hurry()
        async with self._reloading:
            before = self.gateway.bundle.revision
            try:
                bundle = await asyncio.to_thread(load, self._sources)
            except BundleError as error:
                self._refuse_bundle(error)
                raise
            was_refused, self._last_error = self._last_error is not None, None
            self._metrics.reloaded("loaded")
            if bundle.revision == before:
                if was_refused:  # whoever read `bundle_refused` learns that it is over
                    self._log.info("bundle_unchanged", revision=before)
                return
            self.gateway.swap(bundle)
            self._lookout.attend(bundle)
            self._metrics.serving(bundle.revision, bundle.environment, installed_version())
            self._log.info("bundle_reloaded", revision=bundle.revision, previous=before)
            _settle_memory()
            await self._ledger.append(self._bundle_loaded(before))

    async def _reload_quietly(self) -> None:
        """A reload nobody asked for by name: what is wrong is in the log, the metrics and `/-/ready`."""
        try:
            await self.reload()
        except BundleError:
            return
        except LedgerError as error:
            self._log.error("bundle_not_journaled", why=str(error))

    def _refuse_bundle(self, error: BundleError) -> None:
        self._last_error = str(error.problems[0]) if error.problems else str(error)
        self._metrics.reloaded("refused")
        problems = [str(problem) for problem in error.problems]
        self._log.error("bundle_refused", serving=self.gateway.bundle.revision, problems=problems)

    async def _drain(self, doors: _Doors) -> None:
        """Readiness first, then the agents' door; operators and probes see it through."""
        self.health.draining = True
        self._log.info("drain_started", grace_s=self.settings.limits.drain_grace_s)
        await doors.agent.drain(self.settings.limits.drain_grace_s)
        self._log.info("drain_ended")

    async def _close(self, doors: _Doors) -> None:
        await self._tasks.close()
        await self._lookout.close()
        for listener in doors.open():
            await listener.close()
        await self._upstream.close()
        await self._ledger.close()

    def _heed_signals(self, stop: asyncio.Event, reloader: Reloader) -> None:
        loop = asyncio.get_running_loop()
        for sent in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sent, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reloader.ask)

    # -- what the parts are made of --------------------------------------------------------------------------

    def _world(self) -> World:
        return World(
            ledger=self._ledger,
            upstream=self._upstream,
            meter=self._metrics,
            mask=_masker(self.settings),
            now_ms=_now_ms,
            monotonic_s=time.monotonic,
            new_id=self._ids.next,
            call_timeout_s=self.settings.limits.call_timeout_s,
        )

    def _look_out(self) -> Lookout:
        outside = Outside(
            credential=self._upstream.not_ready,
            record=self._ledger.append,
            meter=self._metrics,
            log=self._log,
            now_ms=_now_ms,
            monotonic_s=time.monotonic,
            random=random.random,
        )
        lookout = Lookout(self.gateway, outside)
        self._metrics.catalogues = lookout.readings
        return lookout

    def _build_doors(self) -> _Doors:
        settings, callers = self.settings, self._callers
        calls = Calls(self.gateway, self._places, settings.disclosure)
        agent_says, admin_says, health_says = (self._refusals(name) for name in ("agent", "admin", "health"))
        api = AgentApi(calls, self.health, agent_says, installed_version())
        hosts, authorization = frozenset(settings.listen.hosts), callers.authorization
        rules = Rules(hosts, frozenset(settings.listen.origins), calls.declares, authorization)
        agent = Listener(AgentFront(calls, api, callers.agents, agent_says), self._bounds(), rules)
        admin = AdminApi(lambda: self.gateway.bundle, self.reload, self._ledger.journal, self.health, admin_says)
        health = health_front(self.health, self._metrics.exposition, CONTENT_TYPE, health_says)
        self._metrics.gauge("toolgate_connections", "Connections of agents open now.", lambda: agent.open_connections)
        small = Bounds(connections=64)
        guarded = isinstance(settings.listen.admin, Unix)
        operators = callers.operators_at_socket() if guarded else callers.operators_at_port()
        admin_front = OwnFront(admin.routes, admin_says, operators)
        return _Doors(
            agent,
            Listener(admin_front, small, Rules(hosts, authorization=authorization)) if settings.listen.admin else None,
            # The kubelet and Prometheus come by the pod's address, whatever that is.
            Listener(health, small, Rules(None)) if settings.listen.health else None,
        )

    def _who_calls(self) -> Callers:
        world = Surroundings(time.monotonic, random.random, self._log, self._metrics.defect)
        counted = self._metrics.authenticated
        callers = Callers(identity_of(self.settings), world, now_s=lambda: _now_ms() / 1000, counted=counted)
        self._metrics.key_ages_s = callers.key_ages_s
        return callers

    def _unready(self) -> str | None:
        return self._ledger.ready() or self._callers.unready() or self._lookout.pending()

    def _refusals(self, listener: str) -> Refusals:
        sampled = Sampled(self._log, time.monotonic)
        return Refusals(listener, lambda: self.gateway.bundle, self._ids.next, self._metrics, sampled)

    def _bounds(self) -> Bounds:
        limits = self.settings.limits
        return Bounds(
            connections=limits.connections,
            header_timeout_s=limits.header_timeout_s,
            body_timeout_s=limits.body_timeout_s,
            call_timeout_s=limits.call_timeout_s + 5.0,  # the gateway's own deadline is nearer
            write_timeout_s=limits.write_timeout_s,
        )

    async def _open(self, doors: _Doors) -> None:
        listen = self.settings.listen
        for name, listener, address, tls in (
            ("agent", doors.agent, listen.agent, listen.tls.agent),
            ("admin", doors.admin, listen.admin, listen.tls.admin),
            ("health", doors.health, listen.health, listen.tls.health),
        ):
            if listener is not None and address is not None:
                context = _context(name, Tls(tls.cert, tls.key, tls.client_ca)) if tls else None
                self.addresses[name] = await _listen(name, listener, address, context)

    def _bundle_loaded(self, previous: str | None) -> Event:
        bundle = self.gateway.bundle
        allowed = sum(1 for _ in bundle.catalog.allowed)
        data = {
            "revision": bundle.revision,
            "previous": previous,
            "environment": bundle.environment,
            "tools": sorted(bundle.tools),
            "operations": len(bundle.catalog.operations),
            "allowed": allowed,
        }
        return Event("BundleLoaded", _now_ms(), data)

    def _tell_metrics(self, bundle: Bundle) -> None:
        metrics, ledger = self._metrics, self._ledger
        metrics.serving(bundle.revision, bundle.environment, installed_version())
        metrics.gauge("toolgate_in_flight", "Calls worked on now.", lambda: self._places.taken)
        metrics.gauge("toolgate_waiting", "Calls waiting for their turn.", lambda: self._places.waiting)
        metrics.gauge("toolgate_ready", "1 while calls are taken.", lambda: float(self.health.reason() is None))
        metrics.gauge(
            "toolgate_mode_audit",
            "1 while policies are not enforced (`mode: audit`).",
            lambda: float(self.gateway.bundle.mode == "audit"),
        )
        metrics.gauge(
            "toolgate_bundle_stale",
            "1 while the files hold a bundle that was refused and the last good one serves.",
            lambda: float(self._last_error is not None),
        )
        metrics.gauge("toolgate_journal_queue", "Events waiting to be written.", lambda: ledger.depth)
        metrics.counter("toolgate_journal_events", "Events written to the journal.", lambda: ledger.written)


def _open_ledger(settings: Settings) -> ledgers.QueuedLedger:
    journal = settings.journal
    return ledgers.open(
        settings.ledger,
        clock=_now_ms,
        sync=journal.sync,
        keep=ledgers.Keep(journal.keep.age_s, journal.keep.size_bytes),
        stdout=LineStream(_STDOUT) if journal.stdout else None,
        idle_s=settings.runs.idle_s,
    )


def _masker(settings: Settings) -> Mask:
    """Masking with this process's key; an operation's pointers are split at their first use."""
    given = settings.keys.mask
    key = mask_key(mask_secret(secret_text(given) if given else None, ledgers.file_of(settings.ledger)))
    split = cache(patterns)

    def masked(arguments: Mapping[str, Json], pointers: tuple[str, ...]) -> Masked:
        return mask(arguments, split(pointers), key, os.urandom) if pointers else Masked(arguments, None)

    return masked


async def _listen(name: str, listener: Listener, address: Address, context: ssl.SSLContext | None) -> str:
    try:
        match address:
            case Unix(path):
                await listener.listen_unix(path)
                return str(address)
            case Tcp(host, port):
                return str(Tcp(host, await listener.listen(host, port, context)))
    except OSError as error:
        why = (
            os.strerror(error.errno).lower() if error.errno else str(error).lower()
        )  # the loop's own text repeats the address
        setting = f"`listen.{name}` ({address}) cannot be opened: {why}"
        move = f"choose another with `listen.{name}`, `--listen-{name}` or TOOLGATE_LISTEN__{name.upper()}"
        raise BundleError([Problem("settings", 0, "listen.unavailable", f"{setting}; {move}")]) from error


def _context(name: str, tls: Tls) -> ssl.SSLContext:
    try:
        return tls_context(tls)
    except (OSError, ValueError) as error:
        message = f"`listen.tls.{name}` cannot be used: {str(error).lower()}"
        raise BundleError([Problem("settings", 0, "listen.tls", message)]) from error


def _settle_memory() -> None:
    """Take what was loaded out of the collector's sight: a bundle lives until it is replaced."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _nobody(_app: App) -> None:
    return None
