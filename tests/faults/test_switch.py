"""Runs and the kill switch on a real process: what was opened, stopped or frozen is so after `kill -9`, and people hear of it."""

from __future__ import annotations

import base64
import hmac
import json
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.e2e.world import ROOT, Heard, ask
from tests.support.gate import Gate
from tests.support.scenes import Scene, served
from tests.support.waiting import think, until

SECRET = bytes(range(32))
LOOPS = "loops: {identical_refusals: 3}\n"


def toolgate(gate: Gate, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an operator beside the gate does."""
    command = [sys.executable, "-m", "toolgate.cli", *words, "--admin", f"127.0.0.1:{gate.ports['admin']}"]
    environ = {"PYTHONPATH": str(ROOT / "proxy"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=gate.home, env=environ, capture_output=True, text=True, timeout=60, check=True)


def code(answer: Heard) -> str | None:
    return None if answer.status == 200 else answer.json["code"]


def open_run(gate: Gate, **headers: str) -> dict[str, Any]:
    answer = gate.call("POST", "/-/runs", **headers)
    assert answer.status == 201, answer.content
    run: dict[str, Any] = answer.json
    return run


def again(gate: Gate) -> None:
    gate.kill()
    gate.start()


def test_what_is_frozen_stays_frozen(tmp_path: Path) -> None:
    """Frozen before `kill -9`, frozen after; said at start, in the metrics and in the list; thawed, it stays thawed."""
    with served(tmp_path / "home") as scene:
        gate = scene.gate
        assert code(gate.get("a")) is None
        toolgate(gate, "freeze", "--everything", "--why", "incident 4711")
        assert code(gate.get("a")) == "gateway.frozen"
        again(gate)
        assert code(gate.get("a")) == "gateway.frozen"
        assert "incident 4711" in gate.get("a").json["detail"]
        assert gate.metric('toolgate_frozen{kind="everything"}') == 1
        (told,) = (line for line in gate.log if line["event"] == "still_frozen")
        assert (told["what"], told["why"]) == ("everything", "incident 4711")
        assert "incident 4711" in toolgate(gate, "freezes").stdout
        toolgate(gate, "thaw", "--everything", "--why", "over")
        assert code(gate.get("a")) is None
        again(gate)
        assert code(gate.get("a")) is None
        assert [event["action"] for event in gate.events("KillSwitch")] == ["freeze", "thaw"]
        gate.verify()


def test_a_run_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Its token names it still: the key is kept beside the ledger, for this user alone; what was finished stays so."""
    with served(tmp_path / "home") as scene:
        gate = scene.gate
        going, over = open_run(gate), open_run(gate)
        token = {"Toolgate-Run": going["token"]}
        gate.call("GET", "/store/items/a", **token)
        assert gate.call("POST", "/-/run/finish", **{"Toolgate-Run": over["token"]}).status == 200
        again(gate)
        gate.call("GET", "/store/items/b", **token)
        shown = gate.call("GET", "/-/run", **token).json
        assert (shown["run"], shown["calls"]) == (going["run"], 2)
        assert code(gate.call("GET", "/store/items/a", **{"Toolgate-Run": over["token"]})) == "run.stopped"
        key = gate.ledger.with_name("ledger.db.run-key")
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert going["token"] not in gate.errors + gate.output.decode()
        assert [event["number"] for event in gate.events("Decided") if event["run"] == going["run"]] == [1, 2]


def test_a_run_that_goes_in_circles_is_stopped_and_people_are_told(tmp_path: Path) -> None:
    """The third same refusal stops it; the webhook says so, signed; a person lets it go on."""
    with people() as heard:
        (tmp_path / "hook").write_text(base64.b64encode(SECRET).decode())
        hook = {"url": f"http://127.0.0.1:{heard.port}/hooks", "secret": f"${{file:{tmp_path / 'hook'}}}"}
        with looping(tmp_path / "home", webhook=hook) as scene:
            gate = scene.gate
            run = open_run(gate)
            token = {"Toolgate-Run": run["token"]}
            codes = []
            for _ in range(4):
                codes.append(code(gate.call("DELETE", "/store/items/a", **token)))
                think()
            assert codes[2:] == ["loop.repeated_refusal", "run.stopped"]
            assert codes[0] == codes[1] != codes[2]
            until(lambda: heard.messages, "people are told")
            assert gate.metric('toolgate_runs_stopped_total{code="loop.repeated_refusal"}') == 1
            again(gate)
            assert code(gate.call("GET", "/store/items/a", **token)) == "run.stopped"
            toolgate(gate, "thaw", "--run", run["run"], "--why", "the loop is fixed")
            assert code(gate.call("GET", "/store/items/a", **token)) is None
            until(lambda: len(heard.messages) > 1, "people are told again")
    (headers, body), (_, thawed) = heard.messages
    signed = hmac.digest(SECRET, f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body, sha256)
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
    told = json.loads(body)
    assert (told["type"], told["data"]["run"], told["data"]["environment"]) == ("RunStopped", run["run"], "prod")
    assert json.loads(thawed)["data"]["why"] == "the loop is fixed"


def test_the_switch_works_through_a_socket(tmp_path: Path) -> None:
    """An admin listener on a Unix socket, as in a pod."""
    socket = tmp_path / "admin.sock"
    listen = {"agent": "127.0.0.1:0", "admin": f"unix:{socket}", "health": "127.0.0.1:0"}
    with served(tmp_path / "home", listen=listen) as scene:
        gate = scene.gate
        command = [sys.executable, "-m", "toolgate.cli", "freeze", "--tool", "store", "--why", "x"]
        environ = {"PYTHONPATH": str(ROOT / "proxy"), "PATH": "/usr/bin:/bin"}
        ran = subprocess.run(
            command, cwd=gate.home, env=environ, capture_output=True, text=True, timeout=60, check=True
        )
        assert ran.stdout.startswith("frozen  the tool `store`, by ")
        assert code(gate.get("a")) == "tool.disabled"


def test_a_run_in_the_wrong_hands_is_refused(tmp_path: Path) -> None:
    """A token of another gate, though of the same principal and environment."""
    with served(tmp_path / "one") as one, served(tmp_path / "two") as two:
        run = open_run(one.gate)
        told = ask(two.gate.ports["agent"], "GET", "/store/items/a", headers={"Toolgate-Run": run["token"]})
        assert (told.status, told.json["code"]) == (401, "auth.invalid")
        assert not two.upstream.seen


@contextmanager
def looping(home: Path, **settings: Any) -> Iterator[Scene]:
    """A gate that stops a run at its third same refusal."""
    with served(home, **settings) as scene:
        (home / "policies" / "budgets.yaml").write_text(LOOPS)
        loaded = ask(scene.gate.ports["admin"], "POST", "/-/reload")
        assert loaded.json["reloaded"], loaded.content
        yield scene


class People(ThreadingHTTPServer):
    """Who is told: keeps every message."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Listener)
        self.messages: list[tuple[dict[str, str], bytes]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Listener(BaseHTTPRequestHandler):
    server: People

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append((dict(self.headers), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        return


@contextmanager
def people() -> Iterator[People]:
    server = People()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
