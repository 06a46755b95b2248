"""The whole gate with issuers: a real process, a real HTTPS issuer, tokens over a socket, and what it writes."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.auth.idp import ISSUER, ed_key, header, jwk, jwks, sealed
from tests.auth.test_ring import CA, Server, https
from tests.e2e.world import ask
from tests.support.gate import Gate
from tests.support.home import build, tool
from tests.support.waiting import until


@contextmanager
def issuing(port: int = 0) -> Iterator[Server]:
    """An HTTPS issuer beside this thread."""
    ready, done = threading.Event(), asyncio.Event()
    held: list[tuple[Server, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        async with https(port=port) as server:
            held.append((server, asyncio.get_running_loop()))
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(5)
        yield held[0][0]
    finally:
        if held:
            held[0][1].call_soon_threadsafe(done.set)
        thread.join(5)


def now() -> int:
    return time.time_ns() // 1_000_000_000


def token(key: Any = None, kid: str = "ed", **changes: Any) -> str:
    """A token that is good now."""
    said = {"iss": ISSUER, "aud": "toolgate", "sub": "alice", "iat": now(), "exp": now() + 600} | changes
    return sealed(header(kid=kid), said, key or ed_key(), "EdDSA")


def bearer(*args: Any, **changes: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(*args, **changes)}"}


def home(folder: Path, url: str, **identity: Any) -> Path:
    CA.cert_pem.write_to_path(folder / "ca.pem")
    issuer = {
        "name": "corp", "issuer": ISSUER, "audience": "toolgate", "jwks": {"url": url, "ca_file": "ca.pem"},
        "roles": {"claim": "groups"},
    }  # fmt: skip
    return build(folder, tool("http://127.0.0.1:9"), identity={"issuers": [issuer], **identity})


def code(
    gate: Gate, headers: dict[str, str] | None = None, path: str = "/-/tools", door: str = "agent", method: str = "GET"
) -> str:
    """What asking comes to: the code that refuses, or the status."""
    heard = ask(gate.ports[door], method, path, headers=headers or {})
    problem = heard.headers.get("content-type") == "application/problem+json"
    return heard.json["code"] if problem else str(heard.status)


def metric(gate: Gate, result: str) -> float:
    return gate.metric(f'toolgate_authentications_total{{issuer="corp",result="{result}"}}')


def test_a_gate_serves_by_tokens(tmp_path: Path) -> None:
    """From the first call on; the principal is in the journal, the token is nowhere."""
    with issuing() as server, Gate(home(tmp_path, server.url)) as gate:
        good = token(groups=["viewer"])
        assert code(gate) == "auth.missing"
        assert code(gate, {"Authorization": f"Bearer {good}"}) == "200"
        assert code(gate, {"Authorization": "Bearer sk-nobodys"}) == "auth.invalid"
        assert code(gate, bearer(aud="other")) == "auth.invalid"
        assert code(gate, bearer(exp=now() - 60)) == "auth.expired"
        gate.call("DELETE", "/store/items/plain-1", Authorization=f"Bearer {good}")
        (decided,) = until(lambda: gate.events("Decided"), "the refusal is journaled")
        assert decided["principal"] == "corp/alice"

        assert code(gate, {}, "/-/bundle", "admin") == "auth.missing"
        assert code(gate, {"Authorization": f"Bearer {good}"}, "/-/bundle", "admin") == "200"
        assert code(gate, {"Authorization": f"Bearer {good}"}, "/-/reload", "admin", "POST") == "policy.not_allowed"
        assert code(gate, bearer(groups=["admin"]), "/-/reload", "admin", "POST") == "200"
        assert code(gate, path="/-/ready", door="health") == "200"

        assert (metric(gate, "verified"), metric(gate, "expired")) == (2.0, 1.0)
        assert metric(gate, "remembered") == 3.0
        assert 0 <= gate.metric('toolgate_issuer_keys_age_seconds{issuer="corp"}') < 60
        gate.stop()
        written = b"".join(
            path.read_bytes() for path in gate.home.rglob("*") if path.is_file() and path.suffix != ".pem"
        )
        for part in good.split("."):
            assert part.encode() not in written


def test_a_gate_starts_without_its_issuer_and_finds_it_later(tmp_path: Path) -> None:
    """Nobody can be told who it is, so it is not ready; SIGHUP has the keys read again, and then it is."""
    with issuing() as server:
        port = server.port
    gate = Gate(home(tmp_path, f"https://localhost:{port}/keys")).spawn()
    try:
        started = until(gate._started, "the gate starts")
        gate.ports = {name: int(url.rpartition(":")[2]) for name, url in started["listeners"].items()}
        assert gate.ready().status == 503
        assert gate.ready().json["reason"] == "the keys of no issuer could be read, so every token is refused"
        assert code(gate, bearer()) == "auth.invalid"
        with issuing(port):
            gate.signal(signal.SIGHUP)
            until(lambda: gate.ready().status == 200, "the keys are read", within_s=20)
            assert code(gate, bearer()) == "200"
        assert code(gate, bearer(sub="bob")) == "200"  # the last good keys
        why = next(line["why"] for line in gate.log if line["event"] == "issuer_keys_not_read")
        assert why == "`localhost` refused the connection"
    finally:
        gate.kill()
    gate.assert_no_defect()


def test_anonymous_beside_issuers_is_written(tmp_path: Path) -> None:
    """The workload calls without a token, an operator with one; the admin port takes no anonymous."""
    with issuing() as server, Gate(home(tmp_path, server.url, anonymous={"id": "digest", "roles": ["admin"]})) as gate:
        assert code(gate) == "200"
        assert code(gate, bearer()) == "200"
        assert code(gate, bearer(aud="x")) == "auth.invalid"
        assert code(gate, {}, "/-/bundle", "admin") == "auth.missing"


def test_keys_in_a_file_and_development_tokens(tmp_path: Path) -> None:
    """A file is read at once and again when it changes; production does not start with development tokens."""
    (tmp_path / "keys.json").write_bytes(jwks())
    issuer = {"name": "corp", "issuer": ISSUER, "audience": "toolgate", "jwks": {"file": "keys.json"}}
    build(tmp_path, tool("http://127.0.0.1:9"), identity={"issuers": [issuer]})
    with Gate(tmp_path) as gate:
        assert code(gate, bearer()) == "200"
        (tmp_path / "next.json").write_bytes(jwks(jwk(ed_key("next"), "next")))
        (tmp_path / "next.json").replace(tmp_path / "keys.json")
        until(lambda: code(gate, bearer(ed_key("next"), "next")) == "200", "the next key serves")
        assert code(gate, bearer()) == "auth.invalid"


@pytest.mark.parametrize(
    ("identity", "why"),
    [
        ({"development": True}, "`prod` is production"),
        (
            {"issuers": [{"name": "a", "issuer": "b", "audience": "c", "secret": "${env:TOOLGATE_CONFIG}"}]},
            "the secret of issuer `a` cannot be used: `${env:TOOLGATE_CONFIG}` is empty or not set",
        ),
        (
            {"issuers": [{"name": "a", "issuer": "b", "audience": "c", "secret": "${file:toolgate.yaml}", "algorithms": ["HS512"]}]},
            "the secret of issuer `a` cannot be used: the secret has",
        ),
    ],
)  # fmt: skip
def test_a_start_that_would_be_unsafe_is_refused(tmp_path: Path, identity: dict[str, Any], why: str) -> None:
    """J10 and INV22: a weak or missing secret, development tokens in production: exit 2, with the reason."""
    build(tmp_path, tool("http://127.0.0.1:9"), identity=identity)
    if "HS512" in str(identity):
        (tmp_path / "short").write_text("short")
        settings = (tmp_path / "toolgate.yaml").read_text().replace("${file:toolgate.yaml}", "${file:short}")
        (tmp_path / "toolgate.yaml").write_text(settings)
    gate = Gate(tmp_path).spawn()
    assert gate.process.wait(15) == 2
    assert why in gate.errors
