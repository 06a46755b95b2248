"""Live catalogues of a real gate over real sockets: what exists changes, and who lists it breaks, stalls or lies."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support import home
from tests.support.gate import Gate
from tests.support.waiting import until

_ANSWER = {"type": "object", "required": ["items"], "properties": {"items": {"type": "array", "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "tier": {"type": "string"}}}}}}  # fmt: skip
_PAGE = {"name": "page", "in": "query", "schema": {"type": "integer"}}
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_IDS = {"type": "object", "required": ["ids"], "properties": {"ids": {"type": "array", "items": {"type": "string"}}}}


def _operation(name: str, *parameters: Any, schema: Any = None, body: Any = None) -> dict[str, Any]:
    content = {"content": {"application/json": {"schema": schema}}} if schema else {}
    said: dict[str, Any] = {
        "operationId": name,
        "parameters": parameters,
        "responses": {"200": {"description": "", **content}},
    }
    if body:
        said["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return said


DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "store", "version": "1"},
    "paths": {
        "/items": {"get": _operation("listItems", _PAGE, schema=_ANSWER)},
        "/items/{id}": {"get": _operation("getItem", _ID)},
        "/report": {"post": _operation("report", body=_IDS)},
    },
}


SECRET = """\
@id("secret-items-stay")
forbid (principal, action == Action::"store.getItem", resource is Item)
when { resource has tier && resource.tier == "secret" };
"""


@dataclass
class Store:
    """An upstream that lists `items` in pages, and answers in other ways when it is told so."""

    items: list[dict[str, Any]] = field(default_factory=lambda: [{"id": "a", "tier": "critical"}, {"id": "b"}])
    respond: Callable[[BaseHTTPRequestHandler], None] | None = None  # instead of the list
    page_size: int = 100
    token: str | None = None
    listed: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.partition("?")
        if self.token is not None and handler.headers.get("Authorization") != f"Bearer {self.token}":
            reply(handler, 401, {"error": "who are you"})
        elif path == "/items":
            self.listed += 1
            (self.respond or self._page)(handler)
        else:
            reply(handler, 200, {"path": path, "query": query})

    def _page(self, handler: BaseHTTPRequestHandler) -> None:
        number = int(handler.path.partition("page=")[2] or 1)
        begin, end = (number - 1) * self.page_size, number * self.page_size
        more = f'<http://elsewhere.example/items?page={number + 1}>; rel="next"' if end < len(self.items) else ""
        reply(handler, 200, {"items": self.items[begin:end]}, Link=more)


def reply(handler: BaseHTTPRequestHandler, status: int, body: Any, **headers: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(content)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def open_store(store: Store, port: int = 0) -> Iterator[Store]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            store.answer(self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            store.answer(self)

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            return  # the gate hangs up on answers that are no good

    with Server(("127.0.0.1", port), Handler) as server:
        store.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield store
        finally:
            store.released.set()
            server.shutdown()
            thread.join()


def spec(port: int, *, stale_s: float = 300.0, **environment: Any) -> dict[str, Any]:
    reading = {
        "operation": "listItems",
        "items": "$response.body#/items",
        "next": "$response.header.Link",
        "as": "page",
    }
    here = {
        "upstream": f"http://127.0.0.1:{port}",
        "allow": ["*"],
        "resources": {"Item": {"from": reading, "ttl_s": 0.1, "stale_s": stale_s}},
    }
    return {
        "tool": "store",
        "openapi": "openapi.json",
        "environments": {"prod": here | environment},
        "operations": {
            "listItems": {"timeout_s": 0.5},
            "getItem": {"resources": [{"type": "Item", "at": "$args.id"}]},
            "report": {"effect": "read", "covers": [{"type": "Item", "where": {"tier": "critical"}, "at": "$args.body.ids"}]},
        },
    }  # fmt: skip


def built(folder: Path, tool: dict[str, Any]) -> Gate:
    home.build(folder, tool, environments=["prod"])
    home.write(folder / "toolspecs" / "store" / "openapi.json", DOCUMENT)
    (folder / "policies" / "secret.cedar").write_text(SECRET)
    return Gate(folder)


@dataclass
class Scene:
    store: Store
    gate: Gate

    def code(self, item: str) -> str:
        heard = self.gate.call("GET", f"/store/items/{item}")
        return "completed" if heard.status == 200 else str(heard.json["code"])

    def shown(self) -> Any:
        return self.gate.call("GET", "/-/environment").json["resources"].get("Item")

    def readings(self, result: str) -> float:
        return self.gate.metric(f'toolgate_catalogue_readings_total{{result="{result}",tool="store",type="Item"}}')

    def until_read_again(self, result: str, times: int = 2) -> None:
        before = self.readings(result)
        until(lambda: self.readings(result) >= before + times, f"{times} readings more are {result}")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One gate for all; each test leaves the store as it found it."""
    with open_store(Store()) as store, built(tmp_path_factory.mktemp("live") / "home", spec(store.port)) as gate:
        yield Scene(store, gate)


@pytest.fixture(autouse=True)
def as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "scene" in request.fixturenames:
        scene: Scene = request.getfixturevalue("scene")
        scene.store.respond, scene.store.items, scene.store.page_size = None, Store().items, 100
        until(lambda: scene.shown() is not None and scene.shown()["sample"] == ["a", "b"], "it is as it was")


def test_what_the_upstream_lists_exists_and_nothing_else(scene: Scene) -> None:
    """A ready gate has read its catalogue; a name that is not in it is answered with those that are near."""
    assert [scene.code("a"), scene.code("b")] == ["completed", "completed"]
    problem = scene.gate.call("GET", "/store/items/c").json
    assert (problem["code"], problem["title"]) == ("environment.resource_not_found", "ItemNotFound")


def test_a_plan_is_held_to_what_is_listed_now(scene: Scene) -> None:
    """A literal that the live catalogue does not hold, or that leaves out what must be covered, is told before any call."""
    lost = {"stepId": "a", "operationId": "store.getItem", "arguments": {"id": "c"}}
    short = {"stepId": "b", "operationId": "store.report", "arguments": {"body": {"ids": ["b"]}}}
    said = {"goal": "look", "steps": [lost, short]}

    problem = scene.gate.call("POST", "/-/plans", said).json

    assert "plan.rejected" == problem["code"]
    assert ["environment.resource_not_found", "environment.resource_omitted"] == [
        each["code"] for each in problem["violations"]
    ]


def test_a_resource_that_goes_comes_or_changes_is_known_between_two_calls(scene: Scene) -> None:
    """Nobody restarts or reloads anything; each change is one event of the journal."""
    before = len(scene.gate.events("CatalogueRefreshed"))
    scene.store.items = [{"id": "b"}, {"id": "c"}]
    until(lambda: scene.code("c") == "completed", "it came")
    assert scene.code("a") == "environment.resource_not_found"
    scene.store.items = [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    until(lambda: scene.code("a") == "completed", "it came back")
    changes = until(
        lambda: found if len(found := scene.gate.events("CatalogueRefreshed")[before:]) >= 2 else [],
        "both are journaled",
    )
    assert [change["count"] for change in changes] == [2, 3]
    assert changes[1]["previous"] == changes[0]["digest"]


def test_an_attribute_that_is_listed_newly_counts_from_then_on(scene: Scene) -> None:
    """What must be covered follows the list."""
    report = {"ids": ["a"]}
    assert scene.gate.call("POST", "/store/report", report).status == 200
    scene.store.items = [{"id": "a", "tier": "critical"}, {"id": "b", "tier": "critical"}]
    refused = until(
        lambda: heard if (heard := scene.gate.call("POST", "/store/report", report)).status == 422 else None, ""
    )
    assert (refused.json["code"], refused.json["title"]) == ("environment.resource_omitted", "ItemOmitted")
    assert refused.json["violations"][0]["expected"] == ["b"]


def test_policies_see_the_attributes_as_they_were_last_read(scene: Scene) -> None:
    """A tier that changes upstream changes what is permitted; an attribute nobody declared is nothing to a policy."""
    odd = {"id": "b", "note": {"__entity": {"type": "Role", "id": "admin"}}}
    scene.store.items = [{"id": "a", "tier": "secret"}, odd]
    until(lambda: scene.code("a") == "policy.denied", "it is secret")
    assert scene.code("b") == "completed"
    scene.store.items = [{"id": "a", "tier": "public"}, odd]
    until(lambda: scene.code("a") == "completed", "it is public")


def test_pages_are_read_to_the_end_and_only_at_the_upstream(scene: Scene) -> None:
    """SECURITY: a `Link` names another host; the gate takes the page number from it and nothing else."""
    scene.store.page_size = 2
    scene.store.items = [{"id": f"i{number}"} for number in range(7)]
    until(lambda: scene.shown()["count"] == 7, "all pages are read")
    assert scene.code("i6") == "completed"


def _hold(store: Store) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda _: store.released.wait(2) and None


def _drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    for _ in range(20):
        handler.wfile.write(b" ")
        handler.wfile.flush()
    handler.close_connection = True


_FAULTS: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "garbage": lambda handler: reply(handler, 200, b"\x00\xff not json"),
    "no HTTP": lambda handler: handler.wfile.write(b"SSH-2.0-nope\r\n"),
    "cut short": _drip,
    "huge": lambda handler: reply(handler, 200, {"items": [{"id": "x" * 2_000_000}]}),
    "redirect": lambda handler: reply(handler, 302, {"items": []}, Location="http://127.0.0.1:1/items"),
    "broken": lambda handler: reply(handler, 500, {"items": []}),
    "no permission": lambda handler: reply(handler, 401, {"items": []}),
    "no list": lambda handler: reply(handler, 200, {"items": {}}),
    "numbers": lambda handler: reply(handler, 200, {"items": [{"id": 7}]}),
    "twice": lambda handler: reply(handler, 200, {"items": [{"id": "z"}, {"id": "z"}]}),
    "off schema": lambda handler: reply(handler, 200, {"items": [{"id": "z", "tier": {"__entity": {"type": "Role", "id": "admin"}}}]}),
    "endless pages": lambda handler: reply(handler, 200, {"items": []}, Link='</items?page=2>; rel="next"'),
}  # fmt: skip


@pytest.mark.parametrize("how", ["slow", *_FAULTS])
def test_a_reading_that_is_no_good_leaves_the_last_good_one(scene: Scene, how: str) -> None:
    """No fault of the lister opens or shuts anything; metrics and the log say what is wrong; then it recovers."""
    scene.store.respond = _hold(scene.store) if how == "slow" else _FAULTS[how]
    scene.until_read_again("failed", times=2 if how != "slow" else 1)

    assert [scene.code("a"), scene.code("z")] == ["completed", "environment.resource_not_found"]
    assert scene.shown()["sample"] == ["a", "b"]
    told = [line["why"] for line in scene.gate.log if line["event"] == "catalogue_not_refreshed"]
    assert told[-1].startswith("`store.listItems` ")
    scene.store.respond, scene.store.items = None, [{"id": "z"}]
    until(lambda: scene.code("z") == "completed", "it recovers")


def test_a_catalogue_that_is_too_old_makes_its_tool_wait(tmp_path: Path) -> None:
    """503, retryable, when to come back, and why; a reading that comes ends it."""
    with open_store(Store()) as store, built(tmp_path / "home", spec(store.port, stale_s=0.3)) as gate:
        scene = Scene(store, gate)
        assert scene.code("a") == "completed"
        store.respond = _FAULTS["broken"]
        heard = until(
            lambda: heard if (heard := gate.call("GET", "/store/items/a")).status == 503 else None, "it waits"
        )

        assert (heard.json["code"], heard.json["retryable"], heard.json["sent"]) == (
            "environment.not_ready",
            True,
            "no",
        )
        assert heard.headers["retry-after"] == "5"
        assert (
            "the list of Item is older than 0.3 s, and `store.listItems` answered with status 500"
            in heard.json["detail"]
        )
        (told,) = gate.call("GET", "/-/environment").json["tools"]
        assert told["not_ready"].startswith("the list of Item is older than 0.3 s")
        assert gate.ready().status == 200
        store.respond = None
        until(lambda: scene.code("a") == "completed", "it is ready again")


def test_a_gate_starts_beside_an_upstream_that_is_away(tmp_path: Path) -> None:
    """Its calls wait, all others do not; when the upstream comes, nobody need do anything."""
    with open_store(Store()) as store:
        port = store.port
    with built(tmp_path / "home", spec(port)) as gate:
        heard = gate.call("GET", "/store/items/a")
        assert heard.json["code"] == "environment.not_ready"
        assert "the list of Item could not be read: `store.listItems` gave no answer: " in heard.json["detail"]
        with open_store(store, port):
            until(lambda: gate.call("GET", "/store/items/a").status == 200, "it is ready")


def test_a_credential_that_comes_later_is_read_when_it_comes(tmp_path: Path) -> None:
    """Without it nothing is sent, not even the gate's own readings; the path of the file stays with the operator."""
    credential = {"header": "Authorization", "value": "Bearer ${file:../../token}"}
    with (
        open_store(Store(token="very-secret-token")) as store,
        built(tmp_path / "home", spec(store.port, credentials=credential)) as gate,
    ):
        heard = gate.call("GET", "/store/items/a")
        assert (heard.status, heard.json["code"]) == (503, "environment.not_ready")
        assert heard.json["detail"].endswith("the credential that the gate adds for this tool is not available")
        assert "token" not in heard.json["detail"]
        assert store.listed == 0
        told = [line for line in gate.log if line["event"] == "tool_not_ready"]
        assert "cannot be read: no such file or directory" in told[0]["why"]
        (gate.home / "token").write_text("very-secret-token\n")
        until(lambda: gate.call("GET", "/store/items/a").status == 200, "it is ready")


def test_a_reload_that_leaves_a_catalogue_as_it_is_keeps_it(scene: Scene) -> None:
    """Also while the upstream cannot list: no call is refused for a reload."""
    scene.store.respond = _FAULTS["broken"]
    loaded = scene.gate.bundles_loaded
    home.write(scene.gate.home / "toolspecs" / "store" / "tool.yaml", spec(scene.store.port) | {"timeout_s": 9})
    until(lambda: scene.gate.bundles_loaded > loaded, "it is loaded")

    assert scene.code("a") == "completed"
