"""How text stands on the wire: percent-encoding, and which characters may not pass.

RULE: decoded exactly once and strictly, or `Malformed`; written back as bytes of our own making. Nothing is repaired.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from toolgate.core.model import Json


class Malformed(ValueError):  # noqa: N818 (never escapes core: it becomes a Rejected)
    """Text that cannot be decoded. The sentence says what is wrong; `Signature` turns it into a `Rejected`."""


class Unwritable(ValueError):  # noqa: N818 (as above)
    """A value that has no faithful text in the style its parameter is declared with. `key` names the parameter."""

    def __init__(self, reason: str, key: str | None = None, base: str = "") -> None:
        super().__init__(reason)
        self.key = key
        self.base = base

    def of(self, key: str, base: str = "") -> Unwritable:
        """Return the same, naming the parameter it is about."""
        return Unwritable(str(self), key, base)


_ECHOED: Final = 64
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_PLAIN: Final = re.compile(r"[A-Za-z0-9\-._~]*").fullmatch
_QUERY_PLAIN: Final = re.compile(r"[A-Za-z0-9\-._~,:/@]*").fullmatch
_RESERVED_SAFE: Final = "-._~,:/@?!$'()*;="
# SECURITY: C0, C1 and DEL, line separators, bidirectional controls and lone surrogates deceive whoever reads a path or a log.
_DECEPTIVE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]",
).search
_HEADER_TEXT: Final = re.compile(r"[\x20-\x7e]*").fullmatch
_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}").search
_WALKS: Final = re.compile(r"(?:\A|/)(?:\.{1,2}(?:[;/]|\Z)|/|\Z)|\\").search
TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # RFC 9110 §5.6.2


def unquote(text: str) -> str:
    """Percent-decode once. Raises Malformed for a bad escape, bytes that are not UTF-8, or text that is not ASCII."""
    if "%" not in text:
        if not text.isascii():
            raise Malformed("a character outside ASCII must be percent-encoded")
        return text
    if not text.isascii() or _BAD_ESCAPE.search(text):
        raise Malformed(f"{echo(text)} has a `%` that is not followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Malformed(f"{echo(text)} does not decode to UTF-8") from None


def unquote_form(text: str) -> str:
    """Percent-decode once, with `+` as a space, as queries and forms are written."""
    if "+" in text:
        text = text.replace("+", "%20")
    return unquote(text)


def quote_path(text: str) -> str:
    """Percent-encode everything but unreserved characters."""
    return text if _PATH_PLAIN(text) else quote(_encodable(text), safe="-._~")


def quote_query(text: str) -> str:
    """Percent-encode for a query or form: `,:/@` may stand, separators may not."""
    return text if _QUERY_PLAIN(text) else quote(_encodable(text), safe="-._~,:/@")


def quote_reserved(text: str) -> str:
    """Percent-encode for `allowReserved`: all that RFC 3986 lets stand, but never what would end the value."""
    return quote(_encodable(text), safe=_RESERVED_SAFE)


def header_text(text: str) -> str:
    """Return text that may stand in a header field. Raises Unwritable for anything but printable ASCII."""
    if not _HEADER_TEXT(text) or text != text.strip(" "):
        raise Unwritable("a header holds printable ASCII only, with no space at its ends")
    return text


def is_deceptive(text: str) -> bool:
    """Whether text holds control or bidirectional characters (never allowed in paths, names and headers)."""
    return not text.isprintable() and _DECEPTIVE(text) is not None


def is_encoded(text: str) -> bool:
    """Whether decoded text would decode again."""
    return "%" in text and _ENCODED(text) is not None


def is_another_path(text: str) -> bool:
    """Whether a decoded value with slashes is another path to whoever decodes it early, or once more (SAFETY B03, B04).

    Such a value has empty or dot segments (also Tomcat's `..;`), backslashes or control characters, or would decode again.
    """
    return _WALKS(text) is not None or is_deceptive(text) or is_encoded(text)


def _encodable(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Unwritable("text with a lone surrogate cannot be sent") from None


def echo(value: Json) -> str:
    """Quote a value for a message: in backticks, on one line, shortened."""
    text = value if isinstance(value, str) else _literal(value)
    short = text if len(text) <= _ECHOED else text[: _ECHOED - 1] + "…"
    if is_deceptive(short):
        short = _DECEPTIVE_ALL.sub(lambda found: f"\\u{ord(found[0]):04x}", short)
    return "`" + short.replace("`", "'") + "`"


_DECEPTIVE_ALL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]",
)


def _literal(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return "{…}" if value else "{}"
        case list():
            return "[…]" if value else "[]"
        case _:
            return str(value)


def pointer(base: str, token: str | int) -> str:
    """Extend a JSON Pointer by one token (RFC 6901)."""
    text = str(token)
    if "~" in text or "/" in text:
        text = text.replace("~", "~0").replace("/", "~1")
    return f"{base}/{text}"
