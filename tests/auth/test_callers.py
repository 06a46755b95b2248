"""Who may knock at which door of a process, with issuers and without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.auth.idp import Clocks, corp, jwks, surroundings, token
from tests.wire.door import FakeLog

from toolgate.auth import Authenticator, AuthError, Callers
from toolgate.auth.issuer import FromSecret, Identity
from toolgate.core.bundle import BundleError
from toolgate.core.catalog import Secret
from toolgate.core.model import Principal

ROOT = Path(__file__).resolve().parents[2]
WORKLOAD = Principal("digest", ("reader",))
Door = Callable[[Callers], Authenticator]


def callers(folder: Path, anonymous: Principal | None, *, issuers: int = 1) -> Callers:
    (folder / "jwks.json").write_bytes(jwks())
    clocks = Clocks()
    identity = Identity(anonymous, (corp(folder / "jwks.json"),)[:issuers])
    return Callers(
        identity, surroundings(clocks, FakeLog()), now_s=lambda: clocks.wall_s, counted=lambda _issuer, _result: None
    )


def told(door: Authenticator, presented: str | None) -> str:
    try:
        found = door.authenticate(presented)
    except AuthError as error:
        return error.code
    return " ".join((found.id, *found.roles))


AGENTS: Door = lambda it: it.agents  # noqa: E731  # doors by name, for the table
PORT: Door = lambda it: it.operators_at_port()  # noqa: E731  # as above
SOCKET: Door = lambda it: it.operators_at_socket()  # noqa: E731  # as above


@pytest.mark.parametrize(
    ("issuers", "anonymous", "door", "without", "with_one"),
    [
        (0, WORKLOAD, AGENTS, "digest reader", "auth.invalid"),
        (0, WORKLOAD, PORT, "admin listener, no token admin", "auth.invalid"),
        (0, WORKLOAD, SOCKET, "operator admin", "auth.invalid"),
        (1, None, AGENTS, "auth.missing", "corp/alice"),
        (1, None, PORT, "auth.missing", "corp/alice"),
        (1, None, SOCKET, "operator admin", "corp/alice"),
        (1, WORKLOAD, AGENTS, "digest reader", "corp/alice"),
        (1, WORKLOAD, PORT, "auth.missing", "corp/alice"),
        (1, WORKLOAD, SOCKET, "operator admin", "corp/alice"),
    ],
)  # fmt: skip
def test_who_may_knock_where(  # noqa: PLR0917  # the columns of the table
    tmp_path: Path, issuers: int, anonymous: Principal | None, door: Door, without: str, with_one: str
) -> None:
    """A token always decides; without one it is the workload, the operator at a guarded door, or nobody."""
    knocked = door(callers(tmp_path, anonymous, issuers=issuers))

    assert (told(knocked, None), told(knocked, token())) == (without, with_one)
    assert told(knocked, "x") == "auth.invalid"


def test_authorization_is_read_only_where_a_token_could_be_in_it(tmp_path: Path) -> None:
    """And only a gate with issuers can be unready for want of keys."""
    assert callers(tmp_path, WORKLOAD, issuers=0).authorization == "dropped"
    assert callers(tmp_path, WORKLOAD).authorization == "read"
    assert callers(tmp_path, None, issuers=0).unready() is None
    assert callers(tmp_path, None).unready() is None
    assert list(callers(tmp_path, None).key_ages_s()) == ["corp"]


def test_every_secret_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    """J10: with the issuer's name, and without what it holds."""
    (tmp_path / "short").write_text("canary")
    secrets = {"short": Secret("file", str(tmp_path / "short")), "none": Secret("env", "NO_SUCH_SECRET")}
    issuers = tuple(
        corp(tmp_path, name=name, issuer=name, source=FromSecret(secret)) for name, secret in secrets.items()
    )
    with pytest.raises(BundleError) as broken:
        Callers(
            Identity(None, issuers), surroundings(Clocks(), FakeLog()), now_s=lambda: 0.0, counted=lambda _i, _r: None
        )

    said = [problem.message for problem in broken.value.problems]
    assert said == [
        "the secret of issuer `none` cannot be used: `${env:NO_SUCH_SECRET}` is empty or not set",
        "the secret of issuer `short` cannot be used: the secret has 6 bytes; HS256 needs at least 32 random ones",
    ]


def test_without_issuers_no_jwt_library_is_imported() -> None:
    """It would cost every sidecar memory and time that one without tokens has no use for."""
    code = "import sys, toolgate.app, toolgate.settings.identity; print('jwt' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "proxy")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "False\n"
