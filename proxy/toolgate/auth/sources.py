"""Where an issuer's keys are read: a URL, a file, a shared secret.

RULE: HTTPS to exactly the configured host: no redirect, no proxy, no plain HTTP (in a pod, whoever shares the loopback
could answer first). Everything read is bounded in size and time, and nothing of it stands in an error.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from pathlib import Path
from typing import Final, assert_never
from urllib.parse import urlsplit

from toolgate.auth.development import public_document
from toolgate.auth.errors import KeysUnavailableError
from toolgate.auth.issuer import FromDevelopmentKey, FromFile, FromSecret, FromUrl, Source
from toolgate.core.catalog import Secret
from toolgate.keys import regular_file
from toolgate.tls import client_context, connection_fault

MAX_BYTES: Final = 256 << 10
_MAX_TOKEN_BYTES: Final = 16 << 10
_BEARER: Final = re.compile(rb"[!-~]+").fullmatch
_OK: Final = 200


def read_source(source: Source) -> bytes:
    """What is there now. Blocks: never to be called on the path of a call. Raises KeysUnavailableError."""
    match source:
        case FromUrl():
            return _fetch(source)
        case FromFile(path):
            return _content(path, MAX_BYTES)
        case FromSecret(secret):
            return _secret(secret)
        case FromDevelopmentKey(path):
            return public_document(path)
        case _:
            assert_never(source)


def _secret(secret: Secret) -> bytes:
    if secret.source == "env":
        value = os.environb.get(secret.name.encode(), b"")
    else:
        value = _content(Path(secret.name), _MAX_TOKEN_BYTES).removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise KeysUnavailableError(f"`${{{secret.source}:{secret.name}}}` is empty or not set")
    return value


def _content(path: Path, most: int) -> bytes:
    try:
        content = regular_file(path, most)
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else "it is not a regular file"
        raise KeysUnavailableError(f"`{path}` cannot be read: {why}") from None
    if len(content) > most:
        raise KeysUnavailableError(f"`{path}` is larger than {most >> 10} KiB")
    return content


def _fetch(source: FromUrl) -> bytes:
    parts = urlsplit(source.url)
    connection = HTTPSConnection(str(parts.hostname), parts.port or 443)
    headers = _headers(source)
    with closing(connection), _connected(connection, source) as deadline:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("GET", target, headers=headers)
            with connection.getresponse() as reply:
                content = _answered(reply, connection.host)
            if not deadline.is_set():  # else what was read may be cut anywhere, also within the headers
                return content
        except (OSError, HTTPException, ValueError):
            pass
    within = f"within {source.deadline_s:g} s"
    raise KeysUnavailableError(f"`{connection.host}` did not answer in HTTP, in whole, {within}")


def _answered(reply: HTTPResponse, host: str) -> bytes:
    if reply.status != _OK:
        raise KeysUnavailableError(
            f"`{host}` answers with status {reply.status}, and only 200 is taken; redirects are not followed"
        )
    content = reply.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise KeysUnavailableError(f"`{host}` answers with more than {MAX_BYTES >> 10} KiB")
    if reply.length:
        raise IncompleteRead(content, reply.length)
    return content


def _headers(source: FromUrl) -> dict[str, str]:
    headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
    if source.token_file is not None:
        token = _content(source.token_file, _MAX_TOKEN_BYTES).strip()
        if not _BEARER(token):
            raise KeysUnavailableError(f"`{source.token_file}` holds no bearer token")
        headers["Authorization"] = f"Bearer {token.decode('ascii')}"
    return headers


@contextmanager
def _connected(connection: HTTPSConnection, source: FromUrl) -> Iterator[threading.Event]:
    """Connect, verify, and have everything after that end by the deadline, however slowly it comes; the event says it passed."""
    try:
        context = client_context(str(source.ca_file) if source.ca_file else None)
    except OSError:
        raise KeysUnavailableError(f"`{source.ca_file}` is missing or holds no certificates") from None
    with _plain(connection, source) as plain, _bounded(plain, source.deadline_s) as deadline:
        try:
            connection.sock = context.wrap_socket(plain, server_hostname=connection.host)
        except OSError as error:
            raise KeysUnavailableError(f"`{connection.host}` {connection_fault(error)}") from None
        yield deadline


def _plain(connection: HTTPSConnection, source: FromUrl) -> socket.socket:
    try:
        return socket.create_connection((connection.host, connection.port), timeout=source.deadline_s / 2)
    except OSError as error:
        raise KeysUnavailableError(f"`{connection.host}` {connection_fault(error)}") from None


@contextmanager
def _bounded(plain: socket.socket, deadline_s: float) -> Iterator[threading.Event]:
    """Have whatever is done over a socket end by the deadline, also while the handshake or a reader has it."""
    guard, passed = plain.dup(), threading.Event()
    timer = threading.Timer(deadline_s, _cut, (guard, passed))
    timer.daemon = True
    timer.start()
    try:
        yield passed
    finally:
        timer.cancel()
        guard.close()


def _cut(guard: socket.socket, passed: threading.Event) -> None:
    passed.set()
    with suppress(OSError):  # it ended in the same moment
        guard.shutdown(socket.SHUT_RDWR)
