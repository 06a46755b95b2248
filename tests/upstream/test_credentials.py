"""Credentials: read from their source, renewed when a file changes, and named in errors by source only."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from toolgate.core.catalog import Credential, Secret, Target
from toolgate.ports import UpstreamError
from toolgate.upstream.credentials import Credentials, Prepared

CANARY = "canary-7f3a9b"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def bearer(path: Path | str) -> Target:
    return Target(
        "http", "metrics", 80, "", (Credential("header", "Authorization", ("Bearer ", Secret("file", str(path)))),)
    )


def credential(*value: str | Secret, location: str = "header", name: str = "X-Key", basic: bool = False) -> Target:
    return Target("http", "metrics", 80, "", (Credential(location, name, value, basic),))  # type: ignore[arg-type]


def current(target: Target, environ: dict[str, str] | None = None) -> Prepared:
    return Credentials(target, environ or {}, Clock()).current()


def refused(target: Target, environ: dict[str, str] | None = None) -> UpstreamError:
    with pytest.raises(UpstreamError) as raised:
        current(target, environ)
    assert (raised.value.code, raised.value.sent) == ("environment.not_ready", "no")
    return raised.value


def replace(path: Path, text: str, at_s: int) -> None:
    """Write a file as a rotation does: another inode under the same name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.utime(fresh, (at_s, at_s))
    fresh.replace(path)


@pytest.mark.parametrize("content", [CANARY, CANARY + "\n", CANARY + "\r\n"])
def test_one_final_newline_is_not_part_of_a_secret(tmp_path: Path, content: str) -> None:
    """The file's text, without the newline that editors end it with."""
    path = tmp_path / "token"
    path.write_bytes(content.encode())

    assert f"Authorization: Bearer {CANARY}\r\n" in current(bearer(path)).added.lines


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b" \n", b"\n\n", b"a\nb", b" x", b"x ", b"x\n\n", b"a\x00b", b"a\tb", b"\xff\xfe", b"x" * 70_000],
)
def test_a_file_that_holds_no_proper_secret_denies(tmp_path: Path, content: bytes) -> None:
    """Empty, blank, broken or endless files make the tool not ready; the call never goes out without its credential."""
    path = tmp_path / "token"
    path.write_bytes(content)

    error = refused(bearer(path))

    assert f"`${{file:{path}}}`" in (error.why or "")
    assert str(path) not in error.detail


def test_a_file_that_cannot_be_read_denies(tmp_path: Path) -> None:
    """Missing files, folders and pipes are refused, and a pipe is never waited for."""
    os.mkfifo(tmp_path / "pipe")

    assert (refused(bearer(tmp_path / "none")).why or "").endswith("cannot be read: no such file or directory")
    for name in ("", "pipe"):
        assert "cannot be read" in (refused(bearer(tmp_path / name)).why or "")


def test_a_rotated_file_is_read_again(tmp_path: Path) -> None:
    """A changed file is noticed at the next look, at most a second later, and not before."""
    path, clock = tmp_path / "token", Clock()
    path.write_text("first-one")
    credentials = Credentials(bearer(path), {}, clock)
    assert "first-one" in credentials.current().added.lines

    replace(path, "second-one", 1)
    clock.now = 0.9
    assert "first-one" in credentials.current().added.lines
    clock.now = 1.1
    assert "second-one" in credentials.current().added.lines


@pytest.mark.parametrize("bad", ["", "\n", "a\nb", " "])
def test_a_bad_rotation_keeps_the_old_value(tmp_path: Path, bad: str) -> None:
    """Once good, a secret stays until the new one is good too (SAFETY FT51)."""
    path, clock = tmp_path / "token", Clock()
    path.write_text("first-one")
    credentials = Credentials(bearer(path), {}, clock)
    credentials.current()

    for at_s, step in enumerate((lambda: replace(path, bad, 5), path.unlink, lambda: replace(path, "third-one", 7)), 1):
        step()
        clock.now = at_s * 2.0
        expected = "third-one" if at_s == 3 else "first-one"
        assert expected in credentials.current().added.lines


def test_a_secret_that_arrives_late_makes_the_tool_ready(tmp_path: Path) -> None:
    """Not ready is not for ever: the file is looked for again."""
    path, clock = tmp_path / "token", Clock()
    credentials = Credentials(bearer(path), {}, clock)
    with pytest.raises(UpstreamError):
        credentials.current()

    path.write_text(CANARY)
    clock.now = 2.0

    assert CANARY in credentials.current().added.lines


def test_secrets_come_from_the_environment_given() -> None:
    """`${env:}` reads the process's environment; unset and empty deny."""
    target = credential(Secret("env", "KEY"))

    assert f"X-Key: {CANARY}\r\n" in current(target, {"KEY": CANARY}).added.lines
    for environ in ({}, {"KEY": ""}):
        assert refused(target, environ).why == "the upstream credential in `${env:KEY}` is empty or not set"


def test_basic_credentials_are_encoded() -> None:
    """User and password in base64, UTF-8, as RFC 7617 has it."""
    target = credential("user:", Secret("env", "PW"), name="Authorization", basic=True)
    encoded = base64.b64encode("user:pässword".encode()).decode()

    assert f"Authorization: Basic {encoded}\r\n" in current(target, {"PW": "pässword"}).added.lines


def test_query_credentials_are_percent_encoded() -> None:
    """Nothing in a secret can become another parameter."""
    target = credential(Secret("env", "KEY"), location="query", name="api key")

    assert (("api key", "api%20key=a%26b%3Dc%23d%20"[:-3]),) == current(target, {"KEY": "a&b=c#d"}).added.query


def test_a_secret_no_header_can_hold_denies() -> None:
    """A header value beyond ASCII is read differently by different servers."""
    assert "`X-Key` is not plain ASCII" in refused(credential(Secret("env", "K")), {"K": "schlüssel"}).why or ""


@pytest.mark.parametrize(
    ("secret", "echo"),
    [
        (CANARY, CANARY),
        ("a/b+c d=e&f", "a%2Fb%2Bc%20d%3De%26f"),
        ('quo"te\\d-secret', 'quo\\"te\\\\d-secret'),
        ("path/like/secret", "path\\/like\\/secret"),
        ("schlüssel-lang", "schl\\u00fcssel-lang"),
    ],
)
def test_every_plain_spelling_of_a_secret_is_redacted(secret: str, echo: str) -> None:
    """As it is, percent-encoded and inside a JSON string."""
    redactor = current(credential(Secret("env", "K"), location="query"), {"K": secret}).redactor

    assert redactor is not None
    assert redactor.whole(f"<{echo}>".encode()) == b"<[redacted]>"


def test_basic_credentials_are_redacted_in_both_spellings() -> None:
    """The base64 that was sent and the password in it."""
    redactor = current(credential("user:", Secret("env", "K"), basic=True), {"K": CANARY}).redactor
    encoded = base64.b64encode(f"user:{CANARY}".encode())

    assert redactor is not None
    assert redactor.whole(b"%s %s" % (encoded, CANARY.encode())) == b"[redacted] [redacted]"


def test_a_short_secret_is_redacted_with_what_stands_around_it() -> None:
    """A short secret alone would be found in ordinary text; as it was sent, `Bearer …`, it is not ordinary."""
    redactor = current(credential("Bearer ", Secret("env", "K")), {"K": "s3cr3t"}).redactor

    assert redactor is not None
    assert redactor.whole(b"you sent: Bearer s3cr3t, s3cr3t") == b"you sent: [redacted], s3cr3t"


def test_short_secrets_are_not_looked_for() -> None:
    """Under 8 bytes a secret would be found in ordinary text."""
    assert current(credential(Secret("env", "K")), {"K": "1234567"}).redactor is None


def test_no_problem_says_what_a_secret_is(tmp_path: Path) -> None:
    """Whatever is wrong with it, the value is in no message."""
    path = tmp_path / "token"
    for content in (f"{CANARY}\n{CANARY}", f" {CANARY}", f"{CANARY}\x00", f"{CANARY}é"):
        path.write_text(content)
        error = refused(bearer(path))
        assert CANARY not in f"{error!r}{error.__cause__!r}{error.__context__!r}"
