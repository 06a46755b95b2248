"""Formats: which are checked, by whom, and with what bounds.

RULE: a format is either checked or noted; none is taken for checked because it was ignored.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Final

# Checked by jsonschema-rs itself.
STANDARD: Final = frozenset(
    [
        "date",
        "date-time",
        "time",
        "duration",
        "email",
        "idn-email",
        "hostname",
        "idn-hostname",
        "ipv4",
        "ipv6",
        "uri",
        "uri-reference",
        "iri",
        "iri-reference",
        "uri-template",
        "uuid",
        "json-pointer",
        "relative-json-pointer",
        "regex",
    ]
)
# Checked as bounds of the number (OpenAPI format registry).
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "int8": (-(1 << 7), (1 << 7) - 1),
    "uint8": (0, (1 << 8) - 1),
    "int16": (-(1 << 15), (1 << 15) - 1),
    "uint16": (0, (1 << 16) - 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "uint32": (0, (1 << 32) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint64": (0, (1 << 64) - 1),
    "unix-time": (-(1 << 63), (1 << 63) - 1),
    "unixtime": (-(1 << 63), (1 << 63) - 1),
    "double-int": (-(1 << 53) + 1, (1 << 53) - 1),
    "float": (-3.4028234663852886e38, 3.4028234663852886e38),
}
# Say how something is shown or what it is for; there is nothing to check.
SILENT: Final = frozenset({"double", "binary", "password", "html", "markdown", "commonmark", "json", "text", "string"})
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*={0,2}").fullmatch
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,19}").fullmatch


def _is_byte(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_decimal(text: str) -> bool:
    return _DECIMAL(text) is not None


def _is_base64url(text: str) -> bool:
    return _BASE64URL(text) is not None


def _within(name: str) -> Callable[[str], bool]:
    least, most = BOUNDS[name]

    def is_within(text: str) -> bool:
        return _INTEGER(text) is not None and least <= int(text) <= most

    return is_within


# Checked by us, on texts: jsonschema-rs asks a custom format about strings only.
OURS: Final[dict[str, Callable[[str], bool]]] = {
    "byte": _is_byte,
    "base64url": _is_base64url,
    "decimal": _is_decimal,
    **{name: _within(name) for name in ("int64", "uint64")},
}
