"""An upstream's reply as the agent gets it: its status and body as they are, its headers less what is not the agent's.

RULE: an agent can always tell whether the gate or the upstream speaks: `Toolgate-*` is the gate's, in replies too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from toolgate.core.catalog import Operation, Target
from toolgate.core.model import Completed, Header, new
from toolgate.listeners.answers import Answer, Streamed, Whole, status_line
from toolgate.listeners.ratelimit import ratelimit_lines

# Hop-by-hop (RFC 9110 §7.6.1), framing (ours), and what would speak for the gate's own origin or show its neighbours.
_WITHHELD: Final = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "content-length",
    "set-cookie", "set-cookie2", "server", "via", "alt-svc", "strict-transport-security",
})  # fmt: skip
# The most common headers that pass: what is found here needs no other look at its name.
_COMMON: Final = frozenset({
    "content-type", "date", "etag", "cache-control", "last-modified", "expires", "vary", "age", "pragma",
    "x-request-id", "content-language", "content-encoding", "content-disposition", "retry-after", "link",
})  # fmt: skip
_LIMITS: Final = frozenset({"ratelimit", "ratelimit-policy"})
_LOCATIONS: Final = frozenset({"location", "content-location"})
_NO_BODY: Final = frozenset({204, 304})
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PLAIN_REFERENCE: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=@%/?-]+")  # no `:` and no `#`: cannot name another host


def reply_answer(completed: Completed, call_id: str, *, bodiless: bool) -> Answer:
    """Render what the upstream answered, whole or as a stream."""
    reply = completed.reply
    lines: list[str] = []
    length = _passed_headers(lines, completed)
    lines.append(f"Toolgate-Call: {call_id}\r\nToolgate-Source: {completed.source}\r\n")
    if completed.standing is not None:
        lines.append(ratelimit_lines(completed.standing))
    body = reply.body
    empty = bodiless or reply.status in _NO_BODY
    if isinstance(body, bytes):
        if reply.status != 204:  # noqa: PLR2004  # RFC 9110 §8.6: a 204 has no Content-Length
            lines.append(f"Content-Length: {_told_length(body, length, empty=empty)}\r\n")
        return new(Whole, (_head(reply.status, lines), b"" if empty else body))
    if length is not None:
        lines.append(f"Content-Length: {length}\r\n")
    return Streamed(_head(reply.status, lines), body, length, empty)


def _head(status: int, lines: list[str]) -> bytes:
    return status_line(status) + "".join(lines).encode("latin-1")


def _told_length(body: bytes, told: int | None, *, empty: bool) -> int:
    return told if empty and told is not None and not body else len(body)


def _passed_headers(lines: list[str], completed: Completed) -> int | None:
    """Append the headers that pass; return the length the upstream told, if any."""
    headers, length = completed.reply.headers, None
    withheld = _nominated([header for header in headers if header[0] not in _COMMON])
    if completed.standing is not None:  # what the upstream limits is not told beside what the gate limits
        withheld = withheld | _LIMITS if withheld else _LIMITS
    for name, value in headers:
        if name in _COMMON and name not in withheld and value.isprintable():
            lines.append(f"{name}: {value}\r\n")
        elif name.lower() == "content-length":
            length = int(value) if value.isdigit() and value.isascii() else length
        else:
            lines.append(_other_line(name, value, withheld, completed.operation))
    return length


def _other_line(name: str, value: str, withheld: frozenset[str], operation: Operation | None) -> str:
    """The line of a less common header; nothing where it does not pass."""
    low = name.lower()
    if low in _WITHHELD or low.startswith("toolgate-") or low in withheld:
        return ""
    shown = gate_location(value, operation) if low in _LOCATIONS else value
    # SECURITY: a name or value that could end its line is not passed on, wherever it came from.
    if shown is None or not _TOKEN.fullmatch(name) or not (shown.isprintable() or _is_one_line(shown)):
        return ""
    return f"{name}: {shown}\r\n"


def _is_one_line(value: str) -> bool:
    return not any(char < " " and char != "\t" for char in value)


def _nominated(headers: Sequence[Header]) -> frozenset[str]:
    """The headers `Connection` names as hop-by-hop."""
    for name, _ in headers:
        if name.lower() == "connection":
            named = ",".join(value for name, value in headers if name.lower() == "connection")
            return frozenset(token.strip().lower() for token in named.split(","))
    return frozenset()


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
