"""One text for one JSON value, so that equal digests mean equal values (RFC 8785, and where that is not enough).

RULE: two values have one text if and only if they are the same, down to the kind of every number: RFC 8785 writes `1`
and `1.0` alike and has no integer beyond 2^53, so such a number is written as `{"$number": "1.0"}`, and an object that
looks like that is wrapped in `$literal`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Final

import rfc8785

from toolgate.core.model import Json

_NUMBER: Final = "$number"
_TEXT: Final = "$text"
_LITERAL: Final = "$literal"
_OURS: Final = frozenset((_NUMBER, _TEXT, _LITERAL))
_EXACT: Final = 1 << 53


def canonical(value: Json) -> bytes:
    """Write a JSON value the one way."""
    return rfc8785.dumps(_told_apart(value))


def by_value(value: Json) -> Json:
    """The same with every whole number as an integer: what RFC 8785 writes alike is alike, as bindings want it.

    Who reads `31.0` in an answer may have no way to send it as anything but `31`.
    """
    match value:
        case float() if value.is_integer():
            return int(value)
        case Mapping():
            return {name: by_value(each) for name, each in value.items()}
        case list():
            return [by_value(each) for each in value]
        case _:
            return value


def digest(value: Json) -> str:
    """Name a value: `sha256:…`."""
    return f"sha256:{hashlib.sha256(canonical(value)).hexdigest()}"


def _told_apart(value: Json) -> Json:
    match value:
        case str():
            return (
                value if value.isascii() or _is_encodable(value) else {_TEXT: value.encode("unicode_escape").decode()}
            )
        case None | bool():
            return value
        case int():
            return value if -_EXACT < value < _EXACT else {_NUMBER: str(value)}
        case float():  # RFC 8785 writes `1.0` as `1`, and has no NaN
            return value if math.isfinite(value) and not value.is_integer() else {_NUMBER: repr(value)}
        case Mapping():
            members = {name: _told_apart(each) for name, each in value.items()}
            return {_LITERAL: members} if len(members) == 1 and not _OURS.isdisjoint(members) else members
        case _:
            return [_told_apart(each) for each in value]


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
