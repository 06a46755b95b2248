"""Tokens for development: the key they are signed with, minting one, and the public half that verifies them.

RULE: the key is made on the machine that uses it, for one user alone, and a production environment never takes what
it signed (`identity.development`).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from toolgate.auth.claims import principal_of
from toolgate.auth.errors import KeysUnavailableError, invalid
from toolgate.auth.issuer import (
    DEVELOPMENT,
    DEVELOPMENT_ISSUER,
    DEVELOPMENT_MAX_AGE_S,
    FromDevelopmentKey,
    Issuer,
    RoleRule,
)
from toolgate.core.model import Json, Principal
from toolgate.keys import private_file, read_private
from toolgate.ports import LedgerError

_AUDIENCE: Final = "toolgate"
_ROLES: Final = "roles"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a development token is to say."""

    subject: str
    roles: tuple[str, ...] = ()
    claims: Mapping[str, str] = field(default_factory=dict)
    actor: str | None = None
    ttl_s: int = 3600


def development_issuer(path: Path) -> Issuer:
    """The issuer of the tokens that the key in this file signs."""
    return Issuer(
        DEVELOPMENT,
        DEVELOPMENT_ISSUER,
        _AUDIENCE,
        FromDevelopmentKey(path),
        algorithms=("EdDSA",),
        roles=RoleRule(_ROLES),
        max_age_s=DEVELOPMENT_MAX_AGE_S,
    )


@dataclass(frozen=True, slots=True)
class Minted:
    """A development token, and whom a gate will take its bearer for."""

    token: str
    principal: Principal
    expires_at_s: int


def minted(path: Path, wanted: Wanted, now_s: int) -> Minted:
    """Mint a token with the key in this file, which is made when absent.

    Raises AuthError where no gate would take it, and LedgerError when the key is unusable.
    """
    claims = _claims(wanted, now_s)
    principal = principal_of(claims, development_issuer(path))
    return Minted(_signed(path, claims), principal, now_s + wanted.ttl_s)


def _claims(wanted: Wanted, now_s: int) -> dict[str, Json]:
    claims: dict[str, Json] = {"sub": wanted.subject, "iss": DEVELOPMENT_ISSUER, "aud": _AUDIENCE}
    claims |= {"iat": now_s, "exp": now_s + wanted.ttl_s, _ROLES: list(wanted.roles)}
    if wanted.actor is not None:
        claims["act"] = {"sub": wanted.actor}
    fixed = wanted.claims.keys() & (claims.keys() | {"nbf", "act"})
    if fixed:
        raise invalid(f"the claim `{min(fixed)}` is made from the other options")
    return {**wanted.claims, **claims}


def _signed(path: Path, claims: Mapping[str, Json]) -> str:
    own = _own(private_file(path, _made))
    if own is None:
        raise LedgerError(f"the key file `{path}` holds no development key; remove it, and a new one is made")
    key: Any = OKPAlgorithm.from_jwk(own)
    return jwt.encode(dict(claims), key, algorithm="EdDSA", headers={"kid": own["kid"]})


def make_key(path: Path) -> None:
    """Make the key unless it is there. Raises LedgerError when it cannot be made, or is not for this user alone."""
    private_file(path, _made)


def public_document(path: Path) -> bytes:
    """The key's public half as a JWKS. Raises KeysUnavailableError."""
    try:
        own = _own(read_private(path))
    except FileNotFoundError:
        raise KeysUnavailableError(f"there is no development key `{path}`; `toolgate token` makes one") from None
    except LedgerError as error:
        raise KeysUnavailableError(str(error)) from None
    if own is None:
        raise KeysUnavailableError(f"`{path}` holds no development key")
    return orjson.dumps({"keys": [{name: value for name, value in own.items() if name != "d"}]})


def _made() -> bytes:
    own: dict[str, Json] = OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True)
    named = {name: own[name] for name in ("crv", "kty", "x")}  # RFC 7638: the required members, in this order
    thumbprint = hashlib.sha256(orjson.dumps(named)).digest()
    kid = base64.urlsafe_b64encode(thumbprint).rstrip(b"=").decode("ascii")
    return orjson.dumps({**own, "kid": kid, "use": "sig", "alg": "EdDSA"}) + b"\n"


def _own(content: bytes) -> dict[str, Json] | None:
    """The private key as a JWK, if it is one."""
    try:
        own = orjson.loads(content)
        OKPAlgorithm.from_jwk(own)
    except (orjson.JSONDecodeError, jwt.InvalidKeyError, ValueError, TypeError, AttributeError):
        return None
    return own if isinstance(own, dict) and "d" in own and isinstance(own.get("kid"), str) else None
