"""An upstream's reply as the agent gets it: its status and body as they are, its headers less what is not the agent's.

RULE: an agent can always tell whether the gate or the upstream speaks: `Toolgate-*` is the gate's, in replies too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from toolgate.core.catalog import Operation, Target
from toolgate.core.model import Completed, Header, new
from toolgate.listeners.answers import Answer, Streamed, Whole, status_line
from toolgate.listeners.ratelimit import ratelimit_lines

# Hop-by-hop (RFC 9110 §7.6.1), framing (ours), and what would speak for the gate's own origin or show its neighbours.
_WITHHELD: Final = frozenset({
    "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
    "set-cookie", "set-cookie2", "server", "via", "alt-svc", "strict-transport-security",
})  # fmt: skip
_LIMITS: Final = frozenset({"ratelimit", "ratelimit-policy"})
_LOCATIONS: Final = frozenset({"location", "content-location"})
_DEPENDING: Final = frozenset({"connection", "content-length"}) | _LIMITS | _LOCATIONS
_LONG: Final = 256  # characters of a value that is not worth remembering
_NO_BODY: Final = frozenset({204, 304})
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PLAIN_REFERENCE: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=@%/?-]+")  # no `:` and no `#`: cannot name another host


def reply_answer(completed: Completed, call_id: str, *, bodiless: bool) -> Answer:
    """Render what the upstream answered, whole or as a stream."""
    reply, source, _, standing = completed
    status, headers, body = reply
    lines, length = _passed(headers, completed)
    lines.append(f"Toolgate-Call: {call_id}\r\nToolgate-Source: {source}\r\n")
    if standing is not None:
        lines.append(ratelimit_lines(standing))
    empty = bodiless or status in _NO_BODY
    if isinstance(body, bytes):
        if status != 204:  # noqa: PLR2004  # RFC 9110 §8.6: a 204 has no Content-Length
            lines.append(f"Content-Length: {_told_length(body, length, empty=empty)}\r\n")
        return new(Whole, (_head(status, lines), b"" if empty else body))
    if length is not None:
        lines.append(f"Content-Length: {length}\r\n")
    return Streamed(_head(status, lines), body, length, empty)


def _head(status: int, lines: list[str]) -> bytes:
    return status_line(status) + "".join(lines).encode("latin-1")


def _told_length(body: bytes, told: int | None, *, empty: bool) -> int:
    return told if empty and told is not None and not body else len(body)


def _passed(headers: Sequence[Header], completed: Completed) -> tuple[list[str], int | None]:
    """The lines of the headers that pass; and the length the upstream told, if any."""
    lines: list[str] = []
    length = None
    for header in headers:
        name, value = header
        line = _line(header) if len(value) <= _LONG else _line_of(header)
        if line is not None:
            lines.append(line)
        elif name.lower() == "content-length":
            length = int(value) if value.isdigit() and value.isascii() else length
        elif name.lower() == "connection":
            return _passed(_without_nominated(headers), completed)
        else:
            lines.append(_line_by_call(name, value, completed))
    return lines, length


@lru_cache(maxsize=512)  # INVARIANT: bounded, in length too; upstreams say most of their headers with each answer again
def _line(header: Header) -> str | None:
    return _line_of(header)


def _line_of(header: Header) -> str | None:
    """The line of a header; empty where it never passes, None where that depends on the answer it stands in."""
    name, value = header
    low = name.lower()
    if low in _DEPENDING:
        return None
    return "" if low in _WITHHELD or low.startswith("toolgate-") else _written(name, value)


def _line_by_call(name: str, value: str, completed: Completed) -> str:
    """The line of a header that depends on what was called, or on what else is told: two that limit would be confused."""
    if name.lower() in _LOCATIONS:
        shown = gate_location(value, completed.operation)
        return "" if shown is None else _written(name, shown)
    return _written(name, value) if completed.standing is None else ""


def _written(name: str, value: str) -> str:
    # SECURITY: a name or value that could end its line is not passed on, wherever it came from.
    passes = _TOKEN.fullmatch(name) and (value.isprintable() or _is_one_line(value))
    return f"{name}: {value}\r\n" if passes else ""


def _is_one_line(value: str) -> bool:
    return not any(char < " " and char != "\t" for char in value)


def _without_nominated(headers: Sequence[Header]) -> list[Header]:
    """Those that `Connection` does not name as hop-by-hop, and without it."""
    named = ",".join(value for name, value in headers if name.lower() == "connection").lower().split(",")
    nominated = {"connection", *(token.strip() for token in named)}
    return [header for header in headers if header[0].lower() not in nominated]


def gate_location(value: str, operation: Operation | None) -> str | None:
    """A Location under the upstream as the gate's own path; None when it leads elsewhere (DESIGN §13)."""
    target = operation.target if operation is not None else None
    if operation is None or target is None or not value.isascii() or not value.isprintable():
        return None
    path = _under(value, target)
    if path is not None:
        return f"/{operation.tool}{path}"
    relative = _PLAIN_REFERENCE.fullmatch(value) and not value.startswith("/") and ".." not in value
    return value if relative else None


def _under(value: str, target: Target) -> str | None:
    """The part of an absolute URL or absolute path that lies under the upstream's base, beginning with `/`, or None."""
    rest = value if value.startswith("/") else _after_authority(value, target)
    if (
        rest is None
        or rest.startswith("//")
        or "\\" in rest
        or "/." in rest
        or "%2e" in rest.lower()
        or not rest.startswith(target.base_path)
    ):
        return None
    path = rest[len(target.base_path) :] or "/"
    return path if path.startswith("/") and not path.startswith("//") else None


def _after_authority(value: str, target: Target) -> str | None:
    """SECURITY: the authority is compared as text, so that no parser's reading of `@`, a backslash or a port can differ."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    spellings = [f"{target.scheme}://{host}:{target.port}"]
    if _DEFAULT_PORTS[target.scheme] == target.port:
        spellings.append(f"{target.scheme}://{host}")
    for spelling in spellings:
        rest = value[len(spelling) :]
        if value[: len(spelling)].lower() == spelling.lower() and (rest == "" or rest[0] in "/?"):
            return rest if rest.startswith("/") else f"/{rest}"
    return None
