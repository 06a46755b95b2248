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
# The bones of a text: what it is built of outside its strings, and an `A` for each byte that folding a key might change.
_FOLDABLE: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ" + bytes(range(0x80, 0x100))
_AS_BONES: Final = bytes.maketrans(_FOLDABLE + b"123456789{}", b"A" * len(_FOLDABLE) + b"000000000[]")
_FLESH: Final = bytes(set(range(0x100)) - set(_FOLDABLE + b'0123456789.,":[]{}'))
_NOT_STRUCTURE: Final = b"A0.,:"
_FOLDABLE_KEY: Final = re.compile(rb'A[0.,:\[\]]*+":').search  # the last `A` of a string that a colon follows
_NO_TWINS: Final[frozenset[str]] = frozenset()


def read(text: bytes, twins: frozenset[str] = _NO_TWINS) -> tuple[Json, bytes]:
    """Decode text; return the value and the bytes that say it. Raises Malformed.

    `twins` are keys a schema declares beside others that differ only in case: those may stand together.
    """
    value, written, bones = _read_plain(text) or _read_any(text)
    _require_clear(value, written, bones, twins)
    return value, written


def _read_plain(text: bytes) -> tuple[Json, bytes, bytes] | None:
    """Decode text that says its value as `write` does, but for blanks; None for any other.

    INVARIANT: such text has no key twice and no integer beyond 64 bit. orjson keeps the last of two members with one
    key, so `written` would lack the quotes of the other, and nothing makes up for them: the strings that were kept have
    the same quotes in both texts, unless one was written as an escape. So all tokens are in both, in one order. An
    integer beyond 64 bit becomes a float, and where `text` has 19 digits and more without a point, `written` has a
    point, or one digit and an exponent.
    """
    if b"\\" in text and b"\\u" in text:
        return None
    try:
        value = orjson.loads(text)
        written = orjson.dumps(value)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    bones = _bones(written)
    if written == text:
        return value, text, bones
    return (value, compact(written), bones) if bones == _bones(text) else None


def _read_any(text: bytes) -> tuple[Json, bytes, bytes]:
    """Decode any text, or say what is wrong with it, at twice the cost."""
    try:
        value = jiter.from_json(text, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise Malformed(f"the JSON cannot be read: {_sentence(error)}") from None
    written = write(value)
    # jiter reads 1e999 as infinity and orjson writes infinity as null: a `null` more than came in gives it away.
    if b"null" in written and written.count(b"null") != text.count(b"null"):
        _require_finite(value)
    return value, compact(written), _bones(written)


def compact(encoded: bytes) -> bytes:
    """Copy what was encoded and will be kept: orjson's own bytes lie in up to sixty times their length."""
    return bytes(memoryview(encoded))


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
    _require_finite(value)
    _require_clear(value, written, _bones(written), twins)
    return written


def _sentence(error: ValueError) -> str:
    text = str(error)
    if text.startswith("Detected duplicate key"):
        return "an object has the same key twice" + text[text.rfind(" at line") :]
    return echo(text)[1:-1]


def _require_clear(value: Json, written: bytes, bones: bytes, twins: frozenset[str]) -> None:
    """Require what the bytes that say a value mostly show at a glance: not deep, and keys that stay apart."""
    if b"\\" in written:
        # without the quotes and backslashes within strings, what is left are the quotes around them
        bones = _bones(written.replace(b"\\\\", b"").replace(b'\\"', b""))
    if bones.count(b"[") > DEPTH and _is_deep(bones):
        raise Malformed(f"the JSON is nested more than {DEPTH} levels deep")
    if b"A" in bones and _FOLDABLE_KEY(bones) and not _is_apart(written):
        _require_distinct_keys(value, twins)


def _bones(text: bytes) -> bytes:
    return text.translate(_AS_BONES, _FLESH)


def _is_deep(bones: bytes) -> bool:
    """Whether brackets outside strings nest more than DEPTH deep: all at C speed, each pass peels one level."""
    structure = b"".join(bones.translate(None, _NOT_STRUCTURE).split(b'"')[::2])
    for _ in range(DEPTH):
        structure = structure.replace(b"[]", b"")
        if not structure:
            return False
    return True


def _is_apart(written: bytes) -> bool:
    """Whether no keys of one object are the same in lower case: then orjson drops none, and writes all there was."""
    if not written.isascii():
        return False  # not known: more than lower case folds other letters
    lower = written.lower()
    return orjson.dumps(orjson.loads(lower)) == lower


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
    known: set[tuple[str, ...]] = set()  # the objects of an array mostly have the same keys
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            keys = tuple(node)
            if keys not in known:
                known.add(keys)
                if len({_folded(key) for key in keys}) != len(keys):
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
