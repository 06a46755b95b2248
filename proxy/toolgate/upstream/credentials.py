"""The credentials of one target, read where the toolspec says they are, and read again when a file changes.

RULE: a secret is in the request and nowhere else; problems name its source, never what it holds.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import quote

from toolgate.core.catalog import Credential, Secret, Target
from toolgate.keys import regular_file
from toolgate.ports import UpstreamError
from toolgate.upstream.redact import Redactor
from toolgate.upstream.request import Added, authority, spoken

_LOOK_S: Final = 1.0
_MAX_SECRET: Final = 1 << 16
_SHORTEST_NEEDLE: Final = 8  # shorter ones would be found in ordinary text
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PRINTABLE: Final = re.compile(r"[ -~]+")

_Stamp: TypeAlias = tuple[int, int, int]


class _NotReadyError(Exception):
    """A credential cannot be used now; the text says why and holds no secret."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a target's credentials add to a request, and what takes them out of the reply."""

    added: Added
    redactor: Redactor | None


class Credentials:
    """Reads the secrets of one target. A file that was good once and is unreadable or empty now keeps its old value."""

    def __init__(self, target: Target, environ: Mapping[str, str], clock: Callable[[], float]) -> None:
        self._target = target
        self._clock = clock
        self._sources = {
            part: _FileSecret(part) if part.source == "file" else _EnvSecret(part, environ)
            for credential in target.credentials
            for part in credential.value
            if isinstance(part, Secret)
        }
        self._next_look = 0.0
        self._values: dict[Secret, str] | None = None
        self._prepared: Prepared | None = None
        self._problem = ""

    def current(self) -> Prepared:
        """The credentials as they are now; looks at the files at most once a second. Raises UpstreamError."""
        if self._clock() >= self._next_look:
            self._look()
        if self._prepared is None:
            told = "the credential that the gate adds for this tool is not available"
            raise UpstreamError("environment.not_ready", told, sent="no", why=self._problem)
        return self._prepared

    def _look(self) -> None:
        self._next_look = self._clock() + (_LOOK_S if self._sources else float("inf"))
        try:
            values = {secret: source.read() for secret, source in self._sources.items()}
            if values != self._values:
                self._prepared = _prepare(self._target, values)
                self._values = values
        except _NotReadyError as error:
            self._problem = str(error)


class _FileSecret:
    def __init__(self, secret: Secret) -> None:
        self._name = secret.name
        self._path = Path(secret.name)
        self._stamp: _Stamp | None = None
        self._value: str | None = None

    def read(self) -> str:
        """The value: the one known while the file is as it was, or while the new one is no good (SAFETY FT51)."""
        try:
            stamp = _stamp(self._path.stat())
            if self._value is None or stamp != self._stamp:
                self._value, self._stamp = _checked(self._name, _content(self._path), "file"), stamp
        except OSError as error:
            if self._value is None:
                why = os.strerror(error.errno).lower() if error.errno else "not a regular file"
                raise _NotReadyError(
                    f"the upstream credential in `${{file:{self._name}}}` cannot be read: {why}"
                ) from None
        except _NotReadyError:
            if self._value is None:
                raise
        return self._value or ""


class _EnvSecret:
    def __init__(self, secret: Secret, environ: Mapping[str, str]) -> None:
        self._name = secret.name
        self._environ = environ

    def read(self) -> str:
        return _checked(self._name, self._environ.get(self._name, ""), "env")


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _content(path: Path) -> str:
    content = regular_file(path, _MAX_SECRET)
    if len(content) > _MAX_SECRET:
        raise _NotReadyError(f"the upstream credential in `${{file:{path}}}` is longer than 64 KiB")
    text = content.decode("utf-8", "replace")
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def _checked(name: str, value: str, source: str) -> str:
    where = f"the upstream credential in `${{{source}:{name}}}`"
    if not value:
        raise _NotReadyError(f"{where} is {'empty' if source == 'file' else 'empty or not set'}")
    if _CONTROL.search(value) or "\N{REPLACEMENT CHARACTER}" in value:
        raise _NotReadyError(f"{where} holds line breaks, control characters or bytes that are not UTF-8")
    if value != value.strip():
        raise _NotReadyError(f"{where} begins or ends with a space")
    return value


def _prepare(target: Target, values: Mapping[Secret, str]) -> Prepared:
    lines = [f"Host: {authority(target)}\r\n", "Accept-Encoding: identity\r\n"]
    names = {"accept-encoding"}
    query: list[tuple[str, str]] = []
    needles: set[str] = set()
    for credential in target.credentials:
        text = "".join(part if isinstance(part, str) else values[part] for part in credential.value)
        needles.update(_spellings(credential, text, values))
        if credential.location == "query":
            query.append((credential.name, f"{quote(credential.name, safe='')}={quote(text, safe='')}"))
            continue
        lines.append(f"{credential.name}: {_header_value(credential, text)}\r\n")
        names.add(spoken(credential.name.lower()))
    encoded = frozenset(found for needle in needles if len(found := needle.encode()) >= _SHORTEST_NEEDLE)
    return Prepared(Added("".join(lines), frozenset(names), tuple(query)), Redactor(encoded) if encoded else None)


def _header_value(credential: Credential, text: str) -> str:
    if credential.basic:
        return f"Basic {_base64(text)}"
    if _PRINTABLE.fullmatch(text) is None:
        raise _NotReadyError(f"the upstream credential for the header `{credential.name}` is not plain ASCII")
    return text


def _spellings(credential: Credential, text: str, values: Mapping[Secret, str]) -> set[str]:
    """How a secret may come back: as it is, percent-encoded, inside a JSON string, in base64 where it was sent so."""
    plain = {values[part] for part in credential.value if isinstance(part, Secret)}
    if credential.basic:
        plain.add(_base64(text))
    if credential.basic or any(len(value) < _SHORTEST_NEEDLE for value in plain):
        plain.add(text)  # a short secret is known by what stands around it: `Bearer abc`
    quoted = {quote(value, safe="") for value in plain}
    in_json = {json.dumps(value, ensure_ascii=ascii_only)[1:-1] for value in plain for ascii_only in (True, False)}
    return plain | quoted | in_json | {value.replace("/", "\\/") for value in in_json}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
