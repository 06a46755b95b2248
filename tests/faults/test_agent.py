"""Agents that leave, dawdle or never read: the gate stays whole, and the books agree (FT38, FT44, FT47, INV10, INV13)."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.books import assert_every_permit_ended_once, permits
from tests.support.scenes import served
from tests.support.toxic import Toxic
from tests.support.upstream import PIECE
from tests.support.waiting import until

SEED = 44


def request(item: str, host: int) -> bytes:
    body = b'{"note":"%b"}' % item.encode()
    return (
        b"PUT /store/items/%b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (
            item.encode(),
            host,
            len(body),
            body,
        )
    )


def leave(port: int, said: bytes) -> None:
    """Ask through a line that breaks."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as agent:
        agent.sendall(said)
        while agent.recv(65536):
            pass


@pytest.mark.parametrize("way", ["asking", "hearing"])
def test_an_agent_that_leaves_at_any_byte(tmp_path: Path, way: str) -> None:
    """FT44: reset after so many bytes of the request, or of the answer: what was permitted is finished, once."""
    offsets = random.Random(SEED).sample(range(1, 320), 40)
    with served(tmp_path / "home") as scene:
        port = scene.gate.ports["agent"]
        for offset in offsets:
            limit = "up_limit" if way == "asking" else "down_limit"
            with Toxic(port, **{limit: offset}) as line:
                leave(line.port, request(f"plain-{offset}", port))
        until(lambda: scene.gate.metric("toolgate_in_flight") == 0, "nothing is in flight")

        assert scene.gate.get("plain-after").status == 200
        assert scene.gate.stop() == 0
        assert_every_permit_ended_once(scene.gate)
        assert sorted(scene.seen) == sorted(permits(scene.gate))
        scene.assert_books_agree()


def test_a_call_whose_agent_left_is_finished_for_the_journal(tmp_path: Path) -> None:
    """It was sent, so its outcome is worth knowing: the gate waits for the answer that nobody will hear."""
    with served(tmp_path / "home") as scene:
        scene.gate.begin("PUT", "/store/items/held-1", "{}").close()
        until(lambda: scene.upstream.has("held-1"), "the upstream has it")
        scene.upstream.released.set()

        [finished] = scene.gate.finished(1)

        assert [finished["outcome"], finished["status"]] == ["completed", 200]


def test_agents_that_never_read_hold_nothing_for_long(tmp_path: Path) -> None:
    """FT47: endless answers to deaf agents: memory stays flat, each is cut off in time, its place is free again."""
    limits = {"write_timeout_s": 0.5, "in_flight": 8, "queue": 0}
    with served(tmp_path / "home", limits=limits) as scene:
        before = scene.gate.status("VmRSS")
        deaf = [scene.gate.begin("GET", f"/store/items/endless-{number}") for number in range(8)]
        until(lambda: len(scene.upstream.seen) == 8, "all places are taken")
        full = scene.gate.get("plain-full")
        assert (full.status, full.json["code"]) == (503, "gateway.overloaded")

        until(lambda: scene.gate.metric("toolgate_in_flight") == 0, "the places are free again")

        assert scene.gate.get("plain-after").status == 200
        assert scene.gate.status("VmRSS") - before < 16 * 1024
        assert len(deaf) == 8
        assert scene.gate.stop() == 0
        assert_every_permit_ended_once(scene.gate)


def test_a_slow_agent_gets_its_whole_answer(tmp_path: Path) -> None:
    """FT38: a stream that is read slowly is passed on at the agent's pace, not gathered."""
    with served(tmp_path / "home") as scene:
        before = scene.gate.status("VmRSS")
        response = scene.gate.begin("GET", "/store/items/endless-1").getresponse()
        read = b"".join(response.read(len(PIECE)) for _ in range(2000))

        assert read == PIECE * 2000
        assert scene.gate.status("VmRSS") - before < 16 * 1024
