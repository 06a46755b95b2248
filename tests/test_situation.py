"""The lookout: readings in the background, the last good one kept, and tools that are not ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support.policies import permit_all
from tests.wire.door import FakeLog, until

from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Target
from toolgate.core.model import Completed, Event, Failed, Named, Outcome, Permit, Principal, Refused, Reply, Situation
from toolgate.exchange import World
from toolgate.gateway import Gateway
from toolgate.load.bundle import Sources, load
from toolgate.ports import LedgerError, UpstreamError
from toolgate.situation import Lookout, Outside, Reading
from toolgate.testing.fakes import FakeClock, FakeLedger, FakeMeter, no_mask

OPENAPI = """\
openapi: 3.1.0
info: {title: shop, version: "1"}
paths:
  /items:
    get: {operationId: listItems, responses: {"200": {description: ok}}}
  /items/{id}:
    get:
      operationId: getItem
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: {"200": {description: ok}}
  /ping:
    get: {operationId: ping, responses: {"200": {description: ok}}}
"""


def tool(ttl_s: float = 3600, port: int = 9, resources: str | None = None) -> str:
    read = f"{{operation: listItems, items: $response.body}}, ttl_s: {ttl_s}, stale_s: {max(10 * ttl_s, 1)}"
    return (
        "tool: shop\nopenapi: openapi.yaml\nenvironments:\n"
        f'  prod:\n    upstream: "http://127.0.0.1:{port}"\n    allow: ["*"]\n'
        f"    resources: {resources or f'{{Item: {{from: {read}}}}}'}\n"
        "operations: {getItem: {resources: [{type: Item, at: $args.id}]}}\n"
    )


@dataclass
class Shelf:
    """An upstream that lists `items`, and breaks as it is told."""

    items: Any = field(default_factory=lambda: [{"id": "a", "tier": "x"}, {"id": "b"}])
    broken: BaseException | None = None
    status: int = 200
    asked: list[Permit] = field(default_factory=list)
    holding: asyncio.Event | None = None  # while set: an answer waits for it

    async def send(self, permit: Permit) -> Reply:
        self.asked.append(permit)
        if self.holding is not None:
            await self.holding.wait()
        if self.broken is not None:
            raise self.broken
        body = self.items if isinstance(self.items, bytes) else orjson.dumps(self.items)
        return Reply(self.status, (("content-type", "application/json"),), body)

    async def close(self) -> None:
        return None


@dataclass
class Scene:
    """A lookout over a real gateway; what is outside is in lists."""

    folder: Path
    shelf: Shelf = field(default_factory=Shelf)
    ledger: FakeLedger = field(default_factory=FakeLedger)
    meter: FakeMeter = field(default_factory=FakeMeter)
    log: FakeLog = field(default_factory=FakeLog)
    clock: FakeClock = field(default_factory=FakeClock)
    secrets: dict[int, str] = field(default_factory=dict)  # port → why its credential cannot be read
    read_within_s: float = 5.0

    def __post_init__(self) -> None:
        ids = count(1)
        world = World(
            ledger=self.ledger, upstream=self.shelf, meter=self.meter, mask=no_mask, now_ms=self.clock.now_ms,
            monotonic_s=self.clock.monotonic_s, new_id=lambda _: f"call-{next(ids)}",
        )  # fmt: skip
        self.gateway = Gateway(world, self.bundle())
        self.lookout = Lookout(self.gateway, self._outside())

    def _outside(self) -> Outside:
        return Outside(
            credential=self._why_not, record=self.ledger.append, meter=self.meter, log=self.log,
            now_ms=self.clock.now_ms, monotonic_s=self.clock.monotonic_s, random=lambda: 1.0,
            look_s=0.01, read_within_s=self.read_within_s,
        )  # fmt: skip

    def _why_not(self, target: Target) -> str | None:
        return self.secrets.get(target.port)

    def bundle(self, spec: str | None = None) -> Bundle:
        (self.folder / "shop").mkdir(exist_ok=True)
        (self.folder / "shop" / "openapi.yaml").write_text(OPENAPI)
        (self.folder / "shop" / "tool.yaml").write_text(spec or tool())
        policies = permit_all(self.folder.parent)
        return load(Sources(self.folder, policies, "prod", ("prod",)))

    def serve(self, spec: str) -> None:
        bundle = self.bundle(spec)
        self.gateway.swap(bundle)
        self.lookout.attend(bundle)

    @property
    def situation(self) -> Situation:
        return self.gateway.situation

    @property
    def ids(self) -> list[str]:
        catalogue = self.situation.catalogues.get("shop", {}).get("Item")
        return list(catalogue.attributes) if catalogue is not None else []

    @property
    def results(self) -> dict[str, int]:
        (reading,) = self.lookout.readings()
        return dict(reading.results)

    async def call(self, operation: str = "shop.getItem", principal: Principal | None = None, **arguments: Any) -> str:
        who = principal or Principal("agent")
        return code(await self.gateway.handle(self.gateway.new_call(who, Named(operation, arguments))))

    def refreshed(self) -> list[Event]:
        return [event for event in self.ledger.events if event.kind == "CatalogueRefreshed"]

    def said(self, event: str) -> list[dict[str, object]]:
        return [data for name, data in self.log.lines if name == event]


def code(outcome: Outcome) -> str:
    match outcome:
        case Completed():
            return "completed"
        case Refused(refusal):
            return refusal.code.code
        case Failed():
            return outcome.code.code


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    (tmp_path / "toolspecs").mkdir()
    return Scene(tmp_path / "toolspecs")


@asynccontextmanager
async def watched(scene: Scene, ready: Callable[[], bool] | None = None) -> AsyncIterator[Scene]:
    """The lookout at work, its first reading done."""
    scene.lookout.attend(scene.gateway.bundle)
    running = asyncio.get_running_loop().create_task(scene.lookout.run())
    try:
        await until(ready or (lambda: scene.lookout.pending() is None))
        yield scene
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await scene.lookout.close()


async def test_a_call_waits_until_the_first_reading_came(scene):
    """Before it, whether a resource exists is not known; so nothing is sent, and the agent is told to wait."""
    scene.shelf.holding = asyncio.Event()
    async with watched(scene, lambda: bool(scene.shelf.asked)):
        assert "the list of Item of `shop` is being read" == scene.lookout.pending()
        assert {"shop": "the list of Item has not been read yet"} == scene.situation.unready
        assert "environment.not_ready" == await scene.call(id="a")
        scene.shelf.holding.set()
        await until(lambda: scene.lookout.pending() is None)
        scene.shelf.holding = None

        assert "completed" == await scene.call(id="a")
        assert "environment.resource_not_found" == await scene.call(id="c")


async def test_what_was_read_is_what_policies_see(scene):
    """Ids with their attributes, and when that was."""
    async with watched(scene):
        catalogue = scene.situation.catalogues["shop"]["Item"]

        assert {"a": {"tier": "x"}, "b": {}} == catalogue.attributes
        assert scene.clock.at_ms == catalogue.fresh_at_ms


async def test_a_reading_is_a_call_like_any_other(scene):
    """Decided and finished in the journal, as the principal `toolgate`; a change is journaled by its digest."""
    async with watched(scene):
        decided, finished, refreshed = scene.ledger.events

    assert ("toolgate", "permit", "shop.listItems") == tuple(
        decided.data[key] for key in ("principal", "decision", "operation")
    )
    assert "completed" == finished.data["outcome"]
    assert ("shop", "Item", "shop.listItems", 2, None) == tuple(
        refreshed.data[key] for key in ("tool", "type", "operation", "count", "previous")
    )
    assert refreshed.data["digest"].startswith("sha256:")


async def test_nobody_else_is_the_gate_itself(scene):
    """SECURITY: a caller of that very id waits like everybody."""
    scene.shelf.broken = UpstreamError("upstream.unreachable", "nobody listens", sent="no")
    async with watched(scene):
        assert "environment.not_ready" == await scene.call("shop.listItems", Principal("toolgate"))


async def test_an_unchanged_catalogue_is_not_journaled_again_and_stays_the_same_value(scene):
    """Everything worked out for it stays worked out; its age alone is new."""
    scene.gateway.swap(scene.bundle(tool(ttl_s=0.1)))
    async with watched(scene):
        before = scene.situation.catalogues["shop"]["Item"]
        scene.clock.advance(1)
        await until(lambda: scene.results["unchanged"] >= 2)
        after = scene.situation.catalogues["shop"]["Item"]

    assert before.attributes is after.attributes
    assert after.fresh_at_ms > before.fresh_at_ms
    assert 1 == len(scene.refreshed())


async def test_a_changed_catalogue_is_served_from_the_next_call_on(scene):
    """A resource goes, one comes, one has a new attribute; what did not change is the same value."""
    scene.gateway.swap(scene.bundle(tool(ttl_s=0.1)))
    async with watched(scene):
        kept = scene.situation.catalogues["shop"]["Item"].attributes["b"]
        scene.shelf.items = [{"id": "a", "tier": "y", "new": 1}, {"id": "b"}, {"id": "c"}]
        await until(lambda: scene.ids == ["a", "b", "c"])

        attributes = scene.situation.catalogues["shop"]["Item"].attributes
        assert {"tier": "y", "new": 1} == attributes["a"]
        assert kept is attributes["b"]
        scene.shelf.items = [{"id": "c"}]
        await until(lambda: scene.ids == ["c"])
        assert "environment.resource_not_found" == await scene.call(id="a")

    digests = [event.data["digest"] for event in scene.refreshed()]
    assert [None, *digests[:-1]] == [event.data["previous"] for event in scene.refreshed()]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": 500}, "answered with status 500"),
        ({"status": 302}, "answered with status 302"),
        ({"status": 401}, "answered with status 401"),
        ({"items": b"{nonsense"}, "gave an answer that cannot be read"),
        ({"items": {"no": "list"}}, "gave an answer whose `$response.body` is no list"),
        ({"items": b" " * (1 << 20) + b"[]"}, "gave an answer larger than 1,048,576 bytes (`max_response`)"),
        ({"broken": UpstreamError("upstream.timeout", "no answer within 5 s", sent="unknown")}, "gave no answer: no answer within 5 s"),
    ],
)  # fmt: skip
async def test_a_reading_that_fails_leaves_the_last_good_one(scene, change, said):
    """Whatever the upstream does; the operator is told once, and so is the recovery."""
    scene.gateway.swap(scene.bundle(tool(ttl_s=0.1)))
    async with watched(scene):
        good = Shelf()
        for name, value in change.items():
            setattr(scene.shelf, name, value)
        await until(lambda: scene.results["failed"] >= 2)

        assert ["a", "b"] == scene.ids
        assert {} == scene.situation.unready
        (told,) = scene.said("catalogue_not_refreshed")
        assert said in str(told["why"])
        scene.shelf.status, scene.shelf.broken, scene.shelf.items = 200, None, [*good.items, {"id": "c"}]
        await until(lambda: "c" in scene.ids)


async def test_beyond_its_age_a_catalogue_is_not_relied_on(scene):
    """Calls wait, with the reason; a reading that comes makes the tool ready again."""
    async with watched(scene):
        scene.shelf.status = 503
        scene.clock.advance(36_000)
        scene.lookout.look()
        assert ["a", "b"] == scene.ids

        scene.clock.advance(1)
        scene.lookout.look()

        assert [] == scene.ids
        assert {"shop": "the list of Item is older than 36000 s"} == scene.situation.unready
        assert "environment.not_ready" == await scene.call("shop.ping")
        assert [{"tool": "shop", "why": "the list of Item is older than 36000 s"}] == scene.said("tool_not_ready")


async def test_a_catalogue_that_could_never_be_read_says_why(scene):
    """The agent reads what the operator has to repair, and readiness of the process does not wait for it."""
    scene.shelf.status = 401
    async with watched(scene):
        expected = "the list of Item could not be read: `shop.listItems` answered with status 401"
        assert {"shop": expected} == scene.situation.unready


async def test_a_slow_reading_ends_at_its_deadline(tmp_path):
    """However slowly an upstream drips, the next attempt comes."""
    (tmp_path / "toolspecs").mkdir()
    scene = Scene(tmp_path / "toolspecs", read_within_s=0.02)
    scene.shelf.holding = asyncio.Event()
    async with watched(scene):
        expected = "the list of Item could not be read: `shop.listItems` did not give its whole list within 0.02 s"
        assert {"shop": expected} == scene.situation.unready
        finished = scene.ledger.events[-1]
        assert ("Finished", "failed") == (finished.kind, finished.data["outcome"])


async def test_readiness_of_the_process_waits_ten_seconds_at_most(scene):
    """An upstream that does not answer must not keep every other tool from its calls."""
    scene.shelf.holding = asyncio.Event()
    async with watched(scene, lambda: bool(scene.shelf.asked)):
        scene.clock.advance(10.1)

        assert scene.lookout.pending() is None


async def test_a_journal_that_cannot_be_written_fails_the_reading(scene):
    """What is not journaled is not known."""
    scene.ledger.broken = LedgerError("the disk is full")
    async with watched(scene):
        assert [] == scene.ids
        assert 1 == scene.results["failed"]


async def test_a_defect_ends_one_reading_and_not_all(scene):
    """The next one comes; the defect is counted."""
    scene.gateway.swap(scene.bundle(tool(ttl_s=0.1)))
    scene.shelf.broken = RuntimeError("a bug")
    async with watched(scene):
        scene.shelf.broken = None
        await until(lambda: scene.ids == ["a", "b"])

    assert scene.meter.defects


# -- pauses -----------------------------------------------------------------------------------------------------------


async def test_pauses_double_while_readings_fail(scene):
    """From one second to a minute: an upstream in trouble is not asked more often."""
    async with watched(scene):
        (kept,) = scene.lookout._kept.values()
        pauses = []
        for failures in (0, 1, 2, 3, 7, 30):
            kept.failures = failures
            pauses.append(scene.lookout._pause_s(kept))

    assert [3600.0, 1.0, 2.0, 4.0, 64.0, 3600.0] == pauses


# -- reload -----------------------------------------------------------------------------------------------------------


async def test_a_reload_that_keeps_a_catalogue_keeps_what_was_read(scene):
    """No call waits for what did not change."""
    async with watched(scene):
        scene.serve(tool() + "timeout_s: 7\n")

        assert ["a", "b"] == scene.ids
        assert 1 == len(scene.shelf.asked)


@pytest.mark.parametrize("spec", [tool(port=10), tool(ttl_s=1800)])
async def test_a_reload_that_changes_a_catalogue_reads_it_anew(scene, spec):
    """SECURITY: what another upstream lists says nothing of this one. Until it is read, calls wait."""
    async with watched(scene):
        scene.shelf.items = ["z"]
        scene.serve(spec)

        assert [] == scene.ids
        assert "environment.not_ready" == await scene.call(id="a")
        await until(lambda: scene.ids == ["z"])
        assert scene.lookout.pending() is None


async def test_a_reload_that_drops_a_catalogue_stops_reading_it(scene):
    """Also a reading under way when it happens comes to nothing."""
    scene.gateway.swap(scene.bundle(tool(ttl_s=0.1)))
    async with watched(scene):
        scene.shelf.holding = held = asyncio.Event()
        asked = len(scene.shelf.asked)
        await until(lambda: len(scene.shelf.asked) > asked)
        scene.serve(tool(resources="{}"))
        held.set()
        await until(lambda: not scene.lookout._tasks._running)

        assert {} == scene.situation.catalogues
        assert () == tuple(scene.lookout.readings())
        assert "completed" == await scene.call(id="whatever")


# -- credentials ------------------------------------------------------------------------------------------------------


async def test_a_tool_without_its_credential_is_not_ready(scene):
    """The answer comes before arguments are judged; where the secret is kept is told to the operator only."""
    why = "the upstream credential in `${file:/run/secrets/token}` cannot be read: no such file or directory"
    scene.secrets[9] = why
    async with watched(scene):
        assert {"shop": "the credential that the gate adds for this tool is not available"} == scene.situation.unready
        assert [{"tool": "shop", "why": why}] == scene.said("tool_not_ready")
        assert "environment.not_ready" == await scene.call(wrong="arguments")
        assert [] == scene.shelf.asked

        del scene.secrets[9]
        await until(lambda: scene.ids == ["a", "b"])
        assert [{"tool": "shop"}] == scene.said("tool_ready")
        assert "completed" == await scene.call(id="a")


async def test_numbers_of_each_catalogue_are_there_to_be_scraped(scene):
    """Size, age and results, by tool and type."""
    async with watched(scene):
        scene.clock.advance(4)
        (reading,) = scene.lookout.readings()

    assert Reading("shop", "Item", 2, 4.0, {"changed": 1, "unchanged": 0, "failed": 0}) == reading
