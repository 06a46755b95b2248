"""The bytes of a request: exactly what was judged, and only what the gate may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.upstream.scripted import parse

from toolgate.core.catalog import Credential, Target
from toolgate.core.model import UpstreamRequest
from toolgate.ports import UpstreamError
from toolgate.upstream.request import Added, authority, check_target, render

ADDED = Added("Host: metrics:8080\r\nAccept-Encoding: identity\r\n", frozenset({"accept-encoding"}))
AGENT = "User-Agent: toolgate/1\r\n"
BASE = [(b"host", b"metrics:8080"), (b"accept-encoding", b"identity")]

_segment = st.from_regex(
    r"[A-Za-z0-9_~!$&'()*+,=:@;-]([A-Za-z0-9._~!$&'()*+,=:@;-]|%[2-7][0-9A-F]){0,8}", fullmatch=True
)
_query = st.from_regex(r"([A-Za-z0-9._~!$&'()*+,=:@;/?\[\]-]|%[0-9A-F]{2}){0,20}", fullmatch=True)
_targets = st.builds(
    lambda segments, query: "/" + "/".join(segments) + (f"?{query}" if query else ""),
    st.lists(_segment, max_size=4),
    _query,
)
_headers = st.lists(
    st.tuples(
        st.from_regex(r"x-q-[a-z0-9!#$%&'*+.^_`|~-]{1,10}", fullmatch=True),
        st.from_regex(r"[!-~]([ \t!-~]{0,10}[!-~])?", fullmatch=True),
    ),
    max_size=5,
).map(tuple)


def rendered(request: UpstreamRequest, added: Added = ADDED, base_path: str = "") -> bytes:
    return b"".join(render(request, base_path, added, AGENT))


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    target=_targets,
    headers=_headers,
    body=st.none() | st.binary(max_size=100) | st.just(b"x" * 70_000),
)
def test_another_parser_reads_what_was_judged(
    method: str, target: str, headers: tuple[tuple[str, str], ...], body: bytes | None
) -> None:
    """What h11 reads from the bytes is the request that was judged, and the gate's own headers."""
    request = UpstreamRequest(method, target, headers, body)

    actual = parse(rendered(request, base_path="/api"))

    length = [(b"content-length", str(len(body or b"")).encode())]
    framed = length if body is not None or method in {"POST", "PUT", "PATCH"} else []
    sent = [(name.encode(), value.encode()) for name, value in headers]
    own = [(b"accept", b"*/*"), (b"user-agent", b"toolgate/1")]
    assert actual == (method.encode(), f"/api{target}".encode(), BASE + sent + own + framed, body or b"")


@pytest.mark.parametrize(
    "target",
    [
        *(
            "",
            "metrics",
            "//evil/x",
            "/a//b",
            "http://evil/",
            "*",
            "/a b",
            "/a\r\nX: y",
            "/a\n",
            "/a\t",
            "/a#b",
            "/a\\b",
        ),
        *(
            "/..",
            "/a/../b",
            "/a/.",
            "/%2e%2E/b",
            "/a/.%2e",
            "/./b",
            "/..?x",
            "/%zz",
            "/%2",
            "/%",
            "/\x00",
            "/é",
            "/a?b c",
        ),
        *("/a?b#c", "/a?\r\n", "/{name}", "/a|b", '/a"b', "/[a]"),
    ],
)
def test_a_target_in_any_other_form_is_not_sent(target: str) -> None:
    """A target that another parser could read differently is a defect: refused, not repaired."""
    with pytest.raises(UpstreamError) as raised:
        rendered(UpstreamRequest("GET", target, (), None))

    assert (raised.value.code, raised.value.sent) == ("internal.error", "no")


@pytest.mark.parametrize(
    "target", ["/", "/a/", "/.well-known/x", "/a...b", "/a/...", "/x.json", "/a:cancel", "/a;v=1", "/q?f[a]=1&b=../x"]
)
def test_ordinary_targets_are_sent(target: str) -> None:
    """Canonical targets pass as they are."""
    assert parse(rendered(UpstreamRequest("GET", target, (), None)))[1] == target.encode()


@pytest.mark.parametrize("method", ["get", "CONNECT", "TRACE", "GET / HTTP/1.1\r\nX: ", "", "QUERY"])
def test_other_methods_are_not_sent(method: str) -> None:
    """Only the methods an operation can have are sent."""
    with pytest.raises(UpstreamError, match="its method is not one"):
        rendered(UpstreamRequest(method, "/", (), None))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("Host", "evil"), ("content-length", "2"), ("Transfer-Encoding", "chunked"), ("Connection", "upgrade")),
        *(("Expect", "100-continue"), ("TE", "trailers"), ("Upgrade", "h2c"), ("Content-Encoding", "gzip")),
        *(("Authorization", "Bearer agent"), ("Proxy-Authorization", "x"), ("Forwarded", "for=1"), ("Via", "x")),
        *(("X-Forwarded-For", "1"), ("x_forwarded_host", "evil"), ("X-Real-IP", "1"), ("Toolgate-Run", "r")),
        *(("X-HTTP-Method-Override", "DELETE"), ("X-Original-URL", "/admin"), ("Content_Length", "2")),
        *(("X: Y", "v"), ("X Y", "v"), ("", "v"), ("é", "v"), ("X\r\nY", "v"), ("x\n", "v")),
        *(
            ("x", "a\r\nb: c"),
            ("x", "a\nb"),
            ("x", "a\x00b"),
            ("x", " a"),
            ("x", "a "),
            ("x", "é"),
            ("x", "a\n"),
            ("x", "\x7f"),
        ),
    ],
)
def test_headers_that_are_not_an_operations_are_not_sent(name: str, value: str) -> None:
    """Framing, routing, identity, overrides and malformed headers never leave, whoever put them there."""
    with pytest.raises(UpstreamError) as raised:
        rendered(UpstreamRequest("GET", "/", ((name, value),), None))

    assert (raised.value.code, raised.value.sent) == ("internal.error", "no")
    assert value.strip() not in raised.value.detail or len(value) < 3


def test_declared_accept_and_user_agent_stand() -> None:
    """The gate says `Accept` and `User-Agent` itself only where the operation does not, and `identity` always."""
    request = UpstreamRequest(
        "GET", "/", (("Accept", "text/csv"), ("accept-encoding", "gzip"), ("user-agent", "mine")), None
    )

    assert parse(rendered(request))[2] == [*BASE, (b"accept", b"text/csv"), (b"user-agent", b"mine")]


def test_the_gates_credential_takes_the_place_of_the_agents() -> None:
    """A header or query parameter under a credential's name is the gate's alone, however it is spelled."""
    added = Added(
        ADDED.lines + "X-Api-Key: gate\r\n",
        frozenset({"x-api-key"}),
        (("key", "key=gate"),),
    )
    agents = (("x-API-key", "agent"), ("X_Api_Key", "agent"))
    request = UpstreamRequest("GET", "/a?key=agent&b=1&k%65y=agent&key", agents, None)

    _, target, headers, _ = parse(rendered(request, added))

    assert target == b"/a?b=1&key=gate"
    assert [value for name, value in headers if name.replace(b"_", b"-") == b"x-api-key"] == [b"gate"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Target("http", "metrics", 80), "metrics"),
        (Target("https", "metrics", 443), "metrics"),
        (Target("https", "metrics", 80), "metrics:80"),
        (Target("http", "::1", 8080), "[::1]:8080"),
    ],
)
def test_the_host_header_names_the_target(target: Target, expected: str) -> None:
    """Host is the target's, with its port where the scheme does not imply it."""
    assert expected == authority(target)


@pytest.mark.parametrize(
    "target",
    [
        Target("http", "a\r\nb", 80),
        Target("http", "a/b", 80),
        Target("http", "a", 80, "/x y"),
        Target("http", "a", 80, "/../x"),
        Target("http", "a", 80, "", (Credential("header", "X\r\nY", ("v",)),)),
        Target("http", "a", 80, "", (Credential("header", "Content-Length", ("v",)),)),
        Target("http", "a", 80, "", (Credential("header", "", ("v",)),)),
    ],
)
def test_a_toolspec_cannot_break_the_head_either(target: Target) -> None:
    """Host, base path and credential names are checked before the first request of a target."""
    with pytest.raises(UpstreamError):
        check_target(target)
