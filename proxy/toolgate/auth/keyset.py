"""A JWKS document, or a shared secret, as the keys that verify.

RULE: each key is bound to the algorithms of its own type when it is read, never by what a token says. A key that is
weak, secret, private, or not for signatures is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import jwt

from toolgate.auth.errors import KeysUnavailableError
from toolgate.auth.issuer import SYMMETRIC
from toolgate.core.model import Json
from toolgate.core.strictjson import read
from toolgate.core.wiretext import Malformed, echo

MIN_SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}  # RFC 7518 §3.2
_MAX_KEYS: Final = 256
_RSA_BITS: Final = range(2048, 8193)  # above, one verification costs more than a caller should be able to ask for
_OF_TYPE: Final[Mapping[tuple[str, str | None], tuple[str, ...]]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}


class Key(NamedTuple):
    """A key and the only algorithms it is used with."""

    material: Any  # a public key of `cryptography`, or the bytes of a secret
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """An issuer's keys as they were read. Another reading is another object, so whoever holds one knows its age."""

    named: Mapping[str, Key]
    only: Key | None = None  # for a token that names none
    refused: tuple[str, ...] = field(default=(), compare=False)  # why keys were left out, for the log

    def __len__(self) -> int:
        return len(self.named) or int(self.only is not None)

    def find(self, kid: str | None) -> Key | None:
        # SECURITY: a `kid` is looked up and nothing else: no path, no query, no URL is ever made of it.
        return self.only if kid is None else self.named.get(kid)


class _RefusedError(Exception):
    """A key that is left out; the text says why."""


def read_secret(secret: bytes, algorithms: tuple[str, ...]) -> Keys:
    """Take a shared secret as the only key. Raises KeysUnavailableError when it is too short for its algorithms."""
    wanted = algorithms or SYMMETRIC[:1]
    longest = max(wanted, key=MIN_SECRET_BYTES.__getitem__)
    least = MIN_SECRET_BYTES[longest]
    if len(secret) < least:
        raise KeysUnavailableError(f"the secret has {len(secret)} bytes; {longest} needs at least {least} random ones")
    try:
        jwt.get_algorithm_by_name(wanted[0]).prepare_key(secret)
    except jwt.InvalidKeyError:
        # SECURITY: a public key used as a secret would make everyone who knows it an issuer.
        raise KeysUnavailableError("the secret is a public key or certificate, which everyone may know") from None
    return Keys({}, Key(secret, wanted))


def read_jwks(document: bytes, algorithms: tuple[str, ...]) -> Keys:
    """Read a JWKS document (RFC 7517). Raises KeysUnavailableError when it is none."""
    try:
        value, _ = read(document)
    except Malformed as error:
        raise KeysUnavailableError(f"what was read is no JWKS: {error}") from None
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS or not all(isinstance(each, dict) for each in listed):
        raise KeysUnavailableError(
            f"what was read is no JWKS: an object with `keys`, a list of at most {_MAX_KEYS} keys"
        )
    usable, refused = _sorted_out(listed, algorithms)
    named = {kid: key for kid, key in usable if kid is not None}
    return Keys(named, usable[0][1] if len(usable) == 1 else None, refused)


def _sorted_out(
    listed: list[dict[str, Json]], algorithms: tuple[str, ...]
) -> tuple[list[tuple[str | None, Key]], tuple[str, ...]]:
    found: list[tuple[str | None, Key]] = []
    refused: list[str] = []
    for jwk in listed:
        kid = jwk.get("kid")
        try:
            found.append((kid, _key(jwk, algorithms)))
        except _RefusedError as why:
            refused.append(f"{_shown(kid)}: {why}")
    twins = {kid for kid, _ in found if kid is not None and [other for other, _ in found].count(kid) > 1}
    refused += [f"{_shown(kid)}: more than one key has this `kid`" for kid in sorted(twins)]
    return [(kid, key) for kid, key in found if kid not in twins], tuple(refused)


def _shown(kid: Json) -> str:
    return f"key {echo(kid)}" if isinstance(kid, str) else "a key without `kid`"


def _key(jwk: dict[str, Json], algorithms: tuple[str, ...]) -> Key:
    _require_public(jwk)
    curve = jwk.get("crv")
    own = _OF_TYPE.get((jwk["kty"], curve if isinstance(curve, str) else None), ())
    said = jwk.get("alg")
    usable = tuple(each for each in own if each in (algorithms or own) and (said is None or each == said))
    if not usable:
        raise _RefusedError("its type, curve or `alg` is none that this issuer's tokens may be signed with")
    try:
        material = jwt.PyJWK(jwk, usable[0]).key
    except Exception:  # noqa: BLE001  # SECURITY: whatever the libraries raise over odd numbers, it is not a key
        raise _RefusedError("its parameters make no key") from None
    bits = getattr(material, "key_size", None)
    if jwk["kty"] == "RSA" and bits not in _RSA_BITS:
        raise _RefusedError(f"it has {bits} bits; RSA keys need {_RSA_BITS[0]} to {_RSA_BITS[-1]}")
    return Key(material, usable)


def _require_public(jwk: dict[str, Json]) -> None:
    if not isinstance(jwk.get("kid", ""), str):
        raise _RefusedError("its `kid` is not text")
    if jwk.get("kty") not in ("RSA", "EC", "OKP"):
        raise _RefusedError("it is not a public key of type RSA, EC or OKP; shared secrets never stand in a JWKS")
    if any(part in jwk for part in ("d", "p", "q", "k")):
        raise _RefusedError("its private part is published, so anyone can sign with it; replace it at the issuer")
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise _RefusedError("it is not for verifying signatures")
