"""The upstream breaks, stalls or lies: agents hear what is true of it, and the journal the same (FT34 to FT39, INV11, INV12)."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import pytest
import trustme
from tests.support import home
from tests.support.books import permits
from tests.support.scenes import Scene, served
from tests.support.toxic import Toxic, Toxin
from tests.support.upstream import Upstream
from tests.support.waiting import until


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One gate for all: each fault must leave it as good as new."""
    with served(tmp_path_factory.mktemp("faults") / "home") as scene:
        yield scene
        assert scene.gate.get("plain-last").status == 200
        assert scene.gate.stop() == 0
        scene.assert_books_agree()


def ended(scene: Scene, item: str) -> list[object]:
    """How the journal says an item's one call ended."""
    [permit] = permits(scene.gate)[item]
    finished = until(
        lambda: [event for event in scene.gate.events("Finished") if event["call"] == permit["call"]], "it is finished"
    )
    return [(event.get("code"), event["sent"]) for event in finished]


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("how", ["cut", "mute", "garbage"])
def test_an_answer_that_breaks_is_unknown_and_asked_for_once(scene: Scene, how: str, method: str) -> None:
    """The upstream acted and its answer is not whole: `upstream.broken`, sent unknown, one request for each method."""
    item = f"{how}-{method}"

    heard = scene.gate.call(method, f"/store/items/{item}", {} if method == "PUT" else None)

    assert (heard.status, heard.json["code"]) == (502, "upstream.broken")
    assert (heard.json["sent"], heard.json["retryable"]) == ("unknown", False)
    assert scene.seen.count(item) == 1
    assert ended(scene, item) == [("upstream.broken", "unknown")]


def test_a_stream_that_tears_does_not_look_whole(scene: Scene) -> None:
    """Bytes that were passed on cannot be taken back: the agent's connection breaks too."""
    response = scene.gate.begin("GET", "/store/items/torn-1").getresponse()

    with pytest.raises((IncompleteRead, ConnectionError)):
        response.read()
    assert ended(scene, "torn-1") == [("upstream.broken", "unknown")]


def test_an_upstream_too_slow_for_its_operation(scene: Scene) -> None:
    """`timeout_s` of the operation holds: `upstream.timeout`, sent unknown, and no second try."""
    heard = scene.gate.call("GET", "/store/quick/held-slow")

    assert (heard.status, heard.json["code"], heard.json["sent"]) == (504, "upstream.timeout", "unknown")
    assert scene.seen.count("held-slow") == 1
    assert ended(scene, "held-slow") == [("upstream.timeout", "unknown")]


def test_an_answer_that_drips_arrives_whole(scene: Scene) -> None:
    """Slow is not broken: byte by byte, within the time, it is an answer."""
    assert scene.gate.get("drip-1").json == {"id": "drip-1"}


def test_a_slow_answer_keeps_nobody_else_waiting(scene: Scene) -> None:
    """FT38: calls that hang upstream do not slow down the others."""
    slow = [scene.gate.begin("GET", f"/store/items/stream-slow{number}") for number in range(16)]
    until(lambda: scene.upstream.has("stream-slow15"), "they hang")

    assert [scene.gate.get(f"plain-beside{number}").status for number in range(20)] == [200] * 20
    for connection in slow:
        connection.close()


def point_at(scene: Scene, upstream: str, **environment: object) -> None:
    """Have the gate serve another upstream, and wait until it does."""
    before = scene.gate.bundles_loaded
    home.write(scene.gate.home / "toolspecs" / "store" / "tool.yaml", home.tool(upstream, **environment))
    until(lambda: scene.gate.bundles_loaded > before, "the change is loaded")


@pytest.fixture
def moved(scene: Scene) -> Iterator[Scene]:
    """The scene, for tests that point it elsewhere."""
    yield scene
    point_at(scene, scene.upstream.url)


def test_nobody_listens(moved: Scene) -> None:
    """A closed port: unreachable, sent no, retryable (FT34)."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    point_at(moved, f"http://127.0.0.1:{port}")

    heard = moved.gate.put("plain-closed")

    assert (heard.status, heard.json["code"]) == (502, "upstream.unreachable")
    assert (heard.json["sent"], heard.json["retryable"]) == ("no", True)
    assert ended(moved, "plain-closed") == [("upstream.unreachable", "no")]


def test_a_black_hole(moved: Scene) -> None:
    """A connection that is taken and never read: the operation's time bounds it, and the outcome is unknown."""
    with Toxic(moved.upstream.port, deaf=True) as hole:
        point_at(moved, f"http://127.0.0.1:{hole.port}")
        heard = moved.gate.call("GET", "/store/quick/plain-hole")

    assert (heard.status, heard.json["code"], heard.json["sent"]) == (504, "upstream.timeout", "unknown")


def test_an_upstream_whose_certificate_does_not_verify(moved: Scene, tmp_path: Path) -> None:
    """No plaintext fallback and no request: unreachable, sent no, and why (FT39)."""
    authority, stranger = trustme.CA(), trustme.CA()
    context = SSLContext(PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "right.pem")
    stranger.cert_pem.write_to_path(tmp_path / "wrong.pem")
    with Upstream(tmp_path / "book", context=context) as secure:
        point_at(moved, secure.url, ca_file=str(tmp_path / "wrong.pem"))
        heard = moved.gate.put("plain-stranger")
        assert (heard.status, heard.json["code"], heard.json["sent"]) == (502, "upstream.unreachable", "no")
        assert "cannot be trusted" in heard.json["detail"]
        assert secure.seen == []

        point_at(moved, secure.url, ca_file=str(tmp_path / "right.pem"))
        assert moved.gate.put("plain-friend").status == 200
        assert secure.ids == ["plain-friend"]


@pytest.mark.parametrize("toxin", [Toxin(slice_bytes=1), Toxin(slice_bytes=64, pause_s=0.001), Toxin(pause_s=0.05)])
def test_slow_lines_change_nothing(moved: Scene, toxin: Toxin) -> None:
    """Bytes one at a time, late, in pieces: the same answers (FT38)."""
    name = f"{toxin.slice_bytes}-{toxin.pause_s}".replace(".", "_")
    with Toxic(moved.upstream.port) as line:
        line.toxin = toxin
        point_at(moved, f"http://127.0.0.1:{line.port}")
        assert moved.gate.get(f"plain-{name}").json == {"id": f"plain-{name}"}
        assert moved.gate.put(f"plain-put{name}").json == {"id": f"plain-put{name}"}


@pytest.mark.parametrize("way", ["up_limit", "down_limit"])
def test_a_line_that_is_cut_at_any_byte(moved: Scene, way: str) -> None:
    """FT37, INV12: whatever is lost, success is a whole answer, and `sent: no` is never said of what arrived."""
    offsets = random.Random(way).sample(range(400), 40)
    with Toxic(moved.upstream.port) as line:
        point_at(moved, f"http://127.0.0.1:{line.port}")
        for offset in offsets:
            line.toxin = Toxin(**{way: offset})
            before, item = moved.upstream.bytes_read, f"plain-{way}{offset}"
            heard = moved.gate.put(item)
            if heard.status == 200:
                assert heard.json == {"id": item}
            elif heard.json["sent"] == "no":
                assert moved.upstream.bytes_read == before
            else:
                assert (heard.json["code"], heard.json["retryable"]) == ("upstream.broken", False)
            assert moved.seen.count(item) <= 1


@pytest.mark.parametrize("how", ["endless", "stream"])
def test_a_call_ends_in_its_time_whatever_the_upstream_does(tmp_path: Path, how: str) -> None:
    """INV10: a stream that never ends, or falls silent, is ended by `call_timeout_s`, and the journal says so."""
    with served(tmp_path / "home", limits={"call_timeout_s": 0.5}) as scene:
        with suppress(HTTPException, ConnectionError):
            scene.gate.get(f"{how}-1")

        assert ended(scene, f"{how}-1") == [("upstream.timeout", "unknown")]
        [finished] = scene.gate.events("Finished")
        assert finished["detail"] == "no whole answer within the 0.5 s a call may take"
        assert scene.gate.get("plain-good").status == 200
