"""Where an upstream is: a URL every resolver reads alike, and secrets that are only ever named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.catalog import Secret, Target
from toolgate.load.credentials import parse_secret_template
from toolgate.load.upstream_url import parse_upstream


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://metrics:8080", Target("http", "metrics", 8080)),
        ("https://api.example.com", Target("https", "api.example.com", 443)),
        ("http://api.example.com/", Target("http", "api.example.com", 80)),
        ("https://api.example.com/v1/x%20y/", Target("https", "api.example.com", 443, "/v1/x%20y")),
        ("http://127.0.0.1:1", Target("http", "127.0.0.1", 1)),
        ("http://[::1]:8080/a", Target("http", "::1", 8080, "/a")),
        ("http://xn--bcher-kva.example", Target("http", "xn--bcher-kva.example", 80)),
        ("http://my_service", Target("http", "my_service", 80)),
    ],
)
def test_a_plain_url_is_pinned(url: str, target: Target) -> None:
    """Scheme, host, port and base path, once and for all."""
    assert target == parse_upstream(url)


@pytest.mark.parametrize(
    "url",
    ["", "metrics:8080", "ftp://a", "HTTP://a", "http://", "http:///x", "http://a:0", "http://a:65536", "http://a:08", "http://a:",
     "http://a:x", "http://u:p@a", "http://u@a", "http://a?x=1", "http://a#x", "http://a/?", "http://A.example", "http://a.example.",
     "http://127.1", "http://0x7f.0.0.1", "http://0x7f.1", "http://2130706433", "http://0177.0.0.1", "http://127.0.0.01",
     "http://256.0.0.1", "http://a.0x7f", "http://①②⑦.⓪.⓪.①", "http://apı.example", "http://a b", "http://a\n", "http://-a", "http://a..b",
     "http://[::1", "http://[::1]x", "http://[fe80::1%25eth0]", "http://[0:0:0:0:0:0:0:1]", "http://[127.0.0.1]", "http://[]",
     "http://a/../b", "http://a/./b", "http://a//b", "http://a/%2fb", "http://a/%5Cb", "http://a/b%00", "http://a/%zz", "http://a/ü",
     "http://a\\b", "http://a/b\\c", "http://" + "a" * 64, "http://" + ".".join(["a" * 60] * 5)],
)  # fmt: skip
def test_an_odd_url_is_refused_with_a_sentence(url: str) -> None:
    """Attacks L01, L02, L07, L26: no userinfo, no odd numbers, no other spelling of a host, no base path that moves."""
    with pytest.raises(ValueError, match=r"^(must|has) "):
        parse_upstream(url)


def test_userinfo_is_not_echoed() -> None:
    """A password that somebody wrote into a URL is in no message."""
    with pytest.raises(ValueError, match="credentials") as caught:
        parse_upstream("http://user:hunter2@a.example")
    assert "hunter2" not in str(caught.value)


@given(st.text(alphabet="htps:/@[]aA.0127%x-_#?é\\ \n", max_size=24).map("http://".__add__) | st.text(max_size=24))
def test_any_text_is_a_target_or_a_sentence(url: str) -> None:
    """Totality, and the host of a target is lower-case ASCII."""
    try:
        target = parse_upstream(url)
    except ValueError:
        return
    assert target.host.isascii()
    assert target.host == target.host.lower()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("${env:TOKEN}", (Secret("env", "TOKEN"),)),
        ("Bearer ${file:/run/secrets/token}", ("Bearer ", Secret("file", "/run/secrets/token"))),
        ("user:${file:../secret/p}", ("user:", Secret("file", "/project/secret/p"))),
        ('Token token="${env:A}"', ('Token token="', Secret("env", "A"), '"')),
        ("${env:A}:${env:B}", (Secret("env", "A"), ":", Secret("env", "B"))),
    ],
)
def test_secrets_are_named(text: str, parts: tuple[str | Secret, ...]) -> None:
    """Files relative to the toolspec's folder, links not followed: a mounted secret is replaced by moving a link."""
    assert parts == parse_secret_template(text, Path("/project/tools"))


@pytest.mark.parametrize(
    "text",
    ["hunter2", "Bearer hunter2", "", "${env:}", "${file:}", "${vault:hunter2}", "${env:A-hunter2}", "${env:A", "${hunter2}",
     "Bearer sk-hunter2-0123456789abcdef${env:A}", "a\nhunter2${env:A}", "é hunter2 ${env:A}"],
)  # fmt: skip
def test_an_inline_secret_is_refused_and_not_echoed(text: str) -> None:
    """What looks like a secret in a toolspec is a problem whose message does not repeat it."""
    with pytest.raises(ValueError, match=r"^(has|holds|names) ") as caught:
        parse_secret_template(text, Path("/"))
    assert "hunter2" not in str(caught.value) or "A-hunter2" in text
