"""kill -9 at any time: what the upstream saw was permitted in writing before it (INV1, INV4, INV11, INV12; FT01, FT02, FT54)."""

from __future__ import annotations

import random
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import home
from tests.support.books import assert_every_permit_ended_once, permits
from tests.support.gate import Gate
from tests.support.scenes import Scene, served
from tests.support.waiting import until

KILLS = 30
SEED = 20261122


def kill_when_the_upstream_has_the_call(scene: Scene) -> None:
    scene.gate.begin("PUT", "/store/items/held-1", "{}")
    until(lambda: scene.upstream.has("held-1"), "the upstream has the call")
    scene.gate.kill()


def kill_while_the_answer_streams(scene: Scene) -> None:
    response = scene.gate.begin("GET", "/store/items/stream-1").getresponse()
    assert response.read1(100) == b"data: 1\n\n"
    scene.gate.kill()


def kill_once_the_permit_is_written(scene: Scene) -> None:
    """The connection to the upstream opens and nobody reads from it: permitted, on its way, and not there yet."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        spec = home.tool(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        reload(scene, lambda: home.write(scene.gate.home / "toolspecs" / "store" / "tool.yaml", spec))
        scene.gate.begin("PUT", "/store/items/held-2", "{}")
        until(lambda: "held-2" in permits(scene.gate), "the permit is written")
        scene.gate.kill()
    home.write(scene.gate.home / "toolspecs" / "store" / "tool.yaml", home.tool(scene.upstream.url))


def kill_while_idle(scene: Scene) -> None:
    ended = len(scene.gate.events("Finished"))
    assert scene.gate.get("plain-3").status == 200
    scene.gate.finished(ended + 1)
    scene.gate.kill()


def kill_during_a_reload(scene: Scene) -> None:
    """A document that takes a while to load, and a kill while the old bundle still serves."""
    home.write(scene.gate.home / "toolspecs" / "store" / "openapi.json", large_document())
    before = scene.gate.bundles_loaded
    scene.gate.signal(signal.SIGHUP)
    assert scene.gate.get("plain-4").status == 200
    scene.gate.kill()
    assert scene.gate.bundles_loaded == before


POINTS: dict[str, Callable[[Scene], None]] = {
    point.__name__: point
    for point in (
        kill_when_the_upstream_has_the_call,
        kill_while_the_answer_streams,
        kill_once_the_permit_is_written,
        kill_while_idle,
        kill_during_a_reload,
    )
}


@pytest.mark.parametrize("point", POINTS)
def test_kill_at_a_fixed_point(tmp_path: Path, point: str) -> None:
    """Under load, at each point: every call the upstream saw has its permit, the chain holds, and the next start goes on."""
    with served(tmp_path / "home") as scene:
        with scene.load("before") as load:
            until(lambda: len(load.heard(200)) > 20, "the load flows")
            POINTS[point](scene)
        scene.assert_books_agree(load)

        scene.gate.start()
        assert scene.gate.get("plain-after").status == 200
        assert scene.gate.stop() == 0
        scene.assert_books_agree(load)
        assert_every_permit_ended_once(scene.gate)
        assert [event["clean"] for event in scene.gate.events("WriterStarted")] == [True, False]


def test_what_was_unknown_at_the_kill_is_called_unknown(tmp_path: Path) -> None:
    """INV12: a call that was under way ends as `unknown` in the journal, with its own id, principal and operation."""
    with served(tmp_path / "home") as scene:
        kill_when_the_upstream_has_the_call(scene)
        [permit] = permits(scene.gate)["held-1"]

        scene.gate.start()

        [ended] = scene.gate.events("Finished")
        same = ("call", "run", "principal", "operation")
        assert [ended[name] for name in same] == [permit[name] for name in same]
        assert [ended["outcome"], ended["sent"]] == ["unknown", "unknown"]


def test_a_kill_in_the_drain_loses_nothing(tmp_path: Path) -> None:
    """SIGTERM and then SIGKILL, as an impatient orchestrator does: as with any other kill."""
    with served(tmp_path / "home") as scene:
        with scene.load("drain") as load:
            until(lambda: len(load.heard(200)) > 20, "the load flows")
            scene.gate.begin("PUT", "/store/items/held-1", "{}")
            until(lambda: scene.upstream.has("held-1"), "a call is in flight")
            scene.gate.signal(signal.SIGTERM)
            until(lambda: scene.gate.ready().status == 503, "the gate drains")
            scene.gate.kill()

        scene.gate.start()
        scene.assert_books_agree(load)
        assert_every_permit_ended_once(scene.gate)


@pytest.mark.soak
def test_kill_at_random_moments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Thirty kills of one journal under load, at moments a seed chooses; the books agree after each of them."""
    moments = random.Random(SEED)
    answered = 0
    with served(tmp_path / "home") as scene:
        for kill in range(KILLS):
            with scene.load(f"kill{kill}", workers=12) as load:
                kill_at_a_random_moment(scene.gate, moments.uniform(0.02, 1.5))
            answered += sum(heard is not None for heard in load.answers.values())
            scene.assert_books_agree(load)
            scene.gate.start()
            assert_every_permit_ended_once(scene.gate)
        assert scene.gate.get("plain-after").status == 200
        assert scene.gate.stop() == 0
        rows = scene.gate.verify().rows
        clean = [event["clean"] for event in scene.gate.events("WriterStarted")]
        with capsys.disabled():
            permitted = len(permits(scene.gate))
            print(f"\n{KILLS} kills: {answered} answers, {permitted} permits, {len(scene.seen)} sent, {rows} rows")  # noqa: T201
    assert clean == [True] + [False] * KILLS


def kill_at_a_random_moment(gate: Gate, after_s: float) -> None:
    """A timer of its own: nothing the gate does has a say in when it dies."""
    timer = threading.Timer(after_s, gate.process.kill)
    timer.start()
    timer.join()
    gate.process.wait(10)


def reload(scene: Scene, change: Callable[[], object]) -> None:
    """Change the configuration and wait until it serves."""
    before = scene.gate.bundles_loaded
    change()
    scene.gate.signal(signal.SIGHUP)
    until(lambda: scene.gate.bundles_loaded > before, "the change is loaded")


def large_document() -> dict[str, Any]:
    """The store's own document and three thousand operations more."""
    paths = {
        f"/more{number}/{{id}}": {
            "post": home.operation(f"more{number}", body={"type": "object", "properties": {"a": {"type": "integer"}}})
        }
        for number in range(3000)
    }
    return {**home.DOCUMENT, "paths": {**home.DOCUMENT["paths"], **paths}}
