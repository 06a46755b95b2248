"""`toolgate token`: tokens for development, and never for production."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.auth.idp import Clocks, FakeLog, surroundings

from toolgate.auth import AuthError
from toolgate.auth.issuer import Identity
from toolgate.auth.opening import open_tokens
from toolgate.auth.tokens import Tokens
from toolgate.cli import main

Toolgate = Callable[..., Result]
SETTINGS = "environment: dev\nenvironments: [dev, staging, prod]\nidentity: {development: true}\n"


@pytest.fixture
def toolgate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolgate:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toolgate.yaml").write_text(SETTINGS)
    return lambda *words: CliRunner().invoke(main, ["token", *words], prog_name="toolgate")


def gate(folder: Path) -> Tokens:
    """What a gate makes of the same folder."""
    identity = Identity(None, development=folder / ".toolgate" / "development.jwk")
    clocks = Clocks()
    return open_tokens(
        identity,
        surroundings(clocks, FakeLog()),
        now_s=lambda: time.time_ns() / 1e9,
        counted=lambda _issuer, _result: None,
    )


def test_a_gate_takes_what_is_minted(toolgate: Toolgate, tmp_path: Path) -> None:
    """Alone on standard output; with everything that was asked for."""
    words = (
        "--sub",
        "alice",
        "--role",
        "digest",
        "--role",
        "oncall",
        "--claim",
        "team=sre",
        "--ttl",
        "15m",
        "--act",
        "bot",
    )
    made = toolgate(*words)
    found = gate(tmp_path).authenticate(made.stdout.removesuffix("\n"))

    assert made.exit_code == 0, made.output
    assert made.stderr == ""
    assert (found.id, found.roles, found.on_behalf_of) == ("dev/alice", ("digest", "oncall"), "dev/alice")
    assert (found.claims["team"], found.claims["act.sub"]) == ("sre", "bot")


def test_the_key_is_for_this_user_alone_and_made_once(toolgate: Toolgate, tmp_path: Path) -> None:
    """Beside the ledger; a gate that starts before the first token makes the same one."""
    first = gate(tmp_path)
    key = tmp_path / ".toolgate" / "development.jwk"
    made = key.read_bytes()
    token = toolgate("--sub", "alice").stdout.strip()

    assert first.authenticate(token).id == "dev/alice"
    assert key.read_bytes() == made
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_token_of_another_folder_is_not_taken(toolgate: Toolgate, tmp_path: Path) -> None:
    """Each key is its own."""
    other = gate(tmp_path / "other")
    with pytest.raises(AuthError, match="names a key"):
        other.authenticate(toolgate("--sub", "alice").stdout.strip())


def test_json_says_whose_it_is(toolgate: Toolgate) -> None:
    """For scripts that want more than the token."""
    told = json.loads(toolgate("--sub", "alice", "--role", "digest", "--ttl", "90s", "--json").stdout)

    assert set(told) == {"token", "principal", "roles", "expires_at"}
    assert (told["principal"], told["roles"]) == ("dev/alice", ["digest"])


@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        (SETTINGS, "prod"),
        ("environment: dev\nenvironments: [dev, live]\n", "live"),
        ("environment: prod\n", None),
        ("environment: production\nenvironments: [production, dev]\n", None),
    ],
)
def test_production_gets_none(toolgate: Toolgate, tmp_path: Path, settings: str, environment: str | None) -> None:
    """The narrowest of several environments, and one called so: no token, no key, exit 2."""
    (tmp_path / "toolgate.yaml").write_text(settings)
    made = toolgate("--sub", "alice", *(("-e", environment) if environment else ()))

    assert (made.exit_code, made.stdout) == (2, "")
    assert "production" in made.stderr
    assert not (tmp_path / ".toolgate").exists()


def test_a_token_nobody_takes_is_warned_about(toolgate: Toolgate, tmp_path: Path) -> None:
    """It is minted, since the settings may be changed next."""
    (tmp_path / "toolgate.yaml").write_text("environment: dev\n")
    made = toolgate("--sub", "alice")

    assert (made.exit_code, made.stdout.count(".")) == (0, 2)
    assert "no gate with these settings takes it: `identity.development` is not `true`" in made.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--sub", "a b"), "no gate would take it: the token's subject"),
        (("--sub", "alice", "--act", "a b"), "no gate would take it: the token's subject"),
        (("--sub", "alice", "--role", ""), "no gate would take it: the token's `roles` holds something"),
        (
            ("--sub", "alice", "--claim", "sub=bob"),
            "no gate would take it: the claim `sub` is made from the other options",
        ),
        (("--sub", "alice", "--claim", "act=bob"), "the claim `act` is made from the other options"),
        (("--sub", "alice", "--claim", "team"), "`team` is no claim; write `NAME=VALUE`"),
        (("--sub", "alice", "--ttl", "25h"), "`25h` is no lifetime"),
        (("--sub", "alice", "--ttl", "0s"), "`0s` is no lifetime"),
        (("--sub", "alice", "--ttl", "60"), "`60` is no lifetime"),
        ((), "Missing option '--sub'"),
    ],
)
def test_what_makes_no_token_says_why(toolgate: Toolgate, words: tuple[str, ...], why: str) -> None:
    """Usage ends with 2, and standard output stays empty: `$(…)` is nothing rather than a sentence."""
    made = toolgate(*words)

    assert (made.exit_code, made.stdout) == (2, "")
    assert why in " ".join(made.stderr.split())


def test_an_unusable_key_is_told(toolgate: Toolgate, tmp_path: Path) -> None:
    """One that others can read, or that is no key."""
    toolgate("--sub", "alice")
    key = tmp_path / ".toolgate" / "development.jwk"
    key.chmod(0o644)
    assert "can be read by others" in toolgate("--sub", "alice").stderr
    key.chmod(0o600)
    key.write_text("{}")
    made = toolgate("--sub", "alice")
    assert (made.exit_code, made.stdout) == (3, "")
    assert "holds no development key; remove it, and a new one is made" in made.stderr
