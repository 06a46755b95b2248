"""Asking a running gate, at its admin listener.

RULE: a token is never on the command line: it comes from a file or the variable TOOLGATE_TOKEN. What the gate says no
to is told in its own words.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import orjson

from toolgate.cli.options import load_settings, settings_options

if TYPE_CHECKING:
    from toolgate.settings import Settings
    from toolgate.settings.values import Address

_F = TypeVar("_F", bound=Callable[..., Any])
TOKEN: Final = "TOOLGATE_TOKEN"  # noqa: S105 - the name of a variable
_TOKENLESS: Final = "auth.missing"
_MISTYPED: Final = "arguments.invalid"
_TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = 64 << 20
_OK: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Told:
    """What the gate answered."""

    status: int
    value: Any

    @property
    def is_done(self) -> bool:
        return self.status in _OK

    @property
    def refusal(self) -> str:
        """Why not, in the gate's own words; what a person typed is told as such, without the hint an agent gets."""
        problem = self.value if isinstance(self.value, dict) else {}
        if problem.get("code") == _MISTYPED:
            if "did you mean" in str(problem.get("detail")):
                return str(problem["detail"])
            nearest = [each.get("suggestion") for each in problem.get("violations") or () if isinstance(each, dict)]
            return f"{problem.get('detail')}{''.join(f'; did you mean `{name}`?' for name in nearest[:1] if name)}"
        recovery = problem.get("recovery")
        hint = recovery.get("hint") if isinstance(recovery, dict) else None
        if problem.get("code") == _TOKENLESS:
            hint = f"Name a file with your token (`--token-file`), or set {TOKEN}."
        said = f"{problem.get('code', self.status)}: {problem.get('detail', 'the gate gave no reason')}"
        return f"{said}. {hint}" if hint else said


def gate_options(command: _F) -> _F:
    """Add the options that say which gate is asked, and as whom."""
    for option in (
        click.option("--client-key", type=click.Path(exists=True), metavar="FILE", help="The key of that certificate."),
        click.option("--client-cert", type=click.Path(exists=True), metavar="FILE", help="A certificate to show it."),
        click.option(
            "--ca-file", type=click.Path(exists=True), metavar="FILE", help="Who vouches for its certificate."
        ),
        click.option(
            "--token-file", type=click.Path(exists=True), metavar="FILE", help=f"A file with your token; else ${TOKEN}."
        ),
        click.option(
            "--admin", metavar="ADDRESS", help="The gate's admin listener; else `listen.admin` of the settings."
        ),
    ):
        command = option(command)
    return settings_options(command)


@dataclass(frozen=True, slots=True)
class Gate:
    """A running gate."""

    address: Address | None
    token: str | None
    context: ssl.SSLContext | None

    def ask(self, method: str, path: str, body: Any = None) -> Told:
        """Ask once. Raises OSError, with a sentence, when no gate answers."""
        if self.address is None:
            raise click.UsageError("`listen.admin` is `off`, so no gate can be asked; name one with `--admin ADDRESS`")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.token:
            headers["Toolgate-Token"] = self.token
        try:
            with closing(self._connected(self.address)) as connection:
                connection.request(method, path, orjson.dumps(body) if body is not None else None, headers)
                reply = connection.getresponse()
                content = reply.read(_MAX_BYTES)
                return Told(reply.status, orjson.loads(content))
        except (OSError, HTTPException) as error:
            raise OSError(_unreachable(self.address, error)) from error
        except orjson.JSONDecodeError as error:
            raise OSError(f"what answers at {self.address} is not a gate's admin listener") from error

    def _connected(self, address: Address) -> HTTPConnection:
        from toolgate.settings import Tcp  # noqa: PLC0415 - pydantic; `--help` does without

        if not isinstance(address, Tcp):
            return _UnixConnection(str(address.path))
        host, port = address.host, address.port
        if self.context is not None:
            return HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=self.context)
        return HTTPConnection(host, port, timeout=_TIMEOUT_S)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


def gate_of(options: dict[str, Any]) -> tuple[Gate, Settings]:
    """The gate that the options, or else the settings, name. Takes its options out of `options`."""
    config, environment, assignments = (options.pop(name) for name in ("config", "environment", "assignments"))
    admin, token_file, ca_file, cert, key = (
        options.pop(name) for name in ("admin", "token_file", "ca_file", "client_cert", "client_key")
    )
    settings = load_settings(config, assignments, environment=environment, listen_admin=admin).settings
    token = Path(token_file).read_text().strip() if token_file else os.environ.get(TOKEN)
    has_tls = settings.listen.tls.admin is not None or ca_file or cert
    return Gate(settings.listen.admin, token, _context(ca_file, cert, key) if has_tls else None), settings


def _context(ca_file: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    from toolgate.tls import client_context  # noqa: PLC0415 - only where the listener has TLS

    context = client_context(ca_file)
    if cert:
        context.load_cert_chain(cert, key)
    return context


def _unreachable(address: Address, error: Exception) -> str:
    from toolgate.tls import connection_fault  # noqa: PLC0415 - as above

    why = connection_fault(error) if isinstance(error, OSError) else "did not answer in HTTP"
    return f"the gate at {address} {why}; is it running, and is that its admin listener (`listen.admin`)?"
