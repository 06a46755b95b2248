"""Policies of a real gate: a file with a slip in it, what a caller claims, what Cedar is handed."""

from __future__ import annotations

import os
import signal
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.e2e.world import ROOT
from tests.support import home
from tests.support.gate import Gate
from tests.support.policies import PERMIT_ALL
from tests.support.upstream import Upstream
from tests.support.waiting import until

HERE = '@id("here") permit (principal, action, resource) when { context.environment == "dev" };\n'
WRITERS = '@id("no") forbid (principal, action == Action::"store.putItem", resource) unless { principal in Role::"writer" };\n'


# -- a policy with a slip ----------------------------------------------------------------------------------------

SLIPS = {
    '@id("no")\nforbid (principal, action == Action::"store.putItme", resource);': ("all.cedar:4:", "`store.putItem`"),
    '@id("no")\nforbid (principal, action, resource) when { context.args.bdy.x == 1 };': ("all.cedar:4:", "bdy"),
    '@id("everything")\nforbid (principal, action, resource);': ("all.cedar:", "`everything`"),
}


def test_a_slip_never_serves(tmp_path: Path) -> None:
    """The last good policies serve; readiness, the log and a gauge say file and line, and what to write instead."""
    with (
        Upstream(tmp_path / "seen.txt") as upstream,
        Gate(home.build(tmp_path / "home", home.tool(upstream.url))) as gate,
    ):
        policy = gate.home / "policies" / "all.cedar"
        revision = gate.ready().json["bundle"]["revision"]
        for slip, (place, word) in SLIPS.items():
            before = gate.metric('toolgate_bundle_reload_total{result="refused"}')
            policy.write_text(PERMIT_ALL + slip)
            gate.signal(signal.SIGHUP)
            until(lambda many=before: gate.metric('toolgate_bundle_reload_total{result="refused"}') > many, slip)
            told = gate.ready()
            assert (200, revision) == (told.status, told.json["bundle"]["revision"])
            assert place in told.json["bundle"]["last_error"]
            assert word in told.json["bundle"]["last_error"]
            assert 1 == gate.metric("toolgate_bundle_stale")
            assert 200 == gate.put("plain-1").status
        policy.write_text(PERMIT_ALL + WRITERS)
        gate.signal(signal.SIGHUP)
        until(lambda: gate.put("plain-2").status == 403, "the corrected policy serves")
        problem = gate.put("plain-2").json
        assert ("policy.denied", ["no"]) == (problem["code"], problem["statements"])
        assert 0 == gate.metric("toolgate_bundle_stale")


def test_a_slip_at_start_stops_the_start(tmp_path: Path) -> None:
    """Exit 2, with every problem at once."""
    home.build(tmp_path, home.tool("http://127.0.0.1:9"))
    (tmp_path / "policies" / "all.cedar").write_text("\n".join(list(SLIPS)[:2]).replace('"no"', '"a"', 1))
    gate = Gate(tmp_path).spawn()
    assert 2 == gate.process.wait(15)
    assert "store.putItme" in gate.errors
    assert "bdy" in gate.errors


# -- what a caller claims ----------------------------------------------------------------------------------------


def token(folder: Path, *words: str) -> str:
    """A token as whoever develops mints it."""
    command = [sys.executable, "-m", "toolgate.cli", "token", "--config", "toolgate.yaml", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "proxy")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def developing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gate in `dev` that takes development tokens."""
    folder = tmp_path_factory.mktemp("claims")
    with Upstream(folder / "seen.txt") as upstream:
        home.build(folder / "home", home.tool(upstream.url), environment="dev", identity={"development": True})
        (folder / "home" / "policies" / "all.cedar").write_text(HERE + WRITERS)
        with Gate(folder / "home") as gate:
            yield gate


def bearer(gate: Gate, *words: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(gate.home, *words)}"}


def decided_for(gate: Gate, principal: str) -> list[dict[str, Any]]:
    return [each for each in gate.events("Decided") if each["principal"] == principal]


def test_another_environment_that_a_token_claims_is_ignored_and_journaled(developing: Gate) -> None:
    """The deployment says where this is; what the caller said is kept for whoever reads the journal."""
    who = ("--sub", "mallory", "--claim", "environment=prod", "--claim", "mode=audit", "--claim", "roles_=writer")
    claimed, plain = bearer(developing, *who), bearer(developing, "--sub", "mallory")
    for headers in (claimed, plain):
        assert 200 == developing.call("GET", "/store/items/plain-1", **headers).status
        assert "policy.denied" == developing.call("PUT", "/store/items/plain-1", {}, **headers).json["code"]
        assert "dev" == developing.call("GET", "/-/environment", **headers).json["environment"]
    decided = until(
        lambda: found if len(found := decided_for(developing, "dev/mallory")) == 4 else [], "all four are journaled"
    )
    assert ["prod", "prod", None, None] == [each.get("claimed_environment") for each in decided]
    assert {("dev", None)} == {(each["environment"], each.get("mode")) for each in decided}


def test_a_claim_that_agrees_is_no_claim_to_another(developing: Gate) -> None:
    """Nothing is journaled of it."""
    headers = bearer(developing, "--sub", "agrees", "--claim", "environment=dev")
    assert 200 == developing.call("GET", "/store/items/plain-1", **headers).status
    (decided,) = decided_for(developing, "dev/agrees")
    assert "claimed_environment" not in decided


WORDS = st.sampled_from(
    [
        "prod",
        "audit",
        "enforce",
        "admin",
        "writer",
        "toolgate",
        "dev/admin",
        "",
        "true",
        "1",
        '{"role":"writer"}',
        "role=writer",
    ]
) | st.text(string.ascii_letters + string.digits + '=;,{}":/ ', max_size=30).map(str.strip)
NAMES = st.sampled_from(
    ["X-Environment", "Environment", "X-Mode", "X-User", "X-Forwarded-User", "X-Forwarded-For", "Forwarded", "X-Remote-User", "Cookie",
     "X-Principal", "X-Roles", "X-Toolgate-Mode", "Toolgate-Reason", "User-Agent", "Proxy-Authorization", "X-Client-Cert", "traceparent"]
)  # fmt: skip
MEMBERS = st.sampled_from(
    ["environment", "mode", "principal", "roles", "role", "audit", "identity", "__entity", "context"]
)
BODIES = st.dictionaries(MEMBERS, WORDS | st.dictionaries(MEMBERS, WORDS, max_size=2), max_size=4)


@given(
    headers=st.dictionaries(NAMES, WORDS, max_size=4),
    body=BODIES,
    item=st.sampled_from(["plain-1", "plain-prod", "plain-mode=audit"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_byte_of_a_call_says_who_calls_or_where(
    developing: Gate, reader: dict[str, str], headers: dict[str, str], body: dict[str, Any], item: str
) -> None:
    """INV23: identity, environment and mode are the token's and the deployment's; the rest of a request moves none of them."""
    told = developing.call("PUT", f"/store/items/{item}", body, **headers, **reader)
    assert told.json["code"] == "policy.denied", told.json
    assert ("dev", ["no"]) == (told.json["environment"], told.json["statements"])
    by_name = {"operation": "store.putItem", "arguments": {"id": item, "body": body}}
    named = developing.call("POST", "/-/call", by_name, **headers, **reader)
    assert "policy.denied" == named.json["code"]


@pytest.fixture(scope="module")
def reader(developing: Gate) -> Iterator[dict[str, str]]:
    """Who may read, and not write; at the end the journal holds nobody else in its place."""
    yield bearer(developing, "--sub", "reader", "--role", "reader")
    decided = [each for each in developing.events("Decided") if each["principal"] not in {"dev/mallory", "dev/agrees"}]
    assert len(decided) > 60
    assert {("dev/reader", ("reader",), "dev", None)} == {
        (each["principal"], tuple(each["roles"]), each["environment"], each.get("mode")) for each in decided
    }


# -- T10: what Cedar is handed -----------------------------------------------------------------------------------

# Python runs this as it starts, before the gate: every request and entity that Cedar is handed leaves its size.
PROBE = """
import cedarpy, json, os
asked, made = cedarpy._internal.is_authorized, cedarpy.Entities.from_json_str
def note(kind, size):
    with open(os.environ["PROBE"], "a") as file:
        file.write(f"{kind} {size}\\n")
def is_authorized(request, *rest, **named):
    note("request", len(json.dumps(request)))
    return asked(request, *rest, **named)
def from_json_str(text, *rest, **named):
    note("entities", len(text))
    return made(text, *rest, **named)
cedarpy._internal.is_authorized, cedarpy.Entities.from_json_str = is_authorized, from_json_str
"""
READS_TEXT = PERMIT_ALL + (
    '@id("no") forbid (principal, action == Action::"store.addNote", resource) when { context.args.body.text like "*secret*" };\n'
)


@pytest.mark.parametrize(
    "more", [pytest.param("x" * 1_000_000, id="a text"), pytest.param(list(range(140_000)), id="a list"),
             pytest.param({f"k{at}": {"__extn": {"fn": "unknown", "arg": "q"}} for at in range(15_000)}, id="escapes")]
)  # fmt: skip
def test_what_no_statement_reads_costs_cedar_nothing(tmp_path: Path, more: Any) -> None:
    """T10: of a body of nearly a MiB, Cedar is handed the one text a statement reads, once."""
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "sitecustomize.py").write_text(PROBE)
    counted = tmp_path / "handed.txt"
    path = os.pathsep.join((str(tmp_path / "probe"), str(ROOT / "proxy")))
    with Upstream(tmp_path / "seen.txt") as upstream:
        home.build(tmp_path / "home", home.tool(upstream.url))
        (tmp_path / "home" / "policies" / "all.cedar").write_text(READS_TEXT)
        with Gate(tmp_path / "home", under=("env", f"PYTHONPATH={path}", f"PROBE={counted}")) as gate:
            counted.write_text("")
            assert 200 == gate.call("POST", "/store/notes/plain-1", {"text": "fine", "more": more}).status
            handed = [line.split() for line in counted.read_text().splitlines()]
            assert ["entities", "request"] == [kind for kind, _ in handed]
            assert sum(int(size) for _, size in handed) < 1000
            heard = gate.call("POST", "/store/notes/plain-2", {"text": "a secret", "more": more})
            assert "policy.denied" == heard.json["code"]


def test_what_a_statement_reads_is_bounded(tmp_path: Path) -> None:
    """T10: more than Cedar reads in good time is not handed to it, and the call is refused."""
    home.build(tmp_path, home.tool("http://127.0.0.1:9"))
    (tmp_path / "policies" / "all.cedar").write_text(READS_TEXT)
    with Gate(tmp_path) as gate:
        problem = gate.call("POST", "/store/notes/plain-1", {"text": "x" * 100_000}).json
        assert ("policy.error", ["no"]) == (problem["code"], problem["statements"])
        assert "is more than the 32 KiB statements can be told" in problem["detail"]
