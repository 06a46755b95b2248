"""Configuration changes under load: each decision cites one whole revision, and a bad bundle never serves (FT06, FT48, FT49, INV16)."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from tests.support import home
from tests.support.books import assert_every_permit_ended_once, permits
from tests.support.scenes import Scene, served
from tests.support.upstream import Upstream
from tests.support.waiting import until

BAD = {
    "not the format": "tool: [",
    "an unknown key": home.tool("http://127.0.0.1:9") | {"toool": 1},
    "no such document": home.tool("http://127.0.0.1:9") | {"openapi": "missing.json"},
    "a pattern that matches nothing": home.tool("http://127.0.0.1:9", allow=["nothingItem"]),
    "another tool's name": home.tool("http://127.0.0.1:9") | {"tool": "mcp"},
    "a secret in the clear": home.tool("http://127.0.0.1:9", credentials={"header": "Authorization", "value": "abc"}),
}


def change(scene: Scene, spec: Any) -> None:
    home.write(scene.gate.home / "toolspecs" / "store" / "tool.yaml", spec)


def told(scene: Scene) -> dict[str, Any]:
    """What readiness says of the bundle."""
    bundle: dict[str, Any] = scene.gate.ready().json["bundle"]
    return bundle


@pytest.mark.parametrize("rounds", [1, pytest.param(8, marks=pytest.mark.soak)])
def test_a_bad_bundle_never_serves(tmp_path: Path, rounds: int) -> None:
    """Under load, one bad bundle after another: the last good one serves, and readiness and the log say what is wrong."""
    with served(tmp_path / "home") as scene:
        good = told(scene)
        assert good["last_error"] is None
        with scene.load("bad") as load:
            for name, spec in tuple(BAD.items()) * rounds:
                refused = scene.gate.metric('toolgate_bundle_reload_total{result="refused"}')
                change(scene, spec)
                scene.gate.signal(signal.SIGHUP)
                until(
                    lambda before=refused: (
                        scene.gate.metric('toolgate_bundle_reload_total{result="refused"}') > before
                        and told(scene)["last_error"]
                    ),
                    f"{name} is refused",
                )
                assert told(scene)["revision"] == good["revision"]
                assert "tool.yaml" in told(scene)["last_error"]
                assert scene.gate.metric("toolgate_bundle_stale") == 1
            change(scene, home.tool(scene.upstream.url))
            until(lambda: told(scene)["last_error"] is None, "the good one is loaded")
            assert scene.gate.metric("toolgate_bundle_stale") == 0

        assert load.codes == {"tool.disallowed", "arguments.invalid"}
        assert {event["revision"] for event in scene.gate.events("Decided")} == {good["revision"]}
        assert scene.gate.stop() == 0
        scene.assert_books_agree(load)


@pytest.mark.parametrize("swaps", [3, pytest.param(30, marks=pytest.mark.soak)])
def test_no_decision_mixes_two_bundles(tmp_path: Path, swaps: int) -> None:
    """Two bundles that differ in what they allow and where they send, swapped under load: every call is of one of them."""
    with served(tmp_path / "home") as scene, Upstream(tmp_path / "other.txt") as other:
        specs = (home.tool(scene.upstream.url), home.tool(other.url, allow=["getItem", "removeItem"]))
        loaded = 1
        with scene.load("swap") as load:
            for count in range(swaps):
                change(scene, specs[(count + 1) % 2])
                loaded += 1
                until(lambda many=loaded: scene.gate.bundles_loaded >= many, "the other one is loaded")
                answered = len(load.answers)
                until(lambda many=answered: len(load.answers) > many + 60, "calls are decided with it")

        assert scene.gate.stop() == 0
        revisions = list(dict.fromkeys(event["revision"] for event in scene.gate.events("BundleLoaded")))
        assert len(revisions) == 2
        where = {revisions[0]: set(scene.upstream.ids), revisions[1]: set(other.ids)}
        reads = "store.getItem"
        allowed = {revisions[0]: {reads, "store.putItem"}, revisions[1]: {reads, "store.removeItem"}}
        for event in scene.gate.events("Decided"):
            assert event["revision"] in where
            if event["decision"] == "permit":
                assert event["operation"] in allowed[event["revision"]]
        for item, events in permits(scene.gate).items():
            assert [item in where[event["revision"]] for event in events] == [True] * len(events)
        assert_every_permit_ended_once(scene.gate)


def test_a_storm_of_hangups_is_few_reloads(tmp_path: Path) -> None:
    """FT06: two hundred SIGHUPs under load neither stop calls nor make a reload each."""
    with served(tmp_path / "home") as scene:
        with scene.load("storm") as load:
            until(lambda: len(load.heard(200)) > 20, "the load flows")
            before = len(load.heard(200))
            for _ in range(200):
                scene.gate.signal(signal.SIGHUP)
            until(lambda: scene.gate.metric('toolgate_bundle_reload_total{result="loaded"}') >= 1, "a reload was made")
            until(lambda: len(load.heard(200)) > before + 100, "the load flows on")

        assert scene.gate.metric('toolgate_bundle_reload_total{result="loaded"}') < 20
        assert load.codes == {"tool.disallowed", "arguments.invalid"}
        assert scene.gate.stop() == 0
        scene.assert_books_agree(load)
