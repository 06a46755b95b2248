"""What is not listed is refused, whatever is asked of it and however; and where it is hidden, it is nowhere."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.e2e.world import Heard, ask
from tests.listeners.served import Served, serving_bundle
from tests.support.desk import ALL, Desk, desk
from tests.support.random_policies import PEOPLE, Rule, bundles
from tests.support.random_tools import CALLS, HIDDEN, KEYS, random_tools, with_rules

from toolgate.auth import AuthError
from toolgate.core.bundle import Bundle
from toolgate.core.model import Principal, Situation
from toolgate.listeners.problem import Disclosure

NOTES = ("", "", '@approval("oncall")', '@mode("audit")')
_METHODS = {"read": "GET", "write": "POST", "drop": "DELETE", "purge": "PUT"}


@dataclass
class Known:
    """Tokens that are names of principals."""

    people: dict[str, Principal] = field(default_factory=dict)
    names: Iterator[int] = field(default_factory=itertools.count)

    def token(self, principal: Principal) -> str:
        name = f"t{next(self.names)}"
        self.people[name] = principal
        return name

    def authenticate(self, token: str | None) -> Principal:
        if token not in self.people:
            raise AuthError("auth.invalid", "nobody has this token")
        return self.people[token]


@dataclass(frozen=True)
class Door:
    """A gate that listens in another thread."""

    served: Served
    known: Known
    tools: Bundle

    def serve(self, rules: dict[str, Rule]) -> None:
        self.served.gateway.swap(with_rules(self.tools, rules))

    def ask(self, token: str, method: str, path: str, body: Any = None) -> Heard:
        return ask(self.served.ports["agent"], method, path, body, headers={"Toolgate-Token": token})


@contextmanager
def listening(folder: Path, disclosure: Disclosure = "explain") -> Iterator[Door]:
    """Serve the random tools beside this thread."""
    ready, done, known, tools = threading.Event(), asyncio.Event(), Known(), random_tools(folder)
    held: list[tuple[Served, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        async with serving_bundle(tools, disclosure, known) as served:
            held.append((served, asyncio.get_running_loop()))
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield Door(held[0][0], known, tools)
    finally:
        if held:
            held[0][1].call_soon_threadsafe(done.set)
        thread.join(10)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with listening(tmp_path_factory.mktemp("random")) as door:
        yield door


def path_of(key: str, arguments: Mapping[str, Any]) -> str:
    query = urlencode({name: json.dumps(value) for name, value in arguments.items()}, quote_via=quote)
    return f"/{key.replace('.', '/')}{'?' if query else ''}{query}"


def _required(code: str | None) -> str | None:
    """Who asks a second time is told that a person was asked already, or that too many are asked."""
    return "approval.required" if code in {"approval.pending", "approval.too_many"} else code


def unlisted_is_refused(
    door: Door, rules: dict[str, Rule], principal: Principal, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    door.serve(rules)
    token = door.known.token(principal)
    tools = door.ask(token, "GET", "/-/tools").json["tools"]
    listed = {tool["operation"]: tool["requires_approval"] for tool in tools}
    assert set(listed) <= {*KEYS, "t.list"}
    for key, arguments in [*calls, (HIDDEN, {})]:
        before = len(door.served.upstream.sent)
        named = {"operation": key, "arguments": arguments}
        answers = [
            door.ask(token, _METHODS[key.partition(".")[2]], path_of(key, arguments)),
            door.ask(token, "POST", "/-/call", named),
        ]
        explained = door.ask(token, "POST", "/-/explain", named).json["decision"]
        codes = [_required(answer.json.get("code")) for answer in answers]
        if key not in listed:
            assert None not in codes
            assert ["gate", "gate"] == [answer.headers["toolgate-source"] for answer in answers]
            assert before == len(door.served.upstream.sent)
        if not listed.get(key, False):
            assert "approval.required" not in codes
        if not door.served.gateway.bundle.policies.reads_run:  # else each call may change what the next is told
            assert codes == [_required(explained.get("code"))] * 2


SAMPLE = {"calls": st.lists(CALLS, min_size=1, max_size=4), "rules": bundles(notes=NOTES), "principal": PEOPLE}
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@given(**SAMPLE)
@settings(max_examples=50, deadline=None, suppress_health_check=CHECKS)
def test_what_is_not_listed_is_refused(
    door: Door, rules: dict[str, Rule], principal: Principal, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    """By path and by name, over random policies, principals and calls; and explaining says what calling says."""
    unlisted_is_refused(door, rules, principal, calls)


@pytest.mark.soak
@given(**SAMPLE)
@settings(max_examples=3000, deadline=None, suppress_health_check=CHECKS)
def test_a_long_walk(
    door: Door, rules: dict[str, Rule], principal: Principal, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    """The same, for long."""
    unlisted_is_refused(door, rules, principal, calls)


# -- hidden ------------------------------------------------------------------------------------------------------

SOME = '@id("some") permit (principal, action == Action::"desk.readPair", resource);\n'
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "text/csv"}
# What is asked of an operation: method, path with its name left open, body, headers. `{0}` is one that exists or one that does not.
BY_PATH: tuple[tuple[str, str, str, bytes | None, dict[str, str]], ...] = (
    ("fits", "POST", "/desk/{0}", b'{"title":"x"}', JSON),
    ("does not fit", "POST", "/desk/{0}", b'{"title":1}', JSON),
    ("no JSON", "POST", "/desk/{0}", b"{", JSON),
    ("a key twice", "POST", "/desk/{0}", b'{"title":1,"title":1}', JSON),
    ("another media type", "POST", "/desk/{0}", b"a", FORM),
    ("no media type", "POST", "/desk/{0}", b"", {}),
    ("another method", "DELETE", "/desk/{0}", None, {}),
    ("a method of the list", "HEAD", "/desk/{0}", None, {}),
    ("an unknown parameter", "POST", "/desk/{0}?nope=1", b"{}", JSON),
    ("a bad escape", "POST", "/desk/{0}?filter[kind]=%ff", b"{}", JSON),
    ("a reserved key", "POST", "/desk/{0}", b'{"owner":{"__extn":{}}}', JSON),
    ("a resource", "GET", "/desk/{0}/n1", None, {}),
    ("no resource", "GET", "/desk/{0}/zz", None, {}),
    ("a destructive one", "DELETE", "/desk/{0}/n1", None, {}),
    ("an encoded slash", "GET", "/desk/{0}/a%2Fb", None, {}),
    ("dots", "GET", "/desk/{0}/..", None, {}),
    ("a long id", "GET", "/desk/{0}/" + "x" * 200, None, {}),
)
BY_NAME = (
    '{"id":"n1"}', '{"id":"zz"}', '{"id":1}', "{}", '{"body":{}}', '{"body":{"title":1}}', '{"body":1}', "[]", '"{}"', '"{"',
    '{"body":{"owner":{"__entity":{}}}}', '{"nope":1}',
)  # fmt: skip


def plain(told: Any) -> tuple[int, dict[str, str], int, bytes]:
    """An answer, without what is its own: the call's id, wherever it stands, and the time."""
    own = told.headers.get("Toolgate-Call", "")
    headers = {name.lower(): value for name, value in told.headers.items()}
    length = int(headers.pop("content-length")) - 2 * len(own)
    left = {name: value for name, value in headers.items() if name not in {"date", "toolgate-call"}}
    return told.status, left, length, told.body.replace(own.encode(), b"ID")


async def hidden(gate: Desk) -> None:
    for real, none in (("notes", "notez"), ("files", "filez"), ("scrolls", "scrollz"), ("secrets", "secretz")):
        for name, method, path, body, headers in BY_PATH:
            told = [
                plain(await gate.served.ask(method, path.format(each), data=body, headers=headers))
                for each in (real, none)
            ]
            assert told[0] == told[1], (real, name)
    for door in ("/-/call", "/-/explain"):
        for operation, unknown in (
            ("desk.readNote", "desk.readNot3"),
            ("desk.dropNote", "desk.dropNot3"),
            ("desk__writeNote", "desk__writeNot3"),
            ("desk.readSecret", "desk.readSecre3"),
            ("desk.sealFile", "dask.sealFile"),
        ):
            for arguments in BY_NAME:
                asked = [f'{{"operation":"{each}","arguments":{arguments}}}'.encode() for each in (operation, unknown)]
                told = [plain(await gate.ask("POST", door, each)) for each in asked]
                assert told[0] == told[1], (door, operation, arguments)


@pytest.mark.parametrize(
    "policies",
    [
        SOME,
        f'{SOME}@id("no") forbid (principal, action, resource) unless {{ action == Action::"desk.readPair" }};',
        f'{ALL}@id("no") @hint("Ask for it") forbid (principal, action, resource) unless {{ action == Action::"desk.readPair" }};',
    ],
)
async def test_what_is_hidden_answers_like_what_is_not_there(tmp_path: Path, policies: str) -> None:
    """SECURITY: with `disclosure: hide`, status, headers and bytes are the same at every stage but for the call's own id."""
    async with desk(tmp_path, policies, disclosure="hide") as gate:
        listed = [tool["operation"] for tool in (await gate.ask("GET", "/-/tools")).json["tools"]]
        assert ["desk.readPair"] == listed
        await hidden(gate)
        assert [] == gate.sent


async def test_what_is_hidden_is_not_told_by_waiting(tmp_path: Path) -> None:
    """Also while its tool is not ready: only who may call it is told to wait."""
    async with desk(tmp_path, SOME, disclosure="hide", live=True) as gate:
        gate.served.gateway.situation = Situation(unready={"desk": "its list cannot be read"})
        assert "environment.not_ready" == (await gate.ask("GET", "/desk/pairs/n1")).json["code"]
        await hidden(gate)


@pytest.mark.parametrize(
    ("disclosure", "policies", "shown"),
    [
        ("explain", SOME, (["desk"], ["Note"])),
        ("hide", SOME, (["desk"], ["Note"])),
        ("explain", '@id("none") permit (principal in Role::"x", action, resource);', (["desk"], ["Note"])),
        ("hide", '@id("none") permit (principal in Role::"x", action, resource);', ([], [])),
    ],
)
async def test_a_tool_of_which_nothing_may_be_called_is_hidden(
    tmp_path: Path, disclosure: Disclosure, policies: str, shown: tuple[list[str], list[str]]
) -> None:
    """`GET /-/environment` shows neither its name nor what it lists."""
    async with desk(tmp_path, policies, disclosure=disclosure) as gate:
        told = (await gate.ask("GET", "/-/environment")).json
        assert shown == ([tool["tool"] for tool in told["tools"]], list(told["resources"]))
