"""The process: signals, a second one beside it, ports, files; and a stop that leaves nothing open (FT03 to FT09, FT58, INV20)."""

from __future__ import annotations

import resource
import signal
import socket
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from tests.support.books import assert_every_permit_ended_once, permits
from tests.support.gate import Gate
from tests.support.home import build, tool
from tests.support.scenes import Scene, served
from tests.support.waiting import until


def hold(scene: Scene, count: int) -> list[HTTPConnection]:
    """So many calls in flight, each known to the upstream."""
    held = [scene.gate.begin("PUT", f"/store/items/held-{number}", "{}") for number in range(count)]
    until(lambda: len(scene.upstream.seen) >= count, "the upstream has them")
    return held


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_at_a_stop_is_finished(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM: not ready at once, no new call is taken, those in flight get their answers; everything is written; exit 0."""
    with served(tmp_path / "home") as scene:
        gate = scene.gate
        held = hold(scene, 20)

        gate.signal(number)
        until(lambda: gate.ready().status == 503, "the gate is not ready")
        assert gate.ready().json["reason"] == "the gate is shutting down"
        late = gate.put("plain-late")
        assert (late.status, late.json["code"], late.json["sent"]) == (503, "gateway.draining", "no")
        assert gate.process.poll() is None
        scene.upstream.released.set()

        answers = [connection.getresponse() for connection in held]
        assert [answer.status for answer in answers] == [200] * 20
        assert all(answer.read().startswith(b'{"id": "held-') for answer in answers)
        assert gate.process.wait(10) == 0
        assert not scene.upstream.has("plain-late")
        assert_every_permit_ended_once(gate)
        assert {event["outcome"] for event in gate.events("Finished")} == {"completed"}
        assert gate.events()[-1]["event"] == "WriterStopped"
        scene.assert_books_agree()


def test_a_stop_does_not_wait_for_an_upstream_that_never_answers(tmp_path: Path) -> None:
    """FT05: at the end of the grace each call is told what is known of it, in the journal too; exit 0."""
    with served(tmp_path / "home", limits={"drain_grace_s": 0.3}) as scene:
        held = hold(scene, 5)
        streaming = scene.gate.begin("GET", "/store/items/stream-1").getresponse()
        assert streaming.read1(100) == b"data: 1\n\n"

        assert scene.gate.stop() == 0

        answers = [connection.getresponse() for connection in held]
        assert {answer.status for answer in answers} == {504}
        assert all(b'"sent":"unknown"' in answer.read() for answer in answers)
        with pytest.raises((HTTPException, ConnectionError)):
            streaming.read()
        assert_every_permit_ended_once(scene.gate)
        assert {event["outcome"] for event in scene.gate.events("Finished")} == {"failed"}
        scene.assert_books_agree()


def test_a_storm_of_signals_is_one_stop(tmp_path: Path) -> None:
    """FT06: SIGTERM again and again, SIGINT and SIGHUP among them: one drain, exit 0."""
    with served(tmp_path / "home") as scene:
        [held] = hold(scene, 1)
        for _ in range(30):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                scene.gate.signal(number)
        until(lambda: scene.gate.ready().status == 503, "the gate drains")
        scene.upstream.released.set()

        assert held.getresponse().status == 200
        assert scene.gate.process.wait(10) == 0
        assert [line["event"] for line in scene.gate.log].count("drain_started") == 1
        scene.assert_books_agree()


def test_a_stop_closes_idle_connections(tmp_path: Path) -> None:
    """An agent that keeps its connection open and says nothing holds nobody up."""
    with served(tmp_path / "home") as scene, closing(scene.gate.begin("GET", "/store/items/plain-1")) as idle:
        idle.getresponse().read()

        assert scene.gate.stop() == 0


def test_a_second_gate_on_the_same_ledger_does_not_start(tmp_path: Path) -> None:
    """FT08: it names the process that has it, and ends with 3; the first goes on."""
    with served(tmp_path / "home") as scene:
        second = Gate(scene.gate.home)
        second._starts = 1  # so that it writes its output beside the first one's
        second.spawn()

        assert second.process.wait(15) == 3
        assert f"in use by another gate (process {scene.gate.process.pid})" in second.errors
        assert scene.gate.put("plain-1").status == 200
        scene.assert_books_agree()


@pytest.mark.parametrize("door", ["agent", "admin", "health"])
def test_a_port_in_use_is_named_with_the_setting_that_moves_it(tmp_path: Path, door: str) -> None:
    """FT09: exit 2, and the journal is left in order."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = dict.fromkeys(("agent", "admin", "health"), "127.0.0.1:0")
        listen[door] = f"127.0.0.1:{taken.getsockname()[1]}"
        gate = Gate(build(tmp_path / "home", tool("http://127.0.0.1:9"), listen=listen)).spawn()

        assert gate.process.wait(15) == 2
    assert f"`listen.{door}` (127.0.0.1:" in gate.errors
    assert f"TOOLGATE_LISTEN__{door.upper()}" in gate.errors
    gate.assert_no_defect()
    assert gate.events()[-1]["event"] == "WriterStopped"


def test_a_process_that_was_stopped_for_a_while_goes_on(tmp_path: Path) -> None:
    """FT03: after SIGSTOP and SIGCONT each call has an answer or an end, and deadlines that passed have passed."""
    with served(tmp_path / "home") as scene:
        waiting = scene.gate.begin("GET", "/store/quick/held-1")
        until(lambda: scene.upstream.has("held-1"), "the upstream has it")
        with scene.load("stopped") as load:
            until(lambda: len(load.heard(200)) > 20, "the load flows")
            scene.gate.signal(signal.SIGSTOP)
            until(lambda: stopped(scene.gate), "the process stands still")
            answered = len(load.heard(200))
            scene.upstream.released.wait(0.5)  # longer than `quickItem` may take
            assert len(load.heard(200)) <= answered + load.workers
            scene.gate.signal(signal.SIGCONT)
            until(lambda: len(load.heard(200)) > answered + 50, "the load flows again")

        assert waiting.getresponse().status == 504
        scene.upstream.released.set()
        assert load.codes == {"tool.disallowed", "arguments.invalid"}
        assert scene.gate.stop() == 0
        scene.assert_books_agree(load)
        assert_every_permit_ended_once(scene.gate)


def stopped(gate: Gate) -> bool:
    stat = Path(f"/proc/{gate.process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def test_no_more_files_can_be_opened(tmp_path: Path) -> None:
    """FT58: calls are refused or answered, never lost; the journal, opened before, goes on; with files again, so does all."""
    with served(tmp_path / "home", limits={"connections": 1000}) as scene:
        gate = scene.gate
        assert gate.put("plain-before").status == 200
        kept = gate.begin("GET", "/store/items/plain-kept")
        kept.getresponse().read()
        pid, limit = gate.process.pid, resource.RLIMIT_NOFILE
        _, hard = resource.prlimit(pid, limit)
        resource.prlimit(pid, limit, (gate.open_files + 3, hard))

        crowd = [socket.create_connection(("127.0.0.1", gate.ports["agent"])) for _ in range(40)]
        until(lambda: crowded(gate), "it has no files left")
        kept.request("PUT", "/store/items/plain-crowded", body="{}", headers={"Content-Type": "application/json"})
        answer = kept.getresponse()
        assert answer.status in {200, 502}
        answer.read()
        for agent in crowd:
            agent.close()
        resource.prlimit(pid, limit, (hard, hard))

        until(lambda: gate.ready().status == 200, "the gate is ready")
        assert gate.put("plain-after").status == 200
        assert "plain-crowded" in permits(gate)
        assert gate.stop() == 0
        scene.assert_books_agree()


def crowded(gate: Gate) -> bool:
    return gate.open_files >= resource.prlimit(gate.process.pid, resource.RLIMIT_NOFILE)[0]
