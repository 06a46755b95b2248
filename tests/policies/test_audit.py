"""Audit: decided, journaled, counted, and not enforced; for one statement, and for a whole gate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import home
from tests.support.desk import ALL, desk, said
from tests.support.gate import Gate
from tests.support.upstream import Upstream

READ = 'action == Action::"desk.readNote"'
POLICIES = """
@id("reads") permit (principal, action in Action::"read", resource);
@id("writes") permit (principal, action == Action::"store.putItem", resource);
@id("no-secrets") @reason("Secrets stay") forbid (principal, action == Action::"store.putItem", resource);
"""


@pytest.mark.parametrize(
    ("statements", "answer", "would"),
    [
        (f'{ALL}@id("soon") @mode("audit") forbid (principal, {READ}, resource);', "completed", ("refuse", "policy.denied", ["soon"])),
        (f'@id("soon") @mode("audit") permit (principal, {READ}, resource);', "policy.not_allowed", ("permit", None, ["soon"])),
        (f'{ALL}@id("soon") @mode("audit") @approval("oncall") forbid (principal, {READ}, resource);', "completed", ("refuse", "approval.required", ["soon"])),
        (f'{ALL}@id("soon") @mode("audit") forbid (principal, {READ}, resource) when {{ context.run.calls + 9223372036854775807 < 0 }};', "completed", None),
        (f'{ALL}@id("soon") @mode("audit") permit (principal, {READ}, resource);', "completed", None),
        (f'{ALL}@id("no") forbid (principal, {READ}, resource);\n@id("soon") @mode("audit") permit (principal, {READ}, resource);', "policy.denied", None),
    ],
)  # fmt: skip
async def test_a_statement_in_audit_changes_the_journal_and_nothing_else(
    tmp_path: Path, statements: str, answer: str, would: tuple[str, str | None, list[str]] | None
) -> None:
    """In both directions; where it would change nothing, nothing is said of it."""
    async with desk(tmp_path, statements) as gate:
        assert answer == said(await gate.ask("GET", "/desk/notes/n1"))
        (decided,) = await gate.decided(1)
        flip = dict(zip(("decision", "code", "statements"), would, strict=True)) if would else None
        assert flip == decided.get("would")
        metrics = (await gate.served.ask("GET", "/metrics", door="health")).body.decode()
        counted = (
            'toolgate_audit_flips_total{operation="desk.readNote",tool="desk",would="' + would[0] + '"} 1.0'
            if would
            else ""
        )
        assert counted in metrics
        assert bool(would) is ("toolgate_audit_flips_total{" in metrics)


async def test_a_permit_in_audit_lists_nothing(tmp_path: Path) -> None:
    """What is not enforced promises nothing."""
    async with desk(tmp_path, f'@id("soon") @mode("audit") permit (principal, {READ}, resource);') as gate:
        assert [] == (await gate.ask("GET", "/-/tools")).json["tools"]


# -- the whole gate ----------------------------------------------------------------------------------------------


def built(folder: Path, upstream: str, **settings: Any) -> Path:
    home.build(folder, home.tool(upstream), **settings)
    (folder / "policies" / "all.cedar").write_text(POLICIES)
    return folder


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """Production in mode audit: said in the settings, and once more."""
    folder = tmp_path_factory.mktemp("audit")
    with Upstream(folder / "seen.txt") as upstream:
        flags = ("--set", "mode=audit", "--set", "audit_in_production=true")
        with Gate(built(folder / "home", upstream.url), flags=flags) as gate:
            yield gate


def test_whoever_looks_is_told(audited: Gate) -> None:
    """The banner, readiness, the agent's own view and a gauge."""
    assert "POLICIES ARE NOT ENFORCED" in audited.errors
    assert "audit" == audited.ready().json["mode"]
    assert "audit" == audited.call("GET", "/-/environment").json["mode"]
    assert 1 == audited.metric("toolgate_mode_audit")


def test_what_policies_refuse_is_sent_and_journaled_as_what_it_would_be(audited: Gate) -> None:
    """A forbid, and no permit at all; each is a flip."""
    assert [200, 200] == [audited.put("plain-1").status, audited.get("plain-2").status]
    decided = {each["operation"]: each for each in audited.events("Decided")}
    put = decided["store.putItem"]
    assert ("permit", "audit") == (put["decision"], put["mode"])
    assert {"decision": "refuse", "code": "policy.denied", "statements": ["no-secrets"]} == put["would"]
    assert "would" not in decided["store.getItem"]
    assert 1 == audited.metric('toolgate_audit_flips_total{operation="store.putItem",tool="store",would="refuse"}')
    listed = [each["operation"] for each in audited.call("GET", "/-/tools").json["tools"]]
    assert ["store.addNote", "store.getItem", "store.putItem", "store.quickItem"] == sorted(listed)


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/store/nothing", None, "tool.unknown"),
        ("DELETE", "/store/items/plain-9", None, "tool.disallowed"),
        ("PUT", "/store/items/plain-9", [], "arguments.invalid"),
        ("PUT", "/store/items/plain-9", "a=b", "arguments.media_type"),
        ("GET", "/store/items/a%252Fb", None, "request.target"),
    ],
)
def test_what_is_no_matter_of_policies_is_refused_all_the_same(
    audited: Gate, method: str, path: str, body: Any, code: str
) -> None:
    """Audit sends nothing that is unknown, disallowed here or does not fit."""
    assert code == audited.call(method, path, body).json["code"]


@pytest.mark.parametrize("name", ["prod", "production", "live"])
def test_production_must_be_told_twice(tmp_path: Path, name: str) -> None:
    """One misplaced word does not switch production's policies off: exit 2, and the sentence that says how to mean it."""
    spec = home.tool("http://127.0.0.1:9")
    spec["environments"] = {"dev": spec["environments"]["dev"], name: spec["environments"]["prod"]}
    home.build(tmp_path, spec, environment=name, environments=["dev", name])
    gate = Gate(tmp_path, flags=("--set", "mode=audit")).spawn()
    assert 2 == gate.process.wait(15)
    assert f"`mode` is `audit` in `{name}`, where nothing that policies refuse would be stopped" in gate.errors
    assert "also write `audit_in_production: true`" in gate.errors


def test_elsewhere_once_is_enough(tmp_path: Path) -> None:
    """Also by a variable; and `--set mode=enforce` goes before it."""
    built(tmp_path, "http://127.0.0.1:9", environment="dev")
    variable = ("env", "TOOLGATE_MODE=audit")
    with Gate(tmp_path, under=variable) as gate:
        assert "audit" == gate.ready().json["mode"]
        gate.stop()
    with Gate(tmp_path, under=variable, flags=("--set", "mode=enforce")) as gate:
        assert "mode" not in gate.ready().json
        assert 0 == gate.metric("toolgate_mode_audit")
        assert "NOT ENFORCED" not in gate.errors
        assert "policy.denied" == gate.put("plain-1").json["code"]
