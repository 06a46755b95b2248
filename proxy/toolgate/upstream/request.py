"""The request as bytes, made from validated values; nothing is copied from what the agent sent.

RULE: a request that is not in the exact form the engine makes is a defect: it is refused, never repaired.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus

from toolgate.core.catalog import Target
from toolgate.core.model import Header, UpstreamRequest
from toolgate.ports import UpstreamError

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})

# RFC 3986 without what another parser could read differently: no dot segment (also not encoded), no empty segment but
# the last, no backslash, no fragment. Brackets stand in queries only, where deepObject parameters write them bare.
_TARGET: Final = re.compile(
    r"(?:/(?!/|(?:\.|%2[eE]){1,2}(?:[/?]|\Z))(?:[A-Za-z0-9._~!$&'()*+,=:@;-]++|%[0-9A-Fa-f]{2})*+)++"
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,=:@;/?\[\]-]++|%[0-9A-Fa-f]{2})*+)?\Z"
)
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]+\Z")
_VALUE: Final = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?\Z")

# SECURITY: framing, routing, identity and method overrides are the gate's alone (SAFETY §0, 4). Names are compared with
# `_` read as `-`, because many servers do (CGI variables).
_RESERVED: Final = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "proxy-connection", "keep-alive"),
        *("te", "trailer", "upgrade", "expect", "http2-settings", "content-encoding"),
        *("authorization", "proxy-authorization", "proxy-authenticate"),
        *("forwarded", "via", "x-real-ip", "x-original-url", "x-rewrite-url"),
        *("x-http-method", "x-http-method-override", "x-method-override"),
    }
)
# What a toolspec's credential may set all the same.
_IDENTITY: Final = frozenset({"authorization", "proxy-authorization"})
_RESERVED_PREFIXES: Final = ("x-forwarded-", "toolgate-")


@dataclass(frozen=True, slots=True)
class Added:
    """What the gate adds to every request of one target: its own headers and the credentials."""

    lines: str  # header lines, each with its line end
    names: frozenset[str] = frozenset()  # those of its headers that an operation may declare too, as `spoken`
    query: tuple[Header, ...] = ()  # credentials in the query: the name, and the pair as it is sent


def check_target(target: Target) -> None:
    """Check what the toolspec gave to every request line and head of this target."""
    if _HOST.match(target.host) is None or _TARGET.match(f"{target.base_path}/") is None:
        raise _defect("the address of its upstream is not in canonical form")
    for credential in target.credentials:
        if credential.location == "header":
            _check_credential(credential.name.lower())


def _check_credential(name: str) -> None:
    reserved = name in _RESERVED and name not in _IDENTITY
    if reserved or _TOKEN.match(name) is None:
        raise _defect(f"an upstream credential cannot be the header {name[:64]!r}")


def authority(target: Target) -> str:
    """The Host header: the port only where the scheme does not imply it."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    implied = 443 if target.scheme == "https" else 80
    return host if target.port == implied else f"{host}:{target.port}"


def render(request: UpstreamRequest, base_path: str, added: Added, agent: str) -> list[bytes]:
    """Write the request. Answers one block, or head and body apart where joining them would copy much."""
    if request.method not in _METHODS:
        raise _defect("its method is not one an operation can have")
    if _TARGET.match(request.target) is None:
        raise _defect("its target is not in canonical form")
    target = _with_query(request.target, added.query) if added.query else request.target
    body, length = request.body or b"", ""
    if request.body is not None or request.method in _WITH_BODY:
        length = f"Content-Length: {len(body)}\r\n"
    written = _written(request.headers, added.names, agent)
    head = f"{request.method} {base_path}{target} HTTP/1.1\r\n{added.lines}{written}{length}\r\n".encode("ascii")
    return [head + body] if len(body) < 1 << 16 else [head, body]


def _written(headers: tuple[Header, ...], own: frozenset[str], agent: str) -> str:
    accept, lines = "Accept: */*\r\n", ""
    for name, value in headers:
        lower, plain, fault = _known_name(name)
        if plain in own:
            continue  # SECURITY: the gate's header stands; what the agent sent under its name never travels
        if fault is not None:
            raise _defect(fault)
        if _VALUE.match(value) is None:
            raise _defect("a header is not in its exact form")
        if lower == "accept":
            accept = ""
        elif lower == "user-agent":
            agent = ""
        lines = f"{lines}{name}: {value}\r\n"
    return f"{lines}{accept}{agent}"


@lru_cache(maxsize=1024)  # INVARIANT: bounded; operations declare what they send
def _known_name(name: str) -> tuple[str, str, str | None]:
    """A header's name in lower case, as it is spoken, and why it is not an operation's to send."""
    lower = name.lower()
    plain = spoken(lower)
    if plain in _RESERVED or plain.startswith(_RESERVED_PREFIXES):
        return lower, plain, f"the header `{plain[:64]}` is not an operation's to send"
    return lower, plain, None if _TOKEN.match(lower) is not None else "a header is not in its exact form"


def spoken(name: str) -> str:
    """A header's lower-case name as a server may read it: CGI variables have `_` for `-`."""
    return name.replace("_", "-") if "_" in name else name


def _with_query(target: str, credentials: tuple[Header, ...]) -> str:
    """Put the credentials into the query, in the place of whatever the agent sent under their names."""
    path, _, query = target.partition("?")
    names = {name for name, _ in credentials}
    pairs = [pair for pair in query.split("&") if pair and unquote_plus(pair.partition("=")[0]) not in names]
    return f"{path}?{'&'.join((*pairs, *(pair for _, pair in credentials)))}"


def _defect(what: str) -> UpstreamError:
    return UpstreamError("internal.error", f"the request was not sent: {what}", sent="no")
