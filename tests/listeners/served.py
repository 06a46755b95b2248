"""The three listeners of a gate over a small real bundle; what lies outside the gate is in lists."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.policies import permit_all
from tests.wire.door import FakeLog
from yarl import URL

from toolgate import ledger as ledgers
from toolgate.auth import Anonymous, Authenticator, Operators
from toolgate.auth.runs import RunTokens
from toolgate.core.bundle import Bundle, BundleError, Problem
from toolgate.core.model import Event, Principal
from toolgate.exchange import World
from toolgate.gateway import Gateway
from toolgate.killswitch import KillSwitch
from toolgate.listeners.admin import AdminApi
from toolgate.listeners.agent import AgentApi
from toolgate.listeners.calls import Calls, Places
from toolgate.listeners.health import Health, OwnFront, health_front
from toolgate.listeners.http import AgentFront
from toolgate.listeners.planning import Planning
from toolgate.listeners.problem import Disclosure
from toolgate.listeners.runs import RunsApi
from toolgate.listeners.server import Bounds, Listener
from toolgate.listeners.spending import SpendingApi
from toolgate.listeners.switch import SwitchApi
from toolgate.listeners.voice import Sampled, Voice
from toolgate.listeners.wire import Rules
from toolgate.load.bundle import Sources, load
from toolgate.metrics import CONTENT_TYPE, Metrics
from toolgate.plans import Plans
from toolgate.runs import Review, Runs, Terms
from toolgate.testing.fakes import FakeUpstream, no_mask

TOOL = """\
tool: shop
openapi: openapi.yaml
environments:
  dev: {upstream: "http://127.0.0.1:9/base", allow: ["*"]}
  prod:
    upstream: "http://127.0.0.1:9/base"
    allow: [getItem, putItem]
    resources: {Item: {file: items.yaml}}
"""
DIGEST = Anonymous(Principal("digest"))  # who calls where nobody else is meant
ITEMS = "- {id: hammer}\n- {id: nail}\n"
OPENAPI = """\
openapi: 3.1.0
info: {title: The shop, version: "1"}
paths:
  /items/{id}:
    get:
      operationId: getItem
      summary: Read an item
      parameters: [{name: id, in: path, required: true, schema: {type: string, maxLength: 9}}]
      responses: {"200": {description: ok}}
    put:
      operationId: putItem
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      requestBody: {required: true, content: {application/json: {schema: {type: object}}}}
      responses: {"200": {description: ok}}
    delete:
      operationId: deleteItem
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: {"204": {description: gone}}
"""


def write_shop(folder: Path) -> Path:
    shop = folder / "toolspecs" / "shop"
    shop.mkdir(parents=True)
    (shop / "tool.yaml").write_text(TOOL)
    (shop / "openapi.yaml").write_text(OPENAPI)
    (shop / "items.yaml").write_text(ITEMS)
    return folder / "toolspecs"


def shop_bundle(folder: Path) -> Bundle:
    return load(Sources(write_shop(folder), permit_all(folder), "prod", ("dev", "prod")))


@dataclass
class Served:
    """A gate that listens, and everything it touched."""

    ports: dict[str, int]
    gateway: Gateway
    upstream: FakeUpstream
    log: FakeLog
    health: Health
    metrics: Metrics
    session: aiohttp.ClientSession
    reloads: list[Exception | None] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)  # to people, by webhook

    async def ask(self, method: str, path: str, *, door: str = "agent", **options: Any) -> Told:
        url = URL(f"http://127.0.0.1:{self.ports[door]}{path}", encoded=True)
        async with self.session.request(method, url, allow_redirects=False, **options) as response:
            return Told(response.status, response.headers.copy(), await response.read())

    async def written(self, decided: int) -> None:
        """Wait until so many decisions are in the journal: nobody waits for a refusal to be written."""
        async with asyncio.timeout(5):
            while True:
                told = await self.ask("GET", "/-/journal?kind=Decided", door="admin")
                if len(told.json["events"]) >= decided:
                    return

    async def reload(self) -> None:
        error = self.reloads.pop(0) if self.reloads else None
        if error is not None:
            raise error


@dataclass(frozen=True)
class Told:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextlib.asynccontextmanager
async def serving(folder: Path, disclosure: Disclosure = "explain") -> AsyncIterator[Served]:
    """Serve the shop to anybody."""
    async with serving_bundle(shop_bundle(folder), disclosure) as served:
        yield served


@contextlib.asynccontextmanager
async def serving_bundle(
    bundle: Bundle, disclosure: Disclosure = "explain", who: Authenticator = DIGEST
) -> AsyncIterator[Served]:
    """Open all three listeners on free ports."""
    upstream, log, told = FakeUpstream(), FakeLog(), list[Event]()
    metrics, ids, clock = Metrics(log), itertools.count(), itertools.count(1_700_000_000_000)
    ledger = ledgers.open("memory:", clock=lambda: next(clock))
    world = World(
        ledger,
        upstream,
        metrics,
        no_mask,
        lambda: next(clock),
        lambda: next(clock) / 1000,
        lambda _: f"call{next(ids)}",
        tell=told.append,
    )
    gateway = Gateway(world, bundle)
    health = Health(lambda: gateway.bundle, ledger.ready, lambda: None)
    metrics.serving(bundle.revision, bundle.environment, "9")
    says = {
        name: Voice(name, lambda: gateway.bundle, lambda: f"own{next(ids)}", metrics, Sampled(log, lambda: 0.0))
        for name in ("agent", "admin", "health")
    }
    calls = Calls(gateway, Places(64, 128), disclosure)
    async with aiohttp.ClientSession() as session:
        served = Served({}, gateway, upstream, log, health, metrics, session, told=told)
        runs = Runs(
            ledger,
            RunTokens(bytes(32), "prod", world.now_ms),
            Terms(3600, 2, max_open=9),
            world.now_ms,
            lambda: f"run{next(ids)}",
            Review(gateway.approvals, lambda: gateway.bundle),
        )
        planning = Planning(
            Plans(ledger, gateway.approvals, gateway, world.now_ms, lambda: f"plan{next(ids)}"),
            gateway.approvals,
            lambda: gateway.bundle,
            disclosure,
            metrics.planned,
        )
        run_api = RunsApi(runs, lambda: gateway.bundle, says["agent"])
        admin = AdminApi(lambda: gateway.bundle, served.reload, ledger.journal, health, says["admin"])
        switch = SwitchApi(
            KillSwitch(ledger, served.told.append, world.now_ms), lambda: gateway.bundle, ledger.journal, says["admin"]
        )
        spending = SpendingApi(lambda: gateway.bundle, ledger.balances, ledger.journal, world.now_ms, says["admin"])
        operators = {**admin.routes, **switch.routes, **spending.routes, **planning.for_operators(says["admin"])}
        own = AgentApi(calls, {**run_api.routes, **planning.for_agents(says["agent"])}, health, says["agent"], "9")
        handlers = {
            "agent": AgentFront(calls, own, who, runs, says["agent"]),
            "admin": OwnFront(operators, says["admin"], Operators(DIGEST, Principal("digest", ("admin",)))),
            "health": health_front(health, metrics.exposition, CONTENT_TYPE, says["health"]),
        }
        rules = Rules(frozenset(), declares=calls.declares, authorization="dropped" if who is DIGEST else "read")
        listeners = {name: Listener(each, Bounds(), rules) for name, each in handlers.items()}
        try:
            for name, listener in listeners.items():
                served.ports[name] = await listener.listen("127.0.0.1", 0)
            yield served
        finally:
            for listener in listeners.values():
                await listener.close()
            await ledger.close()


def bad_bundle() -> BundleError:
    return BundleError([Problem("toolspecs/shop/tool.yaml", 3, "yaml.unknown_key", "`alow` is not a key")])
