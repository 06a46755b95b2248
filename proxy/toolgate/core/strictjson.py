"""JSON in, JSON out, with one reading only (RFC 8259 as SAFETY part E reads it).

RULE: what `read` returns is exactly what `write` sends. Duplicate or colliding keys, NaN, Infinity, lone surrogates,
integers beyond 64 bit and depth over 64 are `Malformed`, never resolved in anybody's favour.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Final

import jiter
import orjson

from toolgate.core.model import Json
from toolgate.core.wiretext import Malformed, echo

DEPTH: Final = 64
_CAPITALS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_AS_A: Final = bytes.maketrans(_CAPITALS, b"A" * len(_CAPITALS))
_NOT_KEYED: Final = bytes(set(range(256)) - set(_CAPITALS + b'":'))
_CAPITAL_KEY: Final = re.compile(rb'":*+A[A:]*+":').search  # in what is left of a text: capitals, quotes and colons
_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b'[]{}"'))
_AS_ARRAYS: Final = bytes.maketrans(b"{}", b"[]")
_NO_TWINS: Final[frozenset[str]] = frozenset()


def read(text: bytes, twins: frozenset[str] = _NO_TWINS) -> tuple[Json, bytes]:
    """Decode text; return the value and the bytes that say it. Raises Malformed.

    `twins` are keys a schema declares beside others that differ only in case: those may stand together.
    """
    try:
        value = jiter.from_json(text, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise Malformed(f"the JSON cannot be read: {_sentence(error)}") from None
    written = write(value)
    # jiter reads 1e999 as infinity and orjson writes infinity as null: a `null` more than came in gives it away.
    if b"null" in written and written.count(b"null") != text.count(b"null"):
        _require_finite(value)
    if text.count(b"[") + text.count(b"{") > DEPTH and _is_deep(text):
        raise Malformed(f"the JSON is nested more than {DEPTH} levels deep")
    if _may_collide(text):
        _require_distinct_keys(value, twins)
    return value, written


def _may_collide(text: bytes) -> bool:
    """Whether keys may differ only in case or composition: that needs a capital, an escape or more than ASCII."""
    if not text.isascii() or b"\\" in text:
        return True
    return not text.islower() and _CAPITAL_KEY(text.translate(_AS_A, _NOT_KEYED)) is not None


def write(value: Json) -> bytes:
    """Encode a value. Raises Malformed for what no JSON reader would read back as the same."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        if "64-bit" in str(error):
            raise Malformed("an integer is beyond 64 bit") from None
        if "ecursion" in str(error):
            raise Malformed(f"the JSON is nested more than {DEPTH} levels deep") from None
        raise Malformed("the value has text or keys that JSON cannot hold") from None


def prove(value: Json, twins: frozenset[str] = _NO_TWINS) -> bytes:
    """Encode a value that came decoded, under the same rules as `read`. Raises Malformed."""
    written = write(value)
    if written.count(b"[") + written.count(b"{") > DEPTH and _is_deep(written):
        raise Malformed(f"the JSON is nested more than {DEPTH} levels deep")
    _require_finite(value)
    _require_distinct_keys(value, twins)
    return written


def _sentence(error: ValueError) -> str:
    text = str(error)
    if text.startswith("Detected duplicate key"):
        return "an object has the same key twice" + text[text.rfind(" at line") :]
    return echo(text)[1:-1]


def _is_deep(text: bytes) -> bool:
    """Whether brackets outside strings nest more than DEPTH deep: all at C speed, each pass peels one level."""
    if b"\\" in text:
        text = _ESCAPE.sub(b"", text)
    structure = b"".join(text.translate(_AS_ARRAYS, _NOT_STRUCTURE).split(b'"')[::2])
    for _ in range(DEPTH):
        structure = structure.replace(b"[]", b"")
        if not structure:
            return False
    return True


def _require_finite(value: Json) -> None:
    stack = [value]
    while stack:
        match stack.pop():
            case dict() as object_:
                stack.extend(object_.values())
            case list() as array:
                stack.extend(array)
            case float() as number if not math.isfinite(number):
                raise Malformed("a number is too large to be kept")
            case _:
                pass


def _require_distinct_keys(value: Json, twins: frozenset[str]) -> None:
    # SECURITY: two readers that fold keys differently would see two different objects (SAFETY E03).
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if len(node) > 1 and len({_folded(key) for key in node}) != len(node):
                _refuse_collision(node, twins)
            stack.extend(child for child in node.values() if isinstance(child, (dict, list)))
        elif isinstance(node, list):
            stack.extend(child for child in node if isinstance(child, (dict, list)))


def _folded(key: str) -> str:
    return (
        key.casefold() if key.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", key).casefold())
    )


def _refuse_collision(node: dict[str, Json], twins: frozenset[str]) -> None:
    seen: dict[str, str] = {}
    for key in node:
        other = seen.setdefault(_folded(key), key)
        if other is not key and not (key in twins and other in twins):
            raise Malformed(f"the keys {echo(other)} and {echo(key)} of one object differ only in case or composition")
