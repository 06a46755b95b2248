"""Tokens at real doors: which header counts, what an agent is told, what an operator may do."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from tests.auth.idp import NOW, World, corp, token, world
from tests.wire.door import RUNS, FakeCounts, FakeGateway, FakeLog, FakeOwn

from toolgate import ledger as ledgers
from toolgate.auth import Anonymous, Authenticator, Operators
from toolgate.auth.issuer import RoleRule
from toolgate.core.codes import CODES
from toolgate.core.model import Principal
from toolgate.listeners.admin import AdminApi
from toolgate.listeners.answers import Front
from toolgate.listeners.calls import Calls, Places
from toolgate.listeners.health import Health, OwnFront
from toolgate.listeners.http import AgentFront
from toolgate.listeners.server import Bounds, Listener
from toolgate.listeners.voice import Sampled, Voice
from toolgate.listeners.wire import Rules

READS = ("/-/journal", "/-/journal/verify", "/-/runs", "/-/runs/r1", "/-/bundle")


@dataclass
class Door:
    """An open listener, and what came through it."""

    url: str
    session: aiohttp.ClientSession
    gateway: FakeGateway
    counts: FakeCounts
    log: FakeLog
    reloads: list[None] = field(default_factory=list)

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, headers=named) as reply:
            return reply.status, reply.headers.copy(), await reply.read()

    async def told(self, path: str, method: str = "GET", **headers: str) -> str:
        """Who was let in, or the code that refused."""
        _, _, body = await self.ask(path, method, **headers)
        for code in CODES:
            if f'"code":"{code}"'.encode() in body:
                return code
        return self.gateway.calls[-1].principal.id if self.gateway.calls else "answered"


@contextlib.asynccontextmanager
async def opened(
    front: Front, gateway: FakeGateway, counts: FakeCounts, log: FakeLog, rules: Rules
) -> AsyncIterator[Door]:
    listener = Listener(front, Bounds(), rules)
    port = await listener.listen("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            yield Door(f"http://127.0.0.1:{port}", session, gateway, counts, log)
    finally:
        await listener.close()


def says(gateway: FakeGateway, counts: FakeCounts, log: FakeLog) -> Voice:
    ids = itertools.count()
    return Voice("agent", lambda: gateway.bundle, lambda: f"own{next(ids)}", counts, Sampled(log, lambda: 0.0))


@contextlib.asynccontextmanager
async def agents(who: Authenticator, rules: Rules) -> AsyncIterator[Door]:
    gateway, counts, log = FakeGateway(), FakeCounts(), FakeLog()
    front = AgentFront(Calls(gateway, Places(9, 9), "explain"), FakeOwn(), who, RUNS, says(gateway, counts, log))
    async with opened(front, gateway, counts, log, rules) as door:
        yield door


@contextlib.asynccontextmanager
async def operators(who: Authenticator) -> AsyncIterator[Door]:
    gateway, counts, log = FakeGateway(), FakeCounts(), FakeLog()
    voice, ledger, reloads = says(gateway, counts, log), ledgers.open("memory:", clock=lambda: 0), []

    async def reload() -> None:
        reloads.append(None)

    health = Health(lambda: gateway.bundle, lambda: None, lambda: None)
    api = AdminApi(lambda: gateway.bundle, reload, ledger.journal, health, voice)
    try:
        async with opened(OwnFront(api.routes, voice, who), gateway, counts, log, READ) as door:
            door.reloads = reloads
            yield door
    finally:
        await ledger.close()


READ = Rules(frozenset(), authorization="read")
DROPPED = Rules(frozenset())
BEARER = f"Bearer {token()}"


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "auth.missing"),
        ({"Authorization": BEARER}, "corp/alice"),
        ({"Authorization": f"bearer   {token()}"}, "corp/alice"),
        ({"Toolgate_Token": token()}, "corp/alice"),
        ({"Toolgate_Token": token(sub="bob"), "Authorization": BEARER}, "corp/bob"),
        ({"Toolgate_Token": token(), "Authorization": "Bearer sk-somebody-elses"}, "corp/alice"),
        ({"Toolgate_Token": token(), "Authorization": "Basic dXNlcjpwYXNz"}, "corp/alice"),
        ({"Toolgate_Token": "x", "Authorization": BEARER}, "auth.invalid"),
        ({"Toolgate_Token": "", "Authorization": BEARER}, "auth.invalid"),
        ({"Toolgate_Token": BEARER}, "auth.invalid"),
        ({"Authorization": "Bearer sk-placeholder"}, "auth.invalid"),
        ({"Authorization": "Bearer"}, "auth.invalid"),
        ({"Authorization": ""}, "auth.invalid"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "auth.invalid"),
        ({"Authorization": token()}, "corp/alice"),
        ({"Authorization": f"DPoP {token()}"}, "auth.invalid"),
        ({"Authorization": f"Bearer {token(exp=NOW - 31, iat=NOW - 90)}"}, "auth.expired"),
    ],
)
async def test_which_header_counts(corp_world: World, headers: dict[str, str], told: str) -> None:
    """`Toolgate-Token` goes before `Authorization`; what is presented there must verify, whatever its scheme."""
    async with agents(corp_world.tokens, READ) as door:
        assert await door.told("/t/x", **headers) == told
        assert [call.principal.id for call in door.gateway.calls] == ([told] if "/" in told else [])


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": BEARER}, {"Authorization": "Basic x"}, {"Authorization": ""}]
)
async def test_without_issuers_authorization_is_dropped_unread(headers: dict[str, str]) -> None:
    """SDKs always send one; it means nothing here, and the workload calls."""
    async with agents(Anonymous(Principal("digest")), DROPPED) as door:
        assert await door.told("/t/x", **headers) == "digest"
        assert await door.told("/t/x", Toolgate_Token=token(), **headers) == "auth.invalid"


async def test_a_token_is_never_handed_on(corp_world: World) -> None:
    """Neither header is part of the call that is judged, journaled and sent."""
    async with agents(corp_world.tokens, READ) as door:
        await door.told("/t/x", Toolgate_Token=token(), Authorization=BEARER)
        assert {"authorization", "toolgate-token"} & set(door.gateway.wires[0].headers) == set()


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, 'Bearer realm="toolgate"'),
        ({"Authorization": "Bearer x"}, 'Bearer realm="toolgate", error="invalid_token"'),
        (
            {"Authorization": f"Bearer {token(exp=NOW - 31, iat=NOW - 90)}"},
            'Bearer realm="toolgate", error="invalid_token"',
        ),
    ],
)
async def test_a_refusal_challenges(corp_world: World, headers: dict[str, str], challenge: str) -> None:
    """RFC 6750 §3: what to present; and the log has the code and nothing of the token."""
    async with agents(corp_world.tokens, READ) as door:
        status, answered, body = await door.ask("/t/x", **headers)
        assert (status, answered["WWW-Authenticate"]) == (401, challenge)
        shown = str(door.log.lines).encode() + body
        assert [
            each for value in headers.values() for each in value.split(".") if len(each) > 9 and each.encode() in shown
        ] == []


async def test_the_agents_own_paths_need_a_token_too(corp_world: World) -> None:
    """What exists is nobody's business who cannot say who it is."""
    async with agents(corp_world.tokens, READ) as door:
        assert await door.told("/-/tools") == "auth.missing"
        assert (await door.ask("/-/tools", Authorization=BEARER))[0] == 200


@pytest.mark.parametrize(
    ("roles", "reads", "reloads"),
    [
        ([], "policy.not_allowed", "policy.not_allowed"),
        (["digest", "Admin", "admins"], "policy.not_allowed", "policy.not_allowed"),
        (["viewer"], "answered", "policy.not_allowed"),
        (["approver"], "answered", "policy.not_allowed"),
        (["admin"], "answered", "answered"),
        (["viewer", "admin"], "answered", "answered"),
    ],
)
async def test_operators_have_roles(tmp_path: Path, roles: list[str], reads: str, reloads: str) -> None:
    """A viewer reads, an admin reloads as well; an approver is a viewer; names are exact."""
    place = world(tmp_path, corp(tmp_path / "jwks.json", roles=RoleRule("groups")))
    bearer = f"Bearer {token(groups=roles)}"
    async with operators(Operators(place.tokens, None)) as door:
        for path in READS:
            if reads == "policy.not_allowed":
                assert await door.told(path, Authorization=bearer) == reads
            else:
                assert await door.told(path, Authorization=bearer) in {"answered", "arguments.invalid"}
        assert await door.told("/-/reload", "POST", Authorization=bearer) == reloads
        assert len(door.reloads) == (reloads == "answered")


async def test_a_missing_role_is_named(tmp_path: Path) -> None:
    """The operator learns which role, and whom to ask."""
    place = world(tmp_path)
    async with operators(Operators(place.tokens, None)) as door:
        status, _, body = await door.ask("/-/reload", "POST", Authorization=BEARER)
        assert status == 403
        assert b"this path needs the role `admin`, which the token does not give" in body
        assert b'"action":"escalate"' in body


async def test_an_admin_port_serves_nobody_without_a_token(tmp_path: Path) -> None:
    """Not even the agents' anonymous principal: on a shared loopback that is every process."""
    place = world(tmp_path, anonymous=Principal("digest", ("admin",)))
    async with operators(Operators(place.tokens, None)) as door:
        for path in (*READS, "/-/live", "/-/ready"):
            assert await door.told(path) == "auth.missing"
        assert await door.told("/-/reload", "POST") == "auth.missing"
        assert door.reloads == []


async def test_whoever_is_trusted_at_a_guarded_door_needs_no_token(tmp_path: Path) -> None:
    """At a Unix socket the file's mode is the guard; a token that is presented there still decides."""
    place = world(tmp_path)
    async with operators(Operators(place.tokens, Principal("operator", ("admin",)))) as door:
        assert await door.told("/-/reload", "POST") == "answered"
        assert await door.told("/-/reload", "POST", Authorization=BEARER) == "policy.not_allowed"
        assert await door.told("/-/reload", "POST", Authorization="Bearer x") == "auth.invalid"
