"""Encoded slashes where a document declares them (`allowReserved`): taken there, refused everywhere else (B03, B04)."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import Outside
from tests.wire.door import heard, opened

from toolgate.core.bundle import Bundle
from toolgate.core.model import Principal
from toolgate.listeners.problem import Disclosure
from toolgate.load.bundle import Sources, load
from toolgate.testing.cases import Case, read_suite
from toolgate.testing.running import decide
from toolgate.testing.wants import differences

REPOSITORY = Path(__file__).resolve().parents[1] / "golden" / "repository"
SUITE = read_suite([REPOSITORY / "policies" / "tests"])


@pytest.fixture(scope="module")
def repository() -> Bundle:
    """A store of files whose names have slashes."""
    return load(Sources(REPOSITORY / "toolspecs", REPOSITORY / "policies", "prod", ("prod",)))


@pytest.fixture
def store(repository: Bundle) -> Outside:
    return Outside(repository)


def sent(store: Outside) -> list[str]:
    """What its upstream was asked for."""
    return [permit.valid.request.target for permit in store.upstream.sent]


@pytest.mark.parametrize("case", SUITE.cases, ids=lambda case: case.name)
def test_each_golden_case_decides_as_it_says(repository: Bundle, case: Case) -> None:
    """The rules as a reader of the toolspec would write them down."""
    assert () == differences(case.want, decide(case, repository, Principal("agent")))


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("src%2Fmain.py", "/files/src%2Fmain.py"),
        ("src%2fmain.py", "/files/src%2Fmain.py"),
        ("a%2F50%25%20b", "/files/a%2F50%25%20b"),
        ("a%2Fb%2F..c%2F...", "/files/a%2Fb%2F..c%2F..."),
        ("a%2F%C3%A9%3Fb", "/files/a%2F%C3%A9%3Fb"),
        ("a%2Fb/history", "/files/a%2Fb/history"),
    ],
)
async def test_what_is_judged_is_what_is_sent(store: Outside, path: str, target: str) -> None:
    """From the socket to the upstream: decoded once, and written again in one segment, with capital hexadecimals."""
    async with opened(gateway=store.gateway) as door:
        received = await door.say(b"GET /repository/files/%b HTTP/1.1\r\n{H}Connection: close\r\n\r\n" % path.encode())
        assert [200] == [answer.status for answer in heard(received)]
    assert [target] == sent(store)
    [permit] = store.upstream.sent
    assert unquote(path.removesuffix("/history")) == permit.valid.arguments["path"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("GET /repository/files/main.py%2Fhistory", "request.target"),  # another operation, decoded early
        ("GET /repository/files/src%252Fmain.py", "request.target"),  # what decodes twice, declared or not
        ("GET /repository/files/a%2Fb%2541", "request.target"),
        ("GET /repository/files/a%25%32%46b", "request.target"),
        ("GET /repository/files/a%2F..%2Fb", "request.target"),
        ("GET /repository/files/a%2Fb/c%2Fd", "request.target"),
        ("GET /repository/trees/a%2Fb", "request.target"),
        ("POST /repository/files/a%2Fb", "request.target"),
        ("DELETE /repository/files/a%2Fb", "tool.disallowed"),
    ],
)
async def test_every_other_place_is_refused(store: Outside, line: str, code: str) -> None:
    """The same answer as before anything was declared, and nothing is sent."""
    async with opened(gateway=store.gateway) as door:
        received = await door.say(b"%b HTTP/1.1\r\n{H}Connection: close\r\n\r\n" % line.encode())
        assert [code] == [answer.code for answer in heard(received)]
    assert [] == sent(store)


@pytest.mark.parametrize(
    ("disclosure", "codes"),
    [("explain", ["request.target", "tool.disallowed"]), ("hide", ["tool.unknown", "tool.unknown"])],
)
async def test_what_is_hidden_is_not_told_by_its_slashes(
    store: Outside, disclosure: Disclosure, codes: list[str]
) -> None:
    """With `disclosure: hide` a disallowed operation answers like a path that does not exist, on the wire too."""
    async with opened(gateway=store.gateway, disclosure=disclosure) as door:
        absent = await door.say(b"DELETE /repository/nothing/a%2Fb HTTP/1.1\r\n{H}Connection: close\r\n\r\n")
        present = await door.say(b"DELETE /repository/files/a%2Fb HTTP/1.1\r\n{H}Connection: close\r\n\r\n")
        assert codes == [answer.code for said in (absent, present) for answer in heard(said)]
    assert [] == sent(store)


PIECES = st.sampled_from(
    ["a", "b.py", "history", ".", "..", "...", "", "%", "2F", "/", "\\", ";", "\x00", "é", "%2F", "%2e"]
)


@settings(max_examples=300)
@given(value=st.lists(PIECES, max_size=8).map("".join))
def test_no_value_leads_to_another_path(repository: Bundle, value: str) -> None:
    """Whatever a declared value holds: refused, or sent in one segment that no reader takes for another operation's path."""
    outcome = repository.catalog.operations["repository.getFile"].signature.accept({"path": value})
    target = getattr(getattr(outcome, "request", None), "target", None)
    if target is None:
        return
    assert 3 == len(target.split("/"))
    for reading in (unquote(target), unquote(unquote(target))):
        assert {"", ".", ".."}.isdisjoint(reading.split("/")[2:])
        assert "\\" not in reading
    found = repository.catalog.find("GET", f"/repository{target}")
    if hasattr(found, "operations"):
        assert ["repository.getFile"] == [operation.key for operation in found.operations]
        for reading in (unquote(target), unquote(unquote(target))):
            assert not re.fullmatch("/files/[^/]+/history", reading)
