"""An identity provider of the tests: keys of every kind, tokens that say anything, signed by any of them.

RULE: tokens are put together here, byte by byte, and not by the library that reads them in the product; only the
signatures are `cryptography`'s.
"""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.wire.door import FakeLog

from toolgate.auth.issuer import FromFile, Issuer
from toolgate.auth.ring import Pace, Ring
from toolgate.auth.surroundings import Surroundings
from toolgate.auth.tokens import Tokens
from toolgate.core.model import Principal

ISSUER = "https://id.example"
NOW = 1_800_000_000
_CURVES = {"P-256": (ec.SECP256R1(), 32), "P-384": (ec.SECP384R1(), 48), "P-521": (ec.SECP521R1(), 66)}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@cache
def rsa_key(name: str = "rsa", bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key by its name: made once, since making one takes long."""
    assert name
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(curve: str = "P-256") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(_CURVES[curve][0])


@cache
def ed_key(name: str = "ed") -> ed25519.Ed25519PrivateKey:
    assert name
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    """The public half as a JWK."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        said = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        point, (name, size) = public.public_numbers(), _curve(public)
        said = {"kty": "EC", "crv": name, "x": number(point.x, size), "y": number(point.y, size)}
    else:
        said = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
    return said | ({"kid": kid} if kid is not None else {}) | more


def _curve(public: ec.EllipticCurvePublicKey) -> tuple[str, int]:
    return next((name, size) for name, (curve, size) in _CURVES.items() if curve.name == public.curve.name)


def signature(alg: str, key: Any, signed: bytes) -> bytes:
    sizes = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    match alg[:2]:
        case "HS":
            return hmac.new(key, signed, f"sha{alg[2:]}").digest()
        case "RS":
            return key.sign(signed, padding.PKCS1v15(), sizes[alg[2:]])
        case "PS":
            digest = sizes[alg[2:]]
            return key.sign(signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        case "ES":
            r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(sizes[alg[2:]])))
            size = _curve(key.public_key())[1]
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        case _:
            return key.sign(signed)


def sealed(header: dict[str, Any] | bytes, payload: dict[str, Any] | bytes, key: Any, alg: str) -> str:
    """A token in compact form; header and payload may be any bytes."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, payload)]
    signed = ".".join(map(b64, parts))
    return f"{signed}.{b64(signature(alg, key, signed.encode()))}"


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says, with changes; a claim changed to `...` is left out."""
    good = {"iss": ISSUER, "aud": "toolgate", "sub": "alice", "iat": NOW - 60, "exp": NOW + 600} | changes
    return {name: value for name, value in good.items() if value is not ...}


def header(**changes: Any) -> dict[str, Any]:
    good = {"alg": "EdDSA", "typ": "JWT", "kid": "ed"} | changes
    return {name: value for name, value in good.items() if value is not ...}


def token(head: dict[str, Any] | None = None, /, **changes: Any) -> str:
    """A token signed with the Ed25519 key `ed`."""
    return sealed(header(**(head or {})), claims(**changes), ed_key(), "EdDSA")


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys) or [jwk(ed_key(), "ed")]}).encode()


@dataclass
class Clocks:
    """Both clocks, moved by hand."""

    wall_s: float = NOW
    steady_s: float = 1000.0

    def pass_(self, seconds: float) -> None:
        self.wall_s += seconds
        self.steady_s += seconds


@dataclass
class World:
    """An authenticator over issuers whose keys are in files, and everything it touched."""

    tokens: Tokens
    clocks: Clocks
    log: FakeLog
    counted: list[tuple[str, str]]
    folder: Path

    def publish(self, *keys: dict[str, Any], issuer: str = ISSUER) -> None:
        """Write another JWKS, and have it read."""
        ring = self.tokens.rings[issuer]
        Path(ring.issuer.source.path).write_bytes(jwks(*keys))  # type: ignore[union-attr]
        ring.read_now()


QUICK = Pace(least_s=0.0, usual_s=0.01, retry_s=0.01)


def surroundings(clocks: Clocks, log: FakeLog, defects: list[BaseException] | None = None) -> Surroundings:
    met = defects if defects is not None else []
    return Surroundings(lambda: clocks.steady_s, lambda: 0.5, log, lambda _where, error: met.append(error))


def world(
    folder: Path, *issuers: Issuer, document: bytes | None = None, anonymous: Principal | None = None, most: int = 100
) -> World:
    """An authenticator; without `issuers` over one called `corp`, whose JWKS holds the key `ed`."""
    clocks, log, counted = Clocks(), FakeLog(), []
    file = folder / "jwks.json"
    file.write_bytes(document or jwks())
    rings = [Ring(issuer, surroundings(clocks, log)) for issuer in issuers or (corp(file),)]
    for ring in rings:
        ring.read_now()
    tokens = Tokens(
        rings,
        anonymous=anonymous,
        now_s=lambda: clocks.wall_s,
        counted=lambda issuer, result: counted.append((issuer, result)),
        most=most,
    )
    return World(tokens, clocks, log, counted, folder)


def corp(file: Path, **changes: Any) -> Issuer:
    return Issuer(**{"name": "corp", "issuer": ISSUER, "audience": "toolgate", "source": FromFile(file)} | changes)
