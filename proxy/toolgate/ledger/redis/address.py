"""Where the store is, and how to get in.

RULE: a URL holds no secret: it stands in the settings, the banner and the process list. The password is a reference of
the settings, and is read anew at each connection, so that it can be rotated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from toolgate.core.bundle import BundleError
from toolgate.ledger.redis.script import SKEW_MS
from toolgate.ports import LedgerError

DEFAULT_PORT: Final = 6379
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SCHEMES: Final = ("redis", "rediss")
_FORMS: Final = "write `redis://HOST:PORT/DB`, or `rediss://USER@HOST:PORT/DB` with TLS"


@dataclass(frozen=True, slots=True)
class Address:
    """What a `redis://` or `rediss://` URL names."""

    host: str
    port: int
    db: int
    user: str | None
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"


@dataclass(frozen=True, slots=True)
class Access:
    """What the settings say beside the URL."""

    password: Callable[[], str] | None = None
    ca_file: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    prefix: str = "toolgate"
    timeout_s: float = 0.15  # for one answer: a call is refused within 200 ms
    skew_ms: int = SKEW_MS


def is_shared(url: str) -> bool:
    """Whether a ledger's URL names a store that gates share."""
    return url.partition(":")[0] in _SCHEMES


def address_of(url: str) -> Address:
    """Read the URL. Raises LedgerError with the form that works; the URL itself is not repeated, for it may hold a secret."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise LedgerError(f"the ledger's URL is not understood; {_FORMS}") from error
    if parts.password is not None:
        raise LedgerError(
            "the ledger's URL holds a password, which would be seen wherever the URL is; name it with "
            "`redis.password: ${file:PATH}` instead"
        )
    db = parts.path.removeprefix("/") or "0"
    if parts.scheme not in _SCHEMES or not parts.hostname or not (db.isascii() and db.isdecimal()) or len(db) > 4:  # noqa: PLR2004 (digits)
        raise LedgerError(f"the ledger's URL is not understood; {_FORMS}")
    if parts.query or parts.fragment:
        raise LedgerError(f"the ledger's URL holds options, which are settings under `redis`; {_FORMS}")
    user = unquote(parts.username) if parts.username else None
    return Address(parts.hostname, port, int(db), user, tls=parts.scheme == "rediss")


def arguments(address: Address, access: Access) -> dict[str, Any]:
    """What the library's connections, blocking or not, are made with. Raises LedgerError, half a sentence, without the password."""
    given: dict[str, Any] = {
        "host": address.host,
        "port": address.port,
        "db": address.db,
        "username": address.user,
        "password": _password(access),
        "socket_timeout": access.timeout_s,
        "socket_connect_timeout": access.timeout_s,
        "protocol": 2,
        "driver_info": None,
    }
    if address.tls:
        given |= {"ssl_ca_certs": _text(access.ca_file), "ssl_certfile": _text(access.cert)}
        given |= {"ssl_keyfile": _text(access.key), "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    return given


def _password(access: Access) -> str | None:
    if access.password is None:
        return None
    try:
        password = access.password()
    except BundleError as error:
        raise LedgerError("wants a password that cannot be read (`redis.password`)") from error
    if not password:
        raise LedgerError("wants a password, and `redis.password` names an empty one")
    return password


def epoch_key(access: Access) -> str:
    """The key that says that the store is ours and not empty; its hash tag is that of every other key."""
    if not _PREFIX.fullmatch(access.prefix):
        raise LedgerError("`redis.prefix` must be up to 64 letters, digits, `_`, `.` and `-`, such as `toolgate-prod`")
    return f"{{{access.prefix}}}:epoch"


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
