"""Masking: what must not stand in the journal is replaced before it is written, and sealed for those who hold the key.

Each masked value becomes `{"$masked": "<16 hex>"}`, a keyed digest: equal values look equal, and nobody without the key
can try guesses. The values themselves travel beside it in `sealed` (AES-256-GCM), so that an operator with `keys.mask`
replays exactly. WEAKNESS: equality shows. Two calls with the same password show the same digest.

RULE: pure. Pointers are split at load (`patterns`), randomness comes in as an argument, and a call with nothing to mask
costs nothing: the very same object comes back.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import orjson

from toolgate.core.journal import total
from toolgate.core.model import Json

EVERY: Final = "*"
_NONCE_BYTES: Final = 12
_LONGEST_SEALED: Final = 11 * 1024  # in base64 more would not fit the journal's line, and be cut there
_DIGEST_CHARACTERS: Final = 16

Pattern: TypeAlias = tuple[str, ...]
Pointer: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class MaskKey:
    """Two keys from one secret, so that a digest tells nothing about the seal."""

    digest: bytes
    seal: bytes


class Masked(NamedTuple):
    """Arguments fit for the journal. `sealed` is None when nothing was masked, or too much for a line to hold."""

    arguments: Mapping[str, Json]
    sealed: str | None


Mask: TypeAlias = Callable[[Mapping[str, Json], tuple[str, ...]], Masked]  # with this process's key


def mask_key(secret: bytes) -> MaskKey:
    """Derive the keys of masking from `keys.mask` (32 bytes or more)."""
    return MaskKey(
        digest=hmac.digest(secret, b"toolgate/mask/digest/1", "sha256"),
        seal=hmac.digest(secret, b"toolgate/mask/seal/1", "sha256"),
    )


def patterns(pointers: Iterable[str]) -> tuple[Pattern, ...]:
    """Split JSON Pointers (`/body/items/*/secret`; `*` is every element) once, at load."""
    return tuple(tuple(_unescaped(token) for token in pointer.split("/")[1:]) for pointer in pointers)


def mask(
    arguments: Mapping[str, Json], where: Sequence[Pattern], key: MaskKey, entropy: Callable[[int], bytes]
) -> Masked:
    """Replace every value a pattern points at; an outer pattern beats one inside it."""
    if not where:
        return Masked(arguments, None)
    found = _outermost({pointer for pattern in where for pointer in _matches(arguments, pattern)})
    if not found:
        return Masked(arguments, None)
    values = [(pointer, _at(arguments, pointer)) for pointer in found]
    masked: Json = arguments
    for pointer, value in values:
        masked = _replaced(masked, pointer, {"$masked": keyed_digest(value, key)})
    return Masked(masked, _sealed(values, key, entropy(_NONCE_BYTES)))


def unmask(arguments: Mapping[str, Json], sealed: str | None, key: MaskKey) -> Mapping[str, Json]:
    """Put the sealed values back. Raises ValueError when the key is not the one, or the record was altered."""
    if sealed is None:
        return arguments
    restored: Json = arguments
    for pointer, value in _opened(sealed, key):
        if not _stands_in(restored, pointer, keyed_digest(value, key)):
            raise ValueError("the sealed values do not belong to these arguments")
        restored = _replaced(restored, pointer, value)
    return restored  # type: ignore[no-any-return]


def keyed_digest(value: Json, key: MaskKey) -> str:
    """Stand in for a value: 64 bits are enough to tell values apart and too few to hold them."""
    canonical = (
        total(value)
        if not isinstance(value, dict | list)
        else orjson.dumps(orjson.loads(total(value)), option=orjson.OPT_SORT_KEYS)
    )
    return hmac.digest(key.digest, canonical, "sha256").hex()[:_DIGEST_CHARACTERS]


def _matches(value: Json, pattern: Pattern, at: Pointer = ()) -> Iterable[Pointer]:
    if not pattern:
        yield at
        return
    for token, child in _children(value, pattern[0]):
        yield from _matches(child, pattern[1:], (*at, token))


def _children(value: Json, token: str) -> Iterable[tuple[str | int, Json]]:
    if isinstance(value, Mapping):
        if token == EVERY:
            return value.items()
        return ((token, value[token]),) if token in value else ()
    if isinstance(value, list | tuple):
        if token == EVERY:
            return enumerate(value)
        if token.isascii() and token.isdecimal() and int(token) < len(value):
            return ((int(token), value[int(token)]),)
    return ()


def _outermost(pointers: set[Pointer]) -> list[Pointer]:
    return [
        pointer
        for pointer in sorted(pointers, key=lambda tokens: [str(token) for token in tokens])
        if not any(pointer[:length] in pointers for length in range(len(pointer)))
    ]


def _at(value: Json, pointer: Pointer) -> Json:
    for token in pointer:
        value = value[token]
    return value


def _stands_in(value: Json, pointer: Pointer, digest: str) -> bool:
    try:
        return bool(_at(value, pointer) == {"$masked": digest})
    except (KeyError, IndexError, TypeError):
        return False


def _replaced(value: Json, pointer: Pointer, by: Json) -> Json:
    """Copy along the pointer only; what is beside it is shared with the original."""
    if not pointer:
        return by
    token, rest = pointer[0], pointer[1:]
    copy: Json = dict(value) if isinstance(value, Mapping) else list(value)
    copy[token] = _replaced(value[token], rest, by)
    return copy


def _sealed(values: list[tuple[Pointer, Json]], key: MaskKey, nonce: bytes) -> str | None:
    plain = total(values)
    if len(plain) > _LONGEST_SEALED:
        return None
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 (imported only when used: 10 MB)

    return urlsafe_b64encode(nonce + AESGCM(key.seal).encrypt(nonce, plain, None)).decode()


def _opened(sealed: str, key: MaskKey) -> list[tuple[Pointer, Json]]:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 (as above)
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 (as above)

    try:
        box = urlsafe_b64decode(sealed)
        opened = AESGCM(key.seal).decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], None)
    except (InvalidTag, ValueError) as error:
        raise ValueError("the sealed values cannot be opened with this `keys.mask`") from error
    return [(tuple(pointer), value) for pointer, value in orjson.loads(opened)]


def _unescaped(token: str) -> str:
    return token.replace("~1", "/").replace("~0", "~")
