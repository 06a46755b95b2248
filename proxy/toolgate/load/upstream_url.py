"""An upstream's URL, taken apart once: scheme, host, port and base path are pinned at load.

RULE: only a host that every resolver reads alike is taken: `127.1`, `0x7f.0.0.1`, circled digits, userinfo, upper case and
trailing dots are refused, so that what was reviewed is what is connected to (SAFETY §0, 9).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Literal, cast

from toolgate.core.catalog import Target

_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL
)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_NUMERIC: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*", re.ASCII)
_PATH: Final = re.compile(
    r"(?:/(?!\.{1,2}(?:/|\Z))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%(?!2[fFeE]|5[cC]|00)[0-9A-Fa-f]{2})+)*", re.ASCII
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LONGEST_HOST: Final = 253
_LARGEST_PORT: Final = 65535


def parse_upstream(url: str) -> Target:
    """Return the target without credentials. Raises ValueError with a sentence; it never echoes userinfo."""
    match = _URL.fullmatch(url)
    if match is None or match["scheme"] not in _DEFAULT_PORTS:
        raise ValueError(
            "must be an absolute URL that begins with `http://` or `https://`, such as `https://api.example.com/v1`"
        )
    if "@" in match["authority"]:
        raise ValueError("must not hold a user or password; use `credentials:` with `${file:…}` or `${env:…}`")
    if match["rest"]:
        raise ValueError("must not have a query or fragment")
    scheme = cast('Literal["http", "https"]', match["scheme"])
    host, port = _split(match["authority"])
    if ":" not in host:
        _check_host(host)
    path = match["path"].removesuffix("/")
    if not _PATH.fullmatch(path):
        raise ValueError("has a base path with an empty, dot or badly encoded segment")
    return Target(scheme, host, _port(port) if port is not None else _DEFAULT_PORTS[scheme], path)


def _split(authority: str) -> tuple[str, str | None]:
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("has an IPv6 address without its closing bracket")
        _check_ipv6(host)
        return host, rest[1:] if rest else None
    host, colon, port = authority.partition(":")
    return host, port if colon else None


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > _LARGEST_PORT:
        raise ValueError("has a port that is not a number from 1 to 65535")
    return int(text)


def _check_host(host: str) -> None:
    if not host:
        raise ValueError("has no host")
    if not host.isascii():
        raise ValueError("has a host with letters outside ASCII; write its `xn--…` form")
    if host != host.lower():
        raise ValueError(f"has upper-case letters in its host; write `{host.lower()}`")
    if host.endswith("."):
        raise ValueError("has a host with a trailing dot; remove it")
    labels = host.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        _check_ipv4(host)
    elif len(host) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("has a host that is not a DNS name, an IPv4 address or an IPv6 address in brackets")


def _check_ipv4(host: str) -> None:
    try:
        ipaddress.IPv4Address(host)
    except ValueError as error:
        raise ValueError("has a numeric host that is not a plain IPv4 address such as `10.0.0.7`") from error


def _check_ipv6(host: str) -> None:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError as error:
        raise ValueError("has brackets without an IPv6 address in them") from error
    if address.scope_id is not None:
        raise ValueError("has an IPv6 address with a zone, which is a matter of one host")
    if str(address) != host:
        raise ValueError(f"has an IPv6 address in an unusual form; write `[{address}]`")
