"""The listeners: what each answers, whom it lets in, and where it is open.

RULE: agents, operators and probes each have a door of their own, and nothing is answered through another's.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from toolgate.app.parts import Parts
from toolgate.app.serving import Serving
from toolgate.app.state import run_tokens
from toolgate.core.bundle import BundleError, Problem
from toolgate.killswitch import KillSwitch
from toolgate.listeners.admin import AdminApi
from toolgate.listeners.agent import AgentApi
from toolgate.listeners.calls import Calls, Places
from toolgate.listeners.health import Health, OwnFront, health_front
from toolgate.listeners.http import AgentFront
from toolgate.listeners.planning import Planning
from toolgate.listeners.routes import Respond
from toolgate.listeners.runs import RunsApi
from toolgate.listeners.server import Bounds, Listener, Tls, tls_context
from toolgate.listeners.spending import SpendingApi
from toolgate.listeners.switch import SwitchApi
from toolgate.listeners.voice import Sampled, Voice
from toolgate.listeners.wire import Rules
from toolgate.metrics import CONTENT_TYPE
from toolgate.plans import Plans
from toolgate.release import installed_version
from toolgate.runs import Review, Runs, Terms
from toolgate.settings import Address, Settings, Tcp, Unix

_FEW: Final = 64  # connections of operators and probes
_GRACE_S: Final = 5.0  # the gateway's own deadline is nearer


@dataclass(frozen=True, slots=True)
class Doors:
    """The listeners there are."""

    agent: Listener
    admin: Listener | None
    health: Listener | None

    def listeners(self) -> list[Listener]:
        return [listener for listener in (self.agent, self.admin, self.health) if listener is not None]


def build_doors(parts: Parts, serving: Serving, health: Health, places: Places) -> Doors:
    """Make the listeners the settings ask for; none is open yet."""
    listen, planning = parts.settings.listen, _planning(parts, serving)
    return Doors(
        _agents_door(parts, serving, health, places, planning),
        _operators_door(parts, serving, health, planning) if listen.admin else None,
        _probes_door(parts, serving, health) if listen.health else None,
    )


async def open_doors(doors: Doors, settings: Settings) -> dict[str, str]:
    """Open them, and return where each is. Raises BundleError where one cannot be."""
    listen, opened = settings.listen, {}
    for name, listener, address, tls in (
        ("agent", doors.agent, listen.agent, listen.tls.agent),
        ("admin", doors.admin, listen.admin, listen.tls.admin),
        ("health", doors.health, listen.health, listen.tls.health),
    ):
        if listener is not None and address is not None:
            context = _context(name, Tls(tls.cert, tls.key, tls.client_ca)) if tls else None
            opened[name] = await _open(name, listener, address, context)
    return opened


# -- what stands behind each -------------------------------------------------------------------------------------


def _agents_door(parts: Parts, serving: Serving, health: Health, places: Places, planning: Planning) -> Listener:
    settings, callers, voice = parts.settings, parts.callers, _voice("agent", parts, serving)
    calls = Calls(serving.gateway, places, settings.disclosure)
    runs = _runs(parts, serving)
    beside = {**RunsApi(runs, lambda: serving.bundle, voice).routes, **planning.for_agents(voice)}
    api = AgentApi(calls, beside, health, voice, installed_version())
    hosts, origins = frozenset(settings.listen.hosts), frozenset(settings.listen.origins)
    rules = Rules(hosts, origins, calls.declares, callers.authorization)
    door = Listener(AgentFront(calls, api, callers.agents, runs, voice), _bounds(settings), rules)
    parts.metrics.gauge("toolgate_connections", "Connections of agents open now.", lambda: door.open_connections)
    return door


def _operators_door(parts: Parts, serving: Serving, health: Health, planning: Planning) -> Listener:
    settings, callers, voice = parts.settings, parts.callers, _voice("admin", parts, serving)
    # A socket is guarded by the file system, a port by tokens.
    guarded = isinstance(settings.listen.admin, Unix)
    operators = callers.operators_at_socket() if guarded else callers.operators_at_port()
    routes = {**_operators_routes(parts, serving, health, voice), **planning.for_operators(voice)}
    front = OwnFront(routes, voice, operators)
    rules = Rules(frozenset(settings.listen.hosts), authorization=callers.authorization)
    return Listener(front, Bounds(connections=_FEW), rules)


def _operators_routes(parts: Parts, serving: Serving, health: Health, voice: Voice) -> Mapping[str, Respond]:
    """Reload and journal, the kill switch, and who spends what."""
    ledger, now_ms = parts.ledger, parts.clock.now_ms
    admin = AdminApi(lambda: serving.bundle, serving.reload, ledger.journal, health, voice)
    switch = KillSwitch(ledger, parts.people.tell, now_ms)
    switching = SwitchApi(switch, lambda: serving.bundle, ledger.journal, voice)
    spending = SpendingApi(lambda: serving.bundle, ledger.balances, ledger.journal, now_ms, voice)
    return {**admin.routes, **switching.routes, **spending.routes}


def _probes_door(parts: Parts, serving: Serving, health: Health) -> Listener:
    front = health_front(health, parts.metrics.exposition, CONTENT_TYPE, _voice("health", parts, serving))
    # The kubelet and Prometheus come by the pod's address, whatever that is.
    return Listener(front, Bounds(connections=_FEW), Rules(None))


def _planning(parts: Parts, serving: Serving) -> Planning:
    gateway, bundle = serving.gateway, lambda: serving.bundle
    approvals = gateway.approvals
    plans = Plans(parts.ledger, approvals, gateway, parts.clock.now_ms, parts.ids.next)
    planning = Planning(plans, approvals, bundle, parts.settings.disclosure, parts.metrics.planned)
    parts.metrics.gauge("toolgate_approvals_pending", "Approvals that wait for an answer.", planning.pending)
    return planning


def _runs(parts: Parts, serving: Serving) -> Runs:
    terms = parts.settings.runs
    tokens = run_tokens(parts.settings, parts.clock)
    bounds = Terms(terms.token_s, terms.max_depth, terms.max_open)
    review = Review(serving.gateway.approvals, lambda: serving.bundle)
    return Runs(parts.ledger, tokens, bounds, parts.clock.now_ms, parts.ids.next, review)


def _voice(listener: str, parts: Parts, serving: Serving) -> Voice:
    sampled = Sampled(parts.log, time.monotonic)
    return Voice(listener, lambda: serving.bundle, parts.ids.next, parts.metrics, sampled)


def _bounds(settings: Settings) -> Bounds:
    limits = settings.limits
    return Bounds(
        connections=limits.connections,
        header_timeout_s=limits.header_timeout_s,
        body_timeout_s=limits.body_timeout_s,
        call_timeout_s=limits.call_timeout_s + _GRACE_S,
        write_timeout_s=limits.write_timeout_s,
    )


# -- opening -----------------------------------------------------------------------------------------------------


async def _open(name: str, listener: Listener, address: Address, context: ssl.SSLContext | None) -> str:
    try:
        match address:
            case Unix(path):
                await listener.listen_unix(path)
                return str(address)
            case Tcp(host, port):
                return str(Tcp(host, await listener.listen(host, port, context)))
    except OSError as error:
        # The loop's own text repeats the address.
        why = os.strerror(error.errno).lower() if error.errno else str(error).lower()
        setting = f"`listen.{name}` ({address}) cannot be opened: {why}"
        move = f"choose another with `listen.{name}`, `--listen-{name}` or TOOLGATE_LISTEN__{name.upper()}"
        raise BundleError([Problem("settings", 0, "listen.unavailable", f"{setting}; {move}")]) from error


def _context(name: str, tls: Tls) -> ssl.SSLContext:
    try:
        return tls_context(tls)
    except (OSError, ValueError) as error:
        message = f"`listen.tls.{name}` cannot be used: {str(error).lower()}"
        raise BundleError([Problem("settings", 0, "listen.tls", message)]) from error
