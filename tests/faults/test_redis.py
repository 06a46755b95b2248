"""A gate whose store fails, over HTTP: refused in time, nothing sent, served again by itself (FT23, FT24, INV8)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.e2e.world import ROOT, ask
from tests.support.gate import Gate
from tests.support.home import write
from tests.support.redis_server import RedisServer
from tests.support.replicas import a_home, replicas, shared_store
from tests.support.upstream import Upstream
from tests.support.waiting import until

PASSWORD = "correct-horse-battery-staple"
REFUSED_WITHIN_S = 0.2
LOADED_S = 0.2  # what HTTP and a machine that runs other tests may add


def test_a_store_that_fails_refuses_in_time_and_comes_back(tmp_path: Path) -> None:
    """Killed, then paused: `gateway.unavailable` within 200 ms, nothing sent, readiness says why; then served again by itself."""
    with replicas(tmp_path, 1, calls=100) as running:
        (gate,), store = running.gates, running.store
        assert gate.get("plain-before").status == 200
        for fail, mend in ((store.kill, store.start), (store.pause, store.go_on)):
            fail()
            for number in range(3):
                began = time.monotonic()
                refused = gate.get(f"plain-while-{fail.__name__}-{number}")
                assert time.monotonic() - began < REFUSED_WITHIN_S + LOADED_S
                assert (refused.status, refused.json["code"], refused.json["sent"]) == (
                    503,
                    "gateway.unavailable",
                    "no",
                )
            assert "the state store" in gate.ready().json["reason"]
            assert gate.metric("toolgate_store_up") == 0
            mend()
            until(lambda: gate.ready().status == 200, "the gate is ready again")
            assert gate.get(f"plain-after-{fail.__name__}").status == 200
            until(lambda: gate.errors.count("store_back") > 0, "the log says that it is back")
            assert "store_lost" in gate.errors
            assert gate.metric("toolgate_store_up") == 1
            assert 0 < gate.metric("toolgate_store_answer_seconds") < 1
            until(lambda: gate.metric("toolgate_store_backlog") == 0, "the store was told everything")
        assert running.seen == ["plain-before", "plain-after-kill", "plain-after-pause"]


def test_a_gate_without_its_store_does_not_start(tmp_path: Path) -> None:
    """It says what is missing, in one sentence, and exits with 3."""
    with RedisServer() as nobody_made_ready, Upstream(tmp_path / "book.txt") as upstream:
        home = a_home(tmp_path / "gate", upstream, nobody_made_ready, {})
        gate = Gate(home).spawn()
        assert gate.process.wait(20) == 3
        assert "run `toolgate ledger init`" in gate.errors


def test_the_stores_password_is_written_nowhere(tmp_path: Path) -> None:
    """It is in its file and on the wire: not in the log, the journal, the metrics, `settings`, or what agents are told."""
    with Upstream(tmp_path / "book.txt") as upstream, shared_store() as store:
        store.ask("ACL", "SETUSER", "gate", "on", f">{PASSWORD}", "~*", "+@all")
        home = a_home(tmp_path / "gate", upstream, store, {})
        (home / "password").write_text(f"{PASSWORD}\n")
        settings = json.loads((home / "toolgate.yaml").read_text())
        settings["ledger"] = store.url.replace("redis://", "redis://gate@")
        settings["redis"]["password"] = "${file:password}"
        write(home / "toolgate.yaml", settings)
        with Gate(home) as gate:
            assert gate.get("plain-a").status == 200
            store.ask("ACL", "SETUSER", "gate", "resetpass", ">another")
            store.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            until(lambda: "does not take the user and password" in gate.ready().json.get("reason", ""), "it is refused")
            refused = gate.get("plain-b")
            assert refused.json["code"] == "gateway.unavailable"
            shown = ask(gate.ports["health"], "GET", "/metrics").content + refused.content + gate.ready().content
            (home / "password").write_text("another")
            until(lambda: gate.ready().status == 200, "the new password is read at the next connection")
            assert gate.get("plain-c").status == 200
            assert gate.stop() == 0
        for words in (("settings",), ("settings", "--json"), ("ledger", "status"), ("ledger", "status", "--json")):
            command = [sys.executable, "-m", "toolgate.cli", *words]
            environ = {"PYTHONPATH": str(ROOT / "proxy"), "PATH": "/usr/bin:/bin"}
            done = subprocess.run(command, cwd=home, env=environ, capture_output=True, timeout=60, check=True)
            shown += done.stdout + done.stderr
        written = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file() and file.name != "password")
        assert PASSWORD.encode() not in shown + written
